/*
 * Which row holds an offset, or first reaches a time: in memory since the checkpoint, in its blocks before it. A search
 * that needs a block which is not in memory starts its load and tells the caller to look again.
 */
#include "storage/engine_state.h"

/* ---- rows of the fold ---- */

static enum st_row_search found(struct st_engine *engine, const struct st_partition *partition,
                                const struct st_row *row, struct st_row_ref *ref) {
    *ref = (struct st_row_ref){
        .row = *row,
        .topic_id = partition->topic->view.id,
        .partition = partition->number,
    };
    if ((row->flags & ST_APPEND_INLINE) == 0) {
        const struct st_object_ref *object = st_fold_object(engine->journal.fold, row->slot);
        if (object == NULL) {
            return ST_ROW_ABSENT;
        }
        ref->object = kp_slice_cstr(object->name);
        ref->object_len = object->len;
    }
    return ST_ROW_FOUND;
}

/* ---- rows of the checkpoint ---- */

static void block_there(struct st_block_wait *block_wait, enum st_error error, const struct st_block *block) {
    struct st_load_wait *wait = ST_OWNER(block_wait, struct st_load_wait, block_wait);
    (void)block; /* the caller looks again, and finds it in memory */
    wait->done(wait, error, NULL, (struct kp_slice){0});
}

static enum st_row_search load_block(struct st_engine *engine, size_t number, struct st_load_wait *wait) {
    if (wait == NULL) {
        return ST_ROW_LOADING;
    }
    wait->block_wait.done = block_there;
    return st_block_get(engine, number, &wait->block_wait) ? ST_ROW_LOADING : ST_ROW_NO_MEMORY;
}

static bool is_of(const struct st_block_row *row, const struct st_partition *partition) {
    return row->partition == partition->number && kp_uuid_equal(&row->topic_id, &partition->topic->view.id);
}

static enum st_row_search found_in_block(const struct st_block_row *row, struct st_row_ref *ref) {
    *ref = (struct st_row_ref){.row = row->row,
                               .topic_id = row->topic_id,
                               .partition = row->partition,
                               .object = row->object,
                               .object_len = row->object_len};
    return ST_ROW_FOUND;
}

static enum st_row_search find_old(struct st_engine *engine, const struct st_partition *partition, int64_t offset,
                                   struct st_row_ref *ref, struct st_load_wait *wait) {
    const struct st_checkpoint *checkpoint = engine->journal.fold->checkpoint;
    const struct kp_uuid *id = &partition->topic->view.id;
    size_t number = checkpoint != NULL ? st_checkpoint_block_of(checkpoint, id, partition->number, offset) : SIZE_MAX;
    if (number == SIZE_MAX) {
        return ST_ROW_ABSENT;
    }
    const struct st_block *block = st_block_find(engine, number);
    if (block == NULL) {
        return load_block(engine, number, wait);
    }
    size_t low = 0, high = block->count;
    while (low < high) { /* first row that begins above the key */
        size_t middle = low + (high - low) / 2;
        const struct st_block_row *row = &block->rows[middle];
        if (st_row_key_compare(&row->topic_id, row->partition, row->row.base, id, partition->number, offset) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct st_block_row *row = low > 0 ? &block->rows[low - 1] : NULL;
    bool holds = row != NULL && is_of(row, partition) && offset < row->row.end;
    return holds ? found_in_block(row, ref) : ST_ROW_ABSENT;
}

/* ---- searches ---- */

enum st_row_search st_row_find(struct st_engine *engine, const struct st_partition *partition, int64_t offset,
                               struct st_row_ref *ref, struct st_load_wait *wait) {
    if (offset < partition->old_end) {
        return find_old(engine, partition, offset, ref, wait);
    }
    const struct st_row *row = st_partition_row(partition, offset);
    return row != NULL ? found(engine, partition, row, ref) : ST_ROW_ABSENT;
}

/* The first row in the blocks that reaches the time: it lies in the last block that begins below it, or begins the
 * next. */
static enum st_row_search find_old_time(struct st_engine *engine, const struct st_partition *partition,
                                        int64_t timestamp_ms, struct st_row_ref *ref, struct st_load_wait *wait) {
    const struct st_checkpoint *checkpoint = engine->journal.fold->checkpoint;
    const struct kp_uuid *id = &partition->topic->view.id;
    if (checkpoint == NULL || checkpoint->block_count == 0) {
        return ST_ROW_ABSENT;
    }
    size_t first = st_checkpoint_block_of(checkpoint, id, partition->number, partition->log_start);
    size_t last = st_checkpoint_block_of(checkpoint, id, partition->number, INT64_MAX);
    size_t number = first == SIZE_MAX ? 0 : first;
    while (number + 1 <= last && last != SIZE_MAX && checkpoint->blocks[number + 1].time_reached_ms < timestamp_ms) {
        number++;
    }
    for (; last != SIZE_MAX && number <= last; number++) {
        const struct st_block *block = st_block_find(engine, number);
        if (block == NULL) {
            return load_block(engine, number, wait);
        }
        for (size_t i = 0; i < block->count; i++) {
            const struct st_block_row *row = &block->rows[i];
            if (is_of(row, partition) && row->row.end > partition->log_start &&
                row->row.time_reached_ms >= timestamp_ms) {
                return found_in_block(row, ref);
            }
        }
    }
    return ST_ROW_ABSENT;
}

enum st_row_search st_row_find_time(struct st_engine *engine, const struct st_partition *partition,
                                    int64_t timestamp_ms, struct st_row_ref *ref, struct st_load_wait *wait) {
    if (partition->old_end > partition->log_start && partition->old_time_ms >= timestamp_ms) {
        return find_old_time(engine, partition, timestamp_ms, ref, wait);
    }
    size_t low = 0, high = partition->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (partition->rows[middle].time_reached_ms < timestamp_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < partition->row_count ? found(engine, partition, &partition->rows[low], ref) : ST_ROW_ABSENT;
}
