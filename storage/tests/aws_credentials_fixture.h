/* Credentials over the double of HTTP: an environment that the test owns, a file, wants, and a metadata service. */
#ifndef AWS_CREDENTIALS_FIXTURE_H
#define AWS_CREDENTIALS_FIXTURE_H

#include "storage/backends/aws/credentials.h"

#include "storage/tests/aws_fixture.h"

#include <unistd.h>

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define IMDS "169.254.169.254"

enum { WANTS_MOST = 100 };

struct want {
    struct st_aws_keys_want want;
    struct bench *bench;
    unsigned done;
    struct st_aws_keys keys; /* id "": none */
};

struct bench {
    struct st_http_client *http;
    struct st_aws_credentials *credentials;
    struct want wants[WANTS_MOST];
    char folder[64], file[128];
    char answer[4][1024];
};

static inline void want_done(struct st_aws_keys_want *base, const struct st_aws_keys *keys) {
    struct want *want = ST_OWNER(base, struct want, want);
    want->done++;
    want->keys = keys == NULL ? (struct st_aws_keys){0} : *keys;
}

static inline int set_up(void **state) {
    static const char *const names[] = {
        "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_SECRET_ACCESS_KEY",
        "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_REGION", "AWS_DEFAULT_REGION",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    struct bench *bench = calloc(1, sizeof *bench);
    bench->http = fixture_new();
    bench->credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
    snprintf(bench->folder, sizeof bench->folder, "%s", "/tmp/aws_credentials_XXXXXX");
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->file, sizeof bench->file, "%s/file", bench->folder);
    *state = bench;
    return bench->credentials == NULL;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;
    st_aws_credentials_free(bench->credentials);
    fixture_free(bench->http);
    unlink(bench->file);
    rmdir(bench->folder);
    free(bench);
    return 0;
}

static inline void write_file(struct bench *bench, const char *text) {
    FILE *file = fopen(bench->file, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Wants number `which`, without letting time pass. */
static inline struct want *start_want(struct bench *bench, size_t which) {
    struct want *want = &bench->wants[which];
    *want = (struct want){.want.done = want_done, .bench = bench};
    st_aws_keys_want(bench->credentials, &want->want);
    assert_int_equal(want->done, 0);
    return want;
}

/* Wants keys and waits for the answer. */
static inline struct want *want_keys(struct bench *bench) {
    struct want *want = start_want(bench, 0);
    fixture_run(bench->http, 20000);
    assert_int_equal(want->done, 1);
    return want;
}

static inline void check_id(struct bench *bench, const char *id) {
    const struct want *want = want_keys(bench);
    if (strcmp(want->keys.id, id) != 0) {
        fail_msg("keys '%s' instead of '%s': %s", want->keys.id, id, want->want.reason);
    }
}

static inline void check_reason(struct bench *bench, const char *reason) {
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "");
    assert_memory_equal(want->want.reason, "no credentials: ", 16);
    assert_string_equal(want->want.reason + 16, reason);
}

/* "2023-11-14T22:13:20Z" of the services' clock in so many milliseconds from now. */
static inline const char *time_text(struct bench *bench, int64_t in_ms) {
    static char text[32];
    int64_t seconds = (TRUE_WALL_MS + fixture_now_ms(bench->http) + in_ms) / 1000;
    int64_t days = seconds / 86400, rest = seconds % 86400;
    int year = 1970, month = 0;
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (; days >= 365 + (year % 4 == 0); year++) {
        days -= 365 + (year % 4 == 0);
    }
    for (; days >= lengths[month] + (month == 1 && year % 4 == 0); month++) {
        days -= lengths[month] + (month == 1 && year % 4 == 0);
    }
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", year, month + 1, (int)days + 1, (int)(rest / 3600),
             (int)(rest / 60 % 60), (int)(rest % 60));
    return text;
}

/* The JSON of IMDS and container endpoints, in one of the bench's places. */
static inline const char *json_keys(struct bench *bench, size_t place, const char *id, int64_t expires_in_ms) {
    snprintf(bench->answer[place], sizeof bench->answer[place],
             "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"hush\\/%s\","
             "\"Token\":\"token-%s\",\"Expiration\":\"%s\"}",
             id, id, id, time_text(bench, expires_in_ms));
    return bench->answer[place];
}

static inline void answers(struct bench *bench, const char *url, int status, const char *body) {
    fixture_rule(bench->http, (struct rule){.url = url, .status = status, .body = body, .takes_ms = 3});
}

/* An instance with a role, whose keys are those of json_keys in place 0. */
static inline void imds(struct bench *bench, const char *id, int64_t expires_in_ms) {
    fixture_no_rules(bench->http);
    fixture_rule(bench->http, (struct rule){.method = "PUT", .url = IMDS "/latest/api/token", .status = 200,
                                            .body = "session", .takes_ms = 1});
    answers(bench, IMDS "/latest/meta-data/iam/security-credentials/a-role", 200,
            json_keys(bench, 0, id, expires_in_ms));
    answers(bench, IMDS "/latest/meta-data/iam/security-credentials/", 200, "a-role\nanother\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
