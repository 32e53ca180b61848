#include "gateway/http/door.h"
#include "gateway/http/request.h"
#include "gateway/http/session.h"
#include "storage/runtime/metrics.h"

#include <stdlib.h>

bool gw_http_charge(struct gw_http *door, size_t bytes) {
    size_t most = (size_t)door->gateway->config->http_queued_max_bytes;
    if (bytes > most || door->request_bytes > most - bytes) {
        return false;
    }
    door->request_bytes += bytes;
    st_metrics.http_request_bytes = (int64_t)door->request_bytes;
    return true;
}

void gw_http_refund(struct gw_http *door, size_t bytes) {
    door->request_bytes -= bytes;
    st_metrics.http_request_bytes = (int64_t)door->request_bytes;
}

bool gw_http_open(struct gateway *gateway) {
    struct gw_http *door = calloc(1, sizeof *door);
    if (door == NULL) {
        return false;
    }
    struct rest_options options = rest_options_default();
    options.timeout_ms = gateway->config->request_timeout_ms;
    /* Each that waits keeps its request: half of the memory for requests is for those that do not. */
    size_t most = (size_t)gateway->config->http_queued_max_bytes / 2 / sizeof(struct gw_http_request);
    options.waits_max = most < options.waits_max ? most : options.waits_max;
    door->gateway = gateway;
    door->date_s = -1;
    door->waiting_end = &door->waiting;
    door->handle = rest_handle;
    door->rest = rest_new(gateway->loop, gateway->engine, &options);
    if (door->rest == NULL) {
        free(door);
        return false;
    }
    gateway->http = door;
    return true;
}

bool gw_http_accept(void *gateway, struct gw_conn *conn) {
    return gw_http_session_new(((struct gateway *)gateway)->http, conn);
}

void gw_http_drain(struct gateway *gateway) {
    if (gateway->http != NULL) {
        gw_http_sessions_drain(gateway->http);
        rest_drain(gateway->http->rest);
    }
}

void gw_http_free(struct gateway *gateway) {
    struct gw_http *door = gateway->http;
    if (door == NULL) {
        return;
    }
    gateway->http = NULL;
    rest_free(door->rest);
    gw_http_requests_release(door);
    free(door);
}
