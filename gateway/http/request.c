#include "gateway/http/request.h"

#include <stdlib.h>

enum {
    INPUT_LARGE = GW_HTTP_HEAD_MAX + 4 * 1024,
    INPUT_LEAST_ROOM = 1024, /* behind the head of a chunked body */
    BODY_FIRST = 64 * 1024,
    SPARE_MAX = 64,
};

/* ---- life ---- */

static void link_to(struct gw_http_request *request, struct gw_http_request **list) {
    request->next = *list;
    request->link = list;
    if (request->next != NULL) {
        request->next->link = &request->next;
    }
    *list = request;
}

static void unlink_from(struct gw_http_request *request) {
    *request->link = request->next;
    if (request->next != NULL) {
        request->next->link = request->link;
    }
}

static void reset(struct gw_http_request *request) {
    gw_http_parser_init(&request->parser);
    gw_http_chunks_init(&request->chunks);
    request->taken = 0;
    request->body_used = 0;
}

struct gw_http_request *gw_http_request_new(struct gw_http *door) {
    if (!gw_http_charge(door, sizeof(struct gw_http_request))) {
        return NULL;
    }
    struct gw_http_request *request = door->spare;
    if (request != NULL) {
        unlink_from(request);
        door->spare_count--;
    } else {
        request = malloc(sizeof *request);
    }
    if (request == NULL) {
        gw_http_refund(door, sizeof *request);
        return NULL;
    }
    request->door = door;
    request->session = NULL;
    request->input = request->first;
    request->input_size = sizeof request->first;
    request->used = 0;
    request->body = NULL;
    reset(request);
    link_to(request, &door->active);
    return request;
}

static void drop_body(struct gw_http_request *request) {
    if (request->body != NULL) {
        gw_http_refund(request->door, request->body->size);
        kp_blob_unref(request->body);
        request->body = NULL;
    }
}

void gw_http_request_free(struct gw_http_request *request) {
    struct gw_http *door = request->door;
    unlink_from(request);
    drop_body(request);
    gw_http_refund(door, sizeof *request);
    if (request->input != request->first) {
        gw_http_refund(door, request->input_size);
        free(request->input);
    }
    if (door->spare_count < SPARE_MAX) {
        door->spare_count++;
        link_to(request, &door->spare);
    } else {
        free(request);
    }
}

void gw_http_requests_release(struct gw_http *door) {
    while (door->active != NULL) {
        gw_http_request_free(door->active);
    }
    while (door->spare != NULL) {
        struct gw_http_request *request = door->spare;
        unlink_from(request);
        free(request);
    }
    door->spare_count = 0;
}

void gw_http_request_next(struct gw_http_request *request) {
    drop_body(request);
    request->used -= request->taken;
    memmove(request->input, request->input + request->taken, request->used);
    reset(request);
}

/* ---- memory ---- */

/* A larger input, within the budget; the head's slices must be found anew. */
static bool grow_input(struct gw_http_request *request) {
    if (request->input != request->first || !gw_http_charge(request->door, INPUT_LARGE)) {
        return false;
    }
    uint8_t *input = malloc(INPUT_LARGE);
    if (input == NULL) {
        gw_http_refund(request->door, INPUT_LARGE);
        return false;
    }
    memcpy(input, request->first, request->used);
    request->input = input;
    request->input_size = INPUT_LARGE;
    gw_http_parser_init(&request->parser);
    return true;
}

/* Room for more bytes of a body that may become `most` long. */
static bool grow_body(struct gw_http_request *request, size_t needed, size_t most) {
    if (request->body != NULL && needed <= request->body->size) {
        return true;
    }
    size_t size = request->body == NULL ? BODY_FIRST : request->body->size * 2;
    size = size < needed ? needed : size;
    size = size < most ? size : most;
    size_t more = request->body == NULL ? size : size - request->body->size;
    if (!gw_http_charge(request->door, more)) {
        return false;
    }
    bool grown = request->body != NULL && kp_blob_grow(request->body, request->body_used, size);
    if (request->body == NULL) {
        request->body = kp_blob_new(size);
        grown = request->body != NULL;
    }
    if (!grown) {
        gw_http_refund(request->door, more);
    }
    return grown;
}

static size_t body_max(const struct gw_http_request *request) {
    return (size_t)request->door->gateway->config->http_request_max_bytes;
}

/* ---- head and body ---- */

static enum gw_http_step bad(struct gw_http_request *request, enum rest_error error) {
    request->parser.error = error;
    return GW_HTTP_BAD;
}

enum gw_http_step gw_http_request_head(struct gw_http_request *request) {
    const struct gw_http_head *head = &request->parser.head;
    enum gw_http_step step = gw_http_parser_head(&request->parser, request->input, request->used);
    if (step == GW_HTTP_DONE && head->chunked && request->input_size - head->length < INPUT_LEAST_ROOM) {
        if (!grow_input(request)) {
            return bad(request, REST_OVERLOADED);
        }
        step = gw_http_parser_head(&request->parser, request->input, request->used);
    }
    if (step == GW_HTTP_DONE) {
        request->taken = head->length;
        if (head->content_length > body_max(request)) {
            return bad(request, REST_BODY_TOO_LARGE);
        }
    }
    return step;
}

/* The body of a known length that does not fit into the input: moves what came of it. */
static enum gw_http_step begin_large_body(struct gw_http_request *request) {
    size_t length = (size_t)request->parser.head.content_length;
    size_t there = request->used - request->taken;
    if (!grow_body(request, there, length)) {
        return bad(request, REST_OVERLOADED);
    }
    memcpy(request->body->data, request->input + request->taken, there);
    request->body_used = there;
    request->taken = request->used;
    return GW_HTTP_MORE;
}

static enum gw_http_step plain_body(struct gw_http_request *request) {
    const struct gw_http_head *head = &request->parser.head;
    size_t length = (size_t)head->content_length;
    if (request->body != NULL) {
        return request->body_used == length ? GW_HTTP_DONE : GW_HTTP_MORE;
    }
    if (length > request->input_size - head->length) {
        return begin_large_body(request);
    }
    if (request->used - head->length < length) {
        return GW_HTTP_MORE;
    }
    request->taken = head->length + length;
    return GW_HTTP_DONE;
}

static enum gw_http_step chunked_body(struct gw_http_request *request) {
    enum gw_http_step step = GW_HTTP_MORE;
    while (step == GW_HTTP_MORE && request->taken < request->used) {
        struct kp_slice in = kp_slice_of(request->input + request->taken, request->used - request->taken);
        struct kp_slice data;
        size_t used = 0;
        step = gw_http_chunks_next(&request->chunks, in, &used, &data);
        request->taken += used;
        if (data.len > body_max(request) - request->body_used) {
            return bad(request, REST_BODY_TOO_LARGE);
        }
        if (data.len > 0) {
            if (!grow_body(request, request->body_used + data.len, body_max(request))) {
                return bad(request, REST_OVERLOADED);
            }
            memcpy(request->body->data + request->body_used, data.ptr, data.len);
            request->body_used += data.len;
        }
    }
    if (step == GW_HTTP_MORE) {
        request->used = request->taken = request->parser.head.length; /* all of it was used up */
    }
    return step == GW_HTTP_BAD ? bad(request, REST_BAD_REQUEST) : step;
}

enum gw_http_step gw_http_request_body(struct gw_http_request *request) {
    return request->parser.head.chunked ? chunked_body(request) : plain_body(request);
}

size_t gw_http_request_room(struct gw_http_request *request, uint8_t **into) {
    if (request->body != NULL && !request->parser.head.chunked) {
        size_t length = (size_t)request->parser.head.content_length;
        if (!grow_body(request, request->body_used + 1, length)) {
            return 0;
        }
        *into = request->body->data + request->body_used;
        return request->body->size - request->body_used;
    }
    if (request->used == request->input_size && !grow_input(request)) {
        return 0;
    }
    *into = request->input + request->used;
    return request->input_size - request->used;
}

void gw_http_request_received(struct gw_http_request *request, size_t n) {
    if (request->body != NULL && !request->parser.head.chunked) {
        request->body_used += n;
    } else {
        request->used += n;
    }
}

struct kp_piece gw_http_request_payload(const struct gw_http_request *request) {
    const struct gw_http_head *head = &request->parser.head;
    if (request->body != NULL) {
        return (struct kp_piece){request->body, kp_slice_of(request->body->data, request->body_used)};
    }
    return (struct kp_piece){NULL, kp_slice_of(request->input + head->length,
                                                head->chunked ? 0 : (size_t)head->content_length)};
}
