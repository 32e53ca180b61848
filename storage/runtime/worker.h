/*
 * Worker threads for what blocks (SQLite, fsync, file reads) or computes long. A job owns its inputs or borrows what
 * the loop holds for it; it touches no loop state. Its done function runs on the loop thread.
 */
#ifndef ST_WORKER_H
#define ST_WORKER_H

#include "storage/runtime/loop.h"

struct st_job {
    void (*work)(struct st_job *job); /* on a worker thread */
    void (*done)(struct st_job *job); /* on the loop thread, exactly once */
    struct st_job *next;
};

struct st_workers;

/* `threads` threads serving one queue in order. Needs a loop that watches descriptors (watch.h). The first 15 bytes of
 * `name` show in ps. NULL when the system gives no memory, thread or file descriptor, or the loop watches none. */
struct st_workers *st_workers_new(struct st_loop *loop, const char *name, unsigned threads);
void st_workers_submit(struct st_workers *workers, struct st_job *job);
/* Finishes the jobs queued, then joins the threads; done functions that have not run yet run before it returns, and so
 * do jobs that these submit. Not to be called from a done function. */
void st_workers_free(struct st_workers *workers);

#endif
