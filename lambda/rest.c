#include "lambda/exchange.h"

#include <stdlib.h>
#include <strings.h>

struct rest_options rest_options_default(void) {
    return (struct rest_options){
        .timeout_ms = 15000,
        .answer_bytes_max = 4 << 20,
        .inflate_bytes_max = 32 << 20,
        .memory_bytes_max = 512 << 20,
        .waits_max = 10000,
        .stream_ms_max = 3600 * 1000,
        .ping_ms = 15000,
    };
}

struct rest *rest_new(struct st_loop *loop, struct st_engine *engine, const struct rest_options *options) {
    struct rest *rest = calloc(1, sizeof *rest);
    if (rest != NULL) {
        rest->loop = loop;
        rest->engine = engine;
        rest->options = *options;
    }
    return rest;
}

static void free_all(struct st_loop *loop, struct rest_exchange *exchange) {
    while (exchange != NULL) {
        struct rest_exchange *next = exchange->next;
        st_timer_stop(loop, &exchange->deadline);
        st_timer_stop(loop, &exchange->wake); /* its waiter went with the engine */
        st_defer_cancel(loop, &exchange->going);
        if (exchange->answer.queued) {
            st_defer_cancel(loop, &exchange->answer);
            rest_response_release(&exchange->call->response); /* nobody will be told of it */
        }
        if (exchange->release != NULL) {
            exchange->release(exchange);
        }
        free(exchange);
        exchange = next;
    }
}

void rest_free(struct rest *rest) {
    if (rest != NULL) {
        free_all(rest->loop, rest->active);
        free_all(rest->loop, rest->spare);
        free(rest);
    }
}

bool rest_target_split(struct kp_slice target, struct kp_slice *path, struct kp_slice *query) {
    static const char scheme[] = "http://";
    if (target.len > sizeof scheme - 1 && strncasecmp((const char *)target.ptr, scheme, sizeof scheme - 1) == 0) {
        size_t at = sizeof scheme - 1;
        while (at < target.len && target.ptr[at] != '/' && target.ptr[at] != '?') {
            at++;
        }
        target = kp_slice_of(target.ptr + at, target.len - at);
        if (target.len == 0 || target.ptr[0] == '?') { /* "http://host?a=b": the path is "/" (RFC 9112, 3.2.2) */
            *path = KP_SLICE_LIT("/");
            *query = target.len > 0 ? kp_slice_of(target.ptr + 1, target.len - 1) : (struct kp_slice){NULL, 0};
            return true;
        }
    }
    if (target.len == 0 || target.ptr[0] != '/') {
        return false;
    }
    const uint8_t *mark = memchr(target.ptr, '?', target.len);
    size_t len = mark == NULL ? target.len : (size_t)(mark - target.ptr);
    *path = kp_slice_of(target.ptr, len);
    *query = mark == NULL ? (struct kp_slice){NULL, 0} : kp_slice_of(mark + 1, target.len - len - 1);
    return true;
}
