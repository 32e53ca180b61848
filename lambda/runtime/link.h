/*
 * The connection to the runtime API: one request at a time over one kept connection, on the loop.
 *
 * A process is frozen between invocations, for hours perhaps, and finds its connection as it is then. So a request
 * whose connection ends before the whole answer is sent again over a new one, a few times after a growing pause: asking
 * for the next event twice is harmless, and of an answer that arrives twice the runtime API refuses the second. A
 * streamed body cannot be sent again.
 */
#ifndef REST_LINK_H
#define REST_LINK_H

#include "lambda/runtime/reply.h"
#include "protocol/bytes/chain.h"
#include "storage/runtime/loop.h"

#define REST_LINK_TARGET_MAX 256

struct rest_link;

/* `address`: "HOST:PORT" of the environment, an IPv4 address or localhost: no name is looked up. NULL, with one
 * sentence in `message`: it is no such address, or memory is out. */
struct rest_link *rest_link_new(struct st_loop *loop, const char *address, char *message, size_t message_size);
/* A request under way is forgotten without its done. */
void rest_link_free(struct rest_link *link);

enum rest_link_end {
    REST_LINK_ANSWERED,  /* reply is whole */
    REST_LINK_TOO_LARGE, /* reply has the head of an answer whose body is too large */
    REST_LINK_LOST,      /* no answer, after all tries */
};

struct rest_link_request {
    const char *method;
    char target[REST_LINK_TARGET_MAX];
    const char *headers;   /* further lines, each with its CR LF; may be "" */
    struct kp_chain body;  /* the link's from the start on */
    bool streamed;         /* the body comes by rest_link_write; `body` is its beginning */
    size_t answer_max;
    int64_t timeout_ms;    /* of one try; 0: however long it takes */
    /* out */
    enum rest_link_end end;
    struct rest_reply *reply; /* good until the next start */
    void (*done)(struct rest_link_request *request);
    void (*room)(struct rest_link_request *request); /* streamed: what was written has gone */
};

/* done runs once, from the loop; the caller keeps the request until then. */
void rest_link_start(struct rest_link *link, struct rest_link_request *request);

/* The next bytes of a streamed body, moved out of `piece`. False: no room until `room` runs. */
bool rest_link_write(struct rest_link *link, struct kp_chain *piece);
/* Its end. trailers: lines that tell an error (each with its CR LF), or "". */
void rest_link_finish(struct rest_link *link, const char *trailers);

#endif
