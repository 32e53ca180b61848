/*
 * The Kafka door on the memory store under virtual time, with connections that are two buffers: for tests and fuzzing
 * of gateway/kafka. The functions of gateway/net/conn.h are defined here, so that nothing of it is linked.
 */
#ifndef GW_TESTS_KAFKA_WORLD_H
#define GW_TESTS_KAFKA_WORLD_H

#include "gateway/kafka/door.h"
#include "gateway/kafka/link.h"
#include "storage/engine.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define WALL_MS INT64_C(1700000000000)

/* ---- virtual time ---- */

struct clock {
    int64_t now_ns;
    uint64_t random;
};

static inline int64_t clock_mono(void *self) {
    return ((struct clock *)self)->now_ns;
}

static inline int64_t clock_wall(void *self) {
    return WALL_MS + ((struct clock *)self)->now_ns / ST_MS;
}

static inline void clock_random(void *self, void *bytes, size_t len) {
    struct clock *clock = self;
    for (size_t i = 0; i < len; i++) {
        clock->random = clock->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(clock->random >> 56);
    }
}

/* ---- the door ---- */

struct door {
    struct clock clock;
    struct st_loop *loop;
    struct st_store *store;
    struct st_engine *engine;
    struct gw_config config;
    struct gateway gateway;
    bool over;
};

/* While true the journal can not be read or written (or only not written), as if the network were gone. */
static bool store_away, store_takes_nothing;
static const struct st_store_ops *store_ops;
static struct st_store_ops store_patched;
static struct st_loop *store_loop;

struct failed_read {
    struct st_task task;
    struct st_journal_read *op;
};

static inline void read_fails(struct st_task *task) {
    struct failed_read *failed = ST_OWNER(task, struct failed_read, task);
    struct st_journal_read *op = failed->op;
    free(failed);
    op->error = ST_UNKNOWN;
    op->done(op);
}

static inline void away_read(struct st_store *store, struct st_journal_read *op) {
    if (!store_away) {
        store_ops->journal_read(store, op);
        return;
    }
    struct failed_read *failed = calloc(1, sizeof *failed);
    CHECK(failed != NULL);
    *failed = (struct failed_read){.task = {.fn = read_fails}, .op = op};
    st_defer(store_loop, &failed->task);
}

struct failed_put {
    struct st_task task;
    struct st_journal_put *op;
};

static inline void put_fails(struct st_task *task) {
    struct failed_put *failed = ST_OWNER(task, struct failed_put, task);
    struct st_journal_put *op = failed->op;
    free(failed);
    op->error = ST_UNKNOWN;
    op->done(op);
}

static inline void away_put(struct st_store *store, struct st_journal_put *op) {
    if (!store_away && !store_takes_nothing) {
        store_ops->journal_put(store, op);
        return;
    }
    struct failed_put *failed = calloc(1, sizeof *failed);
    CHECK(failed != NULL);
    *failed = (struct failed_put){.task = {.fn = put_fails}, .op = op};
    st_defer(store_loop, &failed->task);
}

/* Runs everything that is due within the next `most_ns`; the clock then stands there. */
static inline void door_run(struct door *door, int64_t most_ns) {
    int64_t end_ns = door->clock.now_ns + most_ns;
    for (;;) {
        int64_t due = st_loop_due(door->loop);
        if (due > end_ns) {
            break;
        }
        door->clock.now_ns = due > door->clock.now_ns ? due : door->clock.now_ns;
        st_loop_run_due(door->loop);
    }
    door->clock.now_ns = end_ns;
}

static inline void door_opened(void *arg, enum st_error error) {
    CHECK(error == ST_OK);
    ((struct door *)arg)->over = true;
}

static inline struct door *door_new(void) {
    struct door *door = calloc(1, sizeof *door);
    CHECK(door != NULL);
    door->clock = (struct clock){.now_ns = ST_SECOND, .random = 1};
    struct st_env env = {
        .now_mono_ns = clock_mono, .now_wall_ms = clock_wall, .random = clock_random, .self = &door->clock};
    door->loop = st_loop_new(&env);
    door->store = st_store_memory_new(door->loop);
    store_away = store_takes_nothing = false;
    store_loop = door->loop;
    store_ops = door->store->ops;
    store_patched = *store_ops;
    store_patched.journal_read = away_read;
    store_patched.journal_put = away_put;
    door->store->ops = &store_patched;
    struct st_engine_options options = st_engine_options_default();
    door->engine = st_engine_new(door->loop, door->store, &options);
    st_engine_open(door->engine, door_opened, door);
    door_run(door, ST_SECOND);
    CHECK(door->over);
    gw_config_default(&door->config);
    door->gateway = (struct gateway){.loop = door->loop,
                                     .engine = door->engine,
                                     .config = &door->config,
                                     .node_id = 7,
                                     .advertised_host = "gw.example",
                                     .advertised_port = 9092};
    kp_uuid_text(st_engine_cluster_id(door->engine), door->gateway.cluster_id);
    return door;
}

static inline void door_closed(void *arg) {
    ((struct door *)arg)->over = true;
}

static inline void door_free(struct door *door) {
    store_away = store_takes_nothing = false;
    door->over = false;
    st_engine_close(door->engine, door_closed, door);
    door_run(door, 60 * ST_SECOND);
    CHECK(door->over);
    CHECK(st_metrics.frame_bytes == 0); /* every frame was given back */
    gw_kafka_free(&door->gateway);
    st_engine_free(door->engine);
    door->over = false;
    door->store->ops->close(door->store, door_closed, door);
    door_run(door, ST_SECOND);
    CHECK(door->over);
    st_loop_free(door->loop);
    gw_config_release(&door->config);
    free(door);
}

/* ---- connections ---- */

struct client {
    struct gw_conn conn;
    struct door *door;
    struct kp_chain out; /* what was sent to the client */
    bool closed;         /* gw_conn_close */
    bool finished;       /* gw_conn_finish */
    bool paused;
    bool gone;           /* `closed` of the owner has run */
    bool hoards;         /* what is sent stays in the backlog */
    size_t backlog;
    int64_t deadline_ns; /* as last set */
};

static inline struct client *client_of(const struct gw_conn *conn) {
    return (struct client *)(void *)(uintptr_t)conn;
}

void gw_conn_send(struct gw_conn *conn, struct kp_chain *chain) {
    struct client *client = client_of(conn);
    CHECK(!(chain->failed));
    client->backlog += client->hoards ? chain->bytes : 0;
    kp_chain_move(&client->out, chain);
}

size_t gw_conn_backlog(const struct gw_conn *conn) {
    return client_of(conn)->backlog;
}

void gw_conn_resume(struct gw_conn *conn) {
    client_of(conn)->paused = false;
}

void gw_conn_deadline(struct gw_conn *conn, int64_t delay_ns) {
    client_of(conn)->deadline_ns = delay_ns;
}

void gw_conn_send_timeout(struct gw_conn *conn, int64_t timeout_ns) {
    (void)conn;
    (void)timeout_ns;
}

void gw_conn_close(struct gw_conn *conn) {
    client_of(conn)->closed = true;
}

void gw_conn_finish(struct gw_conn *conn) {
    client_of(conn)->finished = true;
}

static inline struct client *client_new(struct door *door) {
    static uint64_t last_id;
    struct client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    client->door = door;
    client->conn.id = ++last_id;
    snprintf(client->conn.peer, sizeof client->conn.peer, "test:%u", (unsigned)client->conn.id);
    kp_chain_init(&client->out);
    CHECK(gw_kafka_accept(&door->gateway, &client->conn));
    return client;
}

/* The connection ends, whoever wished it; the owner is told once. */
static inline void client_hang_up(struct client *client) {
    if (!client->gone) {
        client->gone = true;
        client->conn.ops->closed(&client->conn, "peer");
    }
}

static inline void client_free(struct client *client) {
    client_hang_up(client);
    kp_chain_release(&client->out);
    free(client);
}

/* Gives as much of the bytes as is wanted, at most `step` at a time, and returns how many were taken. */
static inline size_t client_give(struct client *client, const uint8_t *bytes, size_t len, size_t step) {
    size_t given = 0;
    while (given < len && !client->closed && !client->gone) {
        uint8_t *into = NULL;
        size_t wanted = client->conn.ops->want(&client->conn, &into);
        client->paused = wanted == 0;
        if (wanted == 0) {
            break;
        }
        size_t part = len - given < wanted ? len - given : wanted;
        part = part < step ? part : step;
        memcpy(into, bytes + given, part);
        given += part;
        client->conn.ops->received(&client->conn, part);
    }
    return given;
}

#endif
