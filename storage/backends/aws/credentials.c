/*
 * The keys of now, and when to ask for the next ones.
 *
 * Nothing here runs by itself: each time keys are wanted, they are looked at, and a fetch begins beside the answer when
 * it is due. So an idle process asks nobody anything, and one that was frozen notices at its next request. Due is
 *
 *     at first; when the keys were refused; between ten and five minutes before they expire (drawn anew for each keys,
 *     so that many processes that began together do not come together), but not in the first half of their life
 *
 * and not while an earlier failure is waited out. Who wants keys while none are valid waits for the fetch under way, or
 * is told at once why the last one failed: the layers above have their own patience.
 *
 * When keys expire is told by the clock of whoever gave them, so the offset between that clock (Date of its answer) and
 * ours is kept: a machine whose clock is an hour off must not think that all keys are dead. Keys that were already
 * expired when they were given are used all the same, and asked for again soon: so does IMDS when the service behind it
 * has an outage, and the services that take the keys know of it
 * (https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html).
 */
#include "storage/backends/aws/credential_source.h"

#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#define MINUTE_MS INT64_C(60000)

enum { SOURCES = 5, NO_SOURCE = -1 };

static const int64_t lead_ms_least = 5 * MINUTE_MS, lead_ms_jitter = 5 * MINUTE_MS;
static const int64_t again_ms_least = 1000;       /* between two fetches that gave keys */
static const int64_t outage_ms = 15 * MINUTE_MS;  /* how long keys serve that were given expired */
static const int64_t backoff_ms_first = 1000, backoff_ms_most = 60 * 1000;
static const int64_t backoff_ms_most_keyless = 5000; /* nothing works without keys: look more often */

static const struct st_credential_source *const sources[SOURCES] = {
    &st_credential_environment, &st_credential_profile, &st_credential_web_identity, &st_credential_container,
    &st_credential_imds,
};

struct st_aws_credentials {
    struct st_loop *loop;
    char region[ST_AWS_REGION_MAX];
    struct st_aws_keys keys;
    bool have;
    bool refused;            /* these keys, and a fetch for others is under way */
    int64_t offset_ms;       /* the giver's clock less ours */
    int64_t refresh_ms, good_until_ms; /* by the giver's clock; ST_NEVER: not of themselves */
    bool fetching;
    int asked;               /* the source that is being asked */
    int source;              /* the one that once gave keys; NO_SOURCE */
    unsigned failures;       /* fetches in a row that gave no keys, or those that had been refused */
    int64_t not_before_ns;   /* no fetch before */
    char reason[sizeof((struct st_aws_keys_want *)NULL)->reason];
    struct st_aws_keys_want *first, **last;
    struct st_task task;     /* answers who waits */
    struct st_credential_fetch fetch;
};

static void answer_wants(struct st_task *task);
static void source_done(struct st_credential_fetch *fetch, enum st_credential_end end);

struct st_aws_credentials *st_aws_credentials_new(struct st_loop *loop, struct st_http_client *http,
                                                  const char *region) {
    struct st_aws_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials == NULL) {
        return NULL;
    }
    credentials->loop = loop;
    snprintf(credentials->region, sizeof credentials->region, "%s", region);
    credentials->source = NO_SOURCE;
    credentials->last = &credentials->first;
    credentials->task.fn = answer_wants;
    credentials->fetch.loop = loop;
    credentials->fetch.http = http;
    credentials->fetch.region = credentials->region;
    credentials->fetch.done = source_done;
    return credentials;
}

void st_aws_credentials_free(struct st_aws_credentials *credentials) {
    if (credentials == NULL) {
        return;
    }
    st_defer_cancel(credentials->loop, &credentials->task);
    st_credential_wipe(&credentials->fetch);
    explicit_bzero(credentials, sizeof *credentials);
    free(credentials);
}

static int64_t givers_now_ms(const struct st_aws_credentials *credentials) {
    return st_now_wall_ms(credentials->loop) + credentials->offset_ms;
}

static bool is_valid(const struct st_aws_credentials *credentials) {
    return credentials->have && !credentials->refused && givers_now_ms(credentials) < credentials->good_until_ms;
}

/* ---- fetching ---- */

static int64_t draw(struct st_aws_credentials *credentials, int64_t most) {
    return (int64_t)(st_random_u64(credentials->loop) % (uint64_t)(most + 1));
}

/* Half to all of an interval that doubles with every failure. */
static void back_off(struct st_aws_credentials *credentials) {
    int64_t most = is_valid(credentials) ? backoff_ms_most : backoff_ms_most_keyless;
    int64_t interval = backoff_ms_first;
    for (unsigned i = 0; i < credentials->failures && interval < most; i++) {
        interval *= 2;
    }
    interval = interval < most ? interval : most;
    credentials->failures++;
    int64_t delay_ms = interval / 2 + draw(credentials, interval / 2);
    credentials->not_before_ns = st_now_ns(credentials->loop) + delay_ms * ST_MS;
}

static void fetch_over(struct st_aws_credentials *credentials) {
    credentials->fetching = false;
    credentials->refused = false;
    st_credential_clear(&credentials->fetch.keys, sizeof credentials->fetch.keys);
    st_defer(credentials->loop, &credentials->task);
}

static void fetch_failed(struct st_aws_credentials *credentials) {
    credentials->refused = false;
    back_off(credentials);
    st_metrics.aws_credentials_failed_total++;
    ST_LOG(aws_credentials_failed, "valid=%d reason=%s", is_valid(credentials),
           st_log_quote(credentials->reason, strlen(credentials->reason)));
    fetch_over(credentials);
}

/* Header values: what else stood there could end the line. */
static bool is_header_text(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

/* When to ask again, and until when these serve. */
static void plan(struct st_aws_credentials *credentials) {
    int64_t expires_ms = credentials->keys.expires_ms;
    int64_t now_ms = givers_now_ms(credentials);
    credentials->refresh_ms = credentials->good_until_ms = ST_NEVER;
    if (expires_ms == 0) {
        return;
    }
    int64_t life_ms = expires_ms - now_ms;
    int64_t lead_ms = lead_ms_least + draw(credentials, lead_ms_jitter);
    if (life_ms <= 0) {
        credentials->refresh_ms = now_ms + lead_ms;
        credentials->good_until_ms = now_ms + outage_ms;
        return;
    }
    int64_t wait_ms = life_ms - (lead_ms < life_ms / 2 ? lead_ms : life_ms / 2);
    credentials->refresh_ms = now_ms + (wait_ms > again_ms_least ? wait_ms : again_ms_least);
    credentials->good_until_ms = expires_ms;
}

static bool is_same(const struct st_aws_keys *a, const struct st_aws_keys *b) {
    return strcmp(a->id, b->id) == 0 && strcmp(a->secret, b->secret) == 0 && strcmp(a->token, b->token) == 0;
}

static void take_keys(struct st_aws_credentials *credentials) {
    struct st_aws_keys *fresh = &credentials->fetch.keys;
    bool same = credentials->have && is_same(fresh, &credentials->keys);
    fresh->generation = credentials->keys.generation + (same ? 0 : 1);
    credentials->keys = *fresh;
    credentials->have = true;
    credentials->source = credentials->asked;
    credentials->offset_ms =
        credentials->fetch.date_ms == 0 ? 0 : credentials->fetch.date_ms - st_now_wall_ms(credentials->loop);
    plan(credentials);
    if (same && credentials->refused) {
        credentials->refused = false;
        back_off(credentials); /* they will be refused again */
    } else {
        credentials->failures = 0;
        credentials->not_before_ns = 0;
    }
    st_metrics.aws_credentials_total++;
    ST_LOG(aws_credentials, "source=%s generation=%llu", sources[credentials->asked]->name,
           (unsigned long long)fresh->generation);
    fetch_over(credentials);
}

static void ask_source(struct st_aws_credentials *credentials, int source) {
    credentials->asked = source;
    credentials->fetch.keys = (struct st_aws_keys){0};
    credentials->fetch.date_ms = 0;
    credentials->fetch.reason[0] = '\0';
    sources[source]->fetch(&credentials->fetch);
}

/* "no credentials: A; B; C": what was looked for, in order. */
static void add_reason(struct st_aws_credentials *credentials) {
    size_t len = strlen(credentials->reason);
    snprintf(credentials->reason + len, sizeof credentials->reason - len, "%s%s", len == 0 ? "no credentials: " : "; ",
             credentials->fetch.reason);
}

static void source_done(struct st_credential_fetch *fetch, enum st_credential_end end) {
    struct st_aws_credentials *credentials = ST_OWNER(fetch, struct st_aws_credentials, fetch);
    bool clean = is_header_text(fetch->keys.id) && is_header_text(fetch->keys.token);
    if (end == ST_CREDENTIAL_FOUND && (!clean || fetch->keys.id[0] == '\0' || fetch->keys.secret[0] == '\0')) {
        snprintf(fetch->reason, sizeof fetch->reason, "the credentials of source '%s' are empty, or hold blanks or "
                 "other characters that no credentials have", sources[credentials->asked]->name);
        end = ST_CREDENTIAL_FAILED;
    }
    if (end == ST_CREDENTIAL_FOUND) {
        take_keys(credentials);
        return;
    }
    if (end == ST_CREDENTIAL_FAILED) {
        credentials->reason[0] = '\0';
    }
    add_reason(credentials);
    if (end == ST_CREDENTIAL_ABSENT && credentials->source == NO_SOURCE && credentials->asked + 1 < SOURCES) {
        ask_source(credentials, credentials->asked + 1);
    } else {
        fetch_failed(credentials);
    }
}

static void fetch_if_due(struct st_aws_credentials *credentials) {
    bool due = !credentials->have || credentials->refused || givers_now_ms(credentials) >= credentials->refresh_ms;
    if (!due || credentials->fetching || st_now_ns(credentials->loop) < credentials->not_before_ns) {
        return;
    }
    credentials->fetching = true;
    credentials->reason[0] = '\0';
    ask_source(credentials, credentials->source == NO_SOURCE ? 0 : credentials->source);
}

/* ---- wanting ---- */

const struct st_aws_keys *st_aws_keys_now(struct st_aws_credentials *credentials) {
    fetch_if_due(credentials);
    return is_valid(credentials) ? &credentials->keys : NULL;
}

void st_aws_keys_want(struct st_aws_credentials *credentials, struct st_aws_keys_want *want) {
    want->reason[0] = '\0';
    want->next = NULL;
    *credentials->last = want;
    credentials->last = &want->next;
    if (st_aws_keys_now(credentials) != NULL || !credentials->fetching) {
        st_defer(credentials->loop, &credentials->task);
    }
}

void st_aws_keys_forget(struct st_aws_credentials *credentials, struct st_aws_keys_want *want) {
    struct st_aws_keys_want **at = &credentials->first;
    while (*at != NULL && *at != want) {
        at = &(*at)->next;
    }
    if (*at == want) {
        *at = want->next;
        credentials->last = *at == NULL ? at : credentials->last;
        want->next = NULL;
    }
}

/* One at a time from the front, so that who is called may want, forget and refuse. Wants that come meanwhile are
 * answered in the next turn. */
static void answer_wants(struct st_task *task) {
    struct st_aws_credentials *credentials = ST_OWNER(task, struct st_aws_credentials, task);
    size_t count = 0;
    for (struct st_aws_keys_want *want = credentials->first; want != NULL; want = want->next) {
        count++;
    }
    for (; count > 0 && credentials->first != NULL; count--) {
        bool valid = is_valid(credentials);
        if (!valid && credentials->fetching) {
            return;
        }
        struct st_aws_keys_want *want = credentials->first;
        st_aws_keys_forget(credentials, want);
        if (!valid) {
            const char *reason = credentials->reason[0] != '\0' ? credentials->reason : "the credentials have expired";
            snprintf(want->reason, sizeof want->reason, "%s", reason);
        }
        want->done(want, valid ? &credentials->keys : NULL);
    }
}

void st_aws_keys_refused(struct st_aws_credentials *credentials, uint64_t generation) {
    bool waits = !credentials->fetching && st_now_ns(credentials->loop) < credentials->not_before_ns;
    if (credentials->have && credentials->keys.generation == generation && !waits) {
        credentials->refused = true;
        fetch_if_due(credentials);
    }
}
