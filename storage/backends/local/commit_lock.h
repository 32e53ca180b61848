/*
 * Who may commit: one process at a time, in fair order. SQLite's own lock is polled by those who wait, which starves a
 * second process altogether; flock sleeps, and the kernel frees it when its holder is killed.
 *
 * Two files. Who wants to commit takes queue.lock, then commit.lock, then frees queue.lock: so the one at the head of
 * the queue waits for commit.lock with nobody to overtake it, least of all the process that has just freed it and
 * comes again at once.
 *
 * The lock may be kept over a lost race: a put that finds its slot taken needs to read the winner's entry before it can
 * try the next slot, and in that time the winner would be back with that very slot, for ever. Keeping the lock for the
 * few hundred microseconds until the loser's next put makes two writers take turns.
 *
 * Used by one thread of each process.
 */
#ifndef ST_LOCAL_COMMIT_LOCK_H
#define ST_LOCAL_COMMIT_LOCK_H

#include "storage/backends/local/fs.h"

#include <stdbool.h>

struct st_commit_lock {
    int queue_fd, commit_fd;
    bool held;
};

/* 0 or an errno value. */
int st_commit_lock_open(struct st_commit_lock *lock, const struct st_fs *fs, int directory);
void st_commit_lock_close(struct st_commit_lock *lock);
/* Waits until the lock is held; false when the kernel refuses. Harmless while it is held. */
bool st_commit_lock_take(struct st_commit_lock *lock);
void st_commit_lock_give(struct st_commit_lock *lock);

#endif
