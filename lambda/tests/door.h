/* Sends requests through rest_handle and keeps the answer as text. Needs the loop and the engine of the test. */
#ifndef REST_TESTS_DOOR_H
#define REST_TESTS_DOOR_H

#include "lambda/rest.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "virtual_loop.h"

struct door {
    struct virtual_clock clock;
    struct st_loop *loop;
    struct rest *rest;
    struct rest_call call;
    bool answered;
    int status;
    char *body; /* NUL-terminated */
    size_t body_len;
    const struct rest_header *headers; /* of the next requests */
    size_t header_count;
    int64_t timeout_ms;
    bool streams; /* takes answers in pieces; they are gathered in body */
    bool no_room; /* ... and has no room for a further one */
    bool begun, waits;
    unsigned pieces;
};

static char *chain_text(const struct kp_chain *chain) {
    char *text = malloc(chain->bytes + 1);
    assert_non_null(text);
    size_t at = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(text + at, chain->pieces[i].bytes.ptr, chain->pieces[i].bytes.len);
        at += chain->pieces[i].bytes.len;
    }
    assert_int_equal(at, chain->bytes);
    text[at] = 0;
    return text;
}

static void door_done(struct rest_call *call) {
    struct door *door = ST_OWNER(call, struct door, call);
    assert_false(door->answered);
    assert_false(call->response.body.failed);
    assert_null(call->exchange);
    door->answered = true;
    door->status = call->response.status;
    assert_int_equal(call->streaming, door->begun);
    if (call->streaming) {
        assert_int_equal(call->response.body.bytes, 0);
        assert_false(call->cut);
        return;
    }
    free(door->body);
    door->body = chain_text(&call->response.body);
    door->body_len = call->response.body.bytes;
    rest_response_release(&call->response);
}

static void door_waits(struct rest_call *call) {
    struct door *door = ST_OWNER(call, struct door, call);
    assert_false(door->waits || door->answered);
    door->waits = true;
}

static void door_begun(struct rest_call *call) {
    struct door *door = ST_OWNER(call, struct door, call);
    assert_false(door->begun || door->answered);
    assert_int_equal(call->response.body.bytes, 0);
    door->begun = true;
    free(door->body);
    door->body = calloc(1, 1);
    assert_non_null(door->body);
    door->body_len = 0;
}

static bool door_piece(struct rest_call *call, struct kp_chain *piece) {
    struct door *door = ST_OWNER(call, struct door, call);
    assert_true(door->begun && !door->answered && !piece->failed);
    char *text = chain_text(piece), *all = realloc(door->body, door->body_len + piece->bytes + 1);
    assert_non_null(all);
    memcpy(all + door->body_len, text, piece->bytes + 1);
    door->body = all;
    door->body_len += piece->bytes;
    door->pieces += piece->bytes > 0;
    free(text);
    kp_chain_release(piece);
    kp_chain_init(piece);
    return !door->no_room;
}

/* Hands the request over; it must not be answered before the loop runs. */
static void door_begin(struct door *door, const char *method, const char *target, struct kp_slice body) {
    memset(&door->call, 0, sizeof door->call);
    memset(&door->call.response, 0xa5, sizeof door->call.response); /* what the caller need not set is not looked at */
    door->call.request = (struct rest_request){.method = kp_slice_cstr(method), .body = {NULL, body}};
    assert_true(rest_target_split(kp_slice_cstr(target), &door->call.request.path, &door->call.request.query));
    door->call.order = 7;
    door->call.request.headers = door->headers;
    door->call.request.header_count = door->header_count;
    door->call.timeout_ms = door->timeout_ms;
    door->call.done = door_done;
    door->call.waits = door_waits;
    door->call.begun = door->streams ? door_begun : NULL;
    door->call.piece = door->streams ? door_piece : NULL;
    door->answered = door->begun = door->waits = false;
    door->pieces = 0;
    assert_true(rest_handle(door->rest, &door->call));
    assert_false(door->answered);
}

static inline int door_ask(struct door *door, const char *method, const char *target, struct kp_slice body) {
    door_begin(door, method, target, body);
    assert_true(virtual_run(door->loop, &door->clock, &door->answered, 60 * ST_SECOND));
    return door->status;
}

static inline int door_get(struct door *door, const char *target) {
    return door_ask(door, "GET", target, (struct kp_slice){NULL, 0});
}

static inline int door_post(struct door *door, const char *target, const char *body) {
    return door_ask(door, "POST", target, kp_slice_cstr(body));
}

/* NULL when the last answer had no such header. */
static inline const char *door_header(const struct door *door, const char *name) {
    for (size_t i = 0; i < door->call.response.header_count; i++) {
        if (strcmp(door->call.response.headers[i].name, name) == 0) {
            return door->call.response.headers[i].value;
        }
    }
    return NULL;
}

/* The last answer is {"error":"...","code":"<code>"} with this status. */
static inline void assert_error(const struct door *door, int status, const char *code) {
    char end[128];
    snprintf(end, sizeof end, "\",\"code\":\"%s\"}", code);
    size_t len = strlen(end);
    assert_int_equal(door->status, status);
    if (strncmp(door->body, "{\"error\":\"", 10) != 0 || door->body_len < len ||
        strcmp(door->body + door->body_len - len, end) != 0) {
        fail_msg("%s is not an error of code %s", door->body, code);
    }
    assert_int_equal(door_header(door, "Retry-After") != NULL, status == 503);
}

#endif
