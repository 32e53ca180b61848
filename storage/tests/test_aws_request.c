/* Signed requests: what is sent, what is sent again and when, and what is told at the end. */
#include "storage/backends/aws/request.h"

#include "storage/runtime/metrics.h"
#include "storage/tests/aws_fixture.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

enum { MINUTE_MS = 60 * 1000 };

struct bench {
    struct st_http_client *http;
    struct st_aws_client client;
    struct st_aws_service s3, dynamodb;
    struct st_aws_request request;
    unsigned done;
};

static struct bench *bench_of(struct st_aws_request *request) {
    return ST_OWNER(request, struct bench, request);
}

static void request_done(struct st_aws_request *request) {
    bench_of(request)->done++;
}

static void clear_environment(void) {
    static const char *const names[] = {"AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
}

static void service(struct bench *bench, struct st_aws_service *service, const char *name, const char *endpoint) {
    bool private = strcmp(name, "s3") == 0 && strncmp(endpoint, "https", 5) == 0;
    *service = (struct st_aws_service){.client = &bench->client, .unsigned_bodies = private};
    snprintf(service->name, sizeof service->name, "%s", name);
    snprintf(service->endpoint, sizeof service->endpoint, "%s", endpoint);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    clear_environment();
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    bench->http = fixture_new();
    bench->client = (struct st_aws_client){.loop = bench->http->loop, .http = bench->http, .region = "eu-west-1"};
    bench->client.credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
    service(bench, &bench->s3, "s3", "https://bucket.s3.eu-west-1.amazonaws.com");
    service(bench, &bench->dynamodb, "dynamodb", "https://dynamodb.eu-west-1.amazonaws.com");
    *state = bench;
    return bench->client.credentials == NULL;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    st_aws_request_release(&bench->request);
    st_aws_credentials_free(bench->client.credentials);
    fixture_free(bench->http);
    free(bench);
    return 0;
}

/* Releases the last request and makes the next: a PUT to S3, ten tries, a minute. */
static struct st_aws_request *make(struct bench *bench) {
    st_aws_request_release(&bench->request);
    bench->done = 0;
    bench->request = (struct st_aws_request){
        .service = &bench->s3, .method = "PUT", .target = "/object", .body = KP_SLICE_LIT("bytes"),
        .timeout_ms = MINUTE_MS, .try_ms = 5000, .tries_max = 10, .answer_max = 4096, .done = request_done};
    return &bench->request;
}

static struct st_aws_request *make_dynamodb(struct bench *bench) {
    struct st_aws_request *request = make(bench);
    request->service = &bench->dynamodb;
    request->method = "POST";
    snprintf(request->target, sizeof request->target, "/");
    request->headers[0] = "Content-Type: application/x-amz-json-1.0";
    request->headers[1] = "X-Amz-Target: DynamoDB_20120810.PutItem";
    request->header_count = 2;
    request->body = KP_SLICE_LIT("{}");
    return request;
}

/* Starts it and lets enough time pass for whatever comes. */
static void run(struct bench *bench) {
    st_aws_start(&bench->request);
    assert_int_equal(bench->done, 0);
    fixture_run(bench->http, 2 * MINUTE_MS);
    assert_int_equal(bench->done, 1);
    assert_null(bench->request.state);
    assert_int_equal(bench->http->under_way, 0);
}

static void answers(struct bench *bench, unsigned times, int status, const char *body) {
    fixture_rule(bench->http, (struct rule){.status = status, .body = body, .times = times});
}

static void ends(struct bench *bench, unsigned times, enum st_http_end end) {
    fixture_rule(bench->http, (struct rule){.end = end, .times = times, .status = 200});
}

static void check_end(const struct st_aws_request *request, enum st_aws_end end, int status, const char *code) {
    assert_int_equal(request->end, end);
    assert_int_equal(request->status, status);
    assert_string_equal(request->code, code);
}

static bool has_header(const struct asked *asked, const char *begin) {
    return strncmp(asked->headers, begin, strlen(begin)) == 0 ||
           (strstr(asked->headers, begin) != NULL && strstr(asked->headers, begin)[-1] == '\n');
}

#define XML(code) "<?xml version=\"1.0\"?>\n<Error><Code>" code "</Code><Message>Because.</Message></Error>"
#define JSON(code) "{\"__type\":\"com.amazonaws.dynamodb.v20120810#" code "\",\"message\":\"Because.\"}"

/* ---- what is sent ---- */

static void what_nobody_can_change_on_the_way_is_signed_without_its_body(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 200, "");
    make(bench)->headers[0] = "x-amz-checksum-crc32c: AAAAAA==";
    bench->request.header_count = 1;
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
    const struct asked *asked = fixture_last(bench->http);
    assert_string_equal(asked->url, "https://bucket.s3.eu-west-1.amazonaws.com/object");
    assert_string_equal(asked->body, "bytes");
    assert_true(has_header(asked, "x-amz-content-sha256: UNSIGNED-PAYLOAD\n"));
    assert_true(has_header(asked, "x-amz-date: 20231114T221320Z\n"));
    assert_true(has_header(asked, "x-amz-checksum-crc32c: AAAAAA==\n"));
    assert_true(has_header(asked, "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-west-1/s3/"
                                  "aws4_request, SignedHeaders=host;x-amz-checksum-crc32c;x-amz-content-sha256;"
                                  "x-amz-date, Signature="));
    assert_false(has_header(asked, "x-amz-security-token"));
    assert_int_equal(bench->request.tries, 1);
    assert_int_equal(bench->request.date_ms, TRUE_WALL_MS);
}

static void else_the_hash_of_the_body_is_signed(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 200, "");
    service(bench, &bench->s3, "s3", "http://10.0.0.1:80");
    make(bench);
    run(bench);
    assert_true(has_header(fixture_last(bench->http), "x-amz-content-sha256: "
                           "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9\n"));
}

/* The signature is that of the Host header which libcurl makes: the port only if it is not the scheme's own. */
static void the_host_is_signed_as_it_is_sent(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *endpoint, *host;
    } cases[] = {{"http://127.0.0.1:80", "127.0.0.1"}, {"https://h:443", "h"}, {"https://h:80", "h:80"},
                 {"http://[::1]:8000", "[::1]:8000"}, {"http://localhost", "localhost"}};
    answers(bench, 0, 200, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        service(bench, &bench->dynamodb, "dynamodb", cases[i].endpoint);
        make_dynamodb(bench);
        run(bench);
        const struct st_aws_keys keys = {.id = "AKIDEXAMPLE", .secret = SECRET, .generation = 1};
        char payload[ST_SIGV4_HASH_MAX];
        assert_true(st_sigv4_hash(bench->request.body, payload));
        const struct st_sigv4 expected = {
            .method = "POST", .target = "/", .host = cases[i].host, .headers = bench->request.headers,
            .header_count = bench->request.header_count, .payload = payload, .escape_path = true,
            .time_ms = TRUE_WALL_MS + fixture_last(bench->http)->at_ms, .region = "eu-west-1", .service = "dynamodb",
            .keys = &keys};
        struct st_sigv4_key key = {0};
        struct st_sigv4_headers signed_as;
        assert_true(st_sigv4_sign(&expected, &key, &signed_as));
        assert_true(has_header(fixture_last(bench->http), signed_as.authorization));
        assert_false(has_header(fixture_last(bench->http), "x-amz-content-sha256"));
    }
}

static void a_session_token_is_sent(void **state) {
    struct bench *bench = *state;
    setenv("AWS_SESSION_TOKEN", "the-token", 1);
    answers(bench, 0, 200, "");
    make(bench);
    run(bench);
    assert_true(has_header(fixture_last(bench->http), "x-amz-security-token: the-token\n"));
}

static void what_is_read_goes_where_it_is_wanted(void **state) {
    struct bench *bench = *state;
    uint8_t into[16];
    answers(bench, 1, 206, "0123");
    struct st_aws_request *request = make(bench);
    request->method = "GET";
    request->into = into;
    request->into_size = sizeof into;
    run(bench);
    check_end(request, ST_AWS_ANSWERED, 206, "");
    assert_int_equal(request->into_len, 4);
    assert_memory_equal(into, "0123", 4);
    answers(bench, 0, 404, XML("NoSuchKey"));
    request = make(bench);
    request->method = "GET";
    request->into = into;
    request->into_size = sizeof into;
    run(bench);
    check_end(request, ST_AWS_ANSWERED, 404, "NoSuchKey");
    assert_string_equal(request->reason, "NoSuchKey: Because.");
    assert_int_equal(request->into_len, 0);
}

static void a_request_that_cannot_be_signed_is_refused_and_not_sent(void **state) {
    struct bench *bench = *state;
    snprintf(make(bench)->target, ST_AWS_TARGET_MAX, "/not escaped");
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    assert_int_equal(bench->http->asked_count, 0);
    assert_string_not_equal(bench->request.reason, "");
}

/* ---- sent again ---- */

static void what_failed_for_a_moment_is_sent_again_unchanged_over_a_fresh_connection(void **state) {
    struct bench *bench = *state;
    static const struct rule failures[] = {
        {.status = 500, .body = XML("InternalError")}, {.status = 503, .body = XML("ServiceUnavailable")},
        {.status = 502, .body = "<html>"},             {.status = 504, .body = ""},
        {.status = 500, .body = JSON("InternalServerError")}, {.end = ST_HTTP_LOST},
        {.end = ST_HTTP_NOT_SENT},                     {.status = 400, .body = XML("RequestTimeout")},
    };
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct rule rule = failures[i];
        size_t before = bench->http->asked_count;
        rule.times = 1;
        fixture_no_rules(bench->http);
        fixture_rule(bench->http, rule);
        answers(bench, 0, 200, "");
        make(bench);
        run(bench);
        check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
        assert_string_equal(bench->request.reason, "");
        assert_int_equal(bench->request.tries, 2);
        const struct asked *first = &bench->http->asked[before], *second = &bench->http->asked[before + 1];
        assert_false(first->fresh);
        assert_true(second->fresh);
        assert_string_equal(first->url, second->url);
        assert_string_equal(first->body, second->body);
    }
}

/* Every delay lies in [0, base * 2^n], and over many of them they fill that range. */
static void check_jitter(struct bench *bench, bool dynamodb, const char *body, int64_t base_ms) {
    int64_t most[4] = {0}, least[4] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    fixture_no_rules(bench->http);
    answers(bench, 0, 400, body);
    for (int round = 0; round < 100; round++) {
        struct st_aws_request *request = dynamodb ? make_dynamodb(bench) : make(bench);
        request->tries_max = 5;
        bench->client.retry_spent = 0;
        size_t before = bench->http->asked_count;
        run(bench);
        assert_int_equal(request->tries, 5);
        for (size_t i = 0; i < 4; i++) {
            int64_t delay = bench->http->asked[before + i + 1].at_ms - bench->http->asked[before + i].at_ms;
            assert_in_range(delay, 0, base_ms << i);
            most[i] = delay > most[i] ? delay : most[i];
            least[i] = delay < least[i] ? delay : least[i];
        }
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(least[i] < (base_ms << i) / 5);
        assert_true(most[i] > (base_ms << i) * 4 / 5);
    }
}

static void a_request_that_takes_long_is_sent_a_second_time_unchanged(void **state) {
    struct bench *bench = *state;
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, true);
    fixture_rule(bench->http, (struct rule){.status = 200, .body = "slow", .takes_ms = 400, .times = 1});
    answers(bench, 0, 200, "quick");
    make(bench)->hedge = &hedge;
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
    assert_string_equal((const char *)bench->request.answer.ptr, "quick");
    assert_int_equal(bench->request.tries, 2);
    assert_int_equal(bench->http->cancelled, 1);
    const struct asked *asked = bench->http->asked;
    assert_string_equal(asked[0].url, asked[1].url);
    assert_string_equal(asked[0].headers, asked[1].headers);
    assert_string_equal(asked[1].body, "bytes");
}

static void retries_wait_with_full_jitter(void **state) {
    struct bench *bench = *state;
    check_jitter(bench, false, XML("InternalError"), 50);
    check_jitter(bench, true, JSON("InternalServerError"), 25);
    check_jitter(bench, false, XML("SlowDown"), 1000);
    check_jitter(bench, true, JSON("ProvisionedThroughputExceededException"), 1000);
}

static void no_delay_is_longer_than_twenty_seconds(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 503, XML("SlowDown"));
    struct st_aws_request *request = make(bench);
    request->tries_max = 30;
    request->timeout_ms = 60 * MINUTE_MS;
    st_aws_start(request);
    fixture_run(bench->http, 60 * MINUTE_MS);
    assert_int_equal(bench->done, 1);
    assert_int_equal(request->tries, 30);
    int64_t longest = 0;
    for (size_t i = 1; i < bench->http->asked_count; i++) {
        int64_t delay = bench->http->asked[i].at_ms - bench->http->asked[i - 1].at_ms;
        longest = delay > longest ? delay : longest;
    }
    assert_in_range(longest, 15000, 20000);
}

static void what_the_service_asks_to_wait_is_waited(void **state) {
    struct bench *bench = *state;
    const struct rule slow = {.status = 503, .body = XML("SlowDown"), .retry_after_ms = 3000, .times = 1};
    fixture_rule(bench->http, slow);
    fixture_rule(bench->http, (struct rule){.status = 503, .retry_after_ms = 3600 * 1000, .times = 1});
    answers(bench, 0, 200, "");
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
    const struct asked *asked = bench->http->asked;
    assert_int_equal(asked[1].at_ms - asked[0].at_ms, 3000);
    assert_in_range(asked[2].at_ms - asked[1].at_ms, 5000, 5100); /* not an hour: five seconds more than ours */
}

static void tries_and_time_are_bounded(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 500, XML("InternalError"));
    make(bench)->tries_max = 3;
    run(bench);
    assert_int_equal(bench->request.tries, 3);
    make(bench)->tries_max = 1;
    run(bench);
    assert_int_equal(bench->request.tries, 1);

    fixture_no_rules(bench->http);
    fixture_rule(bench->http, (struct rule){.takes_ms = MINUTE_MS});
    struct st_aws_request *request = make(bench);
    request->timeout_ms = 12000;
    request->tries_max = 100;
    size_t before = bench->http->asked_count;
    int64_t began = fixture_now_ms(bench->http);
    st_aws_start(request);
    fixture_run(bench->http, 12001);
    assert_int_equal(bench->done, 1);
    check_end(request, ST_AWS_UNKNOWN, 0, "");
    assert_string_equal(request->reason, "the service did not answer: timeout");
    assert_int_equal(request->tries, 3);
    const struct asked *last = fixture_last(bench->http);
    assert_int_equal(bench->http->asked[before].timeout_ms, 5000);
    assert_true(last->at_ms + last->timeout_ms <= began + 12000);
}

/* 500 tokens at 14 each: 35 retries of all requests together, and none for what comes after. */
static void the_budget_of_retries_is_shared_and_ends(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 500, XML("InternalError"));
    unsigned retries = 0;
    uint64_t counted = st_metrics.aws_retries_total;
    for (int i = 0; i < 100; i++) {
        make(bench)->tries_max = 3;
        run(bench);
        check_end(&bench->request, ST_AWS_UNKNOWN, 500, "InternalError");
        retries += bench->request.tries - 1;
    }
    assert_int_equal(retries, 35);
    assert_int_equal(st_metrics.aws_retries_total - counted, 35);

    fixture_no_rules(bench->http);
    answers(bench, 0, 200, "");
    for (int i = 0; i < 28; i++) {
        make(bench);
        run(bench);
    }
    fixture_no_rules(bench->http);
    answers(bench, 0, 500, XML("InternalError"));
    make(bench);
    run(bench);
    assert_int_equal(bench->request.tries, 3); /* 10 were left, 28 came back: two more */
}

static void a_retry_that_succeeds_gives_its_cost_back(void **state) {
    struct bench *bench = *state;
    for (int i = 0; i < 50; i++) {
        fixture_no_rules(bench->http);
        answers(bench, 1, 503, XML("SlowDown"));
        answers(bench, 0, 200, "");
        make(bench);
        run(bench);
        assert_int_equal(bench->request.tries, 2);
    }
    assert_int_equal(bench->client.retry_spent, 0);
}

/* ---- what is told ---- */

static void answers_about_what_is_stored_are_passed_on_at_once(void **state) {
    struct bench *bench = *state;
    static const struct {
        int status;
        const char *body, *code;
    } cases[] = {{409, XML("ConditionalRequestConflict"), "ConditionalRequestConflict"},
                 {412, XML("PreconditionFailed"), "PreconditionFailed"},
                 {404, XML("NoSuchBucket"), "NoSuchBucket"},
                 {403, XML("AccessDenied"), "AccessDenied"},
                 {301, XML("PermanentRedirect"), "PermanentRedirect"},
                 {400, JSON("ConditionalCheckFailedException"), "ConditionalCheckFailedException"},
                 {400, JSON("ResourceNotFoundException"), "ResourceNotFoundException"},
                 {403, "", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_no_rules(bench->http);
        answers(bench, 0, cases[i].status, cases[i].body);
        make(bench);
        run(bench);
        check_end(&bench->request, ST_AWS_ANSWERED, cases[i].status, cases[i].code);
        assert_int_equal(bench->request.tries, 1);
        assert_string_equal((const char *)bench->request.answer.ptr, cases[i].body);
    }
    assert_string_equal(bench->request.reason, "the service answered status 403 without saying why");
}

/* One failure, then one answer: what the two together tell. */
static void check_sum(struct bench *bench, struct rule first, struct rule then, enum st_aws_end end, int status,
                      const char *code) {
    fixture_no_rules(bench->http);
    first.times = 1;
    fixture_rule(bench->http, first);
    fixture_rule(bench->http, then);
    make(bench)->tries_max = 2;
    bench->client.retry_spent = 0;
    run(bench);
    assert_int_equal(bench->request.tries, 2);
    check_end(&bench->request, end, status, code);
}

static void a_refusal_does_not_undo_an_unknown_outcome(void **state) {
    struct bench *bench = *state;
    const struct rule lost = {.end = ST_HTTP_LOST}, not_sent = {.end = ST_HTTP_NOT_SENT};
    const struct rule slow = {.status = 503, .body = XML("SlowDown")};
    const struct rule internal = {.status = 500, .body = XML("InternalError")};
    const struct rule denied = {.status = 403, .body = XML("AccessDenied")};
    const struct rule there = {.status = 412, .body = XML("PreconditionFailed")};
    const struct rule nowhere = {.status = 404, .body = XML("NoSuchBucket")};
    const struct rule bare = {.status = 412}, ok = {.status = 200, .body = ""};
    const struct rule made = {.status = 400, .body = JSON("ResourceInUseException")};

    check_sum(bench, lost, ok, ST_AWS_ANSWERED, 200, "");
    check_sum(bench, lost, there, ST_AWS_ANSWERED, 412, "PreconditionFailed");
    check_sum(bench, lost, bare, ST_AWS_ANSWERED, 412, "");
    check_sum(bench, lost, made, ST_AWS_ANSWERED, 400, "ResourceInUseException"); /* its own CreateTable, perhaps */
    check_sum(bench, lost, denied, ST_AWS_UNKNOWN, 403, "AccessDenied");
    check_sum(bench, internal, denied, ST_AWS_UNKNOWN, 403, "AccessDenied");
    check_sum(bench, lost, nowhere, ST_AWS_UNKNOWN, 404, "NoSuchBucket");
    check_sum(bench, lost, slow, ST_AWS_UNKNOWN, 503, "SlowDown");
    check_sum(bench, lost, not_sent, ST_AWS_UNKNOWN, 0, "");
    check_sum(bench, internal, not_sent, ST_AWS_UNKNOWN, 0, "");
    check_sum(bench, not_sent, lost, ST_AWS_UNKNOWN, 0, "");

    check_sum(bench, slow, denied, ST_AWS_ANSWERED, 403, "AccessDenied");
    check_sum(bench, not_sent, denied, ST_AWS_ANSWERED, 403, "AccessDenied");
    check_sum(bench, not_sent, slow, ST_AWS_REFUSED, 503, "SlowDown");
    check_sum(bench, slow, not_sent, ST_AWS_REFUSED, 0, "");
    check_sum(bench, not_sent, not_sent, ST_AWS_REFUSED, 0, "");
}

static void what_only_reads_is_never_of_unknown_outcome(void **state) {
    struct bench *bench = *state;
    ends(bench, 0, ST_HTTP_LOST);
    make(bench)->method = "GET";
    bench->request.tries_max = 2;
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    make(bench)->method = "HEAD";
    bench->request.tries_max = 2;
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    make_dynamodb(bench)->read_only = true;
    bench->request.tries_max = 2;
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    make_dynamodb(bench)->tries_max = 2;
    run(bench);
    check_end(&bench->request, ST_AWS_UNKNOWN, 0, "");
}

static void an_error_with_status_200_is_an_error(void **state) {
    struct bench *bench = *state;
    answers(bench, 1, 200, XML("InternalError"));
    answers(bench, 1, 200, "<Error/>");
    answers(bench, 0, 200, "<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>");
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
    assert_int_equal(bench->request.tries, 3);
    fixture_no_rules(bench->http);
    answers(bench, 0, 200, XML("AccessDenied"));
    make(bench)->tries_max = 2;
    run(bench);
    check_end(&bench->request, ST_AWS_UNKNOWN, 200, "AccessDenied");
    fixture_no_rules(bench->http);
    answers(bench, 0, 200, XML("InternalError")); /* DynamoDB's answers are never XML: it is what was stored */
    make_dynamodb(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
}

static void an_answer_that_is_too_long_and_memory_that_is_out_are_told(void **state) {
    struct bench *bench = *state;
    ends(bench, 1, ST_HTTP_TOO_LONG);
    ends(bench, 0, ST_HTTP_NO_MEMORY);
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_UNKNOWN, 200, "");
    assert_int_equal(bench->request.tries, 1);
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    assert_int_equal(bench->request.tries, 1);
}

static void reasons_are_one_clean_line_without_what_was_signed(void **state) {
    struct bench *bench = *state;
    answers(bench, 1, 403, "{\"__type\":\"x#AccessDeniedException\",\"Message\":\"No\\u0007 \\u00e4.\\nThe Canonical "
                           "String should have been x-amz-security-token:abc\"}");
    make_dynamodb(bench);
    run(bench);
    assert_string_equal(bench->request.code, "AccessDeniedException");
    assert_string_equal(bench->request.reason, "AccessDeniedException: No? ??.");
}

/* ---- clocks ---- */

static void a_signature_refused_for_its_time_is_made_again_by_the_services_clock(void **state) {
    struct bench *bench = *state;
    static const char *const bodies[] = {XML("RequestTimeTooSkewed"), XML("RequestExpired"), XML("RequestInTheFuture"),
                                         XML("SignatureDoesNotMatch"), JSON("InvalidSignatureException")};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        int64_t off = i % 2 == 0 ? 20 * MINUTE_MS : -30 * MINUTE_MS;
        bench->http->wall_off_ms = off;
        fixture_no_rules(bench->http);
        answers(bench, 1, 403, bodies[i]);
        answers(bench, 0, 200, "");
        size_t before = bench->http->asked_count;
        make(bench)->tries_max = 1; /* it is no retry */
        run(bench);
        check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
        assert_int_equal(bench->request.tries, 2);
        assert_in_range(bench->client.skew_ms + off + 1000, 0, 1000); /* Date has whole seconds */
        assert_int_equal(bench->http->asked[before].at_ms, bench->http->asked[before + 1].at_ms);
        int minute = (int)(TRUE_WALL_MS / MINUTE_MS + bench->http->asked[before + 1].at_ms / MINUTE_MS);
        char date[64];
        snprintf(date, sizeof date, "x-amz-date: 20231114T%02d%02d20Z\n", minute / 60 % 24, minute % 60);
        assert_true(has_header(&bench->http->asked[before + 1], date));
        make(bench);
        run(bench);
        assert_int_equal(bench->request.tries, 1); /* it is kept */
    }
}

static void the_services_clock_is_learned_once_a_request(void **state) {
    struct bench *bench = *state;
    bench->http->wall_off_ms = 20 * MINUTE_MS;
    answers(bench, 0, 403, XML("RequestTimeTooSkewed"));
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 403, "RequestTimeTooSkewed");
    assert_int_equal(bench->request.tries, 2);
}

static void a_wrong_signature_is_not_blamed_on_a_good_clock(void **state) {
    struct bench *bench = *state;
    bench->http->wall_off_ms = 2 * MINUTE_MS;
    answers(bench, 1, 403, XML("SignatureDoesNotMatch"));
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 403, "SignatureDoesNotMatch");
    assert_int_equal(bench->request.tries, 1);
    assert_int_equal(bench->client.skew_ms, 0);
    fixture_rule(bench->http, (struct rule){.status = 403, .body = XML("RequestTimeTooSkewed"), .no_date = true});
    make(bench);
    run(bench);
    assert_int_equal(bench->request.tries, 1);
}

/* ---- keys ---- */

static void expired_keys_are_fetched_anew_and_the_request_is_signed_again(void **state) {
    struct bench *bench = *state;
    static const char *const bodies[] = {XML("ExpiredToken"), JSON("ExpiredTokenException"), XML("InvalidAccessKeyId"),
                                         JSON("UnrecognizedClientException")};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char token[64], header[128];
        fixture_no_rules(bench->http);
        answers(bench, 1, 200, "");
        answers(bench, 1, 403, bodies[i]);
        answers(bench, 0, 200, "");
        make(bench);
        run(bench);
        snprintf(token, sizeof token, "token-%zu", i);
        setenv("AWS_SESSION_TOKEN", token, 1);
        make(bench)->tries_max = 1;
        run(bench);
        check_end(&bench->request, ST_AWS_ANSWERED, 200, "");
        assert_int_equal(bench->request.tries, 2);
        snprintf(header, sizeof header, "x-amz-security-token: %s\n", token);
        assert_true(has_header(fixture_last(bench->http), header));
    }
}

static void when_there_are_no_other_keys_the_refusal_stands(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 403, XML("InvalidAccessKeyId"));
    for (int i = 0; i < 2; i++) {
        make(bench);
        run(bench);
        check_end(&bench->request, ST_AWS_ANSWERED, 403, "InvalidAccessKeyId");
        assert_int_equal(bench->request.tries, 1);
        assert_string_equal((const char *)bench->request.answer.ptr, XML("InvalidAccessKeyId"));
    }
}

static void new_keys_that_are_refused_too_end_it(void **state) {
    struct bench *bench = *state;
    answers(bench, 1, 200, "");
    answers(bench, 0, 400, XML("ExpiredToken"));
    make(bench);
    run(bench);
    setenv("AWS_SESSION_TOKEN", "another", 1);
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 400, "ExpiredToken");
    assert_int_equal(bench->request.tries, 2);
}

static void keys_that_change_all_the_time_are_tried_once_more_and_not_for_ever(void **state) {
    struct bench *bench = *state;
    static const char *const keys[] = {"one", "two", "three", "four"};
    char answer[4][256];
    clear_environment();
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    for (size_t i = 0; i < 4; i++) {
        snprintf(answer[i], sizeof answer[i], "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
                 "\"Expiration\":\"2023-11-15T22:13:20Z\"}", keys[i]);
        fixture_rule(bench->http, (struct rule){.url = "/task", .status = 200, .body = answer[i], .times = 1});
    }
    answers(bench, 0, 400, XML("ExpiredToken"));
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_ANSWERED, 400, "ExpiredToken");
    assert_int_equal(bench->request.tries, 2);
    assert_non_null(strstr(fixture_last(bench->http)->headers, "Credential=two/"));
}

static void without_credentials_nothing_is_sent_and_the_reason_says_what_was_tried(void **state) {
    struct bench *bench = *state;
    clear_environment();
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    make(bench);
    run(bench);
    check_end(&bench->request, ST_AWS_REFUSED, 0, ST_AWS_NO_CREDENTIALS);
    assert_int_equal(bench->request.tries, 0);
    assert_int_equal(bench->http->asked_count, 0);
    assert_string_equal(bench->request.reason, "no credentials: AWS_ACCESS_KEY_ID is not set; profile 'default' has no "
                        "keys; no AWS_WEB_IDENTITY_TOKEN_FILE; no container endpoint; AWS_EC2_METADATA_DISABLED is "
                        "set");
}

static void credentials_that_come_too_late_are_not_waited_for(void **state) {
    struct bench *bench = *state;
    clear_environment();
    fixture_rule(bench->http, (struct rule){.url = "169.254.169.254", .takes_ms = 900, .status = 200, .body = "t"});
    make(bench)->timeout_ms = 500;
    st_aws_start(&bench->request);
    fixture_run(bench->http, 501);
    assert_int_equal(bench->done, 1);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    assert_string_equal(bench->request.reason, "the credentials did not come in time");
    assert_int_equal(bench->http->under_way, 1);
    fixture_run(bench->http, MINUTE_MS);
    assert_int_equal(bench->done, 1);
}

/* ---- the rest ---- */

static void start_another(struct st_aws_request *request) {
    struct bench *bench = bench_of(request);
    if (++bench->done < 3) {
        st_aws_request_release(request);
        st_aws_start(request);
    }
}

static void who_is_called_may_start_the_next_request_in_the_same_struct(void **state) {
    struct bench *bench = *state;
    answers(bench, 0, 200, "answer");
    make(bench)->done = start_another;
    st_aws_start(&bench->request);
    fixture_run(bench->http, 10);
    assert_int_equal(bench->done, 3);
    assert_int_equal(bench->http->asked_count, 3);
}

static bool memory_out;
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return memory_out ? NULL : __real_calloc(count, size);
}

static void a_request_without_memory_is_refused_from_the_loop(void **state) {
    struct bench *bench = *state;
    make(bench);
    memory_out = true;
    st_aws_start(&bench->request);
    memory_out = false;
    assert_int_equal(bench->done, 0);
    fixture_run(bench->http, 0);
    assert_int_equal(bench->done, 1);
    check_end(&bench->request, ST_AWS_REFUSED, 0, "");
    assert_int_equal(bench->http->asked_count, 0);
}

static void no_error_stands_in_the_table_twice(void **state) {
    (void)state;
    static const char *const codes[] = {
#define AWS_ERROR(code, class, unknown) code,
#include "storage/backends/aws/aws_errors.def"
#undef AWS_ERROR
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_true(strlen(codes[i]) < sizeof((struct st_aws_request *)NULL)->code);
        for (size_t other = 0; other < i; other++) {
            assert_string_not_equal(codes[i], codes[other]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_can_change_on_the_way_is_signed_without_its_body),
        TEST(else_the_hash_of_the_body_is_signed),
        TEST(the_host_is_signed_as_it_is_sent),
        TEST(a_session_token_is_sent),
        TEST(what_is_read_goes_where_it_is_wanted),
        TEST(a_request_that_cannot_be_signed_is_refused_and_not_sent),
        TEST(what_failed_for_a_moment_is_sent_again_unchanged_over_a_fresh_connection),
        TEST(a_request_that_takes_long_is_sent_a_second_time_unchanged),
        TEST(retries_wait_with_full_jitter),
        TEST(no_delay_is_longer_than_twenty_seconds),
        TEST(what_the_service_asks_to_wait_is_waited),
        TEST(tries_and_time_are_bounded),
        TEST(the_budget_of_retries_is_shared_and_ends),
        TEST(a_retry_that_succeeds_gives_its_cost_back),
        TEST(answers_about_what_is_stored_are_passed_on_at_once),
        TEST(a_refusal_does_not_undo_an_unknown_outcome),
        TEST(what_only_reads_is_never_of_unknown_outcome),
        TEST(an_error_with_status_200_is_an_error),
        TEST(an_answer_that_is_too_long_and_memory_that_is_out_are_told),
        TEST(reasons_are_one_clean_line_without_what_was_signed),
        TEST(a_signature_refused_for_its_time_is_made_again_by_the_services_clock),
        TEST(the_services_clock_is_learned_once_a_request),
        TEST(a_wrong_signature_is_not_blamed_on_a_good_clock),
        TEST(expired_keys_are_fetched_anew_and_the_request_is_signed_again),
        TEST(when_there_are_no_other_keys_the_refusal_stands),
        TEST(new_keys_that_are_refused_too_end_it),
        TEST(keys_that_change_all_the_time_are_tried_once_more_and_not_for_ever),
        TEST(without_credentials_nothing_is_sent_and_the_reason_says_what_was_tried),
        TEST(credentials_that_come_too_late_are_not_waited_for),
        TEST(who_is_called_may_start_the_next_request_in_the_same_struct),
        TEST(a_request_without_memory_is_refused_from_the_loop),
        TEST(no_error_stands_in_the_table_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
