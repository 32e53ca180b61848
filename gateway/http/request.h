/*
 * The memory of one request: what was received of it, its head taken apart, its body, and the call that carries it to
 * the handlers. It exists from a request's first byte until it is answered, so that an idle connection has none.
 *
 * Bytes are received into `input`, a small buffer. A body that fits behind its head stays there; a longer one gets a
 * buffer of its own, which is received into directly and grows as bytes really come, never because a length was
 * claimed. A chunked body is received into `input` and copied out of its chunks.
 */
#ifndef GW_HTTP_REQUEST_H
#define GW_HTTP_REQUEST_H

#include "gateway/http/door.h"
#include "gateway/http/parser.h"

#define GW_HTTP_INPUT_FIRST (4 * 1024) /* enough for nearly every request */

struct gw_http_request {
    struct rest_call call;
    struct gw_http *door;
    bool counted; /* among door->calls */
    struct gw_http_session *session; /* NULL: the connection has gone while the call was under way */
    struct gw_http_parser parser;
    uint8_t *input; /* first, or larger memory of its own */
    size_t input_size;
    size_t used;  /* bytes in input */
    size_t taken; /* of them part of this request; what follows belongs to the next */
    struct gw_http_chunks chunks;
    struct kp_blob *body; /* NULL: in input, or there is none */
    size_t body_used;
    struct gw_http_request *next, **link;
    uint8_t first[GW_HTTP_INPUT_FIRST];
};

/* NULL: no memory, or none left in the budget. */
struct gw_http_request *gw_http_request_new(struct gw_http *door);
void gw_http_request_free(struct gw_http_request *request);
/* Drops what has been answered and keeps the bytes that follow it. */
void gw_http_request_next(struct gw_http_request *request);

/* Parses what is there of the head. */
enum gw_http_step gw_http_request_head(struct gw_http_request *request);
/* Goes on with the body behind a complete head. GW_HTTP_BAD: parser.error says why. */
enum gw_http_step gw_http_request_body(struct gw_http_request *request);
/* Where further bytes of the head or the body go, and how many; 0: out of memory. */
size_t gw_http_request_room(struct gw_http_request *request, uint8_t **into);
/* n bytes were put there. */
void gw_http_request_received(struct gw_http_request *request, size_t n);
/* The complete body. */
struct kp_piece gw_http_request_payload(const struct gw_http_request *request);

/* Frees the requests kept for reuse, and those whose call never came back. */
void gw_http_requests_release(struct gw_http *door);

#endif
