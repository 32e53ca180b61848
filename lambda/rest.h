/*
 * The HTTP door's semantics, without sockets: a request in, an answer out. The gateway's HTTP port and the Lambda
 * runtime are its two callers; neither knows what a topic is, and this knows neither of framing nor of connections.
 *
 *   caller                                        here
 *   fills call->request, sets call->done   --->   rest_handle: routes, checks, asks the engine
 *   reads call->response, releases it      <---   call->done(call), once, from the loop, never inside rest_handle
 *
 * Who owns what:
 *  - The call and everything that its request names belong to the caller and stay put until done has run. The body's
 *    blob is borrowed, not referenced: what is stored of it is copied before rest_handle returns.
 *  - The answer's body belongs to the caller from done on: it sends or drops it, and calls rest_response_release.
 *  - There is no cancel. When the client has gone, the caller says so in its own struct and waits; the request is
 *    carried out all the same (its record may be half way into the store), and done drops the answer. What only waits
 *    for records is told by rest_call_hurry, and is answered soon.
 *  - Every call is answered within options.timeout_ms (a long-poll: after its wait), whatever the store does. With a
 *    timeout_ms of its own, a call is answered within that, waits and streams included.
 *
 * Answers in pieces. A consume may be asked to follow a partition (server-sent events, or lines of JSON). A caller that
 * can send an answer while it grows sets begun and piece; then
 *
 *   begun(call)           response has status, content type and headers, and no body; at most once
 *   piece(call, &chain)   bytes of the body, as often as there are some. True: there is room for more. False: the next
 *                         one comes only after the caller has said rest_call_resume.
 *   done(call)            the end; response.body is empty. call->cut: memory ran out, the answer is not whole and must
 *                         not look so
 *
 * all from the loop, never inside rest_handle or rest_call_*. An answer that need not grow comes by done alone, also to
 * such a caller (call->streaming says which it was). A caller that sets neither gets what a stream would hold by the
 * end of its wait, as one bounded answer: a client of server-sent events then asks again, with Last-Event-ID.
 *
 * What is the caller's: reading and checking the message's framing, 411 and 413 for the body (rest_response_error has
 * the words for these), the Date, Content-Length (= response.body.bytes) and Connection headers. HEAD is answered as
 * GET: the caller sends the length and leaves the body out. The requests of one connection are handed over one after
 * the other (the next when the last one is done): that is what keeps them in order.
 */
#ifndef REST_H
#define REST_H

#include "protocol/bytes/chain.h"
#include "storage/engine.h"

struct rest_header {
    struct kp_slice name, value; /* as received; names are compared without regard to case */
};

struct rest_request {
    struct kp_slice method; /* "GET", as received */
    struct kp_slice path;   /* "/topics/t/produce", percent-encoded as received */
    struct kp_slice query;  /* what follows the '?', without it; may be absent */
    const struct rest_header *headers;
    size_t header_count;
    struct kp_piece body; /* de-chunked; bytes.len 0: none */
};

#define REST_ANSWER_HEADERS_MAX 4

struct rest_answer_header {
    const char *name; /* "Allow", "Retry-After" */
    char value[48];
};

struct rest_response {
    int status;
    const char *content_type; /* static; "application/json" */
    struct rest_answer_header headers[REST_ANSWER_HEADERS_MAX];
    size_t header_count;
    struct kp_chain body; /* body.failed: memory ran out, close the connection instead of answering */
};

struct rest_call {
    struct rest_request request;
    uint64_t order; /* the connection: its records are stored in the order of the calls; 0: none */
    int64_t timeout_ms; /* answered within this time, also what waits or streams; 0: options.timeout_ms and the wait */
    struct rest_response response; /* out; nothing needs to be set before */
    void (*done)(struct rest_call *call);
    /* These may be NULL; the top of this file says when they run. */
    void (*begun)(struct rest_call *call);
    bool (*piece)(struct rest_call *call, struct kp_chain *piece); /* moves the bytes out, or releases them */
    /* From now on the call only waits for records to come, and occupies nothing but its memory. At most once. */
    void (*waits)(struct rest_call *call);
    bool streaming, cut;            /* out */
    struct rest_exchange *exchange; /* of this module, while the call is under way; else NULL */
};

struct rest_options {
    int64_t timeout_ms;       /* a call is answered within this time; default 15 s */
    size_t answer_bytes_max;  /* a consume's answer takes no further record beyond this; default 4 MiB */
    size_t inflate_bytes_max; /* records of one compressed batch, inflated; default 32 MiB */
    size_t memory_bytes_max;  /* a consume is refused (503) while all blobs of the process hold more; default 512 MiB */
    size_t waits_max;         /* calls that wait or stream at once; a further one is refused (503); default 10,000 */
    int64_t stream_ms_max;    /* a stream ends by itself after this time, and is resumed; default 1 h */
    int64_t ping_ms;          /* a stream of events says that it lives after so much silence; default 15 s */
};
struct rest_options rest_options_default(void);

struct rest;

/* Neither loop nor engine is owned; both must outlive it. NULL: out of memory. */
struct rest *rest_new(struct st_loop *loop, struct st_engine *engine, const struct rest_options *options);
/* Forgets calls under way without running their done. The engine must have no operation left (closed and freed, or
 * freed alone): operations live in memory that this frees. */
void rest_free(struct rest *rest);

/* False when memory is out: done will not run, and the caller answers REST_OVERLOADED itself. */
bool rest_handle(struct rest *rest, struct rest_call *call);
/* There is room for the next piece. */
void rest_call_resume(struct rest_call *call);
/* The client has gone, or the caller cannot wait: a call that waits is answered with what there is, a stream ends. A
 * call that does neither is not affected. May be said of any call before its done. */
void rest_call_hurry(struct rest_call *call);
/* The same for all calls, also for those to come: the process ends. */
void rest_drain(struct rest *rest);

/* Splits a request target ("/a/b?c=d", or "http://host/a/b?c=d" as a proxy is asked) into path and query. False when
 * it is neither. */
bool rest_target_split(struct kp_slice target, struct kp_slice *path, struct kp_slice *query);

/* Every error that this layer, or a caller for it, answers: errors.def. */
enum rest_error {
#define ERROR(name, status, code, text) REST_##name,
#include "lambda/errors.def"
#undef ERROR
};

int rest_error_status(enum rest_error error);
const char *rest_error_text(enum rest_error error);
/* Makes `response` (overwriting, not releasing) {"error":"sentence","code":"snake_case"} with its status. */
void rest_response_error(struct rest_response *response, enum rest_error error);
void rest_response_header(struct rest_response *response, const char *name, const char *value);
void rest_response_release(struct rest_response *response);

#endif
