/* Loading row blocks, one get in flight per block however many wait for it. */
#include "storage/log/blocks.h"

#include "storage/engine_state.h"
#include "storage/mutants.h"
#include "storage/runtime/log.h"

struct st_block_load {
    struct st_engine *engine;
    size_t number;
    bool is_void; /* of a checkpoint that the fold has left */
    struct kp_blob *blob;
    struct st_object_get get;
    struct st_task ready; /* for a block that is in memory already */
    struct st_block_wait *waits;
    struct st_block_load *next;
};

static void load_end(struct st_block_load *load, enum st_error error, const struct st_block *block) {
    struct st_block_load **link = &load->engine->blocks.loads;
    while (*link != load) {
        link = &(*link)->next;
    }
    *link = load->next;
    for (struct st_block_wait *wait = load->waits, *next; wait != NULL; wait = next) {
        next = wait->next;
        wait->done(wait, error, block);
    }
    kp_blob_unref(load->blob);
    free(load);
}

const struct st_block *st_block_find(struct st_engine *engine, size_t number) {
    struct st_blocks *blocks = &engine->blocks;
    for (size_t i = 0; i < ST_BLOCKS_CACHED; i++) {
        if (blocks->cached[i].used != 0 && blocks->cached[i].number == number) {
            blocks->cached[i].used = ++blocks->uses;
            return &blocks->cached[i].block;
        }
    }
    return NULL;
}

static const struct st_block *keep(struct st_blocks *blocks, size_t number, const struct st_block *block) {
    struct st_cached_block *oldest = &blocks->cached[0];
    for (size_t i = 1; i < ST_BLOCKS_CACHED; i++) {
        if (blocks->cached[i].used < oldest->used) {
            oldest = &blocks->cached[i];
        }
    }
    st_block_release(&oldest->block);
    *oldest = (struct st_cached_block){.number = number, .used = ++blocks->uses, .block = *block};
    return &oldest->block;
}

static void got(struct st_object_get *op) {
    struct st_block_load *load = ST_OWNER(op, struct st_block_load, get);
    struct st_engine *engine = load->engine;
    st_engine_op_ended(engine);
    struct st_block block;
    const struct st_block *kept = NULL;
    enum st_error error = ST_UNREADABLE;
    if (load->is_void) {
        error = ST_OK; /* they look again, in the new checkpoint */
    } else if (op->error == ST_ABSENT) {
        st_engine_reload(engine); /* a newer checkpoint stands and this one was deleted */
    } else if (op->error == ST_OK && st_block_read(kp_slice_of(load->blob->data, load->blob->size), &block)) {
        kept = keep(&engine->blocks, load->number, &block);
        error = ST_OK;
    } else if (op->error == ST_OK && block.no_memory) {
        error = ST_NO_MEMORY;
    } else if (op->error == ST_OK || op->error == ST_DAMAGED) {
        error = ST_DAMAGED;
        ST_LOG(store_damaged, "what=checkpoint name=%s block=%zu", op->name, load->number);
    }
    load_end(load, error, kept);
}

static void found(struct st_task *task) {
    struct st_block_load *load = ST_OWNER(task, struct st_block_load, ready);
    load_end(load, ST_OK, load->is_void ? NULL : st_block_find(load->engine, load->number));
}

bool st_block_get(struct st_engine *engine, size_t number, struct st_block_wait *wait) {
    struct st_block_load *load = engine->blocks.loads;
    while (load != NULL && (load->number != number || load->is_void)) {
        load = load->next;
    }
    if (load == NULL) {
        const struct st_checkpoint *checkpoint = engine->journal.fold->checkpoint;
        const struct st_block_ref *ref = &checkpoint->blocks[number];
        bool here = st_block_find(engine, number) != NULL;
        load = calloc(1, sizeof *load);
        if (load == NULL || (!here && (load->blob = kp_blob_new(ref->len)) == NULL)) {
            free(load);
            return false;
        }
        load->engine = engine;
        load->number = number;
        load->ready.fn = found;
        load->next = engine->blocks.loads;
        engine->blocks.loads = load;
        if (here) {
            st_defer(engine->loop, &load->ready);
        } else {
            load->get = (struct st_object_get){
                .position = ref->position, .len = ref->len, .into = load->blob->data, .done = got};
            memcpy(load->get.name, checkpoint->name, sizeof load->get.name);
            st_engine_op_started(engine);
            engine->store->ops->object_get(engine->store, &load->get);
        }
    }
    wait->next = load->waits;
    load->waits = wait;
    return true;
}

void st_blocks_forget(struct st_engine *engine) {
    if (ST_MUTANT(old_blocks) && !engine->dying) {
        return;
    }
    for (size_t i = 0; i < ST_BLOCKS_CACHED; i++) {
        st_block_release(&engine->blocks.cached[i].block);
        engine->blocks.cached[i].used = 0;
    }
    for (struct st_block_load *load = engine->blocks.loads; load != NULL; load = load->next) {
        load->is_void = true;
    }
}

void st_blocks_release(struct st_engine *engine) {
    st_blocks_forget(engine);
    while (engine->blocks.loads != NULL) {
        struct st_block_load *load = engine->blocks.loads;
        engine->blocks.loads = load->next;
        st_defer_cancel(engine->loop, &load->ready);
        kp_blob_unref(load->blob);
        free(load);
    }
}
