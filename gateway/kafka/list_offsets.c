/*
 * ListOffsets. Everything it says is about the end or the absence of something, so it begins with a sync.
 *
 * Negative times are names: -1 end, -2 log start, -3 the record of the greatest timestamp (from v7), -4 first local
 * offset (v8; all is local: the log start), -5 last tiered offset (v9; nothing is tiered: -1). Times >= 0 are searched
 * for to the record, a few at a time, because each reads and opens a batch.
 *
 * A partition that is asked for twice is refused both times, as Apache Kafka does: an answer names its partition only.
 */
#include "gateway/kafka/dispatch.h"

#include <stdlib.h>

enum { TIME_END = -1, TIME_START = -2, TIME_GREATEST = -3, TIME_LOCAL_START = -4, TIME_TIERED_END = -5 };
enum { SEARCHES_AT_ONCE = 16 };

struct search {
    struct st_find_time op;
    struct gw_exchange *x;
    struct kp_list_offsets_response_partition *out;
};

/* A partition that is asked for. */
struct asked {
    struct kp_slice topic;
    struct kp_list_offsets_response_partition *out;
};

struct list {
    struct kp_list_offsets_response response;
    struct search *searches;
    size_t count, started, under_way;
};

static void go_on(struct gw_exchange *x) {
    struct list *list = x->state;
    while (list->started < list->count && list->under_way < SEARCHES_AT_ONCE) {
        list->under_way++;
        st_find_time(x->gateway->engine, &list->searches[list->started++].op);
    }
    if (list->under_way == 0) {
        gw_exchange_answer(x, &list->response);
    }
}

static void found(struct st_find_time *op) {
    struct search *search = ST_OWNER(op, struct search, op);
    struct list *list = search->x->state;
    if (op->error == ST_OK) {
        search->out->offset = op->offset;
        search->out->timestamp = op->offset >= 0 ? op->timestamp_ms : -1;
    } else {
        enum kp_error error = st_error_kafka(op->error);
        search->out->error_code =
            (int16_t)(error == KP_ERROR_UNKNOWN_TOPIC_ID ? KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION : error);
    }
    list->under_way--;
    go_on(search->x);
}

static bool time_known(int64_t time, int16_t version) {
    switch (time) {
    case TIME_END:
    case TIME_START:
        return true;
    case TIME_GREATEST:
        return version >= 7;
    case TIME_LOCAL_START:
        return version >= 8;
    case TIME_TIERED_END:
        return version >= 9;
    default:
        return time >= 0;
    }
}

static void search_later(struct gw_exchange *x, const struct st_topic *topic, int64_t time,
                         struct kp_list_offsets_response_partition *out) {
    struct list *list = x->state;
    struct search *search = &list->searches[list->count++];
    search->x = x;
    search->out = out;
    search->op = (struct st_find_time){.topic_id = topic->id,
                                       .partition = out->partition_index,
                                       .greatest = time == TIME_GREATEST,
                                       .timestamp_ms = time,
                                       .done = found};
}

static void list_partition(struct gw_exchange *x, const struct st_topic *topic, int64_t time,
                           struct kp_list_offsets_response_partition *out) {
    struct st_partition_view view;
    if (topic == NULL || !st_partition_view(x->gateway->engine, topic, out->partition_index, &view)) {
        out->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (!time_known(time, x->header.api_version)) {
        out->error_code = KP_ERROR_UNSUPPORTED_VERSION;
    } else if (time == TIME_END) {
        out->offset = view.end;
    } else if (time == TIME_START || time == TIME_LOCAL_START) {
        out->offset = view.log_start;
    } else if (time != TIME_TIERED_END) {
        search_later(x, topic, time, out);
    }
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    const struct kp_list_offsets_request *request = x->request;
    struct list *list = x->state;
    for (int32_t t = 0; t < request->topics.count; t++) {
        const struct kp_list_offsets_request_topic *asked = &request->topics.items[t];
        const struct st_topic *topic = st_topic_by_name(x->gateway->engine, asked->name);
        for (int32_t p = 0; p < asked->partitions.count; p++) {
            struct kp_list_offsets_response_partition *out = &list->response.topics.items[t].partitions.items[p];
            if (out->error_code != KP_ERROR_NONE) {
                continue;
            }
            if (error == ST_OK) {
                list_partition(x, topic, asked->partitions.items[p].timestamp, out);
            } else {
                out->error_code = KP_ERROR_KAFKA_STORAGE_ERROR;
            }
        }
    }
    go_on(x);
}

static int compare_asked(const void *a, const void *b) {
    const struct asked *one = a, *other = b;
    int order = kp_slice_compare(one->topic, other->topic);
    int32_t x = one->out->partition_index, y = other->out->partition_index;
    return order != 0 ? order : (x > y) - (x < y);
}

static bool refuse_repeated(struct gw_exchange *x, struct list *list, size_t partitions) {
    struct asked *asked = gw_exchange_room(x, partitions, sizeof *asked);
    size_t count = 0;
    if (asked == NULL) {
        return false;
    }
    for (int32_t t = 0; t < list->response.topics.count; t++) {
        struct kp_list_offsets_response_topic *topic = &list->response.topics.items[t];
        for (int32_t p = 0; p < topic->partitions.count; p++) {
            asked[count++] = (struct asked){topic->name, &topic->partitions.items[p]};
        }
    }
    qsort(asked, count, sizeof *asked, compare_asked);
    for (size_t i = 1; i < count; i++) {
        if (compare_asked(&asked[i - 1], &asked[i]) == 0) {
            asked[i - 1].out->error_code = asked[i].out->error_code = KP_ERROR_INVALID_REQUEST;
        }
    }
    return true;
}

/* The frame of the response, and room for as many searches as there are partitions. */
static bool prepare(struct gw_exchange *x, struct list *list) {
    const struct kp_list_offsets_request *request = x->request;
    size_t partitions = 0;
    list->response.topics.items =
        gw_exchange_items(x, kp_list_offsets_response_topic_type(), request->topics.count);
    if (list->response.topics.items == NULL) {
        return false;
    }
    list->response.topics.count = request->topics.count;
    for (int32_t t = 0; t < request->topics.count; t++) {
        const struct kp_list_offsets_request_topic *asked = &request->topics.items[t];
        struct kp_list_offsets_response_topic *out = &list->response.topics.items[t];
        out->name = asked->name;
        out->partitions.items =
            gw_exchange_items(x, kp_list_offsets_response_partition_type(), asked->partitions.count);
        if (out->partitions.items == NULL) {
            return false;
        }
        out->partitions.count = asked->partitions.count;
        for (int32_t p = 0; p < asked->partitions.count; p++) {
            out->partitions.items[p].partition_index = asked->partitions.items[p].partition_index;
        }
        partitions += (size_t)asked->partitions.count;
    }
    list->searches = gw_exchange_room(x, partitions, sizeof *list->searches);
    return list->searches != NULL && refuse_repeated(x, list, partitions);
}

void gw_handle_list_offsets(struct gw_exchange *x) {
    struct list *list = gw_exchange_room(x, 1, sizeof *list);
    if (list == NULL) {
        return;
    }
    x->state = list;
    kp_init(kp_list_offsets_response_type(), &list->response);
    if (prepare(x, list)) {
        gw_exchange_sync(x, fresh);
    }
}
