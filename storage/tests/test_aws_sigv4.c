/* Signatures, against aws_sigv4_cases.txt and at their bounds. */
#include "storage/backends/aws/sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LINE_SIZE = 2048, HEADERS_MOST = 8 };

/* One case of the file. */
struct example {
    char title[LINE_SIZE], time[64], region[64], service[64], scope[128], method[16], target[LINE_SIZE], host[128];
    char headers[HEADERS_MOST][LINE_SIZE], body[256], canonical[8 * LINE_SIZE], canonical_hash[80], signature[80];
    size_t header_count;
    bool hash_sent;
    struct st_aws_keys keys;
};

static const char *value_of(const char *line, const char *name) {
    size_t len = strlen(name);
    return strncmp(line, name, len) == 0 && line[len] == ' ' ? line + len + 1 : NULL;
}

static void take_canonical(struct example *example, const char *line) {
    size_t len = strlen(example->canonical);
    snprintf(example->canonical + len, sizeof example->canonical - len, "%s%s", len == 0 ? "" : "\n",
             strcmp(line, "  -") == 0 ? "" : line + 2);
}

static void take_line(struct example *example, const char *line) {
    const char *value;
    if (line[0] == '#') {
        snprintf(example->title, sizeof example->title, "%s", line + 2);
    } else if (strncmp(line, "  ", 2) == 0) {
        take_canonical(example, line);
    } else if ((value = value_of(line, "time")) != NULL) {
        snprintf(example->time, sizeof example->time, "%s", value);
    } else if ((value = value_of(line, "scope")) != NULL) {
        snprintf(example->scope, sizeof example->scope, "%s", value);
        assert_int_equal(sscanf(value, "%*8d/%63[^/]/%63[^/]/aws4_request", example->region, example->service), 2);
    } else if ((value = value_of(line, "id")) != NULL) {
        snprintf(example->keys.id, sizeof example->keys.id, "%s", value);
    } else if ((value = value_of(line, "secret")) != NULL) {
        snprintf(example->keys.secret, sizeof example->keys.secret, "%s", value);
    } else if ((value = value_of(line, "token")) != NULL) {
        snprintf(example->keys.token, sizeof example->keys.token, "%s", value);
    } else if ((value = value_of(line, "request")) != NULL) {
        assert_int_equal(sscanf(value, "%15s %2047s", example->method, example->target), 2);
    } else if ((value = value_of(line, "host")) != NULL) {
        snprintf(example->host, sizeof example->host, "%s", value);
    } else if ((value = value_of(line, "header")) != NULL) {
        assert_true(example->header_count < HEADERS_MOST);
        snprintf(example->headers[example->header_count++], LINE_SIZE, "%s", value);
    } else if ((value = value_of(line, "body")) != NULL) {
        snprintf(example->body, sizeof example->body, "%s", value);
    } else if ((value = value_of(line, "canonical_hash")) != NULL) {
        snprintf(example->canonical_hash, sizeof example->canonical_hash, "%s", value);
    } else if ((value = value_of(line, "signature")) != NULL) {
        snprintf(example->signature, sizeof example->signature, "%s", value);
    } else if (strcmp(line, "hash sent") == 0) {
        example->hash_sent = true;
    } else if (strcmp(line, "canonical") != 0) {
        fail_msg("unknown line: %s", line);
    }
}

/* Unix milliseconds of "20150830T123600Z": days of the era, by the proleptic calendar. */
static int64_t time_of(const char *text) {
    int year, month, day, hour, minute, second;
    assert_int_equal(sscanf(text, "%4d%2d%2dT%2d%2d%2dZ", &year, &month, &day, &hour, &minute, &second), 6);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int leaps = (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    int leap = month > 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int64_t days = (int64_t)(year - 1970) * 365 + leaps + before[month - 1] + leap + day - 1;
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000;
}

static void check_example(const struct example *example) {
    const char *headers[HEADERS_MOST];
    char payload[ST_SIGV4_HASH_MAX], expected[LINE_SIZE];
    for (size_t i = 0; i < example->header_count; i++) {
        headers[i] = example->headers[i];
    }
    assert_true(st_sigv4_hash(kp_slice_cstr(example->body), payload));
    const struct st_sigv4 request = {
        .method = example->method, .target = example->target, .host = example->host, .headers = headers,
        .header_count = example->header_count, .payload = payload, .payload_header = example->hash_sent,
        .time_ms = time_of(example->time), .region = example->region, .service = example->service,
        .keys = &example->keys,
    };
    struct st_sigv4_text text;
    assert_true(st_sigv4_canonical(&request, &text));
    assert_string_equal(text.bytes, example->canonical);
    assert_true(st_sigv4_string_to_sign(&request, &text));
    if (example->canonical_hash[0] != '\0') {
        snprintf(expected, sizeof expected, "AWS4-HMAC-SHA256\n%s\n%s\n%s", example->time, example->scope,
                 example->canonical_hash);
        assert_string_equal(text.bytes, expected);
    }
    struct st_sigv4_key key = {0};
    struct st_sigv4_headers signed_as;
    assert_true(st_sigv4_sign(&request, &key, &signed_as));
    const char *signature = strstr(signed_as.authorization, ", Signature=");
    assert_non_null(signature);
    assert_string_equal(signature + strlen(", Signature="), example->signature);
    snprintf(expected, sizeof expected, "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=",
             example->keys.id, example->scope);
    assert_memory_equal(signed_as.authorization, expected, strlen(expected));
    snprintf(expected, sizeof expected, "x-amz-date: %s", example->time);
    assert_string_equal(signed_as.date, expected);
    assert_int_equal(signed_as.payload[0] != '\0', example->hash_sent);
    assert_int_equal(signed_as.token[0] != '\0', example->keys.token[0] != '\0');
}

static void published_requests_get_their_published_signatures(void **state) {
    (void)state;
    FILE *file = fopen(TEST_DATA_DIR "/aws_sigv4_cases.txt", "r");
    assert_non_null(file);
    char line[LINE_SIZE];
    struct example *example = calloc(1, sizeof *example);
    size_t checked = 0;
    bool more = true;
    while (more) {
        more = fgets(line, sizeof line, file) != NULL;
        line[more ? strcspn(line, "\n") : 0] = '\0';
        if (line[0] != '\0') {
            take_line(example, line);
            continue;
        }
        if (example->signature[0] != '\0') {
            check_example(example);
            checked++;
        } else {
            assert_string_equal(example->canonical, "");
        }
        *example = (struct example){0};
    }
    free(example);
    fclose(file);
    assert_int_equal(checked, 22);
}

static const struct st_aws_keys keys = {.id = "AKIDEXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};

static struct st_sigv4 plain(const char *target) {
    return (struct st_sigv4){.method = "GET", .target = target, .host = "h", .payload = ST_SIGV4_UNSIGNED,
                             .time_ms = 1440938160000, .region = "us-east-1", .service = "service", .keys = &keys};
}

static void other_services_than_s3_have_the_path_escaped_once_more(void **state) {
    (void)state;
    struct st_sigv4 request = plain("/a%20b/c?d=%20");
    struct st_sigv4_text text;
    request.escape_path = true;
    assert_true(st_sigv4_canonical(&request, &text));
    assert_memory_equal(text.bytes, "GET\n/a%2520b/c\nd=%20\n", 21);
    request.target = "/";
    assert_true(st_sigv4_canonical(&request, &text));
    static const char *const rewritten[] = {"/a/../b", "/./", "//", "/a//b", "/..", "/a/."};
    for (size_t i = 0; i < sizeof rewritten / sizeof rewritten[0]; i++) {
        request.target = rewritten[i];
        assert_false(st_sigv4_canonical(&request, &text));
    }
}

static void a_target_that_is_not_escaped_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "a", "/a b", "/a+b", "/\xC3\xA4", "/%2f", "/%2", "/%", "/?a=b+", "/?a=b=c",
                                        "/?a=b/c", "/?a=%e4", "/?a b", "/a#b", "/a\nb", "/?a?"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct st_sigv4 request = plain(wrong[i]);
        struct st_sigv4_key key = {0};
        struct st_sigv4_headers signed_as;
        if (st_sigv4_sign(&request, &key, &signed_as)) {
            fail_msg("signed: %s", wrong[i]);
        }
        assert_string_equal(signed_as.authorization, "");
    }
}

static void headers_that_are_none_or_would_end_a_line_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "name", ":value", "name: a\r\nother: b", "na\nme: a"};
    struct st_sigv4_text text;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct st_sigv4 request = plain("/");
        request.headers = &wrong[i];
        request.header_count = 1;
        assert_false(st_sigv4_canonical(&request, &text));
    }
}

static void more_than_fits_is_refused_and_nothing_is_cut(void **state) {
    (void)state;
    static char value[ST_SIGV4_TEXT_MAX + 16];
    const char *headers[ST_SIGV4_HEADERS_MAX + 1];
    char query[256] = "/?";
    struct st_sigv4_text text;
    memset(value, 'v', sizeof value - 1);
    memcpy(value, "n: ", 3);
    struct st_sigv4 request = plain("/");
    headers[0] = value;
    request.headers = headers;
    request.header_count = 1;
    assert_false(st_sigv4_canonical(&request, &text));
    value[ST_SIGV4_TEXT_MAX - 200] = '\0';
    assert_true(st_sigv4_canonical(&request, &text));
    for (size_t i = 0; i <= ST_SIGV4_HEADERS_MAX; i++) {
        headers[i] = "a: b";
    }
    request.header_count = ST_SIGV4_HEADERS_MAX;
    assert_true(st_sigv4_canonical(&request, &text));
    request.header_count++;
    assert_false(st_sigv4_canonical(&request, &text));
    for (size_t i = 0; i < ST_SIGV4_PARAMETERS_MAX; i++) {
        snprintf(query + strlen(query), sizeof query - strlen(query), "%sp%zu=1", i == 0 ? "" : "&", i);
    }
    struct st_sigv4 asked = plain(query);
    assert_true(st_sigv4_canonical(&asked, &text));
    snprintf(query + strlen(query), sizeof query - strlen(query), "&q");
    assert_false(st_sigv4_canonical(&asked, &text));
    struct st_sigv4 long_region = plain("/");
    static char region[256];
    memset(region, 'r', sizeof region - 1);
    long_region.region = region;
    struct st_sigv4_key key = {0};
    struct st_sigv4_headers signed_as;
    assert_false(st_sigv4_sign(&long_region, &key, &signed_as));
}

static void a_signing_key_serves_for_its_day_region_service_and_keys_only(void **state) {
    (void)state;
    struct st_sigv4_key key = {0};
    struct st_sigv4_headers first, again;
    struct st_aws_keys other = keys;
    struct st_sigv4 request = plain("/");
    assert_true(st_sigv4_sign(&request, &key, &first));
    struct st_sigv4_key made = key;
    request.time_ms += 1000;
    assert_true(st_sigv4_sign(&request, &key, &again));
    assert_memory_equal(&made, &key, sizeof key);

    /* it is used: another one in its place gives another signature */
    key.key[0] ^= 1;
    struct st_sigv4_headers wrong;
    assert_true(st_sigv4_sign(&request, &key, &wrong));
    assert_string_not_equal(wrong.authorization, again.authorization);

    struct st_sigv4 changed[4] = {request, request, request, request};
    changed[0].time_ms += INT64_C(86400000);
    changed[1].region = "eu-west-1";
    changed[2].service = "s3";
    other.generation++;
    snprintf(other.secret, sizeof other.secret, "another");
    changed[3].keys = &other;
    for (size_t i = 0; i < 4; i++) {
        struct st_sigv4_key fresh = {0};
        struct st_sigv4_headers expected;
        key = made;
        assert_true(st_sigv4_sign(&changed[i], &key, &again));
        assert_true(st_sigv4_sign(&changed[i], &fresh, &expected));
        assert_string_equal(again.authorization, expected.authorization);
        assert_memory_not_equal(key.key, made.key, sizeof key.key);
    }
}

static void an_absent_body_has_the_hash_of_nothing(void **state) {
    (void)state;
    char hash[ST_SIGV4_HASH_MAX];
    assert_true(st_sigv4_hash((struct kp_slice){0}, hash));
    assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_requests_get_their_published_signatures),
        cmocka_unit_test(other_services_than_s3_have_the_path_escaped_once_more),
        cmocka_unit_test(a_target_that_is_not_escaped_is_refused),
        cmocka_unit_test(headers_that_are_none_or_would_end_a_line_are_refused),
        cmocka_unit_test(more_than_fits_is_refused_and_nothing_is_cut),
        cmocka_unit_test(a_signing_key_serves_for_its_day_region_service_and_keys_only),
        cmocka_unit_test(an_absent_body_has_the_hash_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
