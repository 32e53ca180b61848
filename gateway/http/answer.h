/* The head of an answer: status line, Date, Content-Length, Connection and what the handler adds. */
#ifndef GW_HTTP_ANSWER_H
#define GW_HTTP_ANSWER_H

#include "gateway/http/door.h"

struct gw_http_answer {
    struct rest_response *response; /* its body moves out */
    bool head_only;                 /* the request was HEAD */
    bool version_1_0;               /* of the request: keep-alive is then said, close otherwise */
    bool keep_alive;
};

/* Appends head and body to `out`. */
void gw_http_answer(struct gw_http *door, const struct gw_http_answer *answer, struct kp_chain *out);
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) of a time >= 0. */
void gw_http_date(int64_t unix_s, char text[GW_HTTP_DATE_MAX]);

#endif
