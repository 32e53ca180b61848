/* Answers that come in pieces: chunked, or until the connection closes, and what the client does meanwhile. */
#include "gateway/tests/http_fixture.h"

static struct rest_call *call; /* the one under way; its answer is given by the test, outside rest_handle */

static bool keep_call(struct rest *rest, struct rest_call *kept) {
    (void)rest;
    assert_null(call);
    call = kept;
    fixture.handled++;
    return true;
}

static int setup_pieces(void **state) {
    call = NULL;
    int failed = setup(state);
    fixture.gateway.http->handle = keep_call;
    return failed;
}

static void await_call(void) {
    for (int i = 0; i < 2000 && call == NULL; i++) {
        run_ms(1);
    }
    assert_non_null(call);
}

static void begin(void) {
    call->streaming = true;
    call->response = (struct rest_response){.status = 200, .content_type = "text/event-stream"};
    kp_chain_init(&call->response.body);
    call->waits(call);
    call->begun(call);
}

static bool piece(const char *text, size_t len) {
    struct kp_chain chain;
    kp_chain_init(&chain);
    kp_chain_copy(&chain, text, len);
    bool room = call->piece(call, &chain);
    assert_int_equal(chain.bytes, 0);
    return room;
}

static void end(bool cut) {
    struct rest_call *over = call;
    call = NULL;
    over->cut = cut;
    kp_chain_init(&over->response.body);
    over->done(over);
}

static void await_text(struct client *client, const char *text) {
    for (int i = 0; i < 2000 && strstr(client->input, text) == NULL; i++) {
        run_ms(1);
        read_client(client);
    }
    assert_non_null(strstr(client->input, text));
}

static void pieces_leave_as_chunks_and_the_connection_goes_on(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    begin();
    assert_true(piece("one", 3));
    await_text(client, "3\r\none\r\n");
    assert_null(strstr(client->input, "Content-Length"));
    assert_non_null(strstr(client->input, "Transfer-Encoding: chunked\r\n"));
    assert_true(piece("", 0)); /* an empty chunk would be the end */
    assert_true(piece("twelve bytes", 12));
    end(false);
    await_text(client, "c\r\ntwelve bytes\r\n0\r\n\r\n");
    say(client, "GET /b HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    begin();
    end(false);
    await_text(client, "\r\n\r\n0\r\n\r\n");
    assert_false(client->ended);
}

static void http_1_0_gets_the_pieces_bare_and_then_the_end(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    await_call();
    begin();
    assert_true(piece("one", 3));
    assert_true(piece("two", 3));
    end(false);
    await_end(client);
    assert_null(strstr(client->input, "chunked"));
    assert_non_null(strstr(client->input, "Connection: close\r\n"));
    assert_non_null(strstr(client->input, "\r\n\r\nonetwo"));
}

static void an_answer_that_is_cut_does_not_look_whole(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    begin();
    assert_true(piece("one", 3));
    await_text(client, "3\r\none\r\n");
    end(true);
    await_end(client);
    assert_null(strstr(client->input, "0\r\n\r\n"));
}

static void a_head_request_is_not_answered_in_pieces(void **state) {
    struct client *client = *state;
    say(client, "HEAD /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    assert_null(call->begun);
    struct rest_call *over = call;
    call = NULL;
    answer(over);
    await(client, 1);
}

static void a_client_that_does_not_read_stops_the_pieces(void **state) {
    struct client *client = *state;
    static char filler[64 * 1024];
    memset(filler, 'x', sizeof filler);
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    begin();
    size_t sent = 0;
    bool room = true;
    for (; room && sent < 64 * 1024 * 1024; sent += sizeof filler) {
        room = piece(filler, sizeof filler);
        run_ms(1);
    }
    assert_false(room);
    assert_in_range(sent, GW_CONN_LOW_WATER, 32 * 1024 * 1024);
    end(false);
    read_client(client);
    assert_false(client->reset);
}

static void what_waits_leaves_its_turn_to_others(void **state) {
    fixture.config.queued_max_requests = 1;
    struct client *client = *state, *other = &fixture.clients[1];
    connect_client(other);
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    struct rest_call *first = call;
    call = NULL;
    say(other, "GET /b HTTP/1.1\r\n" HOST "\r\n");
    run_ms(20);
    assert_null(call);
    first->waits(first);
    await_call();
    answer(call);
    await(other, 1);
    call = NULL;
    answer(first);
    await(client, 1);
    assert_int_equal(fixture.gateway.http->calls, 0);
}

static void a_client_that_has_gone_is_noticed_while_its_call_waits(void **state) {
    struct client *client = *state;
    say(client, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    await_call();
    begin();
    await_text(client, "chunked");
    struct linger none = {.l_onoff = 1, .l_linger = 0}; /* an RST */
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(client->fd);
    client->fd = -1;
    for (int i = 0; i < 2000 && gw_listener_connections(fixture.listener) > 0; i++) {
        run_ms(1);
    }
    assert_int_equal(gw_listener_connections(fixture.listener), 0);
    assert_true(piece("nobody", 6));
    end(false);
}

int main(void) {
#define PIECES(name) cmocka_unit_test_setup_teardown(name, setup_pieces, teardown)
    const struct CMUnitTest tests[] = {
        PIECES(pieces_leave_as_chunks_and_the_connection_goes_on),
        PIECES(http_1_0_gets_the_pieces_bare_and_then_the_end),
        PIECES(an_answer_that_is_cut_does_not_look_whole),
        PIECES(a_head_request_is_not_answered_in_pieces),
        PIECES(a_client_that_does_not_read_stops_the_pieces),
        PIECES(what_waits_leaves_its_turn_to_others),
        PIECES(a_client_that_has_gone_is_noticed_while_its_call_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
