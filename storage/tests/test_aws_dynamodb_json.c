/* Bodies of DynamoDB requests and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/backends/aws/dynamodb_json.h"

static cJSON *parsed(const char *text) {
    cJSON *answer = st_json_parse(kp_slice_cstr(text));
    assert_non_null(answer);
    return answer;
}

static void bytes_of_every_length_come_back_from_base64(void **state) {
    (void)state;
    uint8_t bytes[40], back[40];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37 + 200);
    }
    for (size_t len = 0; len <= sizeof bytes; len++) {
        struct st_json json;
        assert_true(st_json_begin(&json, 30, len));
        st_json_add(&json, "{\"b\":{\"B\":\"");
        st_json_base64(&json, kp_slice_of(bytes, len));
        st_json_add(&json, "\"}}");
        assert_false(json.full);
        cJSON *answer = st_json_parse(st_json_text(&json));
        assert_int_equal(st_item_bytes_len(answer, "b"), len);
        memset(back, 0xee, sizeof back);
        assert_true(st_item_bytes(answer, "b", back));
        assert_memory_equal(back, bytes, len);
        for (size_t i = len; i < sizeof back; i++) {
            assert_int_equal(back[i], 0xee);
        }
        cJSON_Delete(answer);
        st_json_end(&json);
    }
}

static void base64_is_that_of_rfc_4648(void **state) {
    (void)state;
    struct st_json json;
    assert_true(st_json_begin(&json, 0, 6));
    st_json_base64(&json, KP_SLICE_LIT("fooba"));
    assert_true(kp_slice_equal(st_json_text(&json), KP_SLICE_LIT("Zm9vYmE=")));
    st_json_end(&json);
}

static void what_is_no_base64_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"{\"b\":{\"B\":\"abc\"}}",     "{\"b\":{\"B\":\"ab*d\"}}",
                                        "{\"b\":{\"B\":\"abcd*bcd\"}}", "{\"b\":{\"S\":\"abcd\"}}",
                                        "{\"b\":\"abcd\"}",           "{\"c\":{\"B\":\"abcd\"}}",
                                        "{\"b\":{\"B\":7}}",          "{\"b\":{\"B\":\" abcdab \"}}",
                                        "{\"b\":{\"B\":\"ab==abcd\"}}"};
    uint8_t into[16];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cJSON *answer = parsed(wrong[i]);
        if (st_item_bytes_len(answer, "b") != SIZE_MAX && st_item_bytes(answer, "b", into)) {
            fail_msg("%s was taken for bytes", wrong[i]);
        }
        cJSON_Delete(answer);
    }
}

static void numbers_are_whole_and_not_negative(void **state) {
    (void)state;
    cJSON *item = parsed("{\"a\":{\"N\":\"18446744073709551615\"},\"b\":{\"N\":\"18446744073709551616\"},"
                         "\"c\":{\"N\":\"-1\"},\"d\":{\"N\":\"\"},\"e\":{\"N\":\"1.5\"},\"f\":{\"S\":\"1\"}}");
    uint64_t number;
    assert_true(st_item_number(item, "a", &number));
    assert_true(number == UINT64_MAX);
    for (const char *name = "bcdefg"; *name != '\0'; name++) {
        char text[2] = {*name};
        assert_false(st_item_number(item, text, &number));
    }
    cJSON_Delete(item);
}

static void a_text_that_does_not_fit_is_told(void **state) {
    (void)state;
    struct st_json json;
    assert_true(st_json_begin(&json, 4, 0));
    st_json_add(&json, "%s", "1234");
    assert_false(json.full);
    st_json_base64(&json, KP_SLICE_LIT("x"));
    assert_true(json.full);
    json.full = false;
    st_json_add(&json, "%s", "5");
    assert_true(json.full);
    st_json_end(&json);
}

static void answers_are_objects(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "[]", "7", "{", "{\"a\":}", "null"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_null(st_json_parse(kp_slice_cstr(wrong[i])));
    }
}

static void capacity_is_counted_in_halves(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t halves;
    } cases[] = {
        {"{\"ConsumedCapacity\":{\"TableName\":\"t\",\"CapacityUnits\":0.5}}", 1},
        {"{\"ConsumedCapacity\":{\"CapacityUnits\":12.0}}", 24},
        {"{\"ConsumedCapacity\":[{\"CapacityUnits\":1},{\"CapacityUnits\":2.5}]}", 7},
        {"{\"ConsumedCapacity\":{\"CapacityUnits\":-1}}", 0},
        {"{\"ConsumedCapacity\":{\"CapacityUnits\":\"1\"}}", 0},
        {"{}", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *answer = parsed(cases[i].text);
        assert_true(st_json_half_units(answer) == cases[i].halves);
        cJSON_Delete(answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_every_length_come_back_from_base64),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(numbers_are_whole_and_not_negative),
        cmocka_unit_test(a_text_that_does_not_fit_is_told),
        cmocka_unit_test(answers_are_objects),
        cmocka_unit_test(capacity_is_counted_in_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
