/*
 * Signatures before judges that are not ours: an S3 server that checks every part of one, and DynamoDB Local. Run by
 * `infra/aws-parts run`, which names them in the environment.
 */
#include "storage/backends/aws/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/runtime/loop_poll.h"

enum { SKIPPED = 77, HOUR_MS = 3600 * 1000 };

struct bench {
    struct st_loop *loop;
    struct st_aws_client client;
    struct st_aws_service s3, dynamodb;
    struct st_aws_request request;
    uint64_t run; /* in the names of objects */
    bool over;
};

static void over(void *arg) {
    struct bench *bench = arg;
    bench->over = true;
    st_loop_poll_stop(bench->loop);
}

static void request_done(struct st_aws_request *request) {
    over(ST_OWNER(request, struct bench, request));
}

static void wait_for(struct bench *bench) {
    while (!bench->over) {
        assert_true(st_loop_poll_run(bench->loop));
    }
}

static void service(struct bench *bench, struct st_aws_service *service, const char *name, const char *variable) {
    bool private = strncmp(getenv(variable), "https", 5) == 0;
    *service = (struct st_aws_service){.client = &bench->client, .unsigned_bodies = private};
    snprintf(service->name, sizeof service->name, "%s", name);
    snprintf(service->endpoint, sizeof service->endpoint, "%s", getenv(variable));
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    struct st_http_options options = st_http_options_default();
    options.ca_file = getenv("AWS_PARTS_CA");
    bench->loop = st_loop_poll_new();
    bench->client = (struct st_aws_client){.loop = bench->loop, .http = st_http_client_new(bench->loop, &options)};
    assert_true(st_aws_region_configured(bench->client.region));
    bench->client.credentials = st_aws_credentials_new(bench->loop, bench->client.http, bench->client.region);
    bench->run = st_random_u64(bench->loop);
    service(bench, &bench->s3, "s3", "AWS_ENDPOINT_URL_S3");
    service(bench, &bench->dynamodb, "dynamodb", "AWS_ENDPOINT_URL_DYNAMODB");
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    st_aws_request_release(&bench->request);
    bench->over = false;
    st_http_client_close(bench->client.http, over, bench);
    wait_for(bench);
    st_aws_credentials_free(bench->client.credentials);
    st_loop_poll_free(bench->loop);
    free(bench);
    return 0;
}

/* Sends it, after what the test set in bench->request, and returns the status. */
static int send_request(struct bench *bench) {
    struct st_aws_request *request = &bench->request;
    request->timeout_ms = 20000;
    request->try_ms = 10000;
    request->tries_max = 1;
    request->answer_max = 64 * 1024;
    request->done = request_done;
    bench->over = false;
    st_aws_start(request);
    wait_for(bench);
    return request->status;
}

/* To an object of this run; `name` is escaped. */
static int to_object(struct bench *bench, const char *method, const char *name, const char *body) {
    st_aws_request_release(&bench->request);
    bench->request = (struct st_aws_request){.service = &bench->s3, .method = method};
    snprintf(bench->request.target, sizeof bench->request.target, "/%s/signed-%016llx/%s", getenv("AWS_PARTS_BUCKET"),
             (unsigned long long)bench->run, name);
    if (body != NULL) {
        bench->request.body = kp_slice_cstr(body);
        bench->request.headers[bench->request.header_count++] = "Content-Type:   text/plain;  charset=utf-8 ";
        bench->request.headers[bench->request.header_count++] = "x-amz-meta-b: of two";
        bench->request.headers[bench->request.header_count++] = "X-Amz-Meta-A: headers";
    }
    return send_request(bench);
}

static void check_names(struct bench *bench) {
    static const char *const names[] = {"plain",      "a%20blank",   "a%2Bplus", "%C3%A4",        "a%3Db%26c%3F",
                                        "-._~",       "%2525",       "a//b/",    "%28%27%21%2A%29", "%22%3C%3E%7C",
                                        "topics/a%24"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (to_object(bench, "PUT", names[i], names[i]) != 200 || to_object(bench, "GET", names[i], NULL) != 200) {
            fail_msg("%s: %s", names[i], bench->request.reason);
        }
        assert_string_equal((const char *)bench->request.answer.ptr, names[i]);
        assert_int_equal(to_object(bench, "DELETE", names[i], NULL), 204);
    }
}

static void names_of_every_kind_are_signed_as_the_server_reads_them(void **state) {
    check_names(*state);
}

static void over_tls_too_where_bodies_are_not_signed(void **state) {
    struct bench *bench = *state;
    service(bench, &bench->s3, "s3", "AWS_PARTS_S3_TLS");
    assert_true(bench->s3.unsigned_bodies);
    check_names(bench);
}

static void parameters_are_signed_in_any_order(void **state) {
    struct bench *bench = *state;
    static const char *const queries[] = {
        "list-type=2&max-keys=5&prefix=a%20%2Bb", "prefix=&max-keys=5&list-type=2", "location",
        "max-keys=5&list-type=2&delimiter=%2F", "list-type=2&start-after=a%3D%26&max-keys=1",
        "list-type=2&fetch-owner=&max-keys=1"};
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        st_aws_request_release(&bench->request);
        bench->request = (struct st_aws_request){.service = &bench->s3, .method = "GET"};
        snprintf(bench->request.target, sizeof bench->request.target, "/%s?%s", getenv("AWS_PARTS_BUCKET"), queries[i]);
        if (send_request(bench) != 200) {
            fail_msg("%s: %s", queries[i], bench->request.reason);
        }
    }
}

static void a_clock_that_is_hours_off_is_no_hindrance(void **state) {
    struct bench *bench = *state;
    static const int64_t offs[] = {5 * HOUR_MS, -30 * HOUR_MS, 20 * 60 * 1000};
    for (size_t i = 0; i < sizeof offs / sizeof offs[0]; i++) {
        bench->client.skew_ms = offs[i]; /* the same to the server as a clock that is off */
        assert_int_equal(to_object(bench, "PUT", "skewed", "x"), 200);
        assert_int_equal(bench->request.tries, 2);
        assert_in_range(bench->client.skew_ms + 5000, 0, 10000);
        assert_int_equal(to_object(bench, "PUT", "skewed", "y"), 200);
        assert_int_equal(bench->request.tries, 1);
    }
    assert_int_equal(to_object(bench, "DELETE", "skewed", NULL), 204);
}

static void wrong_keys_are_told_by_name(void **state) {
    struct bench *bench = *state;
    char id[64], secret[64];
    snprintf(id, sizeof id, "%s", getenv("AWS_ACCESS_KEY_ID"));
    snprintf(secret, sizeof secret, "%s", getenv("AWS_SECRET_ACCESS_KEY"));
    setenv("AWS_SECRET_ACCESS_KEY", "another", 1);
    assert_int_equal(to_object(bench, "PUT", "x", "x"), 403);
    assert_string_equal(bench->request.code, "SignatureDoesNotMatch");
    assert_int_equal(bench->request.end, ST_AWS_ANSWERED);
    assert_int_equal(bench->request.tries, 1);
    setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
    assert_int_equal(to_object(bench, "GET", "x", NULL), 403); /* nobody has told that the keys are wrong */
    st_aws_keys_refused(bench->client.credentials, 1);
    assert_int_equal(to_object(bench, "GET", "x", NULL), 404);
    assert_string_equal(bench->request.code, "NoSuchKey");

    setenv("AWS_ACCESS_KEY_ID", "nobody", 1);
    st_aws_keys_refused(bench->client.credentials, 2);
    setenv("AWS_ACCESS_KEY_ID", id, 1);
    assert_int_equal(to_object(bench, "GET", "x", NULL), 404); /* InvalidAccessKeyId: fetched anew, signed again */
    assert_int_equal(bench->request.tries, 2);
}

static void dynamodb_takes_what_is_signed(void **state) {
    struct bench *bench = *state;
    st_aws_request_release(&bench->request);
    bench->request = (struct st_aws_request){
        .service = &bench->dynamodb, .method = "POST", .target = "/", .body = KP_SLICE_LIT("{\"Limit\":1}"),
        .headers = {"Content-Type: application/x-amz-json-1.0", "X-Amz-Target: DynamoDB_20120810.ListTables"},
        .header_count = 2, .read_only = true};
    assert_int_equal(send_request(bench), 200);
    st_aws_request_release(&bench->request);
    bench->request.headers[1] = "X-Amz-Target: DynamoDB_20120810.DescribeTable";
    bench->request.body = KP_SLICE_LIT("{\"TableName\":\"nobody-has-this\"}");
    assert_int_equal(send_request(bench), 400);
    assert_string_equal(bench->request.code, "ResourceNotFoundException");
    assert_int_equal(bench->request.end, ST_AWS_ANSWERED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    if (getenv("AWS_PARTS_BUCKET") == NULL) {
        printf("skipped: AWS_PARTS_BUCKET is not set; run it by infra/aws-parts run DIR\n");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        TEST(names_of_every_kind_are_signed_as_the_server_reads_them),
        TEST(over_tls_too_where_bodies_are_not_signed),
        TEST(parameters_are_signed_in_any_order),
        TEST(a_clock_that_is_hours_off_is_no_hindrance),
        TEST(wrong_keys_are_told_by_name),
        TEST(dynamodb_takes_what_is_signed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
