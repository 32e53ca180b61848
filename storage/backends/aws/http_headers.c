/*
 * Status line, Date, Retry-After, x-amz-retry-after, x-amz-request-id, x-amzn-requestid, and whether the body's end is
 * marked (Content-Length, Transfer-Encoding); all others are only counted.
 *
 * An answer may come as several heads: any number of 1xx, then the final one, and a chunked body may end in trailers
 * (RFC 9112). A status line begins a head anew; what an earlier one said is forgotten. A value that makes no sense is
 * as if the header were absent: nothing here decides about an outcome.
 *
 * Dates are read by libcurl (curl_getdate), which knows the three formats of RFC 9110, 5.6.7. Retry-After is seconds
 * or a date (RFC 9110, 10.2.3), the latter taken relative to the answer's own Date, as the clock here may be wrong;
 * x-amz-retry-after is milliseconds.
 */
#include "storage/backends/aws/http_headers.h"

#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

#define VALUE_MAX 80
#define DATE_MAX_S INT64_C(253402300799) /* the end of the year 9999 */
#define RETRY_AFTER_MAX_MS (INT64_C(24) * 3600 * 1000) /* nobody means more */

static void begin_head(struct st_http_headers *headers, struct st_http_request *request) {
    headers->retry_after_s = -1;
    headers->retry_at_ms = 0;
    headers->retry_after_ms = -1;
    headers->framed = false;
    request->status = 0;
    request->date_ms = 0;
    request->retry_after_ms = 0;
    request->request_id[0] = '\0';
}

void st_http_headers_begin(struct st_http_headers *headers, struct st_http_request *request) {
    headers->bytes = 0;
    headers->over = false;
    begin_head(headers, request);
}

/* Digits alone, at most RETRY_AFTER_MAX_MS; -1: no such number. */
static int64_t parse_number(const char *text) {
    int64_t number = 0;
    if (*text == '\0') {
        return -1;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        number = number * 10 + (*text - '0');
        if (number > RETRY_AFTER_MAX_MS) {
            number = RETRY_AFTER_MAX_MS;
        }
    }
    return number;
}

/* Unix milliseconds; 0: no date. */
static int64_t parse_date(const char *text) {
    const int64_t seconds = curl_getdate(text, NULL);
    return seconds > 0 && seconds <= DATE_MAX_S ? seconds * 1000 : 0;
}

static void take_value(struct st_http_headers *headers, struct st_http_request *request, const char *name,
                       const char *value) {
    if (strcasecmp(name, "date") == 0) {
        request->date_ms = parse_date(value);
    } else if (strcasecmp(name, "content-length") == 0 || strcasecmp(name, "transfer-encoding") == 0) {
        headers->framed = true;
    } else if (strcasecmp(name, "retry-after") == 0) {
        headers->retry_after_s = parse_number(value);
        headers->retry_at_ms = headers->retry_after_s < 0 ? parse_date(value) : 0;
    } else if (strcasecmp(name, "x-amz-retry-after") == 0) {
        headers->retry_after_ms = parse_number(value);
    } else if (strcasecmp(name, "x-amz-request-id") == 0 || strcasecmp(name, "x-amzn-requestid") == 0) {
        snprintf(request->request_id, sizeof request->request_id, "%s", value);
    }
}

/* The head is whole: a date to come back at becomes a time to wait. */
static void end_head(struct st_http_headers *headers, struct st_http_request *request) {
    int64_t wait = headers->retry_after_ms;
    if (wait < 0 && headers->retry_after_s >= 0) {
        wait = headers->retry_after_s * 1000;
    }
    if (wait < 0 && headers->retry_at_ms > 0 && request->date_ms > 0) {
        wait = headers->retry_at_ms - request->date_ms;
    }
    request->retry_after_ms = wait < 0 ? 0 : wait < RETRY_AFTER_MAX_MS ? wait : RETRY_AFTER_MAX_MS;
    headers->over = request->status >= 200;
}

/* "HTTP/1.1 200 OK": the number after the first blank. */
static int parse_status(const char *line, size_t len) {
    size_t at = 0;
    int status = 0;
    while (at < len && line[at] != ' ') {
        at++;
    }
    for (at++; at < len && line[at] >= '0' && line[at] <= '9' && status < 1000; at++) {
        status = status * 10 + (line[at] - '0');
    }
    return status < 1000 ? status : 0;
}

bool st_http_headers_line(struct st_http_headers *headers, struct st_http_request *request, const char *line,
                          size_t len) {
    if (len > ST_HTTP_HEADERS_MAX - headers->bytes) {
        return false;
    }
    headers->bytes += len;
    if (headers->over) {
        return true;
    }
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' ')) {
        len--;
    }
    if (len == 0) {
        end_head(headers, request);
        return true;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        begin_head(headers, request);
        request->status = parse_status(line, len);
        return true;
    }
    const char *colon = memchr(line, ':', len);
    if (colon == NULL) {
        return true;
    }
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    char name_text[24], value_text[VALUE_MAX];
    if ((size_t)(colon - line) < sizeof name_text && (size_t)(end - value) < sizeof value_text) {
        snprintf(name_text, sizeof name_text, "%.*s", (int)(colon - line), line);
        snprintf(value_text, sizeof value_text, "%.*s", (int)(end - value), value);
        take_value(headers, request, name_text, value_text);
    }
    return true;
}
