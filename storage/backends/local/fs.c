/* The real file system behind the table of fs.h. */
#include "storage/backends/local/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One write or read call moves at most so much: Linux itself stops at 2 GiB. */
#define TRANSFER_MAX ((size_t)1 << 30)

static int posix_open(int dir, const char *path, int flags, mode_t mode) {
    return openat(dir, path, flags | O_CLOEXEC, mode);
}

static int posix_rename(int dir, const char *from, const char *to) {
    return renameat(dir, from, dir, to);
}

static int posix_unlink(int dir, const char *path) {
    return unlinkat(dir, path, 0);
}

const struct st_fs st_fs_posix = {
    .open = posix_open,
    .pread = pread,
    .pwrite = pwrite,
    .allocate = fallocate,
    .truncate = ftruncate,
    .datasync = fdatasync,
    .sync = fsync,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = mkdirat,
};

int st_fs_write(const struct st_fs *fs, int fd, const void *bytes, size_t len, uint64_t at) {
    const uint8_t *from = bytes;
    while (len > 0) {
        ssize_t wrote = fs->pwrite(fd, from, len < TRANSFER_MAX ? len : TRANSFER_MAX, (off_t)at);
        if (wrote < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        if (wrote == 0) {
            return ENOSPC; /* only a full device accepts nothing without an error */
        }
        from += wrote;
        at += (uint64_t)wrote;
        len -= (size_t)wrote;
    }
    return 0;
}

int st_fs_read(const struct st_fs *fs, int fd, void *bytes, size_t len, uint64_t at) {
    uint8_t *into = bytes;
    while (len > 0) {
        ssize_t got = fs->pread(fd, into, len < TRANSFER_MAX ? len : TRANSFER_MAX, (off_t)at);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        if (got == 0) {
            return ENODATA;
        }
        into += got;
        at += (uint64_t)got;
        len -= (size_t)got;
    }
    return 0;
}

int st_fs_sync_directory(const struct st_fs *fs, int dir, const char *path) {
    int fd = fs->open(dir, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        return errno;
    }
    int failed = fs->sync(fd) < 0 ? errno : 0;
    close(fd);
    return failed;
}

int st_fs_make_directory(const struct st_fs *fs, int dir, const char *path) {
    char parent[PATH_MAX];
    if (snprintf(parent, sizeof parent, "%s", path) >= (int)sizeof parent) {
        return ENAMETOOLONG;
    }
    if (fs->mkdir(dir, path, 0777) < 0) {
        return errno == EEXIST ? 0 : errno;
    }
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        return st_fs_sync_directory(fs, dir, ".");
    }
    slash[slash == parent] = '\0'; /* the parent of /a is / */
    return st_fs_sync_directory(fs, dir, parent);
}
