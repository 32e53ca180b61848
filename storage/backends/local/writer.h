/*
 * A process on the store: writers/WWWWWWWWWWWWWWWW, W its random 64-bit id. The file serves three ends.
 *
 *   life   the process holds flock(LOCK_EX) on it until it ends, however it ends; who gets that lock knows that it is
 *          gone
 *   debt   it stays behind as a reminder that the process may have left preallocated room, empty extents and
 *          temporary files; the next process that opens the store sweeps these and then removes it
 *   bell   reading its one byte after a commit tells all who watch the directory (bells.h)
 *
 * The file holds one newline.
 */
#ifndef ST_LOCAL_WRITER_H
#define ST_LOCAL_WRITER_H

#include "storage/backends/local/fs.h"

#include <stdbool.h>

#define ST_WRITERS "writers"

struct st_writer {
    uint64_t id;
    int fd;
};

/* 0 or an errno value. The directory must exist. */
int st_writer_register(struct st_writer *writer, const struct st_fs *fs, int directory, uint64_t id);
void st_writer_release(struct st_writer *writer);
/* Wakes the watchers: call it when a commit has become visible. Any thread. */
void st_writer_ring(const struct st_writer *writer);
/* True when no process of this id lives. */
bool st_writer_gone(int directory, uint64_t id);
/* Cleans up after writers that are gone. */
void st_writers_sweep(const struct st_fs *fs, int directory);

#endif
