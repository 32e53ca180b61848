/* The strict scanner, against json_cases.txt and at its bounds. */
#include "lambda/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const names[] = {
#define ERROR(name, text) #name,
#include "lambda/json_errors.def"
#undef ERROR
};

/* Replaces <hh> by its byte, in place; returns the new length. */
static size_t decode_bytes(char *text) {
    size_t to = 0;
    for (char *from = text; *from != 0;) {
        unsigned byte;
        if (from[0] == '<' && sscanf(from, "<%2x>", &byte) == 1) {
            text[to++] = (char)byte;
            from += 4;
        } else {
            text[to++] = *from++;
        }
    }
    return to;
}

static struct kp_slice without_blanks(struct kp_slice text) {
    while (text.len > 0 && memchr(" \t\r\n", text.ptr[0], 4) != NULL) {
        text = kp_slice_of(text.ptr + 1, text.len - 1);
    }
    while (text.len > 0 && memchr(" \t\r\n", text.ptr[text.len - 1], 4) != NULL) {
        text.len--;
    }
    return text;
}

/* Scans a copy of exact size, so that the sanitizer sees a read past the end. */
static enum rest_json_error scan(struct kp_slice text, struct rest_json_member *member, size_t *at) {
    static uint8_t *copy;
    free(copy);
    copy = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(copy);
    memcpy(copy, text.ptr, text.len);
    enum rest_json_error error = rest_json_object(kp_slice_of(copy, text.len), member, 1, at);
    assert_true(*at <= text.len);
    return error;
}

static void check_value(struct kp_slice value, const char *expected, const char *line) {
    bool valid = strcmp(expected, "valid") == 0;
    if (rest_json_valid(value) != valid) {
        fail_msg("alone: %s", line);
    }
    char body[1024] = "{\"payload\":";
    size_t prefix = strlen(body);
    memcpy(body + prefix, value.ptr, value.len);
    body[prefix + value.len] = '}';
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    size_t at;
    enum rest_json_error error = scan(kp_slice_of(body, prefix + value.len + 1), &payload, &at);
    if (valid) {
        if (error != REST_JSON_OK || !kp_slice_equal(payload.value, without_blanks(value))) {
            fail_msg("as payload: %s: %s", line, names[error]);
        }
    } else if (error == REST_JSON_OK) {
        fail_msg("as payload: %s", line);
    } else if (strcmp(expected, "TRUNCATED") != 0 && strcmp(names[error], expected) != 0) {
        fail_msg("as payload: %s: %s", line, names[error]); /* what is cut off differs once a } follows */
    }
}

static void check_object(struct kp_slice body, const char *expected, const char *line) {
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    size_t at;
    enum rest_json_error error = scan(body, &payload, &at);
    const char *got = error == REST_JSON_OK ? "valid" : names[error];
    if (strcmp(got, expected) != 0) {
        fail_msg("%s: %s", line, got);
    }
    if (error == REST_JSON_OK && body.len > 2) {
        assert_true(kp_slice_equal(payload.value, KP_SLICE_LIT("1")));
    }
}

static void every_case_of_the_table_is_judged_as_it_says(void **state) {
    (void)state;
    FILE *file = fopen(TEST_DATA_DIR "/json_cases.txt", "r");
    assert_non_null(file);
    char line[512], text[512], expected[32];
    bool objects = false;
    unsigned cases = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || line[0] == 0) {
            continue;
        }
        if (line[0] == '=') {
            objects = strstr(line, "objects") != NULL;
            continue;
        }
        assert_int_equal(sscanf(line, "%31[^ ]", expected), 1);
        snprintf(text, sizeof text, "%s", line + strlen(expected) + 1);
        struct kp_slice bytes = kp_slice_of(text, decode_bytes(text));
        (objects ? check_object : check_value)(bytes, expected, line);
        cases++;
    }
    fclose(file);
    assert_true(cases > 150);
}

static void no_body_is_empty(void **state) {
    (void)state;
    size_t at;
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    assert_int_equal(rest_json_object((struct kp_slice){NULL, 0}, &payload, 1, &at), REST_JSON_EMPTY);
    assert_null(payload.value.ptr);
}

static void an_error_names_the_byte_where_it_is(void **state) {
    (void)state;
    size_t at;
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    scan(KP_SLICE_LIT("{\"payload\": [1, x]}"), &payload, &at);
    assert_int_equal(at, 16);
    scan(KP_SLICE_LIT("{\"payload\": 1} 2"), &payload, &at);
    assert_int_equal(at, 15);
}

/* {"payload":[[[...]]]} with this many arrays. */
static enum rest_json_error nested(size_t arrays, bool close) {
    char *body = malloc(arrays * 2 + 32);
    assert_non_null(body);
    static const char head[] = "{\"payload\":";
    size_t len = sizeof head - 1;
    memcpy(body, head, len);
    memset(body + len, '[', arrays);
    len += arrays;
    if (close) {
        memset(body + len, ']', arrays);
        len += arrays;
        body[len++] = '}';
    }
    struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
    size_t at;
    enum rest_json_error error = scan(kp_slice_of(body, len), &payload, &at);
    free(body);
    return error;
}

static void nesting_is_taken_to_its_cap_and_not_beyond(void **state) {
    (void)state;
    assert_int_equal(nested(REST_JSON_DEPTH - 1, true), REST_JSON_OK);
    assert_int_equal(nested(REST_JSON_DEPTH, true), REST_JSON_TOO_DEEP);
    assert_int_equal(nested(REST_JSON_DEPTH - 1, false), REST_JSON_TRUNCATED);
    assert_int_equal(nested(1000000, false), REST_JSON_TOO_DEEP);
}

static void kinds_of_brackets_are_remembered_at_every_depth(void **state) {
    (void)state;
    /* Alternating objects and arrays, deeper than one word of the stack. */
    static const char open[] = "{\"a\":[", close[] = "]}";
    enum { PAIRS = 100, OPEN = sizeof open - 1, CLOSE = sizeof close - 1 };
    char text[PAIRS * (OPEN + CLOSE) + 1] = "";
    for (size_t i = 0; i < PAIRS; i++) {
        memcpy(text + i * OPEN, open, OPEN);
        memcpy(text + PAIRS * OPEN + i * CLOSE, close, CLOSE);
    }
    assert_true(rest_json_valid(kp_slice_cstr(text)));
    for (size_t i = strlen(text) - 200; i < strlen(text); i++) {
        char was = text[i];
        text[i] = was == ']' ? '}' : ']';
        assert_false(rest_json_valid(kp_slice_cstr(text)));
        text[i] = was;
    }
}

static void every_strict_prefix_of_an_object_is_refused(void **state) {
    (void)state;
    struct kp_slice whole =
        KP_SLICE_LIT("{\"a\":[1.5e-3,\"\\ud83d\\ude00\\n\xc3\xa4\"],\"payload\":{\"b\":[true,null]}}");
    for (size_t len = 0; len < whole.len; len++) {
        struct rest_json_member payload = {.name = KP_SLICE_LIT("payload")};
        size_t at;
        assert_int_not_equal(scan(kp_slice_of(whole.ptr, len), &payload, &at), REST_JSON_OK);
    }
}

static void several_members_are_found_in_any_order(void **state) {
    (void)state;
    struct rest_json_member members[] = {{.name = KP_SLICE_LIT("payload")}, {.name = KP_SLICE_LIT("key")}};
    size_t at;
    struct kp_slice body = KP_SLICE_LIT("{\"key\": \"k\" ,\"x\":0,\"payload\": [1, 2] }");
    assert_int_equal(rest_json_object(body, members, 2, &at), REST_JSON_OK);
    assert_true(kp_slice_equal(members[0].value, KP_SLICE_LIT("[1, 2]")));
    assert_true(kp_slice_equal(members[1].value, KP_SLICE_LIT("\"k\"")));
}

static void names_are_compared_by_what_their_escapes_mean(void **state) {
    (void)state;
    static const struct {
        const char *body;
        bool found;
    } cases[] = {
        {"{\"pay/load\":1}", true},     {"{\"pay\\/load\":1}", true},    {"{\"pay\\u002fload\":1}", true},
        {"{\"pay\\u002Fload\":1}", true}, {"{\"pay\\\\load\":1}", false}, {"{\"pay/loa\":1}", false},
        {"{\"pay/loads\":1}", false},   {"{\"pay/load\\u0000\":1}", false}, {"{\"PAY/LOAD\":1}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rest_json_member member = {.name = KP_SLICE_LIT("pay/load")};
        size_t at;
        assert_int_equal(scan(kp_slice_cstr(cases[i].body), &member, &at), REST_JSON_OK);
        assert_int_equal(member.value.ptr != NULL, cases[i].found);
    }
}

static void a_value_is_json_or_text_or_binary_or_null(void **state) {
    (void)state;
    assert_int_equal(rest_value_kind((struct kp_slice){NULL, 0}), REST_VALUE_NULL);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("{\"a\":1}\n")), REST_VALUE_JSON);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("12")), REST_VALUE_JSON);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("")), REST_VALUE_TEXT);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("  ")), REST_VALUE_TEXT);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("{a log line}")), REST_VALUE_TEXT);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("\"\\ud800\"")), REST_VALUE_TEXT);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("a\0b")), REST_VALUE_TEXT);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("\xff\xfe")), REST_VALUE_BINARY);
    assert_int_equal(rest_value_kind(KP_SLICE_LIT("\"\xc3\"")), REST_VALUE_BINARY);
}

static void walking_gives_members_and_values_as_they_stand(void **state) {
    (void)state;
    struct kp_slice object = KP_SLICE_LIT(" { \"a\" : [ ] , \"b\\n\":{\"c\":1},\"d\":\"x\"} "), name, value;
    assert_true(rest_json_valid(object));
    static const char *const names_of[] = {"a", "b\\n", "d"}, *const values[] = {"[ ]", "{\"c\":1}", "\"x\""};
    for (size_t i = 0; i < 3; i++) {
        assert_true(rest_json_next_member(&object, &name, &value));
        assert_true(kp_slice_equal(name, kp_slice_cstr(names_of[i])));
        assert_true(kp_slice_equal(value, kp_slice_cstr(values[i])));
    }
    assert_false(rest_json_next_member(&object, &name, &value));
    assert_false(rest_json_next_member(&object, &name, &value));
    struct kp_slice array = KP_SLICE_LIT("[1, [2,3] ,\"]\"]");
    static const char *const elements[] = {"1", "[2,3]", "\"]\""};
    for (size_t i = 0; i < 3; i++) {
        assert_true(rest_json_next_value(&array, &value));
        assert_true(kp_slice_equal(value, kp_slice_cstr(elements[i])));
    }
    assert_false(rest_json_next_value(&array, &value));
    static const char *const empty[] = {"[]", "{}", "[ ]", "null", "7", "\"a\""};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        struct kp_slice text = kp_slice_cstr(empty[i]);
        assert_false(rest_json_next_value(&text, &value));
        text = kp_slice_cstr(empty[i]);
        assert_false(rest_json_next_member(&text, &name, &value));
    }
}

static void an_unescaped_string_is_what_was_meant(void **state) {
    (void)state;
    static const struct {
        const char *escaped, *meant;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {"\\u0041\\u00e4\\u20AC", "A\xc3\xa4\xe2\x82\xac"},
        {"a\\ud83d\\ude00z", "a\xf0\x9f\x98\x80z"},
        {"\\u0001\\u007f\\u0080\\u07ff\\u0800\\uffff", "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        {"\xc3\xa4\\n\xf0\x9f\x98\x80", "\xc3\xa4\n\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t text[128];
        int len = snprintf((char *)text, sizeof text, "\"%s\"", cases[i].escaped);
        struct kp_slice inside = rest_json_inside(kp_slice_of(text, (size_t)len));
        assert_true(rest_json_valid(kp_slice_of(text, (size_t)len)));
        size_t meant = rest_json_unescape(inside, text); /* in place */
        assert_true(kp_slice_equal(kp_slice_of(text, meant), kp_slice_cstr(cases[i].meant)));
    }
    uint8_t nul[8];
    assert_int_equal(rest_json_unescape(KP_SLICE_LIT("\\u0000"), nul), 1);
    assert_int_equal(nul[0], 0);
    assert_null(rest_json_inside(KP_SLICE_LIT("[1]")).ptr);
    assert_null(rest_json_inside((struct kp_slice){NULL, 0}).ptr);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_of_the_table_is_judged_as_it_says),
        cmocka_unit_test(no_body_is_empty),
        cmocka_unit_test(an_error_names_the_byte_where_it_is),
        cmocka_unit_test(nesting_is_taken_to_its_cap_and_not_beyond),
        cmocka_unit_test(kinds_of_brackets_are_remembered_at_every_depth),
        cmocka_unit_test(every_strict_prefix_of_an_object_is_refused),
        cmocka_unit_test(several_members_are_found_in_any_order),
        cmocka_unit_test(names_are_compared_by_what_their_escapes_mean),
        cmocka_unit_test(a_value_is_json_or_text_or_binary_or_null),
        cmocka_unit_test(walking_gives_members_and_values_as_they_stand),
        cmocka_unit_test(an_unescaped_string_is_what_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
