/*
 * Reads that find nothing, answered from memory (ends.h): that they are, and that a commit which was acknowledged to
 * anybody is never overlooked.
 */
#include "storage/tests/local_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storage/backends/local/ends.h"
#include "storage/runtime/metrics.h"

/* ---- marks and ends, on an index of the test's own ---- */

#define INDEX_WORDS (2 * ST_WAL_MARK_WORDS)

static void index_set(uint32_t *index, uint32_t commits, uint32_t frames, uint32_t salt) {
    const uint32_t words[ST_WAL_MARK_WORDS] = {3007000, 0, commits, 1, frames, 9, 7 * commits, 0, salt, salt};
    memcpy(index, words, sizeof words);
    memcpy(index + ST_WAL_MARK_WORDS, words, sizeof words);
}

static void a_header_that_tells_nothing_is_no_mark(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_wal_mark mark;
    (void)state;
    assert_false(st_wal_mark_take(NULL, &mark));
    index_set(index, 1, 3, 5);
    assert_true(st_wal_mark_take(index, &mark));
    assert_true(st_wal_mark_stands(index, &mark));
    assert_false(st_wal_mark_stands(NULL, &mark));
    index_set(index, 1, 0, 5); /* an empty WAL */
    assert_false(st_wal_mark_take(index, &mark));
    index_set(index, 1, 3, 5);
    index[0] = index[ST_WAL_MARK_WORDS] = 3007001; /* of another version */
    assert_false(st_wal_mark_take(index, &mark));
    memset(index, 0, sizeof index);
    assert_false(st_wal_mark_take(index, &mark));
}

static void a_header_that_is_being_written_is_no_mark_and_ends_the_one_before(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_wal_mark mark, torn;
    (void)state;
    for (unsigned word = 0; word < INDEX_WORDS; word++) {
        index_set(index, 1, 3, 5);
        assert_true(st_wal_mark_take(index, &mark));
        index[word]++;
        assert_false(st_wal_mark_take(index, &torn));
        assert_int_equal(st_wal_mark_stands(index, &mark), word >= ST_WAL_MARK_WORDS);
    }
}

static struct st_news read_news(const uint32_t *index, uint32_t journal, uint64_t end) {
    struct st_news news = {.kind = ST_NEWS_READ, .journal = journal, .end = end};
    assert_true(st_wal_mark_take(index, &news.before));
    news.after = news.before;
    return news;
}

/* A commit that takes the index one further. */
static struct st_news commit_news(uint32_t *index, uint32_t journal, uint64_t slot) {
    struct st_news news = {.kind = ST_NEWS_COMMIT, .journal = journal, .slot = slot};
    assert_true(st_wal_mark_take(index, &news.before));
    index_set(index, index[2] + 1, index[4] + 2, index[8]);
    assert_true(st_wal_mark_take(index, &news.after));
    assert_true(st_wal_mark_follows(&news.after, &news.before));
    return news;
}

static void nothing_is_known_before_the_first_news(void **state) {
    uint32_t index[INDEX_WORDS] = {0}; /* as an all-zero mark would have it */
    struct st_ends ends = {.index = index};
    (void)state;
    assert_false(st_ends_at(&ends, 0, 1));
    assert_false(st_ends_at(&ends, 0, UINT64_MAX));
    ends.index = NULL;
    assert_false(st_ends_at(&ends, 0, 1));
}

static void a_read_tells_of_its_journal_until_the_next_commit(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_ends ends = {.index = index};
    (void)state;
    index_set(index, 4, 9, 5);
    struct st_news news = read_news(index, 1, 7);
    st_ends_learn(&ends, &news);
    assert_true(st_ends_at(&ends, 1, 7));
    assert_true(st_ends_at(&ends, 1, 8));
    assert_false(st_ends_at(&ends, 1, 6));
    assert_false(st_ends_at(&ends, 0, 7));
    news = read_news(index, 1, 9); /* true as well, but says less */
    st_ends_learn(&ends, &news);
    assert_true(st_ends_at(&ends, 1, 7));
    commit_news(index, 0, 1); /* which we hear nothing of */
    assert_false(st_ends_at(&ends, 1, 7));
    assert_false(st_ends_at(&ends, 1, UINT64_MAX));
}

static void own_commits_take_the_knowledge_along(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_ends ends = {.index = index};
    (void)state;
    index_set(index, 4, 9, 5);
    struct st_news news = read_news(index, 0, 7);
    st_ends_learn(&ends, &news);
    news = read_news(index, 1, 3);
    st_ends_learn(&ends, &news);
    news = commit_news(index, 0, 7);
    assert_false(st_ends_at(&ends, 0, 8)); /* not heard of yet */
    st_ends_learn(&ends, &news);
    assert_true(st_ends_at(&ends, 0, 8));
    assert_false(st_ends_at(&ends, 0, 7));
    assert_true(st_ends_at(&ends, 1, 3));
    news = commit_news(index, 0, 0); /* not of an entry */
    st_ends_learn(&ends, &news);
    assert_true(st_ends_at(&ends, 0, 8));
    news = commit_news(index, 0, 20); /* slots need not be dense */
    st_ends_learn(&ends, &news);
    news = commit_news(index, 0, 10);
    st_ends_learn(&ends, &news);
    assert_false(st_ends_at(&ends, 0, 11));
    assert_true(st_ends_at(&ends, 0, 21));
    news = commit_news(index, 2, 5); /* of a journal that nobody has read */
    st_ends_learn(&ends, &news);
    assert_false(st_ends_at(&ends, 2, 6));
    assert_true(st_ends_at(&ends, 1, 3));
}

static void news_of_the_past_are_ignored(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_ends ends = {.index = index};
    (void)state;
    index_set(index, 4, 9, 5);
    struct st_news old_read = read_news(index, 0, 7);
    struct st_news old_commit = commit_news(index, 0, 7);
    struct st_news read = read_news(index, 0, 8);
    st_ends_learn(&ends, &read);
    st_ends_learn(&ends, &old_commit);
    st_ends_learn(&ends, &old_read);
    assert_true(st_ends_at(&ends, 0, 8));
    assert_false(st_ends_at(&ends, 0, 7));
    /* A commit behind one of another process is no link to what was known before that one. */
    commit_news(index, 0, 8);
    struct st_news commit = commit_news(index, 0, 9);
    st_ends_learn(&ends, &commit);
    assert_false(st_ends_at(&ends, 0, 10));
    assert_false(st_ends_at(&ends, 0, UINT64_MAX));
}

static void the_journals_read_last_are_remembered(void **state) {
    uint32_t index[INDEX_WORDS];
    struct st_ends ends = {.index = index};
    (void)state;
    index_set(index, 4, 9, 5);
    for (uint32_t journal = 0; journal < 3 * ST_ENDS_JOURNALS; journal++) {
        struct st_news news = read_news(index, journal, journal + 1);
        st_ends_learn(&ends, &news);
        for (uint32_t other = 0; other <= journal; other++) {
            assert_int_equal(st_ends_at(&ends, other, other + 1), other + ST_ENDS_JOURNALS > journal);
        }
    }
}

/* ---- one handle ---- */

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

static uint64_t looks(void) {
    return st_metrics.journal_looks_total;
}

static size_t read_count(struct handle *handle, uint32_t journal, uint64_t from) {
    struct st_journal_read op = {.journal = journal, .from = from, .max_bytes = 1, .done = journal_read_done};
    WAIT_FOR(handle, journal_read, &op);
    assert_int_equal(op.error, ST_OK);
    assert_true(op.date_ms > 1600000000000);
    assert_true(op.count > 0 || (op.at_end && op.blob == NULL));
    size_t count = op.count;
    kp_blob_unref(op.blob);
    free(op.entries);
    return count;
}

static void put_ok(struct handle *handle, uint64_t slot) {
    assert_int_equal(put_entry(handle, slot, &slot, sizeof slot), ST_OK);
}

static void reads_without_news_do_not_reach_a_thread(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    put_ok(&handle, 1);
    assert_int_equal(read_count(&handle, 0, 2), 0);
    uint64_t before = looks();
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(read_count(&handle, 0, 2 + i % 2), 0);
    }
    assert_int_equal(looks() - before, 1000);
    assert_int_equal(read_count(&handle, 0, 1), 1); /* there is something */
    assert_int_equal(looks() - before, 1000);
    handle_close(&handle);
}

static void reads_behind_own_commits_do_not_reach_a_thread(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    put_ok(&handle, 1);
    assert_int_equal(read_count(&handle, 0, 2), 0);
    uint64_t before = looks();
    for (uint64_t slot = 2; slot < 50; slot++) {
        put_ok(&handle, slot);
        assert_int_equal(read_count(&handle, 0, slot), 1);
        assert_int_equal(read_count(&handle, 0, slot + 1), 0);
    }
    assert_int_equal(looks() - before, 48);
    handle_close(&handle);
}

static void nothing_written_out_of_order_is_overlooked(void **state) {
    struct handle handle;
    handle_open(&handle, *state);
    put_ok(&handle, 9);
    put_ok(&handle, 3); /* a gap is nobody's business here */
    assert_int_equal(read_count(&handle, 0, 4), 1);
    assert_int_equal(read_count(&handle, 0, 10), 0);
    put_ok(&handle, 5);
    assert_int_equal(read_count(&handle, 0, 6), 1);
    assert_int_equal(put_entry(&handle, 9, "", 0), ST_TAKEN);
    assert_int_equal(read_count(&handle, 0, 9), 1);
    assert_int_equal(read_count(&handle, 0, 10), 0);
    handle_close(&handle);
}

static void two_handles_of_one_process_see_each_other(void **state) {
    struct handle one, other;
    handle_open(&one, *state);
    handle_open(&other, *state);
    for (uint64_t slot = 1; slot < 100; slot += 2) {
        put_ok(&one, slot);
        assert_int_equal(read_count(&other, 0, slot), 1);
        assert_int_equal(read_count(&other, 0, slot + 1), 0);
        put_ok(&other, slot + 1);
        assert_int_equal(read_count(&one, 0, slot + 1), 1);
        assert_int_equal(read_count(&one, 0, slot + 2), 0);
    }
    handle_close(&other);
    put_ok(&one, 101);
    assert_int_equal(read_count(&one, 0, 101), 1);
    handle_close(&one);
}

struct closing {
    struct st_journal_read reads[3];
    unsigned answered;
    bool closed;
};

static void closing_read_done(struct st_journal_read *op) {
    struct closing *closing = (struct closing *)(void *)(op - op->from + 2);
    assert_false(closing->closed);
    assert_int_equal(op->from, closing->answered + 2); /* in order */
    assert_true(op->at_end);
    closing->answered++;
}

static void closing_closed(void *arg) {
    struct closing *closing = arg;
    assert_int_equal(closing->answered, 3);
    closing->closed = true;
}

static void answers_from_memory_come_later_in_order_and_before_the_end(void **state) {
    struct handle handle;
    struct closing closing = {0};
    handle_open(&handle, *state);
    put_ok(&handle, 1);
    assert_int_equal(read_count(&handle, 0, 2), 0);
    uint64_t before = looks();
    for (unsigned i = 0; i < 3; i++) {
        closing.reads[i] = (struct st_journal_read){.from = 2 + i, .max_bytes = 1, .done = closing_read_done};
        handle.store->ops->journal_read(handle.store, &closing.reads[i]);
    }
    assert_int_equal(looks() - before, 3);
    assert_int_equal(closing.answered, 0);
    handle.store->ops->close(handle.store, closing_closed, &closing);
    while (!closing.closed) {
        event_base_loop(handle.base, EVLOOP_ONCE);
    }
    st_loop_libevent_free(handle.loop);
    event_base_free(handle.base);
}

/* ---- two processes ---- */

struct child {
    pid_t pid;
    int to, from; /* pipes */
};

/* Runs fn in a new process, before this one has threads. */
static struct child fork_child(void (*fn)(const char *directory, int from, int to), const char *directory) {
    int down[2], up[2];
    assert_true(pipe(down) == 0 && pipe(up) == 0);
    fflush(NULL);
    struct child child = {.pid = fork(), .to = down[1], .from = up[0]};
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        close(down[1]);
        close(up[0]);
        fn(directory, down[0], up[1]);
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    return child;
}

static void child_end(struct child child) {
    int status;
    close(child.to);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(child.from);
}

/* Commits the slots that it is told, and says so. */
static void commit_as_told(const char *directory, int from, int to) {
    struct handle handle;
    uint64_t slot;
    if (read(from, &slot, sizeof slot) != sizeof slot) {
        _exit(1);
    }
    handle_open(&handle, directory);
    do {
        if (put_entry(&handle, slot, &slot, sizeof slot) != ST_OK || write(to, "", 1) != 1) {
            _exit(1);
        }
    } while (read(from, &slot, sizeof slot) == sizeof slot);
    handle_close(&handle);
}

static void tell(struct child child, uint64_t slot) {
    assert_int_equal(write(child.to, &slot, sizeof slot), sizeof slot);
}

static bool acknowledged(struct child child) {
    char byte;
    ssize_t got = read(child.from, &byte, 1);
    assert_true(got == 1 || (got < 0 && errno == EAGAIN));
    return got == 1;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define ROUNDS 20000
#define ROUNDS_MS 3000

/* On a file system without a disk when there is one, for the sake of many rounds: nothing here depends on a disk. */
static void make_quick_scratch(char directory[SCRATCH_PATH_MAX]) {
    snprintf(directory, SCRATCH_PATH_MAX, "/dev/shm/store-test-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        scratch_make(directory);
    }
}

/* The other process commits odd slots, this one even ones; this one looks all the time, while the other is at it. */
static void a_commit_that_another_process_acknowledged_is_always_seen(void **state) {
    char directory[SCRATCH_PATH_MAX];
    struct handle handle;
    uint64_t slot = 1, early = 0;
    (void)state;
    make_quick_scratch(directory);
    struct child child = fork_child(commit_as_told, directory);
    handle_open(&handle, directory);
    assert_int_equal(fcntl(child.from, F_SETFL, O_NONBLOCK), 0);
    uint64_t before = looks();
    for (int64_t end = now_ms() + ROUNDS_MS; slot < 2 * ROUNDS && now_ms() < end; slot += 2) {
        bool seen = false;
        tell(child, slot);
        while (!acknowledged(child)) {
            seen = seen || read_count(&handle, 0, slot) > 0;
        }
        early += seen;
        assert_int_equal(read_count(&handle, 0, slot), 1);
        assert_int_equal(read_count(&handle, 0, slot + 1), 0);
        put_ok(&handle, slot + 1);
        assert_int_equal(read_count(&handle, 0, slot + 1), 1);
    }
    print_message("%llu rounds, %llu seen before they were acknowledged, %llu looks\n", (unsigned long long)slot / 2,
                  (unsigned long long)early, (unsigned long long)(looks() - before));
    assert_true(slot > 100);
    assert_true(looks() - before > slot); /* it was memory that was tested */
    child_end(child);
    handle_close(&handle);
    scratch_remove(directory);
}

/* Spoils the first copy of the header when told so, as if killed in writing it. */
static void spoil_index(const char *directory, int from, int to) {
    char path[2 * SCRATCH_PATH_MAX];
    uint64_t word;
    snprintf(path, sizeof path, "%s/store.db-shm", directory);
    while (read(from, &word, sizeof word) == sizeof word) {
        uint32_t value;
        int fd = open(path, O_RDWR);
        if (fd < 0 || pread(fd, &value, sizeof value, (off_t)(4 * word)) != sizeof value) {
            _exit(1);
        }
        value ^= 0x10;
        if (pwrite(fd, &value, sizeof value, (off_t)(4 * word)) != sizeof value || write(to, "", 1) != 1) {
            _exit(1);
        }
        close(fd);
    }
}

static void an_index_that_was_recovered_is_known_anew(void **state) {
    struct handle handle;
    struct child spoiler = fork_child(spoil_index, *state);
    struct child committer = fork_child(commit_as_told, *state);
    uint64_t slot = 1;
    handle_open(&handle, *state);
    for (unsigned word = 0; word < 2 * ST_WAL_MARK_WORDS; word++) {
        put_ok(&handle, slot++);
        assert_int_equal(read_count(&handle, 0, slot), 0);
        tell(spoiler, word);
        assert_true(acknowledged(spoiler));
        assert_int_equal(read_count(&handle, 0, slot), 0);
        assert_int_equal(read_count(&handle, 0, slot - 1), 1);
        assert_int_equal(read_count(&handle, 0, slot), 0);
        uint64_t before = looks();
        assert_int_equal(read_count(&handle, 0, slot), 0);
        assert_int_equal(looks() - before, 1);
        tell(committer, slot);
        assert_true(acknowledged(committer));
        assert_int_equal(read_count(&handle, 0, slot++), 1);
    }
    child_end(committer); /* first: it has the other's pipe as well */
    child_end(spoiler);
    handle_close(&handle);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_that_tells_nothing_is_no_mark),
        cmocka_unit_test(a_header_that_is_being_written_is_no_mark_and_ends_the_one_before),
        cmocka_unit_test(nothing_is_known_before_the_first_news),
        cmocka_unit_test(a_read_tells_of_its_journal_until_the_next_commit),
        cmocka_unit_test(own_commits_take_the_knowledge_along),
        cmocka_unit_test(news_of_the_past_are_ignored),
        cmocka_unit_test(the_journals_read_last_are_remembered),
        TEST(reads_without_news_do_not_reach_a_thread),
        TEST(reads_behind_own_commits_do_not_reach_a_thread),
        TEST(nothing_written_out_of_order_is_overlooked),
        TEST(two_handles_of_one_process_see_each_other),
        TEST(answers_from_memory_come_later_in_order_and_before_the_end),
        cmocka_unit_test(a_commit_that_another_process_acknowledged_is_always_seen),
        TEST(an_index_that_was_recovered_is_known_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
