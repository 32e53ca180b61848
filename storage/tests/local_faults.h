/*
 * A file system for the local store that counts its calls and, at the call or calls asked for, fails or stops the
 * process, before the call has had any effect or in the middle of it.
 */
#ifndef LOCAL_FAULTS_H
#define LOCAL_FAULTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "storage/backends/local/fs.h"

enum fault_call {
    FAULT_OPEN,
    FAULT_PREAD,
    FAULT_PWRITE,
    FAULT_ALLOCATE,
    FAULT_TRUNCATE,
    FAULT_DATASYNC,
    FAULT_SYNC,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_MKDIR,
    FAULT_CALLS
};

enum fault_kind {
    FAULT_NONE,
    FAULT_ERROR, /* the call fails with fault_errno */
    FAULT_SHORT, /* a write writes a part only, and goes on */
    FAULT_STOP,  /* the process ends in the call, a write half done */
};

static atomic_int fault_kind, fault_errno;
static atomic_uint fault_mask;    /* bits of enum fault_call that count */
static atomic_int fault_countdown; /* the fault comes with the call that brings it to 0 */
static atomic_bool fault_lasting; /* and with every one after it */
static atomic_int fault_seen;     /* calls counted */

static inline void fault_set(enum fault_kind kind, unsigned mask, int at, bool lasting, int error) {
    atomic_store(&fault_kind, FAULT_NONE);
    atomic_store(&fault_mask, mask);
    atomic_store(&fault_countdown, at);
    atomic_store(&fault_lasting, lasting);
    atomic_store(&fault_errno, error);
    atomic_store(&fault_seen, 0);
    atomic_store(&fault_kind, kind);
}

static inline void fault_clear(void) {
    fault_set(FAULT_NONE, ~0u, 0, false, 0);
}

/* What is to happen to this call. */
static inline enum fault_kind fault_at(enum fault_call call) {
    if ((atomic_load(&fault_mask) & 1u << call) == 0) {
        return FAULT_NONE;
    }
    atomic_fetch_add(&fault_seen, 1);
    if (atomic_load(&fault_kind) == FAULT_NONE) {
        return FAULT_NONE;
    }
    int left = atomic_fetch_sub(&fault_countdown, 1) - 1;
    bool now = left == 0 || (left < 0 && atomic_load(&fault_lasting));
    return now ? (enum fault_kind)atomic_load(&fault_kind) : FAULT_NONE;
}

/* True when the call must fail; does not come back when the process is to stop. */
static inline bool fault_hits(enum fault_call call) {
    switch (fault_at(call)) {
    case FAULT_ERROR:
        errno = atomic_load(&fault_errno);
        return true;
    case FAULT_STOP:
        _exit(99);
    case FAULT_NONE:
    case FAULT_SHORT:
        break;
    }
    return false;
}

static int faulty_open(int dir, const char *path, int flags, mode_t mode) {
    return fault_hits(FAULT_OPEN) ? -1 : st_fs_posix.open(dir, path, flags, mode);
}

static ssize_t faulty_pread(int fd, void *bytes, size_t len, off_t at) {
    return fault_hits(FAULT_PREAD) ? -1 : st_fs_posix.pread(fd, bytes, len, at);
}

static ssize_t faulty_pwrite(int fd, const void *bytes, size_t len, off_t at) {
    size_t half = len / 2 & ~(size_t)4095;
    switch (fault_at(FAULT_PWRITE)) {
    case FAULT_ERROR:
        errno = atomic_load(&fault_errno);
        return -1;
    case FAULT_STOP:
        if (half > 0 && st_fs_posix.pwrite(fd, bytes, half, at) < 0) {
            _exit(98);
        }
        _exit(99);
    case FAULT_SHORT:
        return st_fs_posix.pwrite(fd, bytes, half > 0 ? half : len, at);
    case FAULT_NONE:
        break;
    }
    return st_fs_posix.pwrite(fd, bytes, len, at);
}

static int faulty_allocate(int fd, int mode, off_t at, off_t len) {
    return fault_hits(FAULT_ALLOCATE) ? -1 : st_fs_posix.allocate(fd, mode, at, len);
}

static int faulty_truncate(int fd, off_t size) {
    return fault_hits(FAULT_TRUNCATE) ? -1 : st_fs_posix.truncate(fd, size);
}

static int faulty_datasync(int fd) {
    return fault_hits(FAULT_DATASYNC) ? -1 : st_fs_posix.datasync(fd);
}

static int faulty_sync(int fd) {
    return fault_hits(FAULT_SYNC) ? -1 : st_fs_posix.sync(fd);
}

static int faulty_rename(int dir, const char *from, const char *to) {
    return fault_hits(FAULT_RENAME) ? -1 : st_fs_posix.rename(dir, from, to);
}

static int faulty_unlink(int dir, const char *path) {
    return fault_hits(FAULT_UNLINK) ? -1 : st_fs_posix.unlink(dir, path);
}

static int faulty_mkdir(int dir, const char *path, mode_t mode) {
    return fault_hits(FAULT_MKDIR) ? -1 : st_fs_posix.mkdir(dir, path, mode);
}

static const struct st_fs faulty_fs = {
    .open = faulty_open,
    .pread = faulty_pread,
    .pwrite = faulty_pwrite,
    .allocate = faulty_allocate,
    .truncate = faulty_truncate,
    .datasync = faulty_datasync,
    .sync = faulty_sync,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .mkdir = faulty_mkdir,
};

#endif
