/*
 * The tables of all messages. Each definition becomes a function, because inside one `self` can name its struct: the
 * lines between STRUCT and END need no struct name, and a field that the struct lacks does not compile.
 */
#include "protocol/messages.h"

#define MAX INT16_MAX
#define V(from, to) .min = (from), .max = (to)
#define NULLABLE(from) .nullable = (from) + 1
#define DEFAULT(value) .fallback = (value)
#define TAG(number) .tag = (number) + 1

#define STRUCT(s)                                                                                                      \
    const struct kp_struct *kp_##s##_type(void) {                                                                      \
        typedef struct kp_##s self;                                                                                    \
        static const struct kp_field fields[] = {
#define FIELD(t, f, ...) {.name = #f, .offset = offsetof(self, f), .type = KP_TYPE_##t, __VA_ARGS__},
#define LIST(t, f, ...)                                                                                                \
    {.name = #f, .offset = offsetof(self, f), .type = KP_TYPE_##t, .shape = KP_SHAPE_ARRAY, __VA_ARGS__},
#define PART(how, s, f, ...)                                                                                           \
    {.name = #f, .offset = offsetof(self, f), .type = KP_TYPE_struct, .shape = (how), .of = kp_##s##_type, __VA_ARGS__},
#define ARRAY(s, f, ...) PART(KP_SHAPE_ARRAY, s, f, __VA_ARGS__)
#define NESTED(s, f, ...) PART(KP_SHAPE_ONE, s, f, __VA_ARGS__)
#define OPTIONAL(s, f, ...) PART(KP_SHAPE_OPTIONAL, s, f, __VA_ARGS__)
#define END(s)                                                                                                         \
    }                                                                                                                  \
    ;                                                                                                                  \
    static const struct kp_struct type = {                                                                             \
        .name = #s, .fields = fields, .field_count = sizeof fields / sizeof *fields, .size = sizeof(self)};            \
    return &type;                                                                                                      \
    }
#include "protocol/messages/index.def"
