/*
 * DescribeTopicPartitions: topics in order of name, so many partitions a page, and a cursor to where the next page
 * begins. Names asked for are sorted and made unique first; no names means all topics.
 */
#include "gateway/kafka/cluster.h"
#include "gateway/kafka/dispatch.h"

#include <stdlib.h>

enum { PARTITIONS_MOST = 2000 }; /* max.request.partition.size.limit of Apache Kafka */

struct page {
    struct gw_exchange *x;
    bool readable;
    int32_t room; /* partitions that still fit */
    int32_t capacity;
    struct kp_describe_topic_partitions_response response;
    struct kp_describe_topic_partitions_cursor next;
};

static int by_name(const void *a, const void *b) {
    const struct kp_describe_topic_partitions_request_topic *one = a, *two = b;
    return kp_slice_compare(one->name, two->name);
}

static bool fill_partitions(struct page *page, int32_t begin, int32_t end,
                            struct kp_describe_topic_partitions_response_topic *out) {
    int32_t *leader = gw_cluster_leader(page->x->gateway);
    out->partitions.items =
        gw_exchange_items(page->x, kp_describe_topic_partitions_response_partition_type(), end - begin);
    if (out->partitions.items == NULL) {
        return false;
    }
    out->partitions.count = end - begin;
    for (int32_t i = begin; i < end; i++) {
        struct kp_describe_topic_partitions_response_partition *partition = &out->partitions.items[i - begin];
        partition->partition_index = i;
        partition->leader_id = *leader;
        partition->replica_nodes.items = leader;
        partition->replica_nodes.count = 1;
        partition->isr_nodes.items = leader;
        partition->isr_nodes.count = 1;
        partition->eligible_leader_replicas.count = 0; /* not null, as Apache Kafka answers */
        partition->last_known_elr.count = 0;
    }
    return true;
}

/* False: the page ends before this topic or within it, or the exchange has failed. */
static bool add_topic(struct page *page, struct kp_slice name, const struct st_topic *topic, int32_t begin) {
    struct kp_describe_topic_partitions_response *response = &page->response;
    if (page->room == 0 || response->topics.count == page->capacity) {
        page->next = (struct kp_describe_topic_partitions_cursor){.topic_name = name, .partition_index = begin};
        response->next_cursor = &page->next;
        return false;
    }
    struct kp_describe_topic_partitions_response_topic *out = &response->topics.items[response->topics.count++];
    out->name = name;
    out->topic_authorized_operations = GW_TOPIC_OPERATIONS;
    if (topic == NULL) {
        out->error_code = !st_topic_name_valid(name) ? KP_ERROR_INVALID_TOPIC_EXCEPTION
                          : page->readable           ? KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                                     : KP_ERROR_LEADER_NOT_AVAILABLE;
        return true;
    }
    int32_t left = topic->partition_count > begin ? topic->partition_count - begin : 0;
    int32_t end = begin + (left < page->room ? left : page->room);
    out->topic_id = topic->id;
    if (!fill_partitions(page, begin, end, out)) {
        page->x = NULL;
        return false;
    }
    page->room -= end - begin;
    if (end < topic->partition_count && end > begin) {
        page->next = (struct kp_describe_topic_partitions_cursor){.topic_name = name, .partition_index = end};
        response->next_cursor = &page->next;
        return false;
    }
    return true;
}

static void add_asked(struct page *page, const struct kp_describe_topic_partitions_request *request) {
    const struct kp_describe_topic_partitions_cursor *cursor = request->cursor;
    for (int32_t i = 0; i < request->topics.count; i++) {
        struct kp_slice name = request->topics.items[i].name;
        bool again = i > 0 && kp_slice_equal(name, request->topics.items[i - 1].name);
        int order = cursor != NULL ? kp_slice_compare(name, cursor->topic_name) : 1;
        if (again || order < 0) {
            continue;
        }
        const struct st_topic *topic = st_topic_by_name(page->x->gateway->engine, name);
        if (!add_topic(page, name, topic, order == 0 ? cursor->partition_index : 0)) {
            return;
        }
    }
}

static void add_all(struct page *page, const struct kp_describe_topic_partitions_request *request) {
    struct st_engine *engine = page->x->gateway->engine;
    struct kp_slice from = request->cursor != NULL ? request->cursor->topic_name : (struct kp_slice){0};
    const struct st_topic *topic = request->cursor != NULL ? st_topic_by_name(engine, from) : NULL;
    int32_t begin = topic != NULL ? request->cursor->partition_index : 0;
    if (topic == NULL) {
        topic = st_topic_after(engine, from);
    }
    while (topic != NULL && add_topic(page, topic->name, topic, begin)) {
        begin = 0;
        topic = st_topic_after(engine, topic->name);
    }
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    struct kp_describe_topic_partitions_request *request = x->request;
    int32_t limit = request->response_partition_limit;
    limit = limit < 1 ? 1 : limit > PARTITIONS_MOST ? PARTITIONS_MOST : limit;
    struct page page = {.x = x, .readable = error == ST_OK, .room = limit};
    kp_init(kp_describe_topic_partitions_response_type(), &page.response);
    /* A topic has a partition at least, so there are no more topics than partitions, but for those unknown. */
    page.capacity = request->topics.count > 0 ? request->topics.count : limit;
    page.response.topics.items =
        gw_exchange_items(x, kp_describe_topic_partitions_response_topic_type(), page.capacity);
    if (page.response.topics.items == NULL) {
        return;
    }
    page.response.topics.count = 0;
    if (request->topics.count > 0) {
        qsort(request->topics.items, (size_t)request->topics.count, sizeof request->topics.items[0], by_name);
        add_asked(&page, request);
    } else {
        add_all(&page, request);
    }
    if (page.x != NULL) {
        gw_exchange_answer(x, &page.response);
    }
}

/* The cursor must lie among what is asked for. */
static bool well_asked(const struct kp_describe_topic_partitions_request *request) {
    if (request->cursor == NULL) {
        return true;
    }
    bool among = request->topics.count == 0;
    for (int32_t i = 0; i < request->topics.count && !among; i++) {
        among = kp_slice_equal(request->topics.items[i].name, request->cursor->topic_name);
    }
    return among && request->cursor->partition_index >= 0;
}

static void refuse(struct gw_exchange *x) {
    const struct kp_describe_topic_partitions_request *request = x->request;
    struct kp_describe_topic_partitions_response response;
    kp_init(kp_describe_topic_partitions_response_type(), &response);
    response.topics.items =
        gw_exchange_items(x, kp_describe_topic_partitions_response_topic_type(), request->topics.count);
    if (response.topics.items == NULL) {
        return;
    }
    response.topics.count = request->topics.count;
    for (int32_t i = 0; i < request->topics.count; i++) {
        response.topics.items[i].name = request->topics.items[i].name;
        response.topics.items[i].error_code = KP_ERROR_INVALID_REQUEST;
    }
    gw_exchange_answer(x, &response);
}

void gw_handle_describe_topic_partitions(struct gw_exchange *x) {
    if (well_asked(x->request)) {
        gw_exchange_sync(x, fresh);
    } else {
        refuse(x);
    }
}
