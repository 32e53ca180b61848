/* Answers in the form of each front end. */
#include "lambda/runtime/answer.h"

#include "lambda/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The chain as text that the caller frees. */
static char *text_of(const struct kp_chain *chain) {
    char *text = malloc(chain->bytes + 1);
    assert_non_null(text);
    size_t at = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(text + at, chain->pieces[i].bytes.ptr, chain->pieces[i].bytes.len);
        at += chain->pieces[i].bytes.len;
    }
    text[at] = 0;
    return text;
}

/* An answer whose body lies in two pieces, cut in the middle. */
static struct rest_response response_of(const void *body, size_t len) {
    struct rest_response response = {.status = 200, .content_type = "application/json"};
    kp_chain_init(&response.body);
    kp_chain_copy(&response.body, body, len / 2);
    struct kp_blob *blob = kp_blob_new(len + 1);
    assert_non_null(blob);
    memcpy(blob->data, (const char *)body + len / 2, len - len / 2);
    kp_chain_piece(&response.body, (struct kp_piece){blob, kp_slice_of(blob->data, len - len / 2)});
    kp_blob_unref(blob);
    return response;
}

static void check(const struct rest_event *event, struct rest_response *response, const char *expected) {
    struct kp_chain out;
    kp_chain_init(&out);
    assert_int_equal(rest_answer_whole(event, response, &out), REST_ANSWER_OK);
    char *text = text_of(&out);
    assert_string_equal(text, expected);
    assert_true(rest_json_valid(kp_slice_cstr(text)));
    free(text);
    kp_chain_release(&out);
    rest_response_release(response);
}

static void each_front_end_gets_its_form(void **state) {
    (void)state;
    struct rest_event event = {.kind = REST_EVENT_REST_API, .request.method = KP_SLICE_LIT("GET")};
    static const char body[] = "{\"a\":\"\xc3\xa4\\n\"}";
    static const char one[] = "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"application/json\"},"
                              "\"body\":\"{\\\"a\\\":\\\"\xc3\xa4\\\\n\\\"}\",\"isBase64Encoded\":false}";
    for (int kind = REST_EVENT_REST_API; kind <= REST_EVENT_LOAD_BALANCER; kind++) {
        event.kind = (enum rest_event_kind)kind;
        struct rest_response response = response_of(body, strlen(body));
        check(&event, &response, one);
    }
    event.multi_value = true;
    struct rest_response response = response_of("{}", 2);
    rest_response_header(&response, "Retry-After", "1");
    response.status = 503;
    check(&event, &response,
          "{\"statusCode\":503,\"multiValueHeaders\":{\"Content-Type\":[\"application/json\"],\"Retry-After\":[\"1\"]},"
          "\"body\":\"{}\",\"isBase64Encoded\":false}");
}

static void only_what_is_no_text_is_base64(void **state) {
    (void)state;
    struct rest_event event = {.kind = REST_EVENT_HTTP_API, .request.method = KP_SLICE_LIT("GET")};
    struct rest_response response = response_of("\xff\x00\x01", 3);
    check(&event, &response,
          "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"application/json\"},"
          "\"body\":\"/wAB\",\"isBase64Encoded\":true}");
    response = response_of("\xc3\xa4\xf0\x9f\x98\x80", 6); /* cut within a character */
    check(&event, &response,
          "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"application/json\"},"
          "\"body\":\"\xc3\xa4\xf0\x9f\x98\x80\",\"isBase64Encoded\":false}");
}

static void head_is_answered_without_its_body(void **state) {
    (void)state;
    struct rest_event event = {.kind = REST_EVENT_FUNCTION_URL, .request.method = KP_SLICE_LIT("HEAD")};
    struct rest_response response = response_of("{\"status\":\"ok\"}", 15);
    check(&event, &response,
          "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"application/json\"},"
          "\"body\":\"\",\"isBase64Encoded\":false}");
}

static void an_answer_of_quotes_fits_up_to_the_promised_length_and_not_far_beyond(void **state) {
    (void)state;
    struct rest_event event = {.kind = REST_EVENT_REST_API, .request.method = KP_SLICE_LIT("GET")};
    char *body = malloc(REST_ANSWER_BYTES_MAX);
    assert_non_null(body);
    memset(body, '"', REST_ANSWER_BYTES_MAX);
    struct kp_chain out;
    kp_chain_init(&out);
    struct rest_response response = response_of(body, REST_ANSWER_BODY_BYTES);
    assert_int_equal(rest_answer_whole(&event, &response, &out), REST_ANSWER_OK);
    assert_true(out.bytes <= REST_ANSWER_BYTES_MAX);
    kp_chain_release(&out);
    rest_response_release(&response);
    kp_chain_init(&out);
    response = response_of(body, REST_ANSWER_BYTES_MAX / 2);
    assert_int_equal(rest_answer_whole(&event, &response, &out), REST_ANSWER_TOO_LARGE);
    kp_chain_release(&out);
    rest_response_release(&response);
    free(body);
}

static void a_stream_begins_with_its_head_and_eight_nuls(void **state) {
    (void)state;
    struct rest_response response = {.status = 200, .content_type = "text/event-stream"};
    struct kp_chain out;
    kp_chain_init(&out);
    rest_answer_prelude(&response, &out);
    static const char expected[] =
        "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"text/event-stream\"}}\0\0\0\0\0\0\0";
    char *text = text_of(&out);
    assert_int_equal(out.bytes, sizeof expected);
    assert_memory_equal(text, expected, sizeof expected);
    free(text);
    kp_chain_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_front_end_gets_its_form),
        cmocka_unit_test(only_what_is_no_text_is_base64),
        cmocka_unit_test(head_is_answered_without_its_body),
        cmocka_unit_test(an_answer_of_quotes_fits_up_to_the_promised_length_and_not_far_beyond),
        cmocka_unit_test(a_stream_begins_with_its_head_and_eight_nuls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
