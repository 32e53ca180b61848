/* Connections over socketpairs, with an owner that records what happens to it. */
#include "gateway/net/conn.h"
#include "gateway/net/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct owner {
    struct gw_process *process;
    struct st_loop *loop;
    struct gw_conn *conn;
    int peer; /* the other end, non-blocking */
    uint8_t input[64 * 1024];
    size_t used, wanted; /* wanted: what `want` says; 0: pause */
    unsigned received_calls, drained_calls, ended_calls, quiet_calls, late_calls, closed_calls, gone_calls;
    size_t largest;
    bool keep_after_end, finish_when_late, finish_on_input, close_on_input;
    char why[16];
};

static size_t want(struct gw_conn *conn, uint8_t **into) {
    struct owner *owner = conn->owner;
    size_t room = sizeof owner->input - owner->used;
    *into = owner->input + owner->used;
    return owner->wanted < room ? owner->wanted : room;
}

static void received(struct gw_conn *conn, size_t n) {
    struct owner *owner = conn->owner;
    owner->used += n;
    owner->received_calls++;
    owner->largest = n > owner->largest ? n : owner->largest;
    if (owner->finish_on_input) {
        gw_conn_finish(conn);
    }
    if (owner->close_on_input) {
        gw_conn_close(conn);
    }
}

static void drained(struct gw_conn *conn) {
    ((struct owner *)conn->owner)->drained_calls++;
}

static bool ended(struct gw_conn *conn) {
    struct owner *owner = conn->owner;
    owner->ended_calls++;
    return owner->keep_after_end;
}

static void late(struct gw_conn *conn) {
    struct owner *owner = conn->owner;
    owner->late_calls++;
    if (owner->finish_when_late) {
        struct kp_chain out;
        kp_chain_init(&out);
        kp_chain_copy(&out, "late", 4);
        gw_conn_send(conn, &out);
        gw_conn_finish(conn);
    }
}

static void closed(struct gw_conn *conn, const char *why) {
    struct owner *owner = conn->owner;
    owner->closed_calls++;
    snprintf(owner->why, sizeof owner->why, "%s", why);
    owner->conn = NULL;
}

static void gone(void *arg) {
    ((struct owner *)arg)->gone_calls++;
}

static void quiet(struct gw_conn *conn) {
    ((struct owner *)conn->owner)->quiet_calls++;
}

static const struct gw_conn_ops ops = {want, received, drained, ended, quiet, late, closed};

static int setup(void **state) {
    struct owner *owner = calloc(1, sizeof *owner);
    int pair[2];
    assert_non_null(owner);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    owner->process = gw_process_new(NULL, NULL);
    assert_non_null(owner->process);
    owner->loop = gw_process_loop(owner->process);
    owner->peer = pair[1];
    owner->wanted = SIZE_MAX;
    owner->conn = gw_conn_new(owner->loop, pair[0], gone, owner);
    assert_non_null(owner->conn);
    owner->conn->ops = &ops;
    owner->conn->owner = owner;
    *state = owner;
    return 0;
}

struct wake {
    struct st_timer timer;
    bool fired;
};

static void wake_up(struct st_timer *timer) {
    ST_OWNER(timer, struct wake, timer)->fired = true;
}

/* Lets the loop run for so long. */
static void run_ms(struct owner *owner, int64_t ms) {
    struct wake wake = {.timer = {.fn = wake_up}};
    st_timer_start(owner->loop, &wake.timer, ms * ST_MS);
    while (!wake.fired) {
        gw_process_turn(owner->process);
    }
}

static void run_until_closed(struct owner *owner) {
    for (int i = 0; i < 500 && owner->closed_calls == 0; i++) {
        run_ms(owner, 10);
    }
    assert_int_equal(owner->closed_calls, 1);
    run_ms(owner, 1);
    assert_int_equal(owner->gone_calls, 1);
}

static int teardown(void **state) {
    struct owner *owner = *state;
    if (owner->conn != NULL) {
        gw_conn_close(owner->conn);
        run_until_closed(owner);
    }
    if (owner->peer >= 0) {
        close(owner->peer);
    }
    gw_process_free(owner->process);
    free(owner);
    return 0;
}

static void send_copy(struct owner *owner, const void *bytes, size_t len) {
    struct kp_chain out;
    kp_chain_init(&out);
    kp_chain_copy(&out, bytes, len);
    gw_conn_send(owner->conn, &out);
    assert_int_equal(out.bytes, 0);
}

static void send_zeros(struct owner *owner, size_t len) {
    struct kp_blob *blob = kp_blob_new(len);
    assert_non_null(blob);
    memset(blob->data, 0, len);
    struct kp_chain out;
    kp_chain_init(&out);
    kp_chain_piece(&out, (struct kp_piece){.blob = blob, .bytes = kp_slice_of(blob->data, len)});
    kp_blob_unref(blob);
    gw_conn_send(owner->conn, &out);
}

/* Reads all that is there; returns its length. */
static size_t peer_reads(struct owner *owner) {
    static uint8_t scrap[256 * 1024];
    size_t total = 0;
    for (ssize_t n; (n = read(owner->peer, scrap, sizeof scrap)) > 0;) {
        total += (size_t)n;
    }
    return total;
}

static void bytes_arrive_where_the_owner_wants_them(void **state) {
    struct owner *owner = *state;
    owner->wanted = 3;
    assert_int_equal(write(owner->peer, "abcdefgh", 8), 8);
    run_ms(owner, 5);
    assert_int_equal(owner->used, 8);
    assert_memory_equal(owner->input, "abcdefgh", 8);
    assert_int_equal(owner->received_calls, 3);
    assert_int_equal(owner->largest, 3);
    assert_string_equal(owner->conn->peer, "local");
    assert_true(owner->conn->id > 0);
}

static void a_paused_connection_reads_nothing_until_it_is_resumed(void **state) {
    struct owner *owner = *state;
    owner->wanted = 0;
    assert_int_equal(write(owner->peer, "abc", 3), 3);
    run_ms(owner, 5);
    assert_int_equal(owner->received_calls, 0);
    owner->wanted = 100;
    gw_conn_resume(owner->conn);
    run_ms(owner, 5);
    assert_int_equal(owner->used, 3);
}

static void answers_leave_in_order(void **state) {
    struct owner *owner = *state;
    send_copy(owner, "one ", 4);
    send_copy(owner, "two ", 4);
    send_copy(owner, "three", 5);
    assert_int_equal(gw_conn_backlog(owner->conn), 13);
    run_ms(owner, 5);
    char text[32] = "";
    assert_int_equal(read(owner->peer, text, sizeof text), 13);
    assert_string_equal(text, "one two three");
    assert_int_equal(gw_conn_backlog(owner->conn), 0);
}

static void a_full_socket_keeps_the_rest_and_says_when_it_has_drained(void **state) {
    struct owner *owner = *state;
    const size_t size = 8 * 1024 * 1024;
    send_zeros(owner, size);
    run_ms(owner, 5);
    assert_true(gw_conn_backlog(owner->conn) >= GW_CONN_LOW_WATER);
    assert_int_equal(owner->drained_calls, 0);
    size_t total = 0;
    for (int i = 0; i < 2000 && total < size; i++) {
        total += peer_reads(owner);
        run_ms(owner, 1);
    }
    assert_int_equal(total, size);
    assert_int_equal(owner->drained_calls, 1);
    assert_int_equal(gw_conn_backlog(owner->conn), 0);
}

static void finish_sends_what_is_queued_and_then_says_the_end(void **state) {
    struct owner *owner = *state;
    const size_t size = 4 * 1024 * 1024;
    send_zeros(owner, size);
    gw_conn_finish(owner->conn);
    send_copy(owner, "too late", 8);
    assert_int_equal(write(owner->peer, "unread", 6), 6);
    size_t total = 0;
    for (int i = 0; i < 2000 && total < size; i++) {
        run_ms(owner, 1);
        total += peer_reads(owner);
    }
    assert_int_equal(total, size);
    run_ms(owner, 5);
    char byte;
    assert_int_equal(read(owner->peer, &byte, 1), 0);
    assert_int_equal(owner->received_calls, 0);
    assert_int_equal(owner->closed_calls, 0); /* waits for the peer's end, so that no answer is lost */
    close(owner->peer);
    owner->peer = -1;
    run_until_closed(owner);
    assert_string_equal(owner->why, "closed");
}

static void a_finished_connection_does_not_wait_for_ever_for_a_silent_peer(void **state) {
    struct owner *owner = *state;
    owner->finish_on_input = true;
    assert_int_equal(write(owner->peer, "x", 1), 1);
    run_until_closed(owner);
    assert_string_equal(owner->why, "closed");
}

static void close_drops_what_is_queued(void **state) {
    struct owner *owner = *state;
    owner->close_on_input = true;
    send_zeros(owner, 1024 * 1024);
    assert_int_equal(write(owner->peer, "x", 1), 1);
    run_until_closed(owner);
    assert_string_equal(owner->why, "closed");
    assert_int_equal(owner->received_calls, 1);
    assert_true(peer_reads(owner) < 1024 * 1024);
}

static void a_peer_that_goes_closes_the_connection(void **state) {
    struct owner *owner = *state;
    close(owner->peer);
    owner->peer = -1;
    run_until_closed(owner);
    assert_string_equal(owner->why, "peer");
}

static void a_peer_that_only_stops_sending_still_gets_its_answer(void **state) {
    struct owner *owner = *state;
    owner->keep_after_end = true;
    assert_int_equal(write(owner->peer, "question", 8), 8);
    assert_int_equal(shutdown(owner->peer, SHUT_WR), 0);
    run_ms(owner, 20);
    assert_int_equal(owner->ended_calls, 1);
    assert_int_equal(owner->used, 8);
    assert_int_equal(owner->closed_calls, 0);
    send_copy(owner, "answer", 6);
    gw_conn_finish(owner->conn);
    run_until_closed(owner);
    assert_int_equal(peer_reads(owner), 6);
}

static void a_paused_owner_may_be_told_of_the_end(void **state) {
    struct owner *owner = *state;
    owner->wanted = 0;
    owner->keep_after_end = true;
    run_ms(owner, 5);
    gw_conn_watch_end(owner->conn, true);
    run_ms(owner, 5);
    assert_int_equal(owner->quiet_calls, 0);
    assert_int_equal(shutdown(owner->peer, SHUT_WR), 0);
    run_ms(owner, 20);
    assert_int_equal(owner->quiet_calls, 1);
    assert_int_equal(owner->ended_calls + owner->closed_calls, 0);
    owner->wanted = SIZE_MAX;
    gw_conn_resume(owner->conn);
    run_ms(owner, 20);
    assert_int_equal(owner->quiet_calls, 1);
    assert_int_equal(owner->ended_calls, 1);
}

static void bytes_that_wait_hide_the_end_and_cost_nothing(void **state) {
    struct owner *owner = *state;
    owner->wanted = 0;
    gw_conn_watch_end(owner->conn, true);
    assert_int_equal(write(owner->peer, "x", 1), 1);
    assert_int_equal(shutdown(owner->peer, SHUT_WR), 0);
    run_ms(owner, 20);
    assert_int_equal(owner->quiet_calls + owner->received_calls, 0);
    owner->wanted = SIZE_MAX;
    gw_conn_resume(owner->conn);
    run_ms(owner, 20);
    assert_int_equal(owner->received_calls, 1);
    assert_int_equal(owner->ended_calls, 1);
}

static void what_is_queued_is_sent_when_the_peer_stops_sending(void **state) {
    struct owner *owner = *state;
    send_zeros(owner, 1024 * 1024);
    assert_int_equal(shutdown(owner->peer, SHUT_WR), 0);
    size_t total = 0;
    for (int i = 0; i < 2000 && total < 1024 * 1024; i++) {
        run_ms(owner, 1);
        total += peer_reads(owner);
    }
    assert_int_equal(total, 1024 * 1024);
    run_until_closed(owner);
    assert_string_equal(owner->why, "peer");
}

static void a_deadline_closes_and_a_later_one_replaces_it(void **state) {
    struct owner *owner = *state;
    gw_conn_deadline(owner->conn, 10 * ST_MS);
    gw_conn_deadline(owner->conn, 80 * ST_MS);
    run_ms(owner, 40);
    assert_int_equal(owner->closed_calls, 0);
    gw_conn_deadline(owner->conn, 5 * ST_MS);
    run_ms(owner, 20);
    assert_int_equal(owner->closed_calls, 1);
    assert_string_equal(owner->why, "deadline");
    assert_int_equal(owner->late_calls, 1);
}

static void no_deadline_is_one_too(void **state) {
    struct owner *owner = *state;
    gw_conn_deadline(owner->conn, 10 * ST_MS);
    gw_conn_deadline(owner->conn, ST_NEVER);
    run_ms(owner, 40);
    assert_int_equal(owner->closed_calls, 0);
}

static void an_owner_may_say_that_it_is_late(void **state) {
    struct owner *owner = *state;
    owner->finish_when_late = true;
    gw_conn_deadline(owner->conn, 5 * ST_MS);
    run_ms(owner, 20);
    char text[8] = "";
    assert_int_equal(read(owner->peer, text, sizeof text), 4);
    assert_string_equal(text, "late");
    close(owner->peer);
    owner->peer = -1;
    run_until_closed(owner);
    assert_string_equal(owner->why, "closed");
}

static void a_peer_that_takes_nothing_is_closed_and_one_that_reads_slowly_is_not(void **state) {
    struct owner *owner = *state;
    gw_conn_send_timeout(owner->conn, 100 * ST_MS);
    send_zeros(owner, 64 * 1024 * 1024);
    static uint8_t some[1024 * 1024];
    for (int i = 0; i < 10; i++) {
        run_ms(owner, 30);
        assert_true(read(owner->peer, some, sizeof some) > 0);
    }
    assert_int_equal(owner->closed_calls, 0);
    run_until_closed(owner);
    assert_string_equal(owner->why, "deadline");
}

static void one_turn_takes_a_bounded_part_of_a_flood(void **state) {
    struct owner *owner = *state;
    static uint8_t flood[256 * 1024];
    ssize_t written = write(owner->peer, flood, sizeof flood);
    assert_true(written > 1000);
    owner->wanted = 10;
    gw_process_turn(owner->process);
    assert_true(owner->received_calls > 0 && owner->received_calls <= 16);
}

static void an_idle_connection_is_small(void **state) {
    (void)state;
    static const int count = 400;
    struct gw_process *process = gw_process_new(NULL, NULL);
    assert_non_null(process);
    struct kp_blob_stats before = kp_blob_stats();
    int (*pairs)[2] = calloc((size_t)count, sizeof *pairs);
    struct gw_conn **conns = calloc((size_t)count, sizeof *conns);
    struct owner *owner = calloc(1, sizeof *owner);
    assert_true(pairs != NULL && conns != NULL && owner != NULL);
    owner->process = process;
    owner->loop = gw_process_loop(process);
    for (int i = 0; i < count; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        conns[i] = gw_conn_new(owner->loop, pairs[i][0], NULL, NULL);
        assert_non_null(conns[i]);
        conns[i]->ops = &ops;
        conns[i]->owner = owner;
        owner->conn = conns[i];
        send_copy(owner, "x", 1);
    }
    run_ms(owner, 10);
    assert_int_equal(kp_blob_stats().live_bytes, before.live_bytes); /* buffers went back when they were empty */
    for (int i = 0; i < count; i++) {
        gw_conn_close(conns[i]);
        close(pairs[i][1]);
    }
    run_ms(owner, 10);
    assert_int_equal(owner->closed_calls, count);
    gw_process_free(process);
    free(owner);
    free(conns);
    free(pairs);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(bytes_arrive_where_the_owner_wants_them),
        CASE(a_paused_connection_reads_nothing_until_it_is_resumed),
        CASE(answers_leave_in_order),
        CASE(a_full_socket_keeps_the_rest_and_says_when_it_has_drained),
        CASE(finish_sends_what_is_queued_and_then_says_the_end),
        CASE(a_finished_connection_does_not_wait_for_ever_for_a_silent_peer),
        CASE(close_drops_what_is_queued),
        CASE(a_peer_that_goes_closes_the_connection),
        CASE(a_peer_that_only_stops_sending_still_gets_its_answer),
        CASE(a_paused_owner_may_be_told_of_the_end),
        CASE(bytes_that_wait_hide_the_end_and_cost_nothing),
        CASE(what_is_queued_is_sent_when_the_peer_stops_sending),
        CASE(a_deadline_closes_and_a_later_one_replaces_it),
        CASE(no_deadline_is_one_too),
        CASE(an_owner_may_say_that_it_is_late),
        CASE(a_peer_that_takes_nothing_is_closed_and_one_that_reads_slowly_is_not),
        CASE(one_turn_takes_a_bounded_part_of_a_flood),
        cmocka_unit_test(an_idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
