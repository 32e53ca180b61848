/*
 * Two walks over bytes that somebody else wrote. The JSON walk steps over values by counting brackets outside of
 * strings: an answer that is no JSON may be stepped over wrongly, but never beyond its end, and what is found is a
 * whole string after a whole name. The XML walk looks for "<name", because the errors of S3 and the keys of STS have
 * elements of their own names, without attributes that matter, CDATA or entities of their own.
 */
#include "storage/backends/aws/scan.h"

struct out {
    char *at;
    size_t size, len;
    bool failed;
};

static void put(struct out *out, uint32_t byte) {
    if (byte == 0 || out->len + 1 >= out->size) {
        out->failed = true;
        return;
    }
    out->at[out->len++] = (char)(uint8_t)byte;
}

static void put_utf8(struct out *out, uint32_t point) {
    if (point < 0x80) {
        put(out, point);
    } else if (point < 0x800) {
        put(out, 0xC0 | point >> 6);
        put(out, 0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        put(out, 0xE0 | point >> 12);
        put(out, 0x80 | (point >> 6 & 0x3F));
        put(out, 0x80 | (point & 0x3F));
    } else {
        put(out, 0xF0 | (point >> 18 & 7));
        put(out, 0x80 | (point >> 12 & 0x3F));
        put(out, 0x80 | (point >> 6 & 0x3F));
        put(out, 0x80 | (point & 0x3F));
    }
}

static bool end(struct out *out) {
    if (out->failed) {
        explicit_bzero(out->at, out->size);
    }
    out->at[out->failed ? 0 : out->len] = '\0';
    return !out->failed;
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- JSON ---- */

struct json {
    const uint8_t *at, *end;
};

static void skip_space(struct json *json) {
    while (json->at < json->end && is_space(*json->at)) {
        json->at++;
    }
}

static bool next_is(struct json *json, uint8_t c) {
    skip_space(json);
    if (json->at == json->end || *json->at != c) {
        return false;
    }
    json->at++;
    return true;
}

/* The bytes between quotes, still escaped; behind them afterwards. */
static bool take_string(struct json *json, struct kp_slice *raw) {
    if (!next_is(json, '"')) {
        return false;
    }
    const uint8_t *begin = json->at;
    while (json->at < json->end && *json->at != '"') {
        json->at += *json->at == '\\' && json->end - json->at > 1 ? 2 : 1;
    }
    *raw = kp_slice_of(begin, (size_t)(json->at - begin));
    if (json->at == json->end) {
        return false;
    }
    json->at++;
    return true;
}

/* Over one value that is no string: to the ',' or '}' behind it. */
static bool skip_value(struct json *json) {
    size_t depth = 0;
    struct kp_slice ignored;
    while (json->at < json->end) {
        uint8_t c = *json->at;
        if (c == '"') {
            if (!take_string(json, &ignored)) {
                return false;
            }
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}')) {
            return true;
        }
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                return false;
            }
            depth--;
        }
        json->at++;
    }
    return false;
}

static bool take_hex4(struct kp_slice raw, size_t at, uint32_t *value) {
    *value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = at + i < raw.len ? hex_value(raw.ptr[at + i]) : -1;
        if (digit < 0) {
            return false;
        }
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

/* \uXXXX, or two of them for one character; `at` stands behind the 'u' and is moved behind the digits. */
static bool unescape_unicode(struct kp_slice raw, size_t *at, struct out *out) {
    uint32_t point = 0, low = 0;
    if (!take_hex4(raw, *at, &point)) {
        return false;
    }
    *at += 4;
    if (point >= 0xD800 && point < 0xDC00) {
        if (*at + 6 > raw.len || raw.ptr[*at] != '\\' || raw.ptr[*at + 1] != 'u' || !take_hex4(raw, *at + 2, &low) ||
            low < 0xDC00 || low > 0xDFFF) {
            return false;
        }
        *at += 6;
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    } else if (point >= 0xDC00 && point < 0xE000) {
        return false;
    }
    put_utf8(out, point);
    return true;
}

static bool unescape(struct kp_slice raw, struct out *out) {
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    for (size_t i = 0; i < raw.len && !out->failed;) {
        if (raw.ptr[i] != '\\') {
            put(out, raw.ptr[i++]);
            continue;
        }
        if (i + 1 == raw.len) {
            return false;
        }
        uint8_t c = raw.ptr[i + 1];
        i += 2;
        const char *known = c == '\0' ? NULL : strchr(escapes, c);
        if (known != NULL) {
            put(out, (uint8_t)meanings[known - escapes]);
        } else if (c != 'u' || !unescape_unicode(raw, &i, out)) {
            return false;
        }
    }
    return !out->failed;
}

bool st_scan_json(struct kp_slice text, const char *name, char *to, size_t size) {
    struct out out = {.at = to, .size = size};
    struct json json = {text.ptr, text.ptr == NULL ? NULL : text.ptr + text.len};
    struct kp_slice key, value;
    bool found = false;
    if (next_is(&json, '{')) {
        do {
            if (!take_string(&json, &key) || !next_is(&json, ':')) {
                break;
            }
            skip_space(&json);
            bool is_string = json.at < json.end && *json.at == '"';
            if (is_string ? !take_string(&json, &value) : !skip_value(&json)) {
                break;
            }
            if (kp_slice_equal(key, kp_slice_cstr(name))) {
                found = is_string && unescape(value, &out);
                break;
            }
        } while (next_is(&json, ','));
    }
    out.failed = out.failed || !found;
    return end(&out);
}

/* ---- XML ---- */

static const uint8_t *find(struct kp_slice in, const char *what) {
    return in.len == 0 ? NULL : memmem(in.ptr, in.len, what, strlen(what));
}

static struct kp_slice from(struct kp_slice in, const uint8_t *at) {
    return kp_slice_of(at, in.len - (size_t)(at - in.ptr));
}

/* Whether a tag's text, behind its '<', begins with this name. */
static bool tag_is(struct kp_slice tag, const char *name) {
    size_t len = strlen(name);
    return tag.len > len && memcmp(tag.ptr, name, len) == 0 &&
           (tag.ptr[len] == '>' || tag.ptr[len] == '/' || is_space(tag.ptr[len]));
}

/* "&amp;" and the like; returns the bytes taken, 0 when it is none. */
static size_t take_entity(struct kp_slice in, struct out *out) {
    static const struct {
        const char *text;
        uint32_t point;
    } known[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t len = strlen(known[i].text);
        if (in.len >= len && memcmp(in.ptr, known[i].text, len) == 0) {
            put(out, known[i].point);
            return len;
        }
    }
    bool hex = in.len > 2 && in.ptr[2] == 'x';
    uint32_t point = 0;
    size_t i = hex ? 3 : 2;
    if (in.len < 4 || in.ptr[1] != '#') {
        return 0;
    }
    for (; i < in.len && in.ptr[i] != ';'; i++) {
        int digit = hex_value(in.ptr[i]);
        if (digit < 0 || (!hex && digit > 9) || point > 0xFFFF) {
            return 0;
        }
        point = point * (hex ? 16 : 10) + (uint32_t)digit;
    }
    if (i == in.len || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) {
        return 0;
    }
    put_utf8(out, point);
    return i + 1;
}

/* The text up to '<', which must begin the closing tag. */
static bool take_text(struct kp_slice in, const char *name, struct out *out) {
    size_t i = 0;
    while (i < in.len && in.ptr[i] != '<' && !out->failed) {
        if (in.ptr[i] != '&') {
            put(out, in.ptr[i++]);
            continue;
        }
        size_t taken = take_entity(kp_slice_of(in.ptr + i, in.len - i), out);
        if (taken == 0) {
            return false;
        }
        i += taken;
    }
    return !out->failed && in.len - i > 2 && in.ptr[i + 1] == '/' &&
           tag_is(kp_slice_of(in.ptr + i + 2, in.len - i - 2), name);
}

bool st_scan_xml(struct kp_slice xml, const char *name, char *to, size_t size) {
    struct out out = {.at = to, .size = size};
    bool found = false;
    const uint8_t *at;
    while (!found && (at = find(xml, "<")) != NULL) {
        xml = from(xml, at + 1);
        if (tag_is(xml, name)) {
            const uint8_t *close = find(xml, ">");
            if (close == NULL || close[-1] == '/') {
                break;
            }
            found = true;
            out.failed = !take_text(from(xml, close + 1), name, &out);
        }
    }
    out.failed = out.failed || !found;
    return end(&out);
}

bool st_scan_xml_root(struct kp_slice xml, const char *name) {
    const uint8_t *at;
    while ((at = find(xml, "<")) != NULL) {
        xml = from(xml, at + 1);
        if (xml.len == 0 || (xml.ptr[0] != '?' && xml.ptr[0] != '!')) {
            return tag_is(xml, name);
        }
        bool comment = xml.len > 2 && memcmp(xml.ptr, "!--", 3) == 0;
        const uint8_t *close = find(xml, comment ? "-->" : ">");
        if (close == NULL) {
            return false;
        }
        xml = from(xml, close + 1);
    }
    return false;
}
