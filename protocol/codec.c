/*
 * An interpreter over the tables of messages.c. Fields are read and written with memcpy, so that a table may describe
 * any struct without aliasing puns; arrays of all element types share the layout of struct kp_array.
 *
 * Recursion follows the schema, never the data: no message of Kafka's contains itself.
 */
#include "protocol/codec.h"

#include "protocol/bytes/be.h"
#include "protocol/bytes/varint.h"

#include <assert.h>
#include <stdio.h>

static const uint8_t empty[1];

/* In memory and, for those of fixed width, on the wire (0: variable). */
static const struct {
    uint8_t memory, wire;
} widths[] = {
    [KP_TYPE_bool] = {sizeof(bool), 1},
    [KP_TYPE_i8] = {1, 1},
    [KP_TYPE_i16] = {2, 2},
    [KP_TYPE_u16] = {2, 2},
    [KP_TYPE_i32] = {4, 4},
    [KP_TYPE_u32] = {4, 4},
    [KP_TYPE_i64] = {8, 8},
    [KP_TYPE_f64] = {8, 8},
    [KP_TYPE_uuid] = {16, 16},
    [KP_TYPE_str] = {sizeof(struct kp_slice), 0},
    [KP_TYPE_bytes] = {sizeof(struct kp_slice), 0},
    [KP_TYPE_records] = {sizeof(struct kp_records), 0},
};

size_t kp_field_size(const struct kp_field *field) {
    return field->type == KP_TYPE_struct ? field->of()->size : widths[field->type].memory;
}

static struct kp_array load_array(const void *at) {
    struct kp_array array;
    memcpy(&array, at, sizeof array);
    return array;
}

/* ---- defaults ---- */

/* `at` is zeroed memory. */
static void set_default(const struct kp_field *field, void *at) {
    if (field->shape == KP_SHAPE_ARRAY) {
        memcpy((uint8_t *)at + offsetof(struct kp_array, count), &(int32_t){(int32_t)field->fallback}, 4);
        return;
    }
    if (field->type == KP_TYPE_struct) {
        if (field->shape == KP_SHAPE_ONE) {
            kp_init(field->of(), at);
        }
        return;
    }
    if (field->fallback != 0) {
        /* The low bytes of a little-endian integer are the narrower integer. */
        memcpy(at, &field->fallback, widths[field->type].memory);
    } else if ((field->type == KP_TYPE_str || field->type == KP_TYPE_bytes) && field->nullable == 0) {
        *(struct kp_slice *)at = (struct kp_slice){empty, 0};
    }
}

void kp_init(const struct kp_struct *type, void *message) {
    memset(message, 0, type->size);
    for (uint32_t i = 0; i < type->field_count; i++) {
        set_default(&type->fields[i], (uint8_t *)message + type->fields[i].offset);
    }
}

void *kp_array_new(const struct kp_struct *type, struct kp_arena *arena, int32_t count) {
    assert(count >= 0);
    uint8_t *items = kp_arena_array(arena, (size_t)count, type->size);
    for (int32_t i = 0; items != NULL && i < count; i++) {
        kp_init(type, items + (size_t)i * type->size);
    }
    return items;
}

static bool struct_is_default(const struct kp_struct *type, struct kp_wire wire, const uint8_t *message) {
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (kp_field_present(field, wire) && !kp_field_is_default(field, wire, message + field->offset)) {
            return false;
        }
    }
    return true;
}

bool kp_field_is_default(const struct kp_field *field, struct kp_wire wire, const void *at) {
    if (field->shape == KP_SHAPE_ARRAY) {
        int32_t count = load_array(at).count;
        return count == field->fallback || (count < 0 && !kp_field_nullable(field, wire));
    }
    if (field->shape == KP_SHAPE_OPTIONAL) {
        const void *message = NULL;
        memcpy(&message, at, sizeof message);
        return message == NULL;
    }
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
    case KP_TYPE_i8:
    case KP_TYPE_i16:
    case KP_TYPE_u16:
    case KP_TYPE_i32:
    case KP_TYPE_u32:
    case KP_TYPE_i64:
    case KP_TYPE_f64:
        return memcmp(at, &field->fallback, widths[field->type].memory) == 0;
    case KP_TYPE_uuid:
        return kp_uuid_is_zero(at);
    case KP_TYPE_str:
    case KP_TYPE_bytes: {
        const struct kp_slice *slice = at;
        return kp_field_nullable(field, wire) ? slice->ptr == NULL : slice->len == 0;
    }
    case KP_TYPE_records: {
        const struct kp_records *records = at;
        return records->piece_count == 0 && records->bytes.ptr == NULL;
    }
    case KP_TYPE_struct:
        return struct_is_default(field->of(), wire, at);
    }
    return false;
}

/* ---- decoding ---- */

struct reader {
    const uint8_t *at, *end;
    struct kp_wire wire;
    struct kp_arena *arena;
    const char *what; /* why it failed */
    char *path;       /* NULL: nobody asks; grows at the front while the failure passes up through the levels */
};

enum { PATH_SIZE = sizeof((struct kp_decode_error *)0)->path };

static bool fail(struct reader *reader, const char *what) {
    reader->what = what;
    return false;
}

static void path_prepend(struct reader *reader, const char *text) {
    if (reader->path == NULL) {
        return;
    }
    char *path = reader->path;
    size_t len = strlen(text), old = strlen(path), dot = old > 0 && path[0] != '[' ? 1 : 0;
    if (len + dot >= PATH_SIZE) {
        return;
    }
    size_t keep = old < PATH_SIZE - 1 - len - dot ? old : PATH_SIZE - 1 - len - dot;
    memmove(path + len + dot, path, keep);
    memcpy(path, text, len);
    if (dot != 0) {
        path[len] = '.';
    }
    path[len + dot + keep] = '\0';
}

static void path_prepend_index(struct reader *reader, int32_t index) {
    char text[16];
    snprintf(text, sizeof text, "[%d]", index);
    path_prepend(reader, text);
}

static size_t left(const struct reader *reader) {
    return (size_t)(reader->end - reader->at);
}

static bool read_uvarint(struct reader *reader, uint32_t *value) {
    size_t taken = kp_uvarint32_get(reader->at, reader->end, value);
    reader->at += taken;
    return taken != 0 ? true : fail(reader, "damaged or cut variable-length integer");
}

/* The length before a value: -1 for null. `width` is that of the non-flexible form. */
static bool read_length(struct reader *reader, size_t width, int64_t *length) {
    if (reader->wire.flexible) {
        uint32_t plus_one = 0;
        if (!read_uvarint(reader, &plus_one)) {
            return false;
        }
        *length = (int64_t)plus_one - 1;
        return true;
    }
    if (left(reader) < width) {
        return fail(reader, "cut before a length");
    }
    *length = width == 2 ? (int16_t)kp_be_load16(reader->at) : (int32_t)kp_be_load32(reader->at);
    reader->at += width;
    return *length >= -1 ? true : fail(reader, "negative length");
}

static bool read_slice(struct reader *reader, const struct kp_field *field, size_t width, struct kp_slice *slice) {
    int64_t length = 0;
    if (!read_length(reader, width, &length)) {
        return false;
    }
    if (length < 0) {
        *slice = (struct kp_slice){NULL, 0};
        return kp_field_nullable(field, reader->wire) ? true : fail(reader, "null is not allowed here");
    }
    if ((uint64_t)length > left(reader)) {
        return fail(reader, "length is larger than what is left");
    }
    *slice = kp_slice_of(reader->at, (size_t)length);
    reader->at += length;
    return true;
}

static bool decode_struct(struct reader *reader, const struct kp_struct *type, uint8_t *message);

static bool decode_one(struct reader *reader, const struct kp_field *field, void *at) {
    size_t width = field->type == KP_TYPE_struct ? 0 : widths[field->type].wire;
    if (width > left(reader)) {
        return fail(reader, "cut in the middle of a value");
    }
    const uint8_t *from = reader->at;
    reader->at += width;
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
        *(bool *)at = *from != 0;
        return true;
    case KP_TYPE_i8:
        memcpy(at, from, 1);
        return true;
    case KP_TYPE_i16:
    case KP_TYPE_u16:
        memcpy(at, &(uint16_t){kp_be_load16(from)}, 2);
        return true;
    case KP_TYPE_i32:
    case KP_TYPE_u32:
        memcpy(at, &(uint32_t){kp_be_load32(from)}, 4);
        return true;
    case KP_TYPE_i64:
    case KP_TYPE_f64:
        memcpy(at, &(uint64_t){kp_be_load64(from)}, 8);
        return true;
    case KP_TYPE_uuid:
        memcpy(at, from, 16);
        return true;
    case KP_TYPE_str:
        return read_slice(reader, field, 2, at);
    case KP_TYPE_bytes:
        return read_slice(reader, field, 4, at);
    case KP_TYPE_records:
        return read_slice(reader, field, 4, &((struct kp_records *)at)->bytes);
    case KP_TYPE_struct: {
        const struct kp_struct *type = field->of();
        memset(at, 0, type->size); /* a tagged field may come twice */
        return decode_struct(reader, type, at);
    }
    }
    return fail(reader, "unknown type");
}

static size_t least_size(const struct kp_struct *type, struct kp_wire wire);

/* Bytes that the field takes at least on the wire. */
static size_t least_field_size(const struct kp_field *field, struct kp_wire wire, bool element) {
    if (field->shape == KP_SHAPE_OPTIONAL) {
        return 1;
    }
    if (field->shape == KP_SHAPE_ARRAY && !element) {
        return wire.flexible ? 1 : 4;
    }
    if (field->type == KP_TYPE_struct) {
        return least_size(field->of(), wire);
    }
    if (widths[field->type].wire != 0) {
        return widths[field->type].wire;
    }
    return wire.flexible ? 1 : field->type == KP_TYPE_str ? 2 : 4;
}

static size_t least_size(const struct kp_struct *type, struct kp_wire wire) {
    size_t sum = wire.flexible ? 1 : 0;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (field->tag == 0 && kp_field_present(field, wire)) {
            sum += least_field_size(field, wire, false);
        }
    }
    return sum;
}

static bool decode_array(struct reader *reader, const struct kp_field *field, void *at) {
    int64_t count = 0;
    if (!read_length(reader, 4, &count)) {
        return false;
    }
    if (count < 0) {
        memcpy(at, &(struct kp_array){.count = -1}, sizeof(struct kp_array));
        return kp_field_nullable(field, reader->wire) ? true : fail(reader, "null is not allowed here");
    }
    /* An element of no bytes would let a small message claim any number of them. */
    size_t least = least_field_size(field, reader->wire, true);
    if ((uint64_t)count > left(reader) / (least > 0 ? least : 1)) {
        return fail(reader, "more elements than the bytes that are left can hold");
    }
    size_t size = kp_field_size(field);
    uint8_t *items = kp_arena_array(reader->arena, (size_t)count, size);
    if (items == NULL) {
        return fail(reader, "message needs more memory than allowed");
    }
    memcpy(at, &(struct kp_array){.items = items, .count = (int32_t)count}, sizeof(struct kp_array));
    for (int32_t i = 0; i < (int32_t)count; i++) {
        if (!decode_one(reader, field, items + (size_t)i * size)) {
            path_prepend_index(reader, i);
            return false;
        }
    }
    return true;
}

static bool decode_optional(struct reader *reader, const struct kp_field *field, void *at) {
    if (left(reader) < 1) {
        return fail(reader, "cut before an optional struct");
    }
    int8_t mark = (int8_t)*reader->at++;
    if (mark < 0) {
        return true;
    }
    void *message = kp_arena_alloc(reader->arena, field->of()->size);
    if (message == NULL) {
        return fail(reader, "message needs more memory than allowed");
    }
    memcpy(at, &message, sizeof message);
    return decode_one(reader, field, message);
}

static bool decode_field(struct reader *reader, const struct kp_field *field, uint8_t *at) {
    bool ok = false;
    switch ((enum kp_shape)field->shape) {
    case KP_SHAPE_ONE:
        ok = decode_one(reader, field, at);
        break;
    case KP_SHAPE_ARRAY:
        ok = decode_array(reader, field, at);
        break;
    case KP_SHAPE_OPTIONAL:
        ok = decode_optional(reader, field, at);
        break;
    }
    if (!ok) {
        path_prepend(reader, field->name);
    }
    return ok;
}

static const struct kp_field *tagged_field(const struct kp_struct *type, struct kp_wire wire, uint32_t tag) {
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (field->tag != 0 && (uint32_t)field->tag - 1 == tag && kp_field_present(field, wire)) {
            return field;
        }
    }
    return NULL;
}

/* Tagged fields that are not known are skipped. Their order is not insisted on. */
static bool decode_tags(struct reader *reader, const struct kp_struct *type, uint8_t *message) {
    uint32_t count = 0;
    if (!read_uvarint(reader, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tag = 0, size = 0;
        if (!read_uvarint(reader, &tag) || !read_uvarint(reader, &size)) {
            return false;
        }
        if (size > left(reader)) {
            return fail(reader, "tagged field is larger than what is left");
        }
        const struct kp_field *field = tagged_field(type, reader->wire, tag);
        const uint8_t *field_end = reader->at + size, *outer_end = reader->end;
        if (field == NULL) {
            reader->at = field_end;
            continue;
        }
        reader->end = field_end;
        if (!decode_field(reader, field, message + field->offset)) {
            return false;
        }
        if (reader->at != field_end) {
            path_prepend(reader, field->name);
            return fail(reader, "tagged field is not of the size it claims");
        }
        reader->end = outer_end;
    }
    return true;
}

static bool decode_struct(struct reader *reader, const struct kp_struct *type, uint8_t *message) {
    struct kp_wire wire = reader->wire;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (field->tag != 0 || !kp_field_present(field, wire)) {
            set_default(field, message + field->offset);
        } else if (!decode_field(reader, field, message + field->offset)) {
            return false;
        }
    }
    return wire.flexible ? decode_tags(reader, type, message) : true;
}

bool kp_decode(const struct kp_struct *type, struct kp_wire wire, struct kp_slice *in, struct kp_arena *arena,
               void *message, struct kp_decode_error *error) {
    struct reader reader = {.at = in->ptr, .end = in->ptr + in->len, .wire = wire, .arena = arena};
    if (error != NULL) {
        *error = (struct kp_decode_error){0};
        reader.path = error->path;
    }
    memset(message, 0, type->size);
    if (!decode_struct(&reader, type, message)) {
        if (error != NULL) {
            error->what = reader.what;
            error->offset = (size_t)(reader.at - in->ptr);
        }
        return false;
    }
    *in = kp_slice_of(reader.at, left(&reader));
    return true;
}

/* ---- encoding ---- */

/* Small values gather in the buffer before they go to the chain. Without a chain the bytes are only counted, which
 * gives the size that a tagged field must have before it. */
struct writer {
    struct kp_chain *out;
    size_t counted;
    struct kp_wire wire;
    size_t used;
    uint8_t buffer[512];
};

static void flush(struct writer *writer) {
    kp_chain_copy(writer->out, writer->buffer, writer->used);
    writer->used = 0;
}

static void put(struct writer *writer, const void *bytes, size_t len) {
    if (writer->out == NULL) {
        writer->counted += len;
        return;
    }
    if (len > sizeof writer->buffer - writer->used) {
        flush(writer);
        if (len > sizeof writer->buffer) {
            kp_chain_copy(writer->out, bytes, len);
            return;
        }
    }
    if (len > 0) {
        memcpy(writer->buffer + writer->used, bytes, len);
    }
    writer->used += len;
}

static void put_uvarint(struct writer *writer, uint64_t value) {
    uint8_t bytes[KP_VARINT_MAX];
    put(writer, bytes, kp_uvarint_put(bytes, value));
}

/* -1: null. False when the number does not fit its width. */
static bool put_length(struct writer *writer, size_t width, int64_t length) {
    if (length > (width == 2 && !writer->wire.flexible ? INT16_MAX : INT32_MAX - 1)) {
        return false;
    }
    uint8_t bytes[4];
    if (writer->wire.flexible) {
        put_uvarint(writer, (uint64_t)(length + 1));
    } else if (width == 2) {
        kp_be_store16(bytes, (uint16_t)length);
        put(writer, bytes, 2);
    } else {
        kp_be_store32(bytes, (uint32_t)length);
        put(writer, bytes, 4);
    }
    return true;
}

static bool put_slice(struct writer *writer, const struct kp_field *field, size_t width, struct kp_slice slice) {
    bool null = slice.ptr == NULL && kp_field_nullable(field, writer->wire);
    if (slice.len > INT32_MAX || !put_length(writer, width, null ? -1 : (int64_t)slice.len)) {
        return false;
    }
    put(writer, slice.ptr, slice.len);
    return true;
}

static bool put_records(struct writer *writer, const struct kp_field *field, const struct kp_records *records) {
    if (records->piece_count == 0) {
        return put_slice(writer, field, 4, records->bytes);
    }
    size_t sum = 0;
    for (size_t i = 0; i < records->piece_count; i++) {
        if (__builtin_add_overflow(sum, records->pieces[i].bytes.len, &sum)) {
            return false;
        }
    }
    if (sum > INT32_MAX || !put_length(writer, 4, (int64_t)sum)) {
        return false;
    }
    if (writer->out == NULL) {
        writer->counted += sum;
        return true;
    }
    flush(writer);
    for (size_t i = 0; i < records->piece_count; i++) {
        kp_chain_piece(writer->out, records->pieces[i]);
    }
    return true;
}

static bool encode_struct(struct writer *writer, const struct kp_struct *type, const uint8_t *message);

static bool encode_one(struct writer *writer, const struct kp_field *field, const void *at) {
    uint8_t bytes[8];
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
        put(writer, &(uint8_t){*(const bool *)at ? 1 : 0}, 1);
        return true;
    case KP_TYPE_i8:
        put(writer, at, 1);
        return true;
    case KP_TYPE_i16:
    case KP_TYPE_u16:
        memcpy(bytes, at, 2);
        put(writer, (uint8_t[2]){bytes[1], bytes[0]}, 2);
        return true;
    case KP_TYPE_i32:
    case KP_TYPE_u32:
        kp_be_store32(bytes, *(const uint32_t *)at);
        put(writer, bytes, 4);
        return true;
    case KP_TYPE_i64:
    case KP_TYPE_f64: {
        uint64_t value;
        memcpy(&value, at, 8);
        kp_be_store64(bytes, value);
        put(writer, bytes, 8);
        return true;
    }
    case KP_TYPE_uuid:
        put(writer, at, 16);
        return true;
    case KP_TYPE_str:
        return put_slice(writer, field, 2, *(const struct kp_slice *)at);
    case KP_TYPE_bytes:
        return put_slice(writer, field, 4, *(const struct kp_slice *)at);
    case KP_TYPE_records:
        return put_records(writer, field, at);
    case KP_TYPE_struct:
        return encode_struct(writer, field->of(), at);
    }
    return false;
}

static bool encode_array(struct writer *writer, const struct kp_field *field, struct kp_array array) {
    bool null = array.count < 0 && kp_field_nullable(field, writer->wire);
    int32_t count = array.count < 0 ? 0 : array.count;
    if (!put_length(writer, 4, null ? -1 : count)) {
        return false;
    }
    size_t size = kp_field_size(field);
    for (int32_t i = 0; i < count; i++) {
        if (!encode_one(writer, field, (const uint8_t *)array.items + (size_t)i * size)) {
            return false;
        }
    }
    return true;
}

static bool encode_field(struct writer *writer, const struct kp_field *field, const uint8_t *at) {
    switch ((enum kp_shape)field->shape) {
    case KP_SHAPE_ONE:
        return encode_one(writer, field, at);
    case KP_SHAPE_ARRAY:
        return encode_array(writer, field, load_array(at));
    case KP_SHAPE_OPTIONAL: {
        const void *message = NULL;
        memcpy(&message, at, sizeof message);
        put(writer, &(int8_t){message == NULL ? -1 : 1}, 1);
        return message == NULL ? true : encode_struct(writer, field->of(), message);
    }
    }
    return false;
}

/* Definitions list tagged fields by ascending tag, as they must be written. */
static bool encode_tags(struct writer *writer, const struct kp_struct *type, const uint8_t *message) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        count += field->tag != 0 && kp_field_present(field, writer->wire) &&
                 !kp_field_is_default(field, writer->wire, message + field->offset);
    }
    put_uvarint(writer, count);
    for (uint32_t i = 0; count > 0 && i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (field->tag == 0 || !kp_field_present(field, writer->wire) ||
            kp_field_is_default(field, writer->wire, message + field->offset)) {
            continue;
        }
        struct writer counter;
        counter.out = NULL;
        counter.counted = 0;
        counter.wire = writer->wire;
        if (!encode_field(&counter, field, message + field->offset)) {
            return false;
        }
        put_uvarint(writer, (uint64_t)field->tag - 1);
        put_uvarint(writer, counter.counted);
        if (!encode_field(writer, field, message + field->offset)) {
            return false;
        }
    }
    return true;
}

static bool encode_struct(struct writer *writer, const struct kp_struct *type, const uint8_t *message) {
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (field->tag == 0 && kp_field_present(field, writer->wire) &&
            !encode_field(writer, field, message + field->offset)) {
            return false;
        }
    }
    return writer->wire.flexible ? encode_tags(writer, type, message) : true;
}

bool kp_encode(const struct kp_struct *type, struct kp_wire wire, const void *message, struct kp_chain *out) {
    struct writer writer;
    writer.out = out;
    writer.counted = 0;
    writer.wire = wire;
    writer.used = 0;
    bool ok = encode_struct(&writer, type, message);
    flush(&writer);
    return ok && !out->failed;
}
