/*
 * Produce: one batch for each of some partitions goes to the engine, as it lies in the frame.
 *
 * Order. The requests of a connection are handed to the engine in the order they came, with the connection's id as
 * `order`; the engine keeps it from there. Nearly always that is at once. A request that names a topic which the fold
 * does not know needs a sync before that may be said; until it is back, it and all that come after it on the
 * connection wait in link->unsent.
 *
 * What refuses a partition here is certain: nothing was given to the engine. What the engine answers it maps itself
 * (storage/errors.def). When the store can not be read to find a topic, the answer is NOT_ENOUGH_REPLICAS: surely not
 * stored, and every client tries again.
 *
 * acks=0: no answer; if anything went wrong the connection is closed, which is all that its client can notice. acks=1
 * is what acks=-1 is: durable.
 */
#include "gateway/kafka/dispatch.h"
#include "gateway/kafka/link.h"
#include "gateway/kafka/record_rules.h"
#include "storage/runtime/metrics.h"

#define FIRST_TOPIC_ID_VERSION 13
#define FIRST_ZSTD_VERSION 7
/* A client that gives the store no time at all would be told REQUEST_TIMED_OUT for records that are stored. */
#define TIMEOUT_LEAST_MS 1000

struct slot {
    const struct kp_produce_request_topic *topic;
    const struct kp_produce_request_partition *asked;
    struct kp_batch batch;
    enum kp_error error; /* why it is not in `append` */
    const char *message;
    struct gw_record_faults faults;
    struct st_append_part *part; /* NULL: refused here */
};

struct produce {
    struct gw_exchange *x;
    struct slot *slots;
    size_t count;
    struct st_append append;
    enum st_error sync_error;
    size_t inflate_left; /* record_rules.h */
    bool ready;          /* may be handed to the engine */
};

static bool names_topics(const struct gw_exchange *x) {
    return x->header.api_version < FIRST_TOPIC_ID_VERSION;
}

static const struct st_topic *find(struct gw_exchange *x, const struct kp_produce_request_topic *asked) {
    return names_topics(x) ? st_topic_by_name(x->gateway->engine, asked->name)
                           : st_topic_by_id(x->gateway->engine, &asked->topic_id);
}

static void refuse(struct slot *slot, enum kp_error error, const char *message) {
    slot->error = error;
    slot->message = message;
}

/* ---- the answer ---- */

static void fill_slot(const struct slot *slot, bool named, struct kp_produce_response_partition *out) {
    enum kp_error error = slot->error;
    out->index = slot->asked->index;
    out->base_offset = -1;
    if (slot->part != NULL) {
        error = st_error_kafka(slot->part->error);
        error = error == KP_ERROR_UNKNOWN_TOPIC_ID && named ? KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION : error;
    }
    out->error_code = (int16_t)error;
    if (error == KP_ERROR_NONE) {
        out->base_offset = slot->part->base_offset;
        out->log_append_time_ms = slot->part->append_time_ms;
        out->log_start_offset = slot->part->log_start;
        st_metrics.produce_bytes_total += slot->batch.bytes.len;
        st_metrics.produce_records_total += (uint64_t)slot->batch.record_count;
        return;
    }
    out->error_message = kp_slice_cstr(slot->message != NULL ? slot->message : kp_error_text(error));
    out->record_errors.items = slot->faults.items;
    out->record_errors.count = slot->faults.count;
}

static bool fill(struct produce *produce, struct kp_produce_response *response, bool *errors) {
    struct gw_exchange *x = produce->x;
    const struct kp_produce_request *request = x->request;
    const struct slot *slot = produce->slots;
    response->responses.items = gw_exchange_items(x, kp_produce_response_topic_type(), request->topic_data.count);
    if (response->responses.items == NULL) {
        return false;
    }
    response->responses.count = request->topic_data.count;
    for (int32_t t = 0; t < request->topic_data.count; t++) {
        const struct kp_produce_request_topic *topic = &request->topic_data.items[t];
        struct kp_produce_response_topic *out = &response->responses.items[t];
        out->name = topic->name;
        out->topic_id = topic->topic_id;
        out->partition_responses.items =
            gw_exchange_items(x, kp_produce_response_partition_type(), topic->partition_data.count);
        if (out->partition_responses.items == NULL) {
            return false;
        }
        out->partition_responses.count = topic->partition_data.count;
        for (int32_t p = 0; p < topic->partition_data.count; p++) {
            fill_slot(slot++, names_topics(x), &out->partition_responses.items[p]);
            *errors = *errors || out->partition_responses.items[p].error_code != KP_ERROR_NONE;
        }
    }
    return true;
}

static void answer(struct produce *produce) {
    struct gw_exchange *x = produce->x;
    const struct kp_produce_request *request = x->request;
    struct kp_produce_response response;
    bool errors = false;
    kp_init(kp_produce_response_type(), &response);
    if (!fill(produce, &response, &errors)) {
        return;
    }
    if (request->acks != 0) {
        gw_exchange_answer(x, &response);
    } else if (errors) {
        gw_exchange_fail(x, NULL);
    } else {
        gw_exchange_answer_none(x);
    }
}

/* ---- to the engine ---- */

static void appended(struct st_append *append) {
    answer(ST_OWNER(append, struct produce, append));
}

/* Looks at what can be told only with the topic at hand. */
static void admit(struct produce *produce, struct slot *slot) {
    struct gw_exchange *x = produce->x;
    const struct st_topic *topic = find(x, slot->topic);
    if (topic == NULL || slot->asked->index < 0 || slot->asked->index >= topic->partition_count) {
        if (produce->sync_error != ST_OK) {
            refuse(slot, KP_ERROR_NOT_ENOUGH_REPLICAS, st_error_text(produce->sync_error));
        } else if (topic != NULL || names_topics(x)) {
            refuse(slot, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
        } else {
            refuse(slot, KP_ERROR_UNKNOWN_TOPIC_ID, NULL);
        }
        return;
    }
    gw_record_rules_check(x, topic, &slot->batch, &produce->inflate_left, &slot->faults);
    if (slot->faults.error != KP_ERROR_NONE) {
        refuse(slot, slot->faults.error, slot->faults.message);
        return;
    }
    slot->part = &produce->append.parts[produce->append.count++];
    *slot->part = (struct st_append_part){
        .topic_id = topic->id, .partition = slot->asked->index, .batch = slot->batch, .blob = x->frame};
}

static void hand_over(struct produce *produce) {
    struct gw_exchange *x = produce->x;
    const struct kp_produce_request *request = x->request;
    if (x->link == NULL) {
        gw_exchange_fail(x, NULL); /* nobody is there to be told, and nothing was stored yet */
        return;
    }
    x->abandon = NULL;
    for (size_t i = 0; i < produce->count; i++) {
        if (produce->slots[i].error == KP_ERROR_NONE) {
            admit(produce, &produce->slots[i]);
        }
    }
    if (produce->append.count == 0) {
        answer(produce);
        return;
    }
    produce->append.order = x->link->conn->id;
    produce->append.timeout_ms = request->timeout_ms > TIMEOUT_LEAST_MS ? request->timeout_ms : TIMEOUT_LEAST_MS;
    produce->append.done = appended;
    st_append(x->gateway->engine, &produce->append);
}

static void hand_over_in_order(struct gw_link *link) {
    while (link->unsent != NULL && ((struct produce *)link->unsent->state)->ready) {
        struct gw_exchange *x = link->unsent;
        link->unsent = x->next_unsent;
        if (link->unsent == NULL) {
            link->unsent_last = &link->unsent;
        }
        hand_over(x->state);
    }
}

static void abandoned(struct gw_exchange *x) {
    gw_exchange_fail(x, NULL);
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    struct produce *produce = x->state;
    produce->sync_error = error;
    produce->ready = true;
    x->abandon = abandoned; /* now it waits for its predecessors alone */
    if (x->link != NULL) {
        hand_over_in_order(x->link);
    } else {
        hand_over(produce);
    }
}

/* ---- the request ---- */

static void check_slot(struct gw_exchange *x, struct slot *slot) {
    const struct kp_produce_request *request = x->request;
    if (request->acks < -1 || request->acks > 1) {
        refuse(slot, KP_ERROR_INVALID_REQUIRED_ACKS, NULL);
        return;
    }
    slot->error = kp_batch_check(slot->asked->records.bytes, &slot->batch, &slot->message);
    if (slot->error != KP_ERROR_NONE) {
        return;
    }
    if (slot->batch.base_offset != 0) {
        refuse(slot, KP_ERROR_INVALID_RECORD, "The base offset of a batch that is produced must be 0.");
    } else if (request->transactional_id.ptr != NULL || (slot->batch.attributes & KP_BATCH_TRANSACTIONAL) != 0) {
        refuse(slot, KP_ERROR_INVALID_TXN_STATE, "Transactions are not supported here.");
    } else if (x->header.api_version < FIRST_ZSTD_VERSION &&
               (slot->batch.attributes & KP_BATCH_CODEC_MASK) == KP_CODEC_ZSTD) {
        refuse(slot, KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE, NULL);
    }
}

/* One slot for each partition; false when the fold does not know one of them. */
static bool check_slots(struct gw_exchange *x, struct produce *produce) {
    const struct kp_produce_request *request = x->request;
    struct slot *slot = produce->slots;
    bool known = true;
    for (int32_t t = 0; t < request->topic_data.count; t++) {
        const struct kp_produce_request_topic *topic = &request->topic_data.items[t];
        const struct st_topic *found = find(x, topic);
        for (int32_t p = 0; p < topic->partition_data.count; p++, slot++) {
            slot->topic = topic;
            slot->asked = &topic->partition_data.items[p];
            check_slot(x, slot);
            known = known && found != NULL && slot->asked->index < found->partition_count;
        }
    }
    return known;
}

static struct produce *prepare(struct gw_exchange *x) {
    const struct kp_produce_request *request = x->request;
    struct produce *produce = gw_exchange_room(x, 1, sizeof *produce);
    if (produce == NULL) {
        return NULL;
    }
    x->state = produce;
    produce->x = x;
    produce->inflate_left = GW_RECORD_RULES_INFLATE;
    for (int32_t t = 0; t < request->topic_data.count; t++) {
        produce->count += (size_t)request->topic_data.items[t].partition_data.count;
    }
    produce->slots = gw_exchange_room(x, produce->count, sizeof *produce->slots);
    if (produce->slots == NULL) {
        return NULL;
    }
    produce->append.parts = gw_exchange_room(x, produce->count, sizeof *produce->append.parts);
    return produce->append.parts != NULL ? produce : NULL;
}

void gw_handle_produce(struct gw_exchange *x) {
    struct gw_link *link = x->link;
    struct produce *produce = prepare(x);
    if (produce == NULL) {
        return;
    }
    produce->ready = check_slots(x, produce);
    if (produce->ready && link->unsent == NULL) {
        hand_over(produce);
        return;
    }
    *link->unsent_last = x;
    link->unsent_last = &x->next_unsent;
    if (produce->ready) {
        x->abandon = abandoned;
    } else {
        gw_exchange_sync(x, fresh);
    }
}
