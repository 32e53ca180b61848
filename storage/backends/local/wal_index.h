/*
 * Telling from memory that nothing was committed: a mark is the header of SQLite's wal-index, the file store.db-shm
 * that all processes on the database have mapped. sqlite.org/walformat.html describes it; it lies there twice:
 *
 *   word  0 version, 3007000        5     pages of the database
 *         1 unused                  6, 7  checksum of the WAL up to its last frame
 *         2 number of the commit    8, 9  salts of the WAL
 *         3 flags, size of a page   10, 11  checksum of words 0 to 9
 *         4 frames in the WAL      12 to 23 the other copy
 *
 * A commit writes its frames, syncs the WAL, writes the second copy, then the first, and only then does COMMIT return:
 * in whatever process, of whatever journal. So, when the first copy is what it was, there is nothing new.
 *
 * No two states of the database have one mark. While the WAL grows, each commit adds frames to it, so word 4 goes up;
 * when the WAL starts over, words 8 and 9 change, one of them at random. A recovery (of the index, when a process was
 * killed while it wrote these words) counts commits from 0 again, but finds every frame of the WAL that was valid.
 * Only an empty WAL has no salts to tell it from another one: a header that counts no frames is no mark.
 *
 * Looking takes no lock, so the words may be of several headers when somebody is writing. Say that a commit returned
 * before the look began. Then each word seen is of that commit's header or of a later one. Word 2, which is loaded at
 * once, is above the mark's in all of them, so what is seen differs from the mark. (Had the index been recovered
 * in between, several headers would have to make up words 2, 4, 8, 9 and four words of checksums during one look.)
 * Hence, what is seen equals the mark only if no later commit had returned when the look began, and then the answer
 * "nothing new" is true of that moment.
 *
 * The words are those that SQLite itself has mapped. Our own open of the file would do harm: closing it again frees all
 * locks that this process has on it, which are SQLite's.
 */
#ifndef ST_LOCAL_WAL_INDEX_H
#define ST_LOCAL_WAL_INDEX_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define ST_WAL_MARK_WORDS 12

struct st_wal_mark {
    uint32_t words[ST_WAL_MARK_WORDS];
};

/* The words, for as long as the connection is open, which must have read something; no other process can replace the
 * file until then. NULL: they cannot be had. */
const uint32_t *st_wal_index_of(sqlite3 *handle);

/* The mark of now. False: index is NULL, somebody is writing, or there is no mark to be had. Any thread. */
bool st_wal_mark_take(const uint32_t *index, struct st_wal_mark *mark);
/* Whether no commit that has returned came after the mark. Any thread. */
bool st_wal_mark_stands(const uint32_t *index, const struct st_wal_mark *mark);
bool st_wal_mark_equals(const struct st_wal_mark *one, const struct st_wal_mark *other);
/* Whether exactly one commit lies between them. */
bool st_wal_mark_follows(const struct st_wal_mark *later, const struct st_wal_mark *earlier);

#endif
