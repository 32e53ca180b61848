/*
 * Method and path to handler. A path is its segments, compared byte for byte. Decided here:
 *  - One slash at the end is ignored: "/health/" is "/health". Any other empty segment is a segment: "//health" is
 *    nothing, "/topics//produce" is a topic without a name.
 *  - One segment in front is taken for the stage of an API Gateway deployment ("/v1/health") and ignored, when it looks
 *    like one (1 to 128 of [a-zA-Z0-9_$-]) and is not itself where a route begins.
 *  - Dots are no navigation: "/topics/../produce" is a topic named "..", which is no topic name.
 */
#ifndef REST_ROUTER_H
#define REST_ROUTER_H

#include "lambda/rest.h"

struct rest_exchange;

struct rest_route {
    const char *method, *pattern;
    void (*start)(struct rest_exchange *exchange);
};

struct rest_match {
    const struct rest_route *route; /* NULL: none for this method */
    struct kp_slice topic;          /* undecoded; ptr NULL when the pattern has none */
    char allow[48];                 /* without a route: methods that this path takes, "GET, HEAD"; "": none */
};

void rest_match(struct kp_slice method, struct kp_slice path, struct rest_match *match);

#endif
