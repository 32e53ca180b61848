/* MurmurHash2 (Austin Appleby, public domain) for 32 bits, little-endian, with the seed that Kafka chose. */
#include "lambda/partitioner.h"

#define SEED 0x9747b28cu
#define MIX 0x5bd1e995u

uint32_t rest_murmur2(struct kp_slice bytes) {
    uint32_t hash = SEED ^ (uint32_t)bytes.len;
    size_t at = 0;
    for (; bytes.len - at >= 4; at += 4) {
        const uint8_t *p = bytes.ptr + at;
        uint32_t word = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        word *= MIX;
        word ^= word >> 24;
        hash = hash * MIX ^ word * MIX;
    }
    size_t left = bytes.len - at;
    if (left > 0) {
        for (size_t i = 0; i < left; i++) {
            hash ^= (uint32_t)bytes.ptr[at + i] << 8 * i;
        }
        hash *= MIX;
    }
    hash ^= hash >> 13;
    hash *= MIX;
    return hash ^ hash >> 15;
}

int32_t rest_partition_of_key(struct kp_slice key, int32_t partitions) {
    return (int32_t)(rest_murmur2(key) & INT32_MAX) % partitions;
}
