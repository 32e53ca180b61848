#include "lambda/base64.h"

/* Value of a digit, -1 for another byte. */
static int digit(uint8_t c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool rest_base64_decode(struct kp_slice text, uint8_t *into, size_t *len) {
    *len = 0;
    for (size_t at = 0; at < text.len; at += 4) {
        if (text.len - at < 4) {
            return false;
        }
        const uint8_t *group = text.ptr + at;
        bool last = text.len - at == 4;
        size_t digits = last && group[3] == '=' ? (group[2] == '=' ? 2 : 3) : 4;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
            int value = i < digits ? digit(group[i]) : 0;
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        if ((bits & ((1u << 8 * (4 - digits)) - 1)) != 0) {
            return false;
        }
        for (size_t i = 0; i < digits - 1; i++) {
            into[(*len)++] = (uint8_t)(bits >> (16 - 8 * i));
        }
    }
    return true;
}
