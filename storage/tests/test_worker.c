/* Worker threads beside a loop on libevent, as the gateway runs them. Also run under ThreadSanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/runtime/loop_libevent.h"
#include "storage/runtime/worker.h"

struct bench {
    struct event_base *base;
    struct st_loop *loop;
};

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    bench->base = event_base_new();
    bench->loop = st_loop_libevent_new(bench->base);
    *state = bench;
    return bench->loop == NULL;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    st_loop_libevent_free(bench->loop);
    event_base_free(bench->base);
    free(bench);
    return 0;
}

struct square {
    struct st_job job;
    struct bench *bench;
    uint64_t number, result;
    pthread_t worked_on;
    unsigned done_count, *left;
    struct st_workers *workers; /* submit once more from done when not NULL */
};

static void square_work(struct st_job *job) {
    struct square *square = ST_OWNER(job, struct square, job);
    square->result = square->number * square->number;
    square->worked_on = pthread_self();
}

static void square_done(struct st_job *job) {
    struct square *square = ST_OWNER(job, struct square, job);
    assert_true(square->result == square->number * square->number);
    square->done_count++;
    if (square->workers != NULL) {
        struct st_workers *workers = square->workers;
        square->workers = NULL;
        square->number++;
        st_workers_submit(workers, job);
        return;
    }
    if (--*square->left == 0) {
        event_base_loopbreak(square->bench->base);
    }
}

static void every_job_is_done_once_on_the_loop_thread(void **state) {
    enum { COUNT = 5000 };
    struct bench *bench = *state;
    struct st_workers *workers = st_workers_new(bench->loop, "test-worker", 3);
    struct square *squares = calloc(COUNT, sizeof *squares);
    unsigned left = COUNT;
    for (unsigned i = 0; i < COUNT; i++) {
        squares[i].job.work = square_work;
        squares[i].job.done = square_done;
        squares[i].bench = bench;
        squares[i].number = i;
        squares[i].left = &left;
        st_workers_submit(workers, &squares[i].job);
    }
    event_base_dispatch(bench->base);
    assert_int_equal(left, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(squares[i].done_count, 1);
        assert_false(pthread_equal(squares[i].worked_on, pthread_self()));
    }
    st_workers_free(workers);
    free(squares);
}

static void free_finishes_what_is_queued_and_what_done_functions_submit(void **state) {
    enum { COUNT = 200 };
    struct bench *bench = *state;
    struct st_workers *workers = st_workers_new(bench->loop, "a name longer than fifteen bytes", 1);
    struct square squares[COUNT];
    unsigned left = COUNT;
    memset(squares, 0, sizeof squares);
    for (unsigned i = 0; i < COUNT; i++) {
        squares[i] = (struct square){.job = {square_work, square_done, NULL},
                                     .bench = bench, .number = i, .left = &left, .workers = workers};
    }
    for (unsigned i = 0; i < COUNT; i++) {
        st_workers_submit(workers, &squares[i].job);
    }
    st_workers_free(workers);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(squares[i].number, i + 1);
        assert_int_equal(squares[i].done_count, 2);
    }
}

static int64_t no_clock(void *self) {
    (void)self;
    return 0;
}

static void no_random(void *self, void *bytes, size_t len) {
    (void)self;
    memset(bytes, 0, len);
}

static void a_loop_of_another_driver_gets_no_workers(void **state) {
    (void)state;
    const struct st_env env = {.now_mono_ns = no_clock, .now_wall_ms = no_clock, .random = no_random};
    struct st_loop *loop = st_loop_new(&env);
    assert_null(st_loop_base(loop));
    assert_null(st_workers_new(loop, "none", 1));
    st_loop_free(loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_job_is_done_once_on_the_loop_thread),
        TEST(free_finishes_what_is_queued_and_what_done_functions_submit),
        TEST(a_loop_of_another_driver_gets_no_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
