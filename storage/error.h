/*
 * What can happen to an operation of the store or the engine: one table (storage/errors.def) maps each to both doors,
 * so that no handler invents a mapping. OUTCOME_UNKNOWN is a property of its own: such an operation may have happened,
 * or may yet happen; no definite answer may be given for it.
 */
#ifndef ST_ERROR_H
#define ST_ERROR_H

#include "protocol/error.h"

#include <stdbool.h>

enum st_error {
#define ERROR(name, code, text, unknown, kafka, http) ST_##name,
#include "storage/errors.def"
#undef ERROR
};

const char *st_error_code(enum st_error error);       /* "not_now": the code of an HTTP error */
const char *st_error_text(enum st_error error);       /* one sentence */
bool st_error_outcome_unknown(enum st_error error);
enum kp_error st_error_kafka(enum st_error error);    /* Kafka's number for it */
int st_error_http(enum st_error error);               /* HTTP status */

#endif
