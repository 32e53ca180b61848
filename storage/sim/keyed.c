/*
 * Clients that send under idempotency keys: one request at a time, which goes again and again, through any process,
 * until it is answered; then now and then once more, or another request under the same key. Wherever the request was
 * first stored, there every answer must place it (the history settles an offset once), it may stand nowhere else, and
 * the other request must never be stored.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 3
#define TRIES_MAX 12

struct keyed {
    struct sim_client client;
    int64_t left; /* requests of this period */
    uint64_t keys; /* given out */
    struct sim_node *node;
    bool open, syncing, acked, other; /* other: what is under way is another request under the key */
    unsigned tries, again;
    int64_t begun_ns; /* of the first try */
    char key[32];
    uint64_t hash;
    int64_t arrived_ms; /* this try, by the store's clock as its process had seen it */
    struct sim_topic *topic;
    struct sim_batch *batches[PARTS_MAX];
    size_t count;
    struct sim_call call, sync_call;
    struct st_sync sync;
    struct st_append append;
    struct st_append_part parts[PARTS_MAX];
};

static void next_tick(struct keyed *keyed) {
    sim_client_tick(&keyed->client, st_dice_spread(&keyed->client.dice, 1000, 50 * ST_MS));
}

/* Done with this request. */
static void forget(struct keyed *keyed) {
    keyed->count = 0;
}

static void other_answered(struct keyed *keyed, enum st_error error) {
    if (error == ST_OK && keyed->acked) {
        sim_broken(keyed->client.world, "another request was stored under the key %s", keyed->key);
    }
    forget(keyed);
}

static void answered(struct keyed *keyed, const enum st_error *lost) {
    struct sim_world *world = keyed->client.world;
    enum st_error error = ST_OK;
    size_t stored = 0, count = keyed->append.count;
    world->sends_open--;
    keyed->open = false;
    for (size_t i = 0; i < count; i++) {
        const struct st_append_part *part = &keyed->parts[i];
        enum st_error here = lost != NULL ? *lost : part->error;
        stored += here == ST_OK ? 1 : 0;
        error = here != ST_OK ? here : error;
        sim_history_end(world, keyed->batches[i], here, part->base_offset, part->append_time_ms);
    }
    if (stored != 0 && stored != count) {
        sim_broken(world, "a request under the key %s was stored in part", keyed->key);
    }
    if (error == ST_KEY_REUSED && !keyed->other) {
        sim_broken(world, "the key %s is said to be another request's", keyed->key);
    }
    if (keyed->other) {
        other_answered(keyed, error);
    } else if (error == ST_OK) {
        keyed->acked = true;
        if (keyed->again == 0) {
            forget(keyed);
        }
        keyed->again -= keyed->again > 0 ? 1 : 0;
    } else if (++keyed->tries >= TRIES_MAX || error == ST_NO_TOPIC_ID) {
        forget(keyed);
    }
    next_tick(keyed);
}

static void append_done(struct st_append *op) {
    struct keyed *keyed = ST_OWNER(op, struct keyed, append);
    sim_call_end(&keyed->call);
    answered(keyed, NULL);
}

static void append_lost(struct sim_call *call) {
    enum st_error unknown = ST_UNKNOWN;
    answered(ST_OWNER(call, struct keyed, call), &unknown);
}

static void send(struct keyed *keyed);

/* As st_append wants it: then the request goes, if its topic is known now. */
static void sync_done(struct st_sync *sync) {
    struct keyed *keyed = ST_OWNER(sync, struct keyed, sync);
    struct sim_world *world = keyed->client.world;
    sim_call_end(&keyed->sync_call);
    keyed->syncing = false;
    bool ready = sync->error == ST_OK && keyed->count > 0 && world->phase < SIM_AUDIT;
    if (ready && st_topic_by_id(keyed->node->engine, &keyed->topic->id) != NULL) {
        send(keyed);
        return;
    }
    if (ready && keyed->topic->delete_begun_ns != INT64_MAX) {
        forget(keyed);
    }
    next_tick(keyed);
}

static void sync_lost(struct sim_call *call) {
    struct keyed *keyed = ST_OWNER(call, struct keyed, sync_call);
    keyed->syncing = false;
    next_tick(keyed);
}

/* Makes the batches of a request, in the order of their partitions. */
static void make(struct keyed *keyed) {
    struct st_dice *dice = &keyed->client.dice;
    size_t most = (size_t)keyed->topic->partitions < PARTS_MAX ? (size_t)keyed->topic->partitions : PARTS_MAX;
    keyed->count = (size_t)st_dice_between(dice, 1, (int64_t)most);
    int32_t first = (int32_t)st_dice_below(dice, most - keyed->count + 1);
    for (size_t i = 0; i < keyed->count; i++) {
        keyed->batches[i] =
            sim_history_batch(keyed->client.world, keyed->topic, first + (int32_t)i, SIM_RECORDS_MOST, SIM_NOBODY);
    }
    keyed->hash = st_dice_below(dice, UINT64_MAX);
}

/* A new request under a new key. */
static bool begin(struct keyed *keyed) {
    struct sim_world *world = keyed->client.world;
    struct st_dice *dice = &keyed->client.dice;
    keyed->topic = sim_history_newest(world, (unsigned)st_dice_below(dice, world->plan.names));
    if (keyed->topic == NULL || keyed->topic->log_append_time || world->phase != SIM_BUSY || keyed->left <= 0) {
        return false; /* a key does not tell the time of the original */
    }
    keyed->left--;
    snprintf(keyed->key, sizeof keyed->key, "%u-%" PRIu64, keyed->client.number, ++keyed->keys);
    keyed->acked = keyed->other = false;
    keyed->tries = 0;
    keyed->again = (unsigned)st_dice_below(dice, 3);
    keyed->begun_ns = sim_now(world);
    make(keyed);
    return true;
}

static void send(struct keyed *keyed) {
    struct sim_world *world = keyed->client.world;
    struct st_dice *dice = &keyed->client.dice;
    uint64_t source = ++world->sources, group = keyed->count > 1 ? ++world->groups : 0;
    for (size_t i = 0; i < keyed->count; i++) {
        struct sim_batch *batch = keyed->batches[i];
        keyed->parts[i] = (struct st_append_part){
            .topic_id = keyed->topic->id, .partition = batch->partition, .batch = batch->view, .blob = batch->blob};
        sim_history_begin(world, batch, source, false, group);
    }
    keyed->append = (struct st_append){
        .parts = keyed->parts,
        .count = keyed->count,
        .timeout_ms = st_dice_spread(dice, world->plan.timeout_least_ns, world->plan.timeout_most_ns) / ST_MS,
        .key = kp_slice_cstr(keyed->key),
        .key_hash = {keyed->hash, 1},
        .key_begun_ms = keyed->arrived_ms,
        .done = append_done,
    };
    keyed->open = true;
    world->sends_open++;
    sim_call_begin(&keyed->call, keyed->node, append_lost);
    st_append(keyed->node->engine, &keyed->append);
}

/* The process to go through; NULL: none now. */
static struct sim_node *connect(struct keyed *keyed) {
    struct st_dice *dice = &keyed->client.dice;
    bool stays = keyed->node != NULL && st_dice_below(dice, 3) != 0 && keyed->node->state == SIM_UP &&
                 !keyed->node->frozen;
    return stays ? keyed->node : sim_node_any(keyed->client.world, dice);
}

static void keyed_tick(struct st_sim_event *event) {
    struct keyed *keyed = ST_OWNER(event, struct keyed, client.tick);
    struct sim_world *world = keyed->client.world;
    if (world->phase >= SIM_AUDIT || world->phase == SIM_NIGHT || keyed->open || keyed->syncing) {
        return;
    }
    /* Keys are forgotten by and by: who has tried for so long cannot know whether the key still stands. */
    if (keyed->count > 0 && sim_now(world) - keyed->begun_ns > world->plan.engine.key_life_ms * ST_MS / 3) {
        forget(keyed);
    }
    if (keyed->count == 0 && !begin(keyed)) {
        return;
    }
    keyed->node = connect(keyed);
    if (keyed->node == NULL || st_append_congested(keyed->node->engine)) {
        next_tick(keyed);
        return;
    }
    if (keyed->acked && !keyed->other && st_dice_below(&keyed->client.dice, 3) == 0) {
        keyed->other = true;
        make(keyed);
    }
    keyed->arrived_ms = st_store_time(keyed->node->engine);
    keyed->syncing = true;
    keyed->sync = (struct st_sync){.done = sync_done};
    sim_call_begin(&keyed->sync_call, keyed->node, sync_lost);
    st_sync(keyed->node->engine, &keyed->sync);
}

static void keyed_morning(struct sim_client *client) {
    struct keyed *keyed = ST_OWNER(client, struct keyed, client);
    keyed->left = st_dice_between(&client->dice, 1, (int64_t)client->world->plan.batches);
    if (!keyed->open && !keyed->syncing) {
        sim_client_tick(client, st_dice_spread(&client->dice, 1000, 200 * ST_MS));
    }
}

static bool keyed_idle(const struct sim_client *client) {
    const struct keyed *keyed = ST_OWNER(client, struct keyed, client);
    return !keyed->open && !keyed->syncing && (keyed->count == 0 || client->world->phase >= SIM_AUDIT);
}

static void keyed_free(struct sim_client *client) {
    free(ST_OWNER(client, struct keyed, client));
}

void sim_keyed_new(struct sim_world *world, unsigned number) {
    struct keyed *keyed = calloc(1, sizeof *keyed);
    if (keyed == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &keyed->client, "keyed", number);
    keyed->client.tick.fn = keyed_tick;
    keyed->client.morning = keyed_morning;
    keyed->client.idle = keyed_idle;
    keyed->client.free = keyed_free;
}
