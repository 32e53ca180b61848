/* What all connections of the HTTP door share: the handlers, a budget of memory for requests, the date. */
#ifndef GW_HTTP_DOOR_H
#define GW_HTTP_DOOR_H

#include "gateway/http/http.h"
#include "lambda/rest.h"

#define GW_HTTP_DATE_MAX 40

struct gw_http_session;
struct gw_http_request;

struct gw_http {
    struct gateway *gateway;
    struct rest *rest;
    bool (*handle)(struct rest *rest, struct rest_call *call); /* rest_handle; tests put their own in its place */
    struct gw_http_session *sessions;       /* every connection */
    struct gw_http_request *active, *spare; /* every request; requests kept for reuse */
    size_t spare_count;
    struct gw_http_session *waiting, **waiting_end; /* connections to be read from when a call is done, in order */
    size_t calls;         /* with the handlers, at most queued.max.requests */
    size_t request_bytes; /* memory of requests, at most http.queued.max.bytes */
    int64_t inspected_ns; /* when slow requests were last looked for */
    int64_t date_s;       /* Unix time that `date` says */
    char date[GW_HTTP_DATE_MAX];
};

/* False when the budget is used up. */
bool gw_http_charge(struct gw_http *door, size_t bytes);
void gw_http_refund(struct gw_http *door, size_t bytes);

#endif
