/*
 * Many writers on one topic, each an engine of its own with one request at a time, as Lambdas are. Between them and the
 * memory backend stands a table that takes 8 ms for everything, and 20 ms for one operation in fifty; in one test it
 * also does one operation at a time, so that who asks more makes it slower. Time is virtual and chance a sequence, so
 * the figures are the same in every run.
 */
#include "engine_fixture.h"

#include <stdlib.h>

/* ---- a slow table ---- */

static uint64_t chance, write_units, read_units;
static int64_t operation_ns, free_at_ns; /* what the table is busy with one operation; until when it is */
static bool near;                        /* it answers within a millisecond */
static bool stragglers;                  /* one operation in ten takes much longer */

/* One way. */
static int64_t table_ns(void) {
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    if (near) {
        return ST_MS / 5 + (int64_t)((chance >> 40) % (ST_MS / 5));
    }
    if (stragglers && (chance >> 33) % 20 == 0) {
        return 150 * ST_MS;
    }
    return (chance >> 33) % 100 == 0 ? 16 * ST_MS : 3 * ST_MS + (int64_t)((chance >> 40) % (2 * ST_MS));
}

/* From now until the table has done an operation that is sent now. */
static int64_t done_in_ns(int64_t now_ns) {
    int64_t arrives_ns = now_ns + table_ns();
    if (operation_ns == 0) {
        return arrives_ns - now_ns;
    }
    free_at_ns = (free_at_ns > arrives_ns ? free_at_ns : arrives_ns) + operation_ns;
    return free_at_ns - now_ns;
}

/* Of an item with such a body: one for each kilobyte, names and numbers included. */
static uint64_t units_of(size_t len) {
    return (len + 150 + 1023) / 1024;
}

/* Of one query that found these bytes: one for each four kilobytes, one at least. */
static uint64_t read_units_of(const struct kp_blob *found) {
    return ((found != NULL ? found->size : 0) + 4096) / 4096;
}

#define SLOW(name, type, writes, reads) \
    struct slow_##name { \
        struct st_timer timer; \
        struct gate *gate; \
        struct type *op; \
        void (*done)(struct type *op); \
    }; \
    static uint64_t name##_count; \
    static void name##_answer(struct st_timer *timer) { \
        struct slow_##name *slow = ST_OWNER(timer, struct slow_##name, timer); \
        struct type *op = slow->op; \
        op->done = slow->done; \
        free(slow); \
        op->done(op); \
    } \
    static void name##_applied(struct type *op) { \
        struct slow_##name *slow = op->backend; \
        read_units += (reads); \
        slow->timer.fn = name##_answer; \
        st_timer_start(slow->gate->loop, &slow->timer, table_ns()); \
    } \
    static void name##_arrives(struct st_timer *timer) { \
        struct slow_##name *slow = ST_OWNER(timer, struct slow_##name, timer); \
        slow->op->done = name##_applied; \
        slow->gate->inner->ops->name(slow->gate->inner, slow->op); \
    } \
    static void name##_slow(struct st_store *store, struct type *op) { \
        struct slow_##name *slow = calloc(1, sizeof *slow); \
        assert_non_null(slow); \
        *slow = (struct slow_##name){.gate = gate_of(store), .op = op, .done = op->done}; \
        slow->timer.fn = name##_arrives; \
        op->backend = slow; \
        name##_count++; \
        write_units += (writes); \
        st_timer_start(slow->gate->loop, &slow->timer, done_in_ns(st_now_ns(slow->gate->loop))); \
    }
SLOW(journal_put, st_journal_put, units_of(op->body.len), 0)
SLOW(journal_read, st_journal_read, 0, read_units_of(op->blob))
SLOW(pool_put, st_pool_put, units_of(op->body.len), 0)
SLOW(pool_read, st_pool_read, 0, read_units_of(op->blob))

static void make_slow(struct gate *gate) {
    gate->gated.journal_put = journal_put_slow;
    gate->gated.journal_read = journal_read_slow;
    gate->gated.pool_put = pool_put_slow;
    gate->gated.pool_read = pool_read_slow;
}

/* ---- writers ---- */

enum { WRITERS = 50, LATENCIES_MOST = 200000, SECONDS = 10 };

struct writer {
    struct fixture fixture;
    struct appending call;
    struct st_task next;
    int64_t begun_ns;
};

static struct clock virtual_clock;
static struct writer writers[WRITERS];
static struct kp_uuid topic;
static bool stopped;
static int64_t latencies[LATENCIES_MOST], offsets[LATENCIES_MOST];
static size_t answered;

static void writer_done(struct st_append *op) {
    struct writer *writer = ST_OWNER(op, struct writer, call.append);
    assert_int_equal(writer->call.part.error, ST_OK);
    assert_true(answered < LATENCIES_MOST);
    offsets[answered] = writer->call.part.base_offset;
    latencies[answered++] = virtual_clock.now_ns - writer->begun_ns;
    writer->call.done = 1;
    if (!stopped) {
        st_defer(writer->fixture.loop, &writer->next);
    }
}

static void writer_next(struct st_task *task) {
    struct writer *writer = ST_OWNER(task, struct writer, next);
    writer->begun_ns = virtual_clock.now_ns;
    append_begin(&writer->fixture, &writer->call, &topic, letters(200, 1000), 30000);
    writer->call.append.done = writer_done;
}

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Each reads requests of the pool that were begun at so many slots; 0: as always. */
static void start_reading(size_t count, uint32_t pool_slots) {
    struct st_engine_options options = st_engine_options_default();
    options.pool_slots = pool_slots;
    answered = 0;
    stopped = false;
    fixture_open(&writers[0].fixture, &virtual_clock, &options);
    topic = create_now(&writers[0].fixture, "hot", 1);
    for (size_t i = 0; i < count; i++) {
        struct fixture *first = &writers[0].fixture;
        if (i > 0) {
            fixture_open_on(&writers[i].fixture, &virtual_clock, first->loop, st_store_memory_share(first->gate.inner),
                            &options);
        }
        writers[i].fixture.gate.loop = first->loop;
        writers[i].next = (struct st_task){.fn = writer_next};
        make_slow(&writers[i].fixture.gate);
    }
    journal_put_count = journal_read_count = pool_put_count = pool_read_count = 0;
    write_units = read_units = 0;
    chance = 1;
    operation_ns = free_at_ns = 0;
    near = stragglers = false;
}

static void start_count(size_t count) {
    start_reading(count, 0);
}

static void stop_count(size_t count) {
    for (size_t i = count; i > 0; i--) {
        fixture_close(&writers[i - 1].fixture, i == 1);
    }
}

static void begin_writers(size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        st_defer(writers[i].fixture.loop, &writers[i].next);
    }
}

static void run_writers(size_t count) {
    begin_writers(0, count);
    run_ms(&writers[0].fixture, SECONDS * 1000);
    stopped = true;
    run_ms(&writers[0].fixture, 5000);
}

/* Nothing is there twice, nothing is lost. */
static void assert_dense(void) {
    qsort(offsets, answered, sizeof offsets[0], by_value);
    for (size_t i = 0; i < answered; i++) {
        assert_int_equal(offsets[i], i);
    }
}

static void fifty_writers_of_one_topic_get_500_requests_a_second(void **state) {
    (void)state;
    start_count(WRITERS);
    run_writers(WRITERS);
    assert_dense();
    qsort(latencies, answered, sizeof latencies[0], by_value);
    int64_t p99_ms = latencies[answered - answered / 100 - 1] / ST_MS;
    uint64_t puts = journal_put_count + pool_put_count;
    print_message("pool: %zu requests/s, p50 %lld ms, p99 %lld ms; a request: %.2f puts of entries, %.2f of requests, "
                  "%.2f reads of the journal, %.2f of the pool; %.2f write and %.2f read units\n",
                  answered / SECONDS, (long long)(latencies[answered / 2] / ST_MS), (long long)p99_ms,
                  (double)journal_put_count / (double)answered, (double)pool_put_count / (double)answered,
                  (double)journal_read_count / (double)answered, (double)pool_read_count / (double)answered,
                  (double)write_units / (double)answered, (double)read_units / (double)answered);
    assert_true(answered / SECONDS >= 1000);
    assert_true(p99_ms < 100);
    assert_true(puts < 2 * answered); /* writes per request are bounded, however many compete */
    assert_true(pool_read_count < answered / 10); /* those who are not first need not know of the others */
    assert_true(2 * write_units < 3 * answered);
    assert_true(read_units < 5 * answered);
    stop_count(WRITERS);
}

static void newcomers_to_a_long_contention_join_it(void **state) {
    (void)state;
    enum { FIRST = 12 };
    start_count(WRITERS);
    begin_writers(0, FIRST);
    run_ms(&writers[0].fixture, 30000); /* more entries than one read brings to those who begin now */
    size_t before = answered;
    read_units = 0;
    begin_writers(FIRST, WRITERS);
    run_ms(&writers[0].fixture, SECONDS * 1000);
    size_t after = answered - before;
    stopped = true;
    run_ms(&writers[0].fixture, 5000);
    print_message("pool: %zu requests/s with newcomers, %.2f read units each\n", after / SECONDS,
                  (double)read_units / (double)after);
    assert_true(after / SECONDS >= 500);
    assert_true(read_units < 10 * after);
    stop_count(WRITERS);
}

static void a_table_that_is_slow_under_load_is_not_asked_more(void **state) {
    (void)state;
    start_count(WRITERS);
    operation_ns = ST_MS; /* fifty requests and fifty looks at their entry take it 100 ms */
    run_writers(WRITERS);
    print_message("pool: %zu requests/s of a table that does 1000 operations/s\n", answered / SECONDS);
    assert_true(answered / SECONDS >= 350);
    stop_count(WRITERS);
}

static void who_was_passed_over_puts_its_request_again_and_is_served_once(void **state) {
    (void)state;
    start_reading(WRITERS, 64); /* so both copies are found */
    stragglers = true;
    run_writers(WRITERS);
    print_message("pool: %zu requests/s where some are passed over; %.2f puts each\n", answered / SECONDS,
                  (double)pool_put_count / (double)answered);
    assert_dense();
    assert_true(pool_put_count > answered + answered / 50);
    stop_count(WRITERS);
}

static void who_waits_is_not_shut_out_by_those_who_never_pause(void **state) {
    (void)state;
    enum { RACERS = 2, WAITING = 3 };
    int64_t worst_ns = 0;
    start_count(RACERS + WAITING);
    near = true;
    begin_writers(0, RACERS);
    for (int turn = 0; turn < 20; turn++) {
        struct appending calls[WAITING];
        int64_t begun_ns = virtual_clock.now_ns;
        for (size_t i = 0; i < WAITING; i++) {
            append_begin(&writers[RACERS + i].fixture, &calls[i], &topic, letters(200, 1000), 30000);
        }
        while (calls[0].done + calls[1].done + calls[2].done < WAITING) { /* each has a deadline */
            run_ms(&writers[0].fixture, 5);
        }
        for (size_t i = 0; i < WAITING; i++) {
            assert_int_equal(calls[i].part.error, ST_OK);
        }
        int64_t took_ns = virtual_clock.now_ns - begun_ns;
        worst_ns = took_ns > worst_ns ? took_ns : worst_ns;
        run_ms(&writers[0].fixture, 1000);
    }
    stopped = true;
    run_ms(&writers[0].fixture, 5000);
    print_message("pool: beside those who never pause %lld ms at most\n", (long long)(worst_ns / ST_MS));
    assert_true(worst_ns < ST_SECOND);
    stop_count(RACERS + WAITING);
}

static void a_writer_alone_puts_nothing_into_the_pool(void **state) {
    (void)state;
    start_count(1);
    run_writers(1);
    assert_true(answered >= SECONDS * 1000 / 10);
    assert_int_equal(journal_put_count, answered);
    assert_int_equal(pool_put_count, 0);
    assert_true(pool_read_count <= answered / 8); /* for those whom it might shut out */
    stop_count(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_alone_puts_nothing_into_the_pool),
        cmocka_unit_test(fifty_writers_of_one_topic_get_500_requests_a_second),
        cmocka_unit_test(who_was_passed_over_puts_its_request_again_and_is_served_once),
        cmocka_unit_test(who_waits_is_not_shut_out_by_those_who_never_pause),
        cmocka_unit_test(newcomers_to_a_long_contention_join_it),
        cmocka_unit_test(a_table_that_is_slow_under_load_is_not_asked_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
