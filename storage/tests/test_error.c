/* The table of errors: what every row must obey so that no door gives a wrong or a definite answer by mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/error.h"

static const enum st_error all[] = {
#define ERROR(name, code, text, unknown, kafka, http) ST_##name,
#include "storage/errors.def"
#undef ERROR
};
static const size_t all_count = sizeof all / sizeof all[0];

static void every_error_has_a_snake_case_code_of_its_own_and_a_sentence(void **state) {
    (void)state;
    for (size_t i = 0; i < all_count; i++) {
        const char *code = st_error_code(all[i]), *text = st_error_text(all[i]);
        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz_"), strlen(code));
        assert_true(strlen(code) > 0);
        assert_true(text[0] >= 'A' && text[0] <= 'Z' && text[strlen(text) - 1] == '.');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(code, st_error_code(all[j]));
        }
    }
}

static void an_unknown_outcome_is_never_told_as_a_definite_error(void **state) {
    (void)state;
    for (size_t i = 0; i < all_count; i++) {
        bool as_timeout = st_error_kafka(all[i]) == KP_ERROR_REQUEST_TIMED_OUT;
        assert_int_equal(st_error_outcome_unknown(all[i]), as_timeout);
        assert_int_equal(st_error_outcome_unknown(all[i]), st_error_http(all[i]) == 504);
    }
}

static void what_surely_was_not_stored_may_be_tried_again(void **state) {
    (void)state;
    assert_false(st_error_outcome_unknown(ST_REFUSED));
    assert_int_equal(st_error_kafka(ST_REFUSED), KP_ERROR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(st_error_http(ST_REFUSED), 503);
    assert_true(st_error_outcome_unknown(ST_UNKNOWN));
    assert_true(st_error_outcome_unknown(ST_GONE));
}

static void only_ok_is_a_success_at_either_door(void **state) {
    (void)state;
    assert_int_equal(ST_OK, 0);
    for (size_t i = 0; i < all_count; i++) {
        assert_int_equal(all[i] == ST_OK, st_error_kafka(all[i]) == KP_ERROR_NONE);
        assert_int_equal(all[i] == ST_OK, st_error_http(all[i]) < 400);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_snake_case_code_of_its_own_and_a_sentence),
        cmocka_unit_test(an_unknown_outcome_is_never_told_as_a_definite_error),
        cmocka_unit_test(what_surely_was_not_stored_may_be_tried_again),
        cmocka_unit_test(only_ok_is_a_success_at_either_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
