/* Filling answers (private to this layer; rest.h has what callers may use). */
#ifndef REST_RESPONSE_H
#define REST_RESPONSE_H

#include "lambda/rest.h"

/* An empty JSON answer with this status. */
void rest_response_begin(struct rest_response *response, int status);
/* An error in this layer's JSON form; text is plain ASCII without quotes. 503 gets its Retry-After. */
void rest_response_problem(struct rest_response *response, int status, const char *code, const char *text);
/* Status and code of the table, another sentence. */
void rest_response_error_text(struct rest_response *response, enum rest_error error, const char *text);
void rest_response_store_error(struct rest_response *response, enum st_error error);

#endif
