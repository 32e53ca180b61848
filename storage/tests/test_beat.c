/* The beat of a pool's entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/journal/beat.h"

static const struct kp_uuid anna = {{1}}, bert = {{2}};

enum { CYCLE_MS = 60, SKEW_MS = 123456 };

/* The entry number i, made at i * CYCLE_MS of its writer's clock, is seen so long after that. */
static void entry(struct st_beat *beat, int i, int64_t delay_ms) {
    int64_t made_ms = (int64_t)i * CYCLE_MS;
    st_beat_entry(beat, (made_ms + SKEW_MS + delay_ms) * ST_MS, made_ms, &anna, 20);
}

static int64_t first_after_ms(const struct st_beat *beat, int i) {
    return beat->first_ns / ST_MS - SKEW_MS - (int64_t)i * CYCLE_MS;
}

static void whoever_sees_entries_late_knows_when_they_could_be_seen(void **state) {
    (void)state;
    static const int64_t delays_ms[] = {40, 55, 14, 38, 60, 20, 33, 57, 47, 29};
    struct st_beat beat;
    st_beat_init(&beat);
    for (int i = 0; i < 40; i++) {
        entry(&beat, i, delays_ms[i % 10]);
        assert_int_equal(beat.led, i + 1);
    }
    assert_in_range(first_after_ms(&beat, 39), 14, 22);
    assert_in_range(beat.cycle_ns, CYCLE_MS * ST_MS - ST_MS, CYCLE_MS * ST_MS);
    assert_int_equal(beat.crowd, 20);
}

static void a_clock_that_leaps_is_followed(void **state) {
    (void)state;
    struct st_beat beat;
    st_beat_init(&beat);
    for (int i = 0; i < 10; i++) {
        entry(&beat, i, 20);
    }
    for (int i = 10; i < 20; i++) { /* forwards: entries come sooner than they did */
        entry(&beat, i, -5000);
    }
    assert_in_range(first_after_ms(&beat, 19) + 5000, 0, 1);
    for (int i = 20; i < 600; i++) { /* and back, which is believed slowly */
        entry(&beat, i, 20);
    }
    assert_in_range(first_after_ms(&beat, 599) + 100, 0, 120);
}

static void who_writes_alone_or_takes_turns_does_not_lead(void **state) {
    (void)state;
    struct st_beat beat;
    st_beat_init(&beat);
    st_beat_entry(&beat, 1000 * ST_MS, 5000, &anna, 3);
    assert_int_equal(beat.led, 1);
    st_beat_entry(&beat, 1040 * ST_MS, 9000, &bert, 9); /* of another clock */
    assert_int_equal(beat.led, 1);
    assert_true(kp_uuid_equal(&beat.leader, &bert));
    assert_int_equal(beat.first_ns, 1040 * ST_MS);
    assert_int_equal(beat.cycle_ns, 10 * ST_MS);
    assert_int_equal(beat.crowd, 9);
    st_beat_entry(&beat, 1080 * ST_MS, 9040, &bert, 1);
    assert_int_equal(beat.led, 0);
    assert_int_equal(beat.crowd, 7); /* is forgotten in some entries, not at once */
    st_beat_entry(&beat, 9000 * ST_MS, 17000, &bert, 2); /* a pause is no cycle */
    assert_in_range(beat.cycle_ns, 10 * ST_MS, 40 * ST_MS);
}

static void how_late_is_too_late_is_learnt(void **state) {
    (void)state;
    enum { REALLY_MS = 55 };
    struct st_beat beat;
    st_beat_init(&beat);
    for (int i = 0; i < 1000; i++) {
        int64_t after_ms = i * 37 % 100;
        st_beat_learn(&beat, after_ms * ST_MS, after_ms > REALLY_MS);
    }
    assert_in_range(beat.late_ns / ST_MS, REALLY_MS - 3, REALLY_MS + 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_sees_entries_late_knows_when_they_could_be_seen),
        cmocka_unit_test(a_clock_that_leaps_is_followed),
        cmocka_unit_test(who_writes_alone_or_takes_turns_does_not_lead),
        cmocka_unit_test(how_late_is_too_late_is_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
