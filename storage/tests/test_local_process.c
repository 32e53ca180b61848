/*
 * The local store as several processes use it: killed at any moment, racing for one journal, hearing of each other. The
 * processes are forks of the test, each with a handle of its own; what they did they say on a pipe.
 */
#include "storage/tests/local_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct child {
    pid_t pid;
    int from; /* its pipe */
    int go;   /* what it waits for, if it does */
};

static int go_ahead; /* in a child: its end of child.go */

static void wait_to_go(void) {
    char byte;
    if (read(go_ahead, &byte, 1) != 1) {
        _exit(1);
    }
}

static void child_go(struct child child) {
    assert_int_equal(write(child.go, "", 1), 1);
}

/* Runs fn in a new process; what it writes to `to` can be read from child.from. To be called before the test has
 * threads, that is, handles: a child that is to act later waits to go. */
static struct child fork_child(void (*fn)(const char *directory, int to), const char *directory) {
    int ends[2], go[2];
    assert_true(pipe(ends) == 0 && pipe(go) == 0);
    fflush(NULL);
    struct child child = {.pid = fork(), .from = ends[0], .go = go[1]};
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        close(ends[0]);
        close(go[1]);
        go_ahead = go[0];
        fn(directory, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    close(go[0]);
    return child;
}

static void child_wait(struct child child) {
    int status;
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    close(child.from);
    close(child.go);
}

static void say(int to, const void *bytes, size_t len) {
    if (write(to, bytes, len) != (ssize_t)len) {
        _exit(1);
    }
}

static int set_up(void **state) {
    *state = malloc(SCRATCH_PATH_MAX);
    assert_non_null(*state);
    scratch_make(*state);
    return 0;
}

static int tear_down(void **state) {
    scratch_remove(*state);
    free(*state);
    return 0;
}

/* ---- killed ---- */

static void commit_for_ever(const char *directory, int to) {
    struct handle handle;
    handle_open(&handle, directory);
    uint8_t body[700] = {0};
    for (uint64_t slot = read_tail(&handle, 1) + 1;; slot++) {
        memcpy(body, &slot, sizeof slot);
        if (put_entry(&handle, slot, body, 8 + slot % 600) != ST_OK) {
            _exit(1);
        }
        say(to, &slot, sizeof slot);
    }
}

static void a_killed_writer_loses_nothing_acknowledged(void **state) {
    uint64_t acknowledged = 0;
    for (unsigned round = 0; round < 6; round++) {
        struct child child = fork_child(commit_for_ever, *state);
        assert_int_equal(read(child.from, &acknowledged, sizeof acknowledged), sizeof acknowledged);
        usleep(5000 + 23456 * round);
        kill(child.pid, SIGKILL);
        while (read(child.from, &acknowledged, sizeof acknowledged) == sizeof acknowledged) {
        }
        child_wait(child);
        struct handle handle;
        handle_open(&handle, *state);
        uint64_t tail = read_tail(&handle, 1);
        assert_true(tail == acknowledged || tail == acknowledged + 1);
        handle_close(&handle);
    }
    assert_true(acknowledged > 100);
}

static void put_objects_for_ever(const char *directory, int to) {
    struct handle handle;
    assert_true(handle_try(&handle, directory, NULL, 1 << 20));
    for (unsigned i = 0;; i++) {
        char name[ST_OBJECT_NAME_MAX] = {0};
        enum st_object_kind kind = i % 5 == 4 ? ST_OBJECT_CHECKPOINT : ST_OBJECT_INGEST;
        if (put_object(&handle, kind, (uint8_t)i, 20000 + i * 7919 % 200000, name) != ST_OK) {
            _exit(1);
        }
        say(to, name, sizeof name);
    }
}

static void objects_of_a_killed_writer_are_whole_and_its_room_is_given_back(void **state) {
    unsigned whole = 0;
    for (unsigned round = 0; round < 4; round++) {
        struct child child = fork_child(put_objects_for_ever, *state);
        char name[ST_OBJECT_NAME_MAX];
        usleep(50000 + 23456 * round);
        kill(child.pid, SIGKILL);
        while (read(child.from, name, sizeof name) == sizeof name) {
            assert_int_equal(st_store_local_verify(*state, name), ST_OK);
            whole++;
        }
        child_wait(child);
    }
    assert_true(whole > 8);
    struct handle handle;
    handle_open(&handle, *state);
    handle_idle(&handle, NULL, 50);
    assert_true(count_objects(&handle, ST_OBJECT_INGEST) + count_objects(&handle, ST_OBJECT_CHECKPOINT) >= whole);
    handle_close(&handle);

    char command[SCRATCH_PATH_MAX + 100];
    snprintf(command, sizeof command, "test $(ls %s/writers | wc -l) -eq 1 && test ! -e %s/tmp/*", (char *)*state,
             (char *)*state);
    assert_int_equal(system(command), 0);
}

/* ---- racing ---- */

#define RACE_MS 700

static void commit_flat_out(const char *directory, int to) {
    struct handle handle;
    handle_open(&handle, directory);
    uint64_t applied = read_tail(&handle, 1), won = 0;
    for (int64_t end = now_ms() + RACE_MS; now_ms() < end;) {
        uint64_t slot = applied + 1;
        enum st_error error = put_entry(&handle, slot, &slot, sizeof slot);
        won += error == ST_OK;
        if (error == ST_TAKEN) {
            applied = read_tail(&handle, slot);
        } else if (error == ST_OK) {
            applied = slot;
        } else {
            _exit(1);
        }
    }
    say(to, &won, sizeof won);
    handle_close(&handle);
}

static void two_processes_writing_flat_out_each_get_their_share(void **state) {
    struct child children[2];
    uint64_t won[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork_child(commit_flat_out, *state);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read(children[i].from, &won[i], sizeof won[i]), sizeof won[i]);
        child_wait(children[i]);
    }
    struct handle handle;
    handle_open(&handle, *state);
    assert_true(read_tail(&handle, 1) == won[0] + won[1]);
    handle_close(&handle);
    assert_true(won[0] + won[1] >= 20);
    assert_true(won[0] * 10 >= (won[0] + won[1]) * 3);
    assert_true(won[1] * 10 >= (won[0] + won[1]) * 3);
}

/* A process that lost a slot and never comes back must not keep the others waiting. */
static void lose_and_stay(const char *directory, int to) {
    struct handle handle;
    uint64_t slot = 1;
    wait_to_go();
    handle_open(&handle, directory);
    enum st_error error = put_entry(&handle, slot, &slot, sizeof slot);
    say(to, &error, sizeof error);
    handle_idle(&handle, NULL, 2000);
    _exit(0);
}

static void a_loser_that_does_not_come_back_delays_nobody_for_long(void **state) {
    struct handle handle;
    uint64_t slot = 1;
    struct child child = fork_child(lose_and_stay, *state);
    handle_open(&handle, *state);
    assert_int_equal(put_entry(&handle, slot, &slot, sizeof slot), ST_OK);
    child_go(child);
    enum st_error error;
    assert_int_equal(read(child.from, &error, sizeof error), sizeof error);
    assert_int_equal(error, ST_TAKEN);
    int64_t begun = now_ms();
    slot = 2;
    assert_int_equal(put_entry(&handle, slot, &slot, sizeof slot), ST_OK);
    assert_true(now_ms() - begun < 1000);
    kill(child.pid, SIGKILL);
    child_wait(child);
    handle_close(&handle);
}

/* ---- hearing of each other ---- */

static void commit_when_told(const char *directory, int to) {
    struct handle handle;
    wait_to_go();
    handle_open(&handle, directory);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t slot = read_tail(&handle, 1) + 1;
        enum st_error error = put_entry(&handle, slot, &slot, sizeof slot);
        say(to, &error, sizeof error);
        wait_to_go();
    }
    handle_close(&handle);
}

static void set_flag(void *arg) {
    *(bool *)arg = true;
}

static void a_commit_of_another_process_is_heard_of(void **state) {
    struct handle handle;
    bool heard = false;
    uint64_t slot = 1;
    struct child child = fork_child(commit_when_told, *state);
    handle_open(&handle, *state);
    handle.store->changed = set_flag;
    handle.store->changed_arg = &heard;
    assert_int_equal(put_entry(&handle, slot, &slot, sizeof slot), ST_OK);
    handle_idle(&handle, &heard, 50);
    assert_false(heard); /* its own is no news */
    child_go(child);
    handle_idle(&handle, &heard, 10000);
    assert_true(heard); /* of the process itself, or of its commit */
    for (slot = 2; slot <= 4; slot++) {
        enum st_error error;
        assert_int_equal(read(child.from, &error, sizeof error), sizeof error);
        assert_int_equal(error, ST_OK);
        handle_idle(&handle, NULL, 20);
        assert_true(read_tail(&handle, 1) == slot);
        heard = false;
        handle_idle(&handle, NULL, 20);
        assert_false(heard);
        child_go(child);
        if (slot < 4) {
            handle_idle(&handle, &heard, 10000);
            assert_true(heard);
            assert_true(read_tail(&handle, 1) == slot + 1); /* the commit is there when it is heard of */
        }
    }
    child_wait(child);
    handle_close(&handle);
}

/* ---- the WAL ---- */

static void the_wal_stays_small_under_steady_commits_and_reads(void **state) {
    struct handle handle, reader;
    handle_open(&handle, *state);
    handle_open(&reader, *state);
    char path[SCRATCH_PATH_MAX + 20];
    snprintf(path, sizeof path, "%s/store.db-wal", (char *)*state);
    uint8_t body[12000] = {0};
    off_t largest = 0, written = 0;
    for (uint64_t slot = 1; written < 48 << 20; slot++) {
        memcpy(body, &slot, sizeof slot);
        assert_int_equal(put_entry(&handle, slot, body, sizeof body), ST_OK);
        written += (off_t)sizeof body;
        if (slot % 64 == 0) {
            struct stat status;
            assert_int_equal(stat(path, &status), 0);
            largest = status.st_size > largest ? status.st_size : largest;
            assert_true(read_tail(&reader, slot - 10) == slot);
        }
    }
    assert_true(largest < 24 << 20);
    handle_close(&reader);
    handle_close(&handle);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(a_killed_writer_loses_nothing_acknowledged),
        TEST(objects_of_a_killed_writer_are_whole_and_its_room_is_given_back),
        TEST(two_processes_writing_flat_out_each_get_their_share),
        TEST(a_loser_that_does_not_come_back_delays_nobody_for_long),
        TEST(a_commit_of_another_process_is_heard_of),
        TEST(the_wal_stays_small_under_steady_commits_and_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
