/* When a PUT is sent a second time: what is learned of how long they take, and how many second ones there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/backends/aws/hedge.h"
#include "storage/runtime/metrics.h"

enum { SMALL = 1000, MEDIUM = 200 * 1000 };

static uint64_t random_state;

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

/* Lognormal: 99 of 100 are below five times the median. */
static double takes_ms(double median_ms) {
    const double normal = sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform());
    return median_ms * exp(normal * log(5.0) / 2.3263);
}

struct seen {
    unsigned late, hedged;
};

/* So many PUTs one after the other, as if nothing but chance decided what they take. */
static struct seen run(struct st_aws_hedge *hedge, unsigned count, double median_ms) {
    struct seen seen = {0};
    for (unsigned i = 0; i < count; i++) {
        const int64_t after_ms = st_aws_hedge_begin(hedge, SMALL);
        assert_in_range(after_ms, 20, 2000);
        if (takes_ms(median_ms) < (double)after_ms) {
            st_aws_hedge_in_time(hedge, after_ms);
        } else {
            seen.late++;
            seen.hedged += st_aws_hedge_late(hedge, after_ms);
        }
    }
    return seen;
}

static void one_in_twenty_is_late_once_the_service_is_known(void **state) {
    (void)state;
    static const double medians_ms[] = {20, 60, 250, 60};
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, false);
    assert_int_equal(st_aws_hedge_begin(&hedge, SMALL), 250);
    random_state = 1;
    for (size_t i = 0; i < sizeof medians_ms / sizeof medians_ms[0]; i++) {
        run(&hedge, 2000, medians_ms[i]);
        const double right_ms = medians_ms[i] * exp(1.6449 * log(5.0) / 2.3263);
        int64_t sum_ms = 0;
        for (int look = 0; look < 100; look++) {
            run(&hedge, 100, medians_ms[i]);
            sum_ms += st_aws_hedge_begin(&hedge, SMALL);
        }
        assert_in_range(sum_ms / 100, (int64_t)(right_ms * 0.9), (int64_t)(right_ms * 1.1));
        assert_in_range(run(&hedge, 20000, medians_ms[i]).late, 900, 1100);
    }
}

static void a_service_that_became_slow_is_known_soon(void **state) {
    (void)state;
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, false);
    random_state = 2;
    run(&hedge, 2000, 60);
    run(&hedge, 60, 300);
    assert_true(st_aws_hedge_begin(&hedge, SMALL) > 600);
}

static void the_estimate_has_its_bounds(void **state) {
    (void)state;
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, false);
    run(&hedge, 5000, 0.1);
    assert_int_equal(st_aws_hedge_begin(&hedge, SMALL), 20);
    run(&hedge, 5000, 1e9);
    assert_int_equal(st_aws_hedge_begin(&hedge, SMALL), 2000);
}

static void one_in_twenty_is_sent_twice_however_many_are_late(void **state) {
    (void)state;
    struct st_aws_hedge hedge;
    const uint64_t counted = st_metrics.s3_hedges_total;
    st_aws_hedge_init(&hedge, false);
    const struct seen none = run(&hedge, 19, 1e9), all = run(&hedge, 2000 - 19, 1e9);
    assert_int_equal(none.hedged, 0);
    assert_int_equal(all.late, 2000 - 19);
    assert_int_equal(all.hedged, 100);
    assert_int_equal(st_metrics.s3_hedges_total - counted, 100);
}

static void ten_are_kept_for_later(void **state) {
    (void)state;
    struct st_aws_hedge hedge;
    st_aws_hedge_init(&hedge, false);
    assert_int_equal(run(&hedge, 5000, 0.001).late, 0);
    assert_int_equal(run(&hedge, 15, 1e9).hedged, 10);
}

static void what_is_large_is_never_sent_twice_and_teaches_nothing(void **state) {
    (void)state;
    for (int always = 0; always < 2; always++) {
        struct st_aws_hedge hedge;
        st_aws_hedge_init(&hedge, always != 0);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(st_aws_hedge_begin(&hedge, 1024 * 1024 + 1), -1);
            st_aws_hedge_in_time(&hedge, -1);
        }
        assert_int_equal(st_aws_hedge_begin(&hedge, 1024 * 1024), 250);
        assert_false(st_aws_hedge_late(&hedge, 250)); /* nor does it earn */
    }
}

static void who_pays_for_latency_has_small_bodies_sent_twice_at_once(void **state) {
    (void)state;
    struct st_aws_hedge hedge;
    const uint64_t counted = st_metrics.s3_hedges_total;
    st_aws_hedge_init(&hedge, true);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(st_aws_hedge_begin(&hedge, i % 2 == 0 ? 0 : 128 * 1024), 0);
        assert_true(st_aws_hedge_late(&hedge, 0));
        st_aws_hedge_in_time(&hedge, 0);
    }
    assert_int_equal(st_metrics.s3_hedges_total - counted, 1000);
    assert_int_equal(st_aws_hedge_begin(&hedge, 128 * 1024 + 1), 250); /* and they teach nothing */
    assert_false(st_aws_hedge_late(&hedge, 250));
    for (int i = 0; i < 19; i++) {
        assert_int_equal(st_aws_hedge_begin(&hedge, MEDIUM), 250 + 250 * 95 / 2000);
    }
    assert_true(st_aws_hedge_late(&hedge, 250)); /* the twentieth of those that go by the budget */
    assert_false(st_aws_hedge_late(&hedge, 250));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_in_twenty_is_late_once_the_service_is_known),
        cmocka_unit_test(a_service_that_became_slow_is_known_soon),
        cmocka_unit_test(the_estimate_has_its_bounds),
        cmocka_unit_test(one_in_twenty_is_sent_twice_however_many_are_late),
        cmocka_unit_test(ten_are_kept_for_later),
        cmocka_unit_test(what_is_large_is_never_sent_twice_and_teaches_nothing),
        cmocka_unit_test(who_pays_for_latency_has_small_bodies_sent_twice_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
