/*
 * A borrowed run of bytes: who holds a slice does not own what it points at. Wire text is never a `char *`.
 */
#ifndef KP_SLICE_H
#define KP_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct kp_slice {
    const uint8_t *ptr; /* NULL: absent (Kafka's null string); an empty one has a non-NULL ptr */
    size_t len;
};

/* For printf("%.*s", KP_SLICE_ARG(s)); only for text already known to be printable. */
#define KP_SLICE_ARG(s) (int)(s).len, (const char *)(s).ptr
/* A string literal as a slice. */
#define KP_SLICE_LIT(s) ((struct kp_slice){(const uint8_t *)("" s), sizeof(s) - 1})

static inline struct kp_slice kp_slice_of(const void *ptr, size_t len) {
    return (struct kp_slice){(const uint8_t *)ptr, len};
}

static inline struct kp_slice kp_slice_cstr(const char *text) {
    return (struct kp_slice){(const uint8_t *)text, strlen(text)};
}

static inline bool kp_slice_equal(struct kp_slice a, struct kp_slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Order of bytes, a prefix first: <0, 0, >0. */
static inline int kp_slice_compare(struct kp_slice a, struct kp_slice b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.ptr, b.ptr, shorter);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

#endif
