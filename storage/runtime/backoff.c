/* One curve for everybody who tries again. */
#include "storage/runtime/backoff.h"

#define LEAST (25 * ST_MS)
#define MOST (1000 * ST_MS)
#define DOUBLINGS 6

int64_t st_backoff_ns(struct st_loop *loop, unsigned failures) {
    int64_t most = LEAST << (failures < DOUBLINGS ? failures : DOUBLINGS);
    if (most > MOST) {
        most = MOST;
    }
    return LEAST / 2 + (int64_t)(st_random_u64(loop) % (uint64_t)most);
}
