#include "message.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

void stream_init(struct stream *stream, int fd) {
    stream->fd = fd;
    stream->at = 0;
    stream->len = 0;
}

void stream_close(struct stream *stream, bool reset) {
    if (stream->fd < 0) {
        return;
    }
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(stream->fd);
    stream->fd = -1;
}

static void wait_for_bytes(size_t bytes, unsigned bytes_per_s) {
    uint64_t ns = (uint64_t)bytes * 1000000000u / bytes_per_s;
    struct timespec delay = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&delay, NULL);
}

/* ---- reading ---- */

static ssize_t receive(int fd, void *into, size_t size) {
    ssize_t got;
    do {
        got = recv(fd, into, size, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

static bool fill(struct stream *stream) {
    if (stream->at > 0) {
        memmove(stream->buffer, stream->buffer + stream->at, stream->len - stream->at);
        stream->len -= stream->at;
        stream->at = 0;
    }
    if (stream->len == sizeof stream->buffer) {
        return false;
    }
    ssize_t got = receive(stream->fd, stream->buffer + stream->len, sizeof stream->buffer - stream->len);
    stream->len += got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* What the head says about the body's length. */
static bool read_framing(struct message *message) {
    char value[64];
    message->chunked = message_header(message, "Transfer-Encoding", value, sizeof value) &&
                       strcasecmp(value, "chunked") == 0;
    message->body_len = 0;
    message->until_close = false;
    if (message->chunked) {
        return true;
    }
    if (message_header(message, "Content-Length", value, sizeof value)) {
        char *end;
        unsigned long long len = strtoull(value, &end, 10);
        if (end == value || *end != '\0' || len > BODY_MAX) {
            return false;
        }
        message->body_len = (size_t)len;
        return true;
    }
    int status = strncmp(message->head, "HTTP/", 5) == 0 ? message_status(message) : 0;
    message->until_close = status >= 200 && status != 204 && status != 304;
    return true;
}

enum reading message_read_head(struct stream *stream, struct message *message) {
    message->body = NULL;
    for (;;) {
        char *start = stream->buffer + stream->at;
        size_t have = stream->len - stream->at;
        char *end = memmem(start, have, "\r\n\r\n", 4);
        if (end != NULL) {
            size_t len = (size_t)(end - start) + 4;
            if (len > HEAD_MAX) {
                return READ_BROKEN;
            }
            memcpy(message->head, start, len);
            message->head[len] = '\0';
            message->head_len = len;
            stream->at += len;
            return read_framing(message) ? READ_OK : READ_BROKEN;
        }
        if (have > HEAD_MAX) {
            return READ_BROKEN;
        }
        if (!fill(stream)) {
            return have == 0 ? READ_END : READ_BROKEN;
        }
    }
}

/* Exactly len bytes: first what the stream holds, then straight into place. */
static bool read_exactly(struct stream *stream, uint8_t *into, size_t len, unsigned bytes_per_s) {
    size_t have = stream->len - stream->at < len ? stream->len - stream->at : len;
    memcpy(into, stream->buffer + stream->at, have);
    stream->at += have;
    while (have < len) {
        size_t step = len - have;
        if (bytes_per_s != 0 && step > bytes_per_s / 10) {
            step = bytes_per_s / 10;
        }
        ssize_t got = receive(stream->fd, into + have, step);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
        if (bytes_per_s != 0) {
            wait_for_bytes((size_t)got, bytes_per_s);
        }
    }
    return true;
}

static bool grow(struct message *message, size_t len) {
    if (len > BODY_MAX) {
        return false;
    }
    uint8_t *body = realloc(message->body, len == 0 ? 1 : len);
    if (body == NULL) {
        return false;
    }
    message->body = body;
    return true;
}

static bool read_line(struct stream *stream, char *line, size_t size) {
    for (size_t len = 0; len + 1 < size;) {
        if (stream->at == stream->len && !fill(stream)) {
            return false;
        }
        char byte = stream->buffer[stream->at++];
        if (byte == '\n') {
            line[len] = '\0';
            return true;
        }
        line[len++] = byte;
    }
    return false;
}

/* The head then says what it would have said of a body of known length. */
static void announce_length(struct message *message) {
    char *line = strcasestr(message->head, "\r\nTransfer-Encoding:");
    if (line != NULL) {
        char *next = strstr(line + 2, "\r\n");
        memmove(line, next, message->head_len - (size_t)(next - message->head) + 1);
    }
    size_t len = strlen(message->head) - 2;
    len += (size_t)snprintf(message->head + len, sizeof message->head - len, "Content-Length: %zu\r\n\r\n",
                            message->body_len);
    message->head_len = len;
}

static bool read_chunks(struct stream *stream, struct message *message) {
    char line[256];
    for (;;) {
        if (!read_line(stream, line, sizeof line)) {
            return false;
        }
        char *end;
        unsigned long long len = strtoull(line, &end, 16);
        if (end == line || len > BODY_MAX || !grow(message, message->body_len + (size_t)len)) {
            return false;
        }
        if (len == 0) {
            break;
        }
        if (!read_exactly(stream, message->body + message->body_len, (size_t)len, 0) ||
            !read_line(stream, line, sizeof line)) {
            return false;
        }
        message->body_len += (size_t)len;
    }
    do { /* trailers are dropped */
        if (!read_line(stream, line, sizeof line)) {
            return false;
        }
    } while (line[0] != '\r' && line[0] != '\0');
    announce_length(message);
    return true;
}

static bool read_until_close(struct stream *stream, struct message *message) {
    while (stream->at < stream->len || fill(stream)) {
        size_t have = stream->len - stream->at;
        if (!grow(message, message->body_len + have)) {
            return false;
        }
        memcpy(message->body + message->body_len, stream->buffer + stream->at, have);
        message->body_len += have;
        stream->at = stream->len;
    }
    announce_length(message);
    return true;
}

enum reading message_read_body(struct stream *stream, struct message *message, size_t most, unsigned bytes_per_s) {
    bool whole;
    if (message->chunked) {
        whole = read_chunks(stream, message);
    } else if (message->until_close) {
        whole = read_until_close(stream, message);
    } else {
        message->body_len = message->body_len < most ? message->body_len : most;
        whole = grow(message, message->body_len) &&
                read_exactly(stream, message->body, message->body_len, bytes_per_s);
    }
    return whole ? READ_OK : READ_BROKEN;
}

void message_release(struct message *message) {
    free(message->body);
    message->body = NULL;
    message->body_len = 0;
}

/* ---- looking into it ---- */

bool message_header(const struct message *message, const char *name, char *value, size_t size) {
    size_t name_len = strlen(name);
    for (const char *line = strstr(message->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, name_len) == 0 && at[name_len] == ':') {
            at += name_len + 1;
            at += strspn(at, " \t");
            snprintf(value, size, "%.*s", (int)strcspn(at, "\r"), at);
            return true;
        }
    }
    return false;
}

int message_status(const struct message *answer) {
    const char *space = strchr(answer->head, ' ');
    return space == NULL ? 0 : (int)strtol(space, NULL, 10);
}

/* ---- sending ---- */

static bool send_slowly(int fd, const uint8_t *bytes, size_t len, unsigned bytes_per_s) {
    for (size_t at = 0; at < len;) {
        size_t step = len - at < bytes_per_s / 10 ? len - at : bytes_per_s / 10;
        ssize_t sent = send(fd, bytes + at, step, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        at += (size_t)sent;
        wait_for_bytes((size_t)sent, bytes_per_s);
    }
    return true;
}

bool message_send(int fd, const struct message *message, size_t body_len, unsigned bytes_per_s) {
    if (bytes_per_s != 0) {
        return send_slowly(fd, (const uint8_t *)message->head, message->head_len, bytes_per_s) &&
               send_slowly(fd, message->body, body_len, bytes_per_s);
    }
    struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)message->head, .iov_len = message->head_len},
                             {.iov_base = message->body, .iov_len = body_len}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        for (int i = 0; i < 2; i++) {
            size_t took = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + took;
            parts[i].iov_len -= took;
            sent -= (ssize_t)took;
        }
    }
    return true;
}
