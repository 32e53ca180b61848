/*
 * Metadata: the nodes, and topics by name, by id or all; topics that do not exist are made when the client allows it.
 *
 * Leader epoch is -1 everywhere: any gateway serves any partition, so there is nothing to fence, and several clients
 * get stuck on epochs that do not rise when a leader changes.
 *
 * When the store can not be read or written, a topic that the fold does not know is LEADER_NOT_AVAILABLE *without
 * partitions*: the one code that librdkafka (it keeps what it knew), Java, kafkajs, sarama, franz-go and kafka-python
 * all take for "ask again" at the level of a topic. librdkafka fails queued messages on other codes there, sarama gives
 * up on them. (What must never be sent is a partition without leader.)
 */
#include "gateway/kafka/cluster.h"
#include "gateway/kafka/dispatch.h"

struct creation {
    struct st_topic_create op;
    struct gw_exchange *x;
};

struct metadata {
    bool synced;
    enum st_error sync_error;
    enum kp_error *errors; /* for each topic asked for: why it could not be made */
    struct creation *creations;
    int32_t open; /* creations under way, and one while they are being started */
};

static bool wants_all(const struct gw_exchange *x) {
    const struct kp_metadata_request *request = x->request;
    return request->topics.count < 0 || (x->header.api_version == 0 && request->topics.count == 0);
}

static bool by_id(const struct kp_metadata_request_topic *asked) {
    return !kp_uuid_is_zero(&asked->topic_id);
}

static const struct st_topic *find(struct gw_exchange *x, const struct kp_metadata_request_topic *asked) {
    if (by_id(asked)) {
        return st_topic_by_id(x->gateway->engine, &asked->topic_id);
    }
    return asked->name.ptr != NULL ? st_topic_by_name(x->gateway->engine, asked->name) : NULL;
}

/* Names were null in versions that had no ids, or ids came in versions that could not be asked by them. */
static bool well_asked(const struct gw_exchange *x, const struct kp_metadata_request_topic *asked) {
    return x->header.api_version >= 12 ? by_id(asked) || asked->name.ptr != NULL
                                       : !by_id(asked) && asked->name.ptr != NULL;
}

/* ---- the answer ---- */

static bool fill_partitions(struct gw_exchange *x, const struct st_topic *topic,
                            struct kp_metadata_response_topic *out) {
    int32_t *leader = gw_cluster_leader(x->gateway);
    out->partitions.items = gw_exchange_items(x, kp_metadata_response_partition_type(), topic->partition_count);
    if (out->partitions.items == NULL) {
        return false;
    }
    out->partitions.count = topic->partition_count;
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct kp_metadata_response_partition *partition = &out->partitions.items[i];
        partition->partition_index = i;
        partition->leader_id = *leader;
        partition->replica_nodes.items = leader;
        partition->replica_nodes.count = 1;
        partition->isr_nodes.items = leader;
        partition->isr_nodes.count = 1;
    }
    return true;
}

static bool fill_topic(struct gw_exchange *x, const struct st_topic *topic, struct kp_metadata_response_topic *out) {
    const struct kp_metadata_request *request = x->request;
    out->name = topic->name;
    out->topic_id = topic->id;
    if (request->include_topic_authorized_operations) {
        out->topic_authorized_operations = GW_TOPIC_OPERATIONS;
    }
    return fill_partitions(x, topic, out);
}

static enum kp_error absent_because(struct gw_exchange *x, int32_t i) {
    const struct kp_metadata_request *request = x->request;
    const struct metadata *state = x->state;
    const struct kp_metadata_request_topic *asked = &request->topics.items[i];
    if (!well_asked(x, asked)) {
        return KP_ERROR_INVALID_REQUEST;
    }
    if (!by_id(asked) && !st_topic_name_valid(asked->name)) {
        return KP_ERROR_INVALID_TOPIC_EXCEPTION;
    }
    if (state->sync_error != ST_OK) {
        return KP_ERROR_LEADER_NOT_AVAILABLE;
    }
    if (state->errors[i] != KP_ERROR_NONE) {
        return state->errors[i];
    }
    return by_id(asked) ? KP_ERROR_UNKNOWN_TOPIC_ID : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
}

static bool fill_asked(struct gw_exchange *x, struct kp_metadata_response *response) {
    const struct kp_metadata_request *request = x->request;
    int32_t count = request->topics.count;
    response->topics.items = gw_exchange_items(x, kp_metadata_response_topic_type(), count);
    if (response->topics.items == NULL) {
        return false;
    }
    response->topics.count = count;
    for (int32_t i = 0; i < count; i++) {
        const struct kp_metadata_request_topic *asked = &request->topics.items[i];
        struct kp_metadata_response_topic *out = &response->topics.items[i];
        const struct st_topic *topic = well_asked(x, asked) ? find(x, asked) : NULL;
        if (topic != NULL) {
            if (!fill_topic(x, topic, out)) {
                return false;
            }
            continue;
        }
        out->name = by_id(asked) ? (struct kp_slice){0} : asked->name;
        out->topic_id = asked->topic_id;
        out->error_code = (int16_t)absent_because(x, i);
    }
    return true;
}

static bool fill_all(struct gw_exchange *x, struct kp_metadata_response *response) {
    struct st_engine *engine = x->gateway->engine;
    int32_t count = (int32_t)st_topic_count(engine);
    response->topics.items = gw_exchange_items(x, kp_metadata_response_topic_type(), count);
    if (response->topics.items == NULL) {
        return false;
    }
    const struct st_topic *topic = st_topic_after(engine, (struct kp_slice){0});
    for (int32_t i = 0; i < count && topic != NULL; i++) {
        if (!fill_topic(x, topic, &response->topics.items[i])) {
            return false;
        }
        response->topics.count = i + 1;
        topic = st_topic_after(engine, topic->name);
    }
    return true;
}

static bool fill_cluster(struct gw_exchange *x, struct kp_metadata_response *response) {
    const struct kp_metadata_request *request = x->request;
    struct gw_node nodes[GW_NODES_MAX];
    int32_t count = gw_cluster_nodes(x->gateway, nodes);
    response->brokers.items = gw_exchange_items(x, kp_metadata_response_broker_type(), count);
    if (response->brokers.items == NULL) {
        return false;
    }
    response->brokers.count = count;
    for (int32_t i = 0; i < count; i++) {
        response->brokers.items[i] = (struct kp_metadata_response_broker){
            .node_id = nodes[i].id, .host = nodes[i].host, .port = nodes[i].port, .rack = nodes[i].rack};
    }
    response->controller_id = nodes[0].id;
    response->cluster_id = kp_slice_cstr(x->gateway->cluster_id);
    if (request->include_cluster_authorized_operations) {
        response->cluster_authorized_operations = GW_CLUSTER_OPERATIONS;
    }
    return true;
}

static void answer(struct gw_exchange *x) {
    struct kp_metadata_response response;
    kp_init(kp_metadata_response_type(), &response);
    if (fill_cluster(x, &response) && (wants_all(x) ? fill_all(x, &response) : fill_asked(x, &response))) {
        gw_exchange_answer(x, &response);
    }
}

/* ---- making topics ---- */

static void creation_over(struct gw_exchange *x) {
    struct metadata *state = x->state;
    if (--state->open == 0) {
        answer(x);
    }
}

static void created(struct st_topic_create *op) {
    struct creation *creation = ST_OWNER(op, struct creation, op);
    struct gw_exchange *x = creation->x;
    struct metadata *state = x->state;
    if (op->error != ST_OK) {
        enum kp_error error = st_error_kafka(op->error);
        state->errors[creation - state->creations] =
            error == KP_ERROR_INVALID_TOPIC_EXCEPTION ? error : KP_ERROR_LEADER_NOT_AVAILABLE;
    }
    creation_over(x);
}

static void create_absent(struct gw_exchange *x) {
    const struct kp_metadata_request *request = x->request;
    struct metadata *state = x->state;
    state->creations = gw_exchange_room(x, (size_t)request->topics.count, sizeof *state->creations);
    if (state->creations == NULL) {
        return;
    }
    state->open = 1;
    for (int32_t i = 0; i < request->topics.count; i++) {
        const struct kp_metadata_request_topic *asked = &request->topics.items[i];
        if (!well_asked(x, asked) || by_id(asked) || find(x, asked) != NULL || !st_topic_name_valid(asked->name)) {
            continue;
        }
        state->open++;
        state->creations[i].x = x;
        state->creations[i].op = (struct st_topic_create){
            .name = asked->name,
            .partitions = (int32_t)x->gateway->config->num_partitions,
            .done = created,
        };
        st_topic_create(x->gateway->engine, &state->creations[i].op);
    }
    creation_over(x);
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    const struct kp_metadata_request *request = x->request;
    struct metadata *state = x->state;
    state->sync_error = error;
    bool create = request->allow_auto_topic_creation && x->gateway->config->auto_create_topics_enable;
    if (error == ST_OK && create && !wants_all(x)) {
        create_absent(x);
    } else {
        answer(x);
    }
}

void gw_handle_metadata(struct gw_exchange *x) {
    const struct kp_metadata_request *request = x->request;
    int32_t count = request->topics.count > 0 ? request->topics.count : 0;
    struct metadata *state = gw_exchange_room(x, 1, sizeof *state);
    if (state == NULL) {
        return;
    }
    x->state = state;
    state->errors = gw_exchange_room(x, (size_t)count, sizeof *state->errors);
    if (state->errors == NULL) {
        return;
    }
    bool known = !wants_all(x);
    for (int32_t i = 0; i < count && known; i++) {
        known = find(x, &request->topics.items[i]) != NULL;
    }
    if (known) {
        answer(x);
    } else {
        gw_exchange_sync(x, fresh);
    }
}
