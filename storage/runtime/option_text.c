/* Numbers and words of options. */
#include "storage/runtime/option_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool st_option_number(const char *text, bool bytes, int64_t *number) {
    char *end = NULL;
    errno = 0;
    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1]))) {
        return false;
    }
    long long value = strtoll(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    if (bytes && *end != '\0') {
        static const char units[] = "kmg";
        const char *unit = strchr(units, tolower((unsigned char)*end));
        end++;
        if (unit == NULL || *unit == '\0' ||
            __builtin_mul_overflow(value, 1LL << (10 * (unit - units + 1)), &value)) {
            return false;
        }
    }
    *number = value;
    return *end == '\0';
}

int st_option_choice(const char *choices, const char *word) {
    size_t len = strlen(word);
    for (int index = 0;; index++) {
        size_t part = strcspn(choices, "|");
        if (part == len && strncasecmp(choices, word, len) == 0) {
            return index;
        }
        if (choices[part] == '\0') {
            return -1;
        }
        choices += part + 1;
    }
}
