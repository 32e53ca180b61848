/* A directory of a test's own, on a real file system. */
#ifndef LOCAL_SCRATCH_H
#define LOCAL_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_PATH_MAX 100

static inline void scratch_make(char directory[SCRATCH_PATH_MAX]) {
    const char *parent = getenv("TMPDIR");
    snprintf(directory, SCRATCH_PATH_MAX, "%s/store-test-XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        abort();
    }
}

static inline int scratch_remove_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void scratch_remove(const char *directory) {
    nftw(directory, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
