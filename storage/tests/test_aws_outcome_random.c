/*
 * What a request tells against what it did, over random histories. A service of ours holds one thing, absent at first:
 * a try that takes effect makes it, a try that finds it gets 412. Whatever becomes of the tries, of which some are sent
 * twice at once, what is told must be true: a success means that it is there, a refusal that it is not and will not be.
 */
#include "storage/backends/aws/request.h"

#include "storage/tests/aws_fixture.h"

enum { ROUNDS = 5000, TRIES_MOST = 5, CORRECTIONS = 2, TIMEOUT_MS = 8000,
       SENT_MOST = TRIES_MOST + CORRECTIONS + 1 + CORRECTIONS }; /* retries are not sent twice */

#define XML(code) "<Error><Code>" code "</Code></Error>"

/* Whether the service sees a try, and so does it unless it is there already. */
enum reach { NEVER, PERHAPS, ALWAYS };

/* What may become of a try. */
static const struct {
    enum reach reach;
    struct rule rule;
} outcomes[] = {
    {ALWAYS, {.status = 200, .body = ""}},
    {PERHAPS, {.end = ST_HTTP_LOST, .reason = "reset"}},
    {PERHAPS, {.status = 500, .body = XML("InternalError")}},
    {PERHAPS, {.status = 200, .body = XML("InternalError")}},
    {PERHAPS, {.status = 502, .body = "<html>"}},
    {ALWAYS, {.end = ST_HTTP_TOO_LONG, .status = 200}},
    {PERHAPS, {.takes_ms = 2 * TIMEOUT_MS}},
    {NEVER, {.end = ST_HTTP_NOT_SENT, .reason = "refused"}},
    {NEVER, {.end = ST_HTTP_NO_MEMORY}},
    {NEVER, {.status = 503, .body = XML("SlowDown")}},
    {NEVER, {.status = 429, .body = ""}},
    {NEVER, {.status = 403, .body = XML("AccessDenied")}},
    {NEVER, {.status = 403, .body = XML("RequestTimeTooSkewed")}},
    {NEVER, {.status = 403, .body = XML("ExpiredToken")}},
};

struct round {
    struct st_aws_request request;
    unsigned done;
    bool there[SENT_MOST]; /* after so many tries and one */
};

static void request_done(struct st_aws_request *request) {
    ST_OWNER(request, struct round, request)->done++;
}

static unsigned draw(struct st_http_client *http, unsigned count) {
    return (unsigned)(st_random_u64(http->loop) % count);
}

/* Writes the script of one round, try by try. */
static void plan(struct st_http_client *http, struct round *round) {
    bool there = false;
    fixture_no_rules(http);
    for (size_t i = 0; i < SENT_MOST; i++) {
        unsigned which = draw(http, sizeof outcomes / sizeof outcomes[0]);
        struct rule rule = outcomes[which].rule;
        enum reach reach = outcomes[which].reach;
        bool reached = reach == ALWAYS || (reach == PERHAPS && draw(http, 2) == 0);
        if (rule.status == 200 && rule.end == ST_HTTP_ANSWERED && rule.body[0] == '\0' && there) {
            rule.status = 412;
            rule.body = draw(http, 2) == 0 ? XML("PreconditionFailed") : "";
        }
        there = there || reached;
        round->there[i] = there;
        rule.times = 1;
        rule.takes_ms = rule.takes_ms > 0 ? rule.takes_ms : draw(http, 3);
        fixture_rule(http, rule);
    }
}

static void check(const struct round *round, size_t tries) {
    const struct st_aws_request *request = &round->request;
    bool there = tries > 0 && round->there[tries - 1];
    bool success = request->end == ST_AWS_ANSWERED && request->status == 200 && request->code[0] == '\0';
    bool found = request->end == ST_AWS_ANSWERED && request->status == 412;
    if ((success || found) ? !there : there && request->end != ST_AWS_UNKNOWN) {
        fail_msg("there: %d, told: end %d, status %d, code '%s' after %zu tries", there, (int)request->end,
                 request->status, request->code, tries);
    }
}

static void what_is_told_is_true(void **state) {
    (void)state;
    struct st_http_client *http = fixture_new();
    struct st_aws_client client = {.loop = http->loop, .http = http, .region = "r"};
    struct st_aws_service service = {.client = &client, .name = "s3", .endpoint = "https://h", .unsigned_bodies = true};
    unsigned ends[3] = {0}, both_failed = 0;
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, true);
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    client.credentials = st_aws_credentials_new(http->loop, http, "r");
    for (int i = 0; i < ROUNDS; i++) {
        struct round round = {.request = {.service = &service, .method = "PUT", .target = "/x", .try_ms = 3000,
                                          .timeout_ms = TIMEOUT_MS, .tries_max = 1 + draw(http, TRIES_MOST),
                                          .answer_max = 4096, .done = request_done}};
        char token[32];
        snprintf(token, sizeof token, "%d", i); /* keys change, so that refused ones have successors */
        setenv("AWS_SESSION_TOKEN", token, 1);
        client.skew_ms = 0;
        client.retry_spent = draw(http, ST_AWS_RETRY_TOKENS_MAX);
        plan(http, &round);
        http->asked_count = 0;
        http->cancelled = 0;
        round.request.hedge = draw(http, 2) == 0 ? &hedge : NULL;
        int64_t began_ms = fixture_now_ms(http);
        st_aws_start(&round.request);
        fixture_run(http, TIMEOUT_MS);
        assert_int_equal(round.done, 1);
        assert_int_equal(http->under_way, 0);
        assert_int_equal(round.request.tries, http->asked_count);
        unsigned twice = round.request.hedge != NULL ? 1 + CORRECTIONS : 0;
        assert_true(round.request.tries <= round.request.tries_max + CORRECTIONS + twice);
        both_failed += twice > 0 && round.request.tries == 2 && http->cancelled == 0 &&
                       round.request.end != ST_AWS_ANSWERED;
        for (size_t asked = 0; asked < http->asked_count; asked++) {
            assert_true(http->asked[asked].at_ms + http->asked[asked].timeout_ms <= began_ms + TIMEOUT_MS);
        }
        check(&round, http->asked_count);
        ends[round.request.end]++;
        st_aws_request_release(&round.request);
        fixture_run(http, 2 * TIMEOUT_MS);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(ends[i] > ROUNDS / 20); /* each end was seen often */
    }
    assert_true(both_failed > ROUNDS / 50);
    st_aws_credentials_free(client.credentials);
    fixture_free(http);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_is_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
