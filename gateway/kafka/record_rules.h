/*
 * What a topic's configuration demands of the records in a batch: keys, when it is compacted, and times within
 * message.timestamp.before.max.ms and message.timestamp.after.max.ms of now. The engine enforces the rest.
 *
 * A batch is opened (and inflated) only when its header cannot show that all is well: for most topics never.
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

/* KP_ERROR_NONE in faults->error when the batch may be stored. */
void gw_record_rules_check(struct gw_exchange *x, const struct st_topic *topic, const struct kp_batch *batch,
                           struct gw_record_faults *faults);

#endif
