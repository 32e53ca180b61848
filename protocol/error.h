/* Kafka error codes: one table (errors.def), the number on the wire is the value of the enum. */
#ifndef KP_ERROR_H
#define KP_ERROR_H

#include <stdint.h>

enum kp_error {
#define ERROR(name, number, text) KP_ERROR_##name = number,
#include "protocol/errors.def"
#undef ERROR
};

/* "NOT_ENOUGH_REPLICAS"; "UNKNOWN" for a number that is not in the table. */
const char *kp_error_name(enum kp_error error);
/* One sentence for people. */
const char *kp_error_text(enum kp_error error);

#endif
