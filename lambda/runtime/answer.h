/*
 * The HTTP door's answer in the form that the front end of an event wants (event.h has their documents):
 *
 *   {"statusCode":200,"headers":{"Content-Type":"application/json"},"body":"...","isBase64Encoded":false}
 *
 * A body that is UTF-8 goes as text, because a REST API passes base64 on as it is unless it was told of binary types;
 * only what is no text is base64. A load balancer set to several values takes multiValueHeaders and nothing else.
 *
 * A streamed answer has no envelope: the same without body, eight NUL bytes, and then the body's bytes as they are
 * (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html, "Response streaming").
 */
#ifndef REST_ANSWER_H
#define REST_ANSWER_H

#include "lambda/runtime/event.h"

/* What a Lambda may give back in one piece (6 MiB). */
#define REST_ANSWER_BYTES_MAX (6u << 20)
/* Escaping at most doubles the bytes of JSON, so an answer of this many always fits into its envelope. */
#define REST_ANSWER_BODY_BYTES ((REST_ANSWER_BYTES_MAX - 8192) / 2)

enum rest_answer_end { REST_ANSWER_OK, REST_ANSWER_TOO_LARGE, REST_ANSWER_NO_MEMORY };

/* The whole answer into `out`; `response` stays as it is. */
enum rest_answer_end rest_answer_whole(const struct rest_event *event, const struct rest_response *response,
                                       struct kp_chain *out);
/* What goes before a streamed body; out->failed when memory is out. */
void rest_answer_prelude(const struct rest_response *response, struct kp_chain *out);

#endif
