/* 128-bit identifiers: topic ids, commit ids, writer ids. Kafka prints them as 22 characters of base64url. */
#ifndef KP_UUID_H
#define KP_UUID_H

#include "protocol/bytes/slice.h"

struct kp_uuid {
    uint8_t bytes[16];
};

#define KP_UUID_TEXT_MAX 23 /* with the NUL */

static inline bool kp_uuid_equal(const struct kp_uuid *a, const struct kp_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
static inline bool kp_uuid_is_zero(const struct kp_uuid *id) {
    static const struct kp_uuid zero;
    return kp_uuid_equal(id, &zero);
}
/* base64url without padding, NUL-terminated. */
void kp_uuid_text(const struct kp_uuid *id, char text[KP_UUID_TEXT_MAX]);
/* False when text is not exactly 22 characters of base64url. */
bool kp_uuid_parse(struct kp_slice text, struct kp_uuid *id);

#endif
