/* What an answer's head tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/backends/aws/http_headers.h"

static const char *const date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

static void take(struct st_http_headers *headers, struct st_http_request *request, const char *line) {
    assert_true(st_http_headers_line(headers, request, line, strlen(line)));
}

/* The waiting time that this header, after a Date, asks for. */
static int64_t wait_of(const char *header) {
    struct st_http_headers headers;
    struct st_http_request request;
    st_http_headers_begin(&headers, &request);
    take(&headers, &request, "HTTP/1.1 503 Slow Down\r\n");
    take(&headers, &request, date);
    take(&headers, &request, header);
    take(&headers, &request, "\r\n");
    assert_true(headers.over);
    return request.retry_after_ms;
}

static void times_to_wait_are_seconds_dates_or_milliseconds(void **state) {
    (void)state;
    assert_int_equal(wait_of("Retry-After: 7\r\n"), 7000);
    assert_int_equal(wait_of("retry-after:7\r\n"), 7000);
    assert_int_equal(wait_of("x-amz-retry-after: 1500\r\n"), 1500);
    assert_int_equal(wait_of("Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n"), 60000);
    assert_int_equal(wait_of("Retry-After: Sunday, 06-Nov-94 08:49:38 GMT\r\n"), 1000);
    assert_int_equal(wait_of("Retry-After: Sun Nov  6 08:49:39 1994\r\n"), 2000);
    assert_int_equal(wait_of("Retry-After: Sun, 06 Nov 1994 08:40:00 GMT\r\n"), 0);
    assert_int_equal(wait_of("Retry-After: 999999999999999999999999\r\n"), INT64_C(24) * 3600 * 1000);
}

static void what_makes_no_sense_is_as_if_it_were_absent(void **state) {
    (void)state;
    static const char *const lines[] = {"Retry-After: -1\r\n",   "Retry-After: soon\r\n", "Retry-After:\r\n",
                                        "Retry-After: 7 8\r\n", "Retry-After\r\n",       "x-amz-retry-after: 1.5\r\n",
                                        ": 7\r\n",               "X-Retry-After: 7\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (wait_of(lines[i]) != 0) {
            fail_msg("%s", lines[i]);
        }
    }
}

static void a_status_line_begins_anew(void **state) {
    (void)state;
    struct st_http_headers headers;
    struct st_http_request request;
    st_http_headers_begin(&headers, &request);
    take(&headers, &request, "HTTP/1.1 103 Early Hints\r\n");
    take(&headers, &request, date);
    take(&headers, &request, "Content-Length: 1\r\n");
    take(&headers, &request, "x-amz-request-id: first\r\n");
    take(&headers, &request, "\r\n");
    assert_false(headers.over);
    take(&headers, &request, "HTTP/1.1 204 No Content\r\n");
    take(&headers, &request, "\r\n");
    assert_true(headers.over);
    assert_false(headers.framed);
    assert_int_equal(request.status, 204);
    assert_int_equal(request.date_ms, 0);
    assert_string_equal(request.request_id, "");
    take(&headers, &request, date); /* a trailer */
    assert_int_equal(request.date_ms, 0);
}

static void a_request_id_that_is_too_long_is_left_out(void **state) {
    (void)state;
    struct st_http_headers headers;
    struct st_http_request request;
    char line[200];
    st_http_headers_begin(&headers, &request);
    snprintf(line, sizeof line, "x-amzn-RequestId: %079d\r\n", 7);
    take(&headers, &request, line);
    assert_int_equal(strlen(request.request_id), 79);
    st_http_headers_begin(&headers, &request);
    snprintf(line, sizeof line, "x-amzn-RequestId: %080d\r\n", 7);
    take(&headers, &request, line);
    assert_string_equal(request.request_id, "");
}

static void more_than_the_cap_is_not_taken(void **state) {
    (void)state;
    struct st_http_headers headers;
    struct st_http_request request;
    st_http_headers_begin(&headers, &request);
    char *line = calloc(1, ST_HTTP_HEADERS_MAX + 1);
    memset(line, 'x', ST_HTTP_HEADERS_MAX);
    assert_false(st_http_headers_line(&headers, &request, line, ST_HTTP_HEADERS_MAX + 1));
    assert_true(st_http_headers_line(&headers, &request, line, ST_HTTP_HEADERS_MAX - 2));
    assert_true(st_http_headers_line(&headers, &request, "\r\n", 2));
    assert_false(st_http_headers_line(&headers, &request, "\n", 1));
    free(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_to_wait_are_seconds_dates_or_milliseconds),
        cmocka_unit_test(what_makes_no_sense_is_as_if_it_were_absent),
        cmocka_unit_test(a_status_line_begins_anew),
        cmocka_unit_test(a_request_id_that_is_too_long_is_left_out),
        cmocka_unit_test(more_than_the_cap_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
