/* The Lambda's options. */
#include "lambda/runtime/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *names[8], *values[8];

static char *find(const char *name) {
    for (size_t i = 0; i < 8 && names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return (char *)(uintptr_t)values[i];
        }
    }
    return NULL;
}

static bool load(struct rest_lambda_options *options, char *message, const char *name, const char *value) {
    names[0] = "STREAMS_STORE";
    values[0] = "s3://bucket?table=tab";
    names[1] = name;
    values[1] = value;
    return rest_lambda_options_load(options, find, message);
}

static void defaults_follow_the_memory_of_the_function(void **state) {
    (void)state;
    struct rest_lambda_options options;
    char message[REST_OPTIONS_MESSAGE_MAX];
    assert_true(load(&options, message, NULL, NULL));
    assert_string_equal(options.store, "s3://bucket?table=tab");
    assert_int_equal(options.memory_bytes, 128 << 20);
    assert_int_equal(options.cache_bytes, 16 << 20);
    assert_int_equal(options.hold_bytes, 8 << 20);
    assert_int_equal(options.log_level, 1);
    assert_int_equal(options.response_stream, REST_STREAM_NONE);
    assert_true(load(&options, message, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"));
    assert_int_equal(options.cache_bytes, 64 << 20);
    assert_true(load(&options, message, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much"));
    assert_int_equal(options.memory_bytes, 128 << 20);
}

static void values_of_the_environment_are_taken(void **state) {
    (void)state;
    struct rest_lambda_options options;
    char message[REST_OPTIONS_MESSAGE_MAX];
    assert_true(load(&options, message, "STREAMS_CACHE_BYTES", "100M"));
    assert_int_equal(options.cache_bytes, 100 << 20);
    assert_true(load(&options, message, "STREAMS_LOG_LEVEL", "ERROR"));
    assert_int_equal(options.log_level, 3);
    assert_true(load(&options, message, "STREAMS_RESPONSE_STREAM", "both"));
    assert_int_equal(options.response_stream, REST_STREAM_BOTH);
    assert_true(load(&options, message, "STREAMS_REQUEST_TIMEOUT_MS", "1000"));
    assert_int_equal(options.request_timeout_ms, 1000);
}

static void what_makes_no_sense_is_refused_with_a_sentence(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"STREAMS_CACHE_BYTES", "1"},          {"STREAMS_CACHE_BYTES", "64X"}, {"STREAMS_CACHE_BYTES", ""},
        {"STREAMS_REQUEST_TIMEOUT_MS", "10K"}, {"STREAMS_LOG_LEVEL", "loud"},  {"STREAMS_CACHE_BYTES", "-1"},
        {"STREAMS_CACHE_BYTES", "9999999999999G"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rest_lambda_options options;
        char message[REST_OPTIONS_MESSAGE_MAX] = "";
        assert_false(load(&options, message, bad[i][0], bad[i][1]));
        assert_non_null(strstr(message, bad[i][0]));
    }
    struct rest_lambda_options options;
    char message[REST_OPTIONS_MESSAGE_MAX];
    names[0] = NULL;
    assert_false(rest_lambda_options_load(&options, find, message));
    assert_string_equal(message, "STREAMS_STORE is not set: it names the store, for example s3://bucket?table=name");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_follow_the_memory_of_the_function),
        cmocka_unit_test(values_of_the_environment_are_taken),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
