/* Big-endian integers at any address, as the Kafka protocol has them throughout. */
#ifndef KP_BE_H
#define KP_BE_H

#include <stdint.h>
#include <string.h>

static inline uint16_t kp_be_load16(const void *at) {
    uint16_t raw;
    memcpy(&raw, at, sizeof raw);
    return __builtin_bswap16(raw);
}

static inline uint32_t kp_be_load32(const void *at) {
    uint32_t raw;
    memcpy(&raw, at, sizeof raw);
    return __builtin_bswap32(raw);
}

static inline uint64_t kp_be_load64(const void *at) {
    uint64_t raw;
    memcpy(&raw, at, sizeof raw);
    return __builtin_bswap64(raw);
}

static inline void kp_be_store16(void *at, uint16_t value) {
    uint16_t raw = __builtin_bswap16(value);
    memcpy(at, &raw, sizeof raw);
}

static inline void kp_be_store32(void *at, uint32_t value) {
    uint32_t raw = __builtin_bswap32(value);
    memcpy(at, &raw, sizeof raw);
}

static inline void kp_be_store64(void *at, uint64_t value) {
    uint64_t raw = __builtin_bswap64(value);
    memcpy(at, &raw, sizeof raw);
}

/* Every machine this runs on (x86-64, AArch64) is little-endian; one that is not must not compile. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "be.h swaps unconditionally");

#endif
