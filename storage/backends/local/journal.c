/*
 * Journal operations on the committer's and the reader's thread, and the life of the WAL.
 *
 * SQLite's automatic checkpoint would run inside a COMMIT and make it tens of times slower now and then. Here the bulk
 * is copied by a thread of its own while commits go on; what came meanwhile is copied by the committer, between two
 * commits and holding the commit lock, so that the WAL is copied to its last frame and the next commit starts it
 * over. So the WAL keeps to a few MiB, and soon overwrites blocks that the file already has, which is the cheapest
 * fdatasync there is.
 *
 * The first thing a new handle does is such a pass: after a crash the WAL may hold commits whose sync failed, seen by
 * reading it back but not on the disk, and nothing may be appended behind those.
 */
#include "storage/backends/local/handle.h"

#include "storage/runtime/metrics.h"

#include <stdlib.h>

#define BULK_FRAMES 2048     /* 8 MiB in the WAL: time to copy */
#define REST_FRAMES 256      /* so few the committer copies itself */
#define COURTESY_NS (5 * ST_MS)
#define TRIM_ENTRIES 256     /* per transaction, so that commits come in between */

/* ---- the WAL ---- */

static void pass_run(struct st_local *local, void *op) {
    int left;
    (void)op;
    if (st_commit_lock_take(&local->lock)) {
        st_db_copy_wal(&local->commit_db, &left);
        st_commit_lock_give(&local->lock);
    }
}

static void pass_finish(struct st_local *local, void *op) {
    (void)op;
    local->copying = false;
}

static void bulk_run(struct st_local *local, void *op) {
    int *left = op;
    if (!st_db_copy_wal(&local->copy_db, left)) {
        *left = -1; /* another process is at it */
    }
}

static void bulk_finish(struct st_local *local, void *op) {
    int left = *(int *)op;
    free(op);
    if (left >= 0 && left <= REST_FRAMES) {
        st_local_call(local, local->committer, pass_run, pass_finish, NULL);
    } else {
        local->copying = false;
    }
}

static void mind_wal(struct st_local *local, int frames) {
    if (frames < BULK_FRAMES || local->copying || local->closing) {
        return;
    }
    int *left = malloc(sizeof *left);
    if (left != NULL) {
        local->copying = true;
        st_local_call(local, local->copier, bulk_run, bulk_finish, left);
    }
}

/* ---- the lock that is kept after a lost race ---- */

static void give_run(struct st_local *local, void *op) {
    (void)op;
    st_commit_lock_give(&local->lock);
}

static void give_finish(struct st_local *local, void *op) {
    (void)local;
    (void)op;
}

static void courtesy_over(struct st_timer *timer) {
    struct st_local *local = ST_OWNER(timer, struct st_local, courtesy);
    st_local_call(local, local->committer, give_run, give_finish, NULL);
}

void st_local_journal_start(struct st_local *local) {
    local->courtesy.fn = courtesy_over;
    local->copying = true;
    st_local_call(local, local->committer, pass_run, pass_finish, NULL);
}

void st_local_journal_stop(struct st_local *local) {
    st_timer_stop(local->loop, &local->courtesy);
}

/* ---- what the committer does ---- */

static void put_run(struct st_local *local, void *arg) {
    struct st_journal_put *op = arg;
    if (!st_commit_lock_take(&local->lock)) {
        op->error = ST_REFUSED;
    } else {
        st_db_put(&local->commit_db, op, st_local_date_ms());
        if (op->error == ST_OK) {
            st_writer_ring(&local->writer);
        }
        if (op->error != ST_TAKEN) {
            st_commit_lock_give(&local->lock);
        }
    }
    op->date_ms = st_local_date_ms();
    op->backend = (void *)(intptr_t)local->commit_db.wal_frames;
}

static void put_finish(struct st_local *local, void *arg) {
    struct st_journal_put *op = arg;
    int frames = (int)(intptr_t)op->backend;
    if (op->error == ST_TAKEN && !local->closing) {
        st_timer_start(local->loop, &local->courtesy, COURTESY_NS);
    } else if (op->error == ST_TAKEN) {
        courtesy_over(&local->courtesy);
    } else {
        st_timer_stop(local->loop, &local->courtesy);
    }
    op->done(op);
    mind_wal(local, frames);
}

void st_local_journal_put(struct st_store *store, struct st_journal_put *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->committer, put_run, put_finish, op);
}

static void trim_run(struct st_local *local, void *arg) {
    struct st_journal_trim *op = arg;
    bool finished = true;
    op->error = ST_REFUSED;
    if (st_commit_lock_take(&local->lock)) {
        st_db_trim(&local->commit_db, op, TRIM_ENTRIES, &finished);
        st_commit_lock_give(&local->lock);
    }
    op->date_ms = st_local_date_ms();
    op->backend = finished ? NULL : op;
}

static void trim_finish(struct st_local *local, void *arg) {
    struct st_journal_trim *op = arg;
    if (op->backend != NULL) {
        st_local_call(local, local->committer, trim_run, trim_finish, op);
    } else {
        op->done(op);
    }
}

void st_local_journal_trim(struct st_store *store, struct st_journal_trim *op) {
    struct st_local *local = st_local_of(store);
    st_local_call(local, local->committer, trim_run, trim_finish, op);
}

/* An operation that is one write: run with the lock, then done. */
#define WRITING(name, type, write)                                                                                     \
    static void name##_run(struct st_local *local, void *arg) {                                                        \
        struct type *op = arg;                                                                                         \
        op->error = ST_REFUSED;                                                                                        \
        if (st_commit_lock_take(&local->lock)) {                                                                       \
            write;                                                                                                     \
            st_commit_lock_give(&local->lock);                                                                         \
        }                                                                                                              \
        op->date_ms = st_local_date_ms();                                                                              \
    }                                                                                                                  \
    static void name##_finish(struct st_local *local, void *arg) {                                                     \
        struct type *op = arg;                                                                                         \
        (void)local;                                                                                                   \
        op->done(op);                                                                                                  \
    }                                                                                                                  \
    void st_local_##name(struct st_store *store, struct type *op) {                                                    \
        struct st_local *local = st_local_of(store);                                                                   \
        st_local_call(local, local->committer, name##_run, name##_finish, op);                                         \
    }

WRITING(identify, st_identify, st_db_identify(&local->commit_db, op))
WRITING(checkpoint_advance, st_checkpoint_ref,
        st_db_checkpoint_advance(&local->commit_db, op, st_local_date_ms()))
WRITING(lease_renew, st_lease_renew, st_db_lease_renew(&local->commit_db, op, st_local_date_ms()))

/* ---- reads that find nothing, by looking at the wal-index ---- */

void st_local_journal_answer(struct st_task *task) {
    struct st_local *local = ST_OWNER(task, struct st_local, answer);
    struct st_journal_read *op = local->answers;
    local->answers = NULL;
    while (op != NULL) {
        struct st_journal_read *next = op->backend;
        op->done(op);
        st_local_op_ended(local);
        op = next;
    }
}

static void answer_soon(struct st_local *local, struct st_journal_read *op, int64_t date_ms) {
    st_metrics.journal_looks_total++;
    op->entries = NULL;
    op->count = 0;
    op->blob = NULL;
    op->at_end = true;
    op->error = ST_OK;
    op->date_ms = date_ms;
    op->backend = NULL;
    if (local->answers == NULL) {
        local->answers = op;
    } else {
        local->last_answer->backend = op;
    }
    local->last_answer = op;
    st_local_op_begun(local);
    st_defer(local->loop, &local->answer);
}

/* ---- what the reader does: its date is from before the look, so that it never claims too much ---- */

struct page {
    struct st_journal_read *op;
    uint8_t *bytes;
    size_t len;
};

static void read_run(struct st_local *local, void *arg) {
    struct page *page = arg;
    page->op->date_ms = st_local_date_ms();
    st_db_read(&local->read_db, page->op, &page->bytes, &page->len);
}

/* Moves the bodies into a blob of their exact size: small bytes, and the only copy that lives on. */
static void read_finish(struct st_local *local, void *arg) {
    struct page *page = arg;
    struct st_journal_read *op = page->op;
    (void)local;
    op->blob = NULL;
    if (op->count > 0) {
        op->blob = kp_blob_new(page->len > 0 ? page->len : 1);
        if (op->blob == NULL) {
            free(op->entries);
            op->entries = NULL;
            op->count = 0;
            op->error = ST_REFUSED;
        }
    }
    if (op->count > 0) {
        memcpy(op->blob->data, page->bytes, page->len);
        const uint8_t *at = op->blob->data;
        for (size_t i = 0; i < op->count; i++) {
            op->entries[i].body.ptr = at;
            at += op->entries[i].body.len;
        }
    }
    free(page->bytes);
    free(page);
    op->done(op);
}

void st_local_journal_read(struct st_store *store, struct st_journal_read *op) {
    struct st_local *local = st_local_of(store);
    int64_t date_ms = st_local_date_ms();
    if (st_ends_at(&local->ends, op->journal, op->from)) {
        answer_soon(local, op, date_ms);
        return;
    }
    struct page *page = calloc(1, sizeof *page);
    if (page == NULL) {
        abort();
    }
    page->op = op;
    st_local_call(local, local->reader, read_run, read_finish, page);
}

#define READING(name, type, read)                                                                                      \
    static void name##_run(struct st_local *local, void *arg) {                                                        \
        struct type *op = arg;                                                                                         \
        op->date_ms = st_local_date_ms();                                                                              \
        read(&local->read_db, op);                                                                                     \
    }                                                                                                                  \
    static void name##_finish(struct st_local *local, void *arg) {                                                     \
        struct type *op = arg;                                                                                         \
        (void)local;                                                                                                   \
        op->done(op);                                                                                                  \
    }                                                                                                                  \
    void st_local_##name(struct st_store *store, struct type *op) {                                                    \
        struct st_local *local = st_local_of(store);                                                                   \
        st_local_call(local, local->reader, name##_run, name##_finish, op);                                            \
    }

READING(checkpoint_get, st_checkpoint_ref, st_db_checkpoint_get)
READING(lease_list, st_lease_list, st_db_lease_list)
