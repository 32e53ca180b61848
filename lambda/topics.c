/*
 * Topics as such:
 *
 *   GET /topics?prefix=&after=&limit=   {"topics":[{"name":"t","id":"...","partitions":1}, ...]}, by name; when there
 *                                       are more, "next_after" is what to ask for next as `after`
 *   POST /topics                        {"name": "t", "partitions"?: 1, "configs"?: {"retention.ms": 1000}} -> 201 and
 *                                       what GET /topics/t says
 *   GET /topics/{topic}                 {"name","id","partitions","first_offset","configs":{those that were set}}
 *   DELETE /topics/{topic}              {"name","id","deleted":true}
 *   GET /topics/{topic}/offsets?partition=&timestamp=
 *                                       {"topic":"t","partitions":[{"partition":0,"start":1,"end":8}, ...]}; with a
 *                                       timestamp each has "offset", of the first record of that time or later, and
 *                                       that record's "timestamp"; when there is none, "offset" is the end
 *
 * Each begins with a sync: a topic that another process has made a moment ago is there, and offsets are at least as
 * high as what was acknowledged before the request.
 */
#include "lambda/exchange.h"

#include "lambda/json.h"
#include "lambda/query.h"
#include "lambda/response.h"
#include "storage/topic_config.h"

#include <inttypes.h>
#include <stdio.h>

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define ANSWER_MAX (8 << 20)
#define CONFIGS_ARENA (64 << 10)

static void release(struct rest_exchange *exchange) {
    rest_writer_release(&exchange->topics.writer);
    kp_arena_release(&exchange->topics.arena);
}

static void begin(struct rest_exchange *exchange) {
    exchange->topics = (struct rest_topics){.partition = 0};
    rest_writer_init(&exchange->topics.writer, ANSWER_MAX);
    kp_arena_init(&exchange->topics.arena, CONFIGS_ARENA + exchange->call->request.body.bytes.len);
    exchange->release = release;
}

static void answer(struct rest_exchange *exchange, int status) {
    struct rest_writer *writer = &exchange->topics.writer;
    if (writer->failed) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, status);
    rest_writer_finish(writer, &response->body);
    rest_exchange_done(exchange);
}

/* The topic that the path names; NULL: answered. */
static const struct st_topic *find_topic(struct rest_exchange *exchange) {
    const struct st_topic *topic = st_topic_by_name(exchange->rest->engine, rest_exchange_topic(exchange));
    if (topic == NULL) {
        rest_exchange_store_error(exchange, ST_NO_TOPIC);
    }
    return topic;
}

/* {"name":"t","id":"...": a topic name needs no escapes. */
static void write_name(struct rest_writer *writer, struct kp_slice name, const struct kp_uuid *id) {
    char text[KP_UUID_TEXT_MAX];
    kp_uuid_text(id, text);
    rest_writer_bytes(writer, KP_SLICE_LIT("{\"name\":\""));
    rest_writer_bytes(writer, name);
    rest_writer_bytes(writer, KP_SLICE_LIT("\",\"id\":\""));
    rest_writer_bytes(writer, kp_slice_cstr(text));
    rest_writer_bytes(writer, KP_SLICE_LIT("\""));
}

/* ,"name":number */
static void write_number(struct rest_writer *writer, const char *name, int64_t number) {
    char text[64];
    int len = snprintf(text, sizeof text, ",\"%s\":%" PRId64, name, number);
    rest_writer_bytes(writer, kp_slice_of(text, (size_t)len));
}

/* ---- list ---- */

static bool starts_with(struct kp_slice name, struct kp_slice prefix) {
    return name.len >= prefix.len && kp_slice_equal(kp_slice_of(name.ptr, prefix.len), prefix);
}

/* The first topic to list: after the name given, and not before the prefix. */
static const struct st_topic *first_listed(struct rest_exchange *exchange) {
    const struct rest_topics *topics = &exchange->topics;
    struct st_engine *engine = exchange->rest->engine;
    struct kp_slice prefix = kp_slice_of(topics->prefix, topics->prefix_len);
    struct kp_slice after = kp_slice_of(topics->after, topics->after_len);
    if (after.len > 0 && kp_slice_compare(after, prefix) >= 0) {
        return st_topic_after(engine, after);
    }
    const struct st_topic *same = prefix.len == 0 ? NULL : st_topic_by_name(engine, prefix);
    return same != NULL ? same : st_topic_after(engine, prefix.len == 0 ? (struct kp_slice){NULL, 0} : prefix);
}

static void list(struct rest_exchange *exchange) {
    const struct rest_topics *topics = &exchange->topics;
    struct rest_writer *writer = &exchange->topics.writer;
    struct kp_slice prefix = kp_slice_of(topics->prefix, topics->prefix_len), last = {NULL, 0};
    const struct st_topic *topic = first_listed(exchange);
    size_t count = 0;
    rest_writer_bytes(writer, KP_SLICE_LIT("{\"topics\":["));
    for (; topic != NULL && starts_with(topic->name, prefix) && count < topics->limit; count++) {
        rest_writer_bytes(writer, count > 0 ? KP_SLICE_LIT(",") : KP_SLICE_LIT(""));
        write_name(writer, topic->name, &topic->id);
        write_number(writer, "partitions", topic->partition_count);
        rest_writer_bytes(writer, KP_SLICE_LIT("}"));
        last = topic->name;
        topic = st_topic_after(exchange->rest->engine, topic->name);
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("]"));
    if (topic != NULL && starts_with(topic->name, prefix)) {
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"next_after\":\""));
        rest_writer_bytes(writer, last);
        rest_writer_bytes(writer, KP_SLICE_LIT("\""));
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    answer(exchange, 200);
}

/* The parameter, if there is one: a part of some topic's name, which "." and ".." are, too. */
static bool read_part(struct kp_slice query, struct kp_slice name, uint8_t into[ST_TOPIC_NAME_MAX], size_t *len) {
    struct kp_slice value;
    *len = 0;
    if (!rest_query_last(query, name, &value) || value.len == 0) {
        return true;
    }
    if (!rest_percent_decode(value, into, ST_TOPIC_NAME_MAX, len)) {
        return false;
    }
    struct kp_slice part = kp_slice_of(into, *len);
    return st_topic_name_valid(part) || starts_with(KP_SLICE_LIT(".."), part);
}

void rest_list_topics_start(struct rest_exchange *exchange) {
    struct kp_slice query = exchange->call->request.query, value;
    struct rest_topics *topics = &exchange->topics;
    begin(exchange);
    int64_t limit = LIST_DEFAULT;
    bool overflow;
    if (rest_query_last(query, KP_SLICE_LIT("limit"), &value) &&
        (!rest_whole_number(value, &limit, &overflow) || limit == 0)) {
        rest_exchange_error(exchange, REST_BAD_LIMIT);
        return;
    }
    topics->limit = (size_t)(limit < LIST_MAX ? limit : LIST_MAX);
    if (!read_part(query, KP_SLICE_LIT("prefix"), topics->prefix, &topics->prefix_len) ||
        !read_part(query, KP_SLICE_LIT("after"), topics->after, &topics->after_len)) {
        rest_exchange_error(exchange, REST_BAD_LIST);
        return;
    }
    rest_exchange_sync(exchange, list);
}

/* ---- describe ---- */

static void write_topic(struct rest_writer *writer, struct kp_slice name, const struct kp_uuid *id, int32_t partitions,
                        int64_t first_offset, const struct st_config *configs, size_t count) {
    write_name(writer, name, id);
    write_number(writer, "partitions", partitions);
    write_number(writer, "first_offset", first_offset);
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"configs\":{"));
    for (size_t i = 0; i < count; i++) {
        rest_writer_bytes(writer, i > 0 ? KP_SLICE_LIT(",") : KP_SLICE_LIT(""));
        rest_writer_string(writer, configs[i].name);
        rest_writer_bytes(writer, KP_SLICE_LIT(":"));
        if (rest_utf8_valid(configs[i].value)) {
            rest_writer_string(writer, configs[i].value);
        } else {
            rest_writer_base64(writer, configs[i].value);
        }
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("}}"));
}

static void describe(struct rest_exchange *exchange) {
    const struct st_topic *topic = find_topic(exchange);
    if (topic != NULL) {
        write_topic(&exchange->topics.writer, topic->name, &topic->id, topic->partition_count, topic->first_offset,
                    topic->configs, topic->config_count);
        answer(exchange, 200);
    }
}

void rest_describe_topic_start(struct rest_exchange *exchange) {
    begin(exchange);
    rest_exchange_sync(exchange, describe);
}

/* ---- create ---- */

static void created(struct st_topic_create *create) {
    struct rest_exchange *exchange = ST_OWNER(create, struct rest_exchange, topics.create);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    if (create->error != ST_OK) {
        rest_exchange_store_error(exchange, create->error);
        return;
    }
    write_topic(&exchange->topics.writer, create->name, &create->id, create->partitions, create->first_offset,
                create->configs, create->config_count);
    answer(exchange, 201);
}

static void create(struct rest_exchange *exchange) {
    struct st_topic_create *op = &exchange->topics.create;
    if (st_topic_by_name(exchange->rest->engine, op->name) != NULL) {
        rest_exchange_store_error(exchange, ST_TOPIC_EXISTS);
        return;
    }
    op->done = created;
    rest_exchange_commit_within(exchange, ST_UNKNOWN); /* it may be made after the answer, too */
    st_topic_create(exchange->rest->engine, op);
}

/* A string means its text, a number or a boolean its letters. */
static bool read_value(struct rest_exchange *exchange, struct kp_slice value, struct kp_slice *text) {
    switch (rest_json_kind(value)) {
    case REST_JSON_STRING:
        *text = rest_json_text(rest_json_inside(value), &exchange->topics.arena);
        return text->ptr != NULL;
    case REST_JSON_NUMBER:
        *text = rest_json_whole_part(value);
        return true;
    case REST_JSON_WORD:
        *text = value;
        return value.ptr[0] != 'n';
    case REST_JSON_OBJECT:
    case REST_JSON_ARRAY:
        return false;
    }
    return false;
}

/* Every name known, every value valid, none twice; in the order of the table, which is how the engine wants them. */
static bool read_configs(struct rest_exchange *exchange, struct kp_slice object) {
    struct rest_topics *topics = &exchange->topics;
    struct st_config *given = kp_arena_array(&topics->arena, st_config_rule_count, sizeof *given);
    struct st_config *sorted = kp_arena_array(&topics->arena, st_config_rule_count, sizeof *sorted);
    struct kp_slice rest = object, name, value;
    if (rest_json_kind(object) != REST_JSON_OBJECT || given == NULL || sorted == NULL) {
        return false;
    }
    while (rest_json_next_member(&rest, &name, &value)) {
        struct kp_slice key = rest_json_text(name, &topics->arena);
        const struct st_config_rule *rule = key.ptr == NULL ? NULL : st_config_rule(key);
        struct st_config *config = rule == NULL ? NULL : &given[rule - st_config_rules];
        if (config == NULL || config->name.ptr != NULL || !read_value(exchange, value, &config->value) ||
            !st_config_valid(rule, config->value)) {
            return false;
        }
        config->name = kp_slice_cstr(rule->name);
    }
    for (size_t i = 0; i < st_config_rule_count; i++) {
        if (given[i].name.ptr != NULL) {
            sorted[topics->create.config_count++] = given[i];
        }
    }
    topics->create.configs = sorted;
    return true;
}

void rest_create_topic_start(struct rest_exchange *exchange) {
    begin(exchange);
    struct rest_topics *topics = &exchange->topics;
    struct rest_json_member members[] = {
        {.name = KP_SLICE_LIT("name")}, {.name = KP_SLICE_LIT("partitions")}, {.name = KP_SLICE_LIT("configs")}};
    size_t at;
    enum rest_json_error error = rest_json_object(exchange->call->request.body.bytes, members, 3, &at);
    if (error != REST_JSON_OK) {
        rest_exchange_json_error(exchange, error, at);
        return;
    }
    struct kp_slice name = rest_json_inside(members[0].value);
    name = name.ptr == NULL ? name : rest_json_text(name, &topics->arena);
    if (name.ptr == NULL) {
        rest_exchange_error(exchange, REST_BAD_NAME);
        return;
    }
    if (!st_topic_name_valid(name)) {
        rest_exchange_store_error(exchange, ST_BAD_TOPIC_NAME);
        return;
    }
    int64_t partitions = 1;
    bool counted = members[1].value.ptr != NULL && members[1].value.ptr[0] != 'n';
    if (counted && (!rest_json_whole(members[1].value, &partitions) || partitions < 1 ||
                    partitions > ST_PARTITIONS_MAX)) {
        rest_exchange_error(exchange, REST_BAD_PARTITIONS);
        return;
    }
    topics->create = (struct st_topic_create){
        .name = name, .partitions = (int32_t)partitions, .first_offset = REST_FIRST_OFFSET};
    bool configured = members[2].value.ptr != NULL && members[2].value.ptr[0] != 'n';
    if (configured && !read_configs(exchange, members[2].value)) {
        rest_exchange_error(exchange, REST_BAD_CONFIGS);
        return;
    }
    rest_exchange_sync(exchange, create);
}

/* ---- delete ---- */

static void deleted(struct st_topic_delete *delete) {
    struct rest_exchange *exchange = ST_OWNER(delete, struct rest_exchange, topics.delete);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    if (delete->error != ST_OK) {
        rest_exchange_store_error(exchange, delete->error == ST_NO_TOPIC_ID ? ST_NO_TOPIC : delete->error);
        return;
    }
    struct rest_writer *writer = &exchange->topics.writer;
    write_name(writer, rest_exchange_topic(exchange), &delete->id);
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"deleted\":true}"));
    answer(exchange, 200);
}

static void delete_found(struct rest_exchange *exchange) {
    const struct st_topic *topic = find_topic(exchange);
    if (topic != NULL) {
        exchange->topics.delete = (struct st_topic_delete){.id = topic->id, .done = deleted};
        rest_exchange_commit_within(exchange, ST_UNKNOWN);
        st_topic_delete(exchange->rest->engine, &exchange->topics.delete);
    }
}

void rest_delete_topic_start(struct rest_exchange *exchange) {
    begin(exchange);
    rest_exchange_sync(exchange, delete_found);
}

/* ---- offsets ---- */

static void offsets_of_next(struct rest_exchange *exchange);

/* False: the partition is not there. */
static bool write_offsets(struct rest_exchange *exchange, const struct st_topic *topic, int64_t offset,
                          int64_t time_ms) {
    struct rest_topics *topics = &exchange->topics;
    struct rest_writer *writer = &topics->writer;
    struct st_partition_view view;
    if (!st_partition_view(exchange->rest->engine, topic, topics->partition, &view)) {
        return false;
    }
    rest_writer_bytes(writer, topics->partition > topics->first ? KP_SLICE_LIT(",{\"partition\":")
                                                                : KP_SLICE_LIT("{\"partition\":"));
    rest_writer_number(writer, topics->partition);
    write_number(writer, "start", view.log_start);
    write_number(writer, "end", view.end);
    if (topics->by_time) {
        write_number(writer, "offset", offset >= 0 ? offset : view.end);
        if (offset >= 0) {
            write_number(writer, "timestamp", time_ms);
        }
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    topics->partition++;
    return true;
}

static void found_time(struct st_find_time *find) {
    struct rest_exchange *exchange = ST_OWNER(find, struct rest_exchange, topics.find);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    const struct st_topic *topic = st_topic_by_id(exchange->rest->engine, &find->topic_id);
    bool gone = find->error == ST_NO_TOPIC_ID || find->error == ST_NO_PARTITION;
    if (find->error != ST_OK && !gone) {
        rest_exchange_store_error(exchange, find->error);
    } else if (gone || topic == NULL || !write_offsets(exchange, topic, find->offset, find->timestamp_ms)) {
        rest_exchange_store_error(exchange, ST_NO_TOPIC);
    } else {
        offsets_of_next(exchange);
    }
}

static void find_time(struct rest_exchange *exchange) {
    struct rest_topics *topics = &exchange->topics;
    topics->find = (struct st_find_time){
        .topic_id = topics->id, .partition = topics->partition, .timestamp_ms = topics->time_ms, .done = found_time};
    rest_exchange_wait(exchange);
    st_find_time(exchange->rest->engine, &topics->find);
}

static void offsets_of_next(struct rest_exchange *exchange) {
    struct rest_topics *topics = &exchange->topics;
    if (topics->partition < topics->beyond) {
        find_time(exchange);
        return;
    }
    rest_writer_bytes(&topics->writer, KP_SLICE_LIT("]}"));
    answer(exchange, 200);
}

static void offsets(struct rest_exchange *exchange) {
    struct rest_topics *topics = &exchange->topics;
    const struct st_topic *topic = find_topic(exchange);
    if (topic == NULL) {
        return;
    }
    if (topics->partition >= topic->partition_count) {
        rest_exchange_store_error(exchange, ST_NO_PARTITION);
        return;
    }
    topics->id = topic->id;
    topics->beyond = topics->one ? topics->partition + 1 : topic->partition_count;
    rest_writer_bytes(&topics->writer, KP_SLICE_LIT("{\"topic\":\""));
    rest_writer_bytes(&topics->writer, topic->name);
    rest_writer_bytes(&topics->writer, KP_SLICE_LIT("\",\"partitions\":["));
    while (!topics->by_time && topics->partition < topics->beyond && write_offsets(exchange, topic, -1, -1)) {
    }
    offsets_of_next(exchange);
}

void rest_topic_offsets_start(struct rest_exchange *exchange) {
    begin(exchange);
    struct rest_topics *topics = &exchange->topics;
    struct kp_slice query = exchange->call->request.query, value;
    int64_t partition = 0;
    bool overflow;
    topics->one = rest_query_last(query, KP_SLICE_LIT("partition"), &value);
    if (topics->one && (!rest_whole_number(value, &partition, &overflow) || partition > INT32_MAX)) {
        rest_exchange_error(exchange, REST_BAD_PARTITION);
        return;
    }
    topics->partition = topics->first = (int32_t)partition;
    topics->by_time = rest_query_last(query, KP_SLICE_LIT("timestamp"), &value);
    if (topics->by_time && (!rest_whole_number(value, &topics->time_ms, &overflow) || overflow)) {
        rest_exchange_error(exchange, REST_BAD_TIMESTAMP);
        return;
    }
    rest_exchange_sync(exchange, offsets);
}
