/* The URL of an aws store, and where its requests go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/backends/aws/url.h"

static char message[400];

static struct st_aws_url parsed(const char *text) {
    struct st_aws_url url;
    if (!st_aws_url_parse(text, &url, message, sizeof message)) {
        fail_msg("%s: %s", text, message);
    }
    return url;
}

static struct st_aws_place placed(const char *text, const char *region) {
    struct st_aws_url url = parsed(text);
    struct st_aws_place place;
    if (!st_aws_place_of(&url, region, &place, message, sizeof message)) {
        fail_msg("%s: %s", text, message);
    }
    return place;
}

static int no_environment(void **state) {
    (void)state;
    unsetenv("AWS_ENDPOINT_URL");
    unsetenv("AWS_ENDPOINT_URL_S3");
    unsetenv("AWS_ENDPOINT_URL_DYNAMODB");
    return 0;
}

static void bucket_and_table_are_all_that_is_needed(void **state) {
    (void)state;
    struct st_aws_url url = parsed("s3://my-bucket?table=My_table.1");
    assert_string_equal(url.bucket, "my-bucket");
    assert_string_equal(url.prefix, "");
    assert_string_equal(url.table, "My_table.1");
    assert_string_equal(url.region, "");
    assert_true(url.pacing_ms == ST_AWS_PACING_UNSET);
}

static void everything_that_can_be_said_is_understood(void **state) {
    (void)state;
    struct st_aws_url url = parsed("s3://b.c-d/some/Prefix_1/?region=eu-west-1&table=tab&endpoint=http://[::1]:80"
                                   "&endpoint_s3=https://h-1.x:9000&endpoint_dynamodb=http://127.0.0.1&pacing_ms=0");
    assert_string_equal(url.bucket, "b.c-d");
    assert_string_equal(url.prefix, "some/Prefix_1");
    assert_string_equal(url.region, "eu-west-1");
    assert_string_equal(url.endpoint, "http://[::1]:80");
    assert_string_equal(url.endpoint_s3, "https://h-1.x:9000");
    assert_string_equal(url.endpoint_dynamodb, "http://127.0.0.1");
    assert_int_equal(url.pacing_ms, 0);
}

static void every_wrong_url_is_refused_in_one_sentence(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "s3:bucket?table=tab", "s3://?table=tab", "s3://bu?table=tab", "s3://Bucket?table=tab", "s3://bucket",
        "s3://bucket?table=", "s3://bucket?table=ab", "s3://bucket?table=t%41b", "s3://bucket?table=tab&table=tab",
        "s3://bucket?tables=tab", "s3://bucket?table=tab&", "s3://bucket?table=tab&region", "s3://-bucket?table=tab",
        "s3://bucket-?table=tab", "s3://bu..cket?table=tab", "s3://bucket//a?table=tab", "s3://bucket/a//b?table=tab",
        "s3://bucket/../a?table=tab", "s3://bucket/a/.?table=tab", "s3://bucket/a b?table=tab",
        "s3://bucket?table=tab&region=EU", "s3://bucket?table=tab&endpoint=ftp://x", "s3://bucket?table=tab&endpoint=",
        "s3://bucket?table=tab&endpoint=http://", "s3://bucket?table=tab&endpoint=http://x/path",
        "s3://bucket?table=tab&endpoint=http://x:0", "s3://bucket?table=tab&endpoint=http://x:65536",
        "s3://bucket?table=tab&endpoint=http://x:", "s3://bucket?table=tab&endpoint=http://[::1",
        "s3://bucket?table=tab&endpoint=http://u@x", "s3://bucket?table=tab&pacing_ms=-1",
        "s3://bucket?table=tab&pacing_ms=10001", "s3://bucket?table=tab&pacing_ms=",
        "s3://bucket?table=tab?region=x",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct st_aws_url url;
        if (st_aws_url_parse(wrong[i], &url, message, sizeof message)) {
            fail_msg("%s was taken for a URL", wrong[i]);
        }
        size_t len = strlen(message);
        assert_true(len > 30 && len < 250 && message[len - 1] == '.');
    }
    char longest[3000] = "s3://bucket?table=tab&endpoint=http://";
    memset(longest + strlen(longest), 'x', 2000);
    struct st_aws_url url;
    assert_false(st_aws_url_parse(longest, &url, message, sizeof message));
}

static void at_aws_the_host_names_the_bucket_unless_it_has_dots(void **state) {
    (void)state;
    struct st_aws_place place = placed("s3://bucket/a/b?table=tab", "eu-west-1");
    assert_string_equal(place.s3, "https://bucket.s3.eu-west-1.amazonaws.com");
    assert_string_equal(place.dynamodb, "https://dynamodb.eu-west-1.amazonaws.com");
    assert_true(place.s3_private);
    assert_string_equal(place.bucket_path, "");
    assert_string_equal(place.objects, "/a/b/");
    place = placed("s3://my.bucket?table=tab", "cn-north-1");
    assert_string_equal(place.s3, "https://s3.cn-north-1.amazonaws.com.cn");
    assert_string_equal(place.dynamodb, "https://dynamodb.cn-north-1.amazonaws.com.cn");
    assert_string_equal(place.bucket_path, "/my.bucket");
    assert_string_equal(place.objects, "/my.bucket/");
}

static void tls_and_this_machine_itself_are_private(void **state) {
    (void)state;
    static const struct {
        const char *url;
        bool private;
    } cases[] = {
        {"s3://bucket?table=tab&endpoint=https://h", true},
        {"s3://bucket?table=tab&endpoint=http://h", false},
        {"s3://bucket?table=tab&endpoint=http://127.0.0.1:9", true},
        {"s3://bucket?table=tab&endpoint=http://127.1.2.3", true},
        {"s3://bucket?table=tab&endpoint=http://localhost:9", true},
        {"s3://bucket?table=tab&endpoint=http://localhost.x", false},
        {"s3://bucket?table=tab&endpoint=http://[::1]:9", true},
        {"s3://bucket?table=tab&endpoint=http://127.0.0.1.x", false},
        {"s3://bucket?table=tab&endpoint=http://128.0.0.1", false},
        {"s3://bucket?table=tab&endpoint=http://1.127.0.0", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (placed(cases[i].url, "r").s3_private != cases[i].private) {
            fail_msg("%s", cases[i].url);
        }
    }
}

static void endpoints_of_the_url_go_before_those_of_the_environment(void **state) {
    (void)state;
    setenv("AWS_ENDPOINT_URL", "http://general:1/", 1);
    struct st_aws_place place = placed("s3://bucket?table=tab", "r");
    assert_string_equal(place.s3, "http://general:1");
    assert_string_equal(place.dynamodb, "http://general:1");
    assert_string_equal(place.objects, "/bucket/");
    assert_false(place.s3_private);
    setenv("AWS_ENDPOINT_URL_S3", "https://s3:2", 1);
    setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb:3", 1);
    place = placed("s3://bucket/x?table=tab", "r");
    assert_string_equal(place.s3, "https://s3:2");
    assert_string_equal(place.dynamodb, "http://dynamodb:3");
    assert_true(place.s3_private);
    place = placed("s3://bucket?table=tab&endpoint=http://own:4&endpoint_dynamodb=http://table:5", "r");
    assert_string_equal(place.s3, "http://own:4");
    assert_string_equal(place.dynamodb, "http://table:5");
    no_environment(state);
}

static void a_wrong_endpoint_of_the_environment_is_refused_in_one_sentence(void **state) {
    (void)state;
    setenv("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000", 1);
    struct st_aws_url url = parsed("s3://bucket?table=tab");
    struct st_aws_place place;
    assert_false(st_aws_place_of(&url, "r", &place, message, sizeof message));
    assert_non_null(strstr(message, "localhost:8000"));
    no_environment(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bucket_and_table_are_all_that_is_needed, no_environment),
        cmocka_unit_test_setup(everything_that_can_be_said_is_understood, no_environment),
        cmocka_unit_test_setup(every_wrong_url_is_refused_in_one_sentence, no_environment),
        cmocka_unit_test_setup(at_aws_the_host_names_the_bucket_unless_it_has_dots, no_environment),
        cmocka_unit_test_setup(tls_and_this_machine_itself_are_private, no_environment),
        cmocka_unit_test_setup(endpoints_of_the_url_go_before_those_of_the_environment, no_environment),
        cmocka_unit_test_setup(a_wrong_endpoint_of_the_environment_is_refused_in_one_sentence, no_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
