/*
 * The estimate is a quantile followed step by step: a request that was late lifts it by 95 parts of a step, one in time
 * lowers it by 5. So it stands still where 5 of 100 are late, whatever the distribution, and nothing is remembered but
 * itself. A step is a twentieth of it, so it takes a service that became five times as slow thirty-five late requests
 * to be known as such.
 */
#include "storage/backends/aws/hedge.h"

#include "storage/runtime/metrics.h"

enum {
    FIRST_US = 250 * 1000,
    LEAST_US = 20 * 1000,
    MOST_US = 2000 * 1000,
    STEPS = 20,         /* a step is so small a part of the estimate */
    LATE_PERCENT = 5,   /* of requests, once the estimate is right */
    PRICE = 20,         /* of a second request, each first one earning 1: one in twenty */
    EARNED_MAX = 10 * PRICE,
};

void st_aws_hedge_init(struct st_aws_hedge *hedge, bool always) {
    *hedge = (struct st_aws_hedge){.after_us = FIRST_US, .always = always};
}

int64_t st_aws_hedge_begin(struct st_aws_hedge *hedge, size_t bytes) {
    if (bytes > ST_AWS_HEDGE_BYTES_MAX) {
        return -1;
    }
    if (hedge->always && bytes <= ST_AWS_HEDGE_ALWAYS_BYTES_MAX) {
        return 0;
    }
    hedge->earned += hedge->earned < EARNED_MAX;
    return hedge->after_us / 1000;
}

static void move(struct st_aws_hedge *hedge, int64_t percent_of_step) {
    const int64_t after_us = hedge->after_us + hedge->after_us * percent_of_step / (STEPS * 100);
    hedge->after_us = after_us < LEAST_US ? LEAST_US : after_us > MOST_US ? MOST_US : after_us;
}

bool st_aws_hedge_late(struct st_aws_hedge *hedge, int64_t after_ms) {
    if (after_ms > 0) {
        move(hedge, 100 - LATE_PERCENT);
        if (hedge->earned < PRICE) {
            return false;
        }
        hedge->earned -= PRICE;
    }
    st_metrics.s3_hedges_total++;
    return true;
}

void st_aws_hedge_in_time(struct st_aws_hedge *hedge, int64_t after_ms) {
    if (after_ms > 0) { /* of those sent twice at once nobody knows how long the first alone had taken */
        move(hedge, -LATE_PERCENT);
    }
}
