/* The connection to the runtime API, against a socket of this test: bodies as they go over the wire. */
#include "lambda/runtime/link.h"
#include "storage/runtime/loop_poll.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PASSES_MAX 20000000

struct world {
    struct st_loop *loop;
    struct rest_link *link;
    int listener, fd;
    struct rest_link_request request;
    bool done;
    unsigned rooms;
    char *got;
    size_t got_len;
};

static void pass(struct world *world) {
    st_loop_poll_stop(world->loop);
    st_loop_poll_run(world->loop);
}

static void request_done(struct rest_link_request *request) {
    ST_OWNER(request, struct world, request)->done = true;
}

static void room(struct rest_link_request *request) {
    ST_OWNER(request, struct world, request)->rooms++;
}

static void world_init(struct world *world) {
    *world = (struct world){.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .fd = -1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(world->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(world->listener, 8), 0);
    assert_int_equal(getsockname(world->listener, (struct sockaddr *)&address, &size), 0);
    world->loop = st_loop_poll_new();
    char text[64], message[256];
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(address.sin_port));
    world->link = rest_link_new(world->loop, text, message, sizeof message);
    assert_non_null(world->link);
    world->request = (struct rest_link_request){
        .method = "POST",
        .target = "/x",
        .headers = "A: b\r\n",
        .answer_max = 1024,
        .done = request_done,
        .room = room,
    };
    kp_chain_init(&world->request.body);
    world->got = malloc(4u << 20);
    assert_non_null(world->got);
}

static void world_free(struct world *world) {
    rest_link_free(world->link);
    st_loop_poll_free(world->loop);
    close(world->fd);
    close(world->listener);
    free(world->got);
}

static void take_connection(struct world *world) {
    if (world->fd >= 0) {
        close(world->fd);
    }
    for (unsigned i = 0; i < PASSES_MAX; i++) {
        pass(world);
        world->fd = accept4(world->listener, NULL, NULL, SOCK_NONBLOCK);
        if (world->fd >= 0) {
            world->got_len = 0;
            return;
        }
    }
    fail_msg("no connection came");
}

/* Reads until what came ends in this text. */
static void read_until(struct world *world, const char *end) {
    size_t len = strlen(end);
    for (unsigned i = 0; i < PASSES_MAX; i++) {
        pass(world);
        ssize_t n = recv(world->fd, world->got + world->got_len, (4u << 20) - 1 - world->got_len, 0);
        world->got_len += n > 0 ? (size_t)n : 0;
        world->got[world->got_len] = 0;
        if (world->got_len >= len && strcmp(world->got + world->got_len - len, end) == 0) {
            return;
        }
    }
    fail_msg("came: %.200s", world->got);
}

static void answer(struct world *world) {
    static const char text[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
    assert_int_equal(send(world->fd, text, sizeof text - 1, 0), sizeof text - 1);
    for (unsigned i = 0; i < PASSES_MAX && !world->done; i++) {
        pass(world);
    }
    assert_true(world->done);
    assert_int_equal(world->request.end, REST_LINK_ANSWERED);
    assert_int_equal(world->request.reply->status, 202);
    world->done = false;
}

static void write_text(struct world *world, const char *text) {
    struct kp_chain piece;
    kp_chain_init(&piece);
    kp_chain_copy(&piece, text, strlen(text));
    assert_true(rest_link_write(world->link, &piece));
    assert_int_equal(piece.bytes, 0);
}

static void a_whole_body_is_sent_again_over_a_new_connection(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    kp_chain_copy(&world.request.body, "body", 4);
    rest_link_start(world.link, &world.request);
    char expected[256];
    for (int tries = 0; tries < 3; tries++) {
        take_connection(&world); /* which ends the one before */
        read_until(&world, "body");
        const char *host = strstr(world.got, "Host: ");
        snprintf(expected, sizeof expected, "POST /x HTTP/1.1\r\n%.*s\r\nA: b\r\nContent-Length: 4\r\n\r\nbody",
                 (int)strcspn(host, "\r"), host);
        assert_string_equal(world.got, expected);
        if (tries == 1) { /* an answer that is cut counts for nothing */
            assert_int_equal(send(world.fd, "HTTP/1.1 202 Acc", 16, 0), 16);
        }
    }
    answer(&world);
    world_free(&world);
}

static void a_connection_is_kept_for_the_next_request(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    for (int i = 0; i < 3; i++) {
        world.request.method = i == 1 ? "GET" : "POST";
        rest_link_start(world.link, &world.request);
        if (i == 0) {
            take_connection(&world);
        }
        read_until(&world, "\r\n\r\n");
        answer(&world);
        world.got_len = 0;
    }
    world_free(&world);
}

static void a_stream_goes_in_chunks_and_tells_an_error_in_its_trailers(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    world.request.streamed = true;
    kp_chain_copy(&world.request.body, "head", 4);
    rest_link_start(world.link, &world.request);
    take_connection(&world);
    read_until(&world, "\r\n\r\n4\r\nhead\r\n");
    assert_non_null(strstr(world.got, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_null(strstr(world.got, "Content-Length"));
    write_text(&world, "some more bytes");
    read_until(&world, "\r\nf\r\nsome more bytes\r\n");
    write_text(&world, ""); /* would be the end if it were sent */
    rest_link_finish(world.link, "Error-Type: A.B\r\n");
    read_until(&world, "bytes\r\n0\r\nError-Type: A.B\r\n\r\n");
    answer(&world);
    world_free(&world);
}

static void a_stream_that_is_not_taken_has_no_room_until_it_is(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    world.request.streamed = true;
    rest_link_start(world.link, &world.request);
    take_connection(&world);
    struct kp_blob *blob = kp_blob_new(64 * 1024);
    assert_non_null(blob);
    memset(blob->data, 'x', blob->size);
    size_t written = 0;
    for (bool roomy = true; roomy;) {
        struct kp_chain piece;
        kp_chain_init(&piece);
        kp_chain_piece(&piece, (struct kp_piece){blob, kp_slice_of(blob->data, blob->size)});
        roomy = rest_link_write(world.link, &piece);
        written += blob->size;
        assert_true(written < 32u << 20);
    }
    kp_blob_unref(blob);
    assert_int_equal(world.rooms, 0);
    for (unsigned i = 0; i < PASSES_MAX && world.rooms == 0; i++) {
        pass(&world);
        world.got_len = 0;
        (void)!recv(world.fd, world.got, 4u << 20, 0);
    }
    assert_int_equal(world.rooms, 1);
    world_free(&world);
}

static void an_answer_before_the_end_of_a_stream_ends_it(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    world.request.streamed = true;
    kp_chain_copy(&world.request.body, "head", 4);
    rest_link_start(world.link, &world.request);
    take_connection(&world);
    read_until(&world, "head\r\n");
    answer(&world);
    write_text(&world, "nobody takes this");
    rest_link_finish(world.link, "");
    world_free(&world);
}

static void only_addresses_are_taken(void **state) {
    (void)state;
    static const char *const bad[] = {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
                                      "127.0.0.1:1x", "example.com:80", "[::1]:80", "127.0.0.1:-1"};
    struct st_loop *loop = st_loop_poll_new();
    char message[256];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(rest_link_new(loop, bad[i], message, sizeof message));
        assert_non_null(strstr(message, "AWS_LAMBDA_RUNTIME_API must be"));
    }
    struct rest_link *link = rest_link_new(loop, "localhost:9001", message, sizeof message);
    assert_non_null(link);
    rest_link_free(link);
    st_loop_poll_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_body_is_sent_again_over_a_new_connection),
        cmocka_unit_test(a_connection_is_kept_for_the_next_request),
        cmocka_unit_test(a_stream_goes_in_chunks_and_tells_an_error_in_its_trailers),
        cmocka_unit_test(a_stream_that_is_not_taken_has_no_room_until_it_is),
        cmocka_unit_test(an_answer_before_the_end_of_a_stream_ends_it),
        cmocka_unit_test(only_addresses_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
