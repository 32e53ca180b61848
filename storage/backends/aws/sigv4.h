/*
 * Signature Version 4: one header that proves a request to be ours and unchanged
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
 *
 * A pure function of request, keys and time. The target is signed as it goes over the wire, so it must be escaped
 * already: every byte but A-Z a-z 0-9 - . _ ~ as %XX in capitals, '/' in the path excepted, and '=' and '&' where they
 * separate parameters. What is not is refused, because the service would escape it and find another signature.
 */
#ifndef ST_AWS_SIGV4_H
#define ST_AWS_SIGV4_H

#include "storage/backends/aws/credentials.h"

#define ST_SIGV4_HEADERS_MAX 16
#define ST_SIGV4_PARAMETERS_MAX 16
#define ST_SIGV4_TEXT_MAX (16 * 1024)
#define ST_SIGV4_HASH_MAX 65 /* SHA-256 in hex, with the NUL */
#define ST_SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct st_sigv4 {
    const char *method;
    const char *target;              /* "/path?query"; parameters in any order */
    const char *host;                /* the Host header as it is sent */
    const char *const *headers;      /* "Name: value": all of them are signed */
    size_t header_count;
    const char *payload;             /* the body's SHA-256 in hex, or ST_SIGV4_UNSIGNED */
    bool payload_header;             /* sent and signed as x-amz-content-sha256, as S3 demands */
    bool escape_path;                /* the path once more: every service but S3 does so */
    int64_t time_ms;                 /* Unix, of the service's clock */
    const char *region, *service;
    const struct st_aws_keys *keys;
};

/* A signing key serves for a day, a region, a service and one generation of keys. All zero: none yet. */
struct st_sigv4_key {
    char scope[128]; /* "20150830/us-east-1/s3/aws4_request" */
    uint64_t generation;
    uint8_t key[32];
};

/* What is sent beside the signed headers, each "Name: value"; "": not sent. */
struct st_sigv4_headers {
    char date[40];
    char payload[96];
    char token[ST_AWS_TOKEN_MAX + 32];
    char authorization[2048];
};

/* `key` is used if it fits and made anew if it does not. False, with nothing to send: the target is not escaped, there
 * are too many headers or parameters, a text does not fit, or memory is out. */
bool st_sigv4_sign(const struct st_sigv4 *request, struct st_sigv4_key *key, struct st_sigv4_headers *out);

/* The texts on the way, for tests: what is hashed, and what is signed. */
struct st_sigv4_text {
    char bytes[ST_SIGV4_TEXT_MAX]; /* NUL-terminated */
    size_t len;
    bool full;
};
bool st_sigv4_canonical(const struct st_sigv4 *request, struct st_sigv4_text *canonical);
bool st_sigv4_string_to_sign(const struct st_sigv4 *request, struct st_sigv4_text *text);

/* SHA-256 of a body, in hex. False: no memory. */
bool st_sigv4_hash(struct kp_slice body, char hex[ST_SIGV4_HASH_MAX]);

#endif
