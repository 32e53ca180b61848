/*
 * Comparing and printing: the two uses of the tables that trust what they walk over.
 *
 * The text is one line a field, indented like YAML; tagged fields are shown only when they differ from their default,
 * as on the wire:
 *
 *     acks: -1
 *     topic_data:
 *       - name: "orders"
 *         partition_data:
 *           - index: 0
 *             records: 68 bytes, crc32c 1c2f0e55
 */
#include "protocol/codec.h"

#include "protocol/bytes/crc32c.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static struct kp_array load_array(const void *at) {
    struct kp_array array;
    memcpy(&array, at, sizeof array);
    return array;
}

static const uint8_t *load_pointer(const void *at) {
    const void *pointer = NULL;
    memcpy(&pointer, at, sizeof pointer);
    return pointer;
}

/* ---- equality ---- */

/* The bytes of records, wherever they lie. */
struct run {
    struct kp_piece whole;
    const struct kp_piece *pieces;
    size_t count, skip; /* pieces left; bytes of the first that are done */
};

static void run_open(struct run *run, const struct kp_records *records) {
    run->whole.bytes = records->bytes;
    run->pieces = records->piece_count > 0 ? records->pieces : &run->whole;
    run->count = records->piece_count > 0 ? records->piece_count : 1;
    run->skip = 0;
}

/* What is contiguous from here; empty at the end. */
static struct kp_slice run_next(struct run *run) {
    while (run->count > 0 && run->skip == run->pieces->bytes.len) {
        run->pieces++;
        run->count--;
        run->skip = 0;
    }
    if (run->count == 0) {
        return (struct kp_slice){NULL, 0};
    }
    return kp_slice_of(run->pieces->bytes.ptr + run->skip, run->pieces->bytes.len - run->skip);
}

static bool records_null(const struct kp_records *records) {
    return records->piece_count == 0 && records->bytes.ptr == NULL;
}

static bool records_equal(const struct kp_records *a, const struct kp_records *b) {
    struct run left, right;
    run_open(&left, a);
    run_open(&right, b);
    for (;;) {
        struct kp_slice x = run_next(&left), y = run_next(&right);
        size_t shorter = x.len < y.len ? x.len : y.len;
        if (shorter == 0) {
            return x.len == y.len;
        }
        if (memcmp(x.ptr, y.ptr, shorter) != 0) {
            return false;
        }
        left.skip += shorter;
        right.skip += shorter;
    }
}

static bool one_equal(const struct kp_field *field, struct kp_wire wire, const void *a, const void *b) {
    bool nullable = kp_field_nullable(field, wire);
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
    case KP_TYPE_i8:
    case KP_TYPE_i16:
    case KP_TYPE_u16:
    case KP_TYPE_i32:
    case KP_TYPE_u32:
    case KP_TYPE_i64:
    case KP_TYPE_f64:
    case KP_TYPE_uuid:
        return memcmp(a, b, kp_field_size(field)) == 0;
    case KP_TYPE_str:
    case KP_TYPE_bytes: {
        const struct kp_slice *x = a, *y = b;
        return kp_slice_equal(*x, *y) && (!nullable || (x->ptr == NULL) == (y->ptr == NULL));
    }
    case KP_TYPE_records:
        return records_equal(a, b) && (!nullable || records_null(a) == records_null(b));
    case KP_TYPE_struct:
        return kp_equal(field->of(), wire, a, b);
    }
    return false;
}

static bool array_equal(const struct kp_field *field, struct kp_wire wire, struct kp_array a, struct kp_array b) {
    if (!kp_field_nullable(field, wire)) {
        a.count = a.count < 0 ? 0 : a.count;
        b.count = b.count < 0 ? 0 : b.count;
    }
    size_t size = kp_field_size(field);
    bool equal = a.count == b.count;
    for (int32_t i = 0; equal && i < a.count; i++) {
        size_t at = (size_t)i * size;
        equal = one_equal(field, wire, (const uint8_t *)a.items + at, (const uint8_t *)b.items + at);
    }
    return equal;
}

static bool field_equal(const struct kp_field *field, struct kp_wire wire, const uint8_t *a, const uint8_t *b) {
    switch ((enum kp_shape)field->shape) {
    case KP_SHAPE_ONE:
        return one_equal(field, wire, a, b);
    case KP_SHAPE_ARRAY:
        return array_equal(field, wire, load_array(a), load_array(b));
    case KP_SHAPE_OPTIONAL: {
        const uint8_t *x = load_pointer(a), *y = load_pointer(b);
        return x == NULL || y == NULL ? x == y : kp_equal(field->of(), wire, x, y);
    }
    }
    return false;
}

bool kp_equal(const struct kp_struct *type, struct kp_wire wire, const void *a, const void *b) {
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        if (kp_field_present(field, wire) &&
            !field_equal(field, wire, (const uint8_t *)a + field->offset, (const uint8_t *)b + field->offset)) {
            return false;
        }
    }
    return true;
}

/* ---- text ---- */

struct text {
    char *at;
    size_t size, used; /* used: what the text has, also beyond size */
    struct kp_wire wire;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
    size_t room = text->used < text->size ? text->size - text->used : 0;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(room > 0 ? text->at + text->used : NULL, room, format, args);
    va_end(args);
    text->used += len > 0 ? (size_t)len : 0;
}

static void add_string(struct text *text, struct kp_slice string) {
    if (string.ptr == NULL) {
        add(text, "null");
        return;
    }
    add(text, "\"");
    for (size_t i = 0; i < string.len; i++) {
        uint8_t c = string.ptr[i];
        bool plain = c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
        add(text, plain ? "%c" : "\\x%02x", c);
    }
    add(text, "\"");
}

static void add_bytes(struct text *text, const struct kp_records *records) {
    if (records_null(records)) {
        add(text, "null");
        return;
    }
    struct run run;
    run_open(&run, records);
    size_t sum = 0;
    uint32_t crc = 0;
    for (struct kp_slice part = run_next(&run); part.len > 0; part = run_next(&run)) {
        crc = kp_crc32c(crc, part.ptr, part.len);
        sum += part.len;
        run.skip += part.len;
    }
    if (sum == 0) {
        add(text, "0 bytes");
    } else {
        add(text, "%zu bytes, crc32c %08" PRIx32, sum, crc);
    }
}

static void add_struct(struct text *text, const struct kp_struct *type, const uint8_t *message, int indent, bool item);

static void add_scalar(struct text *text, const struct kp_field *field, const void *at) {
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
        add(text, "%s", *(const bool *)at ? "true" : "false");
        return;
    case KP_TYPE_i8:
        add(text, "%d", *(const int8_t *)at);
        return;
    case KP_TYPE_i16:
        add(text, "%d", *(const int16_t *)at);
        return;
    case KP_TYPE_u16:
        add(text, "%u", *(const uint16_t *)at);
        return;
    case KP_TYPE_i32:
        add(text, "%" PRId32, *(const int32_t *)at);
        return;
    case KP_TYPE_u32:
        add(text, "%" PRIu32, *(const uint32_t *)at);
        return;
    case KP_TYPE_i64:
        add(text, "%" PRId64, *(const int64_t *)at);
        return;
    case KP_TYPE_f64:
        add(text, "%.17g", *(const double *)at);
        return;
    case KP_TYPE_uuid: {
        char id[KP_UUID_TEXT_MAX];
        kp_uuid_text(at, id);
        add(text, "%s", id);
        return;
    }
    case KP_TYPE_str:
        add_string(text, *(const struct kp_slice *)at);
        return;
    case KP_TYPE_bytes:
        add_bytes(text, &(struct kp_records){.bytes = *(const struct kp_slice *)at});
        return;
    case KP_TYPE_records:
        add_bytes(text, at);
        return;
    case KP_TYPE_struct:
        return;
    }
}

static void add_array(struct text *text, const struct kp_field *field, struct kp_array array, int indent) {
    if (array.count <= 0) {
        add(text, array.count < 0 ? " null\n" : " []\n");
        return;
    }
    size_t size = kp_field_size(field);
    const uint8_t *items = array.items;
    if (field->type == KP_TYPE_struct) {
        add(text, "\n");
        for (int32_t i = 0; i < array.count; i++) {
            add_struct(text, field->of(), items + (size_t)i * size, indent + 4, true);
        }
        return;
    }
    add(text, " [");
    for (int32_t i = 0; i < array.count; i++) {
        add(text, "%s", i > 0 ? ", " : "");
        add_scalar(text, field, items + (size_t)i * size);
    }
    add(text, "]\n");
}

static void add_field(struct text *text, const struct kp_field *field, const uint8_t *at, int indent) {
    add(text, "%s:", field->name);
    if (field->shape == KP_SHAPE_ARRAY) {
        add_array(text, field, load_array(at), indent);
        return;
    }
    if (field->type != KP_TYPE_struct) {
        add(text, " ");
        add_scalar(text, field, at);
        add(text, "\n");
        return;
    }
    const uint8_t *message = field->shape == KP_SHAPE_OPTIONAL ? load_pointer(at) : at;
    add(text, message == NULL ? " null\n" : "\n");
    if (message != NULL) {
        add_struct(text, field->of(), message, indent + 2, false);
    }
}

/* An item of an array has a dash before its first field. */
static void add_struct(struct text *text, const struct kp_struct *type, const uint8_t *message, int indent, bool item) {
    bool dash = item;
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct kp_field *field = &type->fields[i];
        const uint8_t *at = message + field->offset;
        if (!kp_field_present(field, text->wire) ||
            (field->tag != 0 && kp_field_is_default(field, text->wire, at))) {
            continue;
        }
        add(text, "%*s%s", dash ? indent - 2 : indent, "", dash ? "- " : "");
        add_field(text, field, at, indent);
        dash = false;
    }
}

size_t kp_dump(const struct kp_struct *type, struct kp_wire wire, const void *message, char *text, size_t size) {
    struct text out = {.at = text, .size = size, .wire = wire};
    if (size > 0) {
        text[0] = '\0';
    }
    add_struct(&out, type, message, 0, false);
    return out.used;
}
