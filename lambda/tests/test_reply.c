/* Answers of the runtime API from bytes, however these are cut. */
#include "lambda/runtime/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BODY_MAX 64

/* Feeds text in pieces of this size, each from memory of its exact size. */
static enum rest_reply_step feed(struct rest_reply *reply, const char *text, size_t piece, size_t *used) {
    size_t len = strlen(text);
    rest_reply_init(reply, BODY_MAX);
    *used = 0;
    enum rest_reply_step step = REST_REPLY_MORE;
    while (*used < len && step == REST_REPLY_MORE) {
        size_t some = len - *used < piece ? len - *used : piece, taken;
        uint8_t *copy = malloc(some);
        assert_non_null(copy);
        memcpy(copy, text + *used, some);
        step = rest_reply_feed(reply, copy, some, &taken);
        free(copy);
        *used += taken;
    }
    return step;
}

#define EVENT_HEAD                                                \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"       \
    "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n" \
    "Lambda-Runtime-Deadline-Ms:1542409706888\r\n"                \
    "Lambda-Runtime-Trace-Id: \tRoot=1-5bef4de7;Sampled=1 \r\n"

static void an_event_is_the_same_however_it_is_cut(void **state) {
    (void)state;
    static const char *const forms[] = {
        EVENT_HEAD "Content-Length: 7\r\n\r\n{\"a\":1}",
        EVENT_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\nTrailer: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n" EVENT_HEAD "Content-Length: 7\r\n\r\n{\"a\":1}",
    };
    static struct rest_reply reply;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        for (size_t piece = 1; piece <= strlen(forms[i]); piece++) {
            size_t used;
            assert_int_equal(feed(&reply, forms[i], piece, &used), REST_REPLY_DONE);
            assert_int_equal(used, strlen(forms[i]));
            assert_int_equal(reply.status, 200);
            assert_true(reply.keep_alive);
            assert_string_equal(reply.request_id, "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
            assert_string_equal(reply.trace_id, "Root=1-5bef4de7;Sampled=1");
            assert_int_equal(reply.deadline_ms, 1542409706888);
            assert_int_equal(reply.body_len, 7);
            assert_memory_equal(reply.body->data, "{\"a\":1}", 7);
            rest_reply_release(&reply);
        }
    }
}

static void a_body_may_end_with_the_connection(void **state) {
    (void)state;
    static struct rest_reply reply;
    size_t used;
    assert_int_equal(feed(&reply, "HTTP/1.1 200 OK\r\n\r\nabc", 5, &used), REST_REPLY_MORE);
    assert_int_equal(rest_reply_end(&reply), REST_REPLY_DONE);
    assert_false(reply.keep_alive);
    assert_int_equal(reply.body_len, 3);
    rest_reply_release(&reply);
    assert_int_equal(feed(&reply, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", 5, &used), REST_REPLY_MORE);
    assert_int_equal(rest_reply_end(&reply), REST_REPLY_BAD);
    rest_reply_release(&reply);
}

static void what_follows_an_answer_is_not_its_own(void **state) {
    (void)state;
    static struct rest_reply reply;
    size_t used;
    static const char first[] = "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    char both[256];
    snprintf(both, sizeof both, "%s%s", first, "HTTP/1.1 500 x\r\n\r\n");
    assert_int_equal(feed(&reply, both, sizeof both, &used), REST_REPLY_DONE);
    assert_int_equal(used, strlen(first));
    assert_false(reply.keep_alive);
    rest_reply_release(&reply);
    assert_int_equal(feed(&reply, "HTTP/1.0 204 \r\nContent-Length: 9\r\n\r\n", 1, &used), REST_REPLY_DONE);
    assert_false(reply.keep_alive);
    assert_null(reply.body);
}

static void a_body_that_is_too_large_leaves_the_head(void **state) {
    (void)state;
    static const char *const forms[] = {
        EVENT_HEAD "Content-Length: 65\r\n\r\n",
        EVENT_HEAD "Content-Length: 18446744073709551615\r\n\r\n",
        EVENT_HEAD "Transfer-Encoding: chunked\r\n\r\n41\r\n",
        EVENT_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nffffffffffffffff\r\n",
        EVENT_HEAD "\r\n0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    static struct rest_reply reply;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t used;
        assert_int_equal(feed(&reply, forms[i], 7, &used), REST_REPLY_TOO_LARGE);
        assert_string_equal(reply.request_id, "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        rest_reply_release(&reply);
    }
}

static void what_is_no_answer_is_refused(void **state) {
    (void)state;
    static const char *const forms[] = {
        "\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
    };
    static struct rest_reply reply;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t used;
        if (feed(&reply, forms[i], 3, &used) != REST_REPLY_BAD) {
            fail_msg("taken: %s", forms[i]);
        }
        rest_reply_release(&reply);
    }
}

static void a_head_and_a_line_have_an_end(void **state) {
    (void)state;
    static struct rest_reply reply;
    static char text[REST_REPLY_HEAD_MAX + 64];
    int begun = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX: ");
    memset(text + begun, 'a', sizeof text - (size_t)begun - 1);
    size_t used;
    assert_int_equal(feed(&reply, text, 1000, &used), REST_REPLY_BAD);
    assert_int_equal(used, REST_REPLY_HEAD_MAX);
    begun = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    memset(text + begun, 'a', sizeof text - (size_t)begun - 1);
    assert_int_equal(feed(&reply, text, 1000, &used), REST_REPLY_BAD);
    rest_reply_release(&reply);
}

static void an_id_that_fits_no_path_is_none(void **state) {
    (void)state;
    static const char *const ids[] = {"", "a/../b", "a b", "a%2f", "a\r", "\xc3\xa4"};
    static struct rest_reply reply;
    char text[512];
    size_t used;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %s\r\nContent-Length: 0\r\n\r\n",
                 ids[i]);
        assert_int_equal(feed(&reply, text, 11, &used), REST_REPLY_DONE);
        assert_string_equal(reply.request_id, "");
    }
    char id[REST_REQUEST_ID_MAX + 2];
    memset(id, 'a', sizeof id);
    id[sizeof id - 1] = 0;
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %s\r\nContent-Length: 0\r\n\r\n",
             id);
    assert_int_equal(feed(&reply, text, 11, &used), REST_REPLY_DONE);
    assert_string_equal(reply.request_id, "");
}

static void a_deadline_that_is_no_number_is_none(void **state) {
    (void)state;
    static const char *const times[] = {"", "-5", "1.5", "soon", "99999999999999999999", "18446744073709551615"};
    static struct rest_reply reply;
    char text[256];
    size_t used;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nLambda-Runtime-Deadline-Ms: %s\r\nContent-Length: 0\r\n\r\n",
                 times[i]);
        assert_int_equal(feed(&reply, text, 64, &used), REST_REPLY_DONE);
        assert_int_equal(reply.deadline_ms, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_the_same_however_it_is_cut),
        cmocka_unit_test(a_body_may_end_with_the_connection),
        cmocka_unit_test(what_follows_an_answer_is_not_its_own),
        cmocka_unit_test(a_body_that_is_too_large_leaves_the_head),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_head_and_a_line_have_an_end),
        cmocka_unit_test(an_id_that_fits_no_path_is_none),
        cmocka_unit_test(a_deadline_that_is_no_number_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
