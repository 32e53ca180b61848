/* Streams of pipelined requests with bodies of every kind, cut anywhere: each request gets its answer, in order. */
#include "gateway/tests/http_fixture.h"

static uint64_t random_state = 88172645463325252;

static size_t random_below(size_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % bound);
}

struct stream {
    char *bytes;
    size_t len;
    char expected[4096]; /* the answers' bodies, one after the other */
    size_t expected_len;
};

static void stream_text(struct stream *stream, const char *text) {
    memcpy(stream->bytes + stream->len, text, strlen(text));
    stream->len += strlen(text);
}

static void stream_chunks(struct stream *stream, const char *body, size_t size) {
    char line[64];
    while (size > 0) {
        size_t part = 1 + random_below(size);
        snprintf(line, sizeof line, "%zx%s\r\n", part, random_below(3) == 0 ? ";ext" : "");
        stream_text(stream, line);
        memcpy(stream->bytes + stream->len, body, part);
        stream->len += part;
        stream_text(stream, "\r\n");
        body += part;
        size -= part;
    }
    stream_text(stream, random_below(2) == 0 ? "0\r\n\r\n" : "0\r\nTrailer: x\r\n\r\n");
}

/* Appends a request with a body of a size around which buffers end, and the answer that it must get. */
static void stream_request(struct stream *stream, unsigned number) {
    static const size_t sizes[] = {0, 1, 3900, 4000, 4096, 4200, 16384, 65535, 65536, 65537, 200000};
    static char body[200000 + 64];
    char head[8192];
    size_t size = sizes[random_below(sizeof sizes / sizeof sizes[0])] + random_below(50);
    bool chunked = random_below(2) == 0;
    int filler = random_below(4) == 0 ? 4000 : 1;
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)('a' + (i + number) % 26);
    }
    int len = snprintf(head, sizeof head, "POST /%u HTTP/1.1\r\n" HOST "X: %0*d\r\n", number, filler, 1);
    if (chunked) {
        snprintf(head + len, sizeof head - (size_t)len, "Transfer-Encoding: chunked\r\n\r\n");
    } else {
        snprintf(head + len, sizeof head - (size_t)len, "Content-Length: %zu\r\n\r\n", size);
    }
    stream_text(stream, head);
    if (chunked) {
        stream_chunks(stream, body, size);
    } else {
        memcpy(stream->bytes + stream->len, body, size);
        stream->len += size;
    }
    stream->expected_len +=
        (size_t)snprintf(stream->expected + stream->expected_len, sizeof stream->expected - stream->expected_len,
                         "<POST /%u  %zu>%.*s", number, size, size < 200 ? (int)size : 0, body);
}

/* What stands between the heads of the answers. */
static void bodies_only(const char *input, char *bodies, size_t size) {
    size_t used = 0;
    for (const char *head; (head = strstr(input, "HTTP/1.1 ")) != NULL;) {
        const char *length = strstr(head, "Content-Length: "), *body = strstr(head, "\r\n\r\n");
        assert_true(length != NULL && body != NULL);
        size_t len = strtoul(length + 16, NULL, 10);
        assert_true(used + len < size);
        memcpy(bodies + used, body + 4, len);
        used += len;
        input = body + 4 + len;
    }
    bodies[used] = '\0';
}

static void streams_of_requests_cut_anywhere_get_every_answer(void **state) {
    struct client *client = *state;
    enum { REQUESTS = 12, ROUNDS = 25, ROOM = 4 * 1024 * 1024 };
    struct stream stream = {.bytes = malloc(ROOM)};
    assert_non_null(stream.bytes);
    for (unsigned round = 0; round < ROUNDS; round++) {
        stream.len = stream.expected_len = client->used = 0;
        client->input[0] = '\0';
        for (unsigned i = 0; i < REQUESTS; i++) {
            stream_request(&stream, i);
        }
        size_t piece_most = round % 3 == 0 ? 300 : 70000;
        for (size_t at = 0; at < stream.len;) {
            size_t piece = 1 + random_below(piece_most), left = stream.len - at;
            piece = piece < left ? piece : left;
            write_client(client, stream.bytes + at, piece);
            at += piece;
            if (random_below(3) == 0) {
                run_ms(0);
            }
        }
        await(client, REQUESTS);
        char bodies[8192];
        bodies_only(client->input, bodies, sizeof bodies);
        assert_string_equal(bodies, stream.expected);
    }
    free(stream.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(streams_of_requests_cut_anywhere_get_every_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
