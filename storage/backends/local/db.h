/*
 * The database of a local store, DIR/store.db: journals, checkpoints' names, leases, identity. One struct is one
 * SQLite connection, used by one thread at a time; calls block.
 *
 * SQLite runs in WAL mode with synchronous=FULL: COMMIT returns after one fdatasync of the WAL. Checkpoints of the WAL
 * (not to be confused with the engine's) never run inside COMMIT; see journal.c.
 *
 * Schema, PRAGMA user_version 1:
 *   store    one row: format_version and cluster_id (NULL until it is founded), heals (counts writes that had no other
 *            purpose than to prove that writing works again)
 *   journal  number: 1, 2, ... in the order of their first use; the newest checkpoint (checkpoint_name NULL: none
 *            yet), and the slot below which entries were deleted
 *   entry    id = journal's number * 2^44 + slot, so that a journal grows at the right edge of its range; body as the
 *            engine gave it; writer (16 bytes) and made_ms for people
 *   lease    one row a holder
 *
 * A failed COMMIT. Errors before COMMIT leave no trace. When COMMIT itself fails, its frames may lie in the WAL, whole
 * but not durable, and count after a crash, although no connection sees them now. So the connection is closed and
 * opened again, and a commit of our own is made to overwrite those frames (the `heal` statement). If that works and the
 * slot is empty, the entry was surely not stored; otherwise its outcome is unknown. A full disk is the exception: the
 * write that failed is of the frames themselves, and a commit without its last frame never counts.
 */
#ifndef ST_LOCAL_DB_H
#define ST_LOCAL_DB_H

#include "storage/backends/local/ends.h"
#include "storage/store.h"

#include <sqlite3.h>

#define ST_DB_FILE "store.db"
#define ST_DB_SLOT_BITS 44
#define ST_DB_NUMBERS 8 /* journals whose number a connection remembers */

enum st_sql {
#define SQL(name, text) ST_SQL_##name,
#include "storage/backends/local/sql.def"
#undef SQL
    ST_SQL_COUNT
};

struct st_db {
    sqlite3 *handle; /* NULL: must be opened again */
    char *path;
    sqlite3_stmt *statements[ST_SQL_COUNT];
    struct {
        uint32_t journal;
        int64_t number; /* 0: free */
    } numbers[ST_DB_NUMBERS];
    size_t numbers_next; /* to be replaced */
    int wal_frames;      /* in the WAL after the last commit of this connection */
    bool suspect;        /* a COMMIT failed, and nothing was committed since */
    const uint32_t *index; /* of the WAL; NULL: there will be no news */
    struct st_news news;   /* what the last call found out; who asks for it sets kind to none before */
    bool news_begun;       /* news.before is set */
};

/* Opens, and makes the schema in a new database. False: one sentence in message. */
bool st_db_open(struct st_db *db, const char *directory, char *message, size_t message_size);
void st_db_close(struct st_db *db);

/* Each of these fills op->error and what it answers, except op->date_ms. Those that write need the commit lock. */
void st_db_identify(struct st_db *db, struct st_identify *op);
void st_db_put(struct st_db *db, struct st_journal_put *op, int64_t now_ms);
/* Deletes at most `most` entries; *finished when none is left below op->below. */
void st_db_trim(struct st_db *db, struct st_journal_trim *op, unsigned most, bool *finished);
void st_db_checkpoint_advance(struct st_db *db, struct st_checkpoint_ref *op, int64_t now_ms);
void st_db_lease_renew(struct st_db *db, struct st_lease_renew *op, int64_t now_ms);

/* Bodies are gathered in *bytes (malloc'ed), where op->entries[i].body.ptr are offsets still: blobs are made on the
 * loop thread only. */
void st_db_read(struct st_db *db, struct st_journal_read *op, uint8_t **bytes, size_t *len);
void st_db_checkpoint_get(struct st_db *db, struct st_checkpoint_ref *op);
void st_db_lease_list(struct st_db *db, struct st_lease_list *op);

/* Copies what it can from the WAL into the database without waiting for anybody. *left: frames that remain. The
 * connection stays open whatever happens: others look at its mapping of the WAL's index. */
bool st_db_copy_wal(struct st_db *db, int *left);

#endif
