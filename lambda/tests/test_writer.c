/* Text of answers: escapes, base64, numbers, and the cap. */
#include "lambda/json.h"
#include "lambda/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ROOM (1 << 20)

static void assert_written(struct rest_writer *writer, const char *expected) {
    assert_false(writer->failed);
    assert_int_equal(writer->used, strlen(expected));
    assert_memory_equal(writer->blob->data, expected, writer->used);
    rest_writer_release(writer);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
}

static void strings_are_escaped_where_json_asks_for_it(void **state) {
    (void)state;
    struct rest_writer writer;
    rest_writer_init(&writer, ROOM);
    rest_writer_string(&writer, KP_SLICE_LIT("a\"b\\c/\b\f\n\r\t\0\x01\x1f\x7f\xc3\xa4z"));
    assert_written(&writer, "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0000\\u0001\\u001f\x7f\xc3\xa4z\"");
    rest_writer_string(&writer, KP_SLICE_LIT(""));
    assert_written(&writer, "\"\"");
}

static void every_single_character_makes_a_valid_string(void **state) {
    (void)state;
    for (unsigned c = 0; c < 0x80; c++) {
        uint8_t byte = (uint8_t)c;
        struct rest_writer writer;
        rest_writer_init(&writer, ROOM);
        rest_writer_string(&writer, kp_slice_of(&byte, 1));
        assert_true(rest_json_valid(kp_slice_of(writer.blob->data, writer.used)));
        rest_writer_release(&writer);
    }
}

static void base64_is_that_of_rfc_4648(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"", "\"\""},         {"f", "\"Zg==\""},         {"fo", "\"Zm8=\""},       {"foo", "\"Zm9v\""},
        {"foob", "\"Zm9vYg==\""}, {"fooba", "\"Zm9vYmE=\""}, {"foobar", "\"Zm9vYmFy\""}, {"\xff\xfe\xfd", "\"//79\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rest_writer writer;
        rest_writer_init(&writer, ROOM);
        rest_writer_base64(&writer, kp_slice_cstr(cases[i].bytes));
        assert_written(&writer, cases[i].text);
    }
}

static void numbers_are_written_in_full(void **state) {
    (void)state;
    struct rest_writer writer;
    rest_writer_init(&writer, ROOM);
    rest_writer_number(&writer, INT64_MIN);
    rest_writer_number(&writer, 0);
    rest_writer_number(&writer, INT64_MAX);
    assert_written(&writer, "-922337203685477580809223372036854775807");
}

static void text_grows_up_to_the_cap_and_fails_beyond_it(void **state) {
    (void)state;
    struct rest_writer writer;
    rest_writer_init(&writer, 10000);
    for (int i = 0; i < 1000; i++) {
        rest_writer_bytes(&writer, KP_SLICE_LIT("0123456789"));
    }
    assert_false(writer.failed);
    assert_int_equal(writer.used, 10000);
    for (size_t i = 0; i < writer.used; i++) {
        assert_int_equal(writer.blob->data[i], '0' + i % 10);
    }
    rest_writer_bytes(&writer, KP_SLICE_LIT("x"));
    assert_true(writer.failed);
    struct kp_chain chain;
    kp_chain_init(&chain);
    rest_writer_finish(&writer, &chain);
    assert_int_equal(chain.bytes, 0);
    kp_chain_release(&chain);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
}

static void what_was_written_moves_into_the_chain(void **state) {
    (void)state;
    struct rest_writer writer;
    rest_writer_init(&writer, ROOM);
    rest_writer_bytes(&writer, KP_SLICE_LIT("abc"));
    struct kp_chain chain;
    kp_chain_init(&chain);
    rest_writer_finish(&writer, &chain);
    assert_null(writer.blob);
    assert_int_equal(chain.bytes, 3);
    assert_memory_equal(chain.pieces[0].bytes.ptr, "abc", 3);
    kp_chain_release(&chain);
    assert_int_equal(kp_blob_stats().live_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped_where_json_asks_for_it),
        cmocka_unit_test(every_single_character_makes_a_valid_string),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(numbers_are_written_in_full),
        cmocka_unit_test(text_grows_up_to_the_cap_and_fails_beyond_it),
        cmocka_unit_test(what_was_written_moves_into_the_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
