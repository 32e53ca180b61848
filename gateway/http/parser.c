/*
 * The head is read line by line as its bytes come. Each byte is looked at once for what may not stand in any line;
 * a complete line is then taken apart. Every verdict depends only on the bytes up to where it is given, never on how
 * many of them came together: limits are checked at fixed positions, and a line is judged only when it is whole.
 */
#include "gateway/http/parser.h"

#include <strings.h>

enum {
    TOKEN = 1,  /* tchar of RFC 9110, 5.6.2 */
    TARGET = 2, /* what a request target may be made of: visible ASCII without '#' */
    TEXT = 4,   /* what may stand in a line: visible, blank, tab, obs-text */
    HOST = 8,   /* uri-host and port */
    DIGIT = 16,
};

#define V (TARGET | TEXT)
#define T (TOKEN | TARGET | TEXT)
#define TH (TOKEN | TARGET | TEXT | HOST)
#define VH (TARGET | TEXT | HOST)
#define D (TOKEN | TARGET | TEXT | HOST | DIGIT)
static const uint8_t classes[256] = {
    ['\t'] = TEXT,      [' '] = TEXT,      ['!'] = TH,         ['"'] = V,         ['#'] = TOKEN | TEXT,
    ['$'] = TH,         ['%'] = TH,        ['&'] = TH,         ['\''] = TH,       ['('] = VH,
    [')'] = VH,         ['*'] = TH,        ['+'] = TH,         [','] = VH,        ['-'] = TH,
    ['.'] = TH,         ['/'] = V,         ['0' ... '9'] = D,  [':'] = VH,        [';'] = VH,
    ['<' ... '@'] = V,  ['A' ... 'Z'] = TH, ['['] = VH,        ['\\'] = V,        [']'] = VH,
    ['^'] = T,          ['_'] = TH,        ['`'] = T,          ['a' ... 'z'] = TH, ['{'] = V,
    ['|'] = T,          ['}'] = V,         ['~'] = TH,         [0x80 ... 0xFF] = TEXT,
};
#undef V
#undef T
#undef TH
#undef VH
#undef D

static bool all_of(struct kp_slice text, uint8_t class) {
    for (size_t i = 0; i < text.len; i++) {
        if ((classes[text.ptr[i]] & class) == 0) {
            return false;
        }
    }
    return true;
}

static bool is_word(struct kp_slice text, const char *word) {
    return text.len == strlen(word) && strncasecmp((const char *)text.ptr, word, text.len) == 0;
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t';
}

static struct kp_slice trim(struct kp_slice text) {
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* Takes the next element of a comma-separated list. False at its end. */
static bool next_element(struct kp_slice *list, struct kp_slice *element) {
    if (list->ptr == NULL) {
        return false;
    }
    const uint8_t *comma = list->len == 0 ? NULL : memchr(list->ptr, ',', list->len);
    size_t len = comma != NULL ? (size_t)(comma - list->ptr) : list->len;
    *element = trim(kp_slice_of(list->ptr, len));
    *list = comma != NULL ? kp_slice_of(comma + 1, list->len - len - 1) : (struct kp_slice){0};
    return true;
}

static enum gw_http_step bad(struct gw_http_parser *parser, enum rest_error error) {
    parser->error = error;
    return GW_HTTP_BAD;
}

/* ---- request line ---- */

static enum gw_http_step version(struct gw_http_parser *parser, struct kp_slice text) {
    if (text.len != 8 || memcmp(text.ptr, "HTTP/", 5) != 0 || text.ptr[6] != '.' ||
        (classes[text.ptr[5]] & DIGIT) == 0 || (classes[text.ptr[7]] & DIGIT) == 0) {
        return bad(parser, REST_BAD_REQUEST);
    }
    if (text.ptr[5] != '1') {
        return bad(parser, REST_VERSION_NOT_SUPPORTED);
    }
    parser->head.version_1_0 = text.ptr[7] == '0';
    return GW_HTTP_MORE;
}

static enum gw_http_step request_line(struct gw_http_parser *parser, struct kp_slice line) {
    const uint8_t *end = line.ptr + line.len;
    const uint8_t *first = line.len == 0 ? NULL : memchr(line.ptr, ' ', line.len);
    const uint8_t *second = first == NULL ? NULL : memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL) {
        return bad(parser, REST_BAD_REQUEST);
    }
    struct gw_http_head *head = &parser->head;
    head->method = kp_slice_of(line.ptr, (size_t)(first - line.ptr));
    head->target = kp_slice_of(first + 1, (size_t)(second - first - 1));
    if (head->method.len == 0 || !all_of(head->method, TOKEN) || head->target.len == 0 ||
        !all_of(head->target, TARGET)) {
        return bad(parser, REST_BAD_REQUEST);
    }
    parser->begun = true;
    return version(parser, kp_slice_of(second + 1, (size_t)(end - second - 1)));
}

/* ---- fields that frame the message ---- */

static enum gw_http_step content_length(struct gw_http_parser *parser, struct kp_slice value) {
    struct gw_http_head *head = &parser->head;
    if (head->has_length || value.len == 0 || !all_of(value, DIGIT)) {
        return bad(parser, REST_BAD_REQUEST);
    }
    head->has_length = true;
    for (size_t i = 0; i < value.len; i++) {
        uint64_t digit = (uint64_t)(value.ptr[i] - '0');
        if (__builtin_mul_overflow(head->content_length, (uint64_t)10, &head->content_length) ||
            __builtin_add_overflow(head->content_length, digit, &head->content_length)) {
            head->content_length = UINT64_MAX; /* larger than any limit */
            break;
        }
    }
    return GW_HTTP_MORE;
}

/* Only "chunked" is done here. Another coding below a final chunked is well-formed, but not implemented. */
static enum gw_http_step transfer_encoding(struct gw_http_parser *parser, struct kp_slice value) {
    if (parser->head.has_coding) {
        return bad(parser, REST_BAD_REQUEST);
    }
    parser->head.has_coding = true;
    struct kp_slice coding;
    bool others = false;
    while (next_element(&value, &coding)) {
        if (parser->head.chunked || coding.len == 0 || !all_of(coding, TOKEN)) {
            return bad(parser, REST_BAD_REQUEST);
        }
        parser->head.chunked = is_word(coding, "chunked");
        others = others || !parser->head.chunked;
    }
    if (!parser->head.chunked) {
        return bad(parser, REST_BAD_REQUEST);
    }
    return others ? bad(parser, REST_NOT_IMPLEMENTED) : GW_HTTP_MORE;
}

static enum gw_http_step host(struct gw_http_parser *parser, struct kp_slice value) {
    if (parser->head.has_host || !all_of(value, HOST)) {
        return bad(parser, REST_BAD_REQUEST);
    }
    parser->head.has_host = true;
    return GW_HTTP_MORE;
}

static enum gw_http_step connection(struct gw_http_parser *parser, struct kp_slice value) {
    struct kp_slice option;
    while (next_element(&value, &option)) {
        parser->head.says_close = parser->head.says_close || is_word(option, "close");
        parser->head.says_keep_alive = parser->head.says_keep_alive || is_word(option, "keep-alive");
    }
    return GW_HTTP_MORE;
}

static enum gw_http_step expect(struct gw_http_parser *parser, struct kp_slice value) {
    if (!is_word(value, "100-continue")) {
        return bad(parser, REST_EXPECTATION_FAILED);
    }
    parser->head.expect_continue = true;
    return GW_HTTP_MORE;
}

static enum gw_http_step field(struct gw_http_parser *parser, struct kp_slice line) {
    static const struct {
        const char *name;
        enum gw_http_step (*take)(struct gw_http_parser *parser, struct kp_slice value);
    } framing[] = {
        {"content-length", content_length},
        {"transfer-encoding", transfer_encoding},
        {"host", host},
        {"connection", connection},
        {"expect", expect},
    };
    struct gw_http_head *head = &parser->head;
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL || colon == line.ptr) {
        return bad(parser, REST_BAD_REQUEST);
    }
    struct kp_slice name = kp_slice_of(line.ptr, (size_t)(colon - line.ptr));
    struct kp_slice value = trim(kp_slice_of(colon + 1, line.len - name.len - 1));
    if (!all_of(name, TOKEN)) {
        return bad(parser, REST_BAD_REQUEST); /* among others obs-fold and a blank before the colon */
    }
    if (head->header_count == GW_HTTP_HEADERS_MAX) {
        return bad(parser, REST_HEADERS_TOO_LARGE);
    }
    head->headers[head->header_count++] = (struct rest_header){name, value};
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++) {
        if (is_word(name, framing[i].name)) {
            return framing[i].take(parser, value);
        }
    }
    return GW_HTTP_MORE;
}

/* The empty line: what only the whole head can tell. */
static enum gw_http_step complete(struct gw_http_parser *parser) {
    struct gw_http_head *head = &parser->head;
    if ((head->has_length && head->has_coding) || (head->version_1_0 && head->has_coding) ||
        (!head->version_1_0 && !head->has_host)) {
        return bad(parser, REST_BAD_REQUEST);
    }
    head->keep_alive = !head->says_close && (!head->version_1_0 || head->says_keep_alive);
    head->expect_continue = head->expect_continue && !head->version_1_0;
    bool needs_length = is_word(head->method, "POST") || is_word(head->method, "PUT") || is_word(head->method, "PATCH");
    if (needs_length && !head->has_length && !head->chunked) {
        return bad(parser, REST_LENGTH_REQUIRED);
    }
    return GW_HTTP_DONE;
}

/* ---- lines ---- */

static enum gw_http_step take_line(struct gw_http_parser *parser, struct kp_slice line) {
    if (parser->begun) {
        if (line.len == 0) {
            parser->head.length = parser->scanned;
            return complete(parser);
        }
        return field(parser, line);
    }
    if (line.len == 0 && parser->line == 0) {
        return GW_HTTP_MORE; /* some clients end the body before with an extra CR LF */
    }
    return request_line(parser, line);
}

void gw_http_parser_init(struct gw_http_parser *parser) {
    /* The array of headers is not cleared: header_count says what is in it. */
    parser->head.method = parser->head.target = (struct kp_slice){0};
    parser->head.header_count = parser->head.length = 0;
    parser->head.content_length = 0;
    parser->head.has_length = parser->head.chunked = parser->head.version_1_0 = false;
    parser->head.keep_alive = parser->head.expect_continue = false;
    parser->head.has_host = parser->head.has_coding = false;
    parser->head.says_close = parser->head.says_keep_alive = false;
    parser->scanned = parser->line = 0;
    parser->begun = false;
    parser->error = REST_BAD_REQUEST;
}

enum gw_http_step gw_http_parser_head(struct gw_http_parser *parser, const uint8_t *bytes, size_t len) {
    while (parser->scanned < len) {
        size_t at = parser->scanned++;
        if (at == GW_HTTP_HEAD_MAX) {
            return bad(parser, REST_HEADERS_TOO_LARGE);
        }
        if (!parser->begun && at - parser->line == GW_HTTP_LINE_MAX) {
            return bad(parser, REST_TARGET_TOO_LONG);
        }
        uint8_t c = bytes[at];
        bool after_cr = at > parser->line && bytes[at - 1] == '\r';
        if (c == '\n' && after_cr) {
            struct kp_slice line = kp_slice_of(bytes + parser->line, at - parser->line - 1);
            enum gw_http_step step = take_line(parser, line);
            parser->line = at + 1;
            if (step != GW_HTTP_MORE) {
                return step;
            }
        } else if (after_cr || (c != '\r' && (classes[c] & TEXT) == 0)) {
            return bad(parser, REST_BAD_REQUEST);
        }
    }
    return GW_HTTP_MORE;
}

/* ---- chunked bodies ---- */

void gw_http_chunks_init(struct gw_http_chunks *chunks) {
    *chunks = (struct gw_http_chunks){.state = CHUNK_SIZE};
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunk_size(struct gw_http_chunks *chunks, uint8_t c) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        chunks->left = chunks->left * 16 + (unsigned)digit;
        return ++chunks->digits <= 15; /* 60 bits hold them; no body is that long */
    }
    if (chunks->digits == 0) {
        return false;
    }
    if (c == '\r') {
        chunks->state = CHUNK_SIZE_LF;
        return true;
    }
    chunks->state = CHUNK_EXTENSION;
    return c == ';' || is_blank(c);
}

static void next_chunk(struct gw_http_chunks *chunks) {
    chunks->state = chunks->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    chunks->digits = 0;
    chunks->line = 0;
}

/* One byte outside of chunk data. False: it may not stand here. */
static bool chunk_byte(struct gw_http_chunks *chunks, uint8_t c) {
    switch (chunks->state) {
    case CHUNK_SIZE:
        return ++chunks->line <= GW_HTTP_CHUNK_LINE_MAX && chunk_size(chunks, c);
    case CHUNK_EXTENSION:
        if (c == '\r') {
            chunks->state = CHUNK_SIZE_LF;
            return true;
        }
        return ++chunks->line <= GW_HTTP_CHUNK_LINE_MAX && (classes[c] & TEXT) != 0;
    case CHUNK_SIZE_LF:
        next_chunk(chunks);
        return c == '\n';
    case CHUNK_DATA_CR:
        chunks->state = CHUNK_DATA_LF;
        return c == '\r';
    case CHUNK_DATA_LF:
        chunks->state = CHUNK_SIZE;
        return c == '\n';
    case CHUNK_TRAILER: /* trailer fields are dropped, but must not hide anything */
        if (c == '\r') {
            chunks->state = CHUNK_TRAILER_LF;
            return true;
        }
        chunks->line++;
        return ++chunks->trailers <= GW_HTTP_TRAILERS_MAX && (classes[c] & TEXT) != 0;
    case CHUNK_TRAILER_LF:
        chunks->state = chunks->line == 0 ? CHUNK_END : CHUNK_TRAILER;
        chunks->line = 0;
        return c == '\n';
    case CHUNK_DATA:
    case CHUNK_END:
        break;
    }
    return false;
}

enum gw_http_step gw_http_chunks_next(struct gw_http_chunks *chunks, struct kp_slice in, size_t *used,
                                      struct kp_slice *data) {
    *data = (struct kp_slice){in.ptr, 0};
    *used = 0;
    while (*used < in.len && chunks->state != CHUNK_END) {
        if (chunks->state == CHUNK_DATA) {
            size_t rest = in.len - *used;
            size_t len = chunks->left < rest ? (size_t)chunks->left : rest;
            *data = kp_slice_of(in.ptr + *used, len);
            *used += len;
            chunks->left -= len;
            if (chunks->left == 0) {
                chunks->state = CHUNK_DATA_CR;
            }
            return GW_HTTP_MORE;
        }
        if (!chunk_byte(chunks, in.ptr[(*used)++])) {
            return GW_HTTP_BAD;
        }
    }
    return chunks->state == CHUNK_END ? GW_HTTP_DONE : GW_HTTP_MORE;
}
