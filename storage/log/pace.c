/* The bucket and the interval of storage/log/pace.h. */
#include "storage/log/pace.h"

#define BUCKET_MS 250 /* of the budget: so long a burst may last before flushes are paced */
#define MS_A_SECOND 1000

static uint64_t bucket_of(const struct st_store_profile *profile) {
    return (uint64_t)profile->inline_bytes_per_s * BUCKET_MS / MS_A_SECOND;
}

static uint64_t level_at(const struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns) {
    uint64_t bucket = bucket_of(profile);
    uint64_t passed_ms = (uint64_t)((now_ns - pace->level_ns) / ST_MS);
    uint64_t drained = profile->inline_bytes_per_s * passed_ms / MS_A_SECOND;
    uint64_t level = pace->level > 2 * bucket ? 2 * bucket : pace->level; /* so that it is empty soon after a burst */
    return level > drained ? level - drained : 0;
}

static bool is_paced(const struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns,
                     const struct st_pace_flush *flush) {
    if (profile->pacing_ms == 0) {
        return false;
    }
    return flush->object || (flush->bytes > 0 && profile->inline_bytes_per_s > 0 &&
                             level_at(pace, profile, now_ns) + flush->bytes > bucket_of(profile));
}

int64_t st_pace_from(const struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns,
                     const struct st_pace_flush *flush) {
    if (!pace->began || !is_paced(pace, profile, now_ns, flush)) {
        return now_ns;
    }
    int64_t from = pace->paced_ns + profile->pacing_ms * ST_MS / (flush->alone ? 2 : 1);
    return from > now_ns ? from : now_ns;
}

void st_pace_closed(struct st_pace *pace, const struct st_store_profile *profile, int64_t now_ns,
                    const struct st_pace_flush *flush) {
    if (is_paced(pace, profile, now_ns, flush)) {
        pace->began = true;
        pace->paced_ns = now_ns;
    }
    if (profile->inline_bytes_per_s > 0 && flush->bytes > 0) {
        pace->level = level_at(pace, profile, now_ns) + flush->bytes;
        pace->level_ns = now_ns;
    }
}
