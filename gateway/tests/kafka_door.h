/*
 * The Kafka door on the memory store under virtual time, with connections that are two buffers: for tests of
 * gateway/kafka. The functions of gateway/net/conn.h are defined here, so that nothing of it is linked.
 */
#ifndef GW_TESTS_KAFKA_DOOR_H
#define GW_TESTS_KAFKA_DOOR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/kafka/door.h"
#include "gateway/kafka/link.h"
#include "protocol/bytes/be.h"
#include "protocol/frame.h"
#include "storage/engine.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdio.h>
#include <stdlib.h>

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
    assert_non_null(failed);
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
    assert_non_null(failed);
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
    assert_int_equal(error, ST_OK);
    ((struct door *)arg)->over = true;
}

static inline struct door *door_new(void) {
    struct door *door = calloc(1, sizeof *door);
    assert_non_null(door);
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
    assert_true(door->over);
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
    assert_true(door->over);
    assert_int_equal(st_metrics.frame_bytes, 0); /* every frame was given back */
    gw_kafka_free(&door->gateway);
    st_engine_free(door->engine);
    door->over = false;
    door->store->ops->close(door->store, door_closed, door);
    door_run(door, ST_SECOND);
    assert_true(door->over);
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
    assert_false(chain->failed);
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
    assert_non_null(client);
    client->door = door;
    client->conn.id = ++last_id;
    snprintf(client->conn.peer, sizeof client->conn.peer, "test:%u", (unsigned)client->conn.id);
    kp_chain_init(&client->out);
    assert_true(gw_kafka_accept(&door->gateway, &client->conn));
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

/* ---- messages ---- */

/* The bytes of one request frame, length included, malloc'ed. */
static inline uint8_t *frame_of(enum kp_api_index api, int16_t version, int32_t correlation, const void *request,
                         size_t *len) {
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_true(
        kp_request_encode(&kp_apis[api], version, correlation, KP_SLICE_LIT("test"), request, &chain));
    uint8_t *bytes = malloc(chain.bytes);
    assert_non_null(bytes);
    *len = chain.bytes;
    size_t at = 0;
    for (size_t i = 0; i < chain.count; i++) {
        memcpy(bytes + at, chain.pieces[i].bytes.ptr, chain.pieces[i].bytes.len);
        at += chain.pieces[i].bytes.len;
    }
    kp_chain_release(&chain);
    return bytes;
}

static inline void client_ask(struct client *client, enum kp_api_index api, int16_t version, int32_t correlation,
                       const void *request) {
    size_t len = 0;
    uint8_t *bytes = frame_of(api, version, correlation, request, &len);
    assert_int_equal(client_give(client, bytes, len, SIZE_MAX), len);
    free(bytes);
}

static inline void out_copy(const struct client *client, size_t from, uint8_t *to, size_t len) {
    size_t at = 0;
    for (size_t i = 0; i < client->out.count && len > 0; i++) {
        struct kp_slice piece = client->out.pieces[i].bytes;
        size_t skip = from > at ? from - at : 0;
        at += piece.len;
        if (skip >= piece.len) {
            continue;
        }
        size_t part = piece.len - skip < len ? piece.len - skip : len;
        memcpy(to, piece.ptr + skip, part);
        to += part;
        from += part;
        len -= part;
    }
    assert_int_equal(len, 0);
}

/* Takes the next whole answer off what was sent; NULL when there is none. The frame (without its length) lives in the
 * arena. */
static inline bool client_take(struct client *client, struct kp_arena *arena, struct kp_slice *frame) {
    uint8_t prefix[4];
    if (client->out.bytes < sizeof prefix) {
        return false;
    }
    out_copy(client, 0, prefix, sizeof prefix);
    size_t size = kp_be_load32(prefix);
    assert_true(client->out.bytes >= sizeof prefix + size);
    uint8_t *bytes = kp_arena_alloc(arena, size);
    assert_non_null(bytes);
    out_copy(client, sizeof prefix, bytes, size);
    kp_chain_consume(&client->out, sizeof prefix + size);
    *frame = kp_slice_of(bytes, size);
    return true;
}

/* The next answer, decoded; it must be there, of this API and correlation id. */
static inline void client_expect(struct client *client, enum kp_api_index api, int16_t version, int32_t correlation,
                          struct kp_arena *arena, void *response) {
    struct kp_slice frame, body;
    int32_t seen = 0;
    assert_true(client_take(client, arena, &frame));
    assert_true(kp_response_header(&kp_apis[api], version, frame, &seen, &body));
    assert_int_equal(seen, correlation);
    const struct kp_struct *type = kp_apis[api].response();
    assert_true(kp_decode(type, kp_wire_of(&kp_apis[api], version), &body, arena, response, NULL));
    assert_int_equal(body.len, 0);
}

/* Asks, lets half a second pass, and decodes the answer. */
static inline void client_call(struct client *client, enum kp_api_index api, int16_t version, const void *request,
                        struct kp_arena *arena, void *response) {
    static int32_t correlation = 1000;
    client_ask(client, api, version, ++correlation, request);
    door_run(client->door, ST_SECOND / 2);
    client_expect(client, api, version, correlation, arena, response);
}

/* ---- things that most tests need ---- */

static inline struct kp_uuid make_topic(struct client *client, const char *name, int32_t partitions, const char *config,
                                 const char *value) {
    struct kp_create_topics_request_config pair = {.name = kp_slice_cstr(config != NULL ? config : ""),
                                                   .value = kp_slice_cstr(value != NULL ? value : "")};
    struct kp_create_topics_request_topic topic = {
        .name = kp_slice_cstr(name), .num_partitions = partitions, .replication_factor = 1};
    topic.configs.items = &pair;
    topic.configs.count = config != NULL;
    struct kp_create_topics_request request = {.timeout_ms = 1000};
    request.topics.items = &topic;
    request.topics.count = 1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_create_topics_response response;
    client_call(client, KP_API_create_topics, 7, &request, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
    struct kp_uuid id = response.topics.items[0].topic_id;
    kp_arena_release(&arena);
    return id;
}

/* A batch of `count` records with these values (and keys, when not NULL), all of one time. */
static inline struct kp_blob *make_batch(int32_t count, const char *key, const char *value, int64_t time_ms) {
    struct kp_new_record records[64];
    assert_true(count <= 64);
    for (int32_t i = 0; i < count; i++) {
        records[i] = (struct kp_new_record){.timestamp_ms = time_ms, .value = kp_slice_cstr(value)};
        if (key != NULL) {
            records[i].key = kp_slice_cstr(key);
        }
    }
    struct kp_blob *batch = kp_batch_build(records, count);
    assert_non_null(batch);
    return batch;
}

/* A Produce request for one partition of one topic; lives as long as its parts. */
struct produce_one {
    struct kp_produce_request request;
    struct kp_produce_request_topic topic;
    struct kp_produce_request_partition partition;
};

static inline void produce_one(struct produce_one *one, const char *topic, int32_t partition, int16_t acks,
                        struct kp_slice records) {
    *one = (struct produce_one){.request = {.acks = acks, .timeout_ms = 5000}};
    one->partition.index = partition;
    one->partition.records.bytes = records;
    one->topic.name = kp_slice_cstr(topic);
    one->topic.partition_data.items = &one->partition;
    one->topic.partition_data.count = 1;
    one->request.topic_data.items = &one->topic;
    one->request.topic_data.count = 1;
}

static inline struct kp_produce_response_partition *only_partition(struct kp_produce_response *response) {
    assert_int_equal(response->responses.count, 1);
    assert_int_equal(response->responses.items[0].partition_responses.count, 1);
    return &response->responses.items[0].partition_responses.items[0];
}

/* Produces one batch of `count` records to partition 0 and returns its base offset. */
static inline int64_t put_records(struct client *client, const char *topic, int32_t partition, int32_t count,
                           const char *value) {
    struct kp_blob *batch = make_batch(count, "k", value, WALL_MS);
    struct produce_one one;
    produce_one(&one, topic, partition, -1, kp_slice_of(batch->data, batch->size));
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_produce_response response;
    client_call(client, KP_API_produce, 9, &one.request, &arena, &response);
    assert_int_equal(only_partition(&response)->error_code, KP_ERROR_NONE);
    int64_t offset = only_partition(&response)->base_offset;
    kp_arena_release(&arena);
    kp_blob_unref(batch);
    return offset;
}

/* A Fetch request for some partitions of one topic. */
struct fetch_one {
    struct kp_fetch_request request;
    struct kp_fetch_request_topic topic;
    struct kp_fetch_request_partition partitions[4];
};

static inline void fetch_one(struct fetch_one *one, const char *topic, int64_t offset) {
    *one = (struct fetch_one){0};
    kp_init(kp_fetch_request_type(), &one->request);
    one->request.min_bytes = 1;
    one->request.max_bytes = 1 << 20;
    one->topic.topic = kp_slice_cstr(topic);
    one->topic.partitions.items = one->partitions;
    one->topic.partitions.count = 1;
    for (int32_t i = 0; i < 4; i++) {
        kp_init(kp_fetch_request_partition_type(), &one->partitions[i]);
        one->partitions[i].partition = i;
        one->partitions[i].fetch_offset = offset;
        one->partitions[i].partition_max_bytes = 1 << 20;
    }
    one->request.topics.items = &one->topic;
    one->request.topics.count = 1;
}

#endif
