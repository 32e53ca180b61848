/*
 * From messages to the parts of one append: each message gets its partition, those of one partition become as few
 * batches as the topic's limit on a batch allows, in the order in which they stand in the request.
 *
 * A message's partition is the one that it names, else the one that its key belongs to, else 0.
 */
#ifndef REST_PARTS_H
#define REST_PARTS_H

#include "lambda/message.h"

#define REST_MESSAGES_MAX 10000 /* of one request */
#define REST_PARTS_MAX ST_KEYED_PARTS_MAX /* batches of one append: their facts fit into one entry */

struct rest_parts {
    struct kp_arena arena;
    struct st_append_part *parts;
    size_t count;
    uint32_t *part_of, *place_in; /* by message: which part it is in, and as which of its records */
};

enum rest_parts_result {
    REST_PARTS_OK,
    REST_PARTS_NO_PARTITION, /* a message names a partition that the topic does not have */
    REST_PARTS_FAR,          /* a client's timestamp is further from now than the topic allows */
    REST_PARTS_TOO_LARGE,    /* one message is larger than the topic takes */
    REST_PARTS_TOO_MANY,
    REST_PARTS_NO_MEMORY,
};

/* Makes the parts for this topic. Nothing is kept when the result is not OK. */
enum rest_parts_result rest_parts_make(struct rest_parts *parts, const struct st_topic *topic,
                                       const struct rest_message *messages, size_t count, int64_t now_ms);
/* May be called again, and of zeroed memory. */
void rest_parts_release(struct rest_parts *parts);

#endif
