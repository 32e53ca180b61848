/*
 * A record as JSON, the same in both directions:
 *
 *   {"payload": any JSON, "key": BYTES, "headers": HEADERS, "partition": 0, "timestamp": 1700000000000}
 *
 * BYTES is a string (its UTF-8) or {"base64": "..."}. HEADERS is [{"name": BYTES, "value": BYTES or null}, ...], in
 * order and with repetitions, as Kafka has them; a producer may also write {"name": BYTES or null, ...}, names being
 * plain strings there. Only payload must be there; null for another member is as if it were not.
 *
 * In what is consumed, "offset" stands first, a payload that is no JSON has "encoding" ("text" or "base64") behind it,
 * and key and headers are there only when the record has some.
 */
#ifndef REST_MESSAGE_H
#define REST_MESSAGE_H

#include "lambda/json.h"
#include "lambda/rest.h"
#include "lambda/writer.h"

#define REST_HEADERS_MAX 1000 /* of one record */

struct rest_message {
    struct kp_new_record record; /* slices lie in the request's body, or in the arena */
    int32_t partition;           /* -1: not said */
    bool timed;                  /* the timestamp is the client's */
};

/* The members of an object that is one message; `messages` is for a body, which may be several. */
enum { REST_MEMBER_PAYLOAD, REST_MEMBER_KEY, REST_MEMBER_HEADERS, REST_MEMBER_PARTITION, REST_MEMBER_TIMESTAMP,
       REST_MEMBER_MESSAGES, REST_MEMBER_COUNT };
void rest_message_members(struct rest_json_member members[REST_MEMBER_COUNT]);

/* Reads a message from the members that were found. False: *error says why. */
bool rest_message_read(const struct rest_json_member members[REST_MEMBER_COUNT], struct kp_arena *arena,
                       int64_t now_ms, struct rest_message *message, enum rest_error *error);

/* How a message is written. */
struct rest_message_form {
    bool line;             /* without line breaks */
    bool partitioned;      /* with its partition */
    int32_t partition;
};
void rest_message_write(struct rest_writer *writer, const struct kp_record *record,
                        const struct rest_message_form *form);

#endif
