/*
 * The head is gathered whole and then taken apart; of the body, sizes and trailers of chunks are gathered in the same
 * room, which the head has left by then. Lines may end in LF alone: what writes here is a small server on the same
 * machine, and nothing is relayed that a second reader could see differently.
 */
#include "lambda/runtime/reply.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define BODY_FIRST (64 * 1024)

void rest_reply_init(struct rest_reply *reply, size_t body_max) {
    memset(reply, 0, offsetof(struct rest_reply, head));
    reply->body_max = body_max;
}

void rest_reply_release(struct rest_reply *reply) {
    kp_blob_unref(reply->body);
    reply->body = NULL;
}

/* ---- the head ---- */

static bool whole_number(const char *text, size_t len, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]) || __builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(text[i] - '0'), number)) {
            return false;
        }
    }
    return len > 0;
}

static bool name_is(const char *line, size_t len, const char *name) {
    return strlen(name) == len && strncasecmp(line, name, len) == 0;
}

/* An id becomes a part of a path, so only what needs no escape there is one. */
static void take_request_id(struct rest_reply *reply, const char *value, size_t len) {
    bool fits = len <= REST_REQUEST_ID_MAX;
    for (size_t i = 0; fits && i < len; i++) {
        fits = isalnum((unsigned char)value[i]) || value[i] == '-' || value[i] == '_';
    }
    len = fits ? len : 0;
    memcpy(reply->request_id, value, len);
    reply->request_id[len] = 0;
}

static bool take_field(struct rest_reply *reply, const char *line, size_t len) {
    const char *colon = memchr(line, ':', len);
    if (colon == NULL) {
        return false;
    }
    size_t name_len = (size_t)(colon - line);
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    size_t value_len = (size_t)(end - value);
    uint64_t number = 0;
    if (name_is(line, name_len, "Content-Length")) {
        reply->has_length = whole_number(value, value_len, &reply->left);
        return reply->has_length;
    }
    if (name_is(line, name_len, "Transfer-Encoding")) {
        reply->chunked = name_is(value, value_len, "chunked");
        return reply->chunked;
    }
    if (name_is(line, name_len, "Connection")) {
        reply->keep_alive = !name_is(value, value_len, "close");
    } else if (name_is(line, name_len, "Lambda-Runtime-Aws-Request-Id")) {
        take_request_id(reply, value, value_len);
    } else if (name_is(line, name_len, "Lambda-Runtime-Deadline-Ms")) {
        bool fits = whole_number(value, value_len, &number) && number <= INT64_MAX;
        reply->deadline_ms = fits ? (int64_t)number : 0;
    } else if (name_is(line, name_len, "Lambda-Runtime-Trace-Id") && value_len < sizeof reply->trace_id) {
        memcpy(reply->trace_id, value, value_len);
        reply->trace_id[value_len] = 0;
    }
    return true;
}

static bool take_status(struct rest_reply *reply, const char *line, size_t len) {
    uint64_t status;
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
        !whole_number(line + 9, 3, &status) || (len > 12 && line[12] != ' ')) {
        return false;
    }
    reply->status = (int)status;
    reply->keep_alive = line[7] == '1';
    return status >= 100;
}

/* The length of the first line of head[from, end), which ends in LF; what ends it is not counted. */
static size_t line_length(const struct rest_reply *reply, size_t from, size_t *next) {
    const char *line = reply->head + from;
    size_t len = (size_t)((const char *)memchr(line, '\n', reply->head_len - from) - line);
    *next = from + len + 1;
    return len > 0 && line[len - 1] == '\r' ? len - 1 : len;
}

static enum rest_reply_step begin_body(struct rest_reply *reply) {
    if (reply->status < 200) { /* an interim answer: the real one follows */
        struct kp_blob *none = reply->body;
        size_t body_max = reply->body_max;
        rest_reply_init(reply, body_max);
        reply->body = none;
        return REST_REPLY_MORE;
    }
    if (reply->status == 204 || reply->status == 304) {
        reply->has_length = true;
        reply->left = 0;
        reply->chunked = false;
    }
    reply->state = reply->chunked ? REPLY_CHUNK_SIZE : reply->has_length ? REPLY_LENGTH : REPLY_CLOSE;
    if (reply->state == REPLY_CLOSE) {
        reply->keep_alive = false;
    }
    if (reply->state == REPLY_LENGTH && reply->left > reply->body_max) {
        return REST_REPLY_TOO_LARGE;
    }
    return reply->state == REPLY_LENGTH && reply->left == 0 ? REST_REPLY_DONE : REST_REPLY_MORE;
}

static enum rest_reply_step parse_head(struct rest_reply *reply) {
    size_t next, from = 0;
    size_t len = line_length(reply, from, &next);
    if (!take_status(reply, reply->head, len)) {
        return REST_REPLY_BAD;
    }
    for (from = next; from < reply->head_len; from = next) {
        len = line_length(reply, from, &next);
        if (len > 0 && !take_field(reply, reply->head + from, len)) {
            return REST_REPLY_BAD;
        }
    }
    return begin_body(reply);
}

/* Gathers up to and with the empty line. */
static enum rest_reply_step feed_head(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used) {
    for (*used = 0; *used < len;) {
        if (reply->head_len == REST_REPLY_HEAD_MAX) {
            return REST_REPLY_BAD;
        }
        char c = (char)bytes[(*used)++];
        reply->head[reply->head_len++] = c;
        bool empty = c == '\n' && (reply->line_len == 0 ||
                                   (reply->line_len == 1 && reply->head[reply->head_len - 2] == '\r'));
        reply->line_len = c == '\n' ? 0 : reply->line_len + 1;
        if (empty) {
            return parse_head(reply);
        }
    }
    return REST_REPLY_MORE;
}

/* ---- the body ---- */

static enum rest_reply_step keep(struct rest_reply *reply, const uint8_t *bytes, size_t len) {
    if (len > reply->body_max - reply->body_len) {
        return REST_REPLY_TOO_LARGE;
    }
    size_t needed = reply->body_len + len;
    if (reply->body == NULL) {
        size_t size = reply->state == REPLY_LENGTH ? (size_t)reply->left : BODY_FIRST;
        reply->body = kp_blob_new(size < needed ? needed : size);
        if (reply->body == NULL) {
            return REST_REPLY_BAD;
        }
    } else if (needed > reply->body->size) {
        size_t twice = reply->body->size * 2;
        if (!kp_blob_grow(reply->body, reply->body_len, twice < needed ? needed : twice)) {
            return REST_REPLY_BAD;
        }
    }
    memcpy(reply->body->data + reply->body_len, bytes, len);
    reply->body_len = needed;
    return REST_REPLY_MORE;
}

/* Takes what belongs to the body or chunk that `left` counts. */
static enum rest_reply_step feed_counted(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used) {
    *used = len < reply->left ? len : (size_t)reply->left;
    enum rest_reply_step step = keep(reply, bytes, *used);
    reply->left -= *used;
    if (step != REST_REPLY_MORE || reply->left > 0) {
        return step;
    }
    if (reply->state == REPLY_LENGTH) {
        return REST_REPLY_DONE;
    }
    reply->state = REPLY_CHUNK_END;
    return REST_REPLY_MORE;
}

static bool hex_number(const char *text, size_t len, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isxdigit(c) || *number > UINT64_MAX >> 4) {
            return false;
        }
        *number = *number << 4 | (uint64_t)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
    }
    return len > 0;
}

static enum rest_reply_step end_line(struct rest_reply *reply) {
    size_t len = reply->line_len;
    len -= len > 0 && reply->head[len - 1] == '\r';
    reply->line_len = 0;
    switch (reply->state) {
    case REPLY_CHUNK_END:
        reply->state = REPLY_CHUNK_SIZE;
        return len == 0 ? REST_REPLY_MORE : REST_REPLY_BAD;
    case REPLY_TRAILER:
        return len == 0 ? REST_REPLY_DONE : REST_REPLY_MORE;
    case REPLY_CHUNK_SIZE: {
        const char *extension = memchr(reply->head, ';', len);
        if (!hex_number(reply->head, extension != NULL ? (size_t)(extension - reply->head) : len, &reply->left)) {
            return REST_REPLY_BAD;
        }
        reply->state = reply->left > 0 ? REPLY_CHUNK : REPLY_TRAILER;
        return reply->left > reply->body_max - reply->body_len ? REST_REPLY_TOO_LARGE : REST_REPLY_MORE;
    }
    case REPLY_HEAD:
    case REPLY_LENGTH:
    case REPLY_CHUNK:
    case REPLY_CLOSE:
        break;
    }
    return REST_REPLY_BAD;
}

static enum rest_reply_step feed_line(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used) {
    for (*used = 0; *used < len;) {
        char c = (char)bytes[(*used)++];
        if (c == '\n') {
            return end_line(reply);
        }
        if (reply->line_len == 1024) {
            return REST_REPLY_BAD;
        }
        reply->head[reply->line_len++] = c;
    }
    return REST_REPLY_MORE;
}

static enum rest_reply_step feed_some(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used) {
    switch (reply->state) {
    case REPLY_HEAD:
        return feed_head(reply, bytes, len, used);
    case REPLY_LENGTH:
    case REPLY_CHUNK:
        return feed_counted(reply, bytes, len, used);
    case REPLY_CHUNK_SIZE:
    case REPLY_CHUNK_END:
    case REPLY_TRAILER:
        return feed_line(reply, bytes, len, used);
    case REPLY_CLOSE:
        *used = len;
        return keep(reply, bytes, len);
    }
    return REST_REPLY_BAD;
}

enum rest_reply_step rest_reply_feed(struct rest_reply *reply, const uint8_t *bytes, size_t len, size_t *used) {
    enum rest_reply_step step = REST_REPLY_MORE;
    *used = 0;
    while (*used < len && step == REST_REPLY_MORE) {
        size_t some = 0;
        step = feed_some(reply, bytes + *used, len - *used, &some);
        *used += some;
    }
    return step;
}

enum rest_reply_step rest_reply_end(const struct rest_reply *reply) {
    return reply->state == REPLY_CLOSE ? REST_REPLY_DONE : REST_REPLY_BAD;
}
