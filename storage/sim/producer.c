/*
 * Producers of three kinds.
 *
 *  plain       pipelines appends of one to three batches over one connection and repeats none of them (retries=0)
 *  single      one record at a time, no order asked for, a new try through any process: what HTTP callers do
 *  idempotent  numbers its batches and keeps up to five of them unacknowledged; what fails is sent again, through
 * the same connection or another process, the old attempts perhaps still under way
 *
 * An idempotent producer gives up on what it cannot place as real ones do: it raises its epoch and begins at 0.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_MAX 5
#define PARTS_MAX 3
#define BAD_SEQUENCES_MAX 4

enum kind { PLAIN, SINGLE, IDEMPOTENT };

/* One batch of an idempotent producer on its way. */
struct pending {
    struct sim_batch *batch;
    bool flying; /* through the present connection */
    bool acked;
    unsigned bad_sequences;
};

struct producer {
    struct sim_client client;
    enum kind kind;
    bool hasty; /* sends a failed batch again at once, others still flying */
    unsigned window;
    uint64_t roaming; /* goes to another process after about so many ticks */
    int64_t left;  /* batches of this period */
    unsigned open; /* appends of the present connection under way */
    /* the connection */
    struct sim_node *node;
    uint64_t life, source;
    bool syncing; /* this process does not know the topic yet */
    struct st_sync sync;
    struct sim_call sync_call;
    struct sim_topic *sync_topic;
    bool sync_stood;
    /* idempotent */
    struct st_producer_id id_op;
    struct sim_call id_call;
    bool id_asked, draining, settled; /* settled: the first of this epoch was acknowledged */
    int64_t id;
    int16_t epoch;
    int32_t sequence;
    struct sim_topic *topic;
    int32_t partition;
    struct pending queue[WINDOW_MAX];
    unsigned queued;
};

/* One append under way. It outlives the producer's interest in it. */
struct sending {
    struct sim_call call;
    struct sim_world *world;
    struct producer *producer; /* NULL: nobody waits for it any more */
    struct sending *next_open;
    uint64_t source;
    struct st_append op;
    struct st_append_part parts[PARTS_MAX];
    struct sim_batch *batches[PARTS_MAX];
    bool expected; /* everything before it was acknowledged when it was sent */
    int64_t begun_ns;
};

static struct producer *producer_of(struct sim_client *client) {
    return ST_OWNER(client, struct producer, client);
}

static bool busy(const struct producer *producer) {
    return producer->client.world->phase == SIM_BUSY && producer->left > 0;
}

/* ---- the connection ---- */

static void disconnect(struct producer *producer) {
    producer->node = NULL;
    producer->open = 0;
    producer->draining = false;
    producer->source = 0;
    for (unsigned i = 0; i < producer->queued; i++) {
        producer->queue[i].flying = false;
    }
}

static bool connect(struct producer *producer) {
    struct sim_world *world = producer->client.world;
    if (sim_node_ready(producer->node, producer->life)) {
        return true;
    }
    disconnect(producer);
    producer->node = sim_node_any(world, &producer->client.dice);
    if (producer->node == NULL) {
        return false;
    }
    producer->life = producer->node->life;
    producer->source = ++world->sources;
    return true;
}

/* ---- answers ---- */

static void give_up(struct producer *producer) {
    disconnect(producer);
    producer->queued = 0;
    producer->epoch++;
    producer->sequence = 0;
    producer->settled = false;
}

static struct pending *pending_of(struct producer *producer, const struct sim_batch *batch) {
    for (unsigned i = 0; i < producer->queued; i++) {
        if (producer->queue[i].batch == batch) {
            return &producer->queue[i];
        }
    }
    return NULL;
}

static void idempotent_failed(struct producer *producer, struct pending *pending, enum st_error error,
                              bool expected) {
    struct sim_world *world = producer->client.world;
    if (error == ST_BAD_SEQUENCE) {
        if (expected) {
            sim_broken(world, "batch %" PRIu64 " is its producer's next, and was refused as out of order",
                       pending->batch->number);
        }
        if (++pending->bad_sequences >= BAD_SEQUENCES_MAX) {
            give_up(producer);
            return;
        }
    } else if (error == ST_BAD_EPOCH) {
        sim_broken(world, "batch %" PRIu64 " was fenced by its own epoch", pending->batch->number);
    } else if (st_dice_below(&producer->client.dice, 4) == 0) {
        disconnect(producer);
        return;
    }
    pending->flying = false;
    producer->draining = !producer->hasty;
}

static void idempotent_answered(struct producer *producer, const struct sending *sending, enum st_error error) {
    struct pending *pending = pending_of(producer, sending->batches[0]);
    if (pending == NULL) {
        return;
    }
    if (error != ST_OK) {
        if (sending->source == producer->source) {
            idempotent_failed(producer, pending, error, sending->expected);
        }
        return;
    }
    pending->acked = true;
    unsigned gone = 0;
    while (gone < producer->queued && producer->queue[gone].acked) {
        gone++;
    }
    producer->settled = producer->settled || gone > 0;
    producer->queued -= gone;
    memmove(producer->queue, producer->queue + gone, producer->queued * sizeof producer->queue[0]);
}

/* It was known to the process when the append began: a No means that it was deleted, and if it was deleted before
 * that, a Yes is wrong. */
static void check_no(struct sim_world *world, const struct sim_batch *batch, enum st_error error,
                     int64_t begun_ns) {
    bool no = error == ST_NO_TOPIC || error == ST_NO_TOPIC_ID || error == ST_NO_PARTITION;
    if (no && batch->topic->delete_begun_ns == INT64_MAX) {
        sim_broken(world, "batch %" PRIu64 " was refused by %s, and its topic stands", batch->number,
                   st_error_code(error));
    }
    if (error == ST_OK && batch->topic->deleted_ns < begun_ns) {
        sim_broken(world, "batch %" PRIu64 " was stored in a deleted topic", batch->number);
    }
}

static void sending_done(struct sending *sending, const enum st_error *lost) {
    struct sim_world *world = sending->world;
    struct producer *producer = sending->producer;
    world->sends_open--;
    bool present = producer != NULL && sending->source == producer->source;
    if (present) {
        producer->open--;
    }
    for (size_t i = 0; i < sending->op.count; i++) {
        const struct st_append_part *part = &sending->parts[i];
        enum st_error error = lost != NULL ? *lost : part->error;
        check_no(world, sending->batches[i], error, sending->begun_ns);
        sim_history_end(world, sending->batches[i], error, part->base_offset, part->append_time_ms);
        if (producer != NULL && producer->kind == IDEMPOTENT) {
            idempotent_answered(producer, sending, error);
        }
    }
    if (producer != NULL) {
        sim_client_tick(&producer->client, st_dice_spread(&producer->client.dice, 1000, 5 * ST_MS));
    }
    free(sending);
}

static void sending_answered(struct st_append *op) {
    struct sending *sending = ST_OWNER(op, struct sending, op);
    sim_call_end(&sending->call);
    int64_t late = sim_now(sending->world) - sending->begun_ns - op->timeout_ms * ST_MS;
    if (late > 5 * ST_SECOND && sending->world->deaths + sending->world->freezes == 0) {
        sim_broken(sending->world, "an append was answered %" PRId64 " ms after its timeout", late / ST_MS);
    }
    sending_done(sending, NULL);
}

static void sending_lost(struct sim_call *call) {
    enum st_error unknown = ST_UNKNOWN;
    sending_done(ST_OWNER(call, struct sending, call), &unknown);
}

/* ---- sending ---- */

static void send(struct producer *producer, struct sim_batch *const *batches, size_t count) {
    struct sim_world *world = producer->client.world;
    struct sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    bool ordered = producer->kind != SINGLE;
    sending->world = world;
    sending->producer = producer;
    sending->source = producer->source;
    sending->begun_ns = sim_now(world);
    sending->expected = producer->kind == IDEMPOTENT && producer->settled && producer->queue[0].batch == batches[0];
    uint64_t group = count > 1 ? ++world->groups : 0;
    for (size_t i = 0; i < count; i++) {
        struct sim_batch *batch = batches[i];
        sending->batches[i] = batch;
        sending->parts[i] = (struct st_append_part){
            .topic_id = batch->topic->id, .partition = batch->partition, .batch = batch->view, .blob = batch->blob};
        sim_history_begin(world, batch, producer->source, producer->kind == PLAIN, group);
    }
    sending->op = (struct st_append){
        .parts = sending->parts,
        .count = count,
        .order = ordered ? producer->source : 0,
        .timeout_ms =
            st_dice_spread(&producer->client.dice, world->plan.timeout_least_ns, world->plan.timeout_most_ns) /
            ST_MS,
        .done = sending_answered,
    };
    producer->open++;
    world->sends_open++;
    sim_call_begin(&sending->call, producer->node, sending_lost);
    st_append(producer->node->engine, &sending->op);
}

/* A topic that stands as far as anybody knows; rarely one that is being deleted. */
static struct sim_topic *pick_topic(struct producer *producer) {
    struct sim_world *world = producer->client.world;
    return sim_history_newest(world, (unsigned)st_dice_below(&producer->client.dice, world->plan.names));
}

/* ---- topics that a process does not know yet ---- */

static void topic_synced(struct st_sync *sync) {
    struct producer *producer = ST_OWNER(sync, struct producer, sync);
    sim_call_end(&producer->sync_call);
    producer->syncing = false;
    bool stands = producer->sync_stood && producer->sync_topic->delete_begun_ns == INT64_MAX;
    if (sync->error == ST_OK && stands && sim_node_ready(producer->node, producer->life) &&
        st_topic_by_id(producer->node->engine, &producer->sync_topic->id) == NULL) {
        sim_broken(producer->client.world, "stale: a topic that stands is unknown by id after a sync");
    }
    sim_client_tick(&producer->client, 1000);
}

static void sync_lost(struct sim_call *call) {
    struct producer *producer = ST_OWNER(call, struct producer, sync_call);
    producer->syncing = false;
    sim_client_tick(&producer->client, ST_MS);
}

/* True when the process knows it; else a sync is begun, and the producer waits. */
static bool known(struct producer *producer, struct sim_topic *topic) {
    if (st_topic_by_id(producer->node->engine, &topic->id) != NULL) {
        return true;
    }
    producer->syncing = true;
    producer->sync_topic = topic;
    producer->sync_stood = topic->delete_begun_ns == INT64_MAX;
    producer->sync = (struct st_sync){.done = topic_synced};
    sim_call_begin(&producer->sync_call, producer->node, sync_lost);
    st_sync(producer->node->engine, &producer->sync);
    return false;
}

static void send_plain(struct producer *producer) {
    struct sim_world *world = producer->client.world;
    struct sim_topic *topic = pick_topic(producer);
    if (topic == NULL || !known(producer, topic)) {
        return;
    }
    size_t count =
        producer->kind == SINGLE ? 1 : (size_t)st_dice_between(&producer->client.dice, 1, topic->partitions);
    struct sim_batch *batches[PARTS_MAX];
    int32_t first = (int32_t)st_dice_below(&producer->client.dice, (uint64_t)topic->partitions);
    int32_t most = producer->kind == SINGLE ? 1 : SIM_RECORDS_MOST;
    for (size_t i = 0; i < count; i++) {
        int32_t partition = (first + (int32_t)i) % topic->partitions;
        batches[i] = sim_history_batch(world, topic, partition, most, SIM_NOBODY);
        producer->left--;
    }
    send(producer, batches, count);
}

static void id_answered(struct st_producer_id *op) {
    struct producer *producer = ST_OWNER(op, struct producer, id_op);
    sim_call_end(&producer->id_call);
    producer->id_asked = false;
    if (op->error == ST_OK) {
        sim_history_producer_id(producer->client.world, op->id);
        producer->id = op->id;
    }
    sim_client_tick(&producer->client, ST_MS);
}

static void id_lost(struct sim_call *call) {
    struct producer *producer = ST_OWNER(call, struct producer, id_call);
    producer->id_asked = false;
    sim_client_tick(&producer->client, 10 * ST_MS);
}

static void ask_id(struct producer *producer) {
    producer->id_asked = true;
    producer->id_op = (struct st_producer_id){.done = id_answered};
    sim_call_begin(&producer->id_call, producer->node, id_lost);
    st_producer_id(producer->node->engine, &producer->id_op);
}

/* The first batch that is neither acknowledged nor flying, made if there is room for one more; NULL: wait. */
static struct pending *next_pending(struct producer *producer) {
    for (unsigned i = 0; i < producer->queued; i++) {
        if (!producer->queue[i].acked && !producer->queue[i].flying) {
            return &producer->queue[i];
        }
    }
    if (producer->queued == producer->window || !busy(producer)) {
        return NULL;
    }
    struct sim_sender sender = {producer->id, producer->epoch, producer->sequence};
    struct sim_batch *batch = sim_history_batch(producer->client.world, producer->topic, producer->partition,
                                                SIM_RECORDS_MOST, sender);
    producer->sequence += batch->records;
    producer->left--;
    struct pending *pending = &producer->queue[producer->queued++];
    *pending = (struct pending){.batch = batch};
    return pending;
}

static void send_idempotent(struct producer *producer) {
    if (producer->id < 0) {
        if (!producer->id_asked) {
            ask_id(producer);
        }
        return;
    }
    if (producer->topic == NULL) {
        struct sim_topic *topic = pick_topic(producer);
        if (topic == NULL || producer->client.world->plan.topics[topic->name].doomed) {
            return;
        }
        producer->topic = topic;
        producer->partition = (int32_t)st_dice_below(&producer->client.dice, (uint64_t)topic->partitions);
    }
    if ((producer->draining && producer->open > 0) || !known(producer, producer->topic)) {
        return;
    }
    producer->draining = false;
    /* What was to be sent again goes at once and in order, new batches one a tick. */
    struct pending *pending = next_pending(producer);
    while (pending != NULL) {
        bool again = pending->batch->attempts > 0;
        pending->flying = true;
        send(producer, &pending->batch, 1);
        pending = again ? next_pending(producer) : NULL;
    }
}

static void producer_tick(struct st_sim_event *event) {
    struct producer *producer = ST_OWNER(event, struct producer, client.tick);
    bool unfinished =
        producer->kind == IDEMPOTENT && producer->queued > 0 && producer->client.world->phase != SIM_NIGHT;
    if (producer->client.world->phase >= SIM_AUDIT || producer->syncing || (!busy(producer) && !unfinished)) {
        return;
    }
    /* Now and then a client loses its connection, or gives up what is under way. */
    if (st_dice_below(&producer->client.dice, producer->roaming) == 0) {
        disconnect(producer);
    } else if (st_dice_below(&producer->client.dice, 150) == 0) {
        give_up(producer);
    }
    if (connect(producer) && !st_append_congested(producer->node->engine)) {
        if (producer->kind == IDEMPOTENT) {
            send_idempotent(producer);
        } else if (producer->open < producer->window && busy(producer)) {
            send_plain(producer);
        }
    }
    sim_client_tick(&producer->client,
                    st_dice_spread(&producer->client.dice, ST_MS, producer->client.world->plan.think_most_ns));
}

static void producer_morning(struct sim_client *client) {
    struct producer *producer = producer_of(client);
    producer->left = st_dice_between(&client->dice, 1, 2 * (int64_t)client->world->plan.batches);
    if (st_dice_below(&client->dice, 3) == 0) {
        give_up(producer); /* what a frozen process still has is of an older epoch when it wakes */
    }
    sim_client_tick(client, st_dice_spread(&client->dice, 1000, 200 * ST_MS));
}

static bool producer_idle(const struct sim_client *client) {
    const struct producer *producer = ST_OWNER(client, struct producer, client);
    return producer->queued == 0 && producer->open == 0 && !producer->id_asked && !producer->syncing;
}

static void producer_free(struct sim_client *client) {
    free(producer_of(client));
}

void sim_producer_new(struct sim_world *world, unsigned number) {
    struct producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &producer->client, "producer", number);
    producer->id = -1;
    producer->kind = (enum kind)st_dice_below(&producer->client.dice, 4);
    producer->kind = producer->kind > IDEMPOTENT ? IDEMPOTENT : producer->kind;
    producer->hasty = st_dice_below(&producer->client.dice, 2) == 0;
    producer->roaming = (uint64_t)st_dice_spread(&producer->client.dice, 2, 100);
    producer->window = (unsigned)st_dice_between(&producer->client.dice, 1, WINDOW_MAX);
    producer->client.tick.fn = producer_tick;
    producer->client.morning = producer_morning;
    producer->client.idle = producer_idle;
    producer->client.free = producer_free;
}
