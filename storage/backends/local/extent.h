/*
 * Extents: append-only files that hold many objects, so that a flush costs a write and a sync of known length and not
 * the making of a file (a file per flush costs 1.2 ms and half the throughput).
 *
 * File: x/WWWWWWWWWWWWWWWW-NNNNNN, W the writer's id and N its Nth extent, both hexadecimal. An object is named after
 * where it lies: x/WWWWWWWWWWWWWWWW-NNNNNN@OOOOOOOO, O the offset of its header (object_header.h), a multiple of 4096.
 * So a name is known before a byte is written, is never given twice, and one process never writes into another's file.
 * Objects follow each other; blocks that were reserved and never written, and objects deleted, are holes (zeros).
 *
 * An extent is preallocated (its size is claimed and its directory entry synced once, when it is made), then each
 * object is one write and one fdatasync through its own open file: with O_DIRECT where the file system has it, which
 * is half the CPU of buffered writes. Each put opens the file anew, because the kernel tells a write-back error once to
 * every open file: none can miss one that happened since it began. After an error of a sync nothing is written
 * into that extent any more: the page cache may call clean what the disk never got, so syncing again proves nothing.
 *
 * Deleting punches the object's blocks out: space is free at once, and an extent without data is one whose objects are
 * all dead, which lseek(SEEK_DATA) tells without a count kept anywhere. It is unlinked by its own writer, or by anybody
 * once that writer is gone.
 *
 * Names are given on the loop thread; everything else runs on worker threads.
 */
#ifndef ST_LOCAL_EXTENT_H
#define ST_LOCAL_EXTENT_H

#include "storage/backends/local/fs.h"
#include "storage/backends/local/object_header.h"

#include <pthread.h>

#define ST_EXTENT_SIZE ((uint64_t)64 << 20)
#define ST_EXTENT_PATH_MAX 32
#define ST_EXTENT_PUTS_MAX 16 /* under way at once; further ones wait */

struct st_extents {
    const struct st_fs *fs;
    int directory; /* of the store */
    uint64_t writer;
    uint64_t size; /* at which an extent is full; a larger object has one to itself */
    /* loop thread */
    uint32_t number; /* of the extent that names are taken from, 0 at first */
    uint64_t reserved;
    /* under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t made;   /* extents 1 .. made have their file */
    uint32_t closed; /* extents 1 .. closed take no more bytes: settled, or one of them failed */
    uint32_t puts[ST_EXTENT_PUTS_MAX]; /* numbers of the extents being written, 0: free */
    bool making;
    bool buffered; /* the file system has no O_DIRECT */
};

struct st_extent_place {
    char path[ST_EXTENT_PATH_MAX];
    uint64_t writer;
    uint32_t number;
    uint64_t at;
};

void st_extents_init(struct st_extents *extents, const struct st_fs *fs, int directory, uint64_t writer);
/* Gives back the preallocated rest. */
void st_extents_release(struct st_extents *extents);

/* Loop thread: reserves room and names it. False when the size is beyond any extent. *ahead: number of an extent that
 * st_extents_make_ahead should make on a worker thread, because half of the one before is given away; else 0. */
bool st_extents_reserve(struct st_extents *extents, size_t len, char name[ST_OBJECT_NAME_MAX], uint32_t *ahead);
/* Makes the extent before it is needed, and settles those that have long been full. */
void st_extents_make_ahead(struct st_extents *extents, uint32_t number);

/* `buffer`: header room, data, padding, as st_object_put describes it. ST_REFUSED: the object does not exist as far as
 * anybody may rely on it, and it needs a new name. */
enum st_error st_extents_put(struct st_extents *extents, const char *name, uint8_t *buffer, size_t len, uint32_t crc);
/* True when this process will not write into the extent any more. */
bool st_extents_closed(struct st_extents *extents, uint32_t number);

bool st_extent_name_parse(const char *name, struct st_extent_place *place);
enum st_error st_extent_delete(const struct st_fs *fs, int directory, const char *name);
/* Calls `each` for every object in the extent from offset `from` on, until it answers false. */
enum st_error st_extent_scan(const struct st_fs *fs, int directory, const char *path, uint64_t from,
                             bool (*each)(void *arg, const struct st_object_header *header, uint64_t at), void *arg);
/* For an extent that nobody writes any more: unlinks one without objects, else gives back the preallocated rest. */
void st_extent_settle(const struct st_fs *fs, int directory, const char *path);

#endif
