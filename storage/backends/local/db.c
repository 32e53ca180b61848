/*
 * SQL behind the seam's journal operations. Every statement is reset before the function that stepped it returns: an
 * open read would keep the WAL from starting over.
 */
#include "storage/backends/local/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x53534c31 /* "SSL1" in the file's header, for file(1) */
#define BUSY_MS 2000              /* only recovery after a crash, or a stranger's tool, ever holds SQLite's own lock */
#define NUMBER_MAX ((int64_t)1 << 18)
#define SLOT_END ((uint64_t)1 << ST_DB_SLOT_BITS)

static const char *const sql_text[ST_SQL_COUNT] = {
#define SQL(name, text) [ST_SQL_##name] = text,
#include "storage/backends/local/sql.def"
#undef SQL
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS store (one INTEGER PRIMARY KEY CHECK (one = 1), format_version INTEGER,"
    " cluster_id BLOB, heals INTEGER NOT NULL DEFAULT 0);"
    "INSERT OR IGNORE INTO store (one) VALUES (1);"
    "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, made_ms INTEGER NOT NULL, writer BLOB NOT NULL,"
    " body BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY, journal INTEGER NOT NULL UNIQUE,"
    " checkpoint_slot INTEGER NOT NULL DEFAULT 0, checkpoint_name TEXT, checkpoint_size INTEGER,"
    " checkpoint_made_ms INTEGER, trimmed_below INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS lease (holder TEXT PRIMARY KEY, body BLOB NOT NULL, renewed_ms INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "PRAGMA application_id = 1397967921;"
    "PRAGMA user_version = 1;"
    "COMMIT";

_Static_assert(APPLICATION_ID == 1397967921 && SCHEMA_VERSION == 1, "the schema's text names these");

static void close_handle(struct st_db *db) {
    for (size_t i = 0; i < ST_SQL_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    sqlite3_close(db->handle);
    db->handle = NULL;
}

static int count_frames(void *arg, sqlite3 *handle, const char *schema_name, int frames) {
    struct st_db *db = arg;
    (void)handle;
    (void)schema_name;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static int exec(struct st_db *db, const char *sql) {
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
}

/* The first column of a statement's first row as a number. */
static int query_number(struct st_db *db, const char *sql, int64_t *number) {
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
        *number = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
        sqlite3_finalize(statement);
    }
    return rc;
}

static int connect(struct st_db *db) {
    int rc = sqlite3_open_v2(db->path, &db->handle,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    sqlite3_extended_result_codes(db->handle, 1);
    rc = exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;"
                  "PRAGMA temp_store = MEMORY");
    sqlite3_wal_hook(db->handle, count_frames, db); /* in place of the automatic checkpoint */
    return rc;
}

static void describe(struct st_db *db, int rc, char *message, size_t size) {
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB) {
        snprintf(message, size, "%s is damaged: %s.", db->path, sqlite3_errstr(rc));
    } else {
        int cause = db->handle != NULL ? sqlite3_system_errno(db->handle) : 0;
        snprintf(message, size, "%s cannot be opened: %s.", db->path,
                 cause != 0 ? strerror(cause) : sqlite3_errstr(rc));
    }
}

/* The schema is there and of a version that we know; makes it in an empty database. */
static bool check_schema(struct st_db *db, char *message, size_t size) {
    int64_t version = 0, format = 0, tables = 0;
    int rc = query_number(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK && version == 0) {
        rc = query_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
        if (rc == SQLITE_OK && tables > 0) {
            snprintf(message, size, "%s is a database of something else.", db->path);
            return false;
        }
        rc = rc == SQLITE_OK ? exec(db, schema) : rc;
        version = SCHEMA_VERSION;
    }
    if (rc == SQLITE_OK && version == SCHEMA_VERSION) {
        rc = query_number(db, "SELECT format_version FROM store", &format);
    }
    if (rc != SQLITE_OK) {
        describe(db, rc, message, size);
        return false;
    }
    if (version > SCHEMA_VERSION || format > ST_FORMAT_VERSION) {
        snprintf(message, size, "The store in %s is of format %lld; this program reads up to %d.", db->path,
                 (long long)(version > SCHEMA_VERSION ? version : format),
                 version > SCHEMA_VERSION ? SCHEMA_VERSION : ST_FORMAT_VERSION);
        return false;
    }
    return true;
}

bool st_db_open(struct st_db *db, const char *directory, char *message, size_t message_size) {
    *db = (struct st_db){0};
    if (asprintf(&db->path, "%s/" ST_DB_FILE, directory) < 0) {
        db->path = NULL;
        snprintf(message, message_size, "Memory is out.");
        return false;
    }
    int rc = connect(db);
    if (rc != SQLITE_OK) {
        describe(db, rc, message, message_size);
    } else if (check_schema(db, message, message_size)) {
        return true;
    }
    st_db_close(db);
    return false;
}

void st_db_close(struct st_db *db) {
    close_handle(db);
    free(db->path);
    db->path = NULL;
}

/* The prepared statement, or NULL. */
static sqlite3_stmt *prepared(struct st_db *db, enum st_sql sql) {
    if (db->handle == NULL && connect(db) != SQLITE_OK) {
        close_handle(db);
        return NULL;
    }
    if (db->statements[sql] == NULL) {
        sqlite3_prepare_v3(db->handle, sql_text[sql], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[sql], NULL);
    }
    return db->statements[sql];
}

/* Why a statement could not be prepared. */
static int failure_of(const struct st_db *db) {
    return db->handle == NULL ? SQLITE_CANTOPEN : sqlite3_extended_errcode(db->handle);
}

/* Steps a statement without results once. SQLITE_DONE when it worked. */
static int step_once(struct st_db *db, enum st_sql sql) {
    sqlite3_stmt *statement = prepared(db, sql);
    if (statement == NULL) {
        return failure_of(db);
    }
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc;
}

/* What a failure before COMMIT means. A connection that met an I/O error is opened anew at its next use. */
static enum st_error harmless(struct st_db *db, int rc) {
    int kind = rc & 0xff;
    if (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN || kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) {
        close_handle(db);
    }
    return kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ? ST_DAMAGED : ST_REFUSED;
}

static void roll_back(struct st_db *db) {
    if (db->handle != NULL && sqlite3_get_autocommit(db->handle) == 0) {
        step_once(db, ST_SQL_rollback);
    }
}

/* After a failed COMMIT: a new connection, and a commit of its own that takes the place of the one that failed. */
static bool heal(struct st_db *db) {
    close_handle(db);
    bool good = step_once(db, ST_SQL_heal) == SQLITE_DONE;
    db->suspect = !good;
    return good;
}

/* Begins a write. ST_OK, or why not: nothing has happened then. */
static enum st_error begin_write(struct st_db *db) {
    if (db->suspect && !heal(db)) {
        return ST_REFUSED;
    }
    int rc = step_once(db, ST_SQL_begin_write);
    if (rc != SQLITE_DONE) {
        return harmless(db, rc);
    }
    db->news = (struct st_news){0};
    db->news_begun = st_wal_mark_take(db->index, &db->news.before); /* nobody else commits from here on */
    return ST_OK;
}

/* News of a commit, unless a stranger's came at once behind it. */
static void note_commit(struct st_db *db) {
    struct st_news *news = &db->news;
    if (db->news_begun && st_wal_mark_take(db->index, &news->after) &&
        st_wal_mark_follows(&news->after, &news->before)) {
        news->kind = ST_NEWS_COMMIT;
    }
}

/* Ends a write. `rc` is what its last statement gave; *failure what COMMIT gave when the outcome is unknown. */
static enum st_error end_write(struct st_db *db, int rc, int *failure) {
    *failure = SQLITE_OK;
    if (rc != SQLITE_DONE) {
        roll_back(db);
        return harmless(db, rc);
    }
    rc = step_once(db, ST_SQL_commit);
    if (rc == SQLITE_DONE) {
        note_commit(db);
        return ST_OK;
    }
    roll_back(db);
    *failure = rc;
    db->suspect = true;
    return ST_UNKNOWN;
}

static bool entry_exists(struct st_db *db, int64_t id, bool *exists) {
    sqlite3_stmt *statement = prepared(db, ST_SQL_entry_exists);
    if (statement == NULL) {
        return false;
    }
    sqlite3_bind_int64(statement, 1, id);
    int rc = sqlite3_step(statement);
    *exists = rc == SQLITE_ROW;
    sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

/* The journal's number, 0 when it has none yet. SQLITE_DONE, or why it is not known. */
static int journal_number(struct st_db *db, uint32_t journal, int64_t *number) {
    for (size_t i = 0; i < ST_DB_NUMBERS; i++) {
        if (db->numbers[i].number != 0 && db->numbers[i].journal == journal) {
            *number = db->numbers[i].number;
            return SQLITE_DONE;
        }
    }
    *number = 0;
    sqlite3_stmt *statement = prepared(db, ST_SQL_journal_number);
    if (statement == NULL) {
        return failure_of(db);
    }
    sqlite3_bind_int64(statement, 1, journal);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
        db->numbers[db->numbers_next].journal = journal;
        db->numbers[db->numbers_next].number = *number;
        db->numbers_next = (db->numbers_next + 1) % ST_DB_NUMBERS;
        rc = SQLITE_DONE;
    }
    sqlite3_reset(statement);
    return rc;
}

/* The same inside a write, giving a number to a journal that has none. A new one is not remembered before it is read
 * back: the write may yet fail. */
static int journal_number_or_new(struct st_db *db, uint32_t journal, int64_t *number) {
    int rc = journal_number(db, journal, number);
    if (rc == SQLITE_DONE && *number == 0) {
        sqlite3_stmt *statement = prepared(db, ST_SQL_journal_add);
        if (statement == NULL) {
            return failure_of(db);
        }
        sqlite3_bind_int64(statement, 1, journal);
        rc = sqlite3_step(statement);
        sqlite3_reset(statement);
        *number = sqlite3_last_insert_rowid(db->handle);
    }
    return rc == SQLITE_DONE && *number >= NUMBER_MAX ? SQLITE_FULL : rc;
}

static int64_t entry_id(int64_t number, uint64_t slot) {
    return (int64_t)((uint64_t)number << ST_DB_SLOT_BITS | slot);
}

/* The outcome of a put whose COMMIT failed. */
static enum st_error settle_put(struct st_db *db, int64_t id, int failure) {
    bool exists;
    bool certain = (failure & 0xff) == SQLITE_FULL;
    close_handle(db);
    if (heal(db)) {
        certain = true;
    }
    return certain && entry_exists(db, id, &exists) && !exists ? ST_REFUSED : ST_UNKNOWN;
}

static int insert_entry(struct st_db *db, const struct st_journal_put *op, int64_t number, int64_t now_ms) {
    sqlite3_stmt *statement = prepared(db, ST_SQL_entry_put);
    if (statement == NULL) {
        return failure_of(db);
    }
    sqlite3_bind_int64(statement, 1, entry_id(number, op->slot));
    sqlite3_bind_int64(statement, 2, now_ms);
    sqlite3_bind_blob(statement, 3, op->writer.bytes, sizeof op->writer.bytes, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 4, op->body.ptr, (int)op->body.len, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 5, number);
    sqlite3_bind_int64(statement, 6, (int64_t)op->slot);
    db->news.journal = op->journal;
    db->news.slot = op->slot;
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

void st_db_put(struct st_db *db, struct st_journal_put *op, int64_t now_ms) {
    int64_t number;
    if (op->slot == 0 || op->slot >= SLOT_END || op->body.len > ST_ENTRY_MAX) {
        op->error = ST_REFUSED;
        return;
    }
    op->error = begin_write(db);
    if (op->error != ST_OK) {
        return;
    }
    int rc = journal_number_or_new(db, op->journal, &number);
    if (rc == SQLITE_DONE) {
        rc = insert_entry(db, op, number, now_ms);
    }
    if ((rc & 0xff) == SQLITE_CONSTRAINT) {
        roll_back(db);
        op->error = ST_TAKEN;
    } else if (rc == SQLITE_DONE && sqlite3_changes(db->handle) == 0) {
        bool exists = false;
        bool known = entry_exists(db, entry_id(number, op->slot), &exists);
        roll_back(db);
        op->error = !known ? ST_REFUSED : exists ? ST_TAKEN : ST_GONE;
    } else {
        int failure;
        op->error = end_write(db, rc, &failure);
        if (op->error == ST_UNKNOWN) {
            op->error = settle_put(db, entry_id(number, op->slot), failure);
        }
    }
}

void st_db_identify(struct st_db *db, struct st_identify *op) {
    int failure;
    op->founded = false;
    op->error = begin_write(db);
    if (op->error != ST_OK) {
        return;
    }
    sqlite3_stmt *found = prepared(db, ST_SQL_found), *identity = prepared(db, ST_SQL_identity);
    int rc = SQLITE_ERROR;
    if (found != NULL && identity != NULL) {
        sqlite3_bind_int64(found, 1, op->format_version);
        sqlite3_bind_blob(found, 2, op->cluster_id.bytes, sizeof op->cluster_id.bytes, SQLITE_STATIC);
        rc = sqlite3_step(found);
        sqlite3_reset(found);
        op->founded = rc == SQLITE_DONE && sqlite3_changes(db->handle) == 1;
    }
    bool readable = false;
    if (rc == SQLITE_DONE && sqlite3_step(identity) == SQLITE_ROW &&
        sqlite3_column_bytes(identity, 1) == (int)sizeof op->cluster_id.bytes) {
        readable = true;
        op->format_version = (uint32_t)sqlite3_column_int64(identity, 0);
        memcpy(op->cluster_id.bytes, sqlite3_column_blob(identity, 1), sizeof op->cluster_id.bytes);
    }
    sqlite3_reset(identity);
    if (op->founded || rc != SQLITE_DONE) {
        op->error = end_write(db, rc, &failure);
    } else {
        roll_back(db);
    }
    if (op->error == ST_OK && !readable) {
        op->error = ST_DAMAGED;
    } else if (op->error == ST_OK && op->format_version > ST_FORMAT_VERSION) {
        op->error = ST_MISFIT;
    }
}

/* Where a batch of at most `most` deletions ends: the id of the first entry that stays. */
static int trim_edge(struct st_db *db, int64_t low, int64_t high, unsigned most, int64_t *edge) {
    sqlite3_stmt *statement = prepared(db, ST_SQL_trim_edge);
    if (statement == NULL) {
        return SQLITE_ERROR;
    }
    sqlite3_bind_int64(statement, 1, low);
    sqlite3_bind_int64(statement, 2, high);
    sqlite3_bind_int64(statement, 3, most);
    int rc = sqlite3_step(statement);
    *edge = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : high;
    sqlite3_reset(statement);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

/* Steps a statement with two numbers bound. */
static int step_pair(struct st_db *db, enum st_sql sql, int64_t first, int64_t second) {
    sqlite3_stmt *statement = prepared(db, sql);
    if (statement == NULL) {
        return SQLITE_ERROR;
    }
    sqlite3_bind_int64(statement, 1, first);
    sqlite3_bind_int64(statement, 2, second);
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc;
}

void st_db_trim(struct st_db *db, struct st_journal_trim *op, unsigned most, bool *finished) {
    int64_t number, edge = 0;
    int failure;
    *finished = true;
    if (op->below >= SLOT_END) {
        op->error = ST_REFUSED;
        return;
    }
    op->error = begin_write(db);
    if (op->error != ST_OK) {
        return;
    }
    int rc = journal_number_or_new(db, op->journal, &number);
    int64_t low = entry_id(number, 0), high = entry_id(number, op->below);
    if (rc == SQLITE_DONE) {
        rc = trim_edge(db, low, high, most, &edge);
    }
    if (rc == SQLITE_DONE) {
        rc = step_pair(db, ST_SQL_trimmed, number, edge - low);
    }
    if (rc == SQLITE_DONE) {
        rc = step_pair(db, ST_SQL_trim, low, edge);
    }
    op->error = end_write(db, rc, &failure);
    *finished = op->error != ST_OK || edge == high;
}

static int set_checkpoint(struct st_db *db, const struct st_checkpoint_ref *op, int64_t number, int64_t now_ms) {
    sqlite3_stmt *statement = prepared(db, ST_SQL_checkpoint_advance);
    if (statement == NULL) {
        return failure_of(db);
    }
    sqlite3_bind_int64(statement, 1, number);
    sqlite3_bind_int64(statement, 2, (int64_t)op->slot);
    sqlite3_bind_text(statement, 3, op->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, (int64_t)op->size);
    sqlite3_bind_int64(statement, 5, now_ms);
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

void st_db_checkpoint_advance(struct st_db *db, struct st_checkpoint_ref *op, int64_t now_ms) {
    int failure;
    int64_t number;
    op->error = op->slot < SLOT_END ? begin_write(db) : ST_REFUSED;
    if (op->error != ST_OK) {
        return;
    }
    int rc = journal_number_or_new(db, op->journal, &number);
    if (rc == SQLITE_DONE) {
        rc = set_checkpoint(db, op, number, now_ms);
    }
    if (rc == SQLITE_DONE && sqlite3_changes(db->handle) == 0) {
        roll_back(db);
        op->error = ST_TAKEN;
        return;
    }
    op->made_ms = now_ms;
    op->error = end_write(db, rc, &failure);
}

void st_db_lease_renew(struct st_db *db, struct st_lease_renew *op, int64_t now_ms) {
    int failure;
    op->error = begin_write(db);
    if (op->error != ST_OK) {
        return;
    }
    struct st_lease *lease = &op->lease;
    int rc = SQLITE_ERROR;
    sqlite3_stmt *statement = prepared(db, lease->len == 0 ? ST_SQL_lease_drop : ST_SQL_lease_renew);
    if (statement != NULL) {
        sqlite3_bind_text(statement, 1, lease->holder, (int)strnlen(lease->holder, sizeof lease->holder - 1),
                          SQLITE_STATIC);
        if (lease->len != 0) {
            sqlite3_bind_blob(statement, 2, lease->body, (int)lease->len, SQLITE_STATIC);
            sqlite3_bind_int64(statement, 3, now_ms);
        }
        rc = sqlite3_step(statement);
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
    lease->renewed_ms = now_ms;
    op->error = end_write(db, rc, &failure);
}

/* Appends one row to what is being gathered. False: memory is out. */
static bool gather_entry(struct st_journal_read *op, sqlite3_stmt *row, uint8_t **bytes, size_t *len, size_t *room,
                         size_t *capacity) {
    size_t size = (size_t)sqlite3_column_bytes(row, 1);
    if (*len + size > *room || *bytes == NULL) {
        size_t wanted = (*len + size) * 2 + 1;
        uint8_t *grown = realloc(*bytes, wanted);
        if (grown == NULL) {
            return false;
        }
        *bytes = grown;
        *room = wanted;
    }
    if (op->count == *capacity) {
        size_t wanted = *capacity * 2 + 8;
        struct st_journal_entry *grown = realloc(op->entries, wanted * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        op->entries = grown;
        *capacity = wanted;
    }
    if (size > 0) {
        memcpy(*bytes + *len, sqlite3_column_blob(row, 1), size);
    }
    uint64_t slot = (uint64_t)sqlite3_column_int64(row, 0) & (((uint64_t)1 << ST_DB_SLOT_BITS) - 1);
    op->entries[op->count++] = (struct st_journal_entry){.slot = slot, .body = {.ptr = NULL, .len = size}};
    *len += size;
    return true;
}

/* News of a read that came to the end of its journal, unless somebody committed meanwhile. */
static void note_end(struct st_db *db, const struct st_journal_read *op) {
    struct st_news *news = &db->news;
    if (db->news_begun && st_wal_mark_take(db->index, &news->after) &&
        st_wal_mark_equals(&news->after, &news->before)) {
        news->kind = ST_NEWS_READ;
        news->journal = op->journal;
        news->end = op->count > 0 ? op->entries[op->count - 1].slot + 1 : op->from;
    }
}

void st_db_read(struct st_db *db, struct st_journal_read *op, uint8_t **bytes, size_t *len) {
    int64_t number;
    size_t room = 0, capacity = 0;
    *bytes = NULL;
    *len = 0;
    op->entries = NULL;
    op->count = 0;
    op->at_end = false;
    db->news_begun = st_wal_mark_take(db->index, &db->news.before);
    int rc = journal_number(db, op->journal, &number);
    if (rc == SQLITE_DONE && (number == 0 || op->from >= SLOT_END)) {
        op->error = ST_OK;
        op->at_end = true;
        note_end(db, op);
        return;
    }
    sqlite3_stmt *statement = rc == SQLITE_DONE ? prepared(db, ST_SQL_entries) : NULL;
    if (statement == NULL) {
        op->error = harmless(db, rc == SQLITE_DONE ? failure_of(db) : rc);
        return;
    }
    sqlite3_bind_int64(statement, 1, entry_id(number, op->from));
    sqlite3_bind_int64(statement, 2, entry_id(number + 1, 0));
    bool memory = true;
    rc = SQLITE_ROW;
    while (memory && (op->count == 0 || *len < op->max_bytes) && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        memory = gather_entry(op, statement, bytes, len, &room, &capacity);
    }
    sqlite3_reset(statement);
    if (memory && (rc == SQLITE_ROW || rc == SQLITE_DONE)) {
        op->error = ST_OK;
        op->at_end = rc == SQLITE_DONE;
        if (op->at_end) {
            note_end(db, op);
        }
        return;
    }
    free(*bytes);
    free(op->entries);
    *bytes = NULL;
    op->entries = NULL;
    op->count = 0;
    op->error = memory ? harmless(db, rc) : ST_REFUSED;
}

void st_db_checkpoint_get(struct st_db *db, struct st_checkpoint_ref *op) {
    sqlite3_stmt *statement = prepared(db, ST_SQL_checkpoint);
    if (statement == NULL) {
        op->error = harmless(db, SQLITE_CANTOPEN);
        return;
    }
    sqlite3_bind_int64(statement, 1, op->journal);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        op->slot = (uint64_t)sqlite3_column_int64(statement, 0);
        snprintf(op->name, sizeof op->name, "%s", (const char *)sqlite3_column_text(statement, 1));
        op->size = (uint64_t)sqlite3_column_int64(statement, 2);
        op->made_ms = sqlite3_column_int64(statement, 3);
        op->error = ST_OK;
    }
    sqlite3_reset(statement);
    if (rc != SQLITE_ROW) {
        op->error = rc == SQLITE_DONE ? ST_ABSENT : harmless(db, rc);
    }
}

void st_db_lease_list(struct st_db *db, struct st_lease_list *op) {
    op->count = 0;
    sqlite3_stmt *statement = prepared(db, ST_SQL_leases);
    if (statement == NULL) {
        op->error = harmless(db, SQLITE_CANTOPEN);
        return;
    }
    sqlite3_bind_int64(statement, 1, (int64_t)op->capacity);
    int rc = SQLITE_DONE;
    while (op->count < op->capacity && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct st_lease *lease = &op->leases[op->count++];
        size_t len = (size_t)sqlite3_column_bytes(statement, 1);
        *lease = (struct st_lease){.len = len < ST_LEASE_BODY_MAX ? len : ST_LEASE_BODY_MAX,
                                   .renewed_ms = sqlite3_column_int64(statement, 2)};
        snprintf(lease->holder, sizeof lease->holder, "%s", (const char *)sqlite3_column_text(statement, 0));
        memcpy(lease->body, sqlite3_column_blob(statement, 1), lease->len);
    }
    sqlite3_reset(statement);
    op->error = rc == SQLITE_ROW || rc == SQLITE_DONE ? ST_OK : harmless(db, rc);
}

bool st_db_copy_wal(struct st_db *db, int *left) {
    int frames = 0, copied = 0;
    if (db->handle == NULL && connect(db) != SQLITE_OK) {
        close_handle(db);
        return false;
    }
    int rc = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    *left = frames - copied;
    return rc == SQLITE_OK;
}
