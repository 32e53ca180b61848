#include "lambda/query.h"

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The next byte of an encoded text, -1 when it is encoded wrongly. *at < text.len. */
static int decode_next(struct kp_slice text, size_t *at) {
    uint8_t c = text.ptr[(*at)++];
    if (c != '%') {
        return c;
    }
    if (text.len - *at < 2) {
        return -1;
    }
    int high = hex_digit(text.ptr[*at]), low = hex_digit(text.ptr[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool rest_percent_decode(struct kp_slice text, uint8_t *into, size_t capacity, size_t *len) {
    *len = 0;
    for (size_t at = 0; at < text.len;) {
        int c = decode_next(text, &at);
        if (c < 0 || *len == capacity) {
            return false;
        }
        into[(*len)++] = (uint8_t)c;
    }
    return true;
}

bool rest_query_next(struct kp_slice *query, struct kp_slice *name, struct kp_slice *value) {
    if (query->ptr == NULL || query->len == 0) {
        return false;
    }
    const uint8_t *and = memchr(query->ptr, '&', query->len);
    size_t len = and == NULL ? query->len : (size_t)(and - query->ptr);
    const uint8_t *equals = len == 0 ? NULL : memchr(query->ptr, '=', len);
    size_t name_len = equals == NULL ? len : (size_t)(equals - query->ptr);
    size_t value_at = equals == NULL ? len : name_len + 1;
    *name = kp_slice_of(query->ptr, name_len);
    *value = kp_slice_of(query->ptr + value_at, len - value_at);
    size_t taken = and == NULL ? len : len + 1;
    *query = kp_slice_of(query->ptr + taken, query->len - taken);
    return true;
}

static bool name_means(struct kp_slice raw, struct kp_slice name) {
    size_t at = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (at == raw.len || decode_next(raw, &at) != name.ptr[i]) {
            return false;
        }
    }
    return at == raw.len;
}

bool rest_query_last(struct kp_slice query, struct kp_slice name, struct kp_slice *value) {
    bool found = false;
    struct kp_slice here, its_value;
    while (rest_query_next(&query, &here, &its_value)) {
        if (name_means(here, name)) {
            *value = its_value;
            found = true;
        }
    }
    return found;
}

bool rest_whole_number(struct kp_slice text, int64_t *number, bool *overflow) {
    *number = 0;
    *overflow = false;
    for (size_t at = 0; at < text.len;) {
        int c = decode_next(text, &at);
        if (c < '0' || c > '9') {
            return false;
        }
        int64_t digit = c - '0';
        if (*overflow || *number > (INT64_MAX - digit) / 10) {
            *overflow = true;
            *number = INT64_MAX;
        } else {
            *number = *number * 10 + digit;
        }
    }
    return text.len > 0;
}
