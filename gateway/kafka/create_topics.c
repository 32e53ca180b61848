/*
 * CreateTopics: each topic is checked, then all that are well are made at once. A topic whose creation is not known to
 * be over after timeout_ms is answered REQUEST_TIMED_OUT; it is made all the same.
 *
 * Replication is the store's: every replication factor of at least 1 is accepted and reported as 1.
 */
#include "gateway/kafka/dispatch.h"
#include "gateway/kafka/topic_configs.h"

#include <stdlib.h>

struct creation {
    struct st_topic_create op;
    struct gw_exchange *x;
    const struct kp_create_topics_request_topic *asked;
    struct st_config *configs; /* without those that a later one replaces */
    enum kp_error error;
    struct kp_slice message;
    bool repeated; /* the same name stood before it: answered there */
    bool open;
};

struct create {
    struct gw_exchange *x;
    struct creation *creations;
    int32_t count;
    int32_t open; /* creations under way, and one while they are being started */
    struct st_timer timer;
    bool answered;
};

static void refuse(struct creation *creation, enum kp_error error, struct kp_slice message) {
    creation->error = error;
    creation->message = message;
}

/* ---- checks ---- */

static int by_name(const void *a, const void *b) {
    const struct creation *const *one = a, *const *two = b;
    int order = kp_slice_compare((*one)->asked->name, (*two)->asked->name);
    return order != 0 ? order : (*one > *two) - (*one < *two);
}

static bool find_repeated(struct gw_exchange *x, struct create *create) {
    size_t count = (size_t)create->count;
    struct creation **sorted = gw_exchange_room(x, count, sizeof(struct creation *));
    if (sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &create->creations[i];
    }
    qsort(sorted, count, sizeof(struct creation *), by_name);
    for (size_t i = 1, first = 0; i < count; i++) {
        if (kp_slice_equal(sorted[i]->asked->name, sorted[first]->asked->name)) {
            sorted[i]->repeated = true;
            refuse(sorted[first], KP_ERROR_INVALID_REQUEST,
                   KP_SLICE_LIT("The topic stands more than once in the request."));
        } else {
            first = i;
        }
    }
    return true;
}

/* Brokers of one partition: at least one, each known, none twice. Only this gateway is known, so one is all. */
static bool brokers_valid(struct gw_exchange *x, struct creation *creation,
                          const struct kp_create_topics_request_assignment *assignment) {
    if (assignment->broker_ids.count < 1) {
        refuse(creation, KP_ERROR_INVALID_REPLICA_ASSIGNMENT, KP_SLICE_LIT("A partition is assigned to no broker."));
        return false;
    }
    for (int32_t i = 0; i < assignment->broker_ids.count; i++) {
        int32_t id = assignment->broker_ids.items[i];
        if (id != x->gateway->node_id || i > 0) {
            refuse(creation, KP_ERROR_INVALID_REPLICA_ASSIGNMENT,
                   gw_exchange_text(x, i > 0 && id == x->gateway->node_id ? "Broker %d is assigned a partition twice."
                                                                          : "There is no broker %d.",
                                    id));
            return false;
        }
    }
    return true;
}

static bool assignments_valid(struct gw_exchange *x, struct creation *creation) {
    const struct kp_create_topics_request_topic *asked = creation->asked;
    int32_t count = asked->assignments.count;
    if (asked->replication_factor != -1 || asked->num_partitions != -1) {
        refuse(creation, KP_ERROR_INVALID_REQUEST,
               KP_SLICE_LIT("With assignments, the numbers of partitions and replicas must be -1."));
        return false;
    }
    bool *seen = gw_exchange_room(x, (size_t)count, sizeof *seen);
    if (seen == NULL) {
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        const struct kp_create_topics_request_assignment *assignment = &asked->assignments.items[i];
        if (assignment->partition_index < 0 || assignment->partition_index >= count ||
            seen[assignment->partition_index]) {
            refuse(creation, KP_ERROR_INVALID_REPLICA_ASSIGNMENT,
                   KP_SLICE_LIT("The partitions assigned must be 0, 1, 2 ... without gaps or repetitions."));
            return false;
        }
        seen[assignment->partition_index] = true;
        if (!brokers_valid(x, creation, assignment)) {
            return false;
        }
    }
    creation->op.partitions = count;
    return true;
}

static bool numbers_valid(struct gw_exchange *x, struct creation *creation) {
    const struct kp_create_topics_request_topic *asked = creation->asked;
    if (asked->assignments.count > 0) {
        return assignments_valid(x, creation);
    }
    if (asked->replication_factor < -1 || asked->replication_factor == 0) {
        refuse(creation, KP_ERROR_INVALID_REPLICATION_FACTOR,
               kp_slice_cstr(kp_error_text(KP_ERROR_INVALID_REPLICATION_FACTOR)));
        return false;
    }
    creation->op.partitions =
        asked->num_partitions == -1 ? (int32_t)x->gateway->config->num_partitions : asked->num_partitions;
    if (creation->op.partitions < 1 || creation->op.partitions > ST_PARTITIONS_MAX) {
        refuse(creation, KP_ERROR_INVALID_PARTITIONS,
               gw_exchange_text(x, "A topic has 1 to %d partitions.", ST_PARTITIONS_MAX));
        return false;
    }
    return true;
}

/* Every name known, every value valid; then the list for the engine, in the order of the table, last values winning. */
static bool configs_valid(struct gw_exchange *x, struct creation *creation) {
    const struct kp_create_topics_request_topic *asked = creation->asked;
    size_t count = (size_t)asked->configs.count;
    struct st_config *given = gw_exchange_room(x, count, sizeof *given);
    creation->configs = given != NULL ? gw_exchange_room(x, st_config_rule_count, sizeof *creation->configs) : NULL;
    if (creation->configs == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        given[i] = (struct st_config){.name = asked->configs.items[i].name, .value = asked->configs.items[i].value};
        const struct st_config_rule *rule = st_config_rule(given[i].name);
        if (rule == NULL || given[i].value.ptr == NULL || !st_config_valid(rule, given[i].value)) {
            int shown = given[i].name.len < 200 ? (int)given[i].name.len : 200;
            refuse(creation, KP_ERROR_INVALID_CONFIG,
                   gw_exchange_text(x, "The %s of topic configuration '%.*s' is not valid.",
                                    rule == NULL ? "name" : "value", shown, (const char *)given[i].name.ptr));
            return false;
        }
    }
    for (size_t i = 0; i < st_config_rule_count; i++) {
        const struct st_config *last = gw_topic_config_override(given, count, st_config_rules[i].name);
        if (last != NULL) {
            creation->configs[creation->op.config_count++] = *last;
        }
    }
    creation->op.configs = creation->configs;
    return true;
}

/* Only what can be said without the store. When memory is out the exchange has failed. */
static void check(struct gw_exchange *x, struct creation *creation) {
    creation->op.name = creation->asked->name;
    if (creation->repeated || creation->error != KP_ERROR_NONE) {
        return;
    }
    if (!st_topic_name_valid(creation->asked->name)) {
        refuse(creation, KP_ERROR_INVALID_TOPIC_EXCEPTION, kp_slice_cstr(st_error_text(ST_BAD_TOPIC_NAME)));
        return;
    }
    if (numbers_valid(x, creation)) {
        configs_valid(x, creation);
    }
}

/* ---- the answer ---- */

static bool fill_configs(struct gw_exchange *x, const struct creation *creation,
                         struct kp_create_topics_response_topic *out) {
    int32_t count = (int32_t)st_config_rule_count;
    out->configs.items = gw_exchange_items(x, kp_create_topics_response_config_type(), count);
    if (out->configs.items == NULL) {
        return false;
    }
    out->configs.count = count;
    for (int32_t i = 0; i < count; i++) {
        struct kp_create_topics_response_config *config = &out->configs.items[i];
        enum gw_config_source source;
        config->name = kp_slice_cstr(st_config_rules[i].name);
        config->value =
            gw_topic_config_value(creation->op.configs, creation->op.config_count, &st_config_rules[i], &source);
        config->config_source = (int8_t)source;
    }
    return true;
}

static bool fill_topic(struct gw_exchange *x, const struct creation *creation,
                       struct kp_create_topics_response_topic *out) {
    out->name = creation->asked->name;
    out->configs.count = 0;
    out->error_code = (int16_t)(creation->open ? KP_ERROR_REQUEST_TIMED_OUT : creation->error);
    if (out->error_code != KP_ERROR_NONE) {
        out->error_message = creation->open ? kp_slice_cstr(st_error_text(ST_UNKNOWN)) : creation->message;
        return true;
    }
    out->topic_id = creation->op.id;
    out->num_partitions = creation->op.partitions;
    out->replication_factor = 1;
    return fill_configs(x, creation, out);
}

static void answer(struct create *create) {
    struct gw_exchange *x = create->x;
    struct kp_create_topics_response response;
    create->answered = true;
    st_timer_stop(x->gateway->loop, &create->timer);
    kp_init(kp_create_topics_response_type(), &response);
    response.topics.items = gw_exchange_items(x, kp_create_topics_response_topic_type(), create->count);
    if (response.topics.items == NULL) {
        return;
    }
    for (int32_t i = 0; i < create->count; i++) {
        const struct creation *creation = &create->creations[i];
        if (!creation->repeated && !fill_topic(x, creation, &response.topics.items[response.topics.count++])) {
            return;
        }
    }
    gw_exchange_answer(x, &response);
}

/* ---- making ---- */

static void creation_over(struct create *create) {
    if (--create->open == 0 && !create->answered) {
        answer(create);
    }
}

static void created(struct st_topic_create *op) {
    struct creation *creation = ST_OWNER(op, struct creation, op);
    struct gw_exchange *x = creation->x;
    creation->open = false;
    if (op->error != ST_OK) {
        refuse(creation, st_error_kafka(op->error), kp_slice_cstr(st_error_text(op->error)));
    }
    creation_over(x->state);
    gw_exchange_drop(x);
}

static void timed_out(struct st_timer *timer) {
    struct create *create = ST_OWNER(timer, struct create, timer);
    answer(create);
}

static void start(struct gw_exchange *x, struct creation *creation) {
    struct create *create = x->state;
    creation->open = true;
    creation->op.done = created;
    create->open++;
    gw_exchange_hold(x);
    st_topic_create(x->gateway->engine, &creation->op);
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    const struct kp_create_topics_request *request = x->request;
    struct create *create = x->state;
    create->open = 1;
    gw_exchange_hold(x);
    for (int32_t i = 0; i < create->count; i++) {
        struct creation *creation = &create->creations[i];
        if (creation->repeated || creation->error != KP_ERROR_NONE) {
            continue;
        }
        if (st_topic_by_name(x->gateway->engine, creation->asked->name) != NULL) {
            refuse(creation, KP_ERROR_TOPIC_ALREADY_EXISTS, kp_slice_cstr(st_error_text(ST_TOPIC_EXISTS)));
        } else if (error != ST_OK) {
            refuse(creation, KP_ERROR_REQUEST_TIMED_OUT, kp_slice_cstr(st_error_text(error)));
        } else if (!request->validate_only) {
            start(x, creation);
        }
    }
    if (create->open > 1) {
        int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : 0;
        st_timer_start(x->gateway->loop, &create->timer, timeout_ms * ST_MS);
    }
    creation_over(create);
    gw_exchange_drop(x);
}

static void begin(struct gw_exchange *x) {
    const struct kp_create_topics_request *request = x->request;
    struct create *create = gw_exchange_room(x, 1, sizeof *create);
    if (create == NULL) {
        return;
    }
    *create = (struct create){.x = x, .count = request->topics.count, .timer = {.fn = timed_out}};
    x->state = create;
    create->creations = gw_exchange_room(x, (size_t)create->count, sizeof *create->creations);
    if (create->creations == NULL) {
        return;
    }
    for (int32_t i = 0; i < create->count; i++) {
        create->creations[i].x = x;
        create->creations[i].asked = &request->topics.items[i];
    }
    if (!find_repeated(x, create)) {
        return;
    }
    for (int32_t i = 0; i < create->count && !x->answered; i++) {
        check(x, &create->creations[i]);
    }
    if (!x->answered) {
        gw_exchange_sync(x, fresh);
    }
}

void gw_handle_create_topics(struct gw_exchange *x) {
    gw_exchange_hold(x); /* when memory runs out x is answered somewhere below, and looked at once more */
    begin(x);
    gw_exchange_drop(x);
}
