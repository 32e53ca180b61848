/*
 * One place where credentials may come from, and what all such places need. credentials.c asks the sources in order;
 * a source knows nothing of the others, of caching or of expiry.
 */
#ifndef ST_AWS_CREDENTIAL_SOURCE_H
#define ST_AWS_CREDENTIAL_SOURCE_H

#include "storage/backends/aws/credentials.h"

enum st_credential_end {
    ST_CREDENTIAL_ABSENT, /* nothing names this source: the next one is asked; reason says what is missing */
    ST_CREDENTIAL_FOUND,  /* keys are set */
    ST_CREDENTIAL_FAILED, /* it is named but gave nothing: no other may take its place, it would be somebody else */
};

#define ST_CREDENTIAL_REASON_MAX 224
#define ST_CREDENTIAL_URL_MAX 1024
#define ST_CREDENTIAL_HEADERS_MAX 3
#define ST_CREDENTIAL_HEADER_MAX (ST_AWS_TOKEN_MAX + 64)
#define ST_CREDENTIAL_ANSWER_MAX (64 * 1024)

/* One fetch from one source. */
struct st_credential_fetch {
    struct st_loop *loop;
    struct st_http_client *http;
    const char *region;
    /* Runs once, perhaps inside the call that began it. */
    void (*done)(struct st_credential_fetch *fetch, enum st_credential_end end);
    /* out */
    struct st_aws_keys keys; /* generation is not set */
    int64_t date_ms;         /* the clock that expires_ms is of; 0: this machine's */
    char reason[ST_CREDENTIAL_REASON_MAX];
    /* the source's own, while it is under way */
    struct st_http_request request;
    void (*answered)(struct st_credential_fetch *fetch);
    void (*then)(struct st_credential_fetch *fetch); /* of IMDS: what the session is for */
    char url[ST_CREDENTIAL_URL_MAX];
    char headers[ST_CREDENTIAL_HEADERS_MAX][ST_CREDENTIAL_HEADER_MAX];
    const char *header_list[ST_CREDENTIAL_HEADERS_MAX];
    size_t header_count;
    char *body; /* malloc'ed */
    size_t body_len;
};

struct st_credential_source {
    const char *name; /* for logs */
    void (*fetch)(struct st_credential_fetch *fetch);
};

extern const struct st_credential_source st_credential_environment, st_credential_profile, st_credential_web_identity,
    st_credential_container, st_credential_imds;

/* Ends the fetch: clears what held secrets, but for the keys found, then calls done. The reason is a format. */
void st_credential_found(struct st_credential_fetch *fetch);
void st_credential_absent(struct st_credential_fetch *fetch, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));
void st_credential_failed(struct st_credential_fetch *fetch, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds a header for the next request. False: it does not fit, or would end the line. */
bool st_credential_header(struct st_credential_fetch *fetch, const char *name, const char *value);
/* Gives up the last answer, sends fetch->url with headers and body; `answered` runs when it has ended, however. */
void st_credential_send(struct st_credential_fetch *fetch, const char *method, int64_t timeout_ms,
                        void (*answered)(struct st_credential_fetch *fetch));
void st_credential_clear(const void *bytes, size_t len);
/* Clears and frees answer, headers and body of the last request. */
void st_credential_wipe(struct st_credential_fetch *fetch);
/* One sentence part of a request that brought no 200: "status 403", or what the transport says. */
const char *st_credential_trouble(const struct st_credential_fetch *fetch, char *text, size_t size);

/* The keys in the JSON that container endpoints and IMDS answer. False: incomplete, with what is missing in `wrong`. */
bool st_credential_json(struct kp_slice json, struct st_aws_keys *keys, const char **wrong);
/* "2026-01-31T12:00:00Z", perhaps with a fraction, in milliseconds. False: it is none. */
bool st_credential_time(const char *text, int64_t *time_ms);

/* Reads a small local file into malloc'ed, NUL-terminated memory that the caller clears and frees: NULL with errno when
 * it cannot be read (EFBIG: it is larger than `most`). */
char *st_credential_read_file(const char *path, size_t most, size_t *len);
void st_credential_free_file(char *bytes, size_t len);
/* The variable's value, or NULL when it is not set or empty. */
const char *st_credential_env(const char *name);

/* Asks STS for the role with the token of that file. */
void st_credential_assume(struct st_credential_fetch *fetch, const char *token_file, const char *role_arn,
                          const char *session_name);

#endif
