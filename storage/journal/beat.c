/* Keeping the beat, storage/journal/beat.h. */
#include "storage/journal/beat.h"

#define CYCLE_MOST (2 * ST_SECOND) /* a longer pause between two entries says nothing of the next */
#define DRIFT_SHARE 64 /* the least delay is forgotten by this share of what the last one was above it: clocks drift */
#define LATE_AT_FIRST (30 * ST_MS)
#define LATE_SHARE 8   /* of an error */

void st_beat_init(struct st_beat *beat) {
    *beat = (struct st_beat){.late_ns = LATE_AT_FIRST};
}

static int64_t least_delay(const struct st_beat *beat, int64_t delay_ns) {
    int64_t least_ns = beat->first_ns - beat->made_ms * ST_MS;
    return delay_ns < least_ns ? delay_ns : least_ns + (delay_ns - least_ns) / DRIFT_SHARE;
}

void st_beat_entry(struct st_beat *beat, int64_t now_ns, int64_t made_ms, const struct kp_uuid *writer,
                   size_t requests) {
    bool goes_on = beat->led > 0 && kp_uuid_equal(&beat->leader, writer);
    int64_t took_ns = goes_on ? (made_ms - beat->made_ms) * ST_MS : now_ns - beat->seen_ns;
    if (beat->seen_ns != 0 && took_ns >= 0 && took_ns < CYCLE_MOST) {
        beat->cycle_ns += (took_ns - beat->cycle_ns) / 4;
    }
    int64_t delay_ns = now_ns - made_ms * ST_MS; /* and what the clocks differ by */
    beat->first_ns = made_ms * ST_MS + (goes_on ? least_delay(beat, delay_ns) : delay_ns);
    beat->made_ms = made_ms;
    beat->seen_ns = now_ns;
    beat->led = requests < 2 ? 0 : goes_on ? beat->led + 1 : 1;
    beat->leader = *writer;
    beat->crowd = requests > beat->crowd ? requests : beat->crowd - (beat->crowd - requests + 3) / 4;
}

void st_beat_learn(struct st_beat *beat, int64_t after_ns, bool passed_over) {
    if (passed_over != (after_ns > beat->late_ns)) {
        beat->late_ns += (after_ns - beat->late_ns) / LATE_SHARE;
    }
}
