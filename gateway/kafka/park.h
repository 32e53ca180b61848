/*
 * Waiting for records: until one of some partitions grows, or a time is over, whichever is first. Embedded in the state
 * of the exchange that waits.
 */
#ifndef GW_KAFKA_PARK_H
#define GW_KAFKA_PARK_H

#include "gateway/kafka/exchange.h"

struct gw_park_waiter {
    struct st_waiter waiter;
    struct gw_park *park;
};

struct gw_park {
    struct gateway *gateway;
    struct gw_park_waiter *waiters; /* the owner's room */
    size_t count;
    struct st_timer timer;
    /* Runs once, when nothing is waited for any more. grew: a partition did; else the time is over. */
    void (*over)(struct gw_park *park, bool grew);
    bool parked;
};

/* topic_id and partition of each waiter are set. */
void gw_park_start(struct gw_park *park, int64_t delay_ns);
/* Stops waiting without calling `over`. */
void gw_park_stop(struct gw_park *park);

#endif
