/*
 * CRC-32C (Castagnoli), as in RFC 3720 appendix B.4 and Kafka's record batch v2. Hardware instructions where the CPU
 * has them (several streams in parallel, 10+ GB/s), a table otherwise; chosen once at run time.
 */
#ifndef KP_CRC32C_H
#define KP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `len` bytes continuing from `crc` (0 to begin). */
uint32_t kp_crc32c(uint32_t crc, const void *bytes, size_t len);
/* CRC of two pieces that follow each other, from the CRC of each and the length of the second. */
uint32_t kp_crc32c_join(uint32_t first, uint32_t second, uint64_t second_len);
/* The same by tables on any machine; for the test that compares the two. */
uint32_t kp_crc32c_portable(uint32_t crc, const void *bytes, size_t len);

#endif
