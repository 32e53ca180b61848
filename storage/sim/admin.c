/*
 * The administrator: makes the plan's topics, deletes and remakes the doomed ones, looks topics up by name, and
 * takes producer ids. What fails it asks again, through any process: ST_TOPIC_EXISTS is then as good as success.
 */
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum job { NOTHING, CREATING, DELETING, LOOKING, TAKING_ID };

struct admin {
    struct sim_client client;
    enum job job;
    struct sim_node *node;
    unsigned name;
    char text[16];
    bool wanted[SIM_NAMES_MAX]; /* there, or to be made */
    int64_t jobs_left;          /* lookups and ids of this period */
    struct sim_call call;
    struct st_config config;
    struct st_topic_create create;
    struct st_topic_delete delete;
    struct st_sync sync;
    struct st_producer_id id;
    struct sim_topic *newest; /* of the name, when the job began */
    bool stood, gone;         /* when the job began: it stood for sure; it was deleted for sure */
};

static void next_job(struct admin *admin, int64_t most_ns) {
    admin->job = NOTHING;
    sim_client_tick(&admin->client, st_dice_spread(&admin->client.dice, 1000, most_ns));
}

static void admin_lost(struct sim_call *call) {
    next_job(ST_OWNER(call, struct admin, call), 100 * ST_MS);
}

static struct kp_slice topic_name(struct admin *admin) {
    snprintf(admin->text, sizeof admin->text, "topic-%u", admin->name);
    return kp_slice_cstr(admin->text);
}

/* A No from a fold that is behind would be wrong: each change is asked for after a sync. */
static void after_sync(struct admin *admin, enum job job, void (*synced)(struct st_sync *sync)) {
    admin->job = job;
    admin->sync = (struct st_sync){.done = synced};
    sim_call_begin(&admin->call, admin->node, admin_lost);
    st_sync(admin->node->engine, &admin->sync);
}

/* ---- create ---- */

static void created(struct st_topic_create *op) {
    struct admin *admin = ST_OWNER(op, struct admin, create);
    struct sim_world *world = admin->client.world;
    sim_call_end(&admin->call);
    st_sim_trace(&world->clock, "created", admin->name, (uint64_t)op->error, 0);
    if (op->error == ST_OK || op->error == ST_TOPIC_EXISTS) {
        struct sim_topic *topic = sim_history_topic(world, admin->name, &op->id);
        if (topic != NULL && topic->delete_begun_ns != INT64_MAX) {
            sim_broken(world, "a topic was made that had been deleted before");
        }
    } else if (op->error != ST_REFUSED && op->error != ST_UNKNOWN && op->error != ST_UNREADABLE) {
        sim_broken(world, "a topic could not be made: %s", st_error_code(op->error));
    }
    next_job(admin, 50 * ST_MS);
}

static void create(struct st_sync *sync) {
    struct admin *admin = ST_OWNER(sync, struct admin, sync);
    const struct sim_plan_topic *plan = &admin->client.world->plan.topics[admin->name];
    sim_call_end(&admin->call);
    if (sync->error != ST_OK || !sim_node_ready(admin->node, admin->node->life)) {
        next_job(admin, 50 * ST_MS);
        return;
    }
    admin->config = (struct st_config){KP_SLICE_LIT("message.timestamp.type"), KP_SLICE_LIT("LogAppendTime")};
    admin->create = (struct st_topic_create){
        .name = topic_name(admin),
        .partitions = plan->partitions,
        .first_offset = plan->first_offset,
        .configs = &admin->config,
        .config_count = plan->log_append_time ? 1 : 0,
        .done = created,
    };
    sim_call_begin(&admin->call, admin->node, admin_lost);
    st_topic_create(admin->node->engine, &admin->create);
}

/* ---- delete ---- */

static void deleted(struct st_topic_delete *op) {
    struct admin *admin = ST_OWNER(op, struct admin, delete);
    struct sim_world *world = admin->client.world;
    sim_call_end(&admin->call);
    st_sim_trace(&world->clock, "deleted", admin->name, (uint64_t)op->error, 0);
    if (op->error == ST_OK || op->error == ST_NO_TOPIC_ID) {
        admin->newest->deleted_ns = sim_now(world);
        admin->wanted[admin->newest->name] = st_dice_below(&admin->client.dice, 3) != 0;
    } else if (op->error != ST_REFUSED && op->error != ST_UNKNOWN && op->error != ST_UNREADABLE) {
        sim_broken(world, "a topic could not be deleted: %s", st_error_code(op->error));
    }
    next_job(admin, 100 * ST_MS);
}

static void delete(struct st_sync *sync) {
    struct admin *admin = ST_OWNER(sync, struct admin, sync);
    struct sim_world *world = admin->client.world;
    sim_call_end(&admin->call);
    if (sync->error != ST_OK || !sim_node_ready(admin->node, admin->node->life)) {
        next_job(admin, 50 * ST_MS);
        return;
    }
    if (admin->newest->delete_begun_ns == INT64_MAX) {
        admin->newest->delete_begun_ns = sim_now(world);
    }
    admin->delete = (struct st_topic_delete){.id = admin->newest->id, .done = deleted};
    sim_call_begin(&admin->call, admin->node, admin_lost);
    st_topic_delete(admin->node->engine, &admin->delete);
}

/* ---- look up ---- */

static void check_lookup(struct admin *admin) {
    struct sim_world *world = admin->client.world;
    const struct st_topic *topic = st_topic_by_name(admin->node->engine, topic_name(admin));
    const struct sim_topic *newest = admin->newest;
    bool deleting = newest->delete_begun_ns != INT64_MAX;
    if (topic == NULL) {
        if (admin->stood && !deleting) {
            sim_broken(world, "stale: topic %u is unknown by name after a sync", admin->name);
        }
        return;
    }
    if (kp_uuid_equal(&topic->id, &newest->id) ? admin->gone : admin->stood && !deleting) {
        sim_broken(world, "stale: topic %u has an id after a sync that is not its own any more", admin->name);
        return;
    }
    if (topic->partition_count != newest->partitions || topic->first_offset != newest->first_offset) {
        sim_broken(world, "topic %u is not as it was made", admin->name);
        return;
    }
    const struct st_topic *same = st_topic_by_id(admin->node->engine, &topic->id);
    if (same != topic || st_topic_count(admin->node->engine) > world->plan.names) {
        sim_broken(world, "the topics by name, by id and by count disagree");
    }
    for (int32_t p = 0; p < topic->partition_count && kp_uuid_equal(&topic->id, &newest->id); p++) {
        struct st_partition_view view;
        if (st_partition_view(admin->node->engine, topic, p, &view)) {
            sim_node_view(admin->node, newest, p, &view);
        }
    }
}

static void looked(struct st_sync *sync) {
    struct admin *admin = ST_OWNER(sync, struct admin, sync);
    sim_call_end(&admin->call);
    if (sync->error == ST_OK) {
        check_lookup(admin);
    }
    next_job(admin, 300 * ST_MS);
}

static void look(struct admin *admin) {
    admin->stood = admin->newest->delete_begun_ns == INT64_MAX;
    admin->gone = admin->newest->deleted_ns != INT64_MAX;
    after_sync(admin, LOOKING, looked);
}

/* ---- ids ---- */

static void id_taken(struct st_producer_id *op) {
    struct admin *admin = ST_OWNER(op, struct admin, id);
    sim_call_end(&admin->call);
    if (op->error == ST_OK) {
        sim_history_producer_id(admin->client.world, op->id);
    }
    next_job(admin, 300 * ST_MS);
}

static void take_id(struct admin *admin) {
    admin->job = TAKING_ID;
    admin->id = (struct st_producer_id){.done = id_taken};
    sim_call_begin(&admin->call, admin->node, admin_lost);
    st_producer_id(admin->node->engine, &admin->id);
}

/* ---- the client ---- */

/* Names that should exist and do not, are made first; -1: all is as wanted. */
static int missing(const struct admin *admin) {
    struct sim_world *world = admin->client.world;
    for (unsigned name = 0; name < world->plan.names; name++) {
        const struct sim_topic *newest = sim_history_newest(world, name);
        if (admin->wanted[name] && (newest == NULL || newest->deleted_ns != INT64_MAX)) {
            return (int)name;
        }
    }
    return -1;
}

/* A topic whose deletion was begun and not answered. */
static struct sim_topic *half_deleted(const struct sim_world *world) {
    for (size_t i = 0; i < world->history.topic_count; i++) {
        struct sim_topic *topic = world->history.topics[i];
        if (topic->delete_begun_ns != INT64_MAX && topic->deleted_ns == INT64_MAX) {
            return topic;
        }
    }
    return NULL;
}

static void anything(struct admin *admin) {
    struct sim_world *world = admin->client.world;
    struct st_dice *dice = &admin->client.dice;
    admin->name = (unsigned)st_dice_below(dice, world->plan.names);
    admin->newest = sim_history_newest(world, admin->name);
    admin->jobs_left--;
    if (admin->newest == NULL || st_dice_below(dice, 4) == 0) {
        take_id(admin);
    } else if (world->plan.topics[admin->name].doomed && admin->newest->deleted_ns == INT64_MAX &&
               st_dice_below(dice, 4) == 0 && world->history.topic_count < SIM_NAMES_MAX * 7) {
        after_sync(admin, DELETING, delete);
    } else {
        look(admin);
    }
}

static void admin_tick(struct st_sim_event *event) {
    struct admin *admin = ST_OWNER(event, struct admin, client.tick);
    struct sim_world *world = admin->client.world;
    bool busy = world->phase == SIM_BUSY && admin->jobs_left > 0;
    int lacking = missing(admin);
    struct sim_topic *half = half_deleted(world);
    if (admin->job != NOTHING || world->phase >= SIM_AUDIT || world->phase == SIM_NIGHT ||
        (!busy && lacking < 0 && half == NULL)) {
        return;
    }
    admin->node = sim_node_any(world, &admin->client.dice);
    if (admin->node == NULL) {
        next_job(admin, 50 * ST_MS);
    } else if (half != NULL) {
        admin->newest = half;
        admin->name = half->name;
        after_sync(admin, DELETING, delete);
    } else if (lacking >= 0) {
        admin->name = (unsigned)lacking;
        after_sync(admin, CREATING, create);
    } else {
        anything(admin);
    }
}

static void admin_morning(struct sim_client *client) {
    struct admin *admin = ST_OWNER(client, struct admin, client);
    admin->jobs_left = st_dice_between(&client->dice, 5, 40);
    if (admin->job == NOTHING) {
        next_job(admin, ST_MS);
    }
}

static bool admin_idle(const struct sim_client *client) {
    const struct admin *admin = ST_OWNER(client, struct admin, client);
    return admin->job == NOTHING && missing(admin) < 0 && half_deleted(client->world) == NULL;
}

static void admin_free(struct sim_client *client) {
    free(ST_OWNER(client, struct admin, client));
}

void sim_admin_new(struct sim_world *world) {
    struct admin *admin = calloc(1, sizeof *admin);
    if (admin == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    sim_client_start(world, &admin->client, "admin", 0);
    for (unsigned name = 0; name < world->plan.names; name++) {
        admin->wanted[name] = true;
    }
    admin->client.tick.fn = admin_tick;
    admin->client.morning = admin_morning;
    admin->client.idle = admin_idle;
    admin->client.free = admin_free;
}
