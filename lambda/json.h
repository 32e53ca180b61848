/*
 * A strict reader of JSON (RFC 8259) that makes no values: it checks bytes and says where things lie, so that a
 * payload is stored exactly as it was sent and a number with 30 digits survives.
 *
 * Strict means: UTF-8 without overlong forms, surrogates or a byte order mark; \u escapes of surrogates only in pairs;
 * no control characters in strings, no comments, no trailing commas, nothing after the value; at most REST_JSON_DEPTH
 * objects and arrays within each other. No recursion and no allocation; one pass.
 */
#ifndef REST_JSON_H
#define REST_JSON_H

#include "protocol/bytes/arena.h"

#define REST_JSON_DEPTH 512

enum rest_json_error {
#define ERROR(name, text) REST_JSON_##name,
#include "lambda/json_errors.def"
#undef ERROR
};
/* The rest of a sentence that begins "The body ...". */
const char *rest_json_error_text(enum rest_json_error error);

/* A member that the caller wants; others are checked and passed over. */
struct rest_json_member {
    struct kp_slice name;  /* ASCII */
    struct kp_slice value; /* out: the value's bytes without blanks around them; ptr NULL: not there */
};

/* Checks that text is one JSON object and finds the wanted members at its top. The same wanted name twice is
 * REST_JSON_DUPLICATE (however it is escaped). *at is the byte where an error was found. */
enum rest_json_error rest_json_object(struct kp_slice text, struct rest_json_member *members, size_t count, size_t *at);

/* Walking text that was checked before (a member's value, or a whole that rest_json_valid took): takes the next member
 * off *object, or the next value off *array. The first call is given the container with its brackets. False at the end,
 * and when it is no such container. name lies between its quotes, still escaped; value is its bytes. */
bool rest_json_next_member(struct kp_slice *object, struct kp_slice *name, struct kp_slice *value);
bool rest_json_next_value(struct kp_slice *array, struct kp_slice *value);

/* Writes what the inside of a checked string means (UTF-8, never longer than `inside`) and returns its length. `into`
 * may be where `inside` lies. */
size_t rest_json_unescape(struct kp_slice inside, uint8_t *into);
/* The inside of a value that is a string; ptr NULL when it is none. */
struct kp_slice rest_json_inside(struct kp_slice value);

/* What a value of checked JSON is, by its first byte. */
enum rest_json_kind { REST_JSON_OBJECT, REST_JSON_ARRAY, REST_JSON_STRING, REST_JSON_NUMBER, REST_JSON_WORD };
enum rest_json_kind rest_json_kind(struct kp_slice value);

/* What the inside of a checked string means: itself when it has no escapes, else text in the arena. ptr NULL: the arena
 * is exhausted. */
struct kp_slice rest_json_text(struct kp_slice inside, struct kp_arena *arena);
/* A checked number without a fraction that is nothing but zeros: 7.0 is 7, as JSON Schema has it. */
struct kp_slice rest_json_whole_part(struct kp_slice number);
/* A checked number that is whole and not negative, written without exponent. False for another value. */
bool rest_json_whole(struct kp_slice value, int64_t *number);

bool rest_json_valid(struct kp_slice text); /* any one JSON value, blanks around it allowed */
bool rest_utf8_valid(struct kp_slice text);

/* How a record's value is given in an answer. */
enum rest_value_kind { REST_VALUE_NULL, REST_VALUE_JSON, REST_VALUE_TEXT, REST_VALUE_BINARY };
enum rest_value_kind rest_value_kind(struct kp_slice value);

#endif
