/*
 * The vocabulary of messages/NN_name.def, where every Kafka message is declared once, and what it expands to.
 *
 *     STRUCT  (fetch_request_topic)                          a struct kp_fetch_request_topic; parts before wholes
 *     FIELD   (str,  topic,    V(0, 12))                     one value, on the wire in versions 0 to 12
 *     FIELD   (uuid, topic_id, V(13, MAX))                   from 13 on in its place: order of lines = order of bytes
 *     LIST    (i32,  ids, V(0, MAX))                         array of scalars:  struct {int32_t *items; int32_t count;}
 *     ARRAY   (fetch_request_partition, partitions, V(0, MAX))  array of structs: the same with struct kp_... *items
 *     NESTED  (fetch_replica_state, replica_state, V(15, MAX), TAG(1))   a struct inside
 *     OPTIONAL(topic_cursor, cursor, V(0, MAX))              a struct that may be null: a pointer
 *     END     (fetch_request_topic)
 *
 * After V come, in any order and only where needed:
 *     NULLABLE(from)   null is legal from this version on. Null is: ptr NULL (str, bytes, records), count -1 (arrays).
 *     DEFAULT(n)       value where the version lacks the field; 0, empty, or null for what is nullable, otherwise.
 *                      DEFAULT(-1) on an array: null.
 *     TAG(n)           a tagged field (KIP-482): flexible versions only, written only when it differs from the default.
 *
 * Types: bool i8 i16 u16 i32 u32 i64 f64 uuid str bytes records. `records` is a slice when decoded; when encoded, the
 * bytes may instead be pieces that are referenced, never copied.
 *
 * messages.h expands the definitions to structs, messages.c to the tables below, codec.c interprets the tables.
 */
#ifndef KP_SCHEMA_H
#define KP_SCHEMA_H

#include "protocol/bytes/blob.h"
#include "protocol/bytes/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kp_type {
    KP_TYPE_bool,
    KP_TYPE_i8,
    KP_TYPE_i16,
    KP_TYPE_u16,
    KP_TYPE_i32,
    KP_TYPE_u32,
    KP_TYPE_i64,
    KP_TYPE_f64,
    KP_TYPE_uuid,
    KP_TYPE_str,
    KP_TYPE_bytes,
    KP_TYPE_records,
    KP_TYPE_struct,
};

/* How often the type occurs in a field. */
enum kp_shape {
    KP_SHAPE_ONE,
    KP_SHAPE_ARRAY,
    KP_SHAPE_OPTIONAL, /* structs only */
};

/* Encoded from `pieces` when piece_count > 0 (references are taken, bytes not copied), else from `bytes`, copied.
 * Decoding sets only `bytes`. */
struct kp_records {
    struct kp_slice bytes; /* ptr NULL: null, when there are no pieces */
    const struct kp_piece *pieces;
    size_t piece_count;
};

/* What every array in a message looks like; the codec sees it as this. */
struct kp_array {
    void *items;
    int32_t count; /* -1: null */
};

struct kp_struct;

/* Zero is the neutral value of everything optional. */
struct kp_field {
    const char *name;
    const struct kp_struct *(*of)(void); /* of a struct type */
    int64_t fallback;                    /* DEFAULT */
    uint32_t offset;                     /* in the C struct */
    int16_t min, max;
    int16_t nullable; /* NULLABLE + 1 */
    int16_t tag;      /* TAG + 1 */
    uint8_t type;     /* enum kp_type */
    uint8_t shape;    /* enum kp_shape */
};

struct kp_struct {
    const char *name;
    const struct kp_field *fields;
    uint32_t field_count;
    uint32_t size; /* of the C struct */
};

/* How a message of this version is laid out on the wire. */
struct kp_wire {
    int16_t version;
    bool flexible; /* compact lengths, tagged fields (KIP-482) */
};

/* Whether messages of this version have the field. */
static inline bool kp_field_present(const struct kp_field *field, struct kp_wire wire) {
    return wire.version >= field->min && wire.version <= field->max && (field->tag == 0 || wire.flexible);
}

static inline bool kp_field_nullable(const struct kp_field *field, struct kp_wire wire) {
    return field->nullable != 0 && wire.version >= field->nullable - 1;
}

/* Bytes of one element of the field in memory. */
size_t kp_field_size(const struct kp_field *field);
/* Whether the field has its default; `at` is the field in memory. */
bool kp_field_is_default(const struct kp_field *field, struct kp_wire wire, const void *at);

#endif
