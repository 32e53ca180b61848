/* Paths to handlers, and the small readers beneath: targets, queries, percent-encoding. */
#include "lambda/exchange.h"
#include "lambda/query.h"
#include "lambda/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void paths_lead_where_the_table_says(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *pattern, *topic, *allow;
    } cases[] = {
        {"POST", "/topics/t/produce", "/topics/{topic}/produce", "t", ""},
        {"GET", "/topics/t/consume", "/topics/{topic}/consume", "t", ""},
        {"HEAD", "/topics/t/consume", "/topics/{topic}/consume", "t", ""},
        {"GET", "/health", "/health", NULL, ""},
        {"GET", "/topics/%41/consume", "/topics/{topic}/consume", "%41", ""},
        /* a stage in front */
        {"GET", "/v1/health", "/health", NULL, ""},
        {"GET", "/prod_2-b/topics/t/consume", "/topics/{topic}/consume", "t", ""},
        {"GET", "/$default/health", "/health", NULL, ""},
        {"GET", "/v1/v1/health", NULL, NULL, ""},
        {"GET", "/v.1/health", NULL, NULL, ""},
        {"GET", "/topics/health", "/topics/{topic}", "health", ""},
        {"GET", "/health/topics/t/consume", NULL, NULL, ""},
        {"GET", "/topics/topics/consume", "/topics/{topic}/consume", "topics", ""},
        {"GET", "/v1/topics/topics/consume", "/topics/{topic}/consume", "topics", ""},
        /* slashes */
        {"GET", "/health/", "/health", NULL, ""},
        {"POST", "/topics/t/produce/", "/topics/{topic}/produce", "t", ""},
        {"GET", "/health//", NULL, NULL, ""},
        {"GET", "//health", NULL, NULL, ""},
        {"POST", "//topics/t/produce", NULL, NULL, ""},
        {"POST", "/topics//produce", "/topics/{topic}/produce", "", ""},
        {"POST", "/topics/t//produce", NULL, NULL, ""},
        {"GET", "/", NULL, NULL, ""},
        {"GET", "", NULL, NULL, ""},
        {"GET", "health", NULL, NULL, ""},
        {"OPTIONS", "*", NULL, NULL, ""},
        /* not routes */
        {"GET", "/v1", NULL, NULL, ""},
        {"GET", "/topics/t/nothing", NULL, NULL, ""},
        {"GET", "/v1/openapi.json", "/openapi.json", NULL, ""},
        /* topics as such */
        {"GET", "/topics", "/topics", NULL, ""},
        {"HEAD", "/v1/topics/", "/topics", NULL, ""},
        {"POST", "/topics", "/topics", NULL, ""},
        {"PUT", "/topics", NULL, NULL, "GET, HEAD, POST"},
        {"GET", "/topics/t", "/topics/{topic}", "t", ""},
        {"DELETE", "/v1/topics/t", "/topics/{topic}", "t", ""},
        {"POST", "/topics/t", NULL, "t", "GET, HEAD, DELETE"},
        {"GET", "/topics/t/offsets", "/topics/{topic}/offsets", "t", ""},
        {"GET", "/topics/t/consume/x", NULL, NULL, ""},
        {"GET", "/Health", NULL, NULL, ""},
        {"GET", "/healt%68", NULL, NULL, ""},
        {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l", NULL, NULL, ""},
        /* methods */
        {"GET", "/topics/t/produce", NULL, "t", "POST"},
        {"HEAD", "/topics/t/produce", NULL, "t", "POST"},
        {"POST", "/topics/t/consume", NULL, "t", "GET, HEAD"},
        {"get", "/health", NULL, NULL, "GET, HEAD"},
        {"", "/health", NULL, NULL, "GET, HEAD"},
        {"DELETE", "/v1/health/", NULL, NULL, "GET, HEAD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rest_match match;
        rest_match(kp_slice_cstr(cases[i].method), kp_slice_cstr(cases[i].path), &match);
        const char *pattern = match.route == NULL ? NULL : match.route->pattern;
        bool route = cases[i].pattern == NULL ? pattern == NULL
                                              : pattern != NULL && strcmp(pattern, cases[i].pattern) == 0;
        bool topic = cases[i].topic == NULL ? match.topic.ptr == NULL
                                            : kp_slice_equal(match.topic, kp_slice_cstr(cases[i].topic));
        if (!route || !topic || strcmp(match.allow, cases[i].allow) != 0) {
            fail_msg("%s %s", cases[i].method, cases[i].path);
        }
    }
}

static void a_stage_has_at_most_128_characters(void **state) {
    (void)state;
    struct rest_match match;
    char path[256];
    snprintf(path, sizeof path, "/%0128d/health", 0);
    rest_match(KP_SLICE_LIT("GET"), kp_slice_cstr(path), &match);
    assert_non_null(match.route);
    snprintf(path, sizeof path, "/%0129d/health", 0);
    rest_match(KP_SLICE_LIT("GET"), kp_slice_cstr(path), &match);
    assert_null(match.route);
}

static void targets_are_split_at_the_first_question_mark(void **state) {
    (void)state;
    static const struct {
        const char *target, *path, *query;
    } cases[] = {
        {"/a/b", "/a/b", NULL},
        {"/a/b?", "/a/b", ""},
        {"/a?b=c?d", "/a", "b=c?d"},
        {"/?/", "/", "/"},
        {"http://host:80/a?b", "/a", "b"},
        {"HTTP://host/a", "/a", NULL},
        {"http://host", "/", NULL},
        {"http://host?b=c", "/", "b=c"},
        {"", NULL, NULL},
        {"*", NULL, NULL},
        {"a/b", NULL, NULL},
        {"?a", NULL, NULL},
        {"host:80", NULL, NULL},
        {"ftp://host/a", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_slice path, query;
        bool good = rest_target_split(kp_slice_cstr(cases[i].target), &path, &query);
        assert_int_equal(good, cases[i].path != NULL);
        if (good) {
            assert_true(kp_slice_equal(path, kp_slice_cstr(cases[i].path)));
            assert_int_equal(query.ptr == NULL, cases[i].query == NULL);
            assert_true(cases[i].query == NULL || kp_slice_equal(query, kp_slice_cstr(cases[i].query)));
        }
    }
}

static void the_last_parameter_of_a_name_counts(void **state) {
    (void)state;
    struct kp_slice value;
    struct kp_slice query = KP_SLICE_LIT("a=1&b=2&&=3&a&%61=x=y&c");
    assert_true(rest_query_last(query, KP_SLICE_LIT("a"), &value));
    assert_true(kp_slice_equal(value, KP_SLICE_LIT("x=y")));
    assert_true(rest_query_last(query, KP_SLICE_LIT("c"), &value));
    assert_int_equal(value.len, 0);
    assert_false(rest_query_last(query, KP_SLICE_LIT("d"), &value));
    assert_false(rest_query_last(KP_SLICE_LIT("%6=1&%=2&%zz=3"), KP_SLICE_LIT("a"), &value));
    assert_false(rest_query_last((struct kp_slice){NULL, 0}, KP_SLICE_LIT("a"), &value));
}

static void percent_encoding_is_undone_within_the_room_given(void **state) {
    (void)state;
    uint8_t room[4];
    size_t len;
    assert_true(rest_percent_decode(KP_SLICE_LIT("%41%7aB+"), room, sizeof room, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(room, "AzB+", 4);
    assert_false(rest_percent_decode(KP_SLICE_LIT("abcde"), room, sizeof room, &len));
    assert_false(rest_percent_decode(KP_SLICE_LIT("%4"), room, sizeof room, &len));
    assert_false(rest_percent_decode(KP_SLICE_LIT("%"), room, sizeof room, &len));
    assert_false(rest_percent_decode(KP_SLICE_LIT("%g0"), room, sizeof room, &len));
    assert_true(rest_percent_decode(KP_SLICE_LIT(""), room, sizeof room, &len));
    assert_int_equal(len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_where_the_table_says),
        cmocka_unit_test(a_stage_has_at_most_128_characters),
        cmocka_unit_test(targets_are_split_at_the_first_question_mark),
        cmocka_unit_test(the_last_parameter_of_a_name_counts),
        cmocka_unit_test(percent_encoding_is_undone_within_the_room_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
