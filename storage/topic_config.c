/*
 * The table of topic_config.def and what its rules accept. Values are read as Apache Kafka reads them: blanks around
 * them do not count, numbers may have a sign, booleans are in any case, everything else is exact.
 */
#include "storage/topic_config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum accept {
    ACCEPT_BOOLEAN,
    ACCEPT_CLEANUP_POLICY,
    ACCEPT_COMPRESSION,
    ACCEPT_FALSE,
    ACCEPT_GZIP_LEVEL,
    ACCEPT_LZ4_LEVEL,
    ACCEPT_MINUS_ONE_UP,
    ACCEPT_MINUS_TWO_UP,
    ACCEPT_NON_NEGATIVE,
    ACCEPT_POSITIVE,
    ACCEPT_RATIO,
    ACCEPT_REPLICAS,
    ACCEPT_TIMESTAMP_TYPE,
    ACCEPT_ZSTD_LEVEL,
};

const struct st_config_rule st_config_rules[] = {
#define CONFIG(name, value, type, accept, doc) {name, value, doc, ST_CONFIG_##type, ACCEPT_##accept},
#include "storage/topic_config.def"
#undef CONFIG
};

const size_t st_config_rule_count = sizeof st_config_rules / sizeof st_config_rules[0];

const struct st_config_rule *st_config_rule(struct kp_slice name) {
    size_t low = 0, high = st_config_rule_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = kp_slice_compare(name, kp_slice_cstr(st_config_rules[middle].name));
        if (order == 0) {
            return &st_config_rules[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

static struct kp_slice trim(struct kp_slice text) {
    while (text.len > 0 && text.ptr[0] <= ' ') {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ') {
        text.len--;
    }
    return text;
}

bool st_config_number(struct kp_slice value, int64_t *number) {
    value = trim(value);
    bool negative = value.len > 0 && value.ptr[0] == '-';
    size_t i = negative || (value.len > 0 && value.ptr[0] == '+');
    if (i == value.len) {
        return false;
    }
    int64_t sum = 0; /* negative all along, so that INT64_MIN fits */
    for (; i < value.len; i++) {
        int digit = value.ptr[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_sub_overflow(sum, digit, &sum)) {
            return false;
        }
    }
    if (!negative && sum == INT64_MIN) {
        return false;
    }
    *number = negative ? sum : -sum;
    return true;
}

static bool number_from(const struct st_config_rule *rule, struct kp_slice value, int64_t least) {
    int64_t number;
    return st_config_number(value, &number) && number >= least &&
           (rule->type != ST_CONFIG_INT || number <= INT_MAX);
}

/* A decimal fraction from 0 to 1: digits, at most one point, perhaps an exponent. */
static bool is_ratio(struct kp_slice value) {
    char text[40];
    value = trim(value);
    if (value.len == 0 || value.len >= sizeof text) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (strchr("0123456789.eE+-", value.ptr[i]) == NULL || value.ptr[i] == '\0') {
            return false;
        }
        text[i] = (char)value.ptr[i];
    }
    text[value.len] = '\0';
    char *end;
    double ratio = strtod(text, &end);
    return end == text + value.len && ratio >= 0 && ratio <= 1;
}

static bool one_of(struct kp_slice value, const char *const *names) {
    for (; *names != NULL; names++) {
        if (kp_slice_equal(value, kp_slice_cstr(*names))) {
            return true;
        }
    }
    return false;
}

static bool is_boolean(struct kp_slice value) {
    value = trim(value);
    return (value.len == 4 && strncasecmp((const char *)value.ptr, "true", 4) == 0) ||
           (value.len == 5 && strncasecmp((const char *)value.ptr, "false", 5) == 0);
}

static bool is_cleanup_policy(struct kp_slice value) {
    static const char *const names[] = {"compact", "delete", NULL};
    for (;;) {
        const uint8_t *comma = value.len > 0 ? memchr(value.ptr, ',', value.len) : NULL;
        size_t len = comma != NULL ? (size_t)(comma - value.ptr) : value.len;
        if (!one_of(trim(kp_slice_of(value.ptr, len)), names)) {
            return false;
        }
        if (comma == NULL) {
            return true;
        }
        value = kp_slice_of(comma + 1, value.len - len - 1);
    }
}

static bool number_between(struct kp_slice value, int64_t least, int64_t most) {
    int64_t number;
    return st_config_number(value, &number) && number >= least && number <= most;
}

/* "*", or partition:broker pairs with commas between them; or nothing. */
static bool is_replicas(struct kp_slice value) {
    value = trim(value);
    if (kp_slice_equal(value, KP_SLICE_LIT("*"))) {
        return true;
    }
    bool digits = false, colon = false; /* of the pair so far: its last part has a digit, its first part is over */
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        if (c >= '0' && c <= '9') {
            digits = true;
        } else if (c == ':' && digits && !colon) {
            colon = true;
            digits = false;
        } else if (c == ',' && digits && colon) {
            colon = digits = false;
        } else {
            return false;
        }
    }
    return value.len == 0 || (digits && colon);
}

bool st_config_valid(const struct st_config_rule *rule, struct kp_slice value) {
    static const char *const codecs[] = {"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer", NULL};
    static const char *const timestamps[] = {"CreateTime", "LogAppendTime", NULL};
    if (value.ptr == NULL) {
        return false;
    }
    switch ((enum accept)rule->accept) {
    case ACCEPT_BOOLEAN:
        return is_boolean(value);
    case ACCEPT_CLEANUP_POLICY:
        return is_cleanup_policy(value);
    case ACCEPT_COMPRESSION:
        return one_of(trim(value), codecs);
    case ACCEPT_FALSE:
        return is_boolean(value) && trim(value).len == strlen("false");
    case ACCEPT_GZIP_LEVEL:
        return number_between(value, 1, 9) || number_between(value, -1, -1);
    case ACCEPT_LZ4_LEVEL:
        return number_between(value, 1, 17);
    case ACCEPT_MINUS_ONE_UP:
        return number_from(rule, value, -1);
    case ACCEPT_MINUS_TWO_UP:
        return number_from(rule, value, -2);
    case ACCEPT_NON_NEGATIVE:
        return number_from(rule, value, 0);
    case ACCEPT_POSITIVE:
        return number_from(rule, value, 1);
    case ACCEPT_RATIO:
        return is_ratio(value);
    case ACCEPT_REPLICAS:
        return is_replicas(value);
    case ACCEPT_TIMESTAMP_TYPE:
        return one_of(trim(value), timestamps);
    case ACCEPT_ZSTD_LEVEL:
        return number_between(value, -131072, 22);
    }
    return false;
}
