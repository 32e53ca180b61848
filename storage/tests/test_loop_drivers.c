/* The drivers of real loops, with real clocks: every test runs on each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/runtime/loop_libevent.h"
#include "storage/runtime/loop_poll.h"
#include "storage/runtime/watch.h"

struct bench {
    struct event_base *base; /* NULL: the poll driver */
    struct st_loop *loop;
};

static void run(struct bench *bench) {
    if (bench->base != NULL) {
        event_base_dispatch(bench->base);
    } else {
        st_loop_poll_run(bench->loop);
    }
}

static void stop(struct bench *bench) {
    if (bench->base != NULL) {
        event_base_loopbreak(bench->base);
    } else {
        st_loop_poll_stop(bench->loop);
    }
}

static int set_up_libevent(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    bench->base = event_base_new();
    bench->loop = st_loop_libevent_new(bench->base);
    *state = bench;
    return bench->loop == NULL;
}

static int set_up_poll(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    bench->loop = st_loop_poll_new();
    *state = bench;
    return bench->loop == NULL;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    if (bench->base != NULL) {
        st_loop_libevent_free(bench->loop);
        event_base_free(bench->base);
    } else {
        st_loop_poll_free(bench->loop);
    }
    free(bench);
    return 0;
}

/* ---- tasks and timers ---- */

struct hops {
    struct st_task task;
    struct st_timer timer;
    struct st_watch watch;
    struct bench *bench;
    unsigned left;
    int64_t fired_ns;
};

static void hop(struct st_task *task) {
    struct hops *hops = ST_OWNER(task, struct hops, task);
    if (--hops->left > 0) {
        st_defer(hops->bench->loop, task);
    } else {
        stop(hops->bench);
    }
}

static void fire(struct st_timer *timer) {
    struct hops *hops = ST_OWNER(timer, struct hops, timer);
    hops->fired_ns = st_now_ns(hops->bench->loop);
    stop(hops->bench);
}

static void tasks_deferred_before_the_run_and_by_tasks_run(void **state) {
    struct bench *bench = *state;
    struct hops hops = {.task.fn = hop, .bench = bench, .left = 100};
    st_defer(bench->loop, &hops.task);
    run(bench);
    assert_int_equal(hops.left, 0);
}

static void timers_never_fire_early_and_not_much_late(void **state) {
    struct bench *bench = *state;
    static const int64_t delays[] = {0, 1, 300000, 1 * ST_MS, 7 * ST_MS, 40 * ST_MS};
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        struct hops hops = {.timer.fn = fire, .bench = bench};
        int64_t begin = st_now_ns(bench->loop);
        st_timer_start(bench->loop, &hops.timer, delays[i]);
        run(bench);
        assert_true(hops.fired_ns - begin >= delays[i]);
        assert_true(hops.fired_ns - begin < delays[i] + ST_SECOND); /* a busy machine is forgiven much */
    }
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

/* ---- descriptors ---- */

static void pair_open(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

static void pair_close(int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

static void read_one(struct st_watch *watch, unsigned events) {
    struct hops *hops = ST_OWNER(watch, struct hops, watch);
    char byte;
    assert_int_equal(events, ST_WATCH_READ);
    assert_int_equal(read(watch->fd, &byte, 1), 1);
    hops->left = 1; /* the next hop is the last */
}

static void tasks_that_defer_themselves_do_not_starve_descriptors(void **state) {
    struct bench *bench = *state;
    int fds[2];
    pair_open(fds);
    struct hops hops = {.task.fn = hop, .watch.ready = read_one, .bench = bench, .left = 10000000};
    assert_true(st_watch_start(bench->loop, &hops.watch, fds[0], ST_WATCH_READ));
    st_defer(bench->loop, &hops.task);
    assert_int_equal(write(fds[1], "x", 1), 1);
    run(bench);
    assert_int_equal(hops.left, 0);
    assert_int_equal(read(fds[0], &(char){0}, 1), -1);
    st_watch_stop(bench->loop, &hops.watch);
    pair_close(fds);
}

/* Counts calls, stops the loop at the third; `change` is what it does at each. */
struct seen {
    struct st_watch watch;
    struct bench *bench;
    unsigned calls, events, stop_at;
    void (*change)(struct seen *seen);
    struct seen *other;
};

static void see(struct st_watch *watch, unsigned events) {
    struct seen *seen = ST_OWNER(watch, struct seen, watch);
    seen->calls++;
    seen->events |= events;
    if (seen->change != NULL) {
        seen->change(seen);
    }
    if (seen->calls == seen->stop_at) {
        stop(seen->bench);
    }
}

static void a_watch_is_called_again_and_again_while_ready(void **state) {
    struct bench *bench = *state;
    int fds[2];
    pair_open(fds);
    struct seen seen = {.watch.ready = see, .bench = bench, .stop_at = 3};
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_true(st_watch_start(bench->loop, &seen.watch, fds[0], ST_WATCH_READ));
    run(bench);
    assert_int_equal(seen.calls, 3);
    st_watch_stop(bench->loop, &seen.watch);
    st_watch_stop(bench->loop, &seen.watch);
    assert_int_equal(seen.watch.events, 0);
    pair_close(fds);
}

static void to_writing(struct seen *seen) {
    if (seen->calls == 1) {
        assert_int_equal(seen->events, ST_WATCH_READ);
        assert_true(st_watch_start(seen->bench->loop, &seen->watch, seen->watch.fd, ST_WATCH_WRITE));
        seen->events = 0;
    }
}

static void a_watch_changes_from_reading_to_writing_in_its_own_call(void **state) {
    struct bench *bench = *state;
    int fds[2];
    pair_open(fds);
    struct seen seen = {.watch.ready = see, .bench = bench, .stop_at = 3, .change = to_writing};
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_true(st_watch_start(bench->loop, &seen.watch, fds[0], ST_WATCH_READ));
    run(bench);
    assert_int_equal(seen.events, ST_WATCH_WRITE);
    st_watch_stop(bench->loop, &seen.watch);
    pair_close(fds);
}

static void both_directions_are_told_apart(void **state) {
    struct bench *bench = *state;
    int fds[2];
    pair_open(fds);
    struct seen seen = {.watch.ready = see, .bench = bench, .stop_at = 1};
    assert_true(st_watch_start(bench->loop, &seen.watch, fds[0], ST_WATCH_READ | ST_WATCH_WRITE));
    run(bench);
    assert_int_equal(seen.events, ST_WATCH_WRITE); /* nothing to read */
    assert_int_equal(write(fds[1], "x", 1), 1);
    seen.stop_at = 2;
    run(bench);
    assert_int_equal(seen.events, ST_WATCH_READ | ST_WATCH_WRITE);
    st_watch_stop(bench->loop, &seen.watch);
    pair_close(fds);
}

static void a_peer_that_hung_up_makes_both_directions_ready(void **state) {
    struct bench *bench = *state;
    for (unsigned events = ST_WATCH_READ; events <= ST_WATCH_WRITE; events++) {
        int fds[2];
        pair_open(fds);
        struct seen seen = {.watch.ready = see, .bench = bench, .stop_at = 1};
        close(fds[1]);
        assert_true(st_watch_start(bench->loop, &seen.watch, fds[0], events));
        run(bench);
        assert_int_equal(seen.events, events);
        st_watch_stop(bench->loop, &seen.watch);
        close(fds[0]);
    }
}

static void stop_other_and_close(struct seen *seen) {
    struct seen *other = seen->other;
    if (other->watch.events != 0) {
        st_watch_stop(seen->bench->loop, &other->watch);
        close(other->watch.fd);
    }
}

static void a_watch_stopped_by_another_in_the_same_pass_is_not_called(void **state) {
    struct bench *bench = *state;
    int first[2], second[2];
    pair_open(first);
    pair_open(second);
    struct seen a = {.watch.ready = see, .bench = bench, .stop_at = 1, .change = stop_other_and_close};
    struct seen b = {.watch.ready = see, .bench = bench, .stop_at = 1, .change = stop_other_and_close, .other = &a};
    a.other = &b;
    assert_int_equal(write(first[1], "x", 1), 1);
    assert_int_equal(write(second[1], "x", 1), 1);
    assert_true(st_watch_start(bench->loop, &a.watch, first[0], ST_WATCH_READ));
    assert_true(st_watch_start(bench->loop, &b.watch, second[0], ST_WATCH_READ));
    run(bench);
    assert_int_equal(a.calls + b.calls, 1);
    assert_int_equal((a.watch.events != 0) + (b.watch.events != 0), 1);
    struct seen *left = a.calls != 0 ? &a : &b;
    st_watch_stop(bench->loop, &left->watch);
    close(left->watch.fd);
    close(first[1]);
    close(second[1]);
}

enum { MANY = 100 };

struct crowd {
    struct seen seen[MANY];
    int fds[MANY][2];
};

static void drop_self(struct seen *seen) {
    st_watch_stop(seen->bench->loop, &seen->watch);
    if (seen->other != NULL) { /* the next starts when this one goes */
        assert_true(st_watch_start(seen->bench->loop, &seen->other->watch, seen->other->watch.fd, ST_WATCH_READ));
    }
}

static void watches_come_and_go_while_others_are_called(void **state) {
    struct bench *bench = *state;
    struct crowd *crowd = calloc(1, sizeof *crowd);
    for (size_t i = 0; i < MANY; i++) {
        struct seen *seen = &crowd->seen[i];
        pair_open(crowd->fds[i]);
        assert_int_equal(write(crowd->fds[i][1], "x", 1), 1);
        *seen = (struct seen){.watch = {.ready = see, .fd = crowd->fds[i][0]}, .bench = bench, .change = drop_self};
        seen->other = i + 10 < MANY ? &crowd->seen[i + 10] : NULL;
        seen->stop_at = i == MANY - 1 ? 1 : 0;
    }
    for (size_t i = 0; i < 10; i++) {
        struct seen *seen = &crowd->seen[i];
        assert_true(st_watch_start(bench->loop, &seen->watch, seen->watch.fd, ST_WATCH_READ));
    }
    run(bench);
    unsigned calls = 0;
    for (size_t i = 0; i < MANY; i++) {
        calls += crowd->seen[i].calls;
        st_watch_stop(bench->loop, &crowd->seen[i].watch);
        pair_close(crowd->fds[i]);
    }
    assert_in_range(calls, MANY - 9, MANY); /* the last of the ten chains stops the loop, others may be a call behind */
    free(crowd);
}

/* ---- what only one of them has ---- */

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

static void a_poll_loop_with_nothing_left_ends(void **state) {
    struct bench *bench = *state;
    assert_null(st_loop_base(bench->loop));
    assert_false(st_loop_poll_run(bench->loop));
    st_loop_poll_stop(bench->loop); /* before the run: one pass */
    assert_true(st_loop_poll_run(bench->loop));
    assert_false(st_loop_poll_run(bench->loop));
}

static void a_poll_loop_stopped_beforehand_looks_at_its_descriptors_once(void **state) {
    struct bench *bench = *state;
    int fds[2];
    pair_open(fds);
    struct seen seen = {.watch.ready = see, .bench = bench};
    struct hops hops = {.task.fn = hop, .bench = bench, .left = 10};
    assert_true(st_watch_start(bench->loop, &seen.watch, fds[0], ST_WATCH_READ));
    for (unsigned i = 0; i < 3; i++) { /* without waiting, whether there is something or not */
        st_defer(bench->loop, &hops.task);
        st_loop_poll_stop(bench->loop);
        assert_true(st_loop_poll_run(bench->loop));
        assert_int_equal(seen.calls, i);
        assert_int_equal(hops.left, 10 - i - 1);
        st_defer_cancel(bench->loop, &hops.task);
        assert_int_equal(write(fds[1], "x", 1), 1);
    }
    st_watch_stop(bench->loop, &seen.watch);
    pair_close(fds);
}

static void a_loop_of_another_driver_watches_nothing(void **state) {
    struct bench *bench = *state;
    const struct st_env *real = st_loop_env(bench->loop);
    const struct st_env env = {.now_mono_ns = real->now_mono_ns, .random = real->random, .self = real->self};
    struct st_loop *loop = st_loop_new(&env);
    struct seen seen = {.watch.ready = see};
    assert_false(st_watch_start(loop, &seen.watch, 0, ST_WATCH_READ));
    assert_int_equal(seen.watch.events, 0);
    st_watch_stop(loop, &seen.watch);
    st_loop_free(loop);
}

#define POLL(name) {"poll: " #name, name, set_up_poll, tear_down, NULL}
#define LIBEVENT(name) {"libevent: " #name, name, set_up_libevent, tear_down, NULL}
#define BOTH(name) POLL(name), LIBEVENT(name)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(tasks_deferred_before_the_run_and_by_tasks_run),
        BOTH(timers_never_fire_early_and_not_much_late),
        BOTH(random_bytes_differ_and_large_requests_are_filled),
        BOTH(tasks_that_defer_themselves_do_not_starve_descriptors),
        BOTH(a_watch_is_called_again_and_again_while_ready),
        BOTH(a_watch_changes_from_reading_to_writing_in_its_own_call),
        BOTH(both_directions_are_told_apart),
        BOTH(a_peer_that_hung_up_makes_both_directions_ready),
        BOTH(a_watch_stopped_by_another_in_the_same_pass_is_not_called),
        BOTH(watches_come_and_go_while_others_are_called),
        LIBEVENT(a_task_deferred_by_a_libevent_callback_runs),
        POLL(a_poll_loop_with_nothing_left_ends),
        POLL(a_poll_loop_stopped_beforehand_looks_at_its_descriptors_once),
        POLL(a_loop_of_another_driver_watches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
