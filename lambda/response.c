/* Answers: the table of errors as JSON, and headers. */
#include "lambda/response.h"

#include <stdio.h>

static const struct {
    int status;
    const char *code, *text;
} errors[] = {
#define ERROR(name, status, code, text) [REST_##name] = {status, code, text},
#include "lambda/errors.def"
#undef ERROR
};

int rest_error_status(enum rest_error error) {
    return errors[error].status;
}

const char *rest_error_text(enum rest_error error) {
    return errors[error].text;
}

void rest_response_begin(struct rest_response *response, int status) {
    response->status = status;
    response->content_type = "application/json";
    response->header_count = 0;
    kp_chain_init(&response->body);
}

void rest_response_header(struct rest_response *response, const char *name, const char *value) {
    if (response->header_count < REST_ANSWER_HEADERS_MAX) {
        struct rest_answer_header *header = &response->headers[response->header_count++];
        header->name = name;
        snprintf(header->value, sizeof header->value, "%s", value);
    }
}

void rest_response_problem(struct rest_response *response, int status, const char *code, const char *text) {
    rest_response_begin(response, status);
    char json[512];
    int len = snprintf(json, sizeof json, "{\"error\":\"%s\",\"code\":\"%s\"}", text, code);
    kp_chain_copy(&response->body, json, (size_t)len < sizeof json ? (size_t)len : sizeof json - 1);
    if (status == 503) {
        rest_response_header(response, "Retry-After", "1");
    }
}

void rest_response_error(struct rest_response *response, enum rest_error error) {
    rest_response_problem(response, errors[error].status, errors[error].code, errors[error].text);
}

void rest_response_error_text(struct rest_response *response, enum rest_error error, const char *text) {
    rest_response_problem(response, errors[error].status, errors[error].code, text);
}

void rest_response_store_error(struct rest_response *response, enum st_error error) {
    /* However the outcome came to be unknown, the client needs one code to look for. */
    enum st_error told = st_error_outcome_unknown(error) ? ST_UNKNOWN : error;
    rest_response_problem(response, st_error_http(told), st_error_code(told), st_error_text(told));
}

void rest_response_release(struct rest_response *response) {
    kp_chain_release(&response->body);
}
