/*
 * HTTP/1.1 requests over libcurl's multi interface, driven by the loop: what S3, DynamoDB, STS and the credential
 * endpoints have in common. Connections are kept and used again, one pool a client. Nothing here knows AWS, retries,
 * follows redirects, decodes contents, or reads .netrc or proxy settings of the environment.
 *
 * Caps come before allocation: an answer's headers take at most ST_HTTP_HEADERS_MAX bytes, its body what the request
 * allows. A request that was sent and not answered has an unknown outcome; which one was surely not sent is told apart.
 */
#ifndef ST_AWS_HTTP_H
#define ST_AWS_HTTP_H

#include "protocol/bytes/slice.h"
#include "storage/runtime/loop.h"

#define ST_HTTP_HEADERS_MAX (32 * 1024)

struct st_http_options {
    unsigned connections_max;  /* to one host; further requests wait. Default 64 */
    int64_t connect_timeout_ms; /* name, connection and TLS; default 2000 */
    int64_t idle_ms;           /* a connection idle for longer is not used again; default 20000 */
    const char *ca_file;       /* PEM; NULL: the system's. Read when the first TLS connection is made */
};
struct st_http_options st_http_options_default(void);

struct st_http_client;

struct st_http_client *st_http_client_new(struct st_loop *loop, const struct st_http_options *options);
/* Requests under way end with ST_HTTP_LOST or ST_HTTP_NOT_SENT before `freed` runs, from the loop. */
void st_http_client_close(struct st_http_client *client, void (*freed)(void *arg), void *arg);
/* At once, without callbacks: for what lost its process state (a crash in a test). */
void st_http_client_free(struct st_http_client *client);

enum st_http_end {
    ST_HTTP_ANSWERED,  /* status and body are whole */
    ST_HTTP_NOT_SENT,  /* surely without effect: no connection, or not one byte of the request left */
    ST_HTTP_LOST,      /* sent, at least in part, and not answered whole: reset, timeout, cut short */
    ST_HTTP_TOO_LONG,  /* the answer is longer than allowed; status is set */
    ST_HTTP_NO_MEMORY, /* surely without effect */
};

/* One request. The caller owns it and everything that it names until `done` has run, once, from the loop. */
struct st_http_request {
    const char *method;          /* "GET", "PUT", "POST", "DELETE", "HEAD" */
    const char *url;             /* sent as it is, nothing escaped, normalized or removed: SigV4 signs these bytes */
    const char *const *headers;  /* "Name: value"; Host and Content-Length are made here */
    size_t header_count;
    struct kp_slice body;        /* absent: none; read in place, also while it is sent again */
    int64_t timeout_ms;          /* from start to the whole answer */
    int64_t stall_ms;            /* without a byte in either direction; 0: no such limit */
    bool fresh;                  /* over a new connection, the name looked up anew: for retries */
    uint8_t *into;               /* where the body of a 2xx answer goes, at most into_size bytes; NULL: into `answer` */
    size_t into_size;
    size_t answer_max;           /* most bytes collected in `answer` */
    /* out */
    enum st_http_end end;
    int status;
    size_t into_len;
    struct kp_slice answer;      /* NUL-terminated; st_http_request_release frees it */
    int64_t date_ms;             /* the Date header; 0: none */
    int64_t retry_after_ms;      /* Retry-After or x-amz-retry-after; 0: none */
    char request_id[80];         /* x-amz-request-id or x-amzn-requestid, for logs; "" when absent */
    bool reused;                 /* it went over a connection that was used before */
    char reason[96];             /* of NOT_SENT and LOST, for people: what libcurl says */
    void (*done)(struct st_http_request *request);
    void *client;                /* the client's own */
};

void st_http_start(struct st_http_client *client, struct st_http_request *request);
/* Ends a request that was started and whose `done` has not run, and will not: inside libcurl, waiting for a connection,
 * or ended without having been told. When it returns nobody uses its buffers any more, its answer is released and its
 * other results say nothing: a request that was under way may have its effect all the same. Its connection, if it had
 * one, is closed. */
void st_http_cancel(struct st_http_client *client, struct st_http_request *request);
void st_http_request_release(struct st_http_request *request);

#endif
