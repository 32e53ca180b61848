/*
 * HTTP/1.1 messages over blocking sockets, one whole message in memory at a time: all that a proxy needs that changes
 * nothing of what it passes on. A chunked answer is passed on with a Content-Length.
 */
#ifndef PROXY_MESSAGE_H
#define PROXY_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STREAM_BYTES = 64 * 1024, HEAD_MAX = 32 * 1024, BODY_MAX = 64 * 1024 * 1024 };

/* A socket and what was read from it beyond the last message. */
struct stream {
    int fd; /* -1: none */
    size_t at, len;
    char buffer[STREAM_BYTES];
};

struct message {
    char head[HEAD_MAX + 64]; /* with the empty line, NUL-terminated; room for a Content-Length */
    size_t head_len;
    uint8_t *body;
    size_t body_len; /* what the head announces; after message_read_body what is there */
    bool chunked, until_close;
};

enum reading {
    READ_OK,
    READ_END,    /* closed before the first byte of a message */
    READ_BROKEN, /* closed within one, or no HTTP/1.1 */
};

void stream_init(struct stream *stream, int fd);
/* With a reset instead of an orderly end when `reset`. */
void stream_close(struct stream *stream, bool reset);

enum reading message_read_head(struct stream *stream, struct message *message);
/* At most `most` bytes of the body; `bytes_per_s` 0: as fast as it comes. */
enum reading message_read_body(struct stream *stream, struct message *message, size_t most, unsigned bytes_per_s);
void message_release(struct message *message);

/* The header's value, cut to `size`; false when it is absent. */
bool message_header(const struct message *message, const char *name, char *value, size_t size);
int message_status(const struct message *answer);

/* The head and `body_len` bytes of the body. False when the peer is gone. */
bool message_send(int fd, const struct message *message, size_t body_len, unsigned bytes_per_s);

#endif
