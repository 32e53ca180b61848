/*
 * When a flush may close, where a PUT and a table's bytes cost money (struct st_store_profile; DESIGN.md, "Commit").
 *
 * A flush of few bytes rides in its entry and has the table's latency, so it closes at once; but the table asks a write
 * unit for each kilobyte, which is more than a PUT from about 8 KiB on. So a journal has a budget of bytes a second.
 * Bytes of all flushes fill a bucket that drains at that rate; while it is full, flushes are paced: they close at most
 * once in pacing_ms, and so outgrow the inline limit and go into objects. A flush that needs an object anyway is paced
 * always. Time is counted from the close before, not from its end: who comes after a pause does not wait at all.
 *
 * Producers that wait for each answer before they send the next request would wait for the rest of the interval as
 * well, each time, and all of their records with them. Their flush is known by two things: it began when none was under
 * way, and after its first moments nothing more came. It waits for half of the interval only. Since it goes round in no
 * less than a PUT and a commit take, it costs about a fifth more PUTs than the pace has.
 */
#ifndef ST_PACE_H
#define ST_PACE_H

#include "storage/store.h"

struct st_pace {
    bool began;
    int64_t paced_ns;   /* when the last paced flush closed */
    int64_t level_ns;   /* when `level` was true */
    uint64_t level;     /* bytes in the bucket */
};

/* What there is to know of a flush. */
struct st_pace_flush {
    size_t bytes; /* of records */
    bool object;  /* it needs one */
    bool alone;   /* all of it came at once, when none was under way */
};

/* The earliest time at which the flush may close. A full one need not ask. */
int64_t st_pace_from(const struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns,
                     const struct st_pace_flush *flush);
/* It closes now. */
void st_pace_closed(struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns,
                    const struct st_pace_flush *flush);

#endif
