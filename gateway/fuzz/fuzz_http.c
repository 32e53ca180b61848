/*
 * HTTP requests. The first byte picks how the rest is cut into pieces; heads and chunked bodies must come out the same
 * as in one piece, within the bounds that the parser promises.
 */
#include "gateway/http/parser.h"

#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct cutter {
    uint32_t state;
};

/* 1 .. 64, mostly small. */
static size_t next_piece(struct cutter *cutter) {
    cutter->state = cutter->state * 1664525 + 1013904223;
    uint32_t draw = cutter->state >> 16;
    return 1 + (draw % 4 == 0 ? draw / 4 % 64 : draw / 4 % 4);
}

static bool inside(struct kp_slice slice, const uint8_t *bytes, size_t len) {
    return slice.ptr >= bytes && slice.ptr + slice.len <= bytes + len;
}

static void check_head(const struct gw_http_head *head, const uint8_t *bytes, size_t len) {
    CHECK(head->length <= len && head->length <= GW_HTTP_HEAD_MAX);
    CHECK(head->header_count <= GW_HTTP_HEADERS_MAX);
    CHECK(head->method.len > 0 && inside(head->method, bytes, head->length));
    CHECK(head->target.len > 0 && inside(head->target, bytes, head->length));
    CHECK(!(head->chunked && head->has_length));
    for (size_t i = 0; i < head->header_count; i++) {
        CHECK(head->headers[i].name.len > 0 && inside(head->headers[i].name, bytes, head->length));
        CHECK(inside(head->headers[i].value, bytes, head->length));
    }
}

static void check_same_head(const struct gw_http_parser *a, const struct gw_http_parser *b, enum gw_http_step step) {
    if (step == GW_HTTP_BAD) {
        CHECK(a->error == b->error);
    } else if (step == GW_HTTP_DONE) {
        CHECK(a->head.length == b->head.length && a->head.header_count == b->head.header_count);
        CHECK(a->head.content_length == b->head.content_length && a->head.chunked == b->head.chunked);
        CHECK(a->head.keep_alive == b->head.keep_alive && a->head.expect_continue == b->head.expect_continue);
        CHECK(kp_slice_equal(a->head.method, b->head.method) && kp_slice_equal(a->head.target, b->head.target));
    }
}

static enum gw_http_step parse_head(struct gw_http_parser *parser, const uint8_t *bytes, size_t len,
                                    struct cutter *cutter) {
    enum gw_http_step step = GW_HTTP_MORE;
    gw_http_parser_init(parser);
    for (size_t there = 0; step == GW_HTTP_MORE && there < len;) {
        size_t piece = cutter == NULL ? len : next_piece(cutter);
        there = piece < len - there ? there + piece : len;
        step = gw_http_parser_head(parser, bytes, there);
    }
    return step;
}

struct body {
    uint8_t *bytes;
    size_t len, taken; /* taken: bytes of the input that belong to it */
};

static enum gw_http_step parse_chunks(struct body *body, const uint8_t *bytes, size_t len, struct cutter *cutter) {
    struct gw_http_chunks chunks;
    enum gw_http_step step = GW_HTTP_MORE;
    gw_http_chunks_init(&chunks);
    body->bytes = malloc(len + 1);
    CHECK(body->bytes != NULL);
    while (step == GW_HTTP_MORE && body->taken < len) {
        size_t piece = cutter == NULL ? len : next_piece(cutter), used = 0;
        struct kp_slice data, in = kp_slice_of(bytes + body->taken, len - body->taken);
        in.len = piece < in.len ? piece : in.len;
        step = gw_http_chunks_next(&chunks, in, &used, &data);
        CHECK(used > 0 && used <= in.len && inside(data, in.ptr, used));
        memcpy(body->bytes + body->len, data.ptr, data.len);
        body->len += data.len;
        body->taken += used;
    }
    return step;
}

static void fuzz_chunks(const uint8_t *bytes, size_t len, struct cutter *cutter) {
    struct body whole = {0}, cut = {0};
    enum gw_http_step step = parse_chunks(&whole, bytes, len, NULL);
    CHECK(step == parse_chunks(&cut, bytes, len, cutter));
    if (step != GW_HTTP_BAD) {
        CHECK(whole.taken == cut.taken && whole.len == cut.len && memcmp(whole.bytes, cut.bytes, cut.len) == 0);
    }
    free(whole.bytes);
    free(cut.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct gw_http_parser whole, cut;
    if (size < 1) {
        return 0;
    }
    struct cutter cutter = {data[0]};
    const uint8_t *bytes = data + 1;
    size_t len = size - 1;
    enum gw_http_step step = parse_head(&whole, bytes, len, NULL);
    CHECK(step == parse_head(&cut, bytes, len, &cutter));
    check_same_head(&whole, &cut, step);
    if (step == GW_HTTP_DONE) {
        struct kp_slice path, query;
        check_head(&whole.head, bytes, len);
        rest_target_split(whole.head.target, &path, &query);
    }
    if (step == GW_HTTP_DONE && whole.head.chunked) {
        fuzz_chunks(bytes + whole.head.length, len - whole.head.length, &cutter);
    } else {
        fuzz_chunks(bytes, len, &cutter);
    }
    return 0;
}
