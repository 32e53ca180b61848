/* Opening, closing and the table of operations of the embedded store. */
#include "storage/backends/local/local.h"

#include "storage/backends/local/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct st_call {
    struct st_job job;
    struct st_local *local;
    st_call_fn *run, *finish;
    void *op;
    struct st_db *db; /* the connection of the thread, when it may have news */
    struct st_news news;
};

int64_t st_local_date_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- calls ---- */

static void call_work(struct st_job *job) {
    struct st_call *call = ST_OWNER(job, struct st_call, job);
    if (call->db == NULL) {
        call->run(call->local, call->op);
        return;
    }
    call->db->news.kind = ST_NEWS_NONE;
    call->run(call->local, call->op);
    call->news = call->db->news;
}

void st_local_op_begun(struct st_local *local) {
    local->under_way++;
}

void st_local_op_ended(struct st_local *local) {
    local->under_way--;
    if (local->closing && local->under_way == 0) {
        st_defer(local->loop, &local->teardown);
    }
}

static void call_done(struct st_job *job) {
    struct st_call *call = ST_OWNER(job, struct st_call, job);
    struct st_local *local = call->local;
    if (call->db != NULL) {
        st_ends_learn(&local->ends, &call->news);
    }
    call->finish(local, call->op);
    free(call);
    st_local_op_ended(local);
}

static struct st_db *connection_of(struct st_local *local, const struct st_workers *pool) {
    return pool == local->committer ? &local->commit_db : pool == local->reader ? &local->read_db : NULL;
}

void st_local_call(struct st_local *local, struct st_workers *pool, st_call_fn *run, st_call_fn *finish, void *op) {
    struct st_call *call = malloc(sizeof *call);
    if (call == NULL) {
        fputs("local store: memory is out\n", stderr);
        abort();
    }
    *call = (struct st_call){
        .job = {.work = call_work, .done = call_done}, .local = local, .run = run, .finish = finish, .op = op,
        .db = connection_of(local, pool)};
    st_local_op_begun(local);
    st_workers_submit(pool, &call->job);
}

/* ---- closing ---- */

static void release(struct st_local *local) {
    st_workers_free(local->committer);
    st_workers_free(local->reader);
    st_workers_free(local->uploads);
    st_workers_free(local->downloads);
    st_workers_free(local->copier);
    st_workers_free(local->background);
    st_bells_free(local->bells);
    st_db_close(&local->read_db);
    st_db_close(&local->copy_db);
    st_db_close(&local->commit_db);
    if (local->writer.fd >= 0) {
        st_extents_release(&local->extents);
        st_writer_release(&local->writer);
    }
    if (local->lock.commit_fd >= 0) {
        st_commit_lock_close(&local->lock);
    }
    if (local->directory >= 0) {
        close(local->directory);
    }
    free(local);
}

static void tear_down(struct st_task *task) {
    struct st_local *local = ST_OWNER(task, struct st_local, teardown);
    void (*closed)(void *arg) = local->closed;
    void *arg = local->closed_arg;
    release(local);
    closed(arg);
}

static void local_close(struct st_store *store, void (*closed)(void *arg), void *arg) {
    struct st_local *local = st_local_of(store);
    local->closing = true;
    local->closed = closed;
    local->closed_arg = arg;
    st_local_journal_stop(local);
    if (local->under_way == 0) {
        st_defer(local->loop, &local->teardown);
    }
}

/* ---- opening ---- */

static const struct st_store_ops local_ops = {
    .identify = st_local_identify,
    .object_name = st_local_object_name,
    .object_put = st_local_object_put,
    .object_get = st_local_object_get,
    .object_delete = st_local_object_delete,
    .object_list = st_local_object_list,
    .journal_put = st_local_journal_put,
    .journal_read = st_local_journal_read,
    .journal_trim = st_local_journal_trim,
    .checkpoint_get = st_local_checkpoint_get,
    .checkpoint_advance = st_local_checkpoint_advance,
    .lease_renew = st_local_lease_renew,
    .lease_list = st_local_lease_list,
    .close = local_close,
};

static const struct st_store_profile profile = {
    .inline_limit = 16 * 1024,
    .flush_limit = 4 << 20,
    .uploads_in_flight = 2,
    .object_head_room = ST_HEADER_SIZE,
    .object_align = ST_HEADER_SIZE,
    .poll_least_ns = 10 * ST_MS,
    .poll_most_ns = ST_SECOND,
};

/* Looking for others' commits without being told of them. */
#define UNTOLD_POLL_NS (50 * ST_MS)

static void heard(void *arg) {
    struct st_local *local = arg;
    if (local->store.changed != NULL && !local->closing) {
        local->store.changed(local->store.changed_arg);
    }
}

static void sweep_run(struct st_local *local, void *op) {
    (void)op;
    st_writers_sweep(local->fs, local->directory);
}

static void sweep_finish(struct st_local *local, void *op) {
    (void)local;
    (void)op;
}

/* The directory and all above it, each made durable in its parent. 0 or an errno value. */
static int make_directories(const struct st_fs *fs, const char *directory) {
    char path[PATH_MAX];
    size_t len = strlen(directory);
    int error = len == 0 ? ENOENT : len >= sizeof path ? ENAMETOOLONG : 0;
    for (size_t end = 1; error == 0 && end <= len; end++) {
        if (directory[end] != '/' && directory[end] != '\0') {
            continue;
        }
        memcpy(path, directory, end);
        path[end] = '\0';
        if (access(path, F_OK) < 0) {
            error = st_fs_make_directory(fs, AT_FDCWD, path);
        }
    }
    return error;
}

/* Everything but threads. False: *error is set, or a sentence in message. */
static bool open_files(struct st_local *local, const char *directory, int *error, char *message, size_t size) {
    uint64_t id;
    const struct st_fs *fs = local->fs;
    *error = make_directories(fs, directory);
    if (*error == 0) {
        local->directory = fs->open(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
        *error = local->directory < 0 ? errno : st_fs_make_directory(fs, local->directory, ST_WRITERS);
    }
    if (*error == 0) {
        *error = st_commit_lock_open(&local->lock, fs, local->directory);
    }
    if (*error != 0) {
        local->lock.commit_fd = -1;
        return false;
    }
    /* One process makes the schema, the others wait for it. */
    st_commit_lock_take(&local->lock);
    bool opened = st_db_open(&local->commit_db, directory, message, size);
    st_commit_lock_give(&local->lock);
    if (!opened || !st_db_open(&local->read_db, directory, message, size) ||
        !st_db_open(&local->copy_db, directory, message, size)) {
        return false;
    }
    const uint32_t *index = st_wal_index_of(local->copy_db.handle);
    local->commit_db.index = local->read_db.index = local->ends.index = index;
    st_random(local->loop, &id, sizeof id);
    *error = st_writer_register(&local->writer, fs, local->directory, id);
    if (*error != 0) {
        local->writer.fd = -1;
        return false;
    }
    st_extents_init(&local->extents, fs, local->directory, id);
    return true;
}

static bool start_threads(struct st_local *local) {
    local->committer = st_workers_new(local->loop, "commit", 1);
    local->reader = st_workers_new(local->loop, "journal", 1);
    local->uploads = st_workers_new(local->loop, "upload", 3);
    local->downloads = st_workers_new(local->loop, "download", 2);
    local->copier = st_workers_new(local->loop, "wal", 1);
    local->background = st_workers_new(local->loop, "store", 1);
    return local->committer != NULL && local->reader != NULL && local->uploads != NULL && local->downloads != NULL &&
           local->copier != NULL && local->background != NULL;
}

struct st_store *st_store_local_open_with(struct st_loop *loop, const char *directory,
                                          const struct st_local_options *options, char *message, size_t message_size) {
    struct st_local *local = calloc(1, sizeof *local);
    if (local == NULL) {
        snprintf(message, message_size, "Memory is out.");
        return NULL;
    }
    *local = (struct st_local){.store = {.ops = &local_ops, .profile = profile},
                               .loop = loop,
                               .fs = options->fs,
                               .directory = -1,
                               .writer = {.fd = -1},
                               .lock = {.commit_fd = -1},
                               .teardown = {.fn = tear_down},
                               .answer = {.fn = st_local_journal_answer}};
    int error = 0;
    message[0] = '\0';
    if (!open_files(local, directory, &error, message, message_size)) {
        if (error != 0) {
            snprintf(message, message_size, "The store directory %s cannot be used: %s.", directory, strerror(error));
        }
        release(local);
        return NULL;
    }
    if (options->extent_size != 0) {
        local->extents.size = options->extent_size;
    }
    local->extents.buffered = options->buffered;
    if (!start_threads(local)) {
        snprintf(message, message_size, "The store's threads cannot be started.");
        release(local);
        return NULL;
    }
    local->bells = st_bells_new(loop, directory, local->writer.id, heard, local);
    if (local->bells == NULL) {
        local->store.profile.poll_most_ns = UNTOLD_POLL_NS;
    }
    st_local_journal_start(local);
    st_local_call(local, local->background, sweep_run, sweep_finish, NULL);
    return &local->store;
}

struct st_store *st_store_local_open(struct st_loop *loop, const char *directory, char *message, size_t message_size) {
    static const struct st_local_options usual = {.fs = &st_fs_posix};
    return st_store_local_open_with(loop, directory, &usual, message, message_size);
}
