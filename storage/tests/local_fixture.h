/*
 * For tests of what is the local store's own: a directory of the test's, a handle on it, and its operations as calls
 * that wait. Everything is in the header because each test is one program of one file.
 */
#ifndef LOCAL_FIXTURE_H
#define LOCAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/backends/local/fs.h"
#include "storage/backends/local/local.h"
#include "storage/runtime/loop_libevent.h"
#include "storage/tests/local_scratch.h"

#define UNUSED __attribute__((unused))

/* ---- a handle ---- */

struct handle {
    struct event_base *base;
    struct st_loop *loop;
    struct st_store *store;
    char message[300]; /* why it could not be opened */
    bool done;
};

/* False: handle->message says why. */
UNUSED static bool handle_try(struct handle *handle, const char *directory, const struct st_fs *fs,
                              uint64_t extent_size) {
    struct st_local_options options = {.fs = fs != NULL ? fs : &st_fs_posix, .extent_size = extent_size};
    *handle = (struct handle){.base = event_base_new()};
    handle->loop = st_loop_libevent_new(handle->base);
    assert_non_null(handle->loop);
    handle->store = st_store_local_open_with(handle->loop, directory, &options, handle->message,
                                             sizeof handle->message);
    if (handle->store == NULL) {
        st_loop_libevent_free(handle->loop);
        event_base_free(handle->base);
    }
    return handle->store != NULL;
}

UNUSED static void handle_open(struct handle *handle, const char *directory) {
    if (!handle_try(handle, directory, NULL, 0)) {
        fail_msg("%s", handle->message);
    }
}

UNUSED static void handle_run(struct handle *handle) {
    while (!handle->done) {
        event_base_loop(handle->base, EVLOOP_ONCE);
    }
    handle->done = false;
}

/* Runs the loop for so long, or until `flag` is set. */
UNUSED static void handle_idle(struct handle *handle, const bool *flag, int milliseconds) {
    for (int i = 0; i < milliseconds && (flag == NULL || !*flag); i++) {
        struct timeval soon = {.tv_usec = 1000};
        event_base_loopexit(handle->base, &soon);
        event_base_loop(handle->base, 0);
    }
}

static void handle_closed(void *arg) {
    *(bool *)arg = true;
}

UNUSED static void handle_close(struct handle *handle) {
    handle->store->ops->close(handle->store, handle_closed, &handle->done);
    handle_run(handle);
    st_loop_libevent_free(handle->loop);
    event_base_free(handle->base);
}

/* ---- operations that wait ---- */

static struct handle *waiting; /* the handle whose operation is under way */

#define WAIT_FOR(handle, member, op)                                                                                   \
    do {                                                                                                               \
        waiting = (handle);                                                                                            \
        (handle)->store->ops->member((handle)->store, (op));                                                           \
        handle_run(handle);                                                                                            \
    } while (0)

static void journal_put_done(struct st_journal_put *op) {
    (void)op;
    waiting->done = true;
}

UNUSED static enum st_error put_entry(struct handle *handle, uint64_t slot, const void *body, size_t len) {
    struct st_journal_put op = {.slot = slot, .body = kp_slice_of(body, len), .done = journal_put_done};
    WAIT_FOR(handle, journal_put, &op);
    return op.error;
}

static void journal_read_done(struct st_journal_read *op) {
    (void)op;
    waiting->done = true;
}

/* The last slot of journal 0 when its slots from `first` on are dense and each body begins with its slot. */
UNUSED static uint64_t read_tail(struct handle *handle, uint64_t first) {
    uint64_t next = first;
    for (bool at_end = false; !at_end;) {
        struct st_journal_read op = {.from = next, .max_bytes = 1 << 20, .done = journal_read_done};
        WAIT_FOR(handle, journal_read, &op);
        assert_int_equal(op.error, ST_OK);
        for (size_t i = 0; i < op.count; i++) {
            assert_true(op.entries[i].slot == next);
            assert_memory_equal(op.entries[i].body.ptr, &next, sizeof next);
            next++;
        }
        at_end = op.at_end;
        kp_blob_unref(op.blob);
        free(op.entries);
    }
    return next - 1;
}

static void object_put_done(struct st_object_put *op) {
    (void)op;
    waiting->done = true;
}

/* Puts `len` bytes of the value `fill` under a name of its own. */
UNUSED static enum st_error put_object(struct handle *handle, enum st_object_kind kind, uint8_t fill, size_t len,
                                       char name[ST_OBJECT_NAME_MAX]) {
    size_t padded = (len + 4095) & ~(size_t)4095;
    struct st_object_put op = {.len = len, .done = object_put_done, .buffer = kp_blob_new(4096 + padded)};
    assert_non_null(op.buffer);
    assert_true(handle->store->ops->object_name(handle->store, kind, 0, 1, len, op.name));
    memset(op.buffer->data + 4096, fill, len);
    WAIT_FOR(handle, object_put, &op);
    kp_blob_unref(op.buffer);
    memcpy(name, op.name, sizeof op.name);
    return op.error;
}

static void object_get_done(struct st_object_get *op) {
    (void)op;
    waiting->done = true;
}

/* ST_OK only when all its bytes have the value `fill`. */
UNUSED static enum st_error get_object(struct handle *handle, const char *name, uint8_t fill, size_t len) {
    struct st_object_get op = {.len = len, .into = calloc(1, len + 1), .done = object_get_done};
    assert_non_null(op.into);
    snprintf(op.name, sizeof op.name, "%s", name);
    WAIT_FOR(handle, object_get, &op);
    for (size_t i = 0; op.error == ST_OK && i < len; i++) {
        assert_int_equal(op.into[i], fill);
    }
    free(op.into);
    return op.error;
}

static void object_delete_done(struct st_object_delete *op) {
    (void)op;
    waiting->done = true;
}

UNUSED static enum st_error delete_object(struct handle *handle, const char *name) {
    struct st_object_delete op = {.done = object_delete_done};
    snprintf(op.name, sizeof op.name, "%s", name);
    WAIT_FOR(handle, object_delete, &op);
    return op.error;
}

static void object_list_done(struct st_object_list *op) {
    (void)op;
    waiting->done = true;
}

UNUSED static size_t count_objects(struct handle *handle, enum st_object_kind kind) {
    static char names[1000][ST_OBJECT_NAME_MAX];
    struct st_object_list op = {.kind = kind, .names = names, .capacity = 1000, .done = object_list_done};
    WAIT_FOR(handle, object_list, &op);
    assert_int_equal(op.error, ST_OK);
    return op.count;
}

#endif
