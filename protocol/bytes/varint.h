/*
 * Variable-length integers, seven bits a byte, least significant first, as protobuf and Kafka have them: unsigned for
 * lengths and tags, zigzag for the signed numbers inside records.
 *
 * Readers return the number of bytes taken, or 0 when the number does not end before `end` or does not fit. A number
 * written with more bytes than it needs is accepted, as Kafka does.
 */
#ifndef KP_VARINT_H
#define KP_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define KP_VARINT_MAX 10   /* bytes of the longest 64-bit number */
#define KP_VARINT32_MAX 5

/* At most max_bytes bytes; bits above `bits` must be zero. The two readers below say which. */
static inline size_t kp_uvarint_read(const uint8_t *at, const uint8_t *end, size_t max_bytes, unsigned bits,
                                     uint64_t *value) {
    uint64_t sum = 0;
    for (size_t n = 0; n < max_bytes && at + n < end; n++) {
        uint64_t part = at[n] & 0x7F;
        unsigned shift = (unsigned)n * 7;
        if (shift + 7 > bits && part >> (bits - shift) != 0) {
            return 0;
        }
        sum |= part << shift;
        if ((at[n] & 0x80) == 0) {
            *value = sum;
            return n + 1;
        }
    }
    return 0;
}

static inline size_t kp_uvarint_get(const uint8_t *at, const uint8_t *end, uint64_t *value) {
    if (at < end && *at < 0x80) {
        *value = *at;
        return 1;
    }
    return kp_uvarint_read(at, end, KP_VARINT_MAX, 64, value);
}

static inline size_t kp_uvarint32_get(const uint8_t *at, const uint8_t *end, uint32_t *value) {
    if (at < end && *at < 0x80) {
        *value = *at;
        return 1;
    }
    uint64_t wide = 0;
    size_t taken = kp_uvarint_read(at, end, KP_VARINT32_MAX, 32, &wide);
    if (taken != 0) {
        *value = (uint32_t)wide;
    }
    return taken;
}

/* Zigzag, 64-bit (Kafka's varlong). */
static inline size_t kp_varint_get(const uint8_t *at, const uint8_t *end, int64_t *value) {
    uint64_t raw = 0;
    size_t taken = kp_uvarint_get(at, end, &raw);
    if (taken != 0) {
        *value = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
    }
    return taken;
}

/* Zigzag, 32-bit (Kafka's varint). */
static inline size_t kp_varint32_get(const uint8_t *at, const uint8_t *end, int32_t *value) {
    uint32_t raw = 0;
    size_t taken = kp_uvarint32_get(at, end, &raw);
    if (taken != 0) {
        *value = (int32_t)(raw >> 1) ^ -(int32_t)(raw & 1);
    }
    return taken;
}

/* Bytes that the number takes. */
static inline size_t kp_uvarint_size(uint64_t value) {
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    return (bits + 6) / 7;
}

/* Writes up to KP_VARINT_MAX bytes and returns how many. */
static inline size_t kp_uvarint_put(uint8_t *at, uint64_t value) {
    size_t n = 0;
    while (value >= 0x80) {
        at[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    at[n++] = (uint8_t)value;
    return n;
}

static inline uint64_t kp_zigzag(int64_t value) {
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline size_t kp_varint_size(int64_t value) {
    return kp_uvarint_size(kp_zigzag(value));
}

static inline size_t kp_varint_put(uint8_t *at, int64_t value) {
    return kp_uvarint_put(at, kp_zigzag(value));
}

#endif
