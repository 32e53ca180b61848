/*
 * Extents that are being read, kept open: the kernel's reading ahead belongs to an open file, and one that is opened
 * for each range never gets into its stride (twice the CPU for each byte). Each has two descriptors, because looking at
 * the header of an object in between would look to the kernel like a reader that jumps about.
 *
 * Any thread. An extent that was unlinked meanwhile holds no objects any more, so a descriptor that outlives it finds
 * holes.
 */
#ifndef ST_LOCAL_EXTENT_FILES_H
#define ST_LOCAL_EXTENT_FILES_H

#include "storage/backends/local/extent.h"

#define ST_EXTENT_FILES 8

struct st_extent_file {
    char path[ST_EXTENT_PATH_MAX]; /* "": free */
    int header_fd, data_fd;
    unsigned users;
    uint64_t last_use;
};

struct st_extent_files {
    const struct st_fs *fs;
    int directory;
    pthread_mutex_t mutex;
    struct st_extent_file files[ST_EXTENT_FILES];
    uint64_t uses;
};

void st_extent_files_init(struct st_extent_files *files, const struct st_fs *fs, int directory);
void st_extent_files_release(struct st_extent_files *files);

/* NULL: not to be had, see errno; EBUSY when all are in use. */
struct st_extent_file *st_extent_files_take(struct st_extent_files *files, const char *path);
void st_extent_files_give(struct st_extent_files *files, struct st_extent_file *file);

#endif
