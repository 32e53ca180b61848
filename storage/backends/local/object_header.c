/* Encoding of the block in front of every stored object; the format stands in the header. */
#include "storage/backends/local/object_header.h"

#include "protocol/bytes/crc32c.h"

#include <string.h>

#define MAGIC 0x314f5353u
#define VERSION 1
#define NAME_AT 24
#define CRC_AT (ST_HEADER_SIZE - 4)

static void put_le(uint8_t *at, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get_le(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

void st_object_header_write(const struct st_object_header *header, uint8_t block[ST_HEADER_SIZE]) {
    size_t name_len = strnlen(header->name, sizeof header->name - 1);
    memset(block, 0, ST_HEADER_SIZE);
    put_le(block, MAGIC, 4);
    put_le(block + 4, VERSION, 2);
    put_le(block + 6, name_len, 2);
    put_le(block + 8, header->len, 8);
    put_le(block + 16, header->crc, 4);
    memcpy(block + NAME_AT, header->name, name_len);
    put_le(block + CRC_AT, kp_crc32c(0, block, CRC_AT), 4);
}

enum st_error st_object_header_read(const uint8_t block[ST_HEADER_SIZE], struct st_object_header *header) {
    static const uint8_t zeros[ST_HEADER_SIZE];
    if (memcmp(block, zeros, ST_HEADER_SIZE) == 0) {
        return ST_ABSENT;
    }
    if (get_le(block, 4) != MAGIC || get_le(block + CRC_AT, 4) != kp_crc32c(0, block, CRC_AT)) {
        return ST_DAMAGED;
    }
    if (get_le(block + 4, 2) != VERSION) {
        return ST_MISFIT;
    }
    size_t name_len = (size_t)get_le(block + 6, 2);
    if (name_len == 0 || name_len >= sizeof header->name || memchr(block + NAME_AT, 0, name_len) != NULL) {
        return ST_DAMAGED;
    }
    memcpy(header->name, block + NAME_AT, name_len);
    header->name[name_len] = '\0';
    header->len = get_le(block + 8, 8);
    header->crc = (uint32_t)get_le(block + 16, 4);
    return ST_OK;
}
