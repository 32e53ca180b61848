/*
 * Where the keys come from, in the order of the AWS SDKs
 * (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html):
 * environment, shared files and profile, web identity (STS), container endpoint, IMDSv2.
 *
 * The first source that has something wins and stays. Keys that expire are fetched anew at least five minutes before,
 * with jitter, one fetch in flight however many wait; the old ones serve until they truly expire. Token files are read
 * at every refresh. Nothing of a secret is ever logged or put into a reason; memory that held one is cleared.
 */
#ifndef ST_AWS_CREDENTIALS_H
#define ST_AWS_CREDENTIALS_H

#include "storage/backends/aws/http.h"

#define ST_AWS_KEY_MAX 128
#define ST_AWS_SECRET_MAX 256
#define ST_AWS_TOKEN_MAX 4096

struct st_aws_keys {
    char id[ST_AWS_KEY_MAX];
    char secret[ST_AWS_SECRET_MAX];
    char token[ST_AWS_TOKEN_MAX]; /* "": none */
    int64_t expires_ms;           /* Unix; 0: never */
    uint64_t generation;          /* rises with every change: cached signing keys belong to one */
};

struct st_aws_credentials;

/* Nothing is read or asked before the first st_aws_keys_want. `region` is where STS is asked. The environment is that
 * of the process. NULL: no memory. */
struct st_aws_credentials *st_aws_credentials_new(struct st_loop *loop, struct st_http_client *http,
                                                  const char *region);
/* Wants that wait are forgotten. A request of its own may be under way: the HTTP client must have been closed or freed
 * before. */
void st_aws_credentials_free(struct st_aws_credentials *credentials);

struct st_aws_keys_want {
    /* From the loop; keys NULL: there are none. */
    void (*done)(struct st_aws_keys_want *want, const struct st_aws_keys *keys);
    char reason[256]; /* without keys: one sentence that says what was tried */
    struct st_aws_keys_want *next;
};
/* The keys to use now: those that are valid come at once, from the loop's next turn at the latest. */
void st_aws_keys_want(struct st_aws_credentials *credentials, struct st_aws_keys_want *want);
/* The keys of that generation were refused as expired or unknown: fetches anew, once for all who say so. */
void st_aws_keys_refused(struct st_aws_credentials *credentials, uint64_t generation);
/* Valid keys without waiting, or NULL. */
const struct st_aws_keys *st_aws_keys_now(struct st_aws_credentials *credentials);
/* The want is forgotten, its done does not run. Harmless when it is not waiting. */
void st_aws_keys_forget(struct st_aws_credentials *credentials, struct st_aws_keys_want *want);

#define ST_AWS_REGION_MAX 64

/* AWS_REGION, AWS_DEFAULT_REGION, `region` of the profile: small local files, at once. False and "": none of them. */
bool st_aws_region_configured(char region[ST_AWS_REGION_MAX]);

/* The region that IMDS names: for instances that are configured nowhere. The caller owns it until done, which runs
 * once, from the loop. */
struct st_aws_region_ask {
    char region[ST_AWS_REGION_MAX]; /* "": none */
    char reason[160];               /* then: one sentence */
    void (*done)(struct st_aws_region_ask *ask);
    void *state; /* this module's, while it is under way */
    struct st_task task;
};
void st_aws_region_ask(struct st_loop *loop, struct st_http_client *http, struct st_aws_region_ask *ask);

#endif
