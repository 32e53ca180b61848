/*
 * What a topic's configuration demands of the records in a batch: keys, when it is compacted, and times within
 * message.timestamp.before.max.ms and message.timestamp.after.max.ms of now. The engine enforces the rest.
 *
 * A batch is opened (and inflated) only when its header cannot show that all is well: for most topics never. That
 * happens on the loop, so all batches of a request together may inflate to GW_RECORD_RULES_INFLATE bytes; beyond it
 * they are MESSAGE_TOO_LARGE, upon which clients split what they send.
 */
#ifndef GW_KAFKA_RECORD_RULES_H
#define GW_KAFKA_RECORD_RULES_H

#include "gateway/kafka/exchange.h"

struct gw_record_faults {
    enum kp_error error;
    const char *message;
    struct kp_produce_response_record_error *items; /* at most GW_RECORD_FAULTS_MAX, in x->room */
    int32_t count;
};

#define GW_RECORD_FAULTS_MAX 1000
#define GW_RECORD_RULES_INFLATE ((size_t)64 * 1024 * 1024)

/* KP_ERROR_NONE in faults->error when the batch may be stored. *inflate_left is what the request may still inflate. */
void gw_record_rules_check(struct gw_exchange *x, const struct st_topic *topic, const struct kp_batch *batch,
                           size_t *inflate_left, struct gw_record_faults *faults);

#endif
