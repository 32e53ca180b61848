/*
 * The block in front of every stored object, in extents and in single files. It makes an object recognisable by
 * itself: a scan finds it, a read knows that it reads what it was asked for, a check can prove every byte.
 *
 *   offset  size
 *        0     4  magic 0x314f5353 ("SSO1"), little-endian like all numbers here
 *        4     2  version, 1
 *        6     2  n: length of the name, 1 .. 255
 *        8     8  length of the data in bytes
 *       16     4  CRC-32C of the data
 *       20     4  zero
 *       24     n  name, without a NUL
 *     24+n        zeros
 *     4092     4  CRC-32C of bytes 0 .. 4091
 *
 * The data follows at 4096. In an extent it is padded with zeros to a multiple of 4096.
 */
#ifndef ST_LOCAL_OBJECT_HEADER_H
#define ST_LOCAL_OBJECT_HEADER_H

#include "storage/store.h"

#define ST_HEADER_SIZE 4096

struct st_object_header {
    char name[ST_OBJECT_NAME_MAX];
    uint64_t len;
    uint32_t crc;
};

void st_object_header_write(const struct st_object_header *header, uint8_t block[ST_HEADER_SIZE]);
/* ST_ABSENT: the block begins with zeros, nothing was stored here or it was deleted. ST_DAMAGED; ST_MISFIT: of a newer
 * version. */
enum st_error st_object_header_read(const uint8_t block[ST_HEADER_SIZE], struct st_object_header *header);

#endif
