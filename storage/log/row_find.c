/* Which row holds an offset, or first reaches a time: in memory since the checkpoint, in its blocks before it. */
#include "storage/engine_state.h"

/* Fills the reference from a row of the fold. */
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
    }
    return ST_ROW_FOUND;
}

enum st_row_search st_row_find(struct st_engine *engine, const struct st_partition *partition, int64_t offset,
                               struct st_row_ref *ref, struct st_load_wait *wait) {
    (void)wait;
    const struct st_row *row = st_partition_row(partition, offset);
    return row != NULL ? found(engine, partition, row, ref) : ST_ROW_ABSENT;
}

enum st_row_search st_row_find_time(struct st_engine *engine, const struct st_partition *partition, int64_t timestamp_ms,
                                    struct st_row_ref *ref, struct st_load_wait *wait) {
    (void)wait;
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
