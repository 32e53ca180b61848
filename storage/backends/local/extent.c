/* Writing, deleting and scanning of extents; what they are stands in the header. */
#include "storage/backends/local/extent.h"

#include "protocol/bytes/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_LENGTH 25 /* of x/WWWWWWWWWWWWWWWW-NNNNNN */
#define NUMBER_MAX 0xffffffu
#define OFFSET_MAX 0xffffffffu

static uint64_t footprint(uint64_t len) {
    return ST_HEADER_SIZE + ((len + ST_HEADER_SIZE - 1) & ~(uint64_t)(ST_HEADER_SIZE - 1));
}

static void path_of(uint64_t writer, uint32_t number, char path[ST_EXTENT_PATH_MAX]) {
    snprintf(path, ST_EXTENT_PATH_MAX, "x/%016" PRIx64 "-%06" PRIx32, writer, number);
}

void st_extents_init(struct st_extents *extents, const struct st_fs *fs, int directory, uint64_t writer) {
    *extents = (struct st_extents){.fs = fs, .directory = directory, .writer = writer, .size = ST_EXTENT_SIZE};
    pthread_mutex_init(&extents->mutex, NULL);
    pthread_cond_init(&extents->changed, NULL);
}

/* Settles full extents up to `last`, in order, stopping at one that is still being written. */
static void settle_until(struct st_extents *extents, uint32_t last) {
    for (;;) {
        pthread_mutex_lock(&extents->mutex);
        uint32_t number = extents->closed + 1;
        bool ready = number <= last && number <= extents->made;
        for (size_t i = 0; i < ST_EXTENT_PUTS_MAX; i++) {
            ready = ready && extents->puts[i] != number;
        }
        if (ready) {
            extents->closed = number;
        }
        pthread_mutex_unlock(&extents->mutex);
        if (!ready) {
            return;
        }
        char path[ST_EXTENT_PATH_MAX];
        path_of(extents->writer, number, path);
        st_extent_settle(extents->fs, extents->directory, path);
    }
}

void st_extents_release(struct st_extents *extents) {
    settle_until(extents, NUMBER_MAX);
    pthread_cond_destroy(&extents->changed);
    pthread_mutex_destroy(&extents->mutex);
}

bool st_extents_reserve(struct st_extents *extents, size_t len, char name[ST_OBJECT_NAME_MAX],
                        uint32_t *ahead) {
    uint64_t need = footprint(len);
    *ahead = 0;
    if (len > OFFSET_MAX / 2) {
        return false;
    }
    pthread_mutex_lock(&extents->mutex);
    uint32_t closed = extents->closed;
    pthread_mutex_unlock(&extents->mutex);
    if (extents->number <= closed || (extents->reserved > 0 && extents->reserved + need > extents->size)) {
        uint32_t last = extents->number > closed ? extents->number : closed;
        if (last == NUMBER_MAX) {
            return false;
        }
        extents->number = last + 1;
        extents->reserved = 0;
    }
    char path[ST_EXTENT_PATH_MAX];
    path_of(extents->writer, extents->number, path);
    snprintf(name, ST_OBJECT_NAME_MAX, "%s@%08" PRIx64, path, extents->reserved);
    uint64_t half = extents->size / 2;
    if (extents->reserved < half && extents->reserved + need >= half) {
        *ahead = extents->number + 1;
    }
    extents->reserved += need;
    return true;
}

/* The file of an extent, claimed and findable after a power cut. Without room for all of it, it is left to grow. */
static int make_file(struct st_extents *extents, uint32_t number) {
    const struct st_fs *fs = extents->fs;
    char path[ST_EXTENT_PATH_MAX];
    path_of(extents->writer, number, path);
    int error = st_fs_make_directory(fs, extents->directory, "x");
    if (error != 0) {
        return error;
    }
    int fd = fs->open(extents->directory, path, O_RDWR | O_CREAT | O_EXCL, 0666);
    if (fd < 0) {
        return errno;
    }
    if (fs->allocate(fd, 0, 0, (off_t)extents->size) < 0 && fs->truncate(fd, 0) < 0) {
        error = errno;
    }
    if (error == 0 && fs->sync(fd) < 0) {
        error = errno;
    }
    close(fd);
    if (error == 0) {
        error = st_fs_sync_directory(fs, extents->directory, "x");
    }
    if (error != 0) {
        fs->unlink(extents->directory, path);
    }
    return error;
}

/* Under the mutex, which it gives up while files are made. Extents are made one at a time, in order. */
static int make_until(struct st_extents *extents, uint32_t number) {
    while (extents->made < number) {
        if (extents->making) {
            pthread_cond_wait(&extents->changed, &extents->mutex);
            continue;
        }
        extents->making = true;
        uint32_t next = extents->made + 1;
        pthread_mutex_unlock(&extents->mutex);
        int error = make_file(extents, next);
        pthread_mutex_lock(&extents->mutex);
        extents->making = false;
        if (error == 0) {
            extents->made = next;
        }
        pthread_cond_broadcast(&extents->changed);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

void st_extents_make_ahead(struct st_extents *extents, uint32_t number) {
    pthread_mutex_lock(&extents->mutex);
    make_until(extents, number); /* a failure shows again, and is answered, when the extent is needed */
    pthread_mutex_unlock(&extents->mutex);
    if (number > 2) {
        settle_until(extents, number - 2);
    }
}

/* Takes part in the extent `number`, made if need be: the index of the put, or -1. */
static int begin_put(struct st_extents *extents, uint32_t number) {
    int index = -1;
    pthread_mutex_lock(&extents->mutex);
    while (number > extents->closed && make_until(extents, number) == 0 && number > extents->closed) {
        for (int i = 0; i < ST_EXTENT_PUTS_MAX && index < 0; i++) {
            if (extents->puts[i] == 0) {
                index = i;
            }
        }
        if (index >= 0) {
            extents->puts[index] = number;
            break;
        }
        pthread_cond_wait(&extents->changed, &extents->mutex);
    }
    pthread_mutex_unlock(&extents->mutex);
    return index;
}

/* Says whether the put may be believed: not after an error of anybody in its extent. */
static bool end_put(struct st_extents *extents, int index, int error) {
    pthread_mutex_lock(&extents->mutex);
    uint32_t number = extents->puts[index];
    if (error != 0 && error != ENOSPC && error != EDQUOT && error != EFBIG && number > extents->closed) {
        extents->closed = number;
    }
    bool good = error == 0 && number > extents->closed;
    extents->puts[index] = 0;
    pthread_cond_broadcast(&extents->changed);
    pthread_mutex_unlock(&extents->mutex);
    return good;
}

static int open_to_write(struct st_extents *extents, const char *path) {
    pthread_mutex_lock(&extents->mutex);
    bool buffered = extents->buffered;
    pthread_mutex_unlock(&extents->mutex);
    int fd = extents->fs->open(extents->directory, path, O_RDWR | (buffered ? 0 : O_DIRECT), 0);
    if (fd < 0 && errno == EINVAL && !buffered) {
        pthread_mutex_lock(&extents->mutex);
        extents->buffered = true;
        pthread_mutex_unlock(&extents->mutex);
        fd = extents->fs->open(extents->directory, path, O_RDWR, 0);
    }
    return fd;
}

enum st_error st_extents_put(struct st_extents *extents, const char *name, uint8_t *buffer, size_t len,
                              uint32_t crc) {
    struct st_extent_place place;
    if (!st_extent_name_parse(name, &place) || place.writer != extents->writer || place.number == 0) {
        return ST_REFUSED;
    }
    struct st_object_header header = {.len = len, .crc = crc};
    snprintf(header.name, sizeof header.name, "%s", name);
    st_object_header_write(&header, buffer);
    uint64_t size = footprint(len);
    memset(buffer + ST_HEADER_SIZE + len, 0, size - ST_HEADER_SIZE - len);

    int index = begin_put(extents, place.number);
    if (index < 0) {
        return ST_REFUSED;
    }
    int error = 0;
    int fd = open_to_write(extents, place.path);
    if (fd < 0) {
        error = errno;
    } else {
        error = st_fs_write(extents->fs, fd, buffer, size, place.at);
        if (error == 0 && extents->fs->datasync(fd) < 0) {
            error = errno == ENOSPC ? EIO : errno; /* what a failed sync kept is unknown, whatever the reason */
        }
        close(fd);
    }
    return end_put(extents, index, error) ? ST_OK : ST_REFUSED;
}

bool st_extents_closed(struct st_extents *extents, uint32_t number) {
    pthread_mutex_lock(&extents->mutex);
    bool closed = number <= extents->closed;
    pthread_mutex_unlock(&extents->mutex);
    return closed;
}

/* The value of `digits` hexadecimal digits; -1 when there is another character. */
static int64_t parse_hex(const char *text, size_t digits, uint64_t *value) {
    static const char alphabet[] = "0123456789abcdef";
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        const char *digit = memchr(alphabet, text[i], 16);
        if (digit == NULL) {
            return -1;
        }
        *value = *value << 4 | (uint64_t)(digit - alphabet);
    }
    return 0;
}

bool st_extent_name_parse(const char *name, struct st_extent_place *place) {
    uint64_t number;
    if (strnlen(name, ST_OBJECT_NAME_MAX) != PATH_LENGTH + 9 || strncmp(name, "x/", 2) != 0 ||
        parse_hex(name + 2, 16, &place->writer) < 0 || name[18] != '-' || parse_hex(name + 19, 6, &number) < 0 ||
        name[25] != '@' || parse_hex(name + 26, 8, &place->at) < 0 || place->at % ST_HEADER_SIZE != 0) {
        return false;
    }
    place->number = (uint32_t)number;
    memcpy(place->path, name, PATH_LENGTH);
    place->path[PATH_LENGTH] = '\0';
    return true;
}

static enum st_error read_header(const struct st_fs *fs, int fd, uint64_t at, struct st_object_header *header) {
    uint8_t block[ST_HEADER_SIZE];
    int error = st_fs_read(fs, fd, block, sizeof block, at);
    if (error != 0) {
        return error == ENODATA ? ST_ABSENT : ST_REFUSED;
    }
    return st_object_header_read(block, header);
}

enum st_error st_extent_delete(const struct st_fs *fs, int directory, const char *name) {
    struct st_extent_place place;
    struct st_object_header header;
    if (!st_extent_name_parse(name, &place)) {
        return ST_OK;
    }
    int fd = fs->open(directory, place.path, O_RDWR, 0);
    if (fd < 0) {
        return errno == ENOENT ? ST_OK : ST_REFUSED;
    }
    enum st_error result = read_header(fs, fd, place.at, &header);
    if (result == ST_OK && strcmp(header.name, name) == 0) {
        static const uint8_t zeros[ST_HEADER_SIZE];
        off_t at = (off_t)place.at, size = (off_t)footprint(header.len);
        bool gone = fs->allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size) == 0 ||
                    st_fs_write(fs, fd, zeros, sizeof zeros, place.at) == 0;
        if (!gone || fs->datasync(fd) < 0) {
            result = ST_UNKNOWN;
        }
    } else if (result == ST_OK || result == ST_ABSENT) {
        result = ST_OK;
    }
    close(fd);
    return result;
}

enum st_error st_extent_scan(const struct st_fs *fs, int directory, const char *path, uint64_t from,
                             bool (*each)(void *arg, const struct st_object_header *header, uint64_t at), void *arg) {
    int fd = fs->open(directory, path, O_RDONLY, 0);
    if (fd < 0) {
        return errno == ENOENT ? ST_ABSENT : ST_REFUSED;
    }
    enum st_error result = ST_OK;
    off_t at = (off_t)from;
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        struct st_object_header header;
        at -= at % ST_HEADER_SIZE;
        enum st_error found = read_header(fs, fd, (uint64_t)at, &header);
        if (found == ST_REFUSED) {
            result = ST_REFUSED;
            break;
        }
        char name[ST_OBJECT_NAME_MAX];
        snprintf(name, sizeof name, "%s@%08" PRIx64, path, (uint64_t)at);
        if (found != ST_OK || header.len > OFFSET_MAX || strcmp(header.name, name) != 0) {
            at += ST_HEADER_SIZE; /* deleted without punching, or torn: or data that looks like a header */
            continue;
        }
        if (!each(arg, &header, (uint64_t)at)) {
            break;
        }
        at += (off_t)footprint(header.len);
    }
    if (at < 0 && errno != ENXIO) {
        result = ST_REFUSED;
    }
    close(fd);
    return result;
}

static bool remember_end(void *arg, const struct st_object_header *header, uint64_t at) {
    *(uint64_t *)arg = at + footprint(header->len);
    return true;
}

/* True when the file holds data, and its last block is some: nothing to be done, told without reading. */
static bool is_settled(const struct st_fs *fs, int directory, const char *path) {
    int fd = fs->open(directory, path, O_RDONLY, 0);
    if (fd < 0) {
        return true;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    bool settled = size >= ST_HEADER_SIZE && lseek(fd, size - ST_HEADER_SIZE, SEEK_DATA) >= 0;
    close(fd);
    return settled;
}

void st_extent_settle(const struct st_fs *fs, int directory, const char *path) {
    uint64_t end = 0;
    if (is_settled(fs, directory, path) ||
        st_extent_scan(fs, directory, path, 0, remember_end, &end) != ST_OK) {
        return; /* nothing is lost by leaving it as it is */
    }
    if (end == 0) {
        fs->unlink(directory, path);
        return;
    }
    int fd = fs->open(directory, path, O_RDWR, 0);
    if (fd >= 0) {
        if (lseek(fd, 0, SEEK_END) > (off_t)end) {
            fs->truncate(fd, (off_t)end);
        }
        close(fd);
    }
}
