/*
 * The scanner is one position that moves forward. Containers are remembered as one bit each (object or array) on a
 * stack of fixed size, which is what replaces recursion and bounds the depth.
 */
#include "lambda/json.h"

struct scanner {
    const uint8_t *at, *end;
    enum rest_json_error error;
};

const char *rest_json_error_text(enum rest_json_error error) {
    static const char *const texts[] = {
#define ERROR(name, text) text,
#include "lambda/json_errors.def"
#undef ERROR
    };
    return texts[error];
}

/* False with this error, or with TRUNCATED when the text is simply over. */
static bool fail(struct scanner *s, enum rest_json_error error) {
    s->error = s->at == s->end ? REST_JSON_TRUNCATED : error;
    return false;
}

/* Length of the well-formed UTF-8 sequence at p (Unicode table 3-7), 0 when there is none. p < end. */
static size_t utf8_length(const uint8_t *p, const uint8_t *end) {
    uint8_t first = p[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || (size_t)(end - p) < length) {
        return 0;
    }
    /* The second byte excludes overlong forms, surrogates and what lies above U+10FFFF. */
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < least || p[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

static void skip_blanks(struct scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) {
        s->at++;
    }
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* Value of a hexadecimal digit, -1 for another byte. */
static int hex_digit(uint8_t c) {
    if (is_digit(c)) {
        return c - '0';
    }
    uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four digits after "\u" at p as a code unit, -1 when they are not four hexadecimal digits. */
static int code_unit(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) {
        return -1;
    }
    int unit = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

/* At the byte after a backslash. */
static bool scan_escape(struct scanner *s) {
    if (s->at == s->end || *s->at == 0 || strchr("\"\\/bfnrtu", *s->at) == NULL) {
        return fail(s, REST_JSON_BAD_ESCAPE);
    }
    if (*s->at != 'u') {
        s->at++;
        return true;
    }
    int unit = code_unit(s->at + 1, s->end);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
        s->error = REST_JSON_BAD_ESCAPE; /* a low surrogate that follows no high one */
        return false;
    }
    s->at += 5;
    if (unit < 0xd800 || unit > 0xdbff) {
        return true;
    }
    int low = s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u' ? code_unit(s->at + 2, s->end) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        s->error = REST_JSON_BAD_ESCAPE;
        return false;
    }
    s->at += 6;
    return true;
}

/* At the opening quote; leaves the position after the closing one. */
static bool scan_string(struct scanner *s) {
    s->at++;
    while (s->at < s->end) {
        uint8_t c = *s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            s->at++;
            if (!scan_escape(s)) {
                return false;
            }
        } else if (c < 0x20) {
            return fail(s, REST_JSON_BAD_CONTROL);
        } else if (c < 0x80) {
            s->at++;
        } else {
            size_t length = utf8_length(s->at, s->end);
            if (length == 0) {
                return fail(s, REST_JSON_BAD_UTF8);
            }
            s->at += length;
        }
    }
    return fail(s, REST_JSON_TRUNCATED);
}

static bool scan_digits(struct scanner *s) {
    if (s->at == s->end || !is_digit(*s->at)) {
        return fail(s, REST_JSON_BAD_NUMBER);
    }
    while (s->at < s->end && is_digit(*s->at)) {
        s->at++;
    }
    return true;
}

static bool scan_number(struct scanner *s) {
    if (*s->at == '-') {
        s->at++;
    }
    bool zero = s->at < s->end && *s->at == '0';
    if (zero) {
        s->at++;
        if (s->at < s->end && is_digit(*s->at)) {
            return fail(s, REST_JSON_BAD_NUMBER);
        }
    } else if (!scan_digits(s)) {
        return false;
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!scan_digits(s)) {
            return false;
        }
    }
    if (s->at < s->end && (*s->at | 0x20) == 'e') {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) {
            s->at++;
        }
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scanner *s, const char *word) {
    for (; *word != 0; word++, s->at++) {
        if (s->at == s->end || *s->at != (uint8_t)*word) {
            return fail(s, REST_JSON_BAD_TOKEN);
        }
    }
    return true;
}

/* A string, number or word. */
static bool scan_scalar(struct scanner *s) {
    switch (*s->at) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return *s->at == '-' || is_digit(*s->at) ? scan_number(s) : fail(s, REST_JSON_BAD_TOKEN);
    }
}

/* A member's name and the colon after it, blanks before and between them; *name is what lies between the quotes. */
static bool scan_name(struct scanner *s, struct kp_slice *name) {
    skip_blanks(s);
    if (s->at == s->end || *s->at != '"') {
        return fail(s, REST_JSON_BAD_TOKEN);
    }
    const uint8_t *start = s->at + 1;
    if (!scan_string(s)) {
        return false;
    }
    *name = kp_slice_of(start, (size_t)(s->at - 1 - start));
    skip_blanks(s);
    if (s->at == s->end || *s->at != ':') {
        return fail(s, REST_JSON_BAD_TOKEN);
    }
    s->at++;
    return true;
}

/* The containers that the position is in, innermost last; a set bit is an object. */
struct nesting {
    uint64_t bits[REST_JSON_DEPTH / 64];
    size_t depth;
};

static bool nesting_object(const struct nesting *in) {
    size_t top = in->depth - 1;
    return (in->bits[top / 64] >> (top % 64) & 1) != 0;
}

static void nesting_push(struct nesting *in, bool object) {
    uint64_t bit = UINT64_C(1) << (in->depth % 64);
    uint64_t *word = &in->bits[in->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    in->depth++;
}

/* After a value: closes the containers that end here. *more: the innermost one that is left has a further value. */
static bool scan_after_value(struct scanner *s, struct nesting *in, bool *more) {
    *more = false;
    while (in->depth > 0) {
        skip_blanks(s);
        bool object = nesting_object(in);
        if (s->at < s->end && *s->at == ',') {
            s->at++;
            struct kp_slice name;
            *more = true;
            return !object || scan_name(s, &name);
        }
        if (s->at == s->end || *s->at != (object ? '}' : ']')) {
            return fail(s, REST_JSON_BAD_TOKEN);
        }
        s->at++;
        in->depth--;
    }
    return true;
}

/* Opens the container at the position. *empty: it was closed at once. */
static bool scan_open(struct scanner *s, struct nesting *in, size_t depth_max, bool *empty) {
    if (in->depth >= depth_max) {
        return fail(s, REST_JSON_TOO_DEEP);
    }
    bool object = *s->at == '{';
    s->at++;
    skip_blanks(s);
    *empty = s->at < s->end && *s->at == (object ? '}' : ']');
    if (*empty) {
        s->at++;
        return true;
    }
    nesting_push(in, object);
    struct kp_slice name;
    return !object || scan_name(s, &name);
}

/* One value with the blanks before it, at most depth_max containers deep; *value gets its bytes. */
static bool scan_value(struct scanner *s, size_t depth_max, struct kp_slice *value) {
    struct nesting in = {.depth = 0};
    skip_blanks(s);
    const uint8_t *start = s->at;
    for (bool more = true; more;) {
        skip_blanks(s);
        if (s->at == s->end) {
            return fail(s, REST_JSON_TRUNCATED);
        }
        bool complete = true;
        if (*s->at == '{' || *s->at == '[') {
            if (!scan_open(s, &in, depth_max, &complete)) {
                return false;
            }
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (complete && !scan_after_value(s, &in, &more)) {
            return false;
        }
    }
    *value = kp_slice_of(start, (size_t)(s->at - start));
    return true;
}

/* What a checked escape of one character means. */
static uint8_t escape_meaning(uint8_t c) {
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    return (uint8_t)meanings[strchr(escapes, c) - escapes];
}

/* Whether a name as it stands between its quotes (already checked) means this ASCII text. */
static bool name_means(struct kp_slice raw, struct kp_slice text) {
    size_t at = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (at == raw.len) {
            return false;
        }
        int unit = raw.ptr[at++];
        if (unit == '\\' && raw.ptr[at] == 'u') {
            unit = code_unit(raw.ptr + at + 1, raw.ptr + raw.len);
            at += 5;
        } else if (unit == '\\') {
            unit = escape_meaning(raw.ptr[at++]);
        }
        if (unit != text.ptr[i]) {
            return false;
        }
    }
    return at == raw.len;
}

static bool take_member(struct scanner *s, struct rest_json_member *members, size_t count) {
    struct kp_slice name, value;
    if (!scan_name(s, &name)) {
        return false;
    }
    const uint8_t *named = name.ptr;
    if (!scan_value(s, REST_JSON_DEPTH - 1, &value)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (name_means(name, members[i].name)) {
            if (members[i].value.ptr != NULL) {
                s->at = named;
                s->error = REST_JSON_DUPLICATE;
                return false;
            }
            members[i].value = value;
        }
    }
    return true;
}

static bool scan_object(struct scanner *s, struct rest_json_member *members, size_t count) {
    skip_blanks(s);
    if (s->at == s->end || *s->at != '{') {
        s->error = s->at == s->end ? REST_JSON_EMPTY : REST_JSON_NOT_OBJECT;
        return false;
    }
    s->at++;
    skip_blanks(s);
    if (s->at < s->end && *s->at == '}') {
        s->at++;
    } else {
        for (bool more = true; more;) {
            if (!take_member(s, members, count)) {
                return false;
            }
            skip_blanks(s);
            more = s->at < s->end && *s->at == ',';
            if (!more && (s->at == s->end || *s->at != '}')) {
                return fail(s, REST_JSON_BAD_TOKEN);
            }
            s->at++;
        }
    }
    skip_blanks(s);
    if (s->at != s->end) {
        s->error = REST_JSON_TRAILING;
        return false;
    }
    return true;
}

enum rest_json_error rest_json_object(struct kp_slice text, struct rest_json_member *members, size_t count,
                                      size_t *at) {
    for (size_t i = 0; i < count; i++) {
        members[i].value = (struct kp_slice){NULL, 0};
    }
    *at = 0;
    if (text.len == 0) {
        return REST_JSON_EMPTY;
    }
    struct scanner s = {.at = text.ptr, .end = text.ptr + text.len, .error = REST_JSON_OK};
    scan_object(&s, members, count);
    *at = (size_t)(s.at - text.ptr);
    return s.error;
}

/* ---- walking checked text ---- */

/* Past the bracket that opens the container, or the comma after the value before; false where it ends. */
static bool walk_on(struct scanner *s, uint8_t open) {
    skip_blanks(s);
    if (s->at == s->end || (*s->at != open && *s->at != ',')) {
        return false;
    }
    s->at++;
    skip_blanks(s);
    return s->at < s->end && *s->at != ']' && *s->at != '}';
}

static bool walk_done(const struct scanner *s, struct kp_slice *rest) {
    *rest = kp_slice_of(s->at, (size_t)(s->end - s->at));
    return true;
}

bool rest_json_next_member(struct kp_slice *object, struct kp_slice *name, struct kp_slice *value) {
    struct scanner s = {.at = object->ptr, .end = object->ptr + object->len, .error = REST_JSON_OK};
    return object->len > 0 && walk_on(&s, '{') && scan_name(&s, name) && scan_value(&s, REST_JSON_DEPTH, value) &&
           walk_done(&s, object);
}

bool rest_json_next_value(struct kp_slice *array, struct kp_slice *value) {
    struct scanner s = {.at = array->ptr, .end = array->ptr + array->len, .error = REST_JSON_OK};
    return array->len > 0 && walk_on(&s, '[') && scan_value(&s, REST_JSON_DEPTH, value) && walk_done(&s, array);
}

static size_t put_utf8(uint32_t point, uint8_t *into) {
    if (point < 0x80) {
        into[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        into[0] = (uint8_t)(0xc0 | point >> 6);
        into[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        into[0] = (uint8_t)(0xe0 | point >> 12);
        into[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        into[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    into[0] = (uint8_t)(0xf0 | point >> 18);
    into[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    into[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    into[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

/* The code point of the escape \uXXXX, or of a pair of them, at *at (behind the 'u'); *at is moved behind it. */
static uint32_t escaped_point(const uint8_t **at, const uint8_t *end) {
    uint32_t point = (uint32_t)code_unit(*at, end);
    *at += 4;
    if (point >= 0xd800 && point <= 0xdbff) {
        point = 0x10000 + ((point - 0xd800) << 10) + ((uint32_t)code_unit(*at + 2, end) - 0xdc00);
        *at += 6;
    }
    return point;
}

size_t rest_json_unescape(struct kp_slice inside, uint8_t *into) {
    size_t len = 0;
    const uint8_t *at = inside.ptr, *end = inside.ptr + inside.len;
    while (at < end) {
        const uint8_t *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape != NULL ? escape : end) - at);
        memmove(into + len, at, plain);
        len += plain;
        if (escape == NULL) {
            break;
        }
        at = escape + 2;
        if (escape[1] == 'u') {
            len += put_utf8(escaped_point(&at, end), into + len);
        } else {
            into[len++] = escape_meaning(escape[1]);
        }
    }
    return len;
}

struct kp_slice rest_json_inside(struct kp_slice value) {
    bool string = value.ptr != NULL && value.len >= 2 && value.ptr[0] == '"';
    return string ? kp_slice_of(value.ptr + 1, value.len - 2) : (struct kp_slice){NULL, 0};
}

/* ---- what was checked, taken apart ---- */

enum rest_json_kind rest_json_kind(struct kp_slice value) {
    switch (value.ptr[0]) {
    case '{':
        return REST_JSON_OBJECT;
    case '[':
        return REST_JSON_ARRAY;
    case '"':
        return REST_JSON_STRING;
    default:
        return value.ptr[0] == '-' || is_digit(value.ptr[0]) ? REST_JSON_NUMBER : REST_JSON_WORD;
    }
}

struct kp_slice rest_json_text(struct kp_slice inside, struct kp_arena *arena) {
    if (inside.len == 0 || memchr(inside.ptr, '\\', inside.len) == NULL) {
        return inside;
    }
    uint8_t *text = kp_arena_alloc_raw(arena, inside.len);
    return text == NULL ? (struct kp_slice){NULL, 0} : kp_slice_of(text, rest_json_unescape(inside, text));
}

struct kp_slice rest_json_whole_part(struct kp_slice number) {
    const uint8_t *point = memchr(number.ptr, '.', number.len);
    for (size_t i = 1; point != NULL && point + i < number.ptr + number.len; i++) {
        if (point[i] != '0') {
            return number;
        }
    }
    return point == NULL ? number : kp_slice_of(number.ptr, (size_t)(point - number.ptr));
}

bool rest_json_whole(struct kp_slice value, int64_t *number) {
    value = rest_json_whole_part(value);
    *number = 0;
    for (size_t i = 0; i < value.len; i++) {
        int digit = value.ptr[i] - '0';
        if (!is_digit(value.ptr[i]) || *number > (INT64_MAX - digit) / 10) {
            return false;
        }
        *number = *number * 10 + digit;
    }
    return value.len > 0;
}

bool rest_json_valid(struct kp_slice text) {
    if (text.len == 0) {
        return false;
    }
    struct scanner s = {.at = text.ptr, .end = text.ptr + text.len, .error = REST_JSON_OK};
    struct kp_slice value;
    if (!scan_value(&s, REST_JSON_DEPTH, &value)) {
        return false;
    }
    skip_blanks(&s);
    return s.at == s.end;
}

bool rest_utf8_valid(struct kp_slice text) {
    for (size_t at = 0; at < text.len;) {
        size_t length = utf8_length(text.ptr + at, text.ptr + text.len);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

enum rest_value_kind rest_value_kind(struct kp_slice value) {
    if (value.ptr == NULL) {
        return REST_VALUE_NULL;
    }
    if (rest_json_valid(value)) {
        return REST_VALUE_JSON;
    }
    return rest_utf8_valid(value) ? REST_VALUE_TEXT : REST_VALUE_BINARY;
}
