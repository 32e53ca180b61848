/*
 * The audit, after the last fault has healed: through every process it writes one batch to every partition, which
 * must succeed at once (I15); then, again through every process, it syncs and reads every partition from start to
 * end, and compares states (I16). One process was restarted before, so that nothing is read from a warm memory
 * alone.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIES_MOST 20

struct audit {
    struct sim_client client;
    unsigned node;
    bool writing; /* first all nodes write, then all read */
    size_t topic;
    int32_t partition;
    struct sim_call call;
    struct sim_batch *batch;
    struct st_append append;
    struct st_append_part append_part;
    struct st_sync sync;
    uint64_t last_slot; /* of the store, when the sync began */
    struct st_read read;
    struct st_read_part read_part;
    unsigned tries; /* of this read: a checkpoint may be replaced under it */
};

static void audit_step(struct audit *audit);

static struct sim_node *node_of(struct audit *audit) {
    return &audit->client.world->nodes[audit->node];
}

static void audit_lost(struct sim_call *call) {
    (void)call;
}

/* The topic at the cursor; NULL: the cursor is past the last. Topics whose deletion was asked for are left out. */
static struct sim_topic *topic_of(struct audit *audit) {
    struct sim_history *history = &audit->client.world->history;
    while (audit->topic < history->topic_count && history->topics[audit->topic]->delete_begun_ns != INT64_MAX) {
        audit->topic++;
    }
    return audit->topic < history->topic_count ? history->topics[audit->topic] : NULL;
}

static void next_partition(struct audit *audit) {
    if (++audit->partition == topic_of(audit)->partitions) {
        audit->partition = 0;
        audit->topic++;
    }
    audit_step(audit);
}

/* ---- writing ---- */

static void audit_written(struct st_append *op) {
    struct audit *audit = ST_OWNER(op, struct audit, append);
    struct sim_world *world = audit->client.world;
    const struct st_append_part *part = &audit->append_part;
    sim_call_end(&audit->call);
    sim_history_end(world, audit->batch, part->error, part->base_offset, part->append_time_ms);
    if (part->error != ST_OK) {
        sim_broken(world, "I15: node %u does not take an append after the heal: %s", audit->node,
                   st_error_code(part->error));
        return;
    }
    next_partition(audit);
}

static void write_one(struct audit *audit, struct sim_topic *topic) {
    struct sim_world *world = audit->client.world;
    audit->batch = sim_history_batch(world, topic, audit->partition, 1, SIM_NOBODY);
    sim_history_begin(world, audit->batch, ++world->sources, false, 0);
    audit->append_part = (struct st_append_part){.topic_id = topic->id,
                                                 .partition = audit->partition,
                                                 .batch = audit->batch->view,
                                                 .blob = audit->batch->blob};
    audit->append =
        (struct st_append){.parts = &audit->append_part, .count = 1, .timeout_ms = 10000, .done = audit_written};
    sim_call_begin(&audit->call, node_of(audit), audit_lost);
    st_append(node_of(audit)->engine, &audit->append);
}

/* ---- reading ---- */

static void read_on(struct audit *audit);

static void audit_again(struct st_sim_event *event) {
    read_on(ST_OWNER(event, struct audit, client.tick));
}

static void audit_read(struct st_read *op) {
    struct audit *audit = ST_OWNER(op, struct audit, read);
    struct sim_world *world = audit->client.world;
    struct st_read_part *part = &audit->read_part;
    struct sim_topic *topic = topic_of(audit);
    sim_call_end(&audit->call);
    if (part->error == ST_UNREADABLE && ++audit->tries < TRIES_MOST) {
        kp_chain_release(&part->chain);
        audit->client.tick.fn = audit_again;
        sim_client_tick(&audit->client, 50 * ST_MS);
        return;
    }
    audit->tries = 0;
    if (part->error != ST_OK) {
        sim_broken(world, "I1: node %u cannot read partition %d at %" PRId64 " after the heal: %s", audit->node,
                   audit->partition, part->offset, st_error_code(part->error));
    }
    int64_t next = sim_history_read(world, topic, audit->partition, part->offset, &part->chain);
    kp_chain_release(&part->chain);
    if (world->broken) {
        return;
    }
    if (next == part->offset && next < part->view.end) {
        sim_broken(world, "I1: node %u reads nothing of partition %d at %" PRId64 ", the end is %" PRId64,
                   audit->node, audit->partition, next, part->view.end);
    } else if (next < part->view.end) {
        part->offset = next;
        read_on(audit);
    } else {
        sim_check_audit(world, topic, audit->partition, part->view.log_start, part->view.end);
        next_partition(audit);
    }
}

static void read_on(struct audit *audit) {
    kp_chain_init(&audit->read_part.chain);
    audit->read = (struct st_read){.parts = &audit->read_part, .count = 1, .max_bytes = 60000, .done = audit_read};
    sim_call_begin(&audit->call, node_of(audit), audit_lost);
    st_read(node_of(audit)->engine, &audit->read);
}

static void read_one(struct audit *audit, const struct sim_topic *topic) {
    audit->read_part = (struct st_read_part){
        .topic_id = topic->id, .partition = audit->partition, .offset = topic->first_offset, .max_bytes = 60000};
    read_on(audit);
}

static void audit_synced(struct st_sync *sync) {
    struct audit *audit = ST_OWNER(sync, struct audit, sync);
    struct sim_world *world = audit->client.world;
    sim_call_end(&audit->call);
    if (sync->error != ST_OK) {
        sim_broken(world, "I15: node %u cannot sync after the heal: %s", audit->node, st_error_code(sync->error));
        return;
    }
    world->history.audit++;
    uint64_t slot = 0, hash = st_engine_state_hash(node_of(audit)->engine, &slot);
    sim_history_state(world, audit->node, slot, hash);
    if (slot < audit->last_slot) {
        sim_broken(world, "node %u is folded to slot %" PRIu64 " after a sync, before it the last was %" PRIu64,
                   audit->node, slot, audit->last_slot);
    }
    audit_step(audit);
}

/* ---- the course ---- */

static void begin_node(struct audit *audit) {
    audit->topic = 0;
    audit->partition = 0;
    audit->last_slot = st_sim_last_slot(audit->client.world->store, 0);
    audit->sync = (struct st_sync){.done = audit_synced};
    sim_call_begin(&audit->call, node_of(audit), audit_lost);
    st_sync(node_of(audit)->engine, &audit->sync);
}

static void audit_step(struct audit *audit) {
    struct sim_world *world = audit->client.world;
    struct sim_topic *topic = topic_of(audit);
    if (world->broken) {
        return;
    }
    if (topic != NULL && audit->writing) {
        write_one(audit, topic);
    } else if (topic != NULL) {
        read_one(audit, topic);
    } else if (++audit->node < world->plan.nodes) {
        begin_node(audit);
    } else if (audit->writing) {
        audit->writing = false;
        audit->node = 0;
        begin_node(audit);
    } else {
        world->phase = SIM_DONE;
    }
}

static void audit_tick(struct st_sim_event *event) {
    begin_node(ST_OWNER(event, struct audit, client.tick));
}

static void audit_morning(struct sim_client *client) {
    (void)client;
}

static bool audit_idle(const struct sim_client *client) {
    (void)client;
    return true;
}

static void audit_free(struct sim_client *client) {
    free(ST_OWNER(client, struct audit, client));
}

void sim_audit_start(struct sim_world *world) {
    struct audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &audit->client, "audit", 0);
    audit->client.tick.fn = audit_tick;
    audit->client.morning = audit_morning;
    audit->client.idle = audit_idle;
    audit->client.free = audit_free;
    audit->writing = true;
    sim_client_tick(&audit->client, 0);
}
