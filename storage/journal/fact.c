/* Facts on the wire: one writer and one reader per body, behind a length so that a reader can tell a newer one. */
#include "storage/journal/fact.h"

bool st_topic_name_valid(struct kp_slice name) {
    if (name.ptr == NULL || name.len < 1 || name.len > ST_TOPIC_NAME_MAX ||
        kp_slice_equal(name, KP_SLICE_LIT(".")) || kp_slice_equal(name, KP_SLICE_LIT(".."))) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

static void write_topic(struct st_pack *out, const struct st_fact_topic *topic) {
    st_pack_uuid(out, &topic->id);
    st_pack_slice(out, topic->name);
    st_pack_u(out, (uint64_t)topic->partitions);
    st_pack_i(out, topic->first_offset);
    st_pack_u(out, topic->config_count);
    st_pack_bytes(out, topic->configs.ptr, topic->configs.len);
}

static void read_topic(struct st_unpack *in, struct st_fact_topic *topic) {
    topic->id = st_unpack_uuid(in);
    topic->name = st_unpack_slice(in);
    topic->partitions = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX);
    topic->first_offset = st_unpack_i(in);
    topic->config_count = (uint32_t)st_unpack_upto(in, ST_CONFIGS_MAX);
    const uint8_t *configs = in->at;
    for (uint32_t i = 0; i < topic->config_count; i++) {
        st_unpack_slice(in);
        st_unpack_slice(in);
    }
    if (!in->failed) {
        topic->configs = kp_slice_of(configs, (size_t)(in->at - configs));
    }
    if (topic->partitions < 1 || topic->first_offset < 0 || !st_topic_name_valid(topic->name)) {
        in->failed = true;
    }
}

static void write_appends(struct st_pack *out, const struct st_fact_appends *appends) {
    st_pack_u(out, appends->flags);
    st_pack_u(out, appends->position);
    st_pack_bytes(out, appends->runs.ptr, appends->runs.len);
}

static void read_appends(struct st_unpack *in, struct st_fact_appends *appends) {
    appends->flags = (uint32_t)st_unpack_upto(in, ST_APPEND_INLINE);
    appends->position = (uint32_t)st_unpack_upto(in, UINT32_MAX);
    appends->runs = st_unpack_bytes(in, st_unpack_left(in));
    struct st_append_reader reader = st_append_reader(appends);
    struct st_fact_append append;
    size_t batches = 0;
    while (st_append_next(&reader, &append)) {
        batches++;
    }
    in->failed |= reader.in.failed || batches == 0;
}

void st_fact_key_write(struct st_pack *out, const struct st_fact_key *key) {
    st_pack_uuid(out, &key->topic_id);
    st_pack_slice(out, key->name);
    st_pack_fixed(out, key->hash[0], 8);
    st_pack_fixed(out, key->hash[1], 8);
    st_pack_i(out, key->time_ms);
    st_pack_u(out, key->place_count);
    st_pack_bytes(out, key->places.ptr, key->places.len);
}

void st_fact_place_write(struct st_pack *out, int32_t partition, int64_t base, int32_t count) {
    st_pack_u(out, (uint64_t)partition);
    st_pack_i(out, base);
    st_pack_u(out, (uint64_t)count);
}

void st_fact_place_next(struct st_unpack *in, int32_t *partition, int64_t *base, int32_t *count) {
    *partition = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX - 1);
    *base = st_unpack_i(in);
    *count = (int32_t)st_unpack_upto(in, INT32_MAX);
}

void st_fact_key_read(struct st_unpack *in, struct st_fact_key *key) {
    key->topic_id = st_unpack_uuid(in);
    key->name = st_unpack_slice(in);
    key->hash[0] = st_unpack_fixed(in, 8);
    key->hash[1] = st_unpack_fixed(in, 8);
    key->time_ms = st_unpack_i(in);
    key->place_count = (size_t)st_unpack_upto(in, ST_PARTITIONS_MAX);
    const uint8_t *places = in->at;
    int32_t last = -1;
    for (size_t i = 0; i < key->place_count && !in->failed; i++) {
        int32_t partition, count;
        int64_t base;
        st_fact_place_next(in, &partition, &base, &count);
        in->failed |= partition <= last || base < 0 || count < 1 || base > INT64_MAX - count;
        last = partition;
    }
    if (in->failed || key->name.len < 1 || key->name.len > ST_KEY_MAX || key->place_count < 1) {
        in->failed = true;
        return;
    }
    key->places = kp_slice_of(places, (size_t)(in->at - places));
}

uint64_t st_refusal_number(enum st_error error) {
    switch (error) {
    case ST_OK:
        return 0;
#define REFUSAL(number, name) \
    case ST_##name: \
        return number;
#include "storage/journal/refusals.def"
#undef REFUSAL
    default:
        return 1;
    }
}

enum st_error st_refusal_error(uint64_t number) {
    switch (number) {
    case 0:
        return ST_OK;
#define REFUSAL(number, name) \
    case number: \
        return ST_##name;
#include "storage/journal/refusals.def"
#undef REFUSAL
    default:
        return ST_REFUSED;
    }
}

static void write_body(struct st_pack *body, const struct st_fact *fact) {
    switch (fact->type) {
    case ST_FACT_level:
        st_pack_u(body, fact->u.level);
        break;
    case ST_FACT_topic_created:
        write_topic(body, &fact->u.topic);
        break;
    case ST_FACT_topic_deleted:
        st_pack_uuid(body, &fact->u.topic_id);
        break;
    case ST_FACT_producer_ids:
        st_pack_u(body, fact->u.producer_ids);
        break;
    case ST_FACT_object:
        st_pack_slice(body, fact->u.object.name);
        st_pack_u(body, fact->u.object.len);
        break;
    case ST_FACT_appends:
        write_appends(body, &fact->u.appends);
        break;
    case ST_FACT_pooled:
        st_pack_u(body, fact->u.begun);
        break;
    case ST_FACT_refused:
        st_pack_u(body, st_refusal_number(fact->u.refused));
        break;
    case ST_FACT_duplicate:
        st_pack_i(body, fact->u.duplicate.base);
        st_pack_i(body, fact->u.duplicate.append_time_ms);
        break;
    case ST_FACT_key:
        st_fact_key_write(body, &fact->u.key);
        break;
    case ST_FACT_forgotten:
        st_pack_i(body, fact->u.forgotten);
        break;
    }
}

void st_fact_write(struct st_pack *out, const struct st_fact *fact) {
    /* The body is written in place, behind room for the longest length, then moved up to it. */
    st_pack_u(out, fact->type);
    size_t at = out->len;
    st_pack_fixed(out, 0, 5);
    write_body(out, fact);
    if (out->failed) {
        return;
    }
    size_t len = out->len - at - 5;
    struct st_pack prefix = {.data = out->data + at, .capacity = 5, .limit = 5};
    st_pack_u(&prefix, len);
    memmove(out->data + at + prefix.len, out->data + at + 5, len);
    out->len = at + prefix.len + len;
}

/* Names are kept as C strings. */
static bool object_name_valid(struct kp_slice name) {
    return name.len > 0 && name.len < ST_OBJECT_NAME_MAX && memchr(name.ptr, 0, name.len) == NULL;
}

bool st_fact_read(struct st_unpack *in, struct st_fact *fact) {
    uint64_t type = st_unpack_u(in);
    struct kp_slice bytes = st_unpack_slice(in);
    if (in->failed) {
        return false;
    }
    struct st_unpack body = st_unpack_of(bytes);
    *fact = (struct st_fact){0};
    switch (type) {
    case ST_FACT_level:
        fact->u.level = st_unpack_u(&body);
        break;
    case ST_FACT_topic_created:
        read_topic(&body, &fact->u.topic);
        break;
    case ST_FACT_topic_deleted:
        fact->u.topic_id = st_unpack_uuid(&body);
        break;
    case ST_FACT_producer_ids:
        fact->u.producer_ids = st_unpack_upto(&body, UINT32_MAX);
        break;
    case ST_FACT_object:
        fact->u.object.name = st_unpack_slice(&body);
        fact->u.object.len = st_unpack_u(&body);
        body.failed |= !object_name_valid(fact->u.object.name);
        break;
    case ST_FACT_appends:
        read_appends(&body, &fact->u.appends);
        break;
    case ST_FACT_pooled:
        fact->u.begun = st_unpack_u(&body);
        break;
    case ST_FACT_refused:
        fact->u.refused = st_refusal_error(st_unpack_u(&body));
        body.failed |= fact->u.refused == ST_OK;
        break;
    case ST_FACT_duplicate:
        fact->u.duplicate.base = st_unpack_i(&body);
        fact->u.duplicate.append_time_ms = st_unpack_i(&body);
        body.failed |= fact->u.duplicate.base < 0;
        break;
    case ST_FACT_key:
        st_fact_key_read(&body, &fact->u.key);
        break;
    case ST_FACT_forgotten:
        fact->u.forgotten = st_unpack_i(&body);
        break;
    default:
        body.failed = true;
    }
    in->failed |= body.failed || body.at != body.end;
    fact->type = (enum st_fact_type)type;
    return !in->failed;
}

bool st_fact_config_next(struct st_unpack *in, struct st_config *config) {
    if (st_unpack_left(in) == 0) {
        return false;
    }
    config->name = st_unpack_slice(in);
    config->value = st_unpack_slice(in);
    return !in->failed;
}
