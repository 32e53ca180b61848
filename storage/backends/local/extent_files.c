/* A handful of open extents, the least recently used one replaced. */
#include "storage/backends/local/extent_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void st_extent_files_init(struct st_extent_files *files, const struct st_fs *fs, int directory) {
    *files = (struct st_extent_files){.fs = fs, .directory = directory};
    pthread_mutex_init(&files->mutex, NULL);
}

static void close_file(struct st_extent_file *file) {
    if (file->path[0] != '\0') {
        close(file->header_fd);
        close(file->data_fd);
        file->path[0] = '\0';
    }
}

void st_extent_files_release(struct st_extent_files *files) {
    for (size_t i = 0; i < ST_EXTENT_FILES; i++) {
        close_file(&files->files[i]);
    }
    pthread_mutex_destroy(&files->mutex);
}

static bool open_file(const struct st_extent_files *files, struct st_extent_file *file, const char *path) {
    file->header_fd = files->fs->open(files->directory, path, O_RDONLY, 0);
    if (file->header_fd < 0) {
        return false;
    }
    file->data_fd = files->fs->open(files->directory, path, O_RDONLY, 0);
    if (file->data_fd < 0) {
        int error = errno;
        close(file->header_fd);
        errno = error;
        return false;
    }
    posix_fadvise(file->data_fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* objects are read as they were written */
    memcpy(file->path, path, strlen(path) + 1);
    return true;
}

struct st_extent_file *st_extent_files_take(struct st_extent_files *files, const char *path) {
    struct st_extent_file *found = NULL, *oldest = NULL;
    pthread_mutex_lock(&files->mutex);
    for (size_t i = 0; i < ST_EXTENT_FILES && found == NULL; i++) {
        struct st_extent_file *file = &files->files[i];
        if (strcmp(file->path, path) == 0) {
            found = file;
        } else if (file->users == 0 && (oldest == NULL || file->last_use < oldest->last_use)) {
            oldest = file;
        }
    }
    int error = 0;
    if (found == NULL && oldest == NULL) {
        error = EBUSY;
    } else if (found == NULL) {
        close_file(oldest);
        if (open_file(files, oldest, path)) {
            found = oldest;
        } else {
            error = errno;
        }
    }
    if (found != NULL) {
        found->users++;
        found->last_use = ++files->uses;
    }
    pthread_mutex_unlock(&files->mutex);
    errno = error;
    return found;
}

void st_extent_files_give(struct st_extent_files *files, struct st_extent_file *file) {
    pthread_mutex_lock(&files->mutex);
    file->users--;
    pthread_mutex_unlock(&files->mutex);
}
