/*
 * HTTP/1.1 requests from bytes (RFC 9110, RFC 9112), strictly: what two implementations could read in two ways is
 * refused, because the difference is what request smuggling lives on. A pure function over bytes: no I/O, no memory.
 *
 * Refused with 400: a line that does not end in CR LF, a bare CR, control characters, obs-fold, blanks before the
 * colon, an empty or ill-formed name, more than one Content-Length or Transfer-Encoding field, both of them, a length
 * that is not digits only, Transfer-Encoding in HTTP/1.0, a chunked coding that is not the last or stands twice, a
 * missing (in HTTP/1.1), doubled or ill-formed Host, a fragment in the target, bytes beyond ASCII in it. One empty line
 * before the request line is skipped (RFC 9112, 2.2).
 *
 * However the bytes are cut into pieces, the result is the same.
 */
#ifndef GW_HTTP_PARSER_H
#define GW_HTTP_PARSER_H

#include "lambda/rest.h"

enum {
    GW_HTTP_LINE_MAX = 8 * 1024,  /* the request line; longer: 414 */
    GW_HTTP_HEAD_MAX = 16 * 1024, /* request line and fields; longer: 431 */
    GW_HTTP_HEADERS_MAX = 100,    /* more: 431 */
    GW_HTTP_CHUNK_LINE_MAX = 256, /* size and extensions */
    GW_HTTP_TRAILERS_MAX = 4 * 1024,
};

enum gw_http_step { GW_HTTP_MORE, GW_HTTP_DONE, GW_HTTP_BAD };

/* A request's head. Slices lie in the bytes given. */
struct gw_http_head {
    struct kp_slice method, target;
    struct rest_header headers[GW_HTTP_HEADERS_MAX];
    size_t header_count;
    size_t length;           /* bytes of the head, with the empty line that ends it */
    uint64_t content_length; /* 0 when chunked or absent; UINT64_MAX when it does not fit */
    bool has_length;
    bool chunked;
    bool version_1_0;
    bool keep_alive;
    bool expect_continue;
    /* for the checks */
    bool has_host, has_coding, says_close, says_keep_alive;
};

struct gw_http_parser {
    struct gw_http_head head;
    size_t scanned;    /* bytes looked at */
    size_t line;       /* where the current line begins */
    bool begun;        /* the request line has been read */
    enum rest_error error; /* why GW_HTTP_BAD */
};

void gw_http_parser_init(struct gw_http_parser *parser);
/* Goes on with bytes [0, len): the same memory from the request's first byte on, with more in it than last time. */
enum gw_http_step gw_http_parser_head(struct gw_http_parser *parser, const uint8_t *bytes, size_t len);

/* Takes a chunked body apart. */
struct gw_http_chunks {
    enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER,
           CHUNK_TRAILER_LF, CHUNK_END } state;
    uint64_t left;    /* of the chunk */
    unsigned digits;  /* of its size */
    size_t line;      /* bytes of the current line */
    size_t trailers;  /* bytes of all trailer lines */
};

void gw_http_chunks_init(struct gw_http_chunks *chunks);
/* Takes *used bytes of `in` and gives at most one run of body bytes in *data (a part of `in`). GW_HTTP_MORE: call again
 * with the rest of `in`, or with more. GW_HTTP_DONE: the body is complete; what follows *used is the next request. */
enum gw_http_step gw_http_chunks_next(struct gw_http_chunks *chunks, struct kp_slice in, size_t *used,
                                      struct kp_slice *data);

#endif
