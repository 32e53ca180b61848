/*
 * The Lambda's options, all from the environment (options.def). A function has no command line and no files of its own.
 */
#ifndef REST_OPTIONS_H
#define REST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REST_OPTIONS_MESSAGE_MAX 256

enum rest_stream_choice { REST_STREAM_NONE, REST_STREAM_URL, REST_STREAM_REST, REST_STREAM_BOTH };

struct rest_lambda_options {
#define REST_FIELD_TEXT const char *
#define REST_FIELD_NUMBER int64_t
#define REST_FIELD_BYTES int64_t
#define REST_FIELD_CHOICE int
#define OPTION(type, field, name, value, least, most, metavar, help) REST_FIELD_##type field;
#include "lambda/runtime/options.def"
#undef OPTION
#undef REST_FIELD_TEXT
#undef REST_FIELD_NUMBER
#undef REST_FIELD_BYTES
#undef REST_FIELD_CHOICE
    int64_t memory_bytes; /* of the function, AWS_LAMBDA_FUNCTION_MEMORY_SIZE; 128 MiB when it is not told */
};

/* `find` is getenv, or a test's; what it returns must stay. False with one sentence in message. */
bool rest_lambda_options_load(struct rest_lambda_options *options, char *(*find)(const char *name),
                              char message[REST_OPTIONS_MESSAGE_MAX]);

#endif
