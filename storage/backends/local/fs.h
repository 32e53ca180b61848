/*
 * Every file syscall of extents, object files and the store's directory goes through this table, so that a test can
 * count them, fail one, or stop the process at the Nth. SQLite's own go through its VFS.
 *
 * The helpers answer 0 or an errno value.
 */
#ifndef ST_LOCAL_FS_H
#define ST_LOCAL_FS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct st_fs {
    int (*open)(int dir, const char *path, int flags, mode_t mode);
    ssize_t (*pread)(int fd, void *bytes, size_t len, off_t at);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t len, off_t at);
    int (*allocate)(int fd, int mode, off_t at, off_t len); /* fallocate */
    int (*truncate)(int fd, off_t size);
    int (*datasync)(int fd);
    int (*sync)(int fd);
    int (*rename)(int dir, const char *from, const char *to);
    int (*unlink)(int dir, const char *path);
    int (*mkdir)(int dir, const char *path, mode_t mode);
};

extern const struct st_fs st_fs_posix;

int st_fs_write(const struct st_fs *fs, int fd, const void *bytes, size_t len, uint64_t at);
/* ENODATA when the file ends before len bytes. */
int st_fs_read(const struct st_fs *fs, int fd, void *bytes, size_t len, uint64_t at);
int st_fs_sync_directory(const struct st_fs *fs, int dir, const char *path);
/* Makes the directory if it is missing, and then syncs the one that names it. */
int st_fs_make_directory(const struct st_fs *fs, int dir, const char *path);

#endif
