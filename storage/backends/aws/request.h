/*
 * One signed request to an AWS service: credentials, SigV4, clock skew and the inner retries (SDK "standard" mode:
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html).
 *
 * Retries send the identical request again, over a new connection, after full jitter, while the budget of the client
 * (a token bucket over all requests) and the request's own time last. The layer above has its own loop with the commit
 * rules: here a few tries hide a hiccup, they do not decide anything. What is told at the end is the sum of all tries:
 * ST_AWS_REFUSED only when every one of them surely had no effect.
 *
 * A request that may be hedged is sent a second time while its first try takes long (hedge.h): that is no retry, but it
 * counts as a try.
 */
#ifndef ST_AWS_REQUEST_H
#define ST_AWS_REQUEST_H

#include "storage/backends/aws/credentials.h"
#include "storage/backends/aws/hedge.h"
#include "storage/backends/aws/http.h"
#include "storage/backends/aws/sigv4.h"

#define ST_AWS_HEADERS_MAX 12
#define ST_AWS_TARGET_MAX 1536 /* path and query of a request, escaped */
#define ST_AWS_NO_CREDENTIALS "NoCredentials" /* the code of a request that could not be signed for want of keys */

/* The budget of inner retries: a try after a throttle costs 5, any other 14; what succeeds gives back. When the budget
 * is gone, requests are tried once, so that a service in trouble does not see three times the load. */
#define ST_AWS_RETRY_TOKENS_MAX 500

/* What all requests of one process share. All zero but the first four members to begin with. */
struct st_aws_client {
    struct st_loop *loop;
    struct st_http_client *http;
    struct st_aws_credentials *credentials;
    char region[64];
    int64_t skew_ms;       /* the services' clock less ours, learned from Date when a signature was refused for it */
    unsigned retry_spent;  /* of ST_AWS_RETRY_TOKENS_MAX */
};

/* One service at one endpoint. All zero but the first four members to begin with. */
struct st_aws_service {
    struct st_aws_client *client;
    char name[16];         /* as SigV4 calls it: "s3", "dynamodb" */
    char endpoint[320];    /* "https://host[:port]", without a path */
    bool unsigned_bodies;  /* bodies are signed as UNSIGNED-PAYLOAD, which S3 allows: else they are hashed */
    struct st_sigv4_key key; /* the signing key of the day; this module's */
};

enum st_aws_end {
    ST_AWS_ANSWERED, /* an answer that is no retriable error stands: status, code, body */
    ST_AWS_REFUSED,  /* surely without effect: not sent, throttled, no credentials */
    ST_AWS_UNKNOWN,  /* perhaps with effect, or to come into effect yet; status and code are those of the last answer,
                      * if there was one: a refusal after a try whose outcome is unknown is told like this */
};

/* The caller owns it, and what it names, until done, which runs once, from the loop. */
struct st_aws_request {
    struct st_aws_service *service;
    const char *method;
    char target[ST_AWS_TARGET_MAX]; /* "/path?query", escaped as it goes over the wire, query sorted by name */
    const char *headers[ST_AWS_HEADERS_MAX]; /* "Name: value", signed; Host, Date and the signature are made here */
    size_t header_count;
    struct kp_slice body;
    int64_t timeout_ms;    /* of all tries together */
    int64_t try_ms;        /* of one try */
    int64_t stall_ms;      /* of one try, as in st_http_request; 0: none */
    unsigned tries_max;    /* 1: no retry here; signing again for clock or keys, at most once each, is no retry */
    bool read_only;        /* it can have no effect, so its loss is ST_AWS_REFUSED; true of every GET and HEAD */
    uint8_t *into;         /* as in st_http_request */
    size_t into_size, answer_max;
    struct st_aws_hedge *hedge; /* of all requests of its kind; NULL: it is not to be sent twice. Not with `into` */
    /* out */
    enum st_aws_end end;
    int status;
    char code[64];         /* of an error: "NoSuchKey", "ConditionalCheckFailedException"; "" when there is none */
    char reason[256];      /* one sentence for people: what the service or libcurl said, never a secret */
    size_t into_len;
    struct kp_slice answer; /* good until st_aws_request_release */
    int64_t date_ms;
    unsigned tries;        /* requests sent, the second ones among them */
    void (*done)(struct st_aws_request *request);
    struct st_aws_try *state; /* these two are this module's, while it is under way */
    struct st_task task;
};

void st_aws_start(struct st_aws_request *request);
void st_aws_request_release(struct st_aws_request *request);

#endif
