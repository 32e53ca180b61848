/*
 * The fold written down: its canonical form, hash and copy, and what a newer checkpoint lets it forget.
 */
#include "storage/journal/checkpoint.h"
#include "storage/journal/fold_tables.h"
#include "storage/mutants.h"

/* ---- a newer checkpoint ---- */

static void forget_old_rows(struct st_partition *partition, const struct st_partition *at_checkpoint, uint64_t slot) {
    size_t old = 0;
    while (old < partition->row_count && partition->rows[old].slot <= slot) {
        old++;
    }
    if (old > 0) {
        memmove(partition->rows, partition->rows + old, (partition->row_count - old) * sizeof(struct st_row));
        partition->row_count -= old;
    }
    if (at_checkpoint != NULL) {
        partition->old_end = at_checkpoint->end;
        partition->old_time_ms = at_checkpoint->time_reached_ms;
    }
}

void st_fold_adopt(struct st_fold *fold, struct st_checkpoint *checkpoint, const struct st_fold *at_checkpoint) {
    uint64_t slot = checkpoint->slot;
    for (size_t i = 0; i < fold->topic_count; i++) {
        struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count; p++) {
            struct st_partition *partition = &topic->partitions[p];
            forget_old_rows(partition, st_fold_partition(at_checkpoint, &topic->view.id, p), slot);
        }
    }
    size_t old = 0;
    while (old < fold->object_count && fold->objects[old].slot <= slot) {
        free(fold->objects[old++].name);
    }
    if (old > 0) {
        memmove(fold->objects, fold->objects + old, (fold->object_count - old) * sizeof(struct st_object_ref));
        fold->object_count -= old;
    }
    fold->entries_since_checkpoint = fold->slot - slot;
    fold->bytes_since_checkpoint = 0;
    st_checkpoint_free(fold->checkpoint);
    fold->checkpoint = checkpoint;
}

/* ---- canonical form ---- */

static void write_producer(const struct st_producer *producer, struct st_pack *out) {
    st_pack_u(out, (uint64_t)producer->id);
    st_pack_u(out, (uint64_t)producer->window.epoch);
    st_pack_u(out, producer->window.count);
    for (uint8_t i = 0; i < producer->window.count; i++) {
        const struct st_window_batch *batch = &producer->window.batches[i];
        st_pack_u(out, (uint64_t)batch->first_sequence);
        st_pack_u(out, (uint64_t)batch->last_sequence);
        st_pack_i(out, batch->base);
        st_pack_i(out, batch->append_time_ms);
    }
}

static void write_topic_head(const struct st_topic_state *topic, struct st_pack *out) {
    st_pack_uuid(out, &topic->view.id);
    st_pack_slice(out, topic->view.name);
    st_pack_u(out, (uint64_t)topic->view.partition_count);
    st_pack_i(out, topic->view.first_offset);
    st_pack_u(out, topic->view.config_count);
    st_pack_bytes(out, topic->configs_copy.ptr, topic->configs_copy.len);
    for (int32_t p = 0; p < topic->view.partition_count; p++) {
        const struct st_partition *partition = &topic->partitions[p];
        st_pack_i(out, partition->log_start);
        st_pack_i(out, partition->end);
        st_pack_i(out, partition->time_reached_ms);
        st_pack_fixed(out, partition->rows_hash, 8);
        size_t producers = ST_MUTANT(checkpoint_omits_producers) ? 0 : partition->producer_count;
        st_pack_u(out, producers);
        for (size_t i = 0; i < producers; i++) {
            write_producer(partition->producers[i], out);
        }
    }
}

static void write_pooled(const struct st_fold *fold, struct st_pack *out) {
    if (fold->pooled_count == 0) {
        return;
    }
    st_pack_u(out, ST_HEADS_POOLED);
    st_pack_u(out, fold->pooled_count);
    for (size_t i = 0; i < fold->pooled_count; i++) {
        st_pack_uuid(out, &fold->pooled[i].id);
        st_pack_u(out, fold->pooled[i].slot);
        st_pack_u(out, st_refusal_number(fold->pooled[i].verdict));
    }
}

static void write_keys(const struct st_fold *fold, struct st_pack *out) {
    if (!st_keys_empty(&fold->keys) && !ST_MUTANT(checkpoint_omits_keys)) {
        st_pack_u(out, ST_HEADS_KEYS);
        st_keys_write(&fold->keys, out);
    }
}

void st_fold_write_heads(const struct st_fold *fold, struct st_pack *out) {
    st_pack_u(out, fold->slot);
    st_pack_u(out, fold->level);
    st_pack_u(out, fold->next_producer_id);
    st_pack_fixed(out, fold->objects_hash, 8);
    st_pack_u(out, fold->topic_count);
    for (size_t i = 0; i < fold->topic_count; i++) {
        write_topic_head(fold->by_id[i], out);
    }
    write_pooled(fold, out);
    write_keys(fold, out);
}

uint64_t st_heads_hash(struct kp_slice heads) {
    uint64_t hash = heads.len;
    for (size_t i = 0; i < heads.len; i++) {
        hash = st_hash_mix(hash, heads.ptr[i]);
    }
    return hash != 0 ? hash : 1;
}

uint64_t st_fold_hash(const struct st_fold *fold) {
    struct st_pack out;
    st_pack_init(&out, SIZE_MAX);
    st_fold_write_heads(fold, &out);
    uint64_t hash = out.failed ? 0 : st_heads_hash(kp_slice_of(out.data, out.len));
    st_pack_release(&out);
    return hash;
}

static bool copy_partition(const struct st_partition *from, struct st_partition *to) {
    to->log_start = from->log_start;
    to->end = to->old_end = from->end;
    to->time_reached_ms = to->old_time_ms = from->time_reached_ms;
    to->rows_hash = from->rows_hash;
    for (size_t i = 0; i < from->producer_count; i++) {
        struct st_producer *producer = st_partition_add_producer(to, from->producers[i]->id);
        if (producer == NULL) {
            return false;
        }
        producer->window = from->producers[i]->window;
    }
    return true;
}

struct st_fold *st_fold_copy_heads(const struct st_fold *fold) {
    struct st_fold *copy = st_fold_new();
    bool whole = copy != NULL;
    for (size_t i = 0; whole && i < fold->topic_count; i++) {
        const struct st_topic_state *from = fold->by_id[i];
        struct st_fact_topic fact = {
            .id = from->view.id,
            .name = from->view.name,
            .partitions = from->view.partition_count,
            .first_offset = from->view.first_offset,
            .config_count = (uint32_t)from->view.config_count,
            .configs = from->configs_copy,
        };
        struct st_topic_state *to = st_fold_add_topic(copy, &fact);
        whole = to != NULL;
        for (int32_t p = 0; whole && p < from->view.partition_count; p++) {
            whole = copy_partition(&from->partitions[p], &to->partitions[p]);
        }
    }
    whole = whole && st_fold_grow(&copy->pooled, fold->pooled_count, &copy->pooled_capacity, sizeof *copy->pooled);
    if (!whole || !st_keys_copy(&fold->keys, &copy->keys)) {
        st_fold_free(copy);
        return NULL;
    }
    if (fold->pooled_count > 0) {
        memcpy(copy->pooled, fold->pooled, fold->pooled_count * sizeof *copy->pooled);
    }
    copy->pooled_count = fold->pooled_count;
    copy->pool_window = fold->pool_window;
    copy->slot = fold->slot;
    copy->level = fold->level;
    copy->next_producer_id = fold->next_producer_id;
    copy->objects_hash = fold->objects_hash;
    return copy;
}
