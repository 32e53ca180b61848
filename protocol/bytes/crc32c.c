/*
 * The CRC instructions of x86-64 and AArch64 take eight bytes but have a latency of three cycles, so one stream uses a
 * third of the unit. Three neighbouring blocks are therefore summed at once and joined afterwards:
 *
 *     crc(A B C) = crc(A) * x^(16 |C|)  +  crc(B) * x^(8 |C|)  +  crc(C)        with |A| = |B| = |C|
 *
 * in GF(2)[x] modulo the CRC's polynomial. All values are bit-reflected as the CRC itself is: bit 31 is x^0. The two
 * factors are computed when the process starts. On x86-64 the products are carry-less multiplications; the CRC
 * instruction itself reduces them, which multiplies by x^33 more than wanted (32 from the instruction, one because a
 * reflected product of two 32-bit values is 63 bits wide), so the factors there are x^(8 n - 33).
 *
 * Without such instructions: eight tables, eight bytes a step.
 */
#include "protocol/bytes/crc32c.h"

#include "protocol/bytes/be.h"

#include <stdbool.h>

#define POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 reflected */

typedef uint32_t crc_function(uint32_t state, const uint8_t *at, size_t len);

static uint32_t tables[8][256];
static uint32_t zero_bytes[64]; /* factors of 2^i bytes that follow: x^(8 * 2^i) */
static crc_function *update; /* works on the inverted state */

/* a * b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        if (a & bit) {
            product ^= b;
        }
        b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

/* x^n modulo the polynomial. */
static uint32_t power(uint64_t n) {
    uint32_t result = 1u << 31, square = 1u << 30;
    for (; n != 0; n >>= 1) {
        if (n & 1) {
            result = multiply(result, square);
        }
        square = multiply(square, square);
    }
    return result;
}

static uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t update_table(uint32_t state, const uint8_t *at, size_t len) {
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word = load64(at) ^ state;
        state = tables[7][word & 0xFF] ^ tables[6][word >> 8 & 0xFF] ^ tables[5][word >> 16 & 0xFF] ^
                tables[4][word >> 24 & 0xFF] ^ tables[3][word >> 32 & 0xFF] ^
                tables[2][word >> 40 & 0xFF] ^ tables[1][word >> 48 & 0xFF] ^ tables[0][word >> 56];
    }
    for (; len > 0; at++, len--) {
        state = state >> 8 ^ tables[0][(state ^ *at) & 0xFF];
    }
    return state;
}

static void tables_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        }
        tables[0][i] = crc;
    }
    for (int t = 1; t < 8; t++) {
        for (uint32_t i = 0; i < 256; i++) {
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xFF];
        }
    }
}

#if defined(__x86_64__) || defined(__aarch64__)
/* Long blocks for bulk, short ones for what is left: a join costs about as much as 32 bytes. */
enum { LONG_BLOCK = 4096, SHORT_BLOCK = 256 };
static struct {
    uint32_t one, two; /* factors for one and two blocks */
} long_factors, short_factors;
#endif

#if defined(__x86_64__)
#include <immintrin.h>

#define HARDWARE __attribute__((target("sse4.2,pclmul")))
enum { FACTOR_SURPLUS = 33 };

HARDWARE static inline uint64_t step64(uint64_t state, const uint8_t *at) {
    return _mm_crc32_u64(state, load64(at));
}

HARDWARE static inline uint64_t step8(uint64_t state, uint8_t byte) {
    return _mm_crc32_u8((uint32_t)state, byte);
}

HARDWARE static inline uint64_t join(uint64_t a, uint64_t b, uint64_t c, uint32_t two, uint32_t one) {
    __m128i left = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), _mm_cvtsi32_si128((int)two), 0);
    __m128i right = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b), _mm_cvtsi32_si128((int)one), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(left, right))) ^ c;
}

static bool hardware_present(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#elif defined(__aarch64__)
#include <sys/auxv.h>
#if defined(__clang__)
#define HARDWARE __attribute__((target("crc")))
#else
#define HARDWARE __attribute__((target("+crc")))
#endif
#include <arm_acle.h>

enum { FACTOR_SURPLUS = 0, HWCAP_CRC32_BIT = 1 << 7 };

HARDWARE static inline uint64_t step64(uint64_t state, const uint8_t *at) {
    return __crc32cd((uint32_t)state, load64(at));
}

HARDWARE static inline uint64_t step8(uint64_t state, uint8_t byte) {
    return __crc32cb((uint32_t)state, byte);
}

static inline uint64_t join(uint64_t a, uint64_t b, uint64_t c, uint32_t two, uint32_t one) {
    return multiply((uint32_t)a, two) ^ multiply((uint32_t)b, one) ^ (uint32_t)c;
}

static bool hardware_present(void) {
    return (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) != 0;
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)
HARDWARE static inline uint64_t three_blocks(uint64_t state, const uint8_t *at, size_t block, uint32_t two,
                                             uint32_t one) {
    uint64_t a = state, b = 0, c = 0;
    for (const uint8_t *end = at + block; at < end; at += 8) {
        a = step64(a, at);
        b = step64(b, at + block);
        c = step64(c, at + 2 * block);
    }
    return join(a, b, c, two, one);
}

HARDWARE static uint32_t update_hardware(uint32_t first_state, const uint8_t *at, size_t len) {
    uint64_t state = first_state;
    for (; len >= 3 * LONG_BLOCK; at += 3 * LONG_BLOCK, len -= 3 * LONG_BLOCK) {
        state = three_blocks(state, at, LONG_BLOCK, long_factors.two, long_factors.one);
    }
    for (; len >= 3 * SHORT_BLOCK; at += 3 * SHORT_BLOCK, len -= 3 * SHORT_BLOCK) {
        state = three_blocks(state, at, SHORT_BLOCK, short_factors.two, short_factors.one);
    }
    for (; len >= 8; at += 8, len -= 8) {
        state = step64(state, at);
    }
    for (; len > 0; at++, len--) {
        state = step8(state, *at);
    }
    return (uint32_t)state;
}
#endif

/* Before main, so that no caller needs a once-flag and no thread can see half of a table. */
__attribute__((constructor)) static void choose(void) {
    tables_init();
    zero_bytes[0] = power(8);
    for (int i = 1; i < 64; i++) {
        zero_bytes[i] = multiply(zero_bytes[i - 1], zero_bytes[i - 1]);
    }
    update = update_table;
#if defined(__x86_64__) || defined(__aarch64__)
    if (hardware_present()) {
        long_factors.one = power(8 * LONG_BLOCK - FACTOR_SURPLUS);
        long_factors.two = power(16 * LONG_BLOCK - FACTOR_SURPLUS);
        short_factors.one = power(8 * SHORT_BLOCK - FACTOR_SURPLUS);
        short_factors.two = power(16 * SHORT_BLOCK - FACTOR_SURPLUS);
        update = update_hardware;
    }
#endif
}

uint32_t kp_crc32c(uint32_t crc, const void *bytes, size_t len) {
    return ~update(~crc, bytes, len);
}

uint32_t kp_crc32c_join(uint32_t first, uint32_t second, uint64_t second_len) {
    for (int bit = 0; second_len != 0; bit++, second_len >>= 1) {
        if (second_len & 1) {
            first = multiply(first, zero_bytes[bit]);
        }
    }
    return first ^ second;
}

uint32_t kp_crc32c_portable(uint32_t crc, const void *bytes, size_t len) {
    return ~update_table(~crc, bytes, len);
}
