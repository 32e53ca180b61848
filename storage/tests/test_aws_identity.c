/* Credentials and signed requests over the real HTTP client, against servers on loopback that behave like AWS's. */
#include "storage/backends/aws/request.h"

#include "storage/tests/http_server.h"

#include <time.h>

#define AN_HOUR_AHEAD_S 3600

struct identity {
    struct world *world;
    struct st_aws_client client;
    struct st_aws_service service;
    struct st_aws_request request;
    struct st_aws_keys_want want;
    struct st_aws_keys keys;
    struct st_aws_region_ask ask;
    unsigned done;
};

static void forget_environment(void) {
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_REGION",
        "AWS_DEFAULT_REGION",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
}

static int set_up(void **state) {
    struct identity *identity = calloc(1, sizeof *identity);
    void *world = NULL;
    forget_environment();
    world_set_up(&world);
    identity->world = world;
    *state = identity;
    return 0;
}

static int tear_down(void **state) {
    struct identity *identity = *state;
    void *world = identity->world;
    if (identity->world->client != NULL) {
        world_close_client(identity->world);
    }
    st_aws_request_release(&identity->request);
    st_aws_credentials_free(identity->client.credentials);
    free(identity);
    return world_tear_down(&world);
}

/* A server, and the variable that makes it the endpoint of something. */
static void serve(struct identity *identity, void (*with)(struct peer *peer), const char *variable, const char *path) {
    char url[128];
    world_serve(identity->world, with);
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", identity->world->server->port, path);
    setenv(variable, url, 1);
}

static void begin(struct identity *identity, const char *service) {
    struct world *world = identity->world;
    identity->client = (struct st_aws_client){.loop = world->loop, .http = world->client, .region = "eu-west-1"};
    identity->client.credentials = st_aws_credentials_new(world->loop, world->client, "eu-west-1");
    identity->service = (struct st_aws_service){.client = &identity->client};
    snprintf(identity->service.name, sizeof identity->service.name, "%s", service);
    if (world->server != NULL) {
        snprintf(identity->service.endpoint, sizeof identity->service.endpoint, "http://127.0.0.1:%u",
                 world->server->port);
    }
}

static void request_done(struct st_aws_request *request) {
    struct identity *identity = ST_OWNER(request, struct identity, request);
    identity->done++;
    st_loop_poll_stop(identity->world->loop);
}

static void want_done(struct st_aws_keys_want *want, const struct st_aws_keys *keys) {
    struct identity *identity = ST_OWNER(want, struct identity, want);
    identity->keys = keys == NULL ? (struct st_aws_keys){0} : *keys;
    identity->done++;
    st_loop_poll_stop(identity->world->loop);
}

static void run(struct identity *identity) {
    while (identity->done == 0) {
        assert_true(st_loop_poll_run(identity->world->loop));
    }
    assert_int_equal(identity->done, 1);
    identity->done = 0;
}

static void want_keys(struct identity *identity) {
    identity->want = (struct st_aws_keys_want){.done = want_done};
    st_aws_keys_want(identity->client.credentials, &identity->want);
    run(identity);
}

static struct st_aws_request *put(struct identity *identity) {
    st_aws_request_release(&identity->request);
    identity->request = (struct st_aws_request){
        .service = &identity->service, .method = "PUT", .target = "/object", .body = KP_SLICE_LIT("bytes"),
        .timeout_ms = 20000, .try_ms = 5000, .tries_max = 4, .answer_max = 4096, .done = request_done};
    return &identity->request;
}

/* ---- servers ---- */

/* "Sun, 06 Nov 1994 08:49:37 GMT", this machine's clock and so many seconds. */
static const char *date_text(int64_t more_s) {
    static _Thread_local char text[64];
    time_t now = time(NULL) + more_s;
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return text;
}

static bool answer(struct peer *peer, int64_t clock_s, int status, const char *body) {
    char head[512];
    snprintf(head, sizeof head, "HTTP/1.1 %d x\r\nDate: %s\r\nContent-Length: %zu\r\n\r\n", status, date_text(clock_s),
             strlen(body));
    return peer_say(peer, head) && peer_say(peer, body);
}

static const char *keys_json(const char *id) {
    static _Thread_local char json[512];
    time_t later = time(NULL) + 6 * 3600;
    char expiration[64];
    struct tm parts;
    gmtime_r(&later, &parts);
    strftime(expiration, sizeof expiration, "%Y-%m-%dT%H:%M:%SZ", &parts);
    snprintf(json, sizeof json,
             "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2023-01-01T00:00:00Z\",\n  \"Type\" : \"AWS-HMAC\",\n"
             "  \"AccessKeyId\" : \"%s\",\n  \"SecretAccessKey\" : \"hush\",\n  \"Token\" : \"token\",\n"
             "  \"Expiration\" : \"%s\"\n}", id, expiration);
    return json;
}

static bool asks(const struct peer *peer, const char *line) {
    return strncmp(peer->head, line, strlen(line)) == 0;
}

/* As the metadata service is: without a session nothing is told, and the session's life is asked for in a header. */
static void metadata(struct peer *peer) {
    bool more = true;
    while (more && peer_read_request(peer)) {
        const char *life = peer_header(peer, "X-aws-ec2-metadata-token-ttl-seconds");
        if (asks(peer, "PUT /latest/api/token ")) {
            more = answer(peer, 0, life != NULL && strcmp(life, "21600") == 0 ? 200 : 400, "AQAEAsession==");
            continue;
        }
        const char *session = peer_header(peer, "X-aws-ec2-metadata-token");
        if (session == NULL || strcmp(session, "AQAEAsession==") != 0) {
            more = answer(peer, 0, 401, "");
        } else if (asks(peer, "GET /latest/meta-data/iam/security-credentials/ ")) {
            more = answer(peer, 0, 200, "the-role");
        } else if (asks(peer, "GET /latest/meta-data/iam/security-credentials/the-role ")) {
            more = answer(peer, 0, 200, keys_json("of-role"));
        } else if (asks(peer, "GET /latest/meta-data/placement/region ")) {
            more = answer(peer, 0, 200, "eu-south-2");
        } else {
            more = answer(peer, 0, 404, "");
        }
    }
}

static void silent(struct peer *peer) {
    peer_wait_for_end(peer);
}

static void container(struct peer *peer) {
    while (peer_read_request(peer)) {
        const char *token = peer_header(peer, "Authorization");
        bool right = asks(peer, "GET /keys?a=b ") && token != NULL && strcmp(token, "Basic abc") == 0;
        answer(peer, 0, right ? 200 : 403, right ? keys_json("of-task") : "{\"code\":\"Denied\",\"message\":\"no\"}");
    }
}

/* The first time it does the work and falls silent, the second time it finds the work done. */
static void loses_its_answer(struct peer *peer) {
    while (peer_read_request(peer)) {
        if (peer->server->requests == 1) {
            peer_reset(peer);
            return;
        }
        answer(peer, 0, 412, "<Error><Code>PreconditionFailed</Code><Message>It is there.</Message></Error>");
    }
}

/* Seconds of the day in "x-amz-date: 20150830T123600Z". */
static int64_t seconds_of_day(const char *date) {
    int hour, minute, second;
    return date != NULL && sscanf(date, "%*8dT%2d%2d%2dZ", &hour, &minute, &second) == 3
               ? hour * 3600 + minute * 60 + second
               : -1;
}

static void an_hour_ahead(struct peer *peer) {
    while (peer_read_request(peer)) {
        int64_t now = (time(NULL) + AN_HOUR_AHEAD_S) % 86400;
        int64_t off = now - seconds_of_day(peer_header(peer, "x-amz-date"));
        bool right = off > -300 && off < 300;
        answer(peer, AN_HOUR_AHEAD_S, right ? 200 : 403,
               right ? "" : "<Error><Code>RequestTimeTooSkewed</Code><Message>Late.</Message></Error>");
    }
}

static void slow_down_once(struct peer *peer) {
    while (peer_read_request(peer)) {
        if (peer->server->requests == 1) {
            peer_say(peer, "HTTP/1.1 503 Slow Down\r\nRetry-After: 1\r\nContent-Length: 36\r\n\r\n"
                           "<Error><Code>SlowDown</Code></Error>");
        } else {
            answer(peer, 0, 200, "");
        }
    }
}

static void cuts_its_answer_once(struct peer *peer) {
    while (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n\r\n01234");
        if (peer->server->requests == 1) {
            return;
        }
        peer_say(peer, "56789");
    }
}

/* ---- tests ---- */

static void an_instances_keys_come_over_one_connection(void **state) {
    struct identity *identity = *state;
    serve(identity, metadata, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "/");
    begin(identity, "s3");
    want_keys(identity);
    assert_string_equal(identity->keys.id, "of-role");
    assert_string_equal(identity->keys.secret, "hush");
    assert_string_equal(identity->keys.token, "token");
    assert_int_equal(identity->world->server->requests, 3);
    assert_int_equal(identity->world->server->connections, 1);
}

static void region_done(struct st_aws_region_ask *ask) {
    struct identity *identity = ST_OWNER(ask, struct identity, ask);
    identity->done++;
    st_loop_poll_stop(identity->world->loop);
}

static void an_instances_region_comes(void **state) {
    struct identity *identity = *state;
    serve(identity, metadata, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "");
    begin(identity, "s3");
    identity->ask.done = region_done;
    st_aws_region_ask(identity->world->loop, identity->world->client, &identity->ask);
    run(identity);
    assert_string_equal(identity->ask.reason, "");
    assert_string_equal(identity->ask.region, "eu-south-2");
}

static void a_machine_that_is_no_instance_says_so(void **state) {
    struct identity *identity = *state;
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
    begin(identity, "s3");
    want_keys(identity);
    assert_string_equal(identity->keys.id, "");
    assert_non_null(strstr(identity->want.reason, "; the instance metadata service does not answer"));
}

static void a_metadata_service_that_never_answers_is_given_up(void **state) {
    struct identity *identity = *state;
    serve(identity, silent, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "");
    begin(identity, "s3");
    want_keys(identity);
    assert_string_equal(identity->keys.id, "");
    assert_int_equal(identity->world->server->connections, 1);
}

static void a_container_endpoint_is_asked_with_its_token(void **state) {
    struct identity *identity = *state;
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1);
    serve(identity, container, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "/keys?a=b");
    begin(identity, "s3");
    want_keys(identity);
    assert_string_equal(identity->keys.id, "of-task");
}

static void a_lost_answer_is_asked_for_again_over_a_fresh_connection(void **state) {
    struct identity *identity = *state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    world_serve(identity->world, loses_its_answer);
    begin(identity, "s3");
    st_aws_start(put(identity));
    run(identity);
    assert_int_equal(identity->request.end, ST_AWS_ANSWERED);
    assert_int_equal(identity->request.status, 412);
    assert_string_equal(identity->request.code, "PreconditionFailed");
    assert_int_equal(identity->request.tries, 2);
    assert_int_equal(identity->world->server->connections, 2);
    put(identity)->tries_max = 1;
    identity->world->server->requests = 0;
    st_aws_start(&identity->request);
    run(identity);
    assert_int_equal(identity->request.end, ST_AWS_UNKNOWN);
}

static void the_services_clock_is_taken_over(void **state) {
    struct identity *identity = *state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    world_serve(identity->world, an_hour_ahead);
    begin(identity, "s3");
    for (unsigned tries = 2; tries > 0; tries--) {
        st_aws_start(put(identity));
        run(identity);
        assert_int_equal(identity->request.end, ST_AWS_ANSWERED);
        assert_int_equal(identity->request.status, 200);
        assert_int_equal(identity->request.tries, tries);
    }
    assert_in_range(identity->client.skew_ms, (AN_HOUR_AHEAD_S - 60) * 1000, (AN_HOUR_AHEAD_S + 60) * 1000);
}

static void what_the_service_asks_to_wait_is_waited(void **state) {
    struct identity *identity = *state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    world_serve(identity->world, slow_down_once);
    begin(identity, "s3");
    int64_t began_ns = st_now_ns(identity->world->loop);
    st_aws_start(put(identity));
    run(identity);
    assert_int_equal(identity->request.status, 200);
    assert_int_equal(identity->request.tries, 2);
    assert_true(st_now_ns(identity->world->loop) - began_ns >= ST_SECOND);
}

static void a_range_that_was_cut_is_read_again_whole(void **state) {
    struct identity *identity = *state;
    uint8_t into[10];
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    world_serve(identity->world, cuts_its_answer_once);
    begin(identity, "s3");
    struct st_aws_request *request = put(identity);
    request->method = "GET";
    request->body = (struct kp_slice){0};
    request->into = into;
    request->into_size = sizeof into;
    st_aws_start(request);
    run(identity);
    assert_int_equal(request->end, ST_AWS_ANSWERED);
    assert_int_equal(request->status, 206);
    assert_int_equal(request->tries, 2);
    assert_int_equal(request->into_len, 10);
    assert_memory_equal(into, "0123456789", 10);
}

/* As the store closes: the HTTP client first, which ends what is under way. */
static void closing_ends_a_fetch_and_who_waits_for_it(void **state) {
    struct identity *identity = *state;
    serve(identity, silent, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "");
    begin(identity, "s3");
    st_aws_start(put(identity));
    while (identity->world->server->connections == 0) {
        st_loop_poll_stop(identity->world->loop);
        assert_true(st_loop_poll_run(identity->world->loop));
    }
    assert_int_equal(identity->done, 0);
    world_close_client(identity->world);
    run(identity);
    assert_int_equal(identity->request.end, ST_AWS_REFUSED);
    assert_string_equal(identity->request.code, ST_AWS_NO_CREDENTIALS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_instances_keys_come_over_one_connection),
        TEST(an_instances_region_comes),
        TEST(a_machine_that_is_no_instance_says_so),
        TEST(a_metadata_service_that_never_answers_is_given_up),
        TEST(a_container_endpoint_is_asked_with_its_token),
        TEST(a_lost_answer_is_asked_for_again_over_a_fresh_connection),
        TEST(the_services_clock_is_taken_over),
        TEST(what_the_service_asks_to_wait_is_waited),
        TEST(a_range_that_was_cut_is_read_again_whole),
        TEST(closing_ends_a_fetch_and_who_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
