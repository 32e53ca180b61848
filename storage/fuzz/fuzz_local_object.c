/*
 * The block in front of stored objects, and scans of extents full of such blocks. The first byte chooses: raw bytes, or
 * blocks whose CRCs are made right, so that the fields behind the check are reached too.
 */
#include "protocol/bytes/crc32c.h"
#include "storage/backends/local/extent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS_MAX 16
#define PIECE 64 /* bytes of input that begin a block */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(bool good) {
    if (!good) {
        abort();
    }
}

static void seal(uint8_t *block) {
    memcpy(block, "SSO1", 4);
    uint32_t crc = kp_crc32c(0, block, ST_HEADER_SIZE - 4);
    for (size_t i = 0; i < 4; i++) {
        block[ST_HEADER_SIZE - 4 + i] = (uint8_t)(crc >> (8 * i));
    }
}

/* What is read can be written, and is the same when it is read again. */
static void read_block(const uint8_t *block) {
    struct st_object_header header, again;
    uint8_t copy[ST_HEADER_SIZE];
    if (st_object_header_read(block, &header) != ST_OK) {
        return;
    }
    check(header.name[0] != '\0' && memchr(header.name, 0, sizeof header.name) != NULL);
    st_object_header_write(&header, copy);
    check(st_object_header_read(copy, &again) == ST_OK);
    check(strcmp(again.name, header.name) == 0 && again.len == header.len && again.crc == header.crc);
}

static bool count(void *arg, const struct st_object_header *header, uint64_t at) {
    (void)header;
    check(at % ST_HEADER_SIZE == 0);
    return ++*(int *)arg < BLOCKS_MAX;
}

static void scan(const uint8_t *extent, size_t size) {
    static int fd = -1;
    char path[64];
    int found = 0;
    if (fd < 0) {
        fd = memfd_create("extent", MFD_CLOEXEC);
    }
    check(ftruncate(fd, 0) == 0 && pwrite(fd, extent, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check(st_extent_scan(&st_fs_posix, AT_FDCWD, path, 0, count, &found) == ST_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static uint8_t extent[BLOCKS_MAX * ST_HEADER_SIZE];
    if (len == 0) {
        return 0;
    }
    size_t blocks = 0;
    memset(extent, 0, sizeof extent);
    for (size_t from = 1; from < len && blocks < BLOCKS_MAX; from += PIECE, blocks++) {
        uint8_t *block = extent + blocks * ST_HEADER_SIZE;
        memcpy(block, bytes + from, len - from < PIECE ? len - from : PIECE);
        if (bytes[0] % 2 == 1) {
            seal(block);
        }
        read_block(block);
    }
    scan(extent, blocks * ST_HEADER_SIZE);

    struct st_extent_place place;
    char name[ST_OBJECT_NAME_MAX] = {0};
    memcpy(name, bytes, len < sizeof name - 1 ? len : sizeof name - 1);
    if (st_extent_name_parse(name, &place)) {
        check(place.at % ST_HEADER_SIZE == 0 && strlen(place.path) < sizeof place.path);
    }
    return 0;
}
