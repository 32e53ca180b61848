/*
 * Every Kafka message as a C struct, and its table for the codec, from messages/NN_name.def (notation: schema.h).
 *
 * A message that is to be encoded begins with its defaults: kp_init for the top, kp_array_new for the elements of its
 * arrays (codec.h). A field that the version lacks is not written; in a decoded message it has its default.
 */
#ifndef KP_MESSAGES_H
#define KP_MESSAGES_H

#include "protocol/schema.h"

#define KP_C_bool bool
#define KP_C_i8 int8_t
#define KP_C_i16 int16_t
#define KP_C_u16 uint16_t
#define KP_C_i32 int32_t
#define KP_C_u32 uint32_t
#define KP_C_i64 int64_t
#define KP_C_f64 double
#define KP_C_uuid struct kp_uuid
#define KP_C_str struct kp_slice
#define KP_C_bytes struct kp_slice
#define KP_C_records struct kp_records

#define STRUCT(name) struct kp_##name {
#define FIELD(type, name, ...) KP_C_##type name;
#define LIST(type, name, ...)                                                                                          \
    struct {                                                                                                           \
        KP_C_##type *items;                                                                                            \
        int32_t count;                                                                                                 \
    } name;
#define ARRAY(type, name, ...)                                                                                         \
    struct {                                                                                                           \
        struct kp_##type *items;                                                                                       \
        int32_t count;                                                                                                 \
    } name;
#define NESTED(type, name, ...) struct kp_##type name;
#define OPTIONAL(type, name, ...) struct kp_##type *name;
#define END(name)                                                                                                      \
    }                                                                                                                  \
    ;                                                                                                                  \
    const struct kp_struct *kp_##name##_type(void);
#include "protocol/messages/index.def"
#undef STRUCT
#undef FIELD
#undef LIST
#undef ARRAY
#undef NESTED
#undef OPTIONAL
#undef END

#endif
