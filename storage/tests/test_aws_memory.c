/* Memory that is out where identities are made: a sentence or a refusal, and once it is back, all is well. */
#include "storage/backends/aws/request.h"
#include "storage/tests/aws_credentials_fixture.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* Allocations of these sizes fail. The double's own are smaller; a shared file is read into 256 KiB. */
static size_t least_failing = SIZE_MAX, most_failing = SIZE_MAX;
static bool openssl_fails;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size) {
    return size >= least_failing && size <= most_failing ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return count * size >= least_failing ? NULL : __real_calloc(count, size);
}

static void *openssl_malloc(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    return openssl_fails ? NULL : malloc(size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    return openssl_fails ? NULL : realloc(memory, size);
}

static void openssl_free(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    free(memory);
}

static void check_reason_without(struct bench *bench, size_t least, const char *end) {
    least_failing = least;
    const struct want *want = want_keys(bench);
    least_failing = SIZE_MAX;
    assert_string_equal(want->keys.id, "");
    size_t len = strlen(want->want.reason), end_len = strlen(end);
    if (len < end_len || strcmp(want->want.reason + len - end_len, end) != 0) {
        fail_msg("%s", want->want.reason);
    }
}

static void nothing_is_made_without_memory(void **state) {
    struct bench *bench = *state;
    least_failing = 4096;
    struct st_aws_credentials *none = st_aws_credentials_new(bench->http->loop, bench->http, "r");
    least_failing = SIZE_MAX;
    assert_null(none);
}

static void a_web_identity_without_memory_is_an_error_and_works_later(void **state) {
    struct bench *bench = *state;
    write_file(bench, "token");
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", bench->file, 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    fixture_rule(bench->http, (struct rule){.status = 200, .body =
        "<C><AccessKeyId>from-sts</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        "<Expiration>2023-11-14T23:13:20Z</Expiration></C>"});
    most_failing = 200000;
    check_reason_without(bench, 20000, "cannot be read: Cannot allocate memory");
    check_reason_without(bench, 60000, "is longer than memory or STS takes");
    most_failing = SIZE_MAX;
    assert_int_equal(bench->http->asked_count, 0);
    check_id(bench, "from-sts");
}

static void a_profile_without_memory_is_an_error_and_works_later(void **state) {
    struct bench *bench = *state;
    char region[ST_AWS_REGION_MAX];
    write_file(bench, "[default]\nregion=r\naws_access_key_id=of-file\naws_secret_access_key=s\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->file, 1);
    check_reason_without(bench, 100000, "cannot be read: Cannot allocate memory");
    least_failing = 100000;
    assert_false(st_aws_region_configured(region));
    least_failing = SIZE_MAX;
    assert_true(st_aws_region_configured(region));
    check_id(bench, "of-file");
}

static void region_done(struct st_aws_region_ask *ask) {
    assert_string_equal(ask->reason, "no memory to ask for the region");
    ask->reason[0] = '\0';
}

static void a_region_without_memory_is_told_from_the_loop(void **state) {
    struct bench *bench = *state;
    struct st_aws_region_ask ask = {.done = region_done};
    least_failing = 4096;
    st_aws_region_ask(bench->http->loop, bench->http, &ask);
    least_failing = SIZE_MAX;
    assert_string_not_equal(ask.reason, "");
    fixture_run(bench->http, 0);
    assert_string_equal(ask.reason, "");
    assert_int_equal(bench->http->asked_count, 0);
}

struct sending {
    struct st_aws_request request;
    unsigned done;
};

static void sent(struct st_aws_request *request) {
    ST_OWNER(request, struct sending, request)->done++;
}

static void a_request_that_cannot_be_signed_for_want_of_memory_is_refused(void **state) {
    struct bench *bench = *state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    struct st_aws_client client = {
        .loop = bench->http->loop, .http = bench->http, .credentials = bench->credentials, .region = "r"};
    struct st_aws_service services[] = {
        {.client = &client, .name = "s3", .endpoint = "https://h", .unsigned_bodies = true},
        {.client = &client, .name = "dynamodb", .endpoint = "https://h"}};
    fixture_rule(bench->http, (struct rule){.status = 200, .body = ""});
    for (int i = 0; i < 4; i++) { /* each service without memory, then with it */
        struct sending sending = {.request = {.service = &services[i % 2], .method = "POST", .target = "/",
                                              .timeout_ms = 5000, .tries_max = 3, .answer_max = 100, .done = sent}};
        openssl_fails = i < 2;
        st_aws_start(&sending.request);
        fixture_run(bench->http, 6000);
        openssl_fails = false;
        assert_int_equal(sending.done, 1);
        assert_int_equal(sending.request.end, i < 2 ? ST_AWS_REFUSED : ST_AWS_ANSWERED);
        assert_int_equal(sending.request.tries, i < 2 ? 0 : 1);
        assert_int_equal(sending.request.reason[0] != '\0', i < 2);
        st_aws_request_release(&sending.request);
    }
}

int main(void) {
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1) {
        return 1; /* too late: something has been allocated */
    }
    OPENSSL_init_crypto(OPENSSL_INIT_ADD_ALL_DIGESTS, NULL); /* what fails for ever if it fails once */
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_made_without_memory),
        TEST(a_web_identity_without_memory_is_an_error_and_works_later),
        TEST(a_profile_without_memory_is_an_error_and_works_later),
        TEST(a_region_without_memory_is_told_from_the_loop),
        TEST(a_request_that_cannot_be_signed_for_want_of_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
