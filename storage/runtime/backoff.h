/*
 * How long to wait before the store is asked again: full jitter, so that many who failed together do not come back
 * together, from 25 ms doubling to a second.
 */
#ifndef ST_BACKOFF_H
#define ST_BACKOFF_H

#include "storage/runtime/loop.h"

/* Nanoseconds to wait after so many failures in a row. Draws from the loop's randomness. */
int64_t st_backoff_ns(struct st_loop *loop, unsigned failures);

#endif
