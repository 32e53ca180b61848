/*
 * What a seed decides before it runs (swarm testing): every seed draws its own sizes, limits and fault rates, and
 * many rates are zero, because a fault that never rests hides what another one would show.
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "storage/backends/sim.h"
#include "storage/engine.h"

#define SIM_NODES_MAX 12
#define SIM_GATEWAYS_MAX 4
#define SIM_NAMES_MAX 4
#define SIM_PARTITIONS_MAX 3

struct sim_plan_topic {
    int32_t partitions;
    int64_t first_offset;
    bool log_append_time;
    bool doomed; /* is deleted and made anew while others use it */
};

struct sim_plan {
    unsigned nodes, names, producers, readers;
    unsigned lambdas; /* nodes, the last of all, that have a client of their own with one request at a time */
    unsigned keyed; /* clients that send under idempotency keys */
    struct sim_plan_topic topics[SIM_NAMES_MAX];
    struct st_sim_options store;
    struct st_engine_options engine;

    /* processes; chances are per million requests sent by one */
    uint32_t crash, pause;
    int64_t down_most_ns, pause_most_ns;
    bool clocks_off;  /* drift, jumps of wall time, a monotonic clock that stands still while frozen */
    uint32_t outages; /* of the whole store, in each period */

    /* time: busy periods with nights between them, in which only a frozen process' requests are under way */
    unsigned periods;
    int64_t period_ns, night_ns;
    bool frozen_by_night;

    /* clients */
    int64_t lambda_think_ns;
    unsigned batches; /* a producer and period, about */
    int64_t think_most_ns;
    uint32_t record_most; /* bytes */
    int64_t timeout_least_ns, timeout_most_ns;
};

struct sim_plan sim_plan_draw(uint64_t seed);
/* The faults of a healed store. */
void sim_plan_heal(struct st_sim_options *store);

#endif
