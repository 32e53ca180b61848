/* Listening sockets: addresses, limits, and what happens when descriptors run out. */
#include "gateway/net/listener.h"
#include "gateway/net/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 8 };

static struct gw_process *process;
static struct st_loop *loop;
static unsigned accepted, closed_calls;
static bool refuse;

static size_t want(struct gw_conn *conn, uint8_t **into) {
    static uint8_t scrap[64];
    (void)conn;
    *into = scrap;
    return sizeof scrap;
}

static void received(struct gw_conn *conn, size_t n) {
    (void)conn;
    (void)n;
}

static void closed(struct gw_conn *conn, const char *why) {
    (void)conn;
    (void)why;
    closed_calls++;
}

static const struct gw_conn_ops ops = {.want = want, .received = received, .closed = closed};

static bool accept_conn(void *arg, struct gw_conn *conn) {
    assert_ptr_equal(arg, &accepted);
    accepted++;
    conn->ops = &ops;
    return !refuse;
}

static int setup(void **state) {
    (void)state;
    process = gw_process_new(NULL, NULL);
    assert_non_null(process);
    loop = gw_process_loop(process);
    accepted = closed_calls = 0;
    refuse = false;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gw_process_free(process);
    return 0;
}

struct wake {
    struct st_timer timer;
    bool fired;
};

static void wake_up(struct st_timer *timer) {
    ST_OWNER(timer, struct wake, timer)->fired = true;
}

/* Returns how many turns the loop made meanwhile. */
static unsigned run_ms(int64_t ms) {
    struct wake wake = {.timer = {.fn = wake_up}};
    unsigned turns = 0;
    for (st_timer_start(loop, &wake.timer, ms * ST_MS); !wake.fired; turns++) {
        gw_process_turn(process);
    }
    return turns;
}

static struct gw_listener *listen_at(const char *host, uint16_t port, unsigned most, char *message, size_t size) {
    const struct gw_listener_options options = {
        .host = host, .port = port, .connections_max = most, .accept = accept_conn, .arg = &accepted};
    return gw_listener_new(loop, &options, message, size);
}

static struct gw_listener *listen_anywhere(unsigned most) {
    char message[256] = "";
    struct gw_listener *listener = listen_at("127.0.0.1", 0, most, message, sizeof message);
    assert_string_equal(message, "");
    assert_non_null(listener);
    assert_true(gw_listener_port(listener) > 0);
    return listener;
}

static int connect_to(const struct gw_listener *listener) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(gw_listener_port(listener))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static bool has_ended(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void connections_are_handed_over_counted_and_closed(void **state) {
    (void)state;
    struct gw_listener *listener = listen_anywhere(100);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(listener);
    }
    run_ms(10);
    assert_int_equal(accepted, CLIENTS);
    assert_int_equal(gw_listener_connections(listener), CLIENTS);
    close(fds[3]);
    run_ms(10);
    assert_int_equal(gw_listener_connections(listener), CLIENTS - 1);
    gw_listener_stop(listener);
    run_ms(10);
    assert_int_equal(gw_listener_connections(listener), CLIENTS - 1); /* they live on */
    gw_listener_close_all(listener);
    run_ms(10);
    assert_int_equal(gw_listener_connections(listener), 0);
    assert_int_equal(closed_calls, CLIENTS);
    gw_listener_free(listener);
    for (int i = 0; i < CLIENTS; i++) {
        if (i != 3) {
            assert_true(has_ended(fds[i]));
            close(fds[i]);
        }
    }
}

static void a_listener_may_go_before_its_connections(void **state) {
    (void)state;
    struct gw_listener *listener = listen_anywhere(100);
    int fd = connect_to(listener);
    run_ms(10);
    gw_listener_free(listener);
    run_ms(10);
    assert_int_equal(closed_calls, 0);
    close(fd);
    run_ms(10);
    assert_int_equal(closed_calls, 1);
}

static void a_refused_connection_is_closed_without_its_owner(void **state) {
    (void)state;
    struct gw_listener *listener = listen_anywhere(100);
    refuse = true;
    int fd = connect_to(listener);
    run_ms(10);
    assert_int_equal(accepted, 1);
    assert_int_equal(closed_calls, 0);
    assert_int_equal(gw_listener_connections(listener), 0);
    assert_true(has_ended(fd));
    close(fd);
    gw_listener_free(listener);
}

static void one_too_many_is_closed_and_the_next_is_welcome_again(void **state) {
    (void)state;
    struct gw_listener *listener = listen_anywhere(2);
    int fds[3] = {connect_to(listener), connect_to(listener), connect_to(listener)};
    run_ms(10);
    assert_int_equal(accepted, 2);
    assert_true(has_ended(fds[2]));
    close(fds[0]);
    run_ms(10);
    int again = connect_to(listener);
    run_ms(10);
    assert_int_equal(accepted, 3);
    assert_false(has_ended(again));
    gw_listener_close_all(listener);
    run_ms(10);
    gw_listener_free(listener);
    close(again);
    close(fds[1]);
    close(fds[2]);
}

static void without_descriptors_it_pauses_and_goes_on_later(void **state) {
    (void)state;
    struct gw_listener *listener = listen_anywhere(100);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(listener);
    }
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {(rlim_t)fds[CLIENTS - 1] + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned turns = run_ms(50);
    assert_int_equal(accepted, 0);
    assert_true(turns < 20); /* it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_ms(200);
    assert_int_equal(accepted, CLIENTS);
    gw_listener_close_all(listener);
    run_ms(10);
    gw_listener_free(listener);
    for (int i = 0; i < CLIENTS; i++) {
        close(fds[i]);
    }
}

static void what_cannot_be_listened_at_is_one_sentence(void **state) {
    (void)state;
    char message[256], expected[256];
    struct gw_listener *listener = listen_anywhere(1);
    uint16_t port = gw_listener_port(listener);
    assert_null(listen_at("127.0.0.1", port, 1, message, sizeof message));
    snprintf(expected, sizeof expected, "port %u of 127.0.0.1 is in use", (unsigned)port);
    assert_string_equal(message, expected);
    gw_listener_free(listener);
    assert_null(listen_at("192.0.2.1", 0, 1, message, sizeof message)); /* for documentation: nobody's */
    assert_string_equal(message, "192.0.2.1 is not an address of this machine");
    assert_null(listen_at("no.such.host.invalid", 0, 1, message, sizeof message));
    assert_int_equal(strncmp(message, "cannot resolve no.such.host.invalid: ", 37), 0);
}

static void a_port_is_free_again_at_once(void **state) {
    (void)state;
    char message[256];
    struct gw_listener *listener = listen_anywhere(10);
    uint16_t port = gw_listener_port(listener);
    int fd = connect_to(listener);
    run_ms(5);
    gw_listener_close_all(listener); /* we close first: our end stays in TIME_WAIT */
    run_ms(5);
    close(fd);
    gw_listener_free(listener);
    listener = listen_at("127.0.0.1", port, 10, message, sizeof message);
    assert_non_null(listener);
    gw_listener_free(listener);
}

static void localhost_is_a_name_that_can_be_listened_at(void **state) {
    (void)state;
    char message[256];
    struct gw_listener *listener = listen_at("localhost", 0, 10, message, sizeof message);
    assert_non_null(listener);
    gw_listener_free(listener);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(connections_are_handed_over_counted_and_closed),
        CASE(a_listener_may_go_before_its_connections),
        CASE(a_refused_connection_is_closed_without_its_owner),
        CASE(one_too_many_is_closed_and_the_next_is_welcome_again),
        CASE(without_descriptors_it_pauses_and_goes_on_later),
        CASE(what_cannot_be_listened_at_is_one_sentence),
        CASE(a_port_is_free_again_at_once),
        CASE(localhost_is_a_name_that_can_be_listened_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
