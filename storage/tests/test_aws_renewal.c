/* When keys are fetched anew, and who is told what meanwhile. */
#include "storage/tests/aws_credentials_fixture.h"

static void keys_are_fetched_anew_five_to_ten_minutes_before_they_expire(void **state) {
    struct bench *bench = *state;
    int64_t least = HOUR, most = 0;
    for (int round = 0; round < 40; round++) {
        st_aws_credentials_free(bench->credentials);
        bench->credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
        imds(bench, "first", HOUR);
        check_id(bench, "first");
        int64_t expires_ms = st_aws_keys_now(bench->credentials)->expires_ms;
        size_t before = bench->http->asked_count;
        while (bench->http->asked_count == before) {
            assert_non_null(st_aws_keys_now(bench->credentials));
            fixture_run(bench->http, 1000);
        }
        int64_t early = expires_ms - (TRUE_WALL_MS + bench->http->asked[before].at_ms);
        assert_in_range(early, 5 * MINUTE - 1000, 10 * MINUTE);
        least = early < least ? early : least;
        most = early > most ? early : most;
    }
    assert_true(least < 6 * MINUTE && most > 9 * MINUTE);
}

static void keys_with_a_short_life_are_not_fetched_all_the_time(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    for (int minute = 0; minute < 60; minute++) {
        fixture_no_rules(bench->http);
        answers(bench, "/task", 200, json_keys(bench, 0, "short", 4 * MINUTE));
        for (int second = 0; second < 60; second++) {
            start_want(bench, 0);
            fixture_run(bench->http, 1000);
            assert_string_equal(bench->wants[0].keys.id, "short");
        }
    }
    assert_in_range(bench->http->asked_count, 20, 40);
}

static void old_keys_serve_while_new_ones_come(void **state) {
    struct bench *bench = *state;
    imds(bench, "first", HOUR);
    check_id(bench, "first");
    fixture_run(bench->http, HOUR - 5 * MINUTE);
    imds(bench, "second", 6 * HOUR);
    const struct want *want = start_want(bench, 0);
    fixture_run(bench->http, 0);
    assert_int_equal(want->done, 1);
    assert_string_equal(want->keys.id, "first");
    assert_int_equal(want->keys.generation, 1);
    fixture_run(bench->http, 1000);
    assert_string_equal(st_aws_keys_now(bench->credentials)->id, "second");
    assert_int_equal(st_aws_keys_now(bench->credentials)->generation, 2);
    assert_int_equal(bench->http->asked_count, 6);
}

static void one_fetch_is_under_way_however_many_wait(void **state) {
    struct bench *bench = *state;
    imds(bench, "of-role", HOUR);
    for (size_t i = 0; i < WANTS_MOST; i++) {
        start_want(bench, i);
        fixture_run(bench->http, 0);
    }
    assert_null(st_aws_keys_now(bench->credentials));
    fixture_run(bench->http, 100);
    for (size_t i = 0; i < WANTS_MOST; i++) {
        assert_int_equal(bench->wants[i].done, 1);
        assert_string_equal(bench->wants[i].keys.id, "of-role");
    }
    assert_int_equal(bench->http->asked_count, 3);
}

static void old_keys_serve_until_they_expire_when_no_new_ones_come(void **state) {
    struct bench *bench = *state;
    imds(bench, "first", HOUR);
    check_id(bench, "first");
    int64_t expires_ms = st_aws_keys_now(bench->credentials)->expires_ms - TRUE_WALL_MS;
    fixture_no_rules(bench->http);
    fixture_rule(bench->http, (struct rule){.end = ST_HTTP_NOT_SENT, .reason = "no route"});
    while (fixture_now_ms(bench->http) < expires_ms) {
        const struct want *want = start_want(bench, 0);
        fixture_run(bench->http, 0);
        assert_string_equal(want->keys.id, "first");
        fixture_run(bench->http, 1000 - fixture_now_ms(bench->http) % 1000);
    }
    fixture_run(bench->http, 1000); /* Date has whole seconds */
    size_t failed = bench->http->asked_count - 3;
    assert_in_range(failed, 7, 30); /* in five to ten minutes, with ever longer waits up to a minute */
    check_reason(bench, "the instance metadata service does not answer");
    imds(bench, "second", HOUR);
    fixture_run(bench->http, 5000);
    check_id(bench, "second"); /* without keys it is asked again within five seconds */
}

static void who_asks_while_a_failure_is_waited_out_is_told_at_once(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    answers(bench, "/task", 500, "");
    for (int i = 0; i < 10000; i++) {
        struct want *want = start_want(bench, 0);
        fixture_run(bench->http, 10);
        assert_int_equal(want->done, 1);
        assert_string_equal(want->want.reason, "no credentials: the container credentials endpoint gave status 500");
    }
    assert_in_range(bench->http->asked_count, 20, 50); /* in 100 s */
}

static void expired_keys_that_are_handed_out_all_the_same_are_used(void **state) {
    struct bench *bench = *state;
    imds(bench, "stale", -HOUR);
    check_id(bench, "stale");
    assert_int_equal(bench->http->asked_count, 3);
    for (int second = 0; second < 30 * 60; second++) {
        assert_non_null(st_aws_keys_now(bench->credentials));
        fixture_run(bench->http, 1000);
    }
    assert_in_range(bench->http->asked_count, 3 + 3 * 2, 3 + 3 * 6);
    imds(bench, "fresh", HOUR);
    fixture_run(bench->http, 10 * MINUTE);
    st_aws_keys_now(bench->credentials);
    fixture_run(bench->http, 1000);
    check_id(bench, "fresh");
}

static void a_machine_whose_clock_is_hours_off_has_valid_keys(void **state) {
    struct bench *bench = *state;
    static const int64_t offs[] = {5 * HOUR, -5 * HOUR};
    for (size_t i = 0; i < 2; i++) {
        st_aws_credentials_free(bench->credentials);
        bench->credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
        bench->http->wall_off_ms = offs[i];
        imds(bench, "of-role", HOUR);
        size_t before = bench->http->asked_count;
        check_id(bench, "of-role");
        fixture_run(bench->http, 45 * MINUTE);
        check_id(bench, "of-role");
        assert_int_equal(bench->http->asked_count, before + 3);
        imds(bench, "next", HOUR);
        fixture_run(bench->http, 10 * MINUTE);
        st_aws_keys_now(bench->credentials);
        fixture_run(bench->http, 1000);
        assert_string_equal(st_aws_keys_now(bench->credentials)->id, "next");
    }
}

static void refused_keys_are_fetched_anew_once_for_all_who_say_so(void **state) {
    struct bench *bench = *state;
    imds(bench, "first", 6 * HOUR);
    check_id(bench, "first");
    imds(bench, "second", 6 * HOUR);
    for (size_t i = 0; i < 10; i++) {
        st_aws_keys_refused(bench->credentials, 1);
        start_want(bench, i);
    }
    assert_null(st_aws_keys_now(bench->credentials)); /* nobody is given what was refused */
    fixture_run(bench->http, 100);
    for (size_t i = 0; i < 10; i++) {
        assert_string_equal(bench->wants[i].keys.id, "second");
    }
    assert_int_equal(bench->http->asked_count, 6);
    st_aws_keys_refused(bench->credentials, 1); /* said too late: these are others */
    assert_string_equal(st_aws_keys_now(bench->credentials)->id, "second");
    assert_int_equal(bench->http->asked_count, 6);
}

static void keys_refused_before_they_were_handed_out_are_not_handed_out(void **state) {
    struct bench *bench = *state;
    imds(bench, "first", 6 * HOUR);
    check_id(bench, "first");
    imds(bench, "second", 6 * HOUR);
    const struct want *want = start_want(bench, 0);
    st_aws_keys_refused(bench->credentials, 1);
    fixture_run(bench->http, 100);
    assert_int_equal(want->done, 1);
    assert_string_equal(want->keys.id, "second");
}

static void keys_that_are_refused_again_and_again_are_not_fetched_all_the_time(void **state) {
    struct bench *bench = *state;
    imds(bench, "wrong", 6 * HOUR);
    check_id(bench, "wrong");
    for (int second = 0; second < 600; second++) {
        st_aws_keys_refused(bench->credentials, 1);
        const struct want *want = start_want(bench, 0);
        fixture_run(bench->http, 1000);
        assert_string_equal(want->keys.id, "wrong");
        assert_int_equal(want->keys.generation, 1);
    }
    assert_in_range(bench->http->asked_count, 3 * 10, 3 * 30);
}

/* ---- wants ---- */

static void a_want_may_be_forgotten(void **state) {
    struct bench *bench = *state;
    imds(bench, "of-role", HOUR);
    for (size_t i = 0; i < 4; i++) {
        start_want(bench, i);
    }
    st_aws_keys_forget(bench->credentials, &bench->wants[3].want);
    st_aws_keys_forget(bench->credentials, &bench->wants[1].want);
    st_aws_keys_forget(bench->credentials, &bench->wants[1].want);
    start_want(bench, 4);
    fixture_run(bench->http, 100);
    static const unsigned expected[] = {1, 0, 1, 0, 1};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(bench->wants[i].done, expected[i]);
    }
}

static void want_again(struct st_aws_keys_want *base, const struct st_aws_keys *keys) {
    struct want *want = ST_OWNER(base, struct want, want);
    assert_non_null(keys);
    if (++want->done < 3) {
        st_aws_keys_want(want->bench->credentials, base);
        st_aws_keys_forget(want->bench->credentials, &want->bench->wants[1].want);
    }
}

static void who_is_called_may_want_again_and_forget_others(void **state) {
    struct bench *bench = *state;
    imds(bench, "of-role", HOUR);
    start_want(bench, 0)->want.done = want_again;
    start_want(bench, 1);
    start_want(bench, 2);
    fixture_run(bench->http, 100);
    assert_int_equal(bench->wants[0].done, 3);
    assert_int_equal(bench->wants[1].done, 0);
    assert_int_equal(bench->wants[2].done, 1);
}

static void credentials_may_be_freed_with_a_fetch_under_way(void **state) {
    struct bench *bench = *state;
    imds(bench, "of-role", HOUR);
    start_want(bench, 0);
    fixture_run(bench->http, 2);
    assert_int_equal(bench->http->under_way, 1);
    while (bench->http->first != NULL) { /* the HTTP client goes first */
        struct answer *answer = bench->http->first;
        bench->http->first = answer->next;
        st_timer_stop(bench->http->loop, &answer->timer);
        free(answer);
    }
    st_aws_credentials_free(bench->credentials);
    bench->credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
    fixture_run(bench->http, 1000);
    assert_int_equal(bench->wants[0].done, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(keys_are_fetched_anew_five_to_ten_minutes_before_they_expire),
        TEST(keys_with_a_short_life_are_not_fetched_all_the_time),
        TEST(old_keys_serve_while_new_ones_come),
        TEST(one_fetch_is_under_way_however_many_wait),
        TEST(old_keys_serve_until_they_expire_when_no_new_ones_come),
        TEST(who_asks_while_a_failure_is_waited_out_is_told_at_once),
        TEST(expired_keys_that_are_handed_out_all_the_same_are_used),
        TEST(a_machine_whose_clock_is_hours_off_has_valid_keys),
        TEST(refused_keys_are_fetched_anew_once_for_all_who_say_so),
        TEST(keys_refused_before_they_were_handed_out_are_not_handed_out),
        TEST(keys_that_are_refused_again_and_again_are_not_fetched_all_the_time),
        TEST(a_want_may_be_forgotten),
        TEST(who_is_called_may_want_again_and_forget_others),
        TEST(credentials_may_be_freed_with_a_fetch_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
