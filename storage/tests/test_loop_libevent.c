/* The libevent driver, with real clocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/runtime/loop_libevent.h"

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

struct hops {
    struct st_task task;
    struct st_timer timer;
    struct bench *bench;
    unsigned left;
    int64_t started_ns, fired_ns;
};

static void hop(struct st_task *task) {
    struct hops *hops = ST_OWNER(task, struct hops, task);
    if (--hops->left > 0) {
        st_defer(hops->bench->loop, task);
    } else {
        event_base_loopbreak(hops->bench->base);
    }
}

static void fire(struct st_timer *timer) {
    struct hops *hops = ST_OWNER(timer, struct hops, timer);
    hops->fired_ns = st_now_ns(hops->bench->loop);
    event_base_loopbreak(hops->bench->base);
}

static void tasks_deferred_before_dispatch_and_by_tasks_run(void **state) {
    struct bench *bench = *state;
    struct hops hops = {.task.fn = hop, .bench = bench, .left = 100};
    st_defer(bench->loop, &hops.task);
    event_base_dispatch(bench->base);
    assert_int_equal(hops.left, 0);
}

static void timers_never_fire_early_and_not_much_late(void **state) {
    struct bench *bench = *state;
    static const int64_t delays[] = {0, 1, 300000, 1 * ST_MS, 7 * ST_MS, 40 * ST_MS};
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        struct hops hops = {.timer.fn = fire, .bench = bench};
        int64_t begin = st_now_ns(bench->loop);
        st_timer_start(bench->loop, &hops.timer, delays[i]);
        event_base_dispatch(bench->base);
        assert_true(hops.fired_ns - begin >= delays[i]);
        assert_true(hops.fired_ns - begin < delays[i] + ST_SECOND); /* a busy machine is forgiven much */
    }
}

static void pipe_ready(evutil_socket_t fd, short what, void *arg) {
    struct hops *hops = arg;
    char byte;
    (void)what;
    assert_int_equal(read(fd, &byte, 1), 1);
    hops->left = 1; /* the next hop is the last */
}

static void tasks_that_defer_themselves_do_not_starve_sockets(void **state) {
    struct bench *bench = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct hops hops = {.task.fn = hop, .bench = bench, .left = 10000000};
    struct event *readable = event_new(bench->base, fds[0], EV_READ, pipe_ready, &hops);
    event_add(readable, NULL);
    st_defer(bench->loop, &hops.task);
    assert_int_equal(write(fds[1], "x", 1), 1);
    event_base_dispatch(bench->base);
    assert_int_equal(hops.left, 0);
    assert_false(event_pending(readable, EV_READ, NULL));
    event_free(readable);
    close(fds[0]);
    close(fds[1]);
}

static void defer_later(evutil_socket_t fd, short what, void *arg) {
    struct hops *hops = arg;
    (void)fd;
    (void)what;
    st_defer(hops->bench->loop, &hops->task);
}

static void a_task_deferred_by_a_libevent_callback_runs(void **state) {
    struct bench *bench = *state;
    struct hops hops = {.task.fn = hop, .bench = bench, .left = 1};
    const struct timeval soon = {0, 1000};
    event_base_once(bench->base, -1, EV_TIMEOUT, defer_later, &hops, &soon);
    event_base_dispatch(bench->base);
    assert_int_equal(hops.left, 0);
}

static void random_bytes_differ_and_large_requests_are_filled(void **state) {
    struct bench *bench = *state;
    uint64_t seen[300];
    for (size_t i = 0; i < 300; i++) {
        seen[i] = st_random_u64(bench->loop);
        for (size_t j = 0; j < i; j++) {
            assert_true(seen[i] != seen[j]);
        }
    }
    uint8_t large[5000];
    memset(large, 0, sizeof large);
    st_random(bench->loop, large, sizeof large);
    unsigned zeros = 0;
    for (size_t i = 0; i < sizeof large; i++) {
        zeros += large[i] == 0;
    }
    assert_true(zeros < 200);
    assert_true(st_now_wall_ms(bench->loop) > INT64_C(1700000000000));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(tasks_deferred_before_dispatch_and_by_tasks_run),
        TEST(timers_never_fire_early_and_not_much_late),
        TEST(tasks_that_defer_themselves_do_not_starve_sockets),
        TEST(a_task_deferred_by_a_libevent_callback_runs),
        TEST(random_bytes_differ_and_large_requests_are_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
