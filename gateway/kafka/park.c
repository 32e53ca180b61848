#include "gateway/kafka/park.h"

void gw_park_stop(struct gw_park *park) {
    if (!park->parked) {
        return;
    }
    park->parked = false;
    st_timer_stop(park->gateway->loop, &park->timer);
    for (size_t i = 0; i < park->count; i++) {
        st_wait_stop(park->gateway->engine, &park->waiters[i].waiter);
    }
}

static void time_over(struct st_timer *timer) {
    struct gw_park *park = ST_OWNER(timer, struct gw_park, timer);
    gw_park_stop(park);
    park->over(park, false);
}

static void partition_grew(struct st_waiter *waiter) {
    struct gw_park *park = ST_OWNER(waiter, struct gw_park_waiter, waiter)->park;
    gw_park_stop(park);
    park->over(park, true);
}

void gw_park_start(struct gw_park *park, int64_t delay_ns) {
    park->parked = true;
    park->timer = (struct st_timer){.fn = time_over};
    st_timer_start(park->gateway->loop, &park->timer, delay_ns);
    for (size_t i = 0; i < park->count; i++) {
        struct gw_park_waiter *wait = &park->waiters[i];
        wait->park = park;
        wait->waiter.fn = partition_grew;
        wait->waiter.link = NULL;
        wait->waiter.fired = false;
        st_wait_start(park->gateway->engine, &wait->waiter);
    }
}
