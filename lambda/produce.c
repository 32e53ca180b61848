/*
 * POST /topics/{topic}/produce
 *   {"payload": any JSON, "key"?, "headers"?, "partition"?, "timestamp"?}   -> {"topic":"...","offset":N}
 *   {"messages": [such objects]}    -> {"topic":"...","messages":[{"partition":0,"offset":N}, ...]}, in their order
 *
 * message.h has the form of a message; the answer to a single one names its partition when the request named one, or a
 * key. A record's value is the payload's bytes as they were sent. Messages without a timestamp get the time of arrival.
 *
 *   topic known --------------------------------------------> append -> answer
 *   topic unknown -> create it (1 partition, first offset 1) -> look again
 *   topic gone meanwhile (a closed id), or being made by another request -> sync -> look again
 *
 * All messages go into one append, so they become visible in one entry. What the topic's rules refuse is refused here
 * before anything is appended, after a sync, since the configuration may have changed; so it is all of them or none.
 * The engine decides again at the commit, batch by batch: when a rule changes just then, some messages may be stored
 * and others not, and the answer (207) says so of each.
 *
 * With an Idempotency-Key (1 to 255 characters, each topic having its own) a request may be sent again and again: it is
 * stored once, all of it or nothing, and answered with the offsets that it got then. The same key with another body is
 * 422. Keys are remembered for about a day (storage/journal/keys.h).
 *
 * A 503 says that nothing is stored: everything before the append, and an append that was refused. Once the append has
 * begun only its own answer counts.
 */
#include "lambda/exchange.h"

#include "lambda/json.h"
#include "lambda/response.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#define TRIES_MAX 6 /* how often a topic may vanish, or be in the making, under one request */
#define MULTI_STATUS 207
#define IDEMPOTENCY_KEY_MAX 255
/* What a request is taken apart into, for each byte of its body and in any case. */
enum { ARENA_PER_BYTE = 8, ARENA_LEAST = 64 << 10, ANSWER_MAX = 8 << 20 };

static void send_to_topic(struct rest_exchange *exchange);

static void release(struct rest_exchange *exchange) {
    rest_parts_release(&exchange->produce.parts);
    kp_arena_release(&exchange->produce.arena);
}

/* ---- answers ---- */

static const struct st_append_part *part_of(const struct rest_produce *produce, size_t message) {
    return &produce->parts.parts[produce->parts.part_of[message]];
}

static int64_t offset_of(const struct rest_produce *produce, size_t message) {
    return part_of(produce, message)->base_offset + produce->parts.place_in[message];
}

static void answer_one(struct rest_exchange *exchange) {
    const struct rest_produce *produce = &exchange->produce;
    struct rest_response *response = &exchange->call->response;
    char partition[32] = "", json[ST_TOPIC_NAME_MAX + 96];
    if (produce->placed) {
        snprintf(partition, sizeof partition, "\"partition\":%" PRId32 ",", part_of(produce, 0)->partition);
    }
    rest_response_begin(response, 200);
    int len = snprintf(json, sizeof json, "{\"topic\":\"%.*s\",%s\"offset\":%" PRId64 "}",
                       KP_SLICE_ARG(rest_exchange_topic(exchange)), partition, offset_of(produce, 0));
    kp_chain_copy(&response->body, json, (size_t)len);
    rest_exchange_done(exchange);
}

static void write_result(struct rest_writer *writer, const struct rest_produce *produce, size_t message) {
    const struct st_append_part *part = part_of(produce, message);
    char json[256];
    int len = snprintf(json, sizeof json, "%s{\"partition\":%" PRId32, message > 0 ? "," : "", part->partition);
    rest_writer_bytes(writer, kp_slice_of(json, (size_t)len));
    enum st_error error = st_error_outcome_unknown(part->error) ? ST_UNKNOWN : part->error;
    len = error == ST_OK ? snprintf(json, sizeof json, ",\"offset\":%" PRId64 "}", offset_of(produce, message))
                         : snprintf(json, sizeof json, ",\"error\":\"%s\",\"code\":\"%s\"}", st_error_text(error),
                                    st_error_code(error));
    rest_writer_bytes(writer, kp_slice_of(json, (size_t)len));
}

static void answer_all(struct rest_exchange *exchange, int status) {
    const struct rest_produce *produce = &exchange->produce;
    struct rest_writer writer;
    rest_writer_init(&writer, ANSWER_MAX);
    rest_writer_bytes(&writer, KP_SLICE_LIT("{\"topic\":\""));
    rest_writer_bytes(&writer, rest_exchange_topic(exchange));
    rest_writer_bytes(&writer, KP_SLICE_LIT("\",\"messages\":["));
    for (size_t i = 0; i < produce->count; i++) {
        write_result(&writer, produce, i);
    }
    rest_writer_bytes(&writer, KP_SLICE_LIT("]}"));
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, status);
    response->body.failed = writer.failed;
    rest_writer_finish(&writer, &response->body);
    rest_exchange_done(exchange);
}

/* ---- the append ---- */

/* The topic was deleted, perhaps made again under another id: the name decides. */
static void look_again(struct rest_exchange *exchange) {
    if (++exchange->produce.tries >= TRIES_MAX) {
        rest_exchange_store_error(exchange, ST_REFUSED);
        return;
    }
    rest_exchange_sync(exchange, send_to_topic);
}

static void appended(struct st_append *append) {
    struct rest_exchange *exchange = ST_OWNER(append, struct rest_exchange, produce.append);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    struct rest_produce *produce = &exchange->produce;
    enum st_error error = ST_OK;
    size_t stored = 0;
    for (size_t i = 0; i < produce->parts.count; i++) {
        enum st_error here = produce->parts.parts[i].error;
        stored += here == ST_OK ? 1 : 0;
        error = error == ST_OK || st_error_outcome_unknown(here) ? here : error;
    }
    bool gone = error == ST_NO_TOPIC_ID || error == ST_NO_TOPIC || error == ST_NO_PARTITION;
    if (stored == produce->parts.count) {
        if (produce->several) {
            answer_all(exchange, 200);
        } else {
            answer_one(exchange);
        }
    } else if (stored > 0) {
        answer_all(exchange, MULTI_STATUS);
    } else if (gone) {
        look_again(exchange);
    } else {
        rest_exchange_store_error(exchange, error);
    }
}

static void append(struct rest_exchange *exchange) {
    struct rest_produce *produce = &exchange->produce;
    produce->append = (struct st_append){
        .parts = produce->parts.parts,
        .count = produce->parts.count,
        .order = exchange->call->order,
        .timeout_ms = rest_exchange_ms_left(exchange),
        .key = produce->key,
        .key_hash = {produce->key_hash[0], produce->key_hash[1]},
        .key_begun_ms = produce->key_begun_ms,
        .done = appended,
    };
    rest_exchange_commit(exchange);
    st_append(exchange->rest->engine, &produce->append);
}

/* ---- the topic ---- */

static void created(struct st_topic_create *create) {
    struct rest_exchange *exchange = ST_OWNER(create, struct rest_exchange, produce.create);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    if (create->error == ST_OK || create->error == ST_TOPIC_EXISTS) {
        send_to_topic(exchange);
    } else if (create->error == ST_REFUSED) {
        look_again(exchange); /* so is a second create of one name answered while the first is being committed */
    } else {
        /* Even when it is not known whether the topic was made: the record surely was not. */
        bool away = st_error_outcome_unknown(create->error);
        rest_exchange_store_error(exchange, away ? ST_REFUSED : create->error);
    }
}

static void create(struct rest_exchange *exchange) {
    struct rest_produce *produce = &exchange->produce;
    for (size_t i = 0; i < produce->count; i++) {
        if (produce->messages[i].partition > 0) { /* it would be made with one partition */
            if (exchange->synced) {
                rest_exchange_store_error(exchange, ST_NO_PARTITION);
            } else {
                rest_exchange_sync(exchange, send_to_topic);
            }
            return;
        }
    }
    if (++produce->tries >= TRIES_MAX) {
        rest_exchange_store_error(exchange, ST_REFUSED);
        return;
    }
    produce->create = (struct st_topic_create){
        .name = rest_exchange_topic(exchange),
        .partitions = 1,
        .first_offset = REST_FIRST_OFFSET,
        .done = created,
    };
    rest_exchange_wait(exchange);
    st_topic_create(exchange->rest->engine, &produce->create);
}

static void refuse(struct rest_exchange *exchange, enum rest_parts_result result) {
    switch (result) {
    case REST_PARTS_NO_PARTITION:
        rest_exchange_store_error(exchange, ST_NO_PARTITION);
        return;
    case REST_PARTS_FAR:
        rest_exchange_error(exchange, REST_FAR_TIMESTAMP);
        return;
    case REST_PARTS_TOO_LARGE:
        rest_exchange_store_error(exchange, ST_TOO_LARGE);
        return;
    case REST_PARTS_TOO_MANY:
        rest_exchange_error(exchange, REST_TOO_MANY_PARTS);
        return;
    case REST_PARTS_OK:
    case REST_PARTS_NO_MEMORY:
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
}

static void send_to_topic(struct rest_exchange *exchange) {
    struct rest_produce *produce = &exchange->produce;
    const struct st_topic *topic = st_topic_by_name(exchange->rest->engine, rest_exchange_topic(exchange));
    if (topic == NULL) {
        create(exchange);
        return;
    }
    rest_parts_release(&produce->parts);
    enum rest_parts_result result = rest_parts_make(&produce->parts, topic, produce->messages, produce->count,
                                                    st_now_wall_ms(exchange->rest->loop));
    bool may_change = result == REST_PARTS_NO_PARTITION || result == REST_PARTS_FAR || result == REST_PARTS_TOO_LARGE ||
                      result == REST_PARTS_TOO_MANY;
    if (result == REST_PARTS_OK) {
        append(exchange);
    } else if (may_change && !exchange->synced) {
        rest_exchange_sync(exchange, send_to_topic);
    } else {
        refuse(exchange, result);
    }
}

/* ---- the request ---- */

/* The finalizer of splitmix64 over the sum: every bit of the word reaches every bit of the result. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    uint64_t x = (hash ^ word) + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Two running hashes of eight bytes at a time; no more is asked of it than that a client's two requests differ. */
static void hash_body(struct kp_slice body, uint64_t hash[2]) {
    hash[0] = mix(1, body.len);
    hash[1] = mix(2, body.len);
    for (size_t at = 0; at < body.len; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, body.ptr + at, body.len - at < sizeof word ? body.len - at : sizeof word);
        hash[0] = mix(hash[0], word);
        hash[1] = mix(hash[1], ~word);
    }
}

/* False: there is one, and it is not well. */
static bool read_key(struct rest_exchange *exchange) {
    struct rest_produce *produce = &exchange->produce;
    const struct rest_request *request = &exchange->call->request;
    struct kp_slice name = KP_SLICE_LIT("idempotency-key");
    for (size_t i = 0; i < request->header_count; i++) {
        const struct rest_header *header = &request->headers[i];
        if (header->name.len != name.len ||
            strncasecmp((const char *)header->name.ptr, (const char *)name.ptr, name.len) != 0) {
            continue;
        }
        if (produce->key.ptr != NULL || header->value.len < 1 || header->value.len > IDEMPOTENCY_KEY_MAX) {
            return false;
        }
        produce->key = header->value;
    }
    for (size_t i = 0; i < produce->key.len; i++) {
        if (produce->key.ptr[i] < 0x20 || produce->key.ptr[i] > 0x7e) {
            return false;
        }
    }
    if (produce->key.ptr != NULL) {
        hash_body(request->body.bytes, produce->key_hash);
    }
    return true;
}

/* What is wrong with one of several says which. */
static void refuse_message(struct rest_exchange *exchange, enum rest_error error, size_t index) {
    char text[400];
    snprintf(text, sizeof text, "Message %zu: %s", index, rest_error_text(error));
    rest_exchange_error_text(exchange, error, text);
}

/* False: answered. */
static bool read_several(struct rest_exchange *exchange, struct kp_slice array, int64_t now_ms) {
    struct rest_produce *produce = &exchange->produce;
    struct kp_slice rest = array, item;
    while (produce->count <= REST_MESSAGES_MAX && rest_json_next_value(&rest, &item)) {
        produce->count++;
    }
    if (produce->count == 0 || produce->count > REST_MESSAGES_MAX) {
        rest_exchange_error(exchange, REST_BAD_MESSAGES);
        return false;
    }
    produce->messages = kp_arena_array(&produce->arena, produce->count, sizeof *produce->messages);
    if (produce->messages == NULL) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return false;
    }
    rest = array;
    for (size_t i = 0; rest_json_next_value(&rest, &item); i++) {
        struct rest_json_member members[REST_MEMBER_COUNT];
        enum rest_error error = REST_BAD_MESSAGES;
        size_t at;
        rest_message_members(members);
        if (rest_json_object(item, members, REST_MEMBER_COUNT, &at) != REST_JSON_OK ||
            !rest_message_read(members, &produce->arena, now_ms, &produce->messages[i], &error)) {
            refuse_message(exchange, error, i);
            return false;
        }
    }
    return true;
}

static bool read_one(struct rest_exchange *exchange, const struct rest_json_member *members, int64_t now_ms) {
    struct rest_produce *produce = &exchange->produce;
    enum rest_error error = REST_OVERLOADED;
    produce->count = 1;
    produce->messages = &produce->only;
    if (!rest_message_read(members, &produce->arena, now_ms, &produce->only, &error)) {
        rest_exchange_error(exchange, error);
        return false;
    }
    produce->placed = produce->only.partition >= 0 || produce->only.record.key.ptr != NULL;
    return true;
}

void rest_produce_start(struct rest_exchange *exchange) {
    struct rest_produce *produce = &exchange->produce;
    struct kp_slice body = exchange->call->request.body.bytes;
    struct rest_json_member members[REST_MEMBER_COUNT];
    size_t at;
    rest_message_members(members);
    enum rest_json_error error = rest_json_object(body, members, REST_MEMBER_COUNT, &at);
    if (error != REST_JSON_OK) {
        rest_exchange_json_error(exchange, error, at);
        return;
    }
    *produce = (struct rest_produce){.tries = 0};
    kp_arena_init(&produce->arena, ARENA_LEAST + body.len * ARENA_PER_BYTE);
    exchange->release = release;
    if (!read_key(exchange)) {
        rest_exchange_error(exchange, REST_BAD_IDEMPOTENCY_KEY);
        return;
    }
    int64_t now_ms = st_now_wall_ms(exchange->rest->loop);
    struct kp_slice messages = members[REST_MEMBER_MESSAGES].value;
    produce->several = messages.ptr != NULL && members[REST_MEMBER_PAYLOAD].value.ptr == NULL;
    if (produce->several && rest_json_kind(messages) != REST_JSON_ARRAY) {
        rest_exchange_error(exchange, REST_BAD_MESSAGES);
        return;
    }
    if (!(produce->several ? read_several(exchange, messages, now_ms) : read_one(exchange, members, now_ms))) {
        return;
    }
    if (produce->key.ptr != NULL) {
        produce->key_begun_ms = st_store_time(exchange->rest->engine); /* st_append wants it, and the sync */
        rest_exchange_sync(exchange, send_to_topic);
    } else {
        send_to_topic(exchange);
    }
}
