/*
 * Answers of the runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html), HTTP/1.1 read as it
 * comes in: a pure function over bytes. However they are cut into pieces, the result is the same.
 *
 * What the other side claims is capped before memory is taken: the head by REST_REPLY_HEAD_MAX, the body by the caller.
 * A body that is announced or grows larger than that is not read, but the head is known all the same, so that an
 * invocation with too large an event can still be answered.
 */
#ifndef REST_REPLY_H
#define REST_REPLY_H

#include "protocol/bytes/blob.h"

#define REST_REPLY_HEAD_MAX (16 * 1024)
#define REST_REQUEST_ID_MAX 128

enum rest_reply_step {
    REST_REPLY_MORE,
    REST_REPLY_DONE,
    REST_REPLY_TOO_LARGE, /* the head is known, the connection is of no further use */
    REST_REPLY_BAD,       /* no HTTP/1.1, or more memory than there is */
};

struct rest_reply {
    int status;
    bool keep_alive;
    char request_id[REST_REQUEST_ID_MAX + 1]; /* Lambda-Runtime-Aws-Request-Id; "": none, or none that fits a path */
    char trace_id[256];                       /* Lambda-Runtime-Trace-Id; "": none, or too long */
    int64_t deadline_ms;                      /* Lambda-Runtime-Deadline-Ms, Unix time; 0: none */
    struct kp_blob *body;                     /* the caller may take it and leave NULL */
    size_t body_len;
    /* the reader's own */
    enum { REPLY_HEAD, REPLY_LENGTH, REPLY_CHUNK_SIZE, REPLY_CHUNK, REPLY_CHUNK_END, REPLY_TRAILER, REPLY_CLOSE } state;
    size_t body_max;
    uint64_t left;          /* of the body or the chunk */
    bool has_length, chunked;
    size_t line_len;        /* of the line that began with the last feed: chunk sizes and trailers */
    size_t head_len;
    char head[REST_REPLY_HEAD_MAX];
};

void rest_reply_init(struct rest_reply *reply, size_t body_max);
/* Takes the next bytes; *used of them belong to this answer. */
enum rest_reply_step rest_reply_feed(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used);
/* The connection is closed: DONE when that is how the body ends, else BAD. */
enum rest_reply_step rest_reply_end(const struct rest_reply *reply);
void rest_reply_release(struct rest_reply *reply);

#endif
