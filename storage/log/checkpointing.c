/*
 * Checkpoints in the store: loading one at start, writing one when it is due, adopting a newer one, and trimming what
 * lies far below.
 *
 * Writing merges the rows of the previous checkpoint, block by block, with the rows that the fold has kept since. The
 * fold goes on meanwhile: heads and rows are a copy taken at slot n when it began. Who adopts a checkpoint forgets the
 * rows up to n and looks them up in its blocks from then on.
 *
 * Trimming follows the checkpoints that this process has seen stand for the grace, by the store's clock. An entry stays
 * while a row names its inline bytes; lowest slot first, so the first such entry holds back all above it.
 */
#include "storage/engine_state.h"
#include "storage/journal/checkpoint.h"
#include "storage/mutants.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define TAIL_GUESS (256 * 1024) /* heads and index of most checkpoints fit into the first read */
#define MARKS_MOST 64           /* checkpoints remembered for trimming */
#define TRIM_TICK (60 * ST_SECOND)
#define ADVANCE_TRIES_MOST 5

/* ---- loading: footer, heads, index ---- */

/* Reads what is needed of a checkpoint object except its row blocks. */
struct loader {
    struct st_engine *engine;
    struct st_checkpoint_ref ref;
    struct kp_blob *tail;
    uint64_t tail_at; /* position of the tail in the object */
    struct st_object_get get;
    void (*loaded)(struct loader *loader, enum st_error error, struct st_fold *heads,
                   struct st_checkpoint *checkpoint);
};

static void loader_get(struct loader *loader, uint64_t from);

static void loader_end(struct loader *loader, enum st_error error, struct st_fold *heads,
                       struct st_checkpoint *checkpoint) {
    kp_blob_unref(loader->tail);
    loader->tail = NULL;
    loader->loaded(loader, error, heads, checkpoint);
}

static void loader_parse(struct loader *loader) {
    struct st_checkpoint_footer footer;
    struct kp_slice tail = kp_slice_of(loader->tail->data, loader->tail->size);
    struct kp_slice end = kp_slice_of(tail.ptr + tail.len - ST_CHECKPOINT_FOOTER, ST_CHECKPOINT_FOOTER);
    if (!st_checkpoint_read_footer(end, loader->ref.size, &footer) || footer.slot != loader->ref.slot) {
        loader_end(loader, ST_DAMAGED, NULL, NULL);
        return;
    }
    if (footer.heads_at < loader->tail_at) {
        loader_get(loader, footer.heads_at);
        return;
    }
    const uint8_t *heads_at = tail.ptr + (footer.heads_at - loader->tail_at);
    struct st_fold *heads = st_checkpoint_read_heads(kp_slice_of(heads_at, footer.heads_len), &footer);
    struct st_checkpoint *checkpoint =
        st_checkpoint_read_index(kp_slice_of(heads_at + footer.heads_len, footer.index_len), &footer);
    if (heads == NULL || checkpoint == NULL) {
        st_fold_free(heads);
        st_checkpoint_free(checkpoint);
        loader_end(loader, ST_DAMAGED, NULL, NULL);
        return;
    }
    memcpy(checkpoint->name, loader->ref.name, sizeof checkpoint->name);
    checkpoint->size = loader->ref.size;
    loader_end(loader, ST_OK, heads, checkpoint);
}

static void loader_got(struct st_object_get *op) {
    struct loader *loader = ST_OWNER(op, struct loader, get);
    st_engine_op_ended(loader->engine);
    if (op->error == ST_OK) {
        loader_parse(loader);
    } else {
        loader_end(loader, op->error, NULL, NULL);
    }
}

static void loader_get(struct loader *loader, uint64_t from) {
    kp_blob_unref(loader->tail);
    loader->tail = kp_blob_new((size_t)(loader->ref.size - from));
    loader->tail_at = from;
    if (loader->tail == NULL) {
        loader->loaded(loader, ST_NO_MEMORY, NULL, NULL);
        return;
    }
    loader->get = (struct st_object_get){
        .position = from, .len = loader->tail->size, .into = loader->tail->data, .done = loader_got};
    memcpy(loader->get.name, loader->ref.name, sizeof loader->get.name);
    st_engine_op_started(loader->engine);
    loader->engine->store->ops->object_get(loader->engine->store, &loader->get);
}

static void loader_begin(struct loader *loader, struct st_engine *engine, const struct st_checkpoint_ref *ref) {
    loader->engine = engine;
    loader->ref = *ref;
    if (ref->size < ST_CHECKPOINT_FOOTER || ref->size > ST_CHECKPOINT_MAX) {
        loader->loaded(loader, ST_DAMAGED, NULL, NULL);
        return;
    }
    loader_get(loader, ref->size > TAIL_GUESS ? ref->size - TAIL_GUESS : 0);
}

/* ---- the checkpointer ---- */

enum step { STEP_IDLE, STEP_ASK, STEP_LOAD, STEP_MERGE, STEP_PUT, STEP_ADVANCE };

struct mark {
    uint64_t slot;
    int64_t made_ms;
};

struct st_checkpointer {
    struct st_engine *engine;
    enum step step;
    struct loader open_loader;  /* of the fold, at start and after a fall behind the trim */
    struct loader newer_loader; /* of a checkpoint that another process wrote */

    struct st_checkpoint_ref ref;
    struct st_object_put put;
    struct st_object_delete delete;
    unsigned advance_tries;

    /* what is being written */
    uint64_t slot, hash;
    struct st_pack heads;
    struct st_fold *snapshot; /* the heads, read back: what the old rows are held against */
    struct st_block_row *rows; /* of the fold, sorted; names are copies */
    size_t row_count, row_next;
    char *names;
    struct st_checkpoint_writer writer;
    bool writing;
    uint64_t old_slot; /* of the checkpoint that is merged; 0: none */
    size_t old_block;
    struct st_block_wait block_wait;

    char previous[ST_OBJECT_NAME_MAX]; /* the one before the newest: others may still read it */

    struct mark marks[MARKS_MOST];
    size_t mark_count;
    uint64_t trimmed_below;
    int64_t store_ms; /* newest date of the store seen here */
    struct st_journal_trim trim;
    bool trimming;
    struct st_timer tick;
};

static void checkpointer_idle(struct st_checkpointer *self) {
    st_pack_release(&self->heads);
    st_fold_free(self->snapshot);
    self->snapshot = NULL;
    free(self->rows);
    free(self->names);
    self->rows = NULL;
    self->names = NULL;
    if (self->writing) {
        st_checkpoint_writer_release(&self->writer);
        self->writing = false;
    }
    kp_blob_unref(self->put.buffer);
    self->put.buffer = NULL;
    self->step = STEP_IDLE;
}

/* ---- trimming ---- */

static uint64_t inline_floor(const struct st_fold *fold) {
    uint64_t floor = fold->checkpoint != NULL ? fold->checkpoint->inline_floor : UINT64_MAX;
    for (size_t i = 0; i < fold->topic_count; i++) {
        const struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count; p++) {
            const struct st_partition *partition = &topic->partitions[p];
            for (size_t r = 0; r < partition->row_count; r++) {
                if ((partition->rows[r].flags & ST_APPEND_INLINE) != 0) {
                    floor = partition->rows[r].slot < floor ? partition->rows[r].slot : floor;
                    break; /* rows are in order of slot */
                }
            }
        }
    }
    return floor;
}

static void trim_done(struct st_journal_trim *op) {
    struct st_checkpointer *self = ST_OWNER(op, struct st_checkpointer, trim);
    st_engine_op_ended(self->engine);
    self->trimming = false;
    if (op->error == ST_OK) {
        self->trimmed_below = op->below;
    }
}

static void trim(struct st_checkpointer *self) {
    struct st_engine *engine = self->engine;
    const struct st_fold *fold = engine->journal.fold;
    int64_t grace_ms = ST_MUTANT(trim_without_grace) ? 0 : engine->options.trim_grace_ms;
    uint64_t below = 0;
    if (self->trimming || fold == NULL || fold->checkpoint == NULL || engine->closing || engine->journal.stopped) {
        return;
    }
    for (size_t i = 0; i < self->mark_count; i++) { /* above the fold it is not known which inline bytes are named */
        bool known = self->marks[i].slot <= fold->slot;
        if (known && self->store_ms - self->marks[i].made_ms >= grace_ms && self->marks[i].slot > below) {
            below = self->marks[i].slot; /* never the checkpoint's own slot */
        }
    }
    uint64_t floor = ST_MUTANT(trim_inline) ? UINT64_MAX : inline_floor(fold);
    below = floor < below ? floor : below;
    if (below <= self->trimmed_below + 1) {
        return;
    }
    self->trimming = true;
    self->trim = (struct st_journal_trim){.journal = engine->journal.number, .below = below, .done = trim_done};
    st_engine_op_started(engine);
    engine->store->ops->journal_trim(engine->store, &self->trim);
}

static void mark_add(struct st_checkpointer *self, uint64_t slot, int64_t made_ms) {
    if (self->mark_count > 0 && self->marks[self->mark_count - 1].slot >= slot) {
        return;
    }
    if (self->mark_count == MARKS_MOST) { /* every second one goes: old ages are kept coarser */
        for (size_t i = 0; i < MARKS_MOST / 2; i++) {
            self->marks[i] = self->marks[2 * i];
        }
        self->mark_count = MARKS_MOST / 2;
    }
    self->marks[self->mark_count++] = (struct mark){slot, made_ms};
}

static void store_date(struct st_checkpointer *self, int64_t date_ms) {
    if (date_ms > self->store_ms) {
        self->store_ms = date_ms;
    }
}

/* ---- adopting ---- */

static void newer_loaded(struct loader *loader, enum st_error error, struct st_fold *heads,
                         struct st_checkpoint *checkpoint) {
    struct st_checkpointer *self = ST_OWNER(loader, struct st_checkpointer, newer_loader);
    struct st_fold *fold = self->engine->journal.fold;
    checkpointer_idle(self);
    if (error != ST_OK) {
        return; /* asked again when the next is due */
    }
    bool newer = checkpoint->slot <= fold->slot &&
                 (fold->checkpoint == NULL || fold->checkpoint->slot < checkpoint->slot);
    uint64_t own = newer && checkpoint->slot == fold->slot ? st_fold_hash(fold) : 0;
    if (own != 0 && own != checkpoint->hash) { /* 0: not compared, or no memory to do so */
        ST_LOG(journal_stopped, "journal=%u slot=%llu why=hash", self->engine->journal.number,
               (unsigned long long)fold->slot);
        self->engine->journal.stopped = true;
        newer = false;
    }
    if (newer) {
        st_blocks_forget(self->engine);
        st_fold_adopt(fold, checkpoint, heads);
    } else {
        st_checkpoint_free(checkpoint);
    }
    st_fold_free(heads);
}

/* ---- writing ---- */

static void give_up_done(struct st_object_delete *op) {
    struct st_checkpointer *self = ST_OWNER(op, struct st_checkpointer, delete);
    st_engine_op_ended(self->engine);
    checkpointer_idle(self);
}

/* Another process was quicker: the object that nobody will ever name goes. */
static void delete_own(struct st_checkpointer *self) {
    self->delete = (struct st_object_delete){.done = give_up_done};
    memcpy(self->delete.name, self->put.name, sizeof self->delete.name);
    st_engine_op_started(self->engine);
    self->engine->store->ops->object_delete(self->engine->store, &self->delete);
}

/* The checkpoint before the last goes; whoever still rests on it loads the newest. */
static void delete_previous(struct st_checkpointer *self, const char *last) {
    self->delete = (struct st_object_delete){.done = give_up_done};
    memcpy(self->delete.name, self->previous, sizeof self->delete.name);
    memcpy(self->previous, last, sizeof self->previous);
    if (self->delete.name[0] == 0) {
        checkpointer_idle(self);
        return;
    }
    st_engine_op_started(self->engine);
    self->engine->store->ops->object_delete(self->engine->store, &self->delete);
}

static void advanced(struct st_checkpoint_ref *op);

static void advance(struct st_checkpointer *self) {
    self->step = STEP_ADVANCE;
    self->ref = (struct st_checkpoint_ref){
        .journal = self->engine->journal.number, .slot = self->slot, .size = self->put.len, .done = advanced};
    memcpy(self->ref.name, self->put.name, sizeof self->ref.name);
    st_engine_op_started(self->engine);
    self->engine->store->ops->checkpoint_advance(self->engine->store, &self->ref);
}

static void advanced(struct st_checkpoint_ref *op) {
    struct st_checkpointer *self = ST_OWNER(op, struct st_checkpointer, ref);
    struct st_engine *engine = self->engine;
    st_engine_op_ended(engine);
    store_date(self, op->date_ms);
    if (op->error == ST_TAKEN && self->advance_tries == 0) {
        delete_own(self);
        return;
    }
    if (op->error != ST_OK) {
        /* Unknown, or "taken" after an unknown try (then perhaps by ourselves): asked again, and never deleted. */
        if (op->error != ST_TAKEN && ++self->advance_tries < ADVANCE_TRIES_MOST) {
            advance(self);
        } else {
            checkpointer_idle(self);
        }
        return;
    }
    st_metrics.checkpoints_total++;
    ST_LOG(checkpoint_written, "journal=%u slot=%llu bytes=%zu", engine->journal.number,
           (unsigned long long)self->slot, self->put.len);
    mark_add(self, self->slot, op->date_ms);
    struct st_fold *fold = engine->journal.fold;
    char last[ST_OBJECT_NAME_MAX] = "";
    if (fold->checkpoint != NULL) {
        memcpy(last, fold->checkpoint->name, sizeof last);
    }
    if (fold->slot >= self->slot && (fold->checkpoint == NULL || fold->checkpoint->slot < self->slot)) {
        struct st_checkpoint *checkpoint = self->writer.checkpoint;
        self->writer.checkpoint = NULL;
        memcpy(checkpoint->name, self->put.name, sizeof checkpoint->name);
        checkpoint->size = self->put.len;
        st_blocks_forget(engine);
        st_fold_adopt(fold, checkpoint, self->snapshot);
    }
    trim(self);
    delete_previous(self, last);
}

static void put_done(struct st_object_put *op) {
    struct st_checkpointer *self = ST_OWNER(op, struct st_checkpointer, put);
    st_engine_op_ended(self->engine);
    if (op->error == ST_OK) {
        self->advance_tries = 0;
        advance(self);
    } else {
        checkpointer_idle(self); /* an orphan at worst; the next commit finds a checkpoint due */
    }
}

static void write_object(struct st_checkpointer *self) {
    struct st_engine *engine = self->engine;
    const struct st_store_profile *profile = &engine->store->profile;
    struct kp_slice heads = kp_slice_of(self->heads.data, self->heads.len);
    self->put = (struct st_object_put){.done = put_done};
    if (!st_checkpoint_write_end(&self->writer, self->slot, heads, self->hash)) {
        checkpointer_idle(self);
        return;
    }
    size_t len = self->writer.out.len, align = profile->object_align > 0 ? profile->object_align : 1;
    self->put.len = len;
    self->put.buffer = kp_blob_new(profile->object_head_room + (len + align - 1) / align * align);
    if (self->put.buffer == NULL ||
        !engine->store->ops->object_name(engine->store, ST_OBJECT_CHECKPOINT, engine->journal.number, self->slot, len,
                                         self->put.name)) {
        checkpointer_idle(self);
        return;
    }
    memcpy(self->put.buffer->data + profile->object_head_room, self->writer.out.data, len);
    self->step = STEP_PUT;
    st_engine_op_started(engine);
    engine->store->ops->object_put(engine->store, &self->put);
}

/* Rows of the fold that come before the key go out first. */
static void write_rows_before(struct st_checkpointer *self, const struct st_block_row *old) {
    while (self->row_next < self->row_count) {
        const struct st_block_row *row = &self->rows[self->row_next];
        if (old != NULL && st_row_key_compare(&row->topic_id, row->partition, row->row.base, &old->topic_id,
                                              old->partition, old->row.base) > 0) {
            break;
        }
        st_checkpoint_write_row(&self->writer, row);
        self->row_next++;
    }
}

static void write_old_block(struct st_checkpointer *self, const struct st_block *block) {
    for (size_t i = 0; i < block->count; i++) {
        const struct st_block_row *old = &block->rows[i];
        const struct st_partition *partition = st_fold_partition(self->snapshot, &old->topic_id, old->partition);
        if (partition != NULL && old->row.end > partition->log_start) {
            write_rows_before(self, old);
            st_checkpoint_write_row(&self->writer, old);
        }
    }
}

static void merge_next(struct st_checkpointer *self);

static void merge_block(struct st_block_wait *wait, enum st_error error, const struct st_block *block) {
    struct st_checkpointer *self = ST_OWNER(wait, struct st_checkpointer, block_wait);
    if (error != ST_OK || block == NULL) {
        checkpointer_idle(self);
        return;
    }
    write_old_block(self, block);
    self->old_block++;
    merge_next(self);
}

static void merge_next(struct st_checkpointer *self) {
    const struct st_checkpoint *old = self->engine->journal.fold->checkpoint;
    if ((old != NULL ? old->slot : 0) != self->old_slot) {
        checkpointer_idle(self); /* the fold went over to another checkpoint meanwhile */
        return;
    }
    if (old != NULL && self->old_block < old->block_count) {
        self->block_wait.done = merge_block;
        if (!st_block_get(self->engine, self->old_block, &self->block_wait)) {
            checkpointer_idle(self);
        }
        return;
    }
    write_rows_before(self, NULL);
    write_object(self);
}

/* ---- the copy that is written ---- */

static size_t count_rows(const struct st_fold *fold) {
    size_t count = 0;
    for (size_t i = 0; i < fold->topic_count; i++) {
        for (int32_t p = 0; p < fold->by_id[i]->view.partition_count; p++) {
            count += fold->by_id[i]->partitions[p].row_count;
        }
    }
    return count;
}

static bool copy_names(struct st_checkpointer *self, const struct st_fold *fold, struct kp_slice *names) {
    size_t bytes = 1;
    for (size_t i = 0; i < fold->object_count; i++) {
        bytes += strlen(fold->objects[i].name);
    }
    self->names = malloc(bytes);
    for (size_t i = 0, at = 0; self->names != NULL && i < fold->object_count; i++) {
        size_t len = strlen(fold->objects[i].name);
        memcpy(self->names + at, fold->objects[i].name, len);
        names[i] = kp_slice_of(self->names + at, len);
        at += len;
    }
    return self->names != NULL;
}

static void copy_rows(struct st_checkpointer *self, const struct st_fold *fold, const struct kp_slice *names) {
    for (size_t i = 0; i < fold->topic_count; i++) {
        const struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count; p++) {
            const struct st_partition *partition = &topic->partitions[p];
            for (size_t r = 0; r < partition->row_count; r++) {
                struct st_block_row *row = &self->rows[self->row_count++];
                *row = (struct st_block_row){.topic_id = topic->view.id, .partition = p, .row = partition->rows[r]};
                const struct st_object_ref *object = st_fold_object(fold, row->row.slot);
                if ((row->row.flags & ST_APPEND_INLINE) == 0 && object != NULL) {
                    row->object = names[object - fold->objects];
                    row->object_len = object->len;
                }
            }
        }
    }
}

/* Takes heads and rows as they are now. */
static bool copy_fold(struct st_checkpointer *self) {
    const struct st_fold *fold = self->engine->journal.fold;
    struct kp_slice *names = calloc(fold->object_count + 1, sizeof *names);
    self->rows = calloc(count_rows(fold) + 1, sizeof *self->rows);
    self->row_count = self->row_next = 0;
    bool copied = names != NULL && self->rows != NULL && copy_names(self, fold, names);
    if (copied) {
        copy_rows(self, fold, names);
    }
    free(names);
    st_pack_init(&self->heads, ST_CHECKPOINT_MAX);
    st_fold_write_heads(fold, &self->heads);
    self->slot = fold->slot;
    self->hash = st_heads_hash(kp_slice_of(self->heads.data, self->heads.len)); /* not used when they failed */
    self->snapshot = copied && !self->heads.failed ? st_fold_copy_heads(fold) : NULL;
    self->writing = self->snapshot != NULL && st_checkpoint_writer_init(&self->writer);
    return self->writing;
}

static void write_begin(struct st_checkpointer *self) {
    const struct st_checkpoint *old = self->engine->journal.fold->checkpoint;
    self->step = STEP_MERGE;
    self->old_slot = old != NULL ? old->slot : 0;
    self->old_block = 0;
    if (!copy_fold(self)) {
        checkpointer_idle(self);
        return;
    }
    merge_next(self);
}

/* ---- when ---- */

static void asked(struct st_checkpoint_ref *op) {
    struct st_checkpointer *self = ST_OWNER(op, struct st_checkpointer, ref);
    struct st_fold *fold = self->engine->journal.fold;
    st_engine_op_ended(self->engine);
    store_date(self, op->date_ms);
    if (op->error == ST_OK) {
        mark_add(self, op->slot, op->made_ms);
    }
    uint64_t own = fold->checkpoint != NULL ? fold->checkpoint->slot : 0;
    if (self->engine->closing || (op->error != ST_OK && op->error != ST_ABSENT)) {
        checkpointer_idle(self);
    } else if (op->error == ST_OK && op->slot > own) {
        self->step = STEP_LOAD;
        struct st_checkpoint_ref ref = *op;
        loader_begin(&self->newer_loader, self->engine, &ref);
    } else {
        write_begin(self);
    }
}

void st_checkpoints_consider(struct st_engine *engine) {
    struct st_checkpointer *self = engine->checkpointer;
    const struct st_fold *fold = engine->journal.fold;
    bool due = fold->entries_since_checkpoint >= engine->options.checkpoint_entries ||
               fold->bytes_since_checkpoint >= engine->options.checkpoint_bytes;
    /* All rows are written anew: not before there is a share of that to add, else a long log would write ever more. */
    due = due && (fold->checkpoint == NULL || fold->bytes_since_checkpoint >= fold->checkpoint->size / 4);
    if (!due || self->step != STEP_IDLE || engine->closing || engine->journal.loading) {
        return;
    }
    self->step = STEP_ASK;
    self->ref = (struct st_checkpoint_ref){.journal = engine->journal.number, .done = asked};
    st_engine_op_started(engine);
    engine->store->ops->checkpoint_get(engine->store, &self->ref);
}

bool st_engine_upkeep_busy(const struct st_engine *engine) {
    return engine->checkpointer->step != STEP_IDLE || engine->checkpointer->trimming;
}

static void tick(struct st_timer *timer) {
    struct st_checkpointer *self = ST_OWNER(timer, struct st_checkpointer, tick);
    store_date(self, self->engine->journal.proven_ms);
    trim(self);
    st_timer_start(self->engine->loop, &self->tick, TRIM_TICK);
}

/* ---- life ---- */

static void open_loaded(struct loader *loader, enum st_error error, struct st_fold *heads,
                        struct st_checkpoint *checkpoint) {
    struct st_checkpointer *self = ST_OWNER(loader, struct st_checkpointer, open_loader);
    if (error == ST_OK) {
        heads->checkpoint = checkpoint;
        mark_add(self, checkpoint->slot, loader->ref.made_ms);
        store_date(self, loader->ref.date_ms);
        st_blocks_forget(self->engine);
    }
    st_engine_loaded(self->engine, error, heads);
}

void st_checkpoint_load(struct st_engine *engine, const struct st_checkpoint_ref *ref) {
    struct st_checkpointer *self = engine->checkpointer;
    self->open_loader.loaded = open_loaded;
    loader_begin(&self->open_loader, engine, ref);
}

bool st_checkpoints_init(struct st_engine *engine) {
    struct st_checkpointer *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return false;
    }
    self->engine = engine;
    self->newer_loader.loaded = newer_loaded;
    self->tick.fn = tick;
    engine->checkpointer = self;
    st_timer_start(engine->loop, &self->tick, TRIM_TICK);
    return true;
}

void st_checkpoints_release(struct st_engine *engine) {
    struct st_checkpointer *self = engine->checkpointer;
    if (self == NULL) {
        return;
    }
    st_timer_stop(engine->loop, &self->tick);
    kp_blob_unref(self->open_loader.tail);
    kp_blob_unref(self->newer_loader.tail);
    checkpointer_idle(self);
    free(self);
}
