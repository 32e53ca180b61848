#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX UINT64_C(3000000)  /* a seed that needs more turns in circles */
#define HEAL_MOST_NS (30 * ST_SECOND) /* I15 */
#define MILLION INT64_C(1000000)
#define HASH_EVERY 10 /* runs of a node's loop between two hashes of its state */
#define VIEW_EVERY 4  /* ... between two looks at its ends */

void sim_broken(struct sim_world *world, const char *format, ...) {
    if (world->broken) {
        return;
    }
    world->broken = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->reason, sizeof world->reason, format, arguments);
    va_end(arguments);
    if (world->clock.verbose) {
        printf("%14.6f  BROKEN: %s\n", (double)sim_now(world) / 1e9, world->reason);
    }
}

/* ---- clocks of a node ---- */

static int64_t scaled(int64_t ns, int64_t ppm) {
    return ns / MILLION * ppm + ns % MILLION * ppm / MILLION;
}

static int64_t mono_at(const struct sim_node *node, int64_t world_ns) {
    int64_t elapsed = node->frozen && node->mono_stands ? 0 : world_ns - node->world_base_ns;
    return node->mono_base_ns + elapsed + scaled(elapsed, node->drift_ppm);
}

/* The first instant at which the node's clock shows `mono_ns`. */
static int64_t world_at(const struct sim_node *node, int64_t mono_ns) {
    int64_t wait = mono_ns - mono_at(node, sim_now(node->world));
    if (wait <= 0) {
        return sim_now(node->world);
    }
    if (wait > INT64_MAX / 4) {
        return INT64_MAX;
    }
    int64_t at =
        sim_now(node->world) + wait - scaled(wait, node->drift_ppm * MILLION / (MILLION + node->drift_ppm));
    while (mono_at(node, at) < mono_ns) {
        at += 1 + (mono_ns - mono_at(node, at)) / 2;
    }
    return at;
}

static int64_t now_mono(void *self) {
    const struct sim_node *node = self;
    return mono_at(node, sim_now(node->world));
}

static int64_t now_wall(void *self) {
    const struct sim_node *node = self;
    return st_sim_date_ms(node->world->store) + node->wall_off_ms;
}

static void random_bytes(void *self, void *bytes, size_t len) {
    struct sim_node *node = self;
    for (size_t done = 0; done < len; done += 8) {
        uint64_t word = st_dice_u64(&node->random);
        memcpy((uint8_t *)bytes + done, &word, len - done < 8 ? len - done : 8);
    }
}

static void set_clocks(struct sim_node *node) {
    struct st_dice *dice = &node->dice;
    node->world_base_ns = sim_now(node->world);
    node->mono_base_ns = st_dice_between(dice, 1, 100 * ST_SECOND);
    if (node->world->plan.clocks_off) {
        node->drift_ppm = st_dice_between(dice, -50000, 50000);
        node->wall_off_ms = st_dice_between(dice, -1, 1) * st_dice_spread(dice, 1, INT64_C(315360000000));
    }
}

/* ---- life and death ---- */

void sim_call_begin(struct sim_call *call, struct sim_node *node, void (*lost)(struct sim_call *call)) {
    call->node = node;
    call->lost = lost;
    call->next = node->calls;
    call->link = &node->calls;
    if (call->next != NULL) {
        call->next->link = &call->next;
    }
    node->calls = call;
}

void sim_call_end(struct sim_call *call) {
    *call->link = call->next;
    if (call->next != NULL) {
        call->next->link = call->link;
    }
    call->node = NULL;
}

static void lose_calls(struct sim_node *node) {
    while (node->calls != NULL) {
        struct sim_call *call = node->calls;
        sim_call_end(call);
        call->lost(call);
    }
}

static void node_down(struct sim_node *node) {
    node->state = SIM_DOWN;
    node->frozen = node->drowsy = false;
    node->life++;
    st_sim_cancel(&node->world->clock, &node->death);
    st_sim_cancel(&node->world->clock, &node->thaw);
    st_sim_cancel(&node->world->clock, &node->finish);
    st_engine_free(node->engine);
    node->engine = NULL;
    if (node->store != NULL) {
        st_sim_store_kill(node->store);
        node->store = NULL;
    }
    st_loop_free(node->loop);
    lose_calls(node);
}

static void plan_start(struct sim_node *node, int64_t most_ns) {
    int64_t delay = st_dice_spread(&node->dice, 1000, most_ns);
    st_sim_at(&node->world->clock, &node->start, sim_now(node->world) + delay);
}

static void death_due(struct st_sim_event *event) {
    struct sim_node *node = ST_OWNER(event, struct sim_node, death);
    if (node->state == SIM_DOWN) {
        return;
    }
    st_sim_trace(&node->world->clock, "dies", node->number, node->life, 0);
    node->world->deaths++;
    node_down(node);
    plan_start(node, node->world->plan.down_most_ns);
}

static void opened(void *arg, enum st_error error) {
    struct sim_node *node = arg;
    st_sim_trace(&node->world->clock, "opened", node->number, (uint64_t)error, 0);
    if (error == ST_OK) {
        node->state = SIM_UP;
        return;
    }
    if (error != ST_UNREADABLE && error != ST_REFUSED && error != ST_UNKNOWN) {
        sim_broken(node->world, "node %u could not open the store: %s", node->number, st_error_code(error));
    }
    st_sim_at(&node->world->clock, &node->death, sim_now(node->world));
}

static void start_due(struct st_sim_event *event) {
    struct sim_node *node = ST_OWNER(event, struct sim_node, start);
    struct sim_world *world = node->world;
    st_sim_trace(&world->clock, "starts", node->number, node->life, 0);
    set_clocks(node);
    memset(node->ends, 0, sizeof node->ends);
    struct st_env env = {.now_mono_ns = now_mono, .now_wall_ms = now_wall, .random = random_bytes, .self = node};
    node->loop = st_loop_new(&env);
    node->store = node->loop == NULL ? NULL : st_sim_store_new(world->store, node->loop, node->number);
    node->engine = node->store == NULL ? NULL : st_engine_new(node->loop, node->store, &world->plan.engine);
    if (node->engine == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    node->state = SIM_OPENING;
    st_engine_open(node->engine, opened, node);
}

static void thaw_due(struct st_sim_event *event) {
    struct sim_node *node = ST_OWNER(event, struct sim_node, thaw);
    if (node->mono_stands) {
        node->world_base_ns = sim_now(node->world);
    }
    node->frozen = false;
    node->world->woken = node;
    node->thawed_ns = node->world->woken_ns = sim_now(node->world);
    st_sim_trace(&node->world->clock, "thaws", node->number, 0, 0);
}

static void freeze(struct sim_node *node, int64_t duration_ns) {
    if (node->state == SIM_DOWN || node->frozen) {
        return;
    }
    node->mono_stands = node->world->plan.clocks_off && st_dice_below(&node->dice, 3) != 0;
    if (node->mono_stands) {
        node->mono_base_ns = mono_at(node, sim_now(node->world));
        node->world_base_ns = sim_now(node->world);
    }
    node->frozen = true;
    node->world->freezes++;
    st_sim_trace(&node->world->clock, "freezes", node->number, (uint64_t)duration_ns, 0);
    st_sim_at(&node->world->clock, &node->thaw, sim_now(node->world) + duration_ns);
}

/* A clean shutdown, step by step: the engine finishes, then the store, then the process is gone. */
static void store_closed(void *arg) {
    struct sim_node *node = arg;
    node->store = NULL;
    st_sim_at(&node->world->clock, &node->finish, sim_now(node->world));
}

static void finish_due(struct st_sim_event *event) {
    struct sim_node *node = ST_OWNER(event, struct sim_node, finish);
    if (node->engine != NULL) {
        st_engine_free(node->engine);
        node->engine = NULL;
        node->store->ops->close(node->store, store_closed, node);
        return;
    }
    st_sim_trace(&node->world->clock, "shut down", node->number, 0, 0);
    node_down(node);
    plan_start(node, node->world->plan.down_most_ns);
}

static void engine_closed(void *arg) {
    struct sim_node *node = arg;
    st_sim_at(&node->world->clock, &node->finish, sim_now(node->world));
}

static void shut_down(struct sim_node *node) {
    if (node->state != SIM_UP || node->frozen) {
        return;
    }
    st_sim_trace(&node->world->clock, "closes", node->number, 0, 0);
    node->state = SIM_CLOSING;
    st_engine_close(node->engine, engine_closed, node);
}

struct sim_node *sim_node_any(struct sim_world *world, struct st_dice *dice) {
    unsigned first = (unsigned)st_dice_below(dice, world->plan.nodes);
    /* A process that has just woken, and believes what it knew before, is where it is interesting to be. */
    if (world->woken != NULL && sim_now(world) - world->woken_ns < 300 * ST_MS && st_dice_below(dice, 2) == 0) {
        first = world->woken->number;
    }
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        struct sim_node *node = &world->nodes[(first + i) % world->plan.nodes];
        if (sim_node_ready(node, node->life)) {
            return node;
        }
    }
    return NULL;
}

void sim_node_view(struct sim_node *node, const struct sim_topic *topic, int32_t partition,
                   const struct st_partition_view *view) {
    int64_t *end = &node->ends[topic->index][partition];
    if (view->end < *end) {
        sim_broken(node->world, "I6: on node %u the end of partition %d ran from %" PRId64 " back to %" PRId64,
                   node->number, partition, *end, view->end);
    }
    *end = view->end;
}

/* For the rest of the period and the night. */
static void fall_asleep(struct sim_node *node) {
    struct sim_world *world = node->world;
    int64_t left = world->phase == SIM_BUSY ? world->turned_ns + world->plan.period_ns - sim_now(world) : 0;
    node->drowsy = false;
    st_sim_cancel(&world->clock, &node->death);
    freeze(node, left + world->plan.night_ns + st_dice_spread(&world->dice, ST_MS, 2 * ST_SECOND));
}

/* ---- what the store tells ---- */

static void store_broken(void *arg, const char *text) {
    sim_broken(arg, "store: %s", text);
}

static void store_sent(void *arg, unsigned number, enum st_sim_class class) {
    struct sim_world *world = arg;
    struct sim_node *node = &world->nodes[number];
    if (node->drowsy && class == ST_SIM_OBJECT_PUT) {
        fall_asleep(node); /* it will wake with an upload done, and put its slot */
    }
    if (world->phase != SIM_BUSY) {
        return;
    }
    if (st_dice_chance(&node->dice, world->plan.crash) && node->death.heap_index == 0) {
        int64_t delay = st_dice_below(&node->dice, 2) == 0 ? 0 : st_dice_spread(&node->dice, 1000, 100 * ST_MS);
        st_sim_at(&world->clock, &node->death, sim_now(world) + delay);
    }
    if (st_dice_chance(&node->dice, world->plan.pause)) {
        freeze(node, st_dice_spread(&node->dice, ST_MS, world->plan.pause_most_ns));
    }
}

/* ---- the course of a run ---- */

static void outage_due(struct st_sim_event *event) {
    struct sim_world *world = ST_OWNER(event, struct sim_world, outage);
    struct st_sim_options *options = st_sim_options(world->store);
    world->outage_on = !world->outage_on && world->phase == SIM_BUSY;
    st_sim_trace(&world->clock, world->outage_on ? "outage" : "outage over", 0, 0, 0);
    for (unsigned i = 0; i < ST_SIM_CLASSES; i++) {
        options->faults[i] = world->plan.store.faults[i];
        if (world->outage_on) {
            options->faults[i].refused = 300000;
            options->faults[i].lost_request = 500000;
            options->faults[i].late = 200000;
        }
    }
    if (world->phase >= SIM_HEALING) {
        sim_plan_heal(options);
    } else if (world->outage_on || world->outages_left-- > 1) {
        st_sim_at(&world->clock, event, sim_now(world) + st_dice_spread(&world->dice, 100 * ST_MS, 4 * ST_SECOND));
    }
}

static void enter(struct sim_world *world, enum sim_phase phase, int64_t lasts_ns) {
    static const char *const names[] = {"period", "night", "healing", "audit", "done"};
    world->phase = phase;
    world->turned_ns = sim_now(world);
    st_sim_trace(&world->clock, names[phase], world->period, 0, 0);
    if (lasts_ns > 0) {
        st_sim_at(&world->clock, &world->turn, sim_now(world) + lasts_ns);
    }
}

/* Shortly before the night some processes, not all, are frozen in the midst of a write. They wake in the morning.
 */
static void nightfall_due(struct st_sim_event *event) {
    struct sim_world *world = ST_OWNER(event, struct sim_world, nightfall);
    unsigned first = (unsigned)st_dice_below(&world->dice, world->plan.nodes);
    unsigned count = (unsigned)st_dice_below(&world->dice, world->plan.nodes);
    for (unsigned i = 0; i < (count > 0 ? count : 1); i++) {
        world->nodes[(first + i) % world->plan.nodes].drowsy = true;
    }
}

static void begin_night(struct sim_world *world) {
    enter(world, SIM_NIGHT, world->plan.night_ns);
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        if (world->nodes[i].drowsy) {
            fall_asleep(&world->nodes[i]);
        }
    }
    if (world->plan.nodes > 1 && st_dice_below(&world->dice, 3) == 0) {
        shut_down(&world->nodes[st_dice_below(&world->dice, world->plan.nodes)]);
    }
}

static void begin_period(struct sim_world *world) {
    const struct sim_plan *plan = &world->plan;
    world->period++;
    enter(world, SIM_BUSY, plan->period_ns);
    if (plan->frozen_by_night && world->period < plan->periods) {
        int64_t before = st_dice_between(&world->dice, 0, plan->period_ns * 3 / 4); /* the others go on meanwhile */
        st_sim_at(&world->clock, &world->nightfall, sim_now(world) + plan->period_ns - before);
    }
    world->outages_left = plan->outages;
    if (plan->outages > 0) {
        st_sim_at(&world->clock, &world->outage,
                  sim_now(world) + st_dice_between(&world->dice, 0, plan->period_ns));
    }
    for (struct sim_client *client = world->clients; client != NULL; client = client->next) {
        client->morning(client);
    }
}

/* The last fault: one more process loses its memory, so that what is read afterwards comes from the store. */
static void begin_healing(struct sim_world *world) {
    enter(world, SIM_HEALING, HEAL_MOST_NS + world->plan.timeout_most_ns);
    st_sim_cancel(&world->clock, &world->outage);
    sim_plan_heal(st_sim_options(world->store));
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        struct sim_node *node = &world->nodes[i];
        if (node->frozen) {
            st_sim_at(&world->clock, &node->thaw, sim_now(world));
        }
    }
    for (struct sim_client *client = world->clients; client != NULL; client = client->next) {
        sim_client_tick(client, 0);
    }
    struct sim_node *node = &world->nodes[st_dice_below(&world->dice, world->plan.nodes)];
    if (node->state != SIM_DOWN) {
        st_sim_at(&world->clock, &node->death, sim_now(world) + ST_SECOND);
    }
}

/* The node that is not up; NULL: all are. */
static const struct sim_node *not_up(const struct sim_world *world) {
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        const struct sim_node *node = &world->nodes[i];
        if (node->state != SIM_UP || node->frozen || node->death.heap_index != 0) {
            return node;
        }
    }
    return NULL;
}

/* The client that has something under way; NULL: none has. */
static const struct sim_client *not_idle(const struct sim_world *world) {
    const struct sim_client *client = world->clients;
    while (client != NULL && client->idle(client)) {
        client = client->next;
    }
    return client;
}

static void heal_overdue(struct sim_world *world) {
    const struct sim_node *node = not_up(world);
    const struct sim_client *client = not_idle(world);
    int64_t since = (sim_now(world) - world->turned_ns) / ST_SECOND;
    if (node != NULL) {
        sim_broken(world, "I15: %" PRId64 " s after the last fault node %u is in state %d", since, node->number,
                   node->state);
    } else if (client != NULL) {
        sim_broken(world, "I15: %" PRId64 " s after the last fault %s %u is not served", since, client->name,
                   client->number);
    } else {
        sim_broken(world, "I15: %" PRId64 " s after the last fault %u appends have no answer", since,
                   world->sends_open);
    }
}

static void turn_due(struct st_sim_event *event) {
    struct sim_world *world = ST_OWNER(event, struct sim_world, turn);
    switch (world->phase) {
    case SIM_BUSY:
        if (world->period == world->plan.periods) {
            begin_healing(world);
        } else {
            begin_night(world);
        }
        break;
    case SIM_NIGHT:
        begin_period(world);
        break;
    case SIM_HEALING:
        heal_overdue(world);
        break;
    case SIM_AUDIT:
        sim_broken(world, "I15: the audit did not end in time");
        break;
    case SIM_DONE:
        break;
    }
}

static void look_at_ends(struct sim_node *node) {
    const struct sim_history *history = &node->world->history;
    for (size_t i = 0; i < history->topic_count; i++) {
        const struct st_topic *topic = st_topic_by_id(node->engine, &history->topics[i]->id);
        for (int32_t p = 0; topic != NULL && p < topic->partition_count; p++) {
            struct st_partition_view view;
            if (st_partition_view(node->engine, topic, p, &view)) {
                sim_node_view(node, history->topics[i], p, &view);
            }
        }
    }
}

static void look_at_state(struct sim_node *node) {
    if (node->state != SIM_UP) {
        return;
    }
    if (st_dice_below(&node->dice, VIEW_EVERY) == 0) {
        look_at_ends(node);
    }
    bool awake_long =
        sim_now(node->world) - node->thawed_ns > 500 * ST_MS; /* what it does first is looked at closely */
    if (awake_long && st_dice_below(&node->dice, HASH_EVERY) != 0) {
        return;
    }
    uint64_t slot = 0;
    uint64_t hash = st_engine_state_hash(node->engine, &slot);
    sim_history_state(node->world, node->number, slot, hash);
}

/* The node that wants to run first, and when; NULL: none does. */
static struct sim_node *first_due(struct sim_world *world, int64_t *at_ns) {
    struct sim_node *first = NULL;
    *at_ns = INT64_MAX;
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        struct sim_node *node = &world->nodes[i];
        if (node->state == SIM_DOWN || node->frozen) {
            continue;
        }
        int64_t due = world_at(node, st_loop_due(node->loop));
        if (due < *at_ns) {
            first = node;
            *at_ns = due;
        }
    }
    return first;
}

static void step(struct sim_world *world) {
    int64_t node_at;
    int64_t event_at = st_sim_due(&world->clock);
    struct sim_node *node = first_due(world, &node_at);
    if (node != NULL && (node_at < event_at || (node_at == event_at && st_dice_below(&world->dice, 2) == 0))) {
        world->clock.now_ns = node_at;
        st_loop_run_due(node->loop);
        look_at_state(node);
    } else if (event_at != INT64_MAX) {
        st_sim_step(&world->clock);
    } else {
        sim_broken(world, "nothing will ever happen again");
    }
}

void sim_client_start(struct sim_world *world, struct sim_client *client, const char *name, unsigned number) {
    client->world = world;
    client->name = name;
    client->number = number;
    client->dice = st_dice_of(world->seed * 64 + number, name);
    client->next = world->clients;
    world->clients = client;
}

void sim_client_tick(struct sim_client *client, int64_t delay_ns) {
    st_sim_at(&client->world->clock, &client->tick, sim_now(client->world) + delay_ns);
}

static void populate(struct sim_world *world) {
    struct st_sim_watch watch = {store_sent, store_broken, world};
    world->store = st_sim_new(&world->clock, world->seed, &world->plan.store, &watch);
    world->turn.fn = turn_due;
    world->nightfall.fn = nightfall_due;
    world->outage.fn = outage_due;
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        struct sim_node *node = &world->nodes[i];
        node->world = world;
        node->number = i;
        node->random = st_dice_of(world->seed * 64 + i, "node");
        node->dice = st_dice_of(world->seed * 64 + i, "fate of node");
        node->death.fn = death_due;
        node->start.fn = start_due;
        node->thaw.fn = thaw_due;
        node->finish.fn = finish_due;
        st_sim_at(&world->clock, &node->start, 0);
    }
    sim_admin_new(world);
    for (unsigned i = 0; i < world->plan.producers; i++) {
        sim_producer_new(world, i);
    }
    for (unsigned i = 0; i < world->plan.readers; i++) {
        sim_reader_new(world, i);
    }
    for (unsigned i = 0; i < world->plan.lambdas; i++) {
        sim_lambda_new(world, i);
    }
    for (unsigned i = 0; i < world->plan.keyed; i++) {
        sim_keyed_new(world, i);
    }
}

bool sim_world_run(struct sim_world *world, uint64_t seed, bool verbose) {
    *world = (struct sim_world){.seed = seed, .plan = sim_plan_draw(seed), .dice = st_dice_of(seed, "world")};
    st_sim_clock_init(&world->clock, seed);
    world->clock.verbose = verbose;
    populate(world);
    begin_period(world);
    while (!world->broken && world->phase != SIM_DONE) {
        step(world);
        if (world->phase == SIM_HEALING && world->sends_open == 0 && not_up(world) == NULL &&
            not_idle(world) == NULL) {
            enter(world, SIM_AUDIT, HEAL_MOST_NS);
            sim_audit_start(world);
        }
        if (++world->events > EVENTS_MAX) {
            sim_broken(world, "more than %" PRIu64 " events: it turns in circles", EVENTS_MAX);
        }
    }
    if (!world->broken) {
        sim_check_history(world);
    }
    return !world->broken;
}

void sim_world_release(struct sim_world *world) {
    for (unsigned i = 0; i < world->plan.nodes; i++) {
        if (world->nodes[i].state != SIM_DOWN) {
            node_down(&world->nodes[i]);
        }
    }
    while (world->clients != NULL) {
        struct sim_client *client = world->clients;
        world->clients = client->next;
        st_sim_cancel(&world->clock, &client->tick);
        client->free(client);
    }
    st_sim_free(world->store);
    sim_history_release(&world->history);
    st_sim_clock_release(&world->clock);
}
