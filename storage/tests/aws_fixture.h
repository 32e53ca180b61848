/*
 * A double of storage/backends/aws/http.h under virtual time: linked in front of the library, it lets no request leave
 * the process. What is answered stands in a script of rules, the first one that fits a request wins; what was asked is
 * kept. The wall of this machine may be off from that of the services.
 */
#ifndef AWS_FIXTURE_H
#define AWS_FIXTURE_H

#include "storage/backends/aws/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ASKED_MOST = 4096, RULES_MOST = 16, TEXT_SIZE = 8192 };

#define TRUE_WALL_MS INT64_C(1700000000000) /* 2023-11-14T22:13:20Z, when the virtual clock stands at 0 */

/* How a request that fits is answered. */
struct rule {
    const char *method, *url; /* url: a part of it; NULL: any */
    enum st_http_end end;
    int status;
    const char *body;
    bool no_date;
    int64_t retry_after_ms, takes_ms;
    unsigned times; /* then it is spent; 0: never */
    const char *reason;
};

/* A request as it was started. */
struct asked {
    char method[16], url[2048], headers[TEXT_SIZE], body[2 * TEXT_SIZE]; /* headers: lines, each with its end */
    int64_t at_ms, timeout_ms, stall_ms;
    bool fresh;
};

struct answer;

struct st_http_client {
    struct st_loop *loop;
    int64_t now_ns, wall_off_ms;
    uint64_t random;
    struct rule rules[RULES_MOST];
    unsigned used[RULES_MOST];
    size_t rule_count;
    struct asked *asked; /* ASKED_MOST */
    size_t asked_count, under_way, cancelled;
    struct answer *first; /* under way */
};

struct answer {
    struct st_timer timer;
    struct st_http_client *client;
    struct st_http_request *request;
    struct rule rule;
    struct answer *next;
};

static int64_t fixture_mono(void *self) {
    return ((struct st_http_client *)self)->now_ns;
}

static int64_t fixture_wall(void *self) {
    const struct st_http_client *http = self;
    return TRUE_WALL_MS + http->wall_off_ms + http->now_ns / ST_MS;
}

static void fixture_random(void *self, void *bytes, size_t len) {
    struct st_http_client *http = self;
    for (size_t i = 0; i < len; i++) {
        http->random = http->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(http->random >> 56);
    }
}

static inline struct st_http_client *fixture_new(void) {
    struct st_http_client *http = calloc(1, sizeof *http);
    http->asked = calloc(ASKED_MOST, sizeof *http->asked);
    http->random = 1;
    const struct st_env env = {
        .now_mono_ns = fixture_mono, .now_wall_ms = fixture_wall, .random = fixture_random, .self = http};
    http->loop = st_loop_new(&env);
    return http;
}

static inline void fixture_free(struct st_http_client *http) {
    while (http->first != NULL) {
        struct answer *answer = http->first;
        http->first = answer->next;
        free(answer);
    }
    st_loop_free(http->loop);
    free(http->asked);
    free(http);
}

/* Adds a rule behind those that there are. */
static inline void fixture_rule(struct st_http_client *http, struct rule rule) {
    assert_true(http->rule_count < RULES_MOST);
    http->used[http->rule_count] = 0;
    http->rules[http->rule_count++] = rule;
}

static inline void fixture_no_rules(struct st_http_client *http) {
    http->rule_count = 0;
}

/* Lets `ms` pass, and runs what becomes due meanwhile. */
static inline void fixture_run(struct st_http_client *http, int64_t ms) {
    int64_t end_ns = http->now_ns + ms * ST_MS;
    for (int64_t due = st_loop_due(http->loop); due <= end_ns; due = st_loop_due(http->loop)) {
        http->now_ns = due > http->now_ns ? due : http->now_ns;
        st_loop_run_due(http->loop);
    }
    http->now_ns = end_ns;
}

static inline int64_t fixture_now_ms(const struct st_http_client *http) {
    return http->now_ns / ST_MS;
}

static inline const struct asked *fixture_last(const struct st_http_client *http) {
    assert_true(http->asked_count > 0);
    return &http->asked[http->asked_count - 1];
}

/* ---- the double ---- */

static void note_request(struct st_http_client *http, const struct st_http_request *request) {
    assert_true(http->asked_count < ASKED_MOST);
    struct asked *asked = &http->asked[http->asked_count++];
    snprintf(asked->method, sizeof asked->method, "%s", request->method);
    snprintf(asked->url, sizeof asked->url, "%s", request->url);
    asked->headers[0] = '\0';
    for (size_t i = 0; i < request->header_count; i++) {
        size_t len = strlen(asked->headers);
        snprintf(asked->headers + len, sizeof asked->headers - len, "%s\n", request->headers[i]);
    }
    size_t len = request->body.len < sizeof asked->body - 1 ? request->body.len : sizeof asked->body - 1;
    memcpy(asked->body, len == 0 ? "" : (const char *)request->body.ptr, len);
    asked->body[len] = '\0';
    asked->at_ms = fixture_now_ms(http);
    asked->timeout_ms = request->timeout_ms;
    asked->stall_ms = request->stall_ms;
    asked->fresh = request->fresh;
}

static void give_body(struct st_http_request *request, const char *body) {
    size_t len = body == NULL ? 0 : strlen(body);
    if (request->into != NULL && request->status / 100 == 2) {
        assert_true(len <= request->into_size);
        memcpy(request->into, body, len);
        request->into_len = len;
        return;
    }
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, body == NULL ? "" : body, len + 1);
    request->answer = kp_slice_of(copy, len);
}

static void answer_due(struct st_timer *timer) {
    struct answer *answer = ST_OWNER(timer, struct answer, timer);
    struct st_http_client *http = answer->client;
    struct st_http_request *request = answer->request;
    struct rule rule = answer->rule;
    struct answer **at = &http->first;
    while (*at != answer) {
        at = &(*at)->next;
    }
    *at = answer->next;
    free(answer);
    http->under_way--;
    request->end = rule.end;
    if (rule.end == ST_HTTP_ANSWERED || rule.end == ST_HTTP_TOO_LONG) {
        request->status = rule.status;
        request->date_ms = rule.no_date ? 0 : (TRUE_WALL_MS + fixture_now_ms(http)) / 1000 * 1000;
        request->retry_after_ms = rule.retry_after_ms;
    }
    if (rule.end == ST_HTTP_ANSWERED) {
        give_body(request, rule.body);
    } else {
        snprintf(request->reason, sizeof request->reason, "%s", rule.reason == NULL ? "reset" : rule.reason);
    }
    request->done(request);
}

void st_http_start(struct st_http_client *http, struct st_http_request *request) {
    note_request(http, request);
    struct answer *answer = calloc(1, sizeof *answer);
    *answer = (struct answer){.timer.fn = answer_due, .client = http, .request = request, .next = http->first};
    for (size_t i = 0; answer->rule.method == NULL; i++) {
        if (i == http->rule_count) {
            fail_msg("no rule for %s %s", request->method, request->url);
        }
        const struct rule *rule = &http->rules[i];
        bool fits = (rule->method == NULL || strcmp(rule->method, request->method) == 0) &&
                    (rule->url == NULL || strstr(request->url, rule->url) != NULL) &&
                    (rule->times == 0 || http->used[i] < rule->times);
        if (fits) {
            http->used[i]++;
            answer->rule = *rule;
            answer->rule.method = request->method;
        }
    }
    if (answer->rule.takes_ms >= request->timeout_ms) {
        answer->rule.end = ST_HTTP_LOST;
        answer->rule.reason = "timeout";
        answer->rule.takes_ms = request->timeout_ms;
    }
    http->first = answer;
    http->under_way++;
    st_timer_start(http->loop, &answer->timer, answer->rule.takes_ms * ST_MS);
}

void st_http_cancel(struct st_http_client *http, struct st_http_request *request) {
    struct answer **at = &http->first;
    while (*at != NULL && (*at)->request != request) {
        at = &(*at)->next;
    }
    assert_non_null(*at);
    struct answer *answer = *at;
    *at = answer->next;
    st_timer_stop(http->loop, &answer->timer);
    free(answer);
    http->under_way--;
    http->cancelled++;
}

void st_http_request_release(struct st_http_request *request) {
    free((void *)(uintptr_t)request->answer.ptr);
    request->answer = (struct kp_slice){0};
}

#endif
