/* Requests as tables: what is understood, what is refused and with which status, in one piece and byte by byte. */
#include "gateway/http/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

/* A head, and what is expected of it: a line of "method target version keep-alive framing", or the error. */
struct head_case {
    const char *name, *bytes, *expected;
};

#define GET "GET / HTTP/1.1\r\nHost: h\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"

static const struct head_case understood[] = {
    {"the least request", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 keep none 1"},
    {"an empty line before it", "\r\n" GET "\r\n", "GET / 1.1 keep none 1"},
    {"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1 keep none 1"},
    {"Host with port", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET / 1.1 keep none 1"},
    {"a name in capitals", "GET / HTTP/1.1\r\nHOST: h\r\nCONTENT-LENGTH: 0\r\n\r\n", "GET / 1.1 keep 0 2"},
    {"no blank after the colon", POST "Content-Length:12\r\n\r\n", "POST / 1.1 keep 12 2"},
    {"blanks and tabs around a value", POST "Content-Length: \t 12 \t\r\n\r\n", "POST / 1.1 keep 12 2"},
    {"leading zeros", POST "Content-Length: 0012\r\n\r\n", "POST / 1.1 keep 12 2"},
    {"an empty value", GET "X:\r\n\r\n", "GET / 1.1 keep none 2"},
    {"obs-text in a value", GET "X: \xc3\xa4\r\n\r\n", "GET / 1.1 keep none 2"},
    {"a length that no integer holds", POST "Content-Length: 99999999999999999999999\r\n\r\n",
     "POST / 1.1 keep 18446744073709551615 2"},
    {"chunked", POST "Transfer-Encoding: Chunked\r\n\r\n", "POST / 1.1 keep chunked 2"},
    {"close", GET "Connection: close\r\n\r\n", "GET / 1.1 close none 2"},
    {"close in a list", GET "Connection: x, Close\r\n\r\n", "GET / 1.1 close none 2"},
    {"close in the second of two fields", GET "Connection: x\r\nConnection: close\r\n\r\n", "GET / 1.1 close none 3"},
    {"close wins", GET "Connection: keep-alive, close\r\n\r\n", "GET / 1.1 close none 2"},
    {"HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close none 0"},
    {"HTTP/1.0 keeps on request", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0 keep none 1"},
    {"HTTP/1.2 is spoken as 1.1", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "GET / 1.1 keep none 1"},
    {"an expectation", POST "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n", "POST / 1.1 keep 1 continue 3"},
    {"HTTP/1.0 has no expectations", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
     "POST / 1.0 close 1 2"},
    {"an unknown method", "BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", "BREW /pot 1.1 keep none 1"},
    {"a target with everything", "GET http://h:1/a%20b;c?d=e&f=[{|}]^`~ HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET http://h:1/a%20b;c?d=e&f=[{|}]^`~ 1.1 keep none 1"},
    {"the asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * 1.1 keep none 1"},
    {"DELETE without a length", "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE /x 1.1 keep none 1"},
};

static const struct head_case refused[] = {
    /* framing that two readers could see differently */
    {"two lengths", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
    {"two equal lengths", POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "400"},
    {"a list of lengths", POST "Content-Length: 1, 1\r\n\r\n", "400"},
    {"length and chunked", POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {"chunked and length", POST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "400"},
    {"a signed length", POST "Content-Length: +1\r\n\r\n", "400"},
    {"a negative length", POST "Content-Length: -1\r\n\r\n", "400"},
    {"a hexadecimal length", POST "Content-Length: 0x1\r\n\r\n", "400"},
    {"a length with a blank", POST "Content-Length: 1 0\r\n\r\n", "400"},
    {"an empty length", POST "Content-Length:\r\n\r\n", "400"},
    {"a length and an empty one", POST "Content-Length: 1\r\nContent-Length:\r\n\r\n", "400"},
    {"chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", "400"},
    {"chunked in two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {"chunked not last", POST "Transfer-Encoding: chunked, gzip\r\n\r\n", "400"},
    {"identity and chunked in two fields", POST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
     "400"},
    {"no chunked at all", POST "Transfer-Encoding: gzip\r\n\r\n", "400"},
    {"an unknown coding", POST "Transfer-Encoding: xchunked\r\n\r\n", "400"},
    {"chunked in quotes", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", "400"},
    {"an empty coding", POST "Transfer-Encoding:\r\n\r\n", "400"},
    {"a comma after chunked", POST "Transfer-Encoding: chunked,\r\n\r\n", "400"},
    {"vertical tab before chunked", POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n", "400"},
    {"a coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {"a coding below chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", "501"},
    {"a blank before the colon", POST "Content-Length : 1\r\n\r\n", "400"},
    {"a tab before the colon", POST "Transfer-Encoding\t: chunked\r\n\r\n", "400"},
    {"obs-fold", GET "X: a\r\n b\r\n\r\n", "400"},
    {"a first line that is folded", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400"},
    {"a bare LF in the end", "GET / HTTP/1.1\nHost: h\n\n", "400"},
    {"a bare LF at the empty line", GET "\n", "400"},
    {"a bare CR in a value", GET "X: a\rb\r\n\r\n", "400"},
    {"CR CR LF", GET "X: a\r\r\n\r\n", "400"},
    {"a control character in a value", GET "X: a\x01\r\n\r\n", "400"},
    {"DEL in a value", GET "X: a\x7f\r\n\r\n", "400"},
    {"a name with a bracket", GET "X[y]: a\r\n\r\n", "400"},
    {"no name", GET ": a\r\n\r\n", "400"},
    {"no colon", GET "nothing\r\n\r\n", "400"},
    {"no Host", "GET / HTTP/1.1\r\n\r\n", "400"},
    {"two Hosts", GET "Host: i\r\n\r\n", "400"},
    {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
    {"a Host with a path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "400"},
    {"a Host with a user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400"},
    {"a Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
    /* the request line */
    {"two empty lines before it", "\r\n\r\n" GET "\r\n", "400"},
    {"HTTP/0.9", "GET /\r\n\r\n", "400"},
    {"two blanks", "GET  / HTTP/1.1\r\n\r\n", "400"},
    {"a blank at its end", "GET / HTTP/1.1 \r\n\r\n", "400"},
    {"a blank at its beginning", " GET / HTTP/1.1\r\n\r\n", "400"},
    {"a tab as separator", "GET\t/\tHTTP/1.1\r\n\r\n", "400"},
    {"a blank in the target", "GET /a b HTTP/1.1\r\n\r\n", "400"},
    {"a fragment in the target", "GET /a#b HTTP/1.1\r\n\r\n", "400"},
    {"bytes beyond ASCII in the target", "GET /\xc3\xa4 HTTP/1.1\r\n\r\n", "400"},
    {"a method in brackets", "(GET) / HTTP/1.1\r\n\r\n", "400"},
    {"no method", " / HTTP/1.1\r\n\r\n", "400"},
    {"a small http", "GET / http/1.1\r\n\r\n", "400"},
    {"a version of three parts", "GET / HTTP/1.1.1\r\n\r\n", "400"},
    {"a version with a plus", "GET / HTTP/+1.1\r\n\r\n", "400"},
    {"a version of two digits", "GET / HTTP/11.1\r\n\r\n", "400"},
    {"HTTP/2 spoken to us", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
    {"TLS spoken to us", "\x16\x03\x01\x02\x01", "400"},
    /* the rest */
    {"POST without a length", POST "\r\n", "411"},
    {"PUT without a length", "PUT / HTTP/1.1\r\nHost: h\r\n\r\n", "411"},
    {"an unknown expectation", POST "Content-Length: 1\r\nExpect: 200-ok\r\n\r\n", "417"},
};

static void describe(const struct gw_http_parser *parser, enum gw_http_step step, char *text, size_t size) {
    const struct gw_http_head *head = &parser->head;
    char framing[32];
    if (step == GW_HTTP_MORE) {
        snprintf(text, size, "more");
    } else if (step == GW_HTTP_BAD) {
        snprintf(text, size, "%d", rest_error_status(parser->error));
    } else {
        snprintf(framing, sizeof framing, "%llu", (unsigned long long)head->content_length);
        snprintf(text, size, "%.*s %.*s %s %s %s%s %zu", KP_SLICE_ARG(head->method), KP_SLICE_ARG(head->target),
                 head->version_1_0 ? "1.0" : "1.1", head->keep_alive ? "keep" : "close",
                 head->chunked      ? "chunked"
                 : head->has_length ? framing
                                    : "none",
                 head->expect_continue ? " continue" : "", head->header_count);
    }
}

/* Parses an exact copy, `piece` bytes more at a time. */
static void parse(const uint8_t *bytes, size_t len, size_t piece, char *text, size_t size) {
    uint8_t *copy = malloc(len);
    struct gw_http_parser *parser = malloc(sizeof *parser);
    assert_true(copy != NULL && parser != NULL);
    memcpy(copy, bytes, len);
    gw_http_parser_init(parser);
    enum gw_http_step step = GW_HTTP_MORE;
    for (size_t there = piece; step == GW_HTTP_MORE; there += piece) {
        step = gw_http_parser_head(parser, copy, there < len ? there : len);
        if (there >= len) {
            break;
        }
    }
    describe(parser, step, text, size);
    if (step == GW_HTTP_DONE) {
        assert_true(parser->head.length <= len);
    }
    free(parser);
    free(copy);
}

static void check_table(const struct head_case *cases, size_t count) {
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        char text[256];
        for (size_t piece = 1; piece < 8; piece += 2) {
            size_t len = strlen(cases[i].bytes);
            parse((const uint8_t *)cases[i].bytes, len, piece == 7 ? len : piece, text, sizeof text);
            if (strcmp(text, cases[i].expected) != 0) {
                print_error("%s, %zu bytes at a time: got \"%s\", expected \"%s\"\n", cases[i].name, piece, text,
                            cases[i].expected);
                failed++;
            }
        }
    }
    assert_int_equal(failed, 0);
}

static void good_requests_are_understood(void **state) {
    (void)state;
    check_table(understood, sizeof understood / sizeof understood[0]);
}

static void ambiguous_and_malformed_requests_are_refused(void **state) {
    (void)state;
    check_table(refused, sizeof refused / sizeof refused[0]);
}

static void every_strict_prefix_of_a_good_request_asks_for_more(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof understood / sizeof understood[0]; i++) {
        char text[256];
        size_t len = strlen(understood[i].bytes);
        for (size_t part = 1; part < len; part++) {
            parse((const uint8_t *)understood[i].bytes, part, part, text, sizeof text);
            assert_string_equal(text, "more");
        }
    }
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state) {
    (void)state;
    static const char good[] = GET "X: abc\r\n\r\n";
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char bytes[sizeof good], text[256];
        memcpy(bytes, good, sizeof good);
        bytes[i] = '\0';
        parse((const uint8_t *)bytes, sizeof good - 1, 1, text, sizeof text);
        assert_string_equal(text, "400");
    }
}

static void the_empty_line_ends_the_head_and_what_follows_is_left(void **state) {
    (void)state;
    static const char bytes[] = POST "Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n";
    struct gw_http_parser parser;
    gw_http_parser_init(&parser);
    assert_int_equal(gw_http_parser_head(&parser, (const uint8_t *)bytes, sizeof bytes - 1), GW_HTTP_DONE);
    assert_int_equal(parser.head.length, strlen(POST "Content-Length: 5\r\n\r\n"));
    assert_true(kp_slice_equal(parser.head.headers[1].name, KP_SLICE_LIT("Content-Length")));
    assert_true(kp_slice_equal(parser.head.headers[1].value, KP_SLICE_LIT("5")));
}

/* "GET /aaa... HTTP/1.1" with a line of exactly `line` bytes before its CR LF. */
static void long_target(size_t line, char *text, size_t size) {
    char *bytes = malloc(line + 64);
    assert_non_null(bytes);
    size_t path = line - strlen("GET / HTTP/1.1");
    int at = snprintf(bytes, 8, "GET /");
    memset(bytes + at, 'a', path);
    at += (int)path;
    at += snprintf(bytes + at, 40, " HTTP/1.1\r\nHost: h\r\n\r\n");
    parse((const uint8_t *)bytes, (size_t)at, (size_t)at, text, size);
    free(bytes);
}

static void a_line_has_its_limit(void **state) {
    (void)state;
    char *text = malloc(GW_HTTP_LINE_MAX * 2);
    assert_non_null(text);
    long_target(GW_HTTP_LINE_MAX - 2, text, GW_HTTP_LINE_MAX * 2);
    assert_true(strlen(text) > GW_HTTP_LINE_MAX - 100);
    long_target(GW_HTTP_LINE_MAX - 1, text, GW_HTTP_LINE_MAX * 2);
    assert_string_equal(text, "414");
    free(text);
}

static void many_fields(size_t count, const char *field, char *text, size_t size) {
    size_t room = 64 + count * strlen(field);
    char *bytes = malloc(room);
    assert_non_null(bytes);
    int at = snprintf(bytes, room, GET);
    for (size_t i = 0; i < count; i++) {
        at += snprintf(bytes + at, room - (size_t)at, "%s", field);
    }
    at += snprintf(bytes + at, room - (size_t)at, "\r\n");
    parse((const uint8_t *)bytes, (size_t)at, 1000, text, size);
    free(bytes);
}

static void fields_have_their_limits(void **state) {
    (void)state;
    char text[256], field[1100];
    many_fields(GW_HTTP_HEADERS_MAX - 1, "a:b\r\n", text, sizeof text);
    assert_string_equal(text, "GET / 1.1 keep none 100");
    many_fields(GW_HTTP_HEADERS_MAX, "a:b\r\n", text, sizeof text);
    assert_string_equal(text, "431");
    snprintf(field, sizeof field, "a:%01000d\r\n", 7);
    many_fields(16, field, text, sizeof text);
    assert_string_equal(text, "GET / 1.1 keep none 17");
    many_fields(17, field, text, sizeof text);
    assert_string_equal(text, "431");
}

/* ---- chunks ---- */

struct chunk_case {
    const char *name, *bytes, *body; /* body NULL: refused; "...": not complete */
    size_t left;                     /* bytes that belong to the next request */
};

static const struct chunk_case chunk_cases[] = {
    {"nothing", "0\r\n\r\n", "", 0},
    {"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"two chunks, and another request", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", "hello world", 5},
    {"hexadecimal sizes", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0},
    {"leading zeros", "005\r\nhello\r\n000\r\n\r\n", "hello", 0},
    {"an extension", "5;name=\"value\"\r\nhello\r\n0;x\r\n\r\n", "hello", 0},
    {"trailer fields", "5\r\nhello\r\n0\r\nX: y\r\nZ: w\r\n\r\nrest", "hello", 4},
    {"CR LF in the data", "2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0},
    {"half a chunk", "5\r\nhel", "...", 0},
    {"no end", "5\r\nhello\r\n", "...", 0},
    {"no empty line", "0\r\n", "...", 0},
    {"no size", "\r\nhello", NULL, 0},
    {"a bare LF after the size", "5\nhello\r\n0\r\n\r\n", NULL, 0},
    {"a bare LF after the data", "5\r\nhello\n0\r\n\r\n", NULL, 0},
    {"a bare LF in the trailer", "0\r\nX: y\n\r\n", NULL, 0},
    {"a bare LF at the end", "0\r\n\n", NULL, 0},
    {"CR CR LF after the size", "5\r\r\nhello\r\n", NULL, 0},
    {"data longer than the size", "4\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"data shorter than the size", "6\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"0x", "0x5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"a sign", "+5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"a negative size", "-1\r\n\r\n", NULL, 0},
    {"a blank before the size", " 5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"a size that wraps round", "10000000000000005\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"sixteen digits", "ffffffffffffffff\r\n", NULL, 0},
    {"a control character in an extension", "5;\x01\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"a control character in the trailer", "0\r\nX: \x01\r\n\r\n", NULL, 0},
};

/* Returns the body, "..." or NULL as in the table. */
static const char *decode(const char *bytes, size_t len, size_t piece, char *body, size_t *left) {
    struct gw_http_chunks chunks;
    gw_http_chunks_init(&chunks);
    size_t at = 0, size = 0;
    while (at < len) {
        size_t part = len - at < piece ? len - at : piece, used = 0;
        struct kp_slice data;
        enum gw_http_step step = gw_http_chunks_next(&chunks, kp_slice_of(bytes + at, part), &used, &data);
        assert_true(used <= part && data.len <= used);
        memcpy(body + size, data.ptr, data.len);
        size += data.len;
        at += used;
        if (step == GW_HTTP_BAD) {
            return NULL;
        }
        if (step == GW_HTTP_DONE) {
            body[size] = '\0';
            *left = len - at;
            return body;
        }
    }
    *left = 0;
    return "...";
}

static void chunked_bodies_are_taken_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof chunk_cases / sizeof chunk_cases[0]; i++) {
        const struct chunk_case *test = &chunk_cases[i];
        for (size_t piece = 1; piece <= 64; piece *= 4) {
            char body[128];
            size_t left = 0;
            const char *got = decode(test->bytes, strlen(test->bytes), piece, body, &left);
            if ((got == NULL) != (test->body == NULL) || (got != NULL && strcmp(got, test->body) != 0) ||
                (got != NULL && left != test->left)) {
                fail_msg("%s, %zu bytes at a time: got %s and %zu bytes left", test->name, piece,
                         got != NULL ? got : "a refusal", left);
            }
        }
    }
}

static void chunk_lines_and_trailers_have_their_limits(void **state) {
    (void)state;
    enum { SIZE = 2 * GW_HTTP_TRAILERS_MAX };
    char *bytes = malloc(SIZE), body[16];
    size_t left = 0;
    assert_non_null(bytes);
    memset(bytes, 'x', SIZE);
    memcpy(bytes, "1;", 2);
    assert_null(decode(bytes, GW_HTTP_CHUNK_LINE_MAX + 1, 1, body, &left));
    assert_string_equal(decode(bytes, GW_HTTP_CHUNK_LINE_MAX, 1, body, &left), "...");
    memcpy(bytes, "0\r\n", 3);
    assert_string_equal(decode(bytes, GW_HTTP_TRAILERS_MAX, 100, body, &left), "...");
    assert_null(decode(bytes, SIZE, 100, body, &left));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests_are_understood),
        cmocka_unit_test(ambiguous_and_malformed_requests_are_refused),
        cmocka_unit_test(every_strict_prefix_of_a_good_request_asks_for_more),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(the_empty_line_ends_the_head_and_what_follows_is_left),
        cmocka_unit_test(a_line_has_its_limit),
        cmocka_unit_test(fields_have_their_limits),
        cmocka_unit_test(chunked_bodies_are_taken_apart),
        cmocka_unit_test(chunk_lines_and_trailers_have_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
