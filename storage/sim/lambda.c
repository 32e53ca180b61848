/*
 * Clients as functions serve them: each has a process of its own, sends one record, waits for the answer, sends the
 * next. What fails is not repeated. Nothing gathers their records before the journal, so they compete for slots, and
 * their requests meet in the pool.
 */
#include "storage/sim/world.h"

#include <stdio.h>
#include <stdlib.h>

struct lambda {
    struct sim_client client;
    struct sim_node *node;
    int64_t left;      /* records of this period */
    bool open, syncing;
    struct sim_call call, sync_call;
    struct st_sync sync;
    struct st_append append;
    struct st_append_part part;
    struct sim_batch *batch;
};

static void next_tick(struct lambda *lambda) {
    const struct sim_plan *plan = &lambda->client.world->plan;
    sim_client_tick(&lambda->client, st_dice_spread(&lambda->client.dice, 1000, plan->lambda_think_ns));
}

static void answered(struct lambda *lambda, enum st_error error) {
    const struct st_append_part *part = &lambda->part;
    struct sim_world *world = lambda->client.world;
    world->sends_open--;
    lambda->open = false;
    sim_history_end(world, lambda->batch, error, part->base_offset, part->append_time_ms);
    next_tick(lambda);
}

static void append_done(struct st_append *op) {
    struct lambda *lambda = ST_OWNER(op, struct lambda, append);
    sim_call_end(&lambda->call);
    answered(lambda, lambda->part.error);
}

static void append_lost(struct sim_call *call) {
    answered(ST_OWNER(call, struct lambda, call), ST_UNKNOWN);
}

static void sync_done(struct st_sync *sync) {
    struct lambda *lambda = ST_OWNER(sync, struct lambda, sync);
    sim_call_end(&lambda->sync_call);
    lambda->syncing = false;
    next_tick(lambda);
}

static void sync_lost(struct sim_call *call) {
    struct lambda *lambda = ST_OWNER(call, struct lambda, sync_call);
    lambda->syncing = false;
    next_tick(lambda);
}

static void sync_begin(struct lambda *lambda) {
    lambda->syncing = true;
    lambda->sync = (struct st_sync){.done = sync_done};
    sim_call_begin(&lambda->sync_call, lambda->node, sync_lost);
    st_sync(lambda->node->engine, &lambda->sync);
}

/* Most write to one partition. */
static void send(struct lambda *lambda) {
    struct sim_world *world = lambda->client.world;
    struct st_dice *dice = &lambda->client.dice;
    unsigned name = st_dice_below(dice, 4) != 0 ? 0 : (unsigned)st_dice_below(dice, world->plan.names);
    struct sim_topic *topic = sim_history_newest(world, name);
    if (topic == NULL) {
        return;
    }
    if (st_topic_by_id(lambda->node->engine, &topic->id) == NULL) {
        sync_begin(lambda);
        return;
    }
    const struct sim_plan *plan = &world->plan;
    int32_t partition = st_dice_below(dice, 4) != 0 ? 0 : (int32_t)st_dice_below(dice, (uint64_t)topic->partitions);
    lambda->batch = sim_history_batch(world, topic, partition, 1, SIM_NOBODY);
    lambda->left--;
    lambda->open = true;
    world->sends_open++;
    sim_history_begin(world, lambda->batch, ++world->sources, false, 0);
    lambda->part = (struct st_append_part){
        .topic_id = topic->id, .partition = partition, .batch = lambda->batch->view, .blob = lambda->batch->blob};
    lambda->append = (struct st_append){
        .parts = &lambda->part,
        .count = 1,
        .timeout_ms = st_dice_spread(dice, plan->timeout_least_ns, plan->timeout_most_ns) / ST_MS,
        .done = append_done,
    };
    sim_call_begin(&lambda->call, lambda->node, append_lost);
    st_append(lambda->node->engine, &lambda->append);
}

static void lambda_tick(struct st_sim_event *event) {
    struct lambda *lambda = ST_OWNER(event, struct lambda, client.tick);
    struct sim_world *world = lambda->client.world;
    if (world->phase != SIM_BUSY || lambda->left <= 0 || lambda->open || lambda->syncing) {
        return;
    }
    if (sim_node_ready(lambda->node, lambda->node->life) && !st_append_congested(lambda->node->engine)) {
        send(lambda);
    }
    if (!lambda->open && !lambda->syncing) {
        sim_client_tick(&lambda->client, 20 * ST_MS); /* its process is down, or busy */
    }
}

static void lambda_morning(struct sim_client *client) {
    struct lambda *lambda = ST_OWNER(client, struct lambda, client);
    lambda->left = st_dice_between(&client->dice, 1, 3 * (int64_t)client->world->plan.batches);
    if (!lambda->open && !lambda->syncing) {
        sim_client_tick(client, st_dice_spread(&client->dice, 1000, 20 * ST_MS)); /* all at about the same time */
    }
}

static bool lambda_idle(const struct sim_client *client) {
    const struct lambda *lambda = ST_OWNER(client, struct lambda, client);
    return !lambda->open && !lambda->syncing;
}

static void lambda_free(struct sim_client *client) {
    free(ST_OWNER(client, struct lambda, client));
}

void sim_lambda_new(struct sim_world *world, unsigned number) {
    struct lambda *lambda = calloc(1, sizeof *lambda);
    if (lambda == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &lambda->client, "lambda", number);
    lambda->node = &world->nodes[world->plan.nodes - 1 - number];
    lambda->client.tick.fn = lambda_tick;
    lambda->client.morning = lambda_morning;
    lambda->client.idle = lambda_idle;
    lambda->client.free = lambda_free;
}
