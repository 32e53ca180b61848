/* What an answer's head tells: taken line by line, as libcurl hands it over, into the request's out fields. */
#ifndef ST_AWS_HTTP_HEADERS_H
#define ST_AWS_HTTP_HEADERS_H

#include "storage/backends/aws/http.h"

struct st_http_headers {
    size_t bytes;           /* taken so far, of all answers (1xx come before the final one) and of trailers */
    bool framed;            /* its body has a stated length, or is chunked */
    bool over;              /* the final answer's head is complete: what follows are trailers, which say nothing */
    int64_t retry_after_s;  /* Retry-After in seconds; -1: none */
    int64_t retry_at_ms;    /* Retry-After as a date; 0: none */
    int64_t retry_after_ms; /* x-amz-retry-after; -1: none */
};

/* Before the first line; clears the request's out fields. */
void st_http_headers_begin(struct st_http_headers *headers, struct st_http_request *request);
/* One line with or without its line end. False: the head is longer than ST_HTTP_HEADERS_MAX. */
bool st_http_headers_line(struct st_http_headers *headers, struct st_http_request *request, const char *line,
                          size_t len);

#endif
