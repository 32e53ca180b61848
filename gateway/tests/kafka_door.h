/* Messages to and from the Kafka door of kafka_world.h, for tests: requests as structs, answers decoded. */
#ifndef GW_TESTS_KAFKA_DOOR_H
#define GW_TESTS_KAFKA_DOOR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/tests/kafka_world.h"
#include "protocol/bytes/be.h"
#include "protocol/frame.h"

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
