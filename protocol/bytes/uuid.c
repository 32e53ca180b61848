#include "protocol/bytes/uuid.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 128 bits are 21 characters of six bits and one of two: the last character carries four zero bits below. */
void kp_uuid_text(const struct kp_uuid *id, char text[KP_UUID_TEXT_MAX]) {
    uint32_t bits = 0;
    unsigned held = 0;
    size_t out = 0;
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        bits = bits << 8 | id->bytes[i];
        held += 8;
        while (held >= 6) {
            held -= 6;
            text[out++] = alphabet[bits >> held & 0x3F];
        }
    }
    text[out++] = alphabet[bits << (6 - held) & 0x3F];
    text[out] = '\0';
}

static int sextet(uint8_t c) {
    const char *at = c == '\0' ? NULL : strchr(alphabet, c);
    return at == NULL ? -1 : (int)(at - alphabet);
}

bool kp_uuid_parse(struct kp_slice text, struct kp_uuid *id) {
    if (text.len != KP_UUID_TEXT_MAX - 1) {
        return false;
    }
    struct kp_uuid parsed = {{0}};
    uint32_t bits = 0;
    unsigned held = 0;
    size_t out = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = sextet(text.ptr[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            parsed.bytes[out++] = (uint8_t)(bits >> held);
        }
    }
    /* Two spellings of one id would be two ids to whoever compares text. */
    if ((bits & ((1u << held) - 1)) != 0) {
        return false;
    }
    *id = parsed;
    return true;
}
