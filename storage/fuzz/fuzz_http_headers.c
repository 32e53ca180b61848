/*
 * The head of an answer, line by line as libcurl hands it over: never a byte outside the line, never more than the cap,
 * and only values that make sense come out.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/backends/aws/http_headers.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static void check(bool good) {
    if (!good) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct st_http_headers headers;
    struct st_http_request request = {.status = 1};
    st_http_headers_begin(&headers, &request);
    bool over = false;
    for (const uint8_t *at = data, *end = data + size; at < end;) {
        const uint8_t *next = memchr(at, '\n', (size_t)(end - at));
        const size_t len = next != NULL ? (size_t)(next - at) + 1 : (size_t)(end - at);
        char *line = malloc(len); /* of its exact size, for the sanitizer */
        memcpy(line, at, len);
        const int64_t date_ms = request.date_ms;
        const bool taken = st_http_headers_line(&headers, &request, line, len);
        free(line);
        check(!over || request.date_ms == date_ms); /* trailers say nothing */
        over = headers.over;
        if (!taken) {
            break;
        }
        at += len;
    }
    check(headers.bytes <= ST_HTTP_HEADERS_MAX);
    check(request.status >= 0 && request.status < 1000);
    check(!headers.over || request.status >= 200);
    check(request.date_ms >= 0 && request.date_ms % 1000 == 0);
    check(request.retry_after_ms >= 0 && request.retry_after_ms <= DAY_MS);
    check(strlen(request.request_id) < sizeof request.request_id);
    return 0;
}
