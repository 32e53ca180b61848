/*
 * The embedded store: files and SQLite in one directory, on one machine, for any number of processes.
 *
 *   DIR/store.db (-wal, -shm)  journals, leases, identity                         db.h
 *   DIR/x/                     extents: objects of flushes                        extent.h
 *   DIR/checkpoints/, segments/, tmp/   objects with a file to themselves          object_file.h
 *   DIR/writers/               one file for each process                          writer.h
 *   DIR/queue.lock, commit.lock  who commits next                                 commit_lock.h
 *
 * Everything that a call acknowledges is fsynced: bytes, directory entries, the WAL. A process that is killed hurts
 * nobody. One that is stopped (SIGSTOP, a debugger) inside a commit holds up the others until it goes on: that is the
 * price of a store without a server.
 *
 * Of object_put: ST_REFUSED for an ingest object means that its room is spoiled; it needs a new name. ST_UNKNOWN is
 * never its answer.
 */
#ifndef ST_LOCAL_H
#define ST_LOCAL_H

#include "storage/store.h"

/* Makes the directory if need be. `loop` is one of loop_libevent. NULL: one sentence in message. */
struct st_store *st_store_local_open(struct st_loop *loop, const char *directory, char *message, size_t message_size);

/* For tests and measurements: the same with other file calls, extents of another size (0: the usual one), or without
 * O_DIRECT. */
struct st_fs;
struct st_local_options {
    const struct st_fs *fs;
    uint64_t extent_size;
    bool buffered;
};
struct st_store *st_store_local_open_with(struct st_loop *loop, const char *directory,
                                          const struct st_local_options *options, char *message, size_t message_size);

/* Reads a whole object and checks all that its header says. Blocks; for checks after a crash. */
enum st_error st_store_local_verify(const char *directory, const char *name);

#endif
