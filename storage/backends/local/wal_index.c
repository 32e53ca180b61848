/* Marks; see the header, above all for why a look without a lock is enough. */
#include "storage/backends/local/wal_index.h"

#include <string.h>

#define REGION_SIZE 32768 /* what SQLite maps at a time; no other size may be asked for */
#define VERSION 3007000

enum { WORD_VERSION = 0, WORD_COMMITS = 2, WORD_FRAMES = 4 };

const uint32_t *st_wal_index_of(sqlite3 *handle) {
    sqlite3_file *file = NULL;
    void volatile *region = NULL;
    if (sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || file == NULL ||
        file->pMethods == NULL || file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, 0, REGION_SIZE, 0, &region) != SQLITE_OK) {
        return NULL;
    }
    return (const uint32_t *)region;
}

/* Each word at once, and in this order: the writer goes through the copies the other way around. */
static uint32_t load(const uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static bool same(const uint32_t *copy, const struct st_wal_mark *mark) {
    for (unsigned i = 0; i < ST_WAL_MARK_WORDS; i++) {
        if (load(copy + i) != mark->words[i]) {
            return false;
        }
    }
    return true;
}

bool st_wal_mark_take(const uint32_t *index, struct st_wal_mark *mark) {
    if (index == NULL) {
        return false;
    }
    for (unsigned i = 0; i < ST_WAL_MARK_WORDS; i++) {
        mark->words[i] = load(index + i);
    }
    return same(index + ST_WAL_MARK_WORDS, mark) && mark->words[WORD_VERSION] == VERSION &&
           mark->words[WORD_FRAMES] > 0;
}

bool st_wal_mark_stands(const uint32_t *index, const struct st_wal_mark *mark) {
    return index != NULL && same(index, mark);
}

bool st_wal_mark_equals(const struct st_wal_mark *one, const struct st_wal_mark *other) {
    return memcmp(one, other, sizeof *one) == 0;
}

bool st_wal_mark_follows(const struct st_wal_mark *later, const struct st_wal_mark *earlier) {
    return later->words[WORD_COMMITS] == earlier->words[WORD_COMMITS] + 1;
}
