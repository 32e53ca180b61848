/*
 * Private to this folder: what one open handle on a local store consists of, and how its calls run.
 *
 * Every operation is a struct st_call: `run` does the blocking work on a thread of one pool, `finish` goes back to the
 * caller on the loop thread. The pools have one queue each, so that nothing quick waits behind something slow:
 *
 *   committer   1 thread    whatever writes to the database, with the commit lock
 *   reader      1           journal pages and small reads, on their own connection
 *   uploads     3           objects: two in flight, and the making of the next extent
 *   downloads   2           ranges of objects
 *   copier      1           copying the WAL into the database
 *   background  1           deletions, lists, sweeps
 */
#ifndef ST_LOCAL_HANDLE_H
#define ST_LOCAL_HANDLE_H

#include "storage/backends/local/commit_lock.h"
#include "storage/backends/local/db.h"
#include "storage/backends/local/ends.h"
#include "storage/backends/local/extent.h"
#include "storage/backends/local/bells.h"
#include "storage/backends/local/writer.h"
#include "storage/runtime/worker.h"

struct st_local {
    struct st_store store; /* first */
    struct st_loop *loop;
    const struct st_fs *fs;
    int directory;
    struct st_writer writer;
    struct st_extents extents;
    uint32_t files_named;      /* objects with a file to themselves; loop thread */
    struct st_commit_lock lock; /* committer thread */
    struct st_timer courtesy;   /* the lock is kept for a put that may follow a lost one, until it runs out */
    struct st_db commit_db, read_db, copy_db; /* each of its thread: committer, reader, copier */
    struct st_ends ends;        /* looks at the mapping of copy_db, which stays open; loop thread */
    struct st_journal_read *answers, *last_answer; /* to be given in a moment, linked by `backend`; loop thread */
    struct st_task answer;
    bool copying;               /* the WAL is being copied; loop thread */
    struct st_workers *committer, *reader, *uploads, *downloads, *copier, *background;
    struct st_bells *bells;
    size_t under_way;           /* calls that have not finished; loop thread */
    bool closing;
    struct st_task teardown;
    void (*closed)(void *arg);
    void *closed_arg;
};

static inline struct st_local *st_local_of(struct st_store *store) {
    return ST_OWNER(store, struct st_local, store);
}

typedef void st_call_fn(struct st_local *local, void *op);
/* Runs `run` in the pool, then `finish` on the loop thread; what a run on the committer's or reader's connection tells
 * of journals' ends is learnt in between. */
void st_local_call(struct st_local *local, struct st_workers *pool, st_call_fn *run, st_call_fn *finish, void *op);
/* An operation begins, or has ended: closing waits for the last. */
void st_local_op_begun(struct st_local *local);
void st_local_op_ended(struct st_local *local);
/* The store's clock, milliseconds: of the machine that all its processes share. Any thread. */
int64_t st_local_date_ms(void);

/* Operations of the seam, in journal.c and objects.c. */
void st_local_identify(struct st_store *store, struct st_identify *op);
void st_local_journal_put(struct st_store *store, struct st_journal_put *op);
void st_local_journal_read(struct st_store *store, struct st_journal_read *op);
void st_local_journal_trim(struct st_store *store, struct st_journal_trim *op);
void st_local_checkpoint_get(struct st_store *store, struct st_checkpoint_ref *op);
void st_local_checkpoint_advance(struct st_store *store, struct st_checkpoint_ref *op);
void st_local_lease_renew(struct st_store *store, struct st_lease_renew *op);
void st_local_lease_list(struct st_store *store, struct st_lease_list *op);
bool st_local_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun,
                          size_t len, char name[ST_OBJECT_NAME_MAX]);
void st_local_object_put(struct st_store *store, struct st_object_put *op);
void st_local_object_get(struct st_store *store, struct st_object_get *op);
void st_local_object_delete(struct st_store *store, struct st_object_delete *op);
void st_local_object_list(struct st_store *store, struct st_object_list *op);

/* journal.c: begins by emptying a WAL that an earlier process may have left. */
void st_local_journal_start(struct st_local *local);
void st_local_journal_stop(struct st_local *local);
/* The task that gives `answers`. */
void st_local_journal_answer(struct st_task *task);

#endif
