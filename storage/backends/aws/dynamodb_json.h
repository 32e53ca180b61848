/*
 * The bodies of DynamoDB requests and answers: JSON in which every value names its type, {"sk":{"N":"17"}}, numbers are
 * texts and bytes are base64 (RFC 4648, padded)
 * (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html).
 *
 * Requests are written into one buffer of known size; answers are parsed by cJSON, which copies every text once. Items
 * are looked at through the functions here, so that a value of another type is as if it were absent.
 */
#ifndef ST_AWS_DYNAMODB_JSON_H
#define ST_AWS_DYNAMODB_JSON_H

#include "protocol/bytes/blob.h"

#include <cjson/cJSON.h>

/* ---- requests ---- */

struct st_json {
    struct kp_blob *blob;
    size_t len;
    bool full; /* something did not fit: the text is of no use */
};

/* Room for `text` bytes of JSON and `bytes` bytes of base64. False: no memory. */
bool st_json_begin(struct st_json *json, size_t text, size_t bytes);
void st_json_end(struct st_json *json);
struct kp_slice st_json_text(const struct st_json *json);
/* Text as it stands in the format; values put in by %s are of letters that JSON does not escape. */
void st_json_add(struct st_json *json, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Without quotes. */
void st_json_base64(struct st_json *json, struct kp_slice bytes);

/* ---- answers ---- */

/* NULL: not an object of JSON, or no memory. cJSON_Delete frees it. */
cJSON *st_json_parse(struct kp_slice text);
/* The text of a value of the type ("S", "N", "B"); NULL: there is none. */
const char *st_item_text(const cJSON *item, const char *name, const char *type);
/* A whole number, not negative. */
bool st_item_number(const cJSON *item, const char *name, uint64_t *number);
/* How many bytes a "B" has; SIZE_MAX: there is none, or its length cannot be base64. */
size_t st_item_bytes_len(const cJSON *item, const char *name);
/* Decodes it to `into`, which has room for that many. False: not base64. */
bool st_item_bytes(const cJSON *item, const char *name, uint8_t *into);
/* The sum of ConsumedCapacity in half units; 0 when the answer does not tell. */
uint64_t st_json_half_units(const cJSON *answer);

#endif
