/*
 * What a Lambda is invoked with, as a request of the HTTP door. Four front ends send HTTP, each in a form of its own:
 *
 *   API Gateway, REST API    v1   httpMethod, path (without the stage), multiValueHeaders, parameters decoded
 *   API Gateway, HTTP API    v2   requestContext.http.method, rawPath (with the stage), rawQueryString, headers joined
 *   Lambda function URL      v2   the same, without a stage; told apart by its host, *.lambda-url.*
 *   Application load balancer     v1's names, requestContext.elb, parameters as they were sent; one or many values
 *
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 * https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
 *
 * and EventBridge sends the hour of upkeep. What is none of these is said to be unknown, by name where it has one.
 *
 * Bodies arrive byte for byte: text is a JSON string, unescaped exactly; what the front end holds for binary is base64.
 */
#ifndef REST_EVENT_H
#define REST_EVENT_H

#include "lambda/rest.h"
#include "protocol/bytes/arena.h"

/* An invocation's payload is at most 6 MiB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html);
 * what is more than that here is the service's own slack. */
#define REST_EVENT_BYTES_MAX (8u << 20)
#define REST_EVENT_HEADERS_MAX 1000

enum rest_event_kind {
    REST_EVENT_REST_API,
    REST_EVENT_HTTP_API,
    REST_EVENT_FUNCTION_URL,
    REST_EVENT_LOAD_BALANCER,
    REST_EVENT_SCHEDULED,
    REST_EVENT_UNKNOWN,
};

enum rest_event_error {
    REST_EVENT_OK,
    REST_EVENT_BAD_JSON,     /* no JSON object at all */
    REST_EVENT_MISFIT,       /* `sentence` says what is wrong with it; `kind` is known all the same */
    REST_EVENT_NO_MEMORY,
};

struct rest_event {
    enum rest_event_kind kind;
    bool multi_value; /* the load balancer is set to send and take several values of a header */
    struct rest_request request; /* of the HTTP kinds; lies in the arena, which holds the body's blob too */
    const char *sentence;
};

/* Takes an event apart; everything of it then lies in the arena and none of it in `text`. */
enum rest_event_error rest_event_parse(struct kp_slice text, struct kp_arena *arena, struct rest_event *event);

static inline bool rest_event_is_http(const struct rest_event *event) {
    return event->kind <= REST_EVENT_LOAD_BALANCER;
}

#endif
