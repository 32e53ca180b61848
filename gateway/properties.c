/* Line by line: physical lines are joined first, then split at the separator, then unescaped: in this order an escaped
 * separator stays in the key and an escaped backslash does not join. */
#include "gateway/properties.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t\f";

struct reader {
    FILE *file;
    unsigned line; /* number of the physical line read last */
    char *text;    /* the logical line */
    size_t capacity;
};

static char *skip_blanks(char *text) {
    return text + strspn(text, blanks);
}

static bool is_comment(char *text) {
    const char *start = skip_blanks(text);
    return *start == '#' || *start == '!' || *start == '\0';
}

static bool ends_in_backslash(const char *text) {
    size_t count = 0;
    for (size_t i = strlen(text); i > 0 && text[i - 1] == '\\'; i--) {
        count++;
    }
    return count % 2 == 1;
}

/* One physical line without its end. False at the end of the file or on an error. */
static bool read_line(struct reader *reader, char **text, size_t *capacity) {
    if (getline(text, capacity, reader->file) < 0) {
        return false;
    }
    reader->line++;
    (*text)[strcspn(*text, "\r\n")] = '\0';
    return true;
}

/* Joins the lines that follow while the text ends in a backslash. False when memory is out. */
static bool join_lines(struct reader *reader) {
    char *more = NULL;
    size_t more_capacity = 0;
    bool ok = true;
    while (ok && ends_in_backslash(reader->text)) {
        reader->text[strlen(reader->text) - 1] = '\0';
        if (!read_line(reader, &more, &more_capacity)) {
            break;
        }
        char *joined = NULL;
        ok = asprintf(&joined, "%s%s", reader->text, skip_blanks(more)) >= 0;
        if (ok) {
            free(reader->text);
            reader->text = joined;
            reader->capacity = strlen(joined) + 1;
        }
    }
    free(more);
    return ok;
}

/* The value of four hexadecimal digits, or -1. */
static int hex4(const char *digits) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = tolower((unsigned char)digits[i]);
        if (!isxdigit(c)) {
            return -1;
        }
        value = value * 16 + (isdigit(c) ? c - '0' : c - 'a' + 10);
    }
    return value;
}

/* Replaces the escapes in place. False for a \u that is malformed, NUL or not ASCII. */
static bool unescape(char *text) {
    static const char letters[] = "tnrf", meanings[] = "\t\n\r\f";
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '\\' || from[1] == '\0') {
            *to++ = *from;
            continue;
        }
        from++;
        const char *letter = strchr(letters, *from);
        if (*from == 'u') {
            int code = hex4(from + 1);
            if (code <= 0 || code > 127) {
                return false;
            }
            *to++ = (char)code;
            from += 4;
        } else {
            *to++ = letter != NULL ? meanings[letter - letters] : *from;
        }
    }
    *to = '\0';
    return true;
}

/* Cuts the text after the key; returns where the value begins. */
static char *split(char *text) {
    char *end = text;
    while (*end != '\0' && *end != '=' && *end != ':' && strchr(blanks, *end) == NULL) {
        end += end[0] == '\\' && end[1] != '\0' ? 2 : 1;
    }
    char *value = skip_blanks(end);
    if (*value == '=' || *value == ':') {
        value = skip_blanks(value + 1);
    }
    *end = '\0';
    return value;
}

bool gw_properties_read(const char *path,
                        bool (*take)(void *arg, const struct gw_property *property, char *message), void *arg,
                        char *message) {
    struct reader reader = {.file = fopen(path, "re")};
    if (reader.file == NULL) {
        snprintf(message, GW_PROPERTIES_MESSAGE_MAX, "cannot read %.200s: %s", path, strerror(errno));
        return false;
    }
    bool ok = true;
    while (ok && read_line(&reader, &reader.text, &reader.capacity)) {
        struct gw_property property = {.path = path, .line = reader.line};
        if (is_comment(reader.text)) {
            continue;
        }
        if (!join_lines(&reader)) {
            snprintf(message, GW_PROPERTIES_MESSAGE_MAX, "out of memory");
            ok = false;
            break;
        }
        char *key = skip_blanks(reader.text), *value = split(key);
        property.key = key;
        property.value = value;
        if (!unescape(key) || !unescape(value)) {
            snprintf(message, GW_PROPERTIES_MESSAGE_MAX,
                     "%.200s:%u: \\u needs four hexadecimal digits of an ASCII character", path, property.line);
            ok = false;
        } else {
            ok = take(arg, &property, message);
        }
    }
    if (ok && ferror(reader.file)) {
        snprintf(message, GW_PROPERTIES_MESSAGE_MAX, "cannot read %.200s: %s", path, strerror(errno));
        ok = false;
    }
    free(reader.text);
    fclose(reader.file);
    return ok;
}
