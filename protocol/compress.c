/*
 * Inflating never trusts a size found in the input for more than a first guess within the limit. gzip and lz4 stream
 * into a buffer that doubles; snappy and zstd decode in one call, zstd again into a larger buffer when the guess was
 * small, which keeps it from allocating the window that a frame may claim (up to 128 MiB).
 *
 * Snappy comes in two framings. The Java library writes xerial's: 82 'SNAPPY' 0, two big-endian int32 (version, oldest
 * compatible version), then blocks of an int32 length and that many bytes of raw snappy. librdkafka and others write
 * one raw block. Both are read; xerial's is written, because Java reads no other.
 */
#include "protocol/compress.h"

#include "protocol/bytes/be.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    GUESS_MIN = 4096,
    GZIP_WINDOW_BITS = 31, /* 15, and 16 for the gzip wrapper */
    XERIAL_HEADER_SIZE = 16,
    XERIAL_BLOCK = 32768,
    SNAPPY_RATIO_MAX = 64, /* its longest copy takes three bytes for 64 */
};

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

/* Output that grows within a limit. Room for one byte more tells output of exactly the limit from more than that. */
struct sink {
    struct kp_arena *arena;
    uint8_t *data;
    size_t used, size, size_max;
};

static enum kp_error sink_open(struct sink *sink, struct kp_arena *arena, size_t guess, size_t limit) {
    size_t size_max = limit == SIZE_MAX ? limit : limit + 1;
    size_t size = guess < GUESS_MIN ? GUESS_MIN : guess;
    size = size > size_max ? size_max : size;
    *sink = (struct sink){.arena = arena, .data = kp_arena_alloc_raw(arena, size), .size = size, .size_max = size_max};
    return sink->data == NULL ? KP_ERROR_MESSAGE_TOO_LARGE : KP_ERROR_NONE;
}

static enum kp_error sink_grow(struct sink *sink) {
    if (sink->size >= sink->size_max) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    size_t size = sink->size > sink->size_max / 2 ? sink->size_max : sink->size * 2;
    uint8_t *data = kp_arena_resize(sink->arena, sink->data, sink->size, size);
    if (data == NULL) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    sink->data = data;
    sink->size = size;
    return KP_ERROR_NONE;
}

static enum kp_error sink_close(struct sink *sink, struct kp_slice *out) {
    if (sink->used == sink->size_max) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    if (sink->used > 0 && sink->used < sink->size / 2) {
        void *data = kp_arena_resize(sink->arena, sink->data, sink->size, sink->used);
        sink->data = data == NULL ? sink->data : data;
    }
    *out = kp_slice_of(sink->data, sink->used);
    return KP_ERROR_NONE;
}

static size_t times(size_t size, size_t factor) {
    size_t product = 0;
    return __builtin_mul_overflow(size, factor, &product) ? SIZE_MAX : product;
}

/* ---- gzip ---- */

static enum kp_error gzip_members(z_stream *stream, struct sink *sink) {
    for (;;) {
        if (sink->used == sink->size) {
            enum kp_error error = sink_grow(sink);
            if (error != KP_ERROR_NONE) {
                return error;
            }
        }
        size_t room = sink->size - sink->used;
        stream->next_out = sink->data + sink->used;
        stream->avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
        uInt offered = stream->avail_out;
        int status = inflate(stream, Z_NO_FLUSH);
        sink->used += offered - stream->avail_out;
        if (status == Z_STREAM_END) {
            if (stream->avail_in == 0) {
                return KP_ERROR_NONE;
            }
            status = inflateReset(stream); /* a file may have several members */
        }
        /* Z_BUF_ERROR with room left: the input ended within a member. */
        if (status != Z_OK && !(status == Z_BUF_ERROR && stream->avail_out == 0)) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
        if (stream->avail_in == 0 && stream->avail_out != 0) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
    }
}

static enum kp_error inflate_gzip(struct kp_slice in, struct kp_arena *arena, size_t limit, struct kp_slice *out) {
    struct sink sink;
    enum kp_error error = sink_open(&sink, arena, times(in.len, 4), limit);
    if (error != KP_ERROR_NONE) {
        return error;
    }
    if (in.len > UINT32_MAX) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)in.ptr, .avail_in = (uInt)in.len};
    if (inflateInit2(&stream, GZIP_WINDOW_BITS) != Z_OK) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    error = gzip_members(&stream, &sink);
    inflateEnd(&stream);
    return error == KP_ERROR_NONE ? sink_close(&sink, out) : error;
}

static enum kp_error deflate_gzip(struct kp_slice in, struct kp_arena *arena, struct kp_slice *out) {
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)in.ptr, .avail_in = (uInt)in.len};
    if (in.len > UINT32_MAX / 2 || deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, 8,
                                                Z_DEFAULT_STRATEGY) != Z_OK) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    size_t bound = deflateBound(&stream, (uLong)in.len);
    uint8_t *data = kp_arena_alloc_raw(arena, bound);
    stream.next_out = data;
    stream.avail_out = (uInt)bound;
    bool done = data != NULL && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    size_t size = stream.total_out;
    deflateEnd(&stream);
    *out = kp_slice_of(data, done ? size : 0);
    return done ? KP_ERROR_NONE : KP_ERROR_MESSAGE_TOO_LARGE;
}

/* ---- snappy ---- */

static bool has_xerial_header(struct kp_slice in) {
    return in.len >= XERIAL_HEADER_SIZE && memcmp(in.ptr, xerial_magic, sizeof xerial_magic) == 0;
}

/* One raw block, appended to what the sink holds; the sink grows to fit it exactly. */
static enum kp_error snappy_block(struct sink *sink, struct kp_slice block) {
    const char *from = (const char *)block.ptr;
    size_t size = 0;
    if (snappy_uncompressed_length(from, block.len, &size) != SNAPPY_OK ||
        size / SNAPPY_RATIO_MAX > block.len) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    if (size > sink->size_max - sink->used) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    while (size > sink->size - sink->used) {
        enum kp_error error = sink_grow(sink);
        if (error != KP_ERROR_NONE) {
            return error;
        }
    }
    if (snappy_uncompress(from, block.len, (char *)sink->data + sink->used, &size) != SNAPPY_OK) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    sink->used += size;
    return KP_ERROR_NONE;
}

static enum kp_error xerial_blocks(struct sink *sink, struct kp_slice in) {
    while (in.len > 0) {
        if (has_xerial_header(in)) { /* also in the middle, where streams were joined */
            in = kp_slice_of(in.ptr + XERIAL_HEADER_SIZE, in.len - XERIAL_HEADER_SIZE);
            continue;
        }
        if (in.len < 4) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
        size_t size = kp_be_load32(in.ptr);
        if (size > in.len - 4) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
        enum kp_error error = snappy_block(sink, kp_slice_of(in.ptr + 4, size));
        if (error != KP_ERROR_NONE) {
            return error;
        }
        in = kp_slice_of(in.ptr + 4 + size, in.len - 4 - size);
    }
    return KP_ERROR_NONE;
}

static enum kp_error inflate_snappy(struct kp_slice in, struct kp_arena *arena, size_t limit, struct kp_slice *out) {
    struct sink sink;
    size_t guess = times(in.len, 2), claimed = 0;
    bool xerial = has_xerial_header(in);
    if (!xerial && snappy_uncompressed_length((const char *)in.ptr, in.len, &claimed) == SNAPPY_OK &&
        claimed / SNAPPY_RATIO_MAX <= in.len) {
        guess = claimed;
    }
    enum kp_error error = sink_open(&sink, arena, guess, limit);
    if (error == KP_ERROR_NONE) {
        error = xerial ? xerial_blocks(&sink, in) : snappy_block(&sink, in);
    }
    return error == KP_ERROR_NONE ? sink_close(&sink, out) : error;
}

static enum kp_error deflate_snappy(struct kp_slice in, struct kp_arena *arena, struct kp_slice *out) {
    size_t blocks = in.len / XERIAL_BLOCK + 1;
    uint8_t *data =
        kp_arena_alloc_raw(arena, XERIAL_HEADER_SIZE + blocks * (4 + snappy_max_compressed_length(XERIAL_BLOCK)));
    if (data == NULL) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    memcpy(data, xerial_magic, sizeof xerial_magic);
    kp_be_store32(data + 8, 1);
    kp_be_store32(data + 12, 1);
    uint8_t *at = data + XERIAL_HEADER_SIZE;
    for (size_t done = 0; done < in.len;) {
        size_t part = in.len - done < XERIAL_BLOCK ? in.len - done : XERIAL_BLOCK;
        size_t size = snappy_max_compressed_length(part);
        if (snappy_compress((const char *)in.ptr + done, part, (char *)at + 4, &size) != SNAPPY_OK) {
            return KP_ERROR_UNKNOWN_SERVER_ERROR;
        }
        kp_be_store32(at, (uint32_t)size);
        at += 4 + size;
        done += part;
    }
    *out = kp_slice_of(data, (size_t)(at - data));
    return KP_ERROR_NONE;
}

/* ---- lz4 ---- */

static enum kp_error lz4_frames(LZ4F_dctx *context, struct sink *sink, struct kp_slice in) {
    size_t hint = 1; /* 0: the frame is complete */
    while (in.len > 0 || hint != 0) {
        if (sink->used == sink->size) {
            enum kp_error error = sink_grow(sink);
            if (error != KP_ERROR_NONE) {
                return error;
            }
        }
        size_t room = sink->size - sink->used, taken = in.len;
        hint = LZ4F_decompress(context, sink->data + sink->used, &room, in.ptr, &taken, NULL);
        if (LZ4F_isError(hint)) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
        sink->used += room;
        in = kp_slice_of(in.ptr + taken, in.len - taken);
        if (hint != 0 && room == 0 && taken == 0) {
            return KP_ERROR_CORRUPT_MESSAGE; /* it wants more than there is */
        }
    }
    return KP_ERROR_NONE;
}

static enum kp_error inflate_lz4(struct kp_slice in, struct kp_arena *arena, size_t limit, struct kp_slice *out) {
    struct sink sink;
    LZ4F_dctx *context = NULL;
    enum kp_error error = sink_open(&sink, arena, times(in.len, 4), limit);
    if (error != KP_ERROR_NONE) {
        return error;
    }
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    error = lz4_frames(context, &sink, in);
    LZ4F_freeDecompressionContext(context);
    return error == KP_ERROR_NONE ? sink_close(&sink, out) : error;
}

/* Independent blocks of 64 KiB: Kafka's Java reader accepts no other. */
static enum kp_error deflate_lz4(struct kp_slice in, struct kp_arena *arena, struct kp_slice *out) {
    const LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    size_t bound = LZ4F_compressFrameBound(in.len, &preferences);
    uint8_t *data = kp_arena_alloc_raw(arena, bound);
    if (data == NULL) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    size_t size = LZ4F_compressFrame(data, bound, in.ptr, in.len, &preferences);
    if (LZ4F_isError(size)) {
        return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    *out = kp_slice_of(data, size);
    return KP_ERROR_NONE;
}

/* ---- zstd ---- */

static enum kp_error zstd_frames(ZSTD_DCtx *context, struct sink *sink, struct kp_slice in) {
    for (;;) {
        size_t size = ZSTD_decompressDCtx(context, sink->data, sink->size, in.ptr, in.len);
        if (!ZSTD_isError(size)) {
            sink->used = size;
            return KP_ERROR_NONE;
        }
        if (ZSTD_getErrorCode(size) != ZSTD_error_dstSize_tooSmall) {
            return KP_ERROR_CORRUPT_MESSAGE;
        }
        /* Twice, for every try begins anew. */
        enum kp_error error = sink_grow(sink);
        if (error == KP_ERROR_NONE && sink->size < sink->size_max) {
            error = sink_grow(sink);
        }
        if (error != KP_ERROR_NONE) {
            return error;
        }
    }
}

static enum kp_error inflate_zstd(struct kp_slice in, struct kp_arena *arena, size_t limit, struct kp_slice *out) {
    unsigned long long claimed = ZSTD_getFrameContentSize(in.ptr, in.len);
    if (claimed == ZSTD_CONTENTSIZE_ERROR) {
        return KP_ERROR_CORRUPT_MESSAGE;
    }
    bool known = claimed != ZSTD_CONTENTSIZE_UNKNOWN;
    if (known && claimed > limit) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    struct sink sink;
    enum kp_error error = sink_open(&sink, arena, known ? (size_t)claimed : times(in.len, 8), limit);
    if (error != KP_ERROR_NONE) {
        return error;
    }
    ZSTD_DCtx *context = ZSTD_createDCtx();
    error = context == NULL ? KP_ERROR_MESSAGE_TOO_LARGE : zstd_frames(context, &sink, in);
    ZSTD_freeDCtx(context);
    return error == KP_ERROR_NONE ? sink_close(&sink, out) : error;
}

static enum kp_error deflate_zstd(struct kp_slice in, struct kp_arena *arena, struct kp_slice *out) {
    size_t bound = ZSTD_compressBound(in.len);
    uint8_t *data = kp_arena_alloc_raw(arena, bound);
    if (data == NULL) {
        return KP_ERROR_MESSAGE_TOO_LARGE;
    }
    size_t size = ZSTD_compress(data, bound, in.ptr, in.len, ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(size)) {
        return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    *out = kp_slice_of(data, size);
    return KP_ERROR_NONE;
}

/* ---- */

enum kp_error kp_inflate(enum kp_codec codec, struct kp_slice in, struct kp_arena *arena, size_t limit,
                         struct kp_slice *out) {
    switch (codec) {
    case KP_CODEC_NONE:
        *out = in;
        return in.len > limit ? KP_ERROR_MESSAGE_TOO_LARGE : KP_ERROR_NONE;
    case KP_CODEC_GZIP:
        return inflate_gzip(in, arena, limit, out);
    case KP_CODEC_SNAPPY:
        return inflate_snappy(in, arena, limit, out);
    case KP_CODEC_LZ4:
        return inflate_lz4(in, arena, limit, out);
    case KP_CODEC_ZSTD:
        return inflate_zstd(in, arena, limit, out);
    }
    return KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE;
}

enum kp_error kp_deflate(enum kp_codec codec, struct kp_slice in, struct kp_arena *arena, struct kp_slice *out) {
    switch (codec) {
    case KP_CODEC_NONE:
        *out = in;
        return KP_ERROR_NONE;
    case KP_CODEC_GZIP:
        return deflate_gzip(in, arena, out);
    case KP_CODEC_SNAPPY:
        return deflate_snappy(in, arena, out);
    case KP_CODEC_LZ4:
        return deflate_lz4(in, arena, out);
    case KP_CODEC_ZSTD:
        return deflate_zstd(in, arena, out);
    }
    return KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE;
}
