/* Objects of the local store when the disk is full, a sync fails, bytes are torn or flipped, or the process stops in
 * any file call; and how their room is given back. */
#include "storage/tests/local_faults.h"
#include "storage/tests/local_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "storage/backends/local/extent.h"

#define SMALL_EXTENT (1 << 20)

struct world {
    char directory[SCRATCH_PATH_MAX];
    struct handle handle;
};

static int set_up(void **state) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    scratch_make(world->directory);
    fault_clear();
    assert_true(handle_try(&world->handle, world->directory, &faulty_fs, SMALL_EXTENT));
    *state = world;
    return 0;
}

static int tear_down(void **state) {
    struct world *world = *state;
    fault_clear();
    if (world->handle.store != NULL) {
        handle_close(&world->handle);
    }
    scratch_remove(world->directory);
    free(world);
    return 0;
}

static void reopen(struct world *world) {
    handle_close(&world->handle);
    assert_true(handle_try(&world->handle, world->directory, &faulty_fs, SMALL_EXTENT));
}

static uint32_t extent_of(const char *name) {
    struct st_extent_place place;
    assert_true(st_extent_name_parse(name, &place));
    return place.number;
}

static int open_extent(const struct world *world, const char *name, off_t *at) {
    struct st_extent_place place;
    char path[2 * SCRATCH_PATH_MAX];
    assert_true(st_extent_name_parse(name, &place));
    snprintf(path, sizeof path, "%s/%s", world->directory, place.path);
    *at = (off_t)place.at;
    return open(path, O_RDWR);
}

/* ---- errors ---- */

static void after_a_failed_sync_bytes_go_to_a_new_file(void **state) {
    struct world *world = *state;
    char first[ST_OBJECT_NAME_MAX], lost[ST_OBJECT_NAME_MAX], again[ST_OBJECT_NAME_MAX];
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 50000, first), ST_OK);
    fault_set(FAULT_ERROR, 1u << FAULT_DATASYNC, 1, false, EIO);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 50000, lost), ST_REFUSED);
    assert_int_equal(extent_of(lost), extent_of(first));
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 50000, again), ST_OK);
    assert_true(extent_of(again) > extent_of(lost));
    assert_int_equal(get_object(&world->handle, first, 1, 50000), ST_OK);
    assert_int_equal(get_object(&world->handle, again, 2, 50000), ST_OK);
}

static void a_put_that_stood_beside_a_failed_sync_is_not_believed(void **state) {
    struct world *world = *state;
    char failed[ST_OBJECT_NAME_MAX];
    struct st_object_put op = {.len = 1000, .done = object_put_done, .buffer = kp_blob_new(8192)};
    assert_true(world->handle.store->ops->object_name(world->handle.store, ST_OBJECT_INGEST, 0, 1, 1000, op.name));
    fault_set(FAULT_ERROR, 1u << FAULT_DATASYNC, 1, false, EIO);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 50000, failed), ST_REFUSED);
    assert_int_equal(extent_of(op.name), extent_of(failed));
    WAIT_FOR(&world->handle, object_put, &op);
    assert_int_equal(op.error, ST_REFUSED);
    kp_blob_unref(op.buffer);
}

static void on_a_full_disk_puts_are_refused_and_reads_go_on(void **state) {
    struct world *world = *state;
    char first[ST_OBJECT_NAME_MAX], name[ST_OBJECT_NAME_MAX], checkpoint[ST_OBJECT_NAME_MAX];
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 300000, first), ST_OK);
    fault_set(FAULT_ERROR, 1u << FAULT_PWRITE | 1u << FAULT_ALLOCATE, 1, true, ENOSPC);
    for (int i = 0; i < 10; i++) { /* beyond the end of the extent, too */
        assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 300000, name), ST_REFUSED);
    }
    assert_int_equal(put_object(&world->handle, ST_OBJECT_CHECKPOINT, 3, 300000, checkpoint), ST_REFUSED);
    assert_int_equal(get_object(&world->handle, first, 1, 300000), ST_OK);
    assert_int_equal(get_object(&world->handle, checkpoint, 3, 300000), ST_ABSENT);
    fault_clear();
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 300000, name), ST_OK);
    assert_int_equal(get_object(&world->handle, name, 2, 300000), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_CHECKPOINT, 3, 300000, checkpoint), ST_OK);
    assert_int_equal(count_objects(&world->handle, ST_OBJECT_CHECKPOINT), 1);
}

/* In a process with a mount table of its own: a file system of 6 MiB, filled by objects and entries. */
static int fill_small_disk(const char *directory) {
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", directory, "tmpfs", 0, "size=6m") < 0) {
        return 77;
    }
    struct handle handle;
    char names[64][ST_OBJECT_NAME_MAX], name[ST_OBJECT_NAME_MAX];
    size_t stored = 0;
    uint64_t slot = 1;
    uint8_t body[60000] = {0};
    handle_open(&handle, directory);
    while (stored < 40 && put_object(&handle, ST_OBJECT_INGEST, (uint8_t)stored, 100000, names[stored]) == ST_OK) {
        stored++;
    }
    assert_in_range(stored, 10, 60);
    enum st_error error;
    while (memcpy(body, &slot, sizeof slot), (error = put_entry(&handle, slot, body, sizeof body)) == ST_OK) {
        slot++;
    }
    assert_int_equal(error, ST_REFUSED);
    assert_int_equal(put_entry(&handle, slot, body, sizeof body), ST_REFUSED);
    while (put_object(&handle, ST_OBJECT_INGEST, 1, 100000, name) == ST_OK) {
    }
    assert_true(read_tail(&handle, 1) == slot - 1);
    for (size_t i = 0; i < stored; i++) {
        assert_int_equal(get_object(&handle, names[i], (uint8_t)i, 100000), ST_OK);
    }
    for (size_t i = 0; i < stored; i++) { /* makes room again */
        assert_int_equal(delete_object(&handle, names[i]), ST_OK);
    }
    assert_int_equal(put_entry(&handle, slot, body, sizeof body), ST_OK);
    handle_close(&handle);
    handle_open(&handle, directory);
    assert_true(read_tail(&handle, 1) == slot);
    handle_close(&handle);
    return 0;
}

static void a_really_full_disk_refuses_and_recovers(void **state) {
    struct world *world = *state;
    handle_close(&world->handle);
    world->handle.store = NULL;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(fill_small_disk(world->directory));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip(); /* only root may mount */
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void short_writes_are_gone_on_with(void **state) {
    struct world *world = *state;
    char name[ST_OBJECT_NAME_MAX];
    fault_set(FAULT_SHORT, 1u << FAULT_PWRITE, 1, true, 0);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 5, 123456, name), ST_OK);
    assert_int_equal(st_store_local_verify(world->directory, name), ST_OK);
}

/* ---- bytes that are not as they were ---- */

static void a_torn_object_at_the_end_harms_no_other(void **state) {
    struct world *world = *state;
    char whole[ST_OBJECT_NAME_MAX], torn[ST_OBJECT_NAME_MAX], next[ST_OBJECT_NAME_MAX];
    off_t at;
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 20000, whole), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 20000, torn), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 3, 20000, next), ST_OK);
    int fd = open_extent(world, torn, &at);
    assert_int_equal(pwrite(fd, "garbage", 7, at + 100), 7);
    close(fd);
    assert_int_equal(get_object(&world->handle, torn, 2, 20000), ST_DAMAGED);
    assert_int_equal(get_object(&world->handle, whole, 1, 20000), ST_OK);
    assert_int_equal(get_object(&world->handle, next, 3, 20000), ST_OK);
    assert_int_equal(count_objects(&world->handle, ST_OBJECT_INGEST), 2);
}

static void a_flipped_bit_is_found_by_the_check(void **state) {
    struct world *world = *state;
    char name[ST_OBJECT_NAME_MAX];
    off_t at;
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 20000, name), ST_OK);
    assert_int_equal(st_store_local_verify(world->directory, name), ST_OK);
    int fd = open_extent(world, name, &at);
    assert_int_equal(pwrite(fd, "\3", 1, at + 4096 + 19999), 1);
    close(fd);
    assert_int_equal(st_store_local_verify(world->directory, name), ST_DAMAGED);
}

static void data_that_looks_like_an_object_is_not_listed(void **state) {
    struct world *world = *state;
    char outer[ST_OBJECT_NAME_MAX], inner[ST_OBJECT_NAME_MAX];
    uint8_t block[4096];
    off_t at, from;
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 4096, inner), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 20000, outer), ST_OK);
    int fd = open_extent(world, inner, &from);
    assert_int_equal(pread(fd, block, sizeof block, from), sizeof block);
    close(fd);
    fd = open_extent(world, outer, &at);
    assert_int_equal(pwrite(fd, block, sizeof block, at + 8192), sizeof block);
    assert_int_equal(pwrite(fd, "torn", 4, at), 4); /* so that the scan looks into the data */
    close(fd);
    assert_int_equal(count_objects(&world->handle, ST_OBJECT_INGEST), 1);
}

static void names_that_no_store_gave_open_nothing(void **state) {
    static const char *const names[] = {
        "",
        "x",
        "store.db",
        "../store.db",
        "/etc/passwd",
        "x/../store.db",
        "checkpoints/../../../etc/passwd",
        "checkpoints/0000000000/../../store.db",
        "checkpoints/0000000000/",
        "segments/0000000000/..",
        "x/0123456789abcdef-000001@0000000",
        "x/0123456789abcdef-000001@00000001",
        "x/0123456789ABCDEF-000001@00000000",
        "x/0123456789abcdef-000001@000000000",
    };
    struct world *world = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(get_object(&world->handle, names[i], 0, 1), ST_ABSENT);
        assert_int_equal(delete_object(&world->handle, names[i]), ST_OK);
    }
    reopen(world);
}

/* ---- room ---- */

static off_t room_of(const struct world *world, const char *name) {
    struct stat status;
    struct st_extent_place place;
    char path[2 * SCRATCH_PATH_MAX];
    assert_true(st_extent_name_parse(name, &place));
    snprintf(path, sizeof path, "%s/%s", world->directory, place.path);
    return stat(path, &status) == 0 ? status.st_blocks * 512 : -1;
}

static void deleting_gives_room_back_and_the_last_one_the_file(void **state) {
    struct world *world = *state;
    char names[12][ST_OBJECT_NAME_MAX];
    for (int i = 0; i < 12; i++) {
        assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, (uint8_t)i, 200000, names[i]), ST_OK);
    }
    assert_int_equal(extent_of(names[0]), extent_of(names[3]));
    assert_true(extent_of(names[11]) > extent_of(names[0]) + 1);
    reopen(world);
    for (int i = 0; extent_of(names[i]) == extent_of(names[0]); i++) {
        off_t before = room_of(world, names[i]);
        assert_true(before >= 200000);
        assert_int_equal(delete_object(&world->handle, names[i]), ST_OK);
        assert_int_equal(get_object(&world->handle, names[i], 0, 1), ST_ABSENT);
        assert_true(room_of(world, names[i]) <= before - 200000);
    }
    assert_int_equal(room_of(world, names[0]), -1);
    assert_int_equal(get_object(&world->handle, names[11], 11, 200000), ST_OK);
}

static void closing_gives_the_claimed_rest_back(void **state) {
    struct world *world = *state;
    char name[ST_OBJECT_NAME_MAX];
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 30000, name), ST_OK);
    assert_true(room_of(world, name) >= SMALL_EXTENT);
    reopen(world);
    assert_true(room_of(world, name) <= 65536);
    assert_int_equal(get_object(&world->handle, name, 1, 30000), ST_OK);
}

static void an_object_larger_than_an_extent_has_one_to_itself(void **state) {
    struct world *world = *state;
    char small[ST_OBJECT_NAME_MAX], large[ST_OBJECT_NAME_MAX], after[ST_OBJECT_NAME_MAX];
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 1, 1000, small), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 2, 3 * SMALL_EXTENT, large), ST_OK);
    assert_int_equal(put_object(&world->handle, ST_OBJECT_INGEST, 3, 1000, after), ST_OK);
    assert_int_equal(extent_of(large), extent_of(small) + 1);
    assert_int_equal(extent_of(after), extent_of(large) + 1);
    reopen(world);
    assert_int_equal(get_object(&world->handle, large, 2, 3 * SMALL_EXTENT), ST_OK);
    assert_int_equal(get_object(&world->handle, after, 3, 1000), ST_OK);
    assert_int_equal(count_objects(&world->handle, ST_OBJECT_INGEST), 3);
}

/* ---- every file call ---- */

struct script {
    enum st_object_kind kind;
    size_t len;
};

/* Enough for three extents, with checkpoints between. */
static const struct script script[] = {
    {ST_OBJECT_INGEST, 400000}, {ST_OBJECT_CHECKPOINT, 70000}, {ST_OBJECT_INGEST, 500000}, {ST_OBJECT_INGEST, 600000},
    {ST_OBJECT_INGEST, 1},      {ST_OBJECT_CHECKPOINT, 1},     {ST_OBJECT_INGEST, 800000},
};
#define STEPS (sizeof script / sizeof *script)
#define KEPT (STEPS - 1) /* the first object is deleted at the end */

/* Runs the script; names[i] is "" when the object was not acknowledged. */
static void run_script(struct handle *handle, char names[STEPS][ST_OBJECT_NAME_MAX], int to) {
    for (size_t i = 0; i < STEPS; i++) {
        if (put_object(handle, script[i].kind, (uint8_t)(i + 1), script[i].len, names[i]) != ST_OK) {
            names[i][0] = '\0';
        } else if (to >= 0 && write(to, names[i], ST_OBJECT_NAME_MAX) != ST_OBJECT_NAME_MAX) {
            _exit(97);
        }
    }
    if (names[0][0] != '\0') {
        delete_object(handle, names[0]);
    }
}

static void an_error_in_any_file_call_loses_nothing_acknowledged(void **state) {
    struct world *world = *state;
    unsigned mask = ~(1u << FAULT_PREAD);
    handle_close(&world->handle);
    world->handle.store = NULL;
    for (int at = 1, seen = at; seen >= at; at++) {
        static char names[STEPS][ST_OBJECT_NAME_MAX];
        struct handle handle;
        fault_set(FAULT_ERROR, mask, at, false, at % 2 == 0 ? EIO : ENOSPC);
        if (!handle_try(&handle, world->directory, &faulty_fs, SMALL_EXTENT)) {
            assert_true(handle.message[0] != '\0');
            continue;
        }
        memset(names, 0, sizeof names);
        run_script(&handle, names, -1);
        handle_close(&handle);
        seen = atomic_load(&fault_seen);
        fault_clear();
        size_t whole = 0;
        for (size_t i = 1; i < STEPS; i++) {
            if (names[i][0] != '\0') {
                assert_int_equal(st_store_local_verify(world->directory, names[i]), ST_OK);
                whole++;
            }
        }
        assert_true(whole >= KEPT - 2); /* one failure costs one object, or an extent and what was tried in it */
        assert_true(at < 1000);
    }
}

static void stopping_in_any_file_call_loses_nothing_acknowledged(void **state) {
    struct world *world = *state;
    handle_close(&world->handle);
    world->handle.store = NULL;
    bool stopped = true;
    for (int at = 1; stopped; at++) {
        int ends[2], status;
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            static char names[STEPS][ST_OBJECT_NAME_MAX];
            struct handle handle;
            fault_set(FAULT_STOP, ~0u, at, false, 0);
            if (!handle_try(&handle, world->directory, &faulty_fs, SMALL_EXTENT)) {
                _exit(96);
            }
            run_script(&handle, names, ends[1]);
            handle_close(&handle);
            _exit(0);
        }
        close(ends[1]);
        char name[ST_OBJECT_NAME_MAX];
        for (size_t i = 0; read(ends[0], name, sizeof name) == sizeof name; i++) {
            enum st_error error = st_store_local_verify(world->directory, name);
            assert_true(error == ST_OK || (i == 0 && error == ST_ABSENT));
        }
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));
        stopped = WEXITSTATUS(status) == 99;
        assert_true(at < 1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(after_a_failed_sync_bytes_go_to_a_new_file),
        TEST(a_put_that_stood_beside_a_failed_sync_is_not_believed),
        TEST(on_a_full_disk_puts_are_refused_and_reads_go_on),
        TEST(a_really_full_disk_refuses_and_recovers),
        TEST(short_writes_are_gone_on_with),
        TEST(a_torn_object_at_the_end_harms_no_other),
        TEST(a_flipped_bit_is_found_by_the_check),
        TEST(data_that_looks_like_an_object_is_not_listed),
        TEST(names_that_no_store_gave_open_nothing),
        TEST(deleting_gives_room_back_and_the_last_one_the_file),
        TEST(closing_gives_the_claimed_rest_back),
        TEST(an_object_larger_than_an_extent_has_one_to_itself),
        TEST(an_error_in_any_file_call_loses_nothing_acknowledged),
        TEST(stopping_in_any_file_call_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
