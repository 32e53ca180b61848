#include "gateway/kafka/record_rules.h"

#include "gateway/kafka/topic_configs.h"

#define NO_TIMESTAMP (-1)

struct rules {
    bool keys;                     /* a record without key is refused */
    bool times;                    /* the two below hold */
    bool header_decides;           /* ... and the header of a batch can show that its records keep to them */
    int64_t earliest_ms, latest_ms;
};

static bool is_set(const struct st_topic *topic, const char *name, const char *word) {
    enum gw_config_source source;
    struct kp_slice value = gw_topic_config_value(topic->configs, topic->config_count,
                                                  st_config_rule(kp_slice_cstr(name)), &source);
    size_t len = strlen(word);
    return value.len >= len && memmem(value.ptr, value.len, word, len) != NULL;
}

static struct rules rules_of(struct gw_exchange *x, const struct st_topic *topic) {
    struct rules rules = {.earliest_ms = INT64_MIN, .latest_ms = INT64_MAX};
    rules.keys = is_set(topic, "cleanup.policy", "compact");
    rules.times = is_set(topic, "message.timestamp.type", "CreateTime");
    int64_t now = st_now_wall_ms(x->gateway->loop);
    int64_t before = gw_topic_config_number(topic, "message.timestamp.before.max.ms");
    int64_t after = gw_topic_config_number(topic, "message.timestamp.after.max.ms");
    rules.earliest_ms = before > now ? INT64_MIN : now - before;
    rules.latest_ms = after > INT64_MAX - now ? INT64_MAX : now + after;
    rules.header_decides = rules.earliest_ms == INT64_MIN; /* it has the greatest time, but not the least */
    return rules;
}

static bool add_fault(struct gw_exchange *x, struct gw_record_faults *faults, int32_t index, const char *message) {
    if (faults->items == NULL) {
        faults->items = kp_array_new(kp_produce_response_record_error_type(), &x->room, GW_RECORD_FAULTS_MAX);
    }
    if (faults->items == NULL || faults->count == GW_RECORD_FAULTS_MAX) {
        return false;
    }
    struct kp_produce_response_record_error *fault = &faults->items[faults->count++];
    fault->batch_index = index;
    fault->batch_index_error_message = kp_slice_cstr(message);
    return true;
}

static void check_records(struct gw_exchange *x, const struct rules *rules, struct kp_record_reader *reader,
                          struct gw_record_faults *faults) {
    struct kp_record record;
    int more = 0;
    bool room = true;
    for (int32_t index = 0; room && (more = kp_records_next(reader, &record)) > 0; index++) {
        bool timed = rules->times && record.timestamp_ms != NO_TIMESTAMP;
        if (timed && (record.timestamp_ms < rules->earliest_ms || record.timestamp_ms > rules->latest_ms)) {
            faults->error = KP_ERROR_INVALID_TIMESTAMP;
            faults->message = "The time of at least one record is too far from now.";
            room = add_fault(x, faults, index, "The time of this record is too far from now.");
        } else if (rules->keys && record.key.ptr == NULL) {
            if (faults->error == KP_ERROR_NONE) {
                faults->error = KP_ERROR_INVALID_RECORD;
                faults->message = "A compacted topic takes no records without a key.";
            }
            room = add_fault(x, faults, index, "A compacted topic takes no records without a key.");
        }
    }
    if (more < 0) {
        faults->error = KP_ERROR_INVALID_RECORD;
        faults->message = "The records of the batch are damaged.";
        faults->count = 0;
    }
}

void gw_record_rules_check(struct gw_exchange *x, const struct st_topic *topic, const struct kp_batch *batch,
                           size_t *inflate_left, struct gw_record_faults *faults) {
    *faults = (struct gw_record_faults){.error = KP_ERROR_NONE};
    struct rules rules = rules_of(x, topic);
    bool late = rules.times && batch->max_timestamp_ms > rules.latest_ms;
    if (!rules.keys && !late && (!rules.times || rules.header_decides)) {
        return;
    }
    struct kp_arena inflated;
    kp_arena_init(&inflated, GW_RECORD_RULES_INFLATE + GW_RECORD_RULES_INFLATE / 4);
    struct kp_record_reader reader;
    faults->error = kp_records_open(&reader, batch->bytes, &inflated, *inflate_left);
    bool spent = faults->error == KP_ERROR_MESSAGE_TOO_LARGE || inflated.used > *inflate_left;
    *inflate_left = spent ? 0 : *inflate_left - inflated.used;
    if (faults->error == KP_ERROR_NONE) {
        check_records(x, &rules, &reader, faults);
    } else {
        faults->message = "The records of the batch can not be read.";
    }
    if (faults->error == KP_ERROR_NONE && late) {
        faults->error = KP_ERROR_INVALID_TIMESTAMP;
        faults->message = "The greatest time that the batch claims is too far ahead.";
    }
    kp_arena_release(&inflated);
}
