#include "protocol/error.h"

const char *kp_error_name(enum kp_error error) {
    switch (error) {
#define ERROR(name, number, text)                                                                                      \
    case KP_ERROR_##name:                                                                                              \
        return #name;
#include "protocol/errors.def"
#undef ERROR
    }
    return "UNKNOWN";
}

const char *kp_error_text(enum kp_error error) {
    switch (error) {
#define ERROR(name, number, text)                                                                                      \
    case KP_ERROR_##name:                                                                                              \
        return text;
#include "protocol/errors.def"
#undef ERROR
    }
    return "Unknown error.";
}
