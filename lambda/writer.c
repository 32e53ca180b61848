#include "lambda/writer.h"

#include <inttypes.h>
#include <stdio.h>

#define FIRST_SIZE 4096

void rest_writer_init(struct rest_writer *writer, size_t limit) {
    *writer = (struct rest_writer){.limit = limit};
}

/* Room for `len` more bytes at the end, NULL when it cannot be had. */
static uint8_t *reserve(struct rest_writer *writer, size_t len) {
    if (writer->failed || len > writer->limit || writer->used > writer->limit - len) {
        writer->over = writer->over || !writer->failed;
        writer->failed = true;
        return NULL;
    }
    size_t needed = writer->used + len;
    if (writer->blob == NULL || needed > writer->blob->size) {
        size_t size = writer->blob == NULL ? FIRST_SIZE : writer->blob->size;
        while (size < needed) {
            size *= 2; /* needed <= limit, which is far from SIZE_MAX */
        }
        if (writer->blob == NULL) {
            writer->blob = kp_blob_new(size);
            writer->failed = writer->blob == NULL;
        } else {
            writer->failed = !kp_blob_grow(writer->blob, writer->used, size);
        }
    }
    return writer->failed ? NULL : writer->blob->data + writer->used;
}

void rest_writer_bytes(struct rest_writer *writer, struct kp_slice bytes) {
    uint8_t *to = reserve(writer, bytes.len);
    if (to != NULL && bytes.len > 0) {
        memcpy(to, bytes.ptr, bytes.len);
        writer->used += bytes.len;
    }
}

void rest_writer_number(struct rest_writer *writer, int64_t number) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRId64, number);
    rest_writer_bytes(writer, kp_slice_of(digits, (size_t)len));
}

/* The escape of a byte that cannot stand in a JSON string as it is. */
static void write_escaped(struct rest_writer *writer, uint8_t c) {
    static const char short_from[] = "\"\\\b\f\n\r\t", short_to[] = "\"\\bfnrt";
    char escape[8];
    const char *found = c == 0 ? NULL : strchr(short_from, c);
    int len = found != NULL ? snprintf(escape, sizeof escape, "\\%c", short_to[found - short_from])
                            : snprintf(escape, sizeof escape, "\\u%04x", c);
    rest_writer_bytes(writer, kp_slice_of(escape, (size_t)len));
}

void rest_writer_string(struct rest_writer *writer, struct kp_slice text) {
    rest_writer_bytes(writer, KP_SLICE_LIT("\""));
    size_t plain = 0; /* where the run that needs no escape began */
    for (size_t i = 0; i < text.len && !writer->failed; i++) {
        uint8_t c = text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        rest_writer_bytes(writer, kp_slice_of(text.ptr + plain, i - plain));
        write_escaped(writer, c);
        plain = i + 1;
    }
    rest_writer_bytes(writer, kp_slice_of(text.ptr + plain, text.len - plain));
    rest_writer_bytes(writer, KP_SLICE_LIT("\""));
}

void rest_writer_base64(struct rest_writer *writer, struct kp_slice bytes) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t groups = bytes.len / 3 + (bytes.len % 3 != 0);
    rest_writer_bytes(writer, KP_SLICE_LIT("\""));
    uint8_t *to = reserve(writer, groups * 4);
    for (size_t i = 0; to != NULL && i < bytes.len; i += 3) {
        size_t here = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)bytes.ptr[i] << 16;
        group |= here > 1 ? (uint32_t)bytes.ptr[i + 1] << 8 : 0;
        group |= here > 2 ? (uint32_t)bytes.ptr[i + 2] : 0;
        *to++ = (uint8_t)alphabet[group >> 18];
        *to++ = (uint8_t)alphabet[group >> 12 & 63];
        *to++ = here > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        *to++ = here > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
    writer->used += to != NULL ? groups * 4 : 0;
    rest_writer_bytes(writer, KP_SLICE_LIT("\""));
}

void rest_writer_line(struct rest_writer *writer, struct kp_slice json) {
    uint8_t *to = reserve(writer, json.len);
    for (size_t i = 0; to != NULL && i < json.len; i++) { /* within strings JSON has no bare line break */
        to[i] = json.ptr[i] == '\n' || json.ptr[i] == '\r' ? ' ' : json.ptr[i];
    }
    writer->used += to != NULL ? json.len : 0;
}

void rest_writer_finish(struct rest_writer *writer, struct kp_chain *chain) {
    if (writer->blob != NULL && !writer->failed) {
        kp_chain_piece(chain, (struct kp_piece){writer->blob, kp_slice_of(writer->blob->data, writer->used)});
    }
    rest_writer_release(writer);
}

void rest_writer_release(struct rest_writer *writer) {
    kp_blob_unref(writer->blob);
    rest_writer_init(writer, writer->limit);
}
