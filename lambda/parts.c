#include "lambda/parts.h"

#include "lambda/partitioner.h"
#include "storage/topic_config.h"

#include <stdlib.h>

/* Bytes of a record besides key, value and headers, and of a header besides name and value, at most: what varints and
 * attributes can take. A bound is enough, it only decides where a batch ends. */
enum { RECORD_AROUND = 36, HEADER_AROUND = 10, ARENA_MAX = 4 << 20 };

struct place {
    int32_t partition;
    uint32_t message;
};

static struct kp_slice config_of(const struct st_topic *topic, struct kp_slice name) {
    struct kp_slice value = kp_slice_cstr(st_config_rule(name)->value);
    for (size_t i = 0; i < topic->config_count; i++) {
        if (kp_slice_equal(topic->configs[i].name, name)) {
            value = topic->configs[i].value;
        }
    }
    return value;
}

static int64_t config_number(const struct st_topic *topic, struct kp_slice name) {
    int64_t number = 0;
    return st_config_number(config_of(topic, name), &number) ? number : 0;
}

/* The same rule as at the Kafka door. */
static bool too_far(const struct st_topic *topic, const struct rest_message *messages, size_t count, int64_t now_ms) {
    if (!kp_slice_equal(config_of(topic, KP_SLICE_LIT("message.timestamp.type")), KP_SLICE_LIT("CreateTime"))) {
        return false;
    }
    int64_t before = config_number(topic, KP_SLICE_LIT("message.timestamp.before.max.ms"));
    int64_t after = config_number(topic, KP_SLICE_LIT("message.timestamp.after.max.ms"));
    int64_t latest = after > INT64_MAX - now_ms ? INT64_MAX : now_ms + after;
    for (size_t i = 0; i < count; i++) {
        int64_t time_ms = messages[i].record.timestamp_ms;
        if (messages[i].timed && (time_ms > latest || (before <= now_ms && time_ms < now_ms - before))) {
            return true;
        }
    }
    return false;
}

static int by_partition(const void *a, const void *b) {
    const struct place *one = a, *two = b;
    int order = (one->partition > two->partition) - (one->partition < two->partition);
    return order != 0 ? order : (one->message > two->message) - (one->message < two->message);
}

static size_t record_bound(const struct kp_new_record *record) {
    size_t size = RECORD_AROUND + record->key.len + record->value.len;
    for (int32_t i = 0; i < record->header_count; i++) {
        size += HEADER_AROUND + record->headers[i].key.len + record->headers[i].value.len;
    }
    return size;
}

static enum rest_parts_result add_part(struct rest_parts *parts, const struct st_topic *topic, int32_t partition,
                                       const struct kp_new_record *records, size_t count, int64_t bytes_max) {
    if (parts->count == REST_PARTS_MAX) {
        return REST_PARTS_TOO_MANY;
    }
    struct kp_blob *blob = kp_batch_build(records, (int32_t)count);
    if (blob == NULL) {
        return REST_PARTS_NO_MEMORY;
    }
    struct st_append_part *part = &parts->parts[parts->count++]; /* from here on its blob is released with the rest */
    *part = (struct st_append_part){.topic_id = topic->id, .partition = partition, .blob = blob};
    if (kp_batch_peek(kp_slice_of(blob->data, blob->size), &part->batch) != KP_ERROR_NONE) {
        return REST_PARTS_NO_MEMORY;
    }
    return (int64_t)blob->size > bytes_max ? REST_PARTS_TOO_LARGE : REST_PARTS_OK;
}

static enum rest_parts_result cut(struct rest_parts *parts, const struct st_topic *topic, const struct place *places,
                                  const struct kp_new_record *records, size_t count) {
    int64_t bytes_max = config_number(topic, KP_SLICE_LIT("max.message.bytes"));
    size_t first = 0;
    int64_t size = KP_BATCH_HEADER_SIZE;
    for (size_t i = 0; i < count; i++) {
        int64_t more = (int64_t)record_bound(&records[i]);
        if (i > first && (places[i].partition != places[first].partition || size > bytes_max - more)) {
            enum rest_parts_result result =
                add_part(parts, topic, places[first].partition, records + first, i - first, bytes_max);
            if (result != REST_PARTS_OK) {
                return result;
            }
            first = i;
            size = KP_BATCH_HEADER_SIZE;
        }
        size += more;
        parts->part_of[places[i].message] = (uint32_t)parts->count;
        parts->place_in[places[i].message] = (uint32_t)(i - first);
    }
    return add_part(parts, topic, places[first].partition, records + first, count - first, bytes_max);
}

static enum rest_parts_result make(struct rest_parts *parts, const struct st_topic *topic,
                                   const struct rest_message *messages, size_t count) {
    struct place *places = kp_arena_array(&parts->arena, count, sizeof *places);
    struct kp_new_record *records = kp_arena_array(&parts->arena, count, sizeof *records);
    size_t most = count < REST_PARTS_MAX ? count : REST_PARTS_MAX;
    parts->parts = kp_arena_array(&parts->arena, most, sizeof *parts->parts);
    parts->part_of = kp_arena_array(&parts->arena, count, sizeof *parts->part_of);
    parts->place_in = kp_arena_array(&parts->arena, count, sizeof *parts->place_in);
    if (places == NULL || records == NULL || parts->parts == NULL || parts->part_of == NULL ||
        parts->place_in == NULL) {
        return REST_PARTS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct rest_message *message = &messages[i];
        places[i].message = (uint32_t)i;
        places[i].partition = message->partition >= 0          ? message->partition
                              : message->record.key.ptr != NULL ? rest_partition_of_key(message->record.key,
                                                                                        topic->partition_count)
                                                                : 0;
        if (places[i].partition >= topic->partition_count) {
            return REST_PARTS_NO_PARTITION;
        }
    }
    qsort(places, count, sizeof *places, by_partition);
    for (size_t i = 0; i < count; i++) {
        records[i] = messages[places[i].message].record;
    }
    return cut(parts, topic, places, records, count);
}

enum rest_parts_result rest_parts_make(struct rest_parts *parts, const struct st_topic *topic,
                                       const struct rest_message *messages, size_t count, int64_t now_ms) {
    *parts = (struct rest_parts){.count = 0};
    kp_arena_init(&parts->arena, ARENA_MAX);
    enum rest_parts_result result =
        too_far(topic, messages, count, now_ms) ? REST_PARTS_FAR : make(parts, topic, messages, count);
    if (result != REST_PARTS_OK) {
        rest_parts_release(parts);
    }
    return result;
}

void rest_parts_release(struct rest_parts *parts) {
    for (size_t i = 0; i < parts->count; i++) {
        kp_blob_unref(parts->parts[i].blob);
    }
    parts->count = 0;
    kp_arena_release(&parts->arena);
}
