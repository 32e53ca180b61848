/*
 * POST /topics/{topic}/produce with {"payload": any JSON} -> {"topic":"...","offset":N}
 *
 * The record's value is the payload's bytes as they were sent, in a batch of one record. The batch is built before
 * anything is waited for, so the request's body is needed no longer than this call.
 *
 *   topic known --------------------------------------------> append -> answer
 *   topic unknown -> create it (1 partition, first offset 1) -> look again
 *   topic gone meanwhile (a closed id), or being made by another request -> sync -> look again
 *
 * A batch larger than the topic takes is refused here already, so that it is not uploaded first; only after a sync,
 * since the configuration may have changed (the engine decides again, at the commit). A 503 says that the record is
 * surely not stored: everything before the append, and an append that was refused. Once the append has begun only its
 * own answer counts.
 */
#include "lambda/exchange.h"

#include "lambda/json.h"
#include "lambda/response.h"
#include "storage/topic_config.h"

#include <inttypes.h>
#include <stdio.h>

#define TRIES_MAX 6 /* how often a topic may vanish, or be in the making, under one request */
#define HTTP_FIRST_OFFSET 1

static void send_to_topic(struct rest_exchange *exchange);

static void release(struct rest_exchange *exchange) {
    kp_blob_unref(exchange->produce.batch);
}

static int64_t message_bytes_max(const struct st_topic *topic) {
    struct kp_slice name = KP_SLICE_LIT("max.message.bytes");
    struct kp_slice value = kp_slice_cstr(st_config_rule(name)->value);
    for (size_t i = 0; i < topic->config_count; i++) {
        if (kp_slice_equal(topic->configs[i].name, name)) {
            value = topic->configs[i].value;
        }
    }
    int64_t bytes = 0;
    return st_config_number(value, &bytes) ? bytes : 0;
}

static void answer_stored(struct rest_exchange *exchange) {
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, 200);
    char json[ST_TOPIC_NAME_MAX + 64];
    int len = snprintf(json, sizeof json, "{\"topic\":\"%.*s\",\"offset\":%" PRId64 "}",
                       KP_SLICE_ARG(rest_exchange_topic(exchange)), exchange->produce.part.base_offset);
    kp_chain_copy(&response->body, json, (size_t)len);
    rest_exchange_done(exchange);
}

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
    enum st_error error = exchange->produce.part.error;
    if (error == ST_OK) {
        answer_stored(exchange);
    } else if (error == ST_NO_TOPIC_ID || error == ST_NO_TOPIC || error == ST_NO_PARTITION) {
        look_again(exchange);
    } else {
        rest_exchange_store_error(exchange, error);
    }
}

static void append(struct rest_exchange *exchange, const struct st_topic *topic) {
    struct rest_produce *produce = &exchange->produce;
    struct kp_slice bytes = kp_slice_of(produce->batch->data, produce->batch->size);
    produce->part = (struct st_append_part){.topic_id = topic->id, .partition = 0, .blob = produce->batch};
    if (kp_batch_peek(bytes, &produce->part.batch) != KP_ERROR_NONE) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    produce->append = (struct st_append){
        .parts = &produce->part,
        .count = 1,
        .order = exchange->call->order,
        .timeout_ms = rest_exchange_ms_left(exchange),
        .done = appended,
    };
    rest_exchange_commit(exchange);
    st_append(exchange->rest->engine, &produce->append);
}

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
    if (++exchange->produce.tries >= TRIES_MAX) {
        rest_exchange_store_error(exchange, ST_REFUSED);
        return;
    }
    exchange->produce.create = (struct st_topic_create){
        .name = rest_exchange_topic(exchange),
        .partitions = 1,
        .first_offset = HTTP_FIRST_OFFSET,
        .done = created,
    };
    rest_exchange_wait(exchange);
    st_topic_create(exchange->rest->engine, &exchange->produce.create);
}

static void send_to_topic(struct rest_exchange *exchange) {
    const struct st_topic *topic = st_topic_by_name(exchange->rest->engine, rest_exchange_topic(exchange));
    if (topic == NULL) {
        create(exchange);
    } else if ((int64_t)exchange->produce.batch->size <= message_bytes_max(topic)) {
        append(exchange, topic);
    } else if (!exchange->synced) {
        rest_exchange_sync(exchange, send_to_topic);
    } else {
        rest_exchange_store_error(exchange, ST_TOO_LARGE);
    }
}

static void refuse_json(struct rest_exchange *exchange, enum rest_json_error error, size_t at) {
    char text[160];
    snprintf(text, sizeof text, "The body %s (at byte %zu).", rest_json_error_text(error), at);
    rest_exchange_error_text(exchange, REST_BAD_JSON, text);
}

void rest_produce_start(struct rest_exchange *exchange) {
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    size_t at;
    enum rest_json_error error = rest_json_object(exchange->call->request.body.bytes, &payload, 1, &at);
    if (error != REST_JSON_OK) {
        refuse_json(exchange, error, at);
        return;
    }
    if (payload.value.ptr == NULL) {
        rest_exchange_error(exchange, REST_MISSING_PAYLOAD);
        return;
    }
    struct kp_new_record record = {
        .timestamp_ms = st_now_wall_ms(exchange->rest->loop),
        .value = payload.value,
    };
    exchange->produce.tries = 0;
    exchange->produce.batch = kp_batch_build(&record, 1);
    exchange->release = release;
    if (exchange->produce.batch == NULL) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    send_to_topic(exchange);
}
