/* The database of the local store: what cannot be opened, and commits that fail in the write or in the sync. */
#include "storage/tests/local_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a disk under SQLite that fails, or stops the process, on demand ---- */

static atomic_int write_error;   /* SQLite result of every write to a WAL, 0: none */
static atomic_int sync_error;    /* of every sync of a WAL */
static atomic_int syncs_to_fail; /* so many syncs of a WAL fail, then they work again */
static atomic_int calls_left;    /* writes, syncs and truncations of any file until the process stops; 0: it goes on */

/* SQLite gives every kind of file its table of methods; ours are copies with some functions replaced. */
struct methods {
    const sqlite3_io_methods *real;
    sqlite3_io_methods ours;
};
static struct methods main_methods, other_methods; /* the database file, which has locks; WAL and journal */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* over their making: handles open in many threads */
static sqlite3_vfs failing_vfs;
static sqlite3_vfs *real_vfs;

static const sqlite3_io_methods *real_of(const sqlite3_file *file) {
    return file->pMethods == &main_methods.ours ? main_methods.real : other_methods.real;
}

static bool stops_here(void) {
    return atomic_load(&calls_left) > 0 && atomic_fetch_sub(&calls_left, 1) == 1;
}

static int failing_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at) {
    int error = file->pMethods == &other_methods.ours ? atomic_load(&write_error) : 0;
    if (stops_here()) {
        real_of(file)->xWrite(file, bytes, len / 2, at);
        _exit(99);
    }
    return error != 0 ? error : real_of(file)->xWrite(file, bytes, len, at);
}

static int failing_sync(sqlite3_file *file, int flags) {
    int error = file->pMethods == &other_methods.ours ? atomic_load(&sync_error) : 0;
    if (stops_here()) {
        _exit(99);
    }
    if (atomic_load(&syncs_to_fail) > 0 && atomic_fetch_sub(&syncs_to_fail, 1) > 0) {
        error = SQLITE_IOERR_FSYNC;
    }
    return error != 0 ? error : real_of(file)->xSync(file, flags);
}

static int failing_truncate(sqlite3_file *file, sqlite3_int64 size) {
    if (stops_here()) {
        _exit(99);
    }
    return real_of(file)->xTruncate(file, size);
}

static int failing_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out) {
    (void)vfs;
    int rc = real_vfs->xOpen(real_vfs, name, file, flags, out);
    if (rc == SQLITE_OK) {
        struct methods *methods = (flags & SQLITE_OPEN_MAIN_DB) != 0 ? &main_methods : &other_methods;
        pthread_mutex_lock(&mutex);
        if (methods->real == NULL) {
            methods->real = file->pMethods;
            methods->ours = *methods->real;
            methods->ours.xWrite = failing_write;
            methods->ours.xSync = failing_sync;
            methods->ours.xTruncate = failing_truncate;
        }
        pthread_mutex_unlock(&mutex);
        assert_ptr_equal(methods->real, file->pMethods);
        file->pMethods = &methods->ours;
    }
    return rc;
}

static void install_failing_vfs(void) {
    real_vfs = sqlite3_vfs_find(NULL);
    failing_vfs = *real_vfs;
    failing_vfs.zName = "failing";
    failing_vfs.xOpen = failing_open;
    assert_int_equal(sqlite3_vfs_register(&failing_vfs, 1), SQLITE_OK);
}

static int set_up(void **state) {
    *state = malloc(SCRATCH_PATH_MAX);
    assert_non_null(*state);
    scratch_make(*state);
    return 0;
}

static int tear_down(void **state) {
    atomic_store(&write_error, 0);
    atomic_store(&sync_error, 0);
    atomic_store(&syncs_to_fail, 0);
    scratch_remove(*state);
    free(*state);
    return 0;
}

/* ---- what cannot be opened ---- */

static void assert_refused(const char *directory, const char *because) {
    struct handle handle;
    assert_false(handle_try(&handle, directory, NULL, 0));
    if (strstr(handle.message, because) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", handle.message, because);
    }
    assert_null(strchr(handle.message, '\n'));
    assert_int_equal(handle.message[strlen(handle.message) - 1], '.');
}

static void make_store(const char *directory) {
    struct handle handle;
    uint64_t slot = 1;
    handle_open(&handle, directory);
    assert_int_equal(put_entry(&handle, slot, &slot, sizeof slot), ST_OK);
    handle_close(&handle);
}

static void change_database(const char *directory, const char *sql) {
    char path[2 * SCRATCH_PATH_MAX];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/store.db", directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void overwrite(const char *directory, const char *file, off_t at, size_t len) {
    char path[2 * SCRATCH_PATH_MAX];
    uint8_t bytes[4096];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    memset(bytes, 0x55, sizeof bytes);
    assert_int_equal(pwrite(fd, bytes, len, at), len);
    close(fd);
}

static void missing_directories_are_made(void **state) {
    char directory[2 * SCRATCH_PATH_MAX];
    snprintf(directory, sizeof directory, "%s/a/b//c/", (char *)*state);
    make_store(directory);
    snprintf(directory, sizeof directory, "%s/a/b/c", (char *)*state);
    struct handle handle;
    handle_open(&handle, directory);
    assert_true(read_tail(&handle, 1) == 1);
    handle_close(&handle);
}

static void what_is_no_directory_is_refused(void **state) {
    char path[2 * SCRATCH_PATH_MAX];
    overwrite(*state, "file", 0, 10);
    snprintf(path, sizeof path, "%s/file", (char *)*state);
    assert_refused(path, "Not a directory");
    snprintf(path, sizeof path, "%s/file/below", (char *)*state);
    assert_refused(path, "Not a directory");
    assert_refused("", "No such file");
}

static void a_directory_that_cannot_be_written_is_refused(void **state) {
    (void)state;
    assert_refused("/proc/self/store", "cannot be used");
}

static void a_store_of_a_newer_format_is_refused(void **state) {
    make_store(*state);
    change_database(*state, "UPDATE store SET format_version = 77, cluster_id = x'00'");
    assert_refused(*state, "is of format 77; this program reads up to 1");
    change_database(*state, "UPDATE store SET format_version = 1");
    change_database(*state, "PRAGMA user_version = 78");
    assert_refused(*state, "is of format 78; this program reads up to 1");
}

static void a_damaged_database_is_refused(void **state) {
    make_store(*state);
    overwrite(*state, "store.db", 0, 4096);
    assert_refused(*state, "is damaged");
}

static void a_database_of_something_else_is_refused(void **state) {
    change_database(*state, "CREATE TABLE birds (name TEXT)");
    assert_refused(*state, "is a database of something else");
}

static void a_damaged_page_damages_what_lies_on_it(void **state) {
    struct handle handle;
    uint8_t body[3000] = {0};
    handle_open(&handle, *state);
    for (uint64_t slot = 1; slot <= 300; slot++) {
        memcpy(body, &slot, sizeof slot);
        assert_int_equal(put_entry(&handle, slot, body, sizeof body), ST_OK);
    }
    handle_close(&handle);
    overwrite(*state, "store.db", 100 * 4096, 4096);
    handle_open(&handle, *state);
    enum st_error error = ST_OK;
    for (uint64_t from = 1; from <= 300 && error == ST_OK; from++) {
        struct st_journal_read op = {.from = from, .max_bytes = 1, .done = journal_read_done};
        WAIT_FOR(&handle, journal_read, &op);
        error = op.error;
        kp_blob_unref(op.blob);
        free(op.entries);
    }
    assert_int_equal(error, ST_DAMAGED);
    uint64_t slot = 301;
    assert_int_equal(put_entry(&handle, slot, &slot, sizeof slot), ST_OK);
    handle_close(&handle);
}

/* ---- commits that fail ---- */

static enum st_error put_slot(struct handle *handle, uint64_t slot) {
    uint8_t body[100] = {0};
    memcpy(body, &slot, sizeof slot);
    return put_entry(handle, slot, body, sizeof body);
}

/* What a power cut or a kill would leave now: a copy of the files, opened by its own handle. */
static uint64_t tail_after_crash(const char *directory) {
    char copy[SCRATCH_PATH_MAX], command[4 * SCRATCH_PATH_MAX];
    struct handle handle;
    scratch_make(copy);
    snprintf(command, sizeof command, "cp %s/store.db %s/store.db-wal %s", directory, directory, copy);
    assert_int_equal(system(command), 0);
    handle_open(&handle, copy);
    uint64_t tail = read_tail(&handle, 1);
    handle_close(&handle);
    scratch_remove(copy);
    return tail;
}

static void a_full_disk_refuses_commits_and_reads_go_on(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    assert_int_equal(put_slot(&handle, 1), ST_OK);
    atomic_store(&write_error, SQLITE_FULL);
    assert_int_equal(put_slot(&handle, 2), ST_REFUSED);
    assert_int_equal(put_slot(&handle, 2), ST_REFUSED);
    assert_true(read_tail(&handle, 1) == 1);
    assert_true(tail_after_crash(*state) == 1);
    atomic_store(&write_error, 0);
    assert_int_equal(put_slot(&handle, 2), ST_OK);
    assert_true(tail_after_crash(*state) == 2);
    handle_close(&handle);
}

static void a_commit_whose_sync_fails_once_never_comes_back(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    assert_int_equal(put_slot(&handle, 1), ST_OK);
    for (uint64_t slot = 2; slot < 6; slot++) {
        atomic_store(&sync_error, SQLITE_IOERR_FSYNC);
        /* The sync fails for good: the frames may be on the disk or not. */
        assert_int_equal(put_slot(&handle, slot), ST_UNKNOWN);
        assert_true(read_tail(&handle, 1) == slot - 1);
        assert_int_equal(put_slot(&handle, slot), ST_REFUSED); /* says nothing about the first */
        atomic_store(&sync_error, 0);
        /* The same again: it takes the place of the first. */
        assert_int_equal(put_slot(&handle, slot), ST_OK);
        assert_true(read_tail(&handle, 1) == slot);
        assert_true(tail_after_crash(*state) == slot);
    }
    handle_close(&handle);
}

/* One failure, then a healthy disk: the store heals itself at once and can say that nothing was stored. */
static void a_refused_commit_is_in_no_crash_image(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    assert_int_equal(put_slot(&handle, 1), ST_OK);
    atomic_store(&syncs_to_fail, 1);
    assert_int_equal(put_slot(&handle, 2), ST_REFUSED);
    assert_true(tail_after_crash(*state) == 1);
    assert_int_equal(put_slot(&handle, 2), ST_OK);
    assert_true(tail_after_crash(*state) == 2);
    handle_close(&handle);
}

static void other_handles_go_on_beside_one_that_fails(void **state) {
    struct handle one, other;
    handle_open(&one, *state);
    handle_open(&other, *state);
    assert_int_equal(put_slot(&one, 1), ST_OK);
    atomic_store(&sync_error, SQLITE_IOERR_FSYNC);
    assert_int_equal(put_slot(&one, 2), ST_UNKNOWN);
    assert_true(read_tail(&other, 1) == 1);
    atomic_store(&sync_error, 0);
    assert_int_equal(put_slot(&other, 2), ST_OK);
    assert_int_equal(put_slot(&one, 2), ST_TAKEN);
    assert_int_equal(put_slot(&one, 3), ST_OK);
    handle_close(&one);
    handle_close(&other);
    handle_open(&one, *state);
    assert_true(read_tail(&one, 1) == 3);
    handle_close(&one);
}

/* ---- stopped in any call ---- */

/* Commits with copies of the WAL between them; each slot goes to the pipe when it is acknowledged. */
static void commit_some(const char *directory, int to) {
    struct handle handle;
    uint8_t body[30000] = {0};
    if (!handle_try(&handle, directory, NULL, 0)) {
        _exit(96);
    }
    uint64_t slot = read_tail(&handle, 1) + 1;
    for (uint64_t end = slot + 12; slot < end; slot++) {
        memcpy(body, &slot, sizeof slot);
        if (put_entry(&handle, slot, body, slot % 4 == 0 ? sizeof body : 100) != ST_OK ||
            write(to, &slot, sizeof slot) != sizeof slot) {
            _exit(97);
        }
    }
    handle_close(&handle); /* copies the WAL and removes it */
}

static void stopping_in_any_call_of_the_database_loses_nothing_acknowledged(void **state) {
    uint64_t acknowledged = 0;
    bool stopped = true;
    for (int at = 1; stopped; at++) {
        int ends[2], status;
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            atomic_store(&calls_left, at);
            commit_some(*state, ends[1]);
            _exit(0);
        }
        close(ends[1]);
        while (read(ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) {
        }
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));
        stopped = WEXITSTATUS(status) == 99;

        struct handle handle;
        handle_open(&handle, *state);
        uint64_t tail = read_tail(&handle, 1);
        assert_true(tail == acknowledged || tail == acknowledged + 1);
        acknowledged = tail;
        handle_close(&handle);
        assert_true(at < 1000);
    }
    assert_true(acknowledged > 12);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(missing_directories_are_made),
        TEST(what_is_no_directory_is_refused),
        TEST(a_directory_that_cannot_be_written_is_refused),
        TEST(a_store_of_a_newer_format_is_refused),
        TEST(a_damaged_database_is_refused),
        TEST(a_database_of_something_else_is_refused),
        TEST(a_damaged_page_damages_what_lies_on_it),
        TEST(a_full_disk_refuses_commits_and_reads_go_on),
        TEST(a_commit_whose_sync_fails_once_never_comes_back),
        TEST(a_refused_commit_is_in_no_crash_image),
        TEST(other_handles_go_on_beside_one_that_fails),
        TEST(stopping_in_any_call_of_the_database_loses_nothing_acknowledged),
    };
    install_failing_vfs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
