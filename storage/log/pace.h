/*
 * When a flush may close, where a PUT and a table's bytes cost money (struct st_store_profile; DESIGN.md, "Commit").
 *
 * A flush of few bytes rides in its entry and has the table's latency, so it closes at once; but the table asks a write
 * unit for each kilobyte, which is more than a PUT from about 8 KiB on. So a journal has a budget of bytes a second.
 * Bytes of all flushes fill a bucket that drains at that rate; while it is full, flushes are paced: they close at most
 * once in pacing_ms, and so outgrow the inline limit and go into objects. A flush that needs an object anyway is paced
 * always. Time is counted from the close before, not from its end: who sends one request after the other waits for the
 * rest of the interval only, and who comes after a pause does not wait at all.
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

/* The earliest time at which a flush of `bytes` record bytes may close; `object`: it needs one. A full one need not
 * ask. */
int64_t st_pace_from(const struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns, size_t bytes,
                     bool object);
/* Such a flush closes now. */
void st_pace_closed(struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns, size_t bytes,
                    bool object);

#endif
