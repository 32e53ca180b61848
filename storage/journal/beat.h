/*
 * The beat in which the entries of a pool come (pool.h): who writes them, for how many, when the next can be seen, and
 * until when in it a request must have come to be in that one.
 *
 * Each look of each who waits is paid for, and so is each millisecond that an entry stands unseen. Who writes one entry
 * after the other does so at even distances, and an entry tells when it was made, by the clock of its writer. The least
 * time that ever passed from then until the own process saw one, by its own clock, tells when the last could be seen
 * first, however late it was seen in fact; the next can a cycle later. As between the clocks of NTP (RFC 5905, "clock
 * filter") the least of many is near the truth, because delays only add.
 *
 * All of it is for doing things at the right time. Clocks may be wrong and leap: then looks come too early or too late.
 */
#ifndef ST_BEAT_H
#define ST_BEAT_H

#include "protocol/bytes/uuid.h"
#include "storage/runtime/loop.h"

struct st_beat {
    struct kp_uuid leader; /* who wrote the last entry that several shared */
    unsigned led;          /* so many of them in a row; 0: nobody leads */
    size_t crowd;          /* about so many wait: the most in an entry of late */
    int64_t seen_ns;       /* when the last entry was applied here; 0: never */
    int64_t made_ms;       /* when it was made, by the leader's clock */
    int64_t first_ns;      /* about when it could be seen first, by the own clock */
    int64_t cycle_ns;      /* about so long after the one before */
    int64_t late_ns;       /* what comes later than so long after first_ns is not in the next one, as far as is known */
};

void st_beat_init(struct st_beat *beat);
/* An entry with so many requests (1 at least), made then by that writer, was applied now. */
void st_beat_entry(struct st_beat *beat, int64_t now_ns, int64_t made_ms, const struct kp_uuid *writer,
                   size_t requests);
/* A request that came so long after a first_ns was in the next entry, or was passed over by it. */
void st_beat_learn(struct st_beat *beat, int64_t after_ns, bool passed_over);

#endif
