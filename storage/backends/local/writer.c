/* Registration of a process on the store, and cleaning up after those that went; see the header. */
#include "storage/backends/local/writer.h"

#include "storage/backends/local/extent.h"
#include "storage/backends/local/object_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_DIGITS 16
#define PATH_SIZE 64

static void path_of(uint64_t id, char path[PATH_SIZE]) {
    snprintf(path, PATH_SIZE, ST_WRITERS "/%016" PRIx64, id);
}

/* Whether the open file still is what its path names: a sweep may have removed it before it was locked. */
static bool still_named(int directory, const char *path, int fd) {
    struct stat named, opened;
    return fstatat(directory, path, &named, 0) == 0 && fstat(fd, &opened) == 0 && named.st_ino == opened.st_ino &&
           named.st_dev == opened.st_dev;
}

int st_writer_register(struct st_writer *writer, const struct st_fs *fs, int directory, uint64_t id) {
    char path[PATH_SIZE];
    path_of(id, path);
    for (;;) {
        int fd = fs->open(directory, path, O_RDWR | O_CREAT, 0666);
        if (fd < 0) {
            return errno;
        }
        int error = flock(fd, LOCK_EX) < 0 ? errno : 0;
        if (error == 0) {
            error = st_fs_write(fs, fd, "\n", 1, 0);
        }
        if (error != 0) {
            close(fd);
            return error;
        }
        if (still_named(directory, path, fd)) {
            *writer = (struct st_writer){.id = id, .fd = fd};
            return 0;
        }
        close(fd);
    }
}

void st_writer_release(struct st_writer *writer) {
    close(writer->fd);
}

void st_writer_ring(const struct st_writer *writer) {
    char byte;
    while (pread(writer->fd, &byte, 1, 0) < 0 && errno == EINTR) {
    }
}

/* The lock of a writer that is gone, or -1: it lives, or there is no such file (*absent). */
static int lock_gone(int directory, const char *path, bool *absent) {
    int fd = openat(directory, path, O_RDWR | O_CLOEXEC);
    *absent = fd < 0 && errno == ENOENT;
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool st_writer_gone(int directory, uint64_t id) {
    char path[PATH_SIZE];
    bool absent;
    path_of(id, path);
    int fd = lock_gone(directory, path, &absent);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0 || absent;
}

/* Runs over the files of `folder` whose name begins with the writer's id. */
static bool sweep_folder(const struct st_fs *fs, int directory, const char *folder, const char *id,
                         void (*each)(const struct st_fs *fs, int directory, const char *path)) {
    char **names;
    size_t count;
    if (!st_directory_names(directory, folder, &names, &count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char path[PATH_SIZE];
        if (strncmp(names[i], id, ID_DIGITS) == 0 && names[i][ID_DIGITS] == '-' &&
            snprintf(path, sizeof path, "%s/%s", folder, names[i]) < (int)sizeof path) {
            each(fs, directory, path);
        }
    }
    free(names);
    return true;
}

static void remove_temporary(const struct st_fs *fs, int directory, const char *path) {
    fs->unlink(directory, path);
}

void st_writers_sweep(const struct st_fs *fs, int directory) {
    char **ids;
    size_t count;
    if (!st_directory_names(directory, ST_WRITERS, &ids, &count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char path[PATH_SIZE];
        bool absent;
        if (strlen(ids[i]) != ID_DIGITS) {
            continue;
        }
        snprintf(path, sizeof path, ST_WRITERS "/%.16s", ids[i]);
        int fd = lock_gone(directory, path, &absent);
        if (fd < 0) {
            continue;
        }
        if (sweep_folder(fs, directory, "x", ids[i], st_extent_settle) &&
            sweep_folder(fs, directory, "tmp", ids[i], remove_temporary)) {
            fs->unlink(directory, path);
        }
        close(fd);
    }
    free(ids);
}
