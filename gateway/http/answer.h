/* The head of an answer: status line, Date, Content-Length, Connection and what the handler adds. */
#ifndef GW_HTTP_ANSWER_H
#define GW_HTTP_ANSWER_H

#include "gateway/http/door.h"

struct gw_http_answer {
    struct rest_response *response; /* its body moves out */
    bool head_only;                 /* the request was HEAD */
    bool version_1_0;               /* of the request: keep-alive is then said, close otherwise */
    bool keep_alive;
    bool streaming; /* the body comes in pieces: in chunks, or until the connection closes (HTTP/1.0) */
};

/* Appends head and body to `out`; of a streaming answer the head alone. */
void gw_http_answer(struct gw_http *door, const struct gw_http_answer *answer, struct kp_chain *out);
/* Appends one chunk (RFC 9112, 7.1) with the bytes of `data`, which is left empty; no bytes: nothing. */
void gw_http_chunk(struct kp_chain *data, struct kp_chain *out);
/* Appends the end of a chunked body. */
void gw_http_last_chunk(struct kp_chain *out);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) of a time >= 0. */
void gw_http_date(int64_t unix_s, char text[GW_HTTP_DATE_MAX]);

#endif
