/* Writing and reading, storage/backends/aws/dynamodb_json.h. */
#include "storage/backends/aws/dynamodb_json.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BASE64_CHUNK (3 << 20) /* bytes at a time, so that lengths fit an int */

/* ---- requests ---- */

static size_t base64_len(size_t len) {
    return (len + 2) / 3 * 4;
}

bool st_json_begin(struct st_json *json, size_t text, size_t bytes) {
    *json = (struct st_json){.blob = kp_blob_new(text + base64_len(bytes) + 1)};
    return json->blob != NULL;
}

void st_json_end(struct st_json *json) {
    kp_blob_unref(json->blob);
    json->blob = NULL;
}

struct kp_slice st_json_text(const struct st_json *json) {
    return kp_slice_of(json->blob->data, json->len);
}

void st_json_add(struct st_json *json, const char *format, ...) {
    va_list args;
    size_t room = json->blob->size - json->len;
    va_start(args, format);
    int len = vsnprintf((char *)json->blob->data + json->len, room, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= room) {
        json->full = true;
    } else {
        json->len += (size_t)len;
    }
}

void st_json_base64(struct st_json *json, struct kp_slice bytes) {
    if (base64_len(bytes.len) + 1 > json->blob->size - json->len) { /* the encoder writes a NUL behind */
        json->full = true;
        return;
    }
    for (size_t at = 0; at < bytes.len; at += BASE64_CHUNK) {
        size_t len = bytes.len - at < BASE64_CHUNK ? bytes.len - at : BASE64_CHUNK;
        json->len += (size_t)EVP_EncodeBlock(json->blob->data + json->len, bytes.ptr + at, (int)len);
    }
}

/* ---- answers ---- */

cJSON *st_json_parse(struct kp_slice text) {
    if (text.len == 0) {
        return NULL;
    }
    cJSON *answer = cJSON_ParseWithLength((const char *)text.ptr, text.len);
    if (answer != NULL && !cJSON_IsObject(answer)) {
        cJSON_Delete(answer);
        return NULL;
    }
    return answer;
}

const char *st_item_text(const cJSON *item, const char *name, const char *type) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, name);
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(value, type));
}

bool st_item_number(const cJSON *item, const char *name, uint64_t *number) {
    const char *text = st_item_text(item, name, "N");
    if (text == NULL || text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    *number = 0;
    for (; *text != '\0'; text++) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*text - '0'), number)) {
            return false;
        }
    }
    return true;
}

static size_t padding_of(const char *text, size_t len) {
    return len == 0 ? 0 : (size_t)((text[len - 1] == '=') + (text[len - 1] == '=' && text[len - 2] == '='));
}

size_t st_item_bytes_len(const cJSON *item, const char *name) {
    const char *text = st_item_text(item, name, "B");
    size_t len = text != NULL ? strlen(text) : 1;
    return len % 4 == 0 ? len / 4 * 3 - padding_of(text, len) : SIZE_MAX;
}

/* The decoder writes whole groups of three: the last one goes through a buffer. It takes blanks at the ends for
 * nothing, which is told by the length. */
bool st_item_bytes(const cJSON *item, const char *name, uint8_t *into) {
    const char *text = st_item_text(item, name, "B");
    size_t len = text != NULL ? strlen(text) : 1;
    if (len % 4 != 0) {
        return false;
    }
    if (len == 0) {
        return true;
    }
    uint8_t last[3];
    size_t whole = len - 4;
    if (memchr(text, '=', len - padding_of(text, len)) != NULL) {
        return false;
    }
    for (size_t at = 0; at < whole; at += BASE64_CHUNK / 3 * 4) {
        size_t part = whole - at < BASE64_CHUNK / 3 * 4 ? whole - at : BASE64_CHUNK / 3 * 4;
        if (EVP_DecodeBlock(into + at / 4 * 3, (const uint8_t *)text + at, (int)part) != (int)(part / 4 * 3)) {
            return false;
        }
    }
    if (EVP_DecodeBlock(last, (const uint8_t *)text + whole, 4) != 3) {
        return false;
    }
    memcpy(into + whole / 4 * 3, last, 3 - padding_of(text, len));
    return true;
}

static uint64_t half_units(const cJSON *capacity) {
    double units = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(capacity, "CapacityUnits"));
    return units > 0 && units < 1e9 ? (uint64_t)(units * 2 + 0.5) : 0; /* not a number fails both */
}

uint64_t st_json_half_units(const cJSON *answer) {
    const cJSON *capacity = cJSON_GetObjectItemCaseSensitive(answer, "ConsumedCapacity"), *each;
    uint64_t sum = cJSON_IsObject(capacity) ? half_units(capacity) : 0;
    if (cJSON_IsArray(capacity)) {
        cJSON_ArrayForEach(each, capacity) {
            sum += half_units(each);
        }
    }
    return sum;
}
