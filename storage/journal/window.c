/*
 * The last batches of a producer in a partition. Sequences wrap (st_sequence_add), so they stand on a circle: what lies
 * less than half of it ahead is early, the rest is the past.
 */
#include "storage/journal/fold.h"

enum st_sequence st_window_check(const struct st_window *window, int16_t epoch, int32_t first_sequence, int32_t count,
                                 const struct st_window_batch **duplicate) {
    if (window == NULL || window->count == 0) {
        return first_sequence == 0 ? ST_SEQUENCE_NEXT : ST_SEQUENCE_UNKNOWN;
    }
    int32_t last = st_sequence_add(first_sequence, count - 1);
    for (uint8_t i = 0; epoch == window->epoch && i < window->count; i++) {
        if (window->batches[i].first_sequence == first_sequence && window->batches[i].last_sequence == last) {
            *duplicate = &window->batches[i];
            return ST_SEQUENCE_DUPLICATE;
        }
    }
    if (epoch < window->epoch) {
        return ST_SEQUENCE_FENCED;
    }
    if (epoch > window->epoch) {
        return first_sequence == 0 ? ST_SEQUENCE_NEXT : ST_SEQUENCE_EARLY;
    }
    int32_t expected = st_sequence_add(window->batches[0].last_sequence, 1);
    if (first_sequence == expected) {
        return ST_SEQUENCE_NEXT;
    }
    /* Half of the circle ahead is early, the other half is the past. */
    uint32_t ahead = ((uint32_t)first_sequence - (uint32_t)expected) & INT32_MAX;
    return ahead < UINT32_C(1) << 30 ? ST_SEQUENCE_EARLY : ST_SEQUENCE_OLD;
}

void st_window_add(struct st_window *window, int16_t epoch, int32_t first_sequence, int32_t count, int64_t base,
                   int64_t append_time_ms) {
    if (window->count == 0 || epoch != window->epoch) {
        window->count = 0;
        window->epoch = epoch;
    }
    if (window->count < ST_WINDOW) {
        window->count++;
    }
    memmove(&window->batches[1], &window->batches[0], (window->count - 1u) * sizeof window->batches[0]);
    window->batches[0] = (struct st_window_batch){
        .first_sequence = first_sequence,
        .last_sequence = st_sequence_add(first_sequence, count - 1),
        .base = base,
        .append_time_ms = append_time_ms,
    };
}
