/*
 * OffsetForLeaderEpoch: "until which offset may what I read in this epoch be trusted?". Nothing that was ever readable
 * here is taken back, so the answer to every epoch is: up to the end. An epoch below 0 is no epoch, and has no end.
 * (Clients ask only when they have seen epochs; here they see -1.)
 */
#include "gateway/kafka/dispatch.h"

static void fill_partition(struct gw_exchange *x, const struct st_topic *topic, enum st_error sync,
                           const struct kp_offset_for_leader_epoch_request_partition *asked,
                           struct kp_offset_for_leader_epoch_response_partition *out) {
    struct st_partition_view view;
    out->partition = asked->partition;
    if (sync != ST_OK) {
        out->error_code = KP_ERROR_KAFKA_STORAGE_ERROR;
    } else if (topic == NULL || !st_partition_view(x->gateway->engine, topic, asked->partition, &view)) {
        out->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (asked->leader_epoch >= 0) {
        out->leader_epoch = asked->leader_epoch;
        out->end_offset = view.end;
    }
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    const struct kp_offset_for_leader_epoch_request *request = x->request;
    struct kp_offset_for_leader_epoch_response response;
    kp_init(kp_offset_for_leader_epoch_response_type(), &response);
    response.topics.items =
        gw_exchange_items(x, kp_offset_for_leader_epoch_response_topic_type(), request->topics.count);
    if (response.topics.items == NULL) {
        return;
    }
    response.topics.count = request->topics.count;
    for (int32_t t = 0; t < request->topics.count; t++) {
        const struct kp_offset_for_leader_epoch_request_topic *asked = &request->topics.items[t];
        struct kp_offset_for_leader_epoch_response_topic *out = &response.topics.items[t];
        int32_t count = asked->partitions.count;
        out->topic = asked->topic;
        out->partitions.items =
            gw_exchange_items(x, kp_offset_for_leader_epoch_response_partition_type(), count);
        if (out->partitions.items == NULL) {
            return;
        }
        out->partitions.count = count;
        const struct st_topic *topic = st_topic_by_name(x->gateway->engine, asked->topic);
        for (int32_t p = 0; p < count; p++) {
            fill_partition(x, topic, error, &asked->partitions.items[p], &out->partitions.items[p]);
        }
    }
    gw_exchange_answer(x, &response);
}

void gw_handle_offset_for_leader_epoch(struct gw_exchange *x) {
    gw_exchange_sync(x, fresh);
}
