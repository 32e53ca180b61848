/* Object operations on the pools for uploads, downloads and background work. */
#include "storage/backends/local/handle.h"

#include "protocol/bytes/crc32c.h"
#include "storage/backends/local/local.h"
#include "storage/backends/local/object_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- names ---- */

static void ahead_run(struct st_local *local, void *op) {
    st_extents_make_ahead(&local->extents, *(uint32_t *)op);
}

static void ahead_finish(struct st_local *local, void *op) {
    (void)local;
    free(op);
}

bool st_local_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun,
                          size_t len, char name[ST_OBJECT_NAME_MAX]) {
    struct st_local *local = st_local_of(store);
    if (kind != ST_OBJECT_INGEST) {
        st_object_file_name(kind, journal, begun, local->writer.id, ++local->files_named, name);
        return true;
    }
    uint32_t ahead;
    if (!st_extents_reserve(&local->extents, len, name, &ahead)) {
        return false;
    }
    uint32_t *number = ahead != 0 ? malloc(sizeof *number) : NULL;
    if (number != NULL) {
        *number = ahead;
        st_local_call(local, local->uploads, ahead_run, ahead_finish, number);
    }
    return true;
}

/* ---- put ---- */

static void put_run(struct st_local *local, void *arg) {
    static atomic_uint temporaries;
    struct st_object_put *op = arg;
    struct st_extent_place place;
    uint8_t *bytes = op->buffer->data + op->at;
    uint32_t crc = op->summed ? op->crc : kp_crc32c(0, bytes + ST_HEADER_SIZE, op->len);
    if (st_extent_name_parse(op->name, &place)) {
        op->error = st_extents_put(&local->extents, op->name, bytes, op->len, crc);
    } else {
        char temporary[64];
        snprintf(temporary, sizeof temporary, "tmp/%016" PRIx64 "-%u", local->writer.id,
                 atomic_fetch_add(&temporaries, 1));
        op->error = st_object_file_put(local->fs, local->directory, op->name, temporary, bytes, op->len, crc);
    }
    op->date_ms = st_local_date_ms();
}

static void put_finish(struct st_local *local, void *arg) {
    struct st_object_put *op = arg;
    (void)local;
    op->done(op);
}

void st_local_object_put(struct st_store *store, struct st_object_put *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->uploads, put_run, put_finish, op);
}

/* ---- get: runs of records past the page cache, into memory that is used again and again: copying them out of pages
 * that the kernel has to find first costs several times as much, and the cache above serves the second reader. The
 * rest, and what lies on a file system without O_DIRECT, goes through the page cache; what the kernel read there
 * ahead of a write that goes past it, it drops before that write returns. ---- */

/* Reads the header at `at` and checks that it is of this object. */
static enum st_error read_header(const struct st_fs *fs, int fd, uint64_t at, const char *name,
                                 struct st_object_header *header) {
    _Alignas(ST_HEADER_SIZE) uint8_t block[ST_HEADER_SIZE];
    enum st_error result;
    switch (st_fs_read(fs, fd, block, sizeof block, at)) {
    case 0:
        result = st_object_header_read(block, header);
        return result == ST_OK && strcmp(header->name, name) != 0 ? ST_DAMAGED : result;
    case ENODATA:
        return ST_ABSENT; /* beyond what the extent was cut to */
    case EIO:
        return ST_DAMAGED;
    default:
        return ST_REFUSED;
    }
}

static enum st_error read_data(const struct st_fs *fs, int fd, uint64_t at, uint8_t *into, size_t len) {
    int error = st_fs_read(fs, fd, into, len, at);
    return error == 0 ? ST_OK : error == ENODATA || error == EIO ? ST_DAMAGED : ST_REFUSED;
}

/* The range of an object whose header lies at `at`; with `direct` the whole blocks that it touches. */
static enum st_error read_range(const struct st_fs *fs, int fd, uint64_t at, const struct st_object_get *op,
                                bool direct) {
    struct st_object_header header;
    enum st_error result = read_header(fs, fd, at, op->name, &header);
    if (result == ST_OK && (op->position > header.len || op->len > header.len - op->position)) {
        result = ST_DAMAGED;
    }
    if (result != ST_OK) {
        return result;
    }
    uint64_t from = at + ST_HEADER_SIZE + op->position;
    size_t before = direct ? op->position % ST_HEADER_SIZE : 0;
    size_t len = before + op->len;
    len = direct ? (len + ST_HEADER_SIZE - 1) / ST_HEADER_SIZE * ST_HEADER_SIZE : len;
    return read_data(fs, fd, from - before, op->into - before, len);
}

static enum st_error get(const struct st_local *local, const struct st_object_get *op) {
    struct st_extent_place place = {.at = 0};
    bool in_extent = st_extent_name_parse(op->name, &place);
    if (!in_extent && !st_object_file_name_valid(op->name)) {
        return ST_ABSENT;
    }
    const char *path = in_extent ? place.path : op->name;
    bool direct = op->roomy && in_extent && !local->extents.buffered;
    int fd = local->fs->open(local->directory, path, direct ? O_RDONLY | O_DIRECT : O_RDONLY, 0);
    if (fd < 0 && errno == EINVAL && direct) {
        direct = false;
        fd = local->fs->open(local->directory, path, O_RDONLY, 0);
    }
    if (fd < 0) {
        return errno == ENOENT ? ST_ABSENT : ST_REFUSED;
    }
    enum st_error result = read_range(local->fs, fd, in_extent ? place.at : 0, op, direct);
    close(fd);
    return result;
}

static void get_run(struct st_local *local, void *arg) {
    struct st_object_get *op = arg;
    op->error = get(local, op);
    op->date_ms = st_local_date_ms();
}

static void get_finish(struct st_local *local, void *arg) {
    struct st_object_get *op = arg;
    (void)local;
    op->done(op);
}

void st_local_object_get(struct st_store *store, struct st_object_get *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->downloads, get_run, get_finish, op);
}

/* ---- delete ---- */

static void delete_run(struct st_local *local, void *arg) {
    struct st_object_delete *op = arg;
    struct st_extent_place place;
    if (!st_extent_name_parse(op->name, &place)) {
        op->error = st_object_file_delete(local->fs, local->directory, op->name);
    } else {
        op->error = st_extent_delete(local->fs, local->directory, op->name);
        bool idle = place.writer == local->writer.id ? st_extents_closed(&local->extents, place.number)
                                                     : st_writer_gone(local->directory, place.writer);
        if (op->error == ST_OK && idle) {
            st_extent_settle(local->fs, local->directory, place.path);
        }
    }
    op->date_ms = st_local_date_ms();
}

static void delete_finish(struct st_local *local, void *arg) {
    struct st_object_delete *op = arg;
    (void)local;
    op->done(op);
}

void st_local_object_delete(struct st_store *store, struct st_object_delete *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->background, delete_run, delete_finish, op);
}

/* ---- list ---- */

/* Adds a name behind op->after. False: the page is full. */
static bool list_add(struct st_object_list *op, const char *name) {
    if (strcmp(name, op->after) <= 0) {
        return true;
    }
    if (op->count == op->capacity) {
        op->more = true;
        return false;
    }
    memcpy(op->names[op->count++], name, strlen(name) + 1); /* both kinds of names are checked to fit */
    return true;
}

static bool list_object(void *arg, const struct st_object_header *header, uint64_t at) {
    (void)at;
    return list_add(arg, header->name);
}

static enum st_error list_extents(struct st_local *local, struct st_object_list *op) {
    char **files;
    size_t count;
    struct st_extent_place after;
    enum st_error result = ST_OK;
    bool begins = st_extent_name_parse(op->after, &after);
    if (!st_directory_names(local->directory, "x", &files, &count)) {
        return ST_REFUSED;
    }
    for (size_t i = 0; i < count && result == ST_OK && !op->more; i++) {
        char path[ST_EXTENT_PATH_MAX];
        int order = begins ? strcmp(files[i], after.path + 2) : 1;
        if (order < 0 || snprintf(path, sizeof path, "x/%s", files[i]) >= (int)sizeof path) {
            continue;
        }
        result = st_extent_scan(local->fs, local->directory, path, order == 0 ? after.at : 0, list_object, op);
        result = result == ST_ABSENT ? ST_OK : result; /* unlinked meanwhile */
    }
    free(files);
    return result;
}

static enum st_error list_files(struct st_local *local, struct st_object_list *op, const char *root) {
    char **folders, **files;
    size_t folder_count, file_count;
    if (!st_directory_names(local->directory, root, &folders, &folder_count)) {
        return ST_REFUSED;
    }
    enum st_error result = ST_OK;
    for (size_t i = 0; i < folder_count && result == ST_OK && !op->more; i++) {
        char folder[ST_OBJECT_NAME_MAX], name[2 * ST_OBJECT_NAME_MAX];
        snprintf(folder, sizeof folder, "%s/%s", root, folders[i]);
        if (!st_directory_names(local->directory, folder, &files, &file_count)) {
            result = ST_REFUSED;
            break;
        }
        for (size_t k = 0; k < file_count && !op->more; k++) {
            snprintf(name, sizeof name, "%s/%s", folder, files[k]);
            if (st_object_file_name_valid(name)) {
                list_add(op, name);
            }
        }
        free(files);
    }
    free(folders);
    return result;
}

static void list_run(struct st_local *local, void *arg) {
    struct st_object_list *op = arg;
    op->count = 0;
    op->more = false;
    op->date_ms = st_local_date_ms();
    switch (op->kind) {
    case ST_OBJECT_INGEST:
        op->error = list_extents(local, op);
        break;
    case ST_OBJECT_CHECKPOINT:
        op->error = list_files(local, op, "checkpoints");
        break;
    case ST_OBJECT_SEGMENT:
        op->error = list_files(local, op, "segments");
        break;
    }
}

static void list_finish(struct st_local *local, void *arg) {
    struct st_object_list *op = arg;
    (void)local;
    op->done(op);
}

void st_local_object_list(struct st_store *store, struct st_object_list *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->background, list_run, list_finish, op);
}

/* ---- check ---- */

static enum st_error verify_data(int fd, uint64_t at, const struct st_object_header *header) {
    static const size_t step = 1 << 20;
    uint8_t *bytes = malloc(step);
    uint32_t crc = 0;
    enum st_error result = bytes != NULL ? ST_OK : ST_REFUSED;
    for (uint64_t done = 0; done < header->len && result == ST_OK;) {
        size_t len = header->len - done < step ? (size_t)(header->len - done) : step;
        result = read_data(&st_fs_posix, fd, at + done, bytes, len);
        crc = result == ST_OK ? kp_crc32c(crc, bytes, len) : crc;
        done += len;
    }
    free(bytes);
    return result == ST_OK && crc != header->crc ? ST_DAMAGED : result;
}

enum st_error st_store_local_verify(const char *directory, const char *name) {
    struct st_object_header header;
    struct st_extent_place place = {.at = 0};
    bool in_extent = st_extent_name_parse(name, &place);
    if (!in_extent && !st_object_file_name_valid(name)) {
        return ST_ABSENT;
    }
    int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return ST_REFUSED;
    }
    int fd = openat(folder, in_extent ? place.path : name, O_RDONLY | O_CLOEXEC);
    enum st_error result = fd < 0 ? (errno == ENOENT ? ST_ABSENT : ST_REFUSED) : ST_OK;
    uint64_t at = in_extent ? place.at : 0;
    if (fd >= 0) {
        result = read_header(&st_fs_posix, fd, at, name, &header);
        result = result == ST_OK ? verify_data(fd, at + ST_HEADER_SIZE, &header) : result;
        close(fd);
    }
    close(folder);
    return result;
}
