/* Objects in files of their own; layout and reasons stand in the header. */
#include "storage/backends/local/object_file.h"

#include "protocol/bytes/crc32c.h"
#include "storage/backends/local/object_header.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARENT_MAX 32 /* "checkpoints/JJJJJJJJJJ" */

void st_object_file_name(enum st_object_kind kind, uint32_t journal, uint64_t slot, uint64_t writer, uint32_t number,
                         char name[ST_OBJECT_NAME_MAX]) {
    if (kind == ST_OBJECT_CHECKPOINT) {
        snprintf(name, ST_OBJECT_NAME_MAX, "checkpoints/%010" PRIu32 "/%020" PRIu64 "-%016" PRIx64 "-%06" PRIx32,
                 journal, slot, writer, number);
    } else {
        snprintf(name, ST_OBJECT_NAME_MAX, "segments/%010" PRIu32 "/%016" PRIx64 "-%06" PRIx32, journal, writer,
                 number);
    }
}

bool st_object_file_name_valid(const char *name) {
    size_t root = strncmp(name, "checkpoints/", 12) == 0 ? 12 : strncmp(name, "segments/", 9) == 0 ? 9 : 0;
    if (root == 0) {
        return false;
    }
    const char *journal = name + root;
    size_t digits = strspn(journal, "0123456789");
    const char *leaf = journal + digits + 1;
    return digits == 10 && journal[10] == '/' && *leaf != '\0' && leaf[strspn(leaf, "0123456789abcdef-")] == '\0' &&
           strnlen(name, ST_OBJECT_NAME_MAX) < ST_OBJECT_NAME_MAX;
}

static bool parent_of(const char *name, char parent[PARENT_MAX]) {
    const char *slash = strrchr(name, '/');
    if (slash == NULL || slash - name >= PARENT_MAX) {
        return false;
    }
    memcpy(parent, name, (size_t)(slash - name));
    parent[slash - name] = '\0';
    return true;
}

static int make_parents(const struct st_fs *fs, int directory, const char *parent) {
    char root[PARENT_MAX];
    if (!parent_of(parent, root)) {
        return EINVAL;
    }
    int error = st_fs_make_directory(fs, directory, "tmp");
    if (error == 0) {
        error = st_fs_make_directory(fs, directory, root);
    }
    return error == 0 ? st_fs_make_directory(fs, directory, parent) : error;
}

static int write_temporary(const struct st_fs *fs, int directory, const char *temporary, const uint8_t *bytes,
                           size_t size) {
    int fd = fs->open(directory, temporary, O_RDWR | O_CREAT | O_EXCL, 0666);
    if (fd < 0) {
        return errno;
    }
    int error = st_fs_write(fs, fd, bytes, size, 0);
    if (error == 0 && fs->sync(fd) < 0) {
        error = errno;
    }
    close(fd);
    return error;
}

enum st_error st_object_file_put(const struct st_fs *fs, int directory, const char *name, const char *temporary,
                                 uint8_t *buffer, size_t len, uint32_t crc) {
    char parent[PARENT_MAX];
    if (!st_object_file_name_valid(name) || !parent_of(name, parent)) {
        return ST_REFUSED;
    }
    struct st_object_header header = {.len = len, .crc = crc};
    snprintf(header.name, sizeof header.name, "%s", name);
    st_object_header_write(&header, buffer);

    if (make_parents(fs, directory, parent) != 0) {
        return ST_REFUSED;
    }
    if (write_temporary(fs, directory, temporary, buffer, ST_HEADER_SIZE + len) != 0 ||
        fs->rename(directory, temporary, name) < 0) {
        fs->unlink(directory, temporary);
        return ST_REFUSED;
    }
    return st_fs_sync_directory(fs, directory, parent) == 0 ? ST_OK : ST_UNKNOWN;
}

enum st_error st_object_file_delete(const struct st_fs *fs, int directory, const char *name) {
    char parent[PARENT_MAX];
    if (!st_object_file_name_valid(name) || !parent_of(name, parent)) {
        return ST_OK;
    }
    if (fs->unlink(directory, name) < 0) {
        return errno == ENOENT ? ST_OK : ST_REFUSED;
    }
    return st_fs_sync_directory(fs, directory, parent) == 0 ? ST_OK : ST_UNKNOWN;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Reads all names behind each other into *text, NUL-separated. */
static bool gather_names(DIR *dir, char **text, size_t *len, size_t *count) {
    size_t room = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        size_t size = strlen(entry->d_name) + 1;
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (*len + size > room) {
            room = (*len + size) * 2;
            char *grown = realloc(*text, room);
            if (grown == NULL) {
                return false;
            }
            *text = grown;
        }
        memcpy(*text + *len, entry->d_name, size);
        *len += size;
        ++*count;
    }
    return errno == 0;
}

bool st_directory_names(int directory, const char *path, char ***names, size_t *count) {
    *names = NULL;
    *count = 0;
    int fd = openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return false;
    }
    char *text = NULL;
    size_t len = 0;
    bool good = gather_names(dir, &text, &len, count);
    closedir(dir);
    char **all = good && *count > 0 ? malloc(*count * sizeof *all + len) : NULL;
    if (all != NULL) {
        char *at = memcpy(all + *count, text, len);
        for (size_t i = 0; i < *count; i++, at += strlen(at) + 1) {
            all[i] = at;
        }
        qsort(all, *count, sizeof *all, compare_names);
        *names = all;
    }
    good = good && (*count == 0 || all != NULL);
    free(text);
    return good;
}
