/* What the HTTP door does with requests good and bad, and with the ends of connections. */
#include "gateway/tests/http_fixture.h"

#include "gateway/http/answer.h"

/* ---- good requests ---- */

static void a_get_is_answered_with_date_and_length(void **state) {
    struct client *client = *state;
    say(client, "GET /a?b=c HTTP/1.1\r\n" HOST "\r\n");
    await(client, 1);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 200 OK\r\nDate: ", 23), 0);
    assert_non_null(strstr(client->input, " GMT\r\nContent-Length: 14\r\n"));
    assert_non_null(strstr(client->input, "Content-Type: text/plain\r\n"));
    assert_non_null(strstr(client->input, "\r\n\r\n<GET /a b=c 0>"));
    assert_null(strstr(client->input, "Connection:"));
    assert_false(client->ended);
}

static void a_connection_serves_one_request_after_the_other(void **state) {
    struct client *client = *state;
    for (size_t i = 1; i <= 20; i++) {
        say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
        await(client, i);
    }
    assert_int_equal(count_of(client->input, "<POST /p  5>hello"), 20);
}

static void pipelined_requests_are_answered_in_order_one_at_a_time(void **state) {
    struct client *client = *state;
    char text[16 * 1024];
    int at = 0;
    for (int i = 0; i < 100; i++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "GET /%03d HTTP/1.1\r\n" HOST "\r\n", i);
    }
    say(client, text);
    await(client, 100);
    const char *from = client->input;
    for (int i = 0; i < 100; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "<GET /%03d  0>", i);
        from = strstr(from, expected);
        assert_non_null(from);
    }
    assert_int_equal(fixture.under_way_most, 1);
}

static void a_request_may_come_byte_by_byte(void **state) {
    struct client *client = *state;
    static const char text[] = "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        write_client(client, text + i, 1);
        gw_process_turn(fixture.process);
    }
    await(client, 1);
    assert_non_null(strstr(client->input, "<POST /p  5>hello"));
}

static void chunked_bodies_are_put_together(void **state) {
    struct client *client = *state;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                "5\r\nhello\r\n6;x\r\n world\r\n0\r\nT: u\r\n\r\nGET /next HTTP/1.1\r\n" HOST "\r\n");
    await(client, 2);
    assert_non_null(strstr(client->input, "<POST /p  11>hello world"));
    assert_non_null(strstr(client->input, "<GET /next  0>"));
}

static void large_bodies_arrive_whole(void **state) {
    struct client *client = *state;
    const size_t size = 3 * 1024 * 1024;
    char *body = malloc(size + 100);
    assert_non_null(body);
    int head = snprintf(body, 100, "POST /p HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", size);
    memset(body + head, 'x', size);
    write_client(client, body, (size_t)head + size);
    await(client, 1);
    assert_non_null(strstr(client->input, "<POST /p  3145728>"));
    say(client, "POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 16; i++) {
        say(client, "10000\r\n");
        write_client(client, body + head, 65536);
        say(client, "\r\n");
    }
    say(client, "0\r\n\r\n");
    await(client, 2);
    assert_non_null(strstr(client->input, "<POST /c  1048576>"));
    free(body);
}

static void a_head_larger_than_the_first_buffer_is_read(void **state) {
    struct client *client = *state;
    char text[16 * 1024];
    int at = snprintf(text, sizeof text, "POST /big HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n");
    for (int i = 0; i < 10; i++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "X-%d: %01200d\r\n", i, i);
    }
    snprintf(text + at, sizeof text - (size_t)at, "\r\n3\r\nabc\r\n0\r\n\r\n");
    say(client, text);
    await(client, 1);
    assert_non_null(strstr(client->input, "<POST /big  3>abc"));
}

static void heads_of_every_length_around_the_buffers_end_work_with_chunks(void **state) {
    struct client *client = *state;
    size_t answers = 0;
    for (int filler = 3950; filler < 4050; filler += 7) {
        char text[8 * 1024];
        snprintf(text, sizeof text, "POST /e HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nX: %0*d\r\n\r\n",
                 filler, 1);
        say(client, text);
        say(client, "3\r\nabc\r\n0\r\n\r\n");
        await(client, ++answers);
    }
    assert_int_equal(count_of(client->input, "<POST /e  3>abc"), answers);
}

static void an_expectation_is_met_before_the_body(void **state) {
    struct client *client = *state;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    await(client, 1);
    assert_string_equal(client->input, "HTTP/1.1 100 Continue\r\n\r\n");
    say(client, "hello");
    await(client, 2);
    assert_non_null(strstr(client->input, "<POST /p  5>hello"));
}

static void no_continue_is_sent_for_a_body_that_is_there_or_too_large(void **state) {
    struct client *client = *state;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    await(client, 1);
    assert_null(strstr(client->input, "100 Continue"));
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n");
    await(client, 2);
    assert_null(strstr(client->input, "100 Continue"));
    assert_non_null(strstr(client->input, "HTTP/1.1 413 "));
}

static void head_is_answered_without_the_body(void **state) {
    struct client *client = *state;
    say(client, "HEAD /a HTTP/1.1\r\n" HOST "\r\n");
    await(client, 1);
    assert_non_null(strstr(client->input, "Content-Length: 12\r\n")); /* of <HEAD /a  0> */
    assert_string_equal(strstr(client->input, "\r\n\r\n"), "\r\n\r\n");
}

static void http_1_0_closes_unless_asked(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    await(client, 1);
    assert_non_null(strstr(client->input, "\r\nConnection: keep-alive\r\n"));
    say(client, "GET /b HTTP/1.0\r\n\r\n");
    await_end(client);
    assert_non_null(strstr(client->input, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(client->input, "<GET /b  0>"));
}

static void connection_close_is_obeyed(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\n");
    await_end(client);
    assert_int_equal(count_of(client->input, "HTTP/1.1 "), 1);
    assert_non_null(strstr(client->input, "\r\nConnection: close\r\n"));
}

static void absolute_targets_are_split(void **state) {
    struct client *client = *state;
    say(client, "GET http://h:80/a?b HTTP/1.1\r\n" HOST "\r\n");
    await(client, 1);
    assert_non_null(strstr(client->input, "<GET /a b 0>"));
}

static void metrics_are_the_gateways_own(void **state) {
    struct client *client = *state;
    say(client, "GET /metrics HTTP/1.1\r\n" HOST "\r\n");
    await(client, 1);
    assert_non_null(strstr(client->input, "Content-Type: text/plain; version=0.0.4\r\n"));
    assert_non_null(strstr(client->input, "http_requests_total"));
    say(client, "POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    await(client, 2);
    assert_non_null(strstr(client->input, "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_non_null(strstr(client->input, "\r\nAllow: GET, HEAD\r\n"));
    assert_int_equal(fixture.handled, 0);
}

/* ---- bad ones ---- */

static void a_bad_request_is_answered_and_closed(void **state) {
    struct client *client = *state;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
    await_end(client);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 400 Bad Request\r\n", 26), 0);
    assert_non_null(strstr(client->input, "\"code\":\"bad_request\""));
    assert_int_equal(count_of(client->input, "HTTP/1.1 "), 1);
    assert_int_equal(fixture.handled, 0);
}

static void a_bad_chunk_is_answered_and_closed(void **state) {
    struct client *client = *state;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    await_end(client);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 400 ", 13), 0);
    assert_int_equal(fixture.handled, 0);
}

static void the_answer_to_a_body_too_large_is_not_lost_by_a_reset(void **state) {
    struct client *client = *state;
    fixture.config.http_request_max_bytes = 100000;
    char *body = calloc(1, 1000000);
    assert_non_null(body);
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    write_client(client, body, 1000000);
    await_end(client);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 413 ", 13), 0);
    assert_false(client->reset);
    free(body);
}

static void chunked_bodies_have_the_same_limit(void **state) {
    struct client *client = *state;
    fixture.config.http_request_max_bytes = 2000;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n7d1\r\n");
    char body[2001];
    memset(body, 'x', sizeof body);
    write_client(client, body, sizeof body);
    await_end(client);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 413 ", 13), 0);
}

static void memory_for_requests_is_bounded_whatever_is_claimed(void **state) {
    struct client *client = *state;
    fixture.config.http_queued_max_bytes = 1024 * 1024;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 10000000\r\n\r\n");
    run_ms(5);
    assert_true(fixture.gateway.http->request_bytes < 200 * 1024);
    char *body = calloc(1, 3000000);
    assert_non_null(body);
    write_client(client, body, 3000000);
    await(client, 1);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 503 ", 13), 0);
    assert_non_null(strstr(client->input, "\r\nRetry-After: 1\r\n"));
    free(body);
}

static void a_slow_request_is_answered_408_and_delays_nobody(void **state) {
    struct client *slow = *state, *other = &fixture.clients[1];
    fixture.config.receive_timeout_ms = 100;
    connect_client(other);
    say(slow, "POST /p HTTP/1.1\r\n" HOST "Content-Le");
    run_ms(20);
    say(other, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await(other, 1);
    assert_int_equal(slow->used, 0);
    for (int i = 0; i < 30 && !slow->ended; i++) {
        say(slow, "x"); /* a byte now and then does not help */
        run_ms(10);
        read_client(slow);
    }
    assert_int_equal(strncmp(slow->input, "HTTP/1.1 408 ", 13), 0);
    await_end(slow);
    assert_false(other->ended);
}

static void a_call_may_take_longer_than_its_request(void **state) {
    struct client *client = *state;
    fixture.config.receive_timeout_ms = 100;
    fixture.held = true;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
    run_ms(20);
    say(client, "llo");
    run_ms(200);
    let_go();
    await(client, 1);
    assert_non_null(strstr(client->input, "<POST /p  5>hello"));
}

static void a_silent_client_is_closed_without_a_word(void **state) {
    struct client *client = *state;
    struct client *other = &fixture.clients[1];
    (void)client;
    fixture.config.connections_max_idle_ms = 50;
    connect_client(other);
    await_end(other);
    assert_int_equal(other->used, 0);
}

static void when_the_handlers_have_no_memory_the_connection_stays(void **state) {
    struct client *client = *state;
    fixture.out_of_memory = true;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await(client, 1);
    assert_int_equal(strncmp(client->input, "HTTP/1.1 503 ", 13), 0);
    fixture.out_of_memory = false;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await(client, 2);
    assert_non_null(strstr(client->input, "<GET /a  0>"));
}

/* ---- the connection's end ---- */

static void a_client_that_goes_during_its_call_is_forgotten(void **state) {
    struct client *client = *state;
    fixture.held = true;
    say(client, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    run_ms(10);
    assert_int_equal(fixture.call_count, 1);
    gw_listener_close_all(fixture.listener);
    run_ms(10);
    assert_int_equal(gw_listener_connections(fixture.listener), 0);
    let_go();
    run_ms(10);
    assert_int_equal(fixture.call_count, 0);
}

static void a_client_that_only_stops_sending_gets_all_its_answers(void **state) {
    struct client *client = *state;
    fixture.held = true;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
    run_ms(20);
    let_go();
    await_end(client);
    assert_non_null(strstr(client->input, "<GET /a  0>"));
    assert_non_null(strstr(client->input, "<GET /b  0>"));
}

static void a_client_that_does_not_read_is_not_read_from(void **state) {
    struct client *client = *state;
    fixture.answer_size = 200 * 1024;
    char text[4000] = "";
    for (int i = 0; i < 100; i++) {
        strncat(text, "GET /a HTTP/1.1\r\n" HOST "\r\n", sizeof text - strlen(text) - 1);
    }
    say(client, text);
    run_ms(50);
    assert_true(fixture.handled < 60);
    for (int i = 0; i < 3000 && count_of(client->input, "HTTP/1.1 ") < 30; i++) {
        read_client(client);
        run_ms(1);
    }
    assert_true(count_of(client->input, "HTTP/1.1 ") >= 30); /* goes on when it reads again */
}

static void a_burst_waits_in_its_sockets(void **state) {
    (void)state;
    fixture.config.queued_max_requests = 2;
    fixture.held = true;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (i > 0) {
            connect_client(&fixture.clients[i]);
        }
        run_ms(5);
        say(&fixture.clients[i], "GET /a HTTP/1.1\r\n" HOST "\r\n");
        run_ms(5);
    }
    assert_int_equal(fixture.call_count, 2);
    close(fixture.clients[2].fd); /* one of those that wait gives up */
    fixture.clients[2].fd = -1;
    let_go();
    await(&fixture.clients[0], 1);
    await(&fixture.clients[1], 1);
    await(&fixture.clients[3], 1);
    assert_int_equal(fixture.under_way_most, 2);
    assert_int_equal(fixture.gateway.http->calls, 0);
    assert_null(fixture.gateway.http->waiting);
}

static void a_drain_ends_idle_connections_and_lets_the_busy_answer(void **state) {
    struct client *busy = *state, *idle = &fixture.clients[1];
    connect_client(idle);
    fixture.held = true;
    say(busy, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    run_ms(10);
    fixture.gateway.draining = true;
    gw_listener_stop(fixture.listener);
    gw_http_drain(&fixture.gateway);
    await_end(idle);
    assert_int_equal(idle->used, 0);
    run_ms(20);
    read_client(busy);
    assert_false(busy->ended);
    let_go();
    await_end(busy);
    assert_non_null(strstr(busy->input, "Connection: close\r\n"));
    assert_non_null(strstr(busy->input, "<GET /a  0>"));
}

static void too_many_connections_are_closed_at_once(void **state) {
    (void)state;
    fixture.held = true;
    for (int i = 1; i < CLIENTS_MAX; i++) {
        connect_client(&fixture.clients[i]);
    }
    run_ms(10);
    assert_int_equal(gw_listener_connections(fixture.listener), CLIENTS_MAX);
    struct client more = {0};
    connect_client(&more);
    await_end(&more);
    assert_int_equal(gw_listener_connections(fixture.listener), CLIENTS_MAX);
    close(more.fd);
    free(more.input);
}

static void dates_are_those_of_the_calendar(void **state) {
    (void)state;
    static const struct {
        int64_t unix_s;
        const char *text;
    } dates[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},          {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},  {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {951868800, "Wed, 01 Mar 2000 00:00:00 GMT"},  {1735689599, "Tue, 31 Dec 2024 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
    };
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        char text[GW_HTTP_DATE_MAX];
        gw_http_date(dates[i].unix_s, text);
        assert_string_equal(text, dates[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_get_is_answered_with_date_and_length),
        CASE(a_connection_serves_one_request_after_the_other),
        CASE(pipelined_requests_are_answered_in_order_one_at_a_time),
        CASE(a_request_may_come_byte_by_byte),
        CASE(chunked_bodies_are_put_together),
        CASE(large_bodies_arrive_whole),
        CASE(a_head_larger_than_the_first_buffer_is_read),
        CASE(heads_of_every_length_around_the_buffers_end_work_with_chunks),
        CASE(an_expectation_is_met_before_the_body),
        CASE(no_continue_is_sent_for_a_body_that_is_there_or_too_large),
        CASE(head_is_answered_without_the_body),
        CASE(http_1_0_closes_unless_asked),
        CASE(connection_close_is_obeyed),
        CASE(absolute_targets_are_split),
        CASE(metrics_are_the_gateways_own),
        CASE(a_bad_request_is_answered_and_closed),
        CASE(a_bad_chunk_is_answered_and_closed),
        CASE(the_answer_to_a_body_too_large_is_not_lost_by_a_reset),
        CASE(chunked_bodies_have_the_same_limit),
        CASE(memory_for_requests_is_bounded_whatever_is_claimed),
        CASE(a_slow_request_is_answered_408_and_delays_nobody),
        CASE(a_call_may_take_longer_than_its_request),
        CASE(a_silent_client_is_closed_without_a_word),
        CASE(when_the_handlers_have_no_memory_the_connection_stays),
        CASE(a_client_that_goes_during_its_call_is_forgotten),
        CASE(a_client_that_only_stops_sending_gets_all_its_answers),
        CASE(a_client_that_does_not_read_is_not_read_from),
        CASE(a_burst_waits_in_its_sockets),
        CASE(a_drain_ends_idle_connections_and_lets_the_busy_answer),
        CASE(too_many_connections_are_closed_at_once),
        cmocka_unit_test(dates_are_those_of_the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
