/* The table of storage/errors.def, expanded once more. */
#include "storage/error.h"

struct row {
    const char *code, *text;
    bool unknown;
    enum kp_error kafka;
    int http;
};

static const struct row rows[] = {
#define ERROR(name, code, text, unknown, kafka, http)                                              \
    [ST_##name] = {code, text, unknown, KP_ERROR_##kafka, http},
#include "storage/errors.def"
#undef ERROR
};

const char *st_error_code(enum st_error error) {
    return rows[error].code;
}

const char *st_error_text(enum st_error error) {
    return rows[error].text;
}

bool st_error_outcome_unknown(enum st_error error) {
    return rows[error].unknown;
}

enum kp_error st_error_kafka(enum st_error error) {
    return rows[error].kafka;
}

int st_error_http(enum st_error error) {
    return rows[error].http;
}
