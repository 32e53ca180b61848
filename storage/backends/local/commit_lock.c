/* Two flocks; see the header. */
#include "storage/backends/local/commit_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

int st_commit_lock_open(struct st_commit_lock *lock, const struct st_fs *fs, int directory) {
    *lock = (struct st_commit_lock){.queue_fd = fs->open(directory, "queue.lock", O_RDWR | O_CREAT, 0666)};
    if (lock->queue_fd < 0) {
        return errno;
    }
    lock->commit_fd = fs->open(directory, "commit.lock", O_RDWR | O_CREAT, 0666);
    if (lock->commit_fd < 0) {
        int error = errno;
        close(lock->queue_fd);
        return error;
    }
    return 0;
}

void st_commit_lock_close(struct st_commit_lock *lock) {
    close(lock->commit_fd);
    close(lock->queue_fd);
}

static bool take(int fd) {
    int rc;
    do {
        rc = flock(fd, LOCK_EX);
    } while (rc < 0 && errno == EINTR);
    return rc == 0;
}

bool st_commit_lock_take(struct st_commit_lock *lock) {
    if (lock->held) {
        return true;
    }
    if (!take(lock->queue_fd)) {
        return false;
    }
    lock->held = take(lock->commit_fd);
    flock(lock->queue_fd, LOCK_UN);
    return lock->held;
}

void st_commit_lock_give(struct st_commit_lock *lock) {
    if (lock->held) {
        flock(lock->commit_fd, LOCK_UN);
        lock->held = false;
    }
}
