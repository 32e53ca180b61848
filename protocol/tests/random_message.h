/* Messages filled at random by their tables, every field whether the version has it or not. */
#ifndef KP_RANDOM_MESSAGE_H
#define KP_RANDOM_MESSAGE_H

#include "protocol/codec.h"

static inline uint64_t random_next(uint64_t *seed) {
    uint64_t x = *seed += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline size_t random_below(uint64_t *seed, size_t bound) {
    return (size_t)(random_next(seed) % bound);
}

/* Mostly short; sometimes long enough for a length of two bytes. */
static inline struct kp_slice random_bytes(uint64_t *seed, struct kp_arena *arena) {
    static const uint8_t lengths[] = {0, 1, 3, 8, 20, 200};
    size_t len = lengths[random_below(seed, sizeof lengths)];
    uint8_t *bytes = kp_arena_alloc(arena, len);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)random_next(seed);
    }
    return kp_slice_of(bytes, len);
}

static inline void random_message(const struct kp_struct *type, uint64_t *seed, struct kp_arena *arena, void *message);

static inline void random_value(const struct kp_field *field, uint64_t *seed, struct kp_arena *arena, void *at,
                                bool nullable) {
    bool null = nullable && field->nullable != 0 && random_below(seed, 4) == 0;
    switch ((enum kp_type)field->type) {
    case KP_TYPE_bool:
        *(bool *)at = random_below(seed, 2) == 1;
        return;
    case KP_TYPE_i8:
    case KP_TYPE_i16:
    case KP_TYPE_u16:
    case KP_TYPE_i32:
    case KP_TYPE_u32:
    case KP_TYPE_i64:
    case KP_TYPE_f64: {
        uint64_t value = random_below(seed, 4) == 0 ? (uint64_t)field->fallback : random_next(seed);
        memcpy(at, &value, kp_field_size(field));
        return;
    }
    case KP_TYPE_uuid:
        for (size_t i = 0; i < 16; i++) {
            ((uint8_t *)at)[i] = (uint8_t)random_next(seed);
        }
        return;
    case KP_TYPE_str:
    case KP_TYPE_bytes:
        *(struct kp_slice *)at = null ? (struct kp_slice){NULL, 0} : random_bytes(seed, arena);
        return;
    case KP_TYPE_records:
        *(struct kp_records *)at = (struct kp_records){.bytes = null ? (struct kp_slice){NULL, 0}
                                                                     : random_bytes(seed, arena)};
        return;
    case KP_TYPE_struct:
        random_message(field->of(), seed, arena, at);
        return;
    }
}

static inline void random_field(const struct kp_field *field, uint64_t *seed, struct kp_arena *arena, void *at) {
    if (field->shape == KP_SHAPE_ONE) {
        random_value(field, seed, arena, at, true);
    } else if (field->shape == KP_SHAPE_OPTIONAL) {
        void *message = random_below(seed, 2) == 0 ? NULL : kp_arena_alloc(arena, field->of()->size);
        if (message != NULL) {
            random_message(field->of(), seed, arena, message);
        }
        memcpy(at, &message, sizeof message);
    } else {
        struct kp_array array = {.count = (int32_t)random_below(seed, 4)};
        if (field->nullable != 0 && random_below(seed, 4) == 0) {
            array.count = -1;
        } else {
            size_t size = kp_field_size(field);
            array.items = kp_arena_array(arena, (size_t)array.count, size);
            for (int32_t i = 0; i < array.count; i++) {
                random_value(field, seed, arena, (uint8_t *)array.items + (size_t)i * size, false);
            }
        }
        memcpy(at, &array, sizeof array);
    }
}

static inline void random_message(const struct kp_struct *type, uint64_t *seed, struct kp_arena *arena, void *message) {
    memset(message, 0, type->size);
    for (uint32_t i = 0; i < type->field_count; i++) {
        random_field(&type->fields[i], seed, arena, (uint8_t *)message + type->fields[i].offset);
    }
}

/* The bytes of a chain in one piece. */
static inline struct kp_slice flatten(const struct kp_chain *chain, struct kp_arena *arena) {
    uint8_t *flat = kp_arena_alloc(arena, chain->bytes);
    size_t used = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(flat + used, chain->pieces[i].bytes.ptr, chain->pieces[i].bytes.len);
        used += chain->pieces[i].bytes.len;
    }
    return kp_slice_of(flat, used);
}

#endif
