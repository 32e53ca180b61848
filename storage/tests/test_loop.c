/* The order in which a loop runs tasks and timers, under a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/runtime/loop.h"

struct bench {
    int64_t now, woken_at;
    unsigned wakes;
    struct st_loop *loop;
    char ran[64]; /* names of what ran, in order */
    size_t ran_count;
};

struct named_timer {
    struct st_timer timer;
    struct bench *bench;
    char name;
    int64_t again; /* restart with this delay when >= 0 */
};

struct named_task {
    struct st_task task;
    struct bench *bench;
    char name;
    bool again;
    struct st_task *cancels;
};

static int64_t now_mono(void *self) {
    return ((struct bench *)self)->now;
}

static int64_t now_wall(void *self) {
    return 1000 + ((struct bench *)self)->now / ST_MS;
}

static void random_fill(void *self, void *bytes, size_t len) {
    (void)self;
    memset(bytes, 7, len);
}

static void wake_at(void *self, int64_t due) {
    struct bench *bench = self;
    bench->woken_at = due;
    bench->wakes++;
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    const struct st_env env = {now_mono, now_wall, random_fill, wake_at, NULL, bench};
    bench->loop = st_loop_new(&env);
    bench->woken_at = ST_NEVER;
    *state = bench;
    return bench->loop == NULL;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    st_loop_free(bench->loop);
    free(bench);
    return 0;
}

static void note(struct bench *bench, char name) {
    assert_true(bench->ran_count + 1 < sizeof bench->ran);
    bench->ran[bench->ran_count++] = name;
    bench->ran[bench->ran_count] = '\0';
}

static void timer_ran(struct st_timer *timer) {
    struct named_timer *named = ST_OWNER(timer, struct named_timer, timer);
    assert_int_equal(timer->heap_index, 0);
    note(named->bench, named->name);
    if (named->again >= 0) {
        st_timer_start(named->bench->loop, timer, named->again);
    }
}

static void task_ran(struct st_task *task) {
    struct named_task *named = ST_OWNER(task, struct named_task, task);
    assert_false(task->queued);
    note(named->bench, named->name);
    if (named->again) {
        st_defer(named->bench->loop, task);
    }
    if (named->cancels != NULL) {
        st_defer_cancel(named->bench->loop, named->cancels);
    }
}

static struct named_timer timer_of(struct bench *bench, char name) {
    return (struct named_timer){.timer.fn = timer_ran, .bench = bench, .name = name, .again = -1};
}

static struct named_task task_of(struct bench *bench, char name) {
    return (struct named_task){.task.fn = task_ran, .bench = bench, .name = name};
}

static void timers_run_in_the_order_of_their_due_times_and_ties_in_the_order_of_their_start(void **state) {
    struct bench *bench = *state;
    struct named_timer a = timer_of(bench, 'a'), b = timer_of(bench, 'b'), c = timer_of(bench, 'c'),
                       d = timer_of(bench, 'd');
    st_timer_start(bench->loop, &a.timer, 30);
    st_timer_start(bench->loop, &b.timer, 10);
    st_timer_start(bench->loop, &c.timer, 30);
    st_timer_start(bench->loop, &d.timer, 31);
    bench->now = 9;
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "");
    assert_int_equal(st_loop_due(bench->loop), 10);
    bench->now = 30;
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "bac");
    assert_int_equal(st_loop_due(bench->loop), 31);
    st_timer_stop(bench->loop, &d.timer); /* the loop outlives this function, on whose stack it lies */
}

static void a_restarted_timer_runs_once_at_its_new_time_and_a_stopped_one_never(void **state) {
    struct bench *bench = *state;
    struct named_timer a = timer_of(bench, 'a'), b = timer_of(bench, 'b');
    st_timer_start(bench->loop, &a.timer, 10);
    st_timer_start(bench->loop, &b.timer, 10);
    st_timer_start(bench->loop, &a.timer, 20);
    st_timer_stop(bench->loop, &b.timer);
    st_timer_stop(bench->loop, &b.timer);
    bench->now = 15;
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "");
    bench->now = 50;
    st_loop_run_due(bench->loop);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "a");
    assert_int_equal(st_loop_due(bench->loop), ST_NEVER);
}

static void a_thousand_timers_started_and_stopped_at_random_run_in_order(void **state) {
    enum { COUNT = 1000 };
    struct bench *bench = *state;
    static struct named_timer timers[COUNT];
    uint64_t seed = 42;
    for (int i = 0; i < COUNT; i++) {
        timers[i] = timer_of(bench, 'x');
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        st_timer_start(bench->loop, &timers[i].timer, (int64_t)(seed >> 54));
    }
    int stopped = 0;
    for (int i = 0; i < COUNT; i += 3, stopped++) {
        st_timer_stop(bench->loop, &timers[i].timer);
    }
    int ran = 0;
    for (int64_t due; (due = st_loop_due(bench->loop)) != ST_NEVER;) {
        assert_true(due > bench->now || bench->now == 0);
        bench->now = due;
        bench->ran_count = 0;
        st_loop_run_due(bench->loop);
        assert_true(bench->ran_count > 0);
        ran += (int)bench->ran_count;
    }
    assert_int_equal(ran, COUNT - stopped);
}

static void a_timer_that_starts_itself_without_delay_runs_once_a_run(void **state) {
    struct bench *bench = *state;
    struct named_timer a = timer_of(bench, 'a');
    a.again = 0;
    st_timer_start(bench->loop, &a.timer, 0);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "a");
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "aa");
    st_timer_stop(bench->loop, &a.timer);
}

static void tasks_run_before_timers_and_in_the_order_queued(void **state) {
    struct bench *bench = *state;
    struct named_timer t = timer_of(bench, 't');
    struct named_task a = task_of(bench, 'a'), b = task_of(bench, 'b');
    st_timer_start(bench->loop, &t.timer, 0);
    st_defer(bench->loop, &a.task);
    st_defer(bench->loop, &b.task);
    st_defer(bench->loop, &a.task);
    assert_int_equal(st_loop_due(bench->loop), 0);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "abt");
}

static void a_task_queued_while_tasks_run_waits_for_the_next_run(void **state) {
    struct bench *bench = *state;
    struct named_task a = task_of(bench, 'a'), b = task_of(bench, 'b');
    a.again = true;
    st_defer(bench->loop, &a.task);
    st_defer(bench->loop, &b.task);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "ab");
    assert_int_equal(bench->woken_at, 0);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "aba");
    st_defer_cancel(bench->loop, &a.task);
}

static void a_cancelled_task_does_not_run_wherever_it_stands(void **state) {
    struct bench *bench = *state;
    struct named_task a = task_of(bench, 'a'), b = task_of(bench, 'b'), c = task_of(bench, 'c'),
                      d = task_of(bench, 'd');
    st_defer(bench->loop, &a.task);
    st_defer(bench->loop, &b.task);
    st_defer(bench->loop, &c.task);
    st_defer_cancel(bench->loop, &c.task); /* the last one: the next must not hang on it */
    st_defer(bench->loop, &d.task);
    a.cancels = &b.task; /* while it stands in the run that is under way */
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "ad");
    st_defer_cancel(bench->loop, &a.task);
    st_defer(bench->loop, &b.task);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "adb");
}

static void the_driver_is_told_only_of_earlier_wishes_and_once_after_each_run(void **state) {
    struct bench *bench = *state;
    struct named_timer a = timer_of(bench, 'a'), b = timer_of(bench, 'b');
    struct named_task t = task_of(bench, 't'), u = task_of(bench, 'u');
    st_timer_start(bench->loop, &a.timer, 100);
    assert_int_equal(bench->woken_at, 100);
    st_timer_start(bench->loop, &b.timer, 200);
    assert_int_equal(bench->wakes, 1);
    st_defer(bench->loop, &t.task);
    st_defer(bench->loop, &u.task);
    assert_int_equal(bench->woken_at, 0);
    assert_int_equal(bench->wakes, 2);
    st_loop_run_due(bench->loop);
    assert_int_equal(bench->woken_at, 100);
    assert_int_equal(bench->wakes, 3);
    bench->now = 200;
    st_loop_run_due(bench->loop);
    assert_int_equal(bench->woken_at, ST_NEVER);
    assert_int_equal(bench->wakes, 4);
}

static void a_freed_loop_leaves_its_timers_and_tasks_stopped(void **state) {
    struct bench *bench = *state;
    const struct st_env env = {now_mono, now_wall, random_fill, NULL, NULL, bench};
    struct st_loop *loop = st_loop_new(&env);
    struct named_timer a = timer_of(bench, 'a');
    struct named_task t = task_of(bench, 't');
    st_timer_start(loop, &a.timer, 1);
    st_defer(loop, &t.task);
    st_loop_free(loop);
    st_timer_start(bench->loop, &a.timer, 1);
    st_defer(bench->loop, &t.task);
    bench->now = 1;
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "ta");
}

static void an_endless_delay_does_not_overflow(void **state) {
    struct bench *bench = *state;
    struct named_timer a = timer_of(bench, 'a');
    bench->now = 5;
    st_timer_start(bench->loop, &a.timer, ST_NEVER);
    assert_true(st_loop_due(bench->loop) > ST_SECOND * 1000000);
    st_loop_run_due(bench->loop);
    assert_string_equal(bench->ran, "");
    st_timer_stop(bench->loop, &a.timer);
}

static void clocks_and_randomness_are_the_drivers(void **state) {
    struct bench *bench = *state;
    bench->now = 3 * ST_MS;
    assert_int_equal(st_now_ns(bench->loop), 3 * ST_MS);
    assert_int_equal(st_now_wall_ms(bench->loop), 1003);
    assert_true(st_random_u64(bench->loop) == UINT64_C(0x0707070707070707));
    assert_ptr_equal(st_loop_env(bench->loop)->self, bench);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(timers_run_in_the_order_of_their_due_times_and_ties_in_the_order_of_their_start),
        TEST(a_restarted_timer_runs_once_at_its_new_time_and_a_stopped_one_never),
        TEST(a_thousand_timers_started_and_stopped_at_random_run_in_order),
        TEST(a_timer_that_starts_itself_without_delay_runs_once_a_run),
        TEST(tasks_run_before_timers_and_in_the_order_queued),
        TEST(a_task_queued_while_tasks_run_waits_for_the_next_run),
        TEST(a_cancelled_task_does_not_run_wherever_it_stands),
        TEST(the_driver_is_told_only_of_earlier_wishes_and_once_after_each_run),
        TEST(a_freed_loop_leaves_its_timers_and_tasks_stopped),
        TEST(an_endless_delay_does_not_overflow),
        TEST(clocks_and_randomness_are_the_drivers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
