/*
 * The canonical request, as the page named in sigv4.h has it, one line each:
 *
 *     method
 *     path         as sent (S3), or escaped once more (all others: "%20" becomes "%2520")
 *     query        parameters by name, then value; "name" without a value is "name="
 *     name:value   each header: names small and sorted, values trimmed, blanks in a row made one, and the values of one
 *     ...          name joined by ',' in the order of the request
 *     (empty)
 *     names        of these headers, joined by ';'
 *     payload      SHA-256 of the body in hex, or UNSIGNED-PAYLOAD
 *
 * Its hash, the time and the scope make the string to sign; the signing key is four HMACs of the secret, of which the
 * first three change once a day: hence the cache, which leaves one HMAC and one hash to a request.
 *
 * Nothing is allocated here. The texts hold the session token, so they are cleared.
 */
#include "storage/backends/aws/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

enum { HASH_SIZE = 32, TIME_MAX = 32, PAIRS_MAX = ST_SIGV4_HEADERS_MAX + 4 };

/* A header or a query parameter, where it stands. */
struct pair {
    struct kp_slice name, value;
};

static void put(struct st_sigv4_text *text, const void *bytes, size_t len) {
    if (text->full || len >= sizeof text->bytes - text->len) {
        text->full = true;
        return;
    }
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = '\0';
}

static void put_text(struct st_sigv4_text *text, const char *string) {
    put(text, string, strlen(string));
}

static void text_begin(struct st_sigv4_text *text) {
    text->bytes[0] = '\0';
    text->len = 0;
    text->full = false;
}

static bool is_unreserved(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

/* Unreserved bytes, %XX in capitals, and those in `also`. */
static bool is_escaped(struct kp_slice bytes, const char *also) {
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.ptr[i];
        if (c == '%') {
            if (bytes.len - i < 3 || !is_hex(bytes.ptr[i + 1]) || !is_hex(bytes.ptr[i + 2])) {
                return false;
            }
            i += 2;
        } else if (!is_unreserved(c) && (c == '\0' || strchr(also, c) == NULL)) {
            return false;
        }
    }
    return true;
}

/* A path that other services than S3 would rewrite: nothing here sends one, so it is refused. */
static bool is_normal(struct kp_slice path) {
    size_t begin = 1;
    for (size_t i = 1; i <= path.len; i++) {
        if (i < path.len && path.ptr[i] != '/') {
            continue;
        }
        struct kp_slice segment = kp_slice_of(path.ptr + begin, i - begin);
        if ((segment.len == 0 && i < path.len) || kp_slice_equal(segment, KP_SLICE_LIT(".")) ||
            kp_slice_equal(segment, KP_SLICE_LIT(".."))) {
            return false;
        }
        begin = i + 1;
    }
    return true;
}

static bool put_path(struct st_sigv4_text *text, struct kp_slice path, bool again) {
    if (path.len == 0 || path.ptr[0] != '/' || !is_escaped(path, "/") || (again && !is_normal(path))) {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        if (again && path.ptr[i] == '%') {
            put_text(text, "%25");
        } else {
            put(text, path.ptr + i, 1);
        }
    }
    put_text(text, "\n");
    return true;
}

static int compare_parameters(const struct pair *a, const struct pair *b) {
    int order = kp_slice_compare(a->name, b->name);
    return order != 0 ? order : kp_slice_compare(a->value, b->value);
}

static int compare_headers(const struct pair *a, const struct pair *b) {
    size_t shorter = a->name.len < b->name.len ? a->name.len : b->name.len;
    int order = strncasecmp((const char *)a->name.ptr, (const char *)b->name.ptr, shorter);
    return order != 0 ? order : (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

/* Stable, for few: headers of one name keep their order. */
static void sort(struct pair *pairs, size_t count, int (*compare)(const struct pair *a, const struct pair *b)) {
    for (size_t i = 1; i < count; i++) {
        struct pair moved = pairs[i];
        size_t at = i;
        for (; at > 0 && compare(&pairs[at - 1], &moved) > 0; at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = moved;
    }
}

static struct pair split(struct kp_slice text, char separator) {
    const uint8_t *at = text.len == 0 ? NULL : memchr(text.ptr, separator, text.len);
    size_t len = at == NULL ? text.len : (size_t)(at - text.ptr);
    size_t rest = at == NULL ? text.len : len + 1;
    return (struct pair){kp_slice_of(text.ptr, len), kp_slice_of(text.ptr + rest, text.len - rest)};
}

static bool put_query(struct st_sigv4_text *text, struct kp_slice query) {
    struct pair parameters[ST_SIGV4_PARAMETERS_MAX];
    size_t count = 0;
    while (query.len > 0) {
        struct pair cut = split(query, '&');
        struct pair parameter = split(cut.name, '=');
        query = cut.value;
        if (!is_escaped(parameter.name, "") || !is_escaped(parameter.value, "") || count == ST_SIGV4_PARAMETERS_MAX) {
            return false;
        }
        parameters[count++] = parameter;
    }
    sort(parameters, count, compare_parameters);
    for (size_t i = 0; i < count; i++) {
        put_text(text, i == 0 ? "" : "&");
        put(text, parameters[i].name.ptr, parameters[i].name.len);
        put_text(text, "=");
        put(text, parameters[i].value.ptr, parameters[i].value.len);
    }
    put_text(text, "\n");
    return true;
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t';
}

static void put_value(struct st_sigv4_text *text, struct kp_slice value) {
    while (value.len > 0 && is_blank(value.ptr[value.len - 1])) {
        value.len--;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!is_blank(value.ptr[i])) {
            put(text, value.ptr + i, 1);
        } else if (i > 0 && !is_blank(value.ptr[i - 1])) {
            put_text(text, " "); /* blanks at the begin have no other byte before them */
        }
    }
}

static void put_name(struct st_sigv4_text *text, struct kp_slice name) {
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        uint8_t small = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
        put(text, &small, 1);
    }
}

/* "20150830T123600Z" */
static bool time_text(int64_t time_ms, char text[TIME_MAX]) {
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    return time_ms >= 0 && gmtime_r(&seconds, &parts) != NULL &&
           strftime(text, TIME_MAX, "%Y%m%dT%H%M%SZ", &parts) == sizeof "20150830T123600Z" - 1;
}

/* All headers that are signed, sorted. False when there are too many or one of them is none. */
static bool collect_headers(const struct st_sigv4 *request, const char *time, struct pair *pairs, size_t *count) {
    if (request->header_count > ST_SIGV4_HEADERS_MAX) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        pairs[n] = split(kp_slice_cstr(request->headers[i]), ':');
        if (pairs[n].name.len == 0 || pairs[n].value.ptr[-1] != ':' || strpbrk(request->headers[i], "\r\n") != NULL) {
            return false;
        }
        n++;
    }
    pairs[n++] = (struct pair){KP_SLICE_LIT("host"), kp_slice_cstr(request->host)};
    pairs[n++] = (struct pair){KP_SLICE_LIT("x-amz-date"), kp_slice_cstr(time)};
    if (request->payload_header) {
        pairs[n++] = (struct pair){KP_SLICE_LIT("x-amz-content-sha256"), kp_slice_cstr(request->payload)};
    }
    if (request->keys->token[0] != '\0') {
        pairs[n++] = (struct pair){KP_SLICE_LIT("x-amz-security-token"), kp_slice_cstr(request->keys->token)};
    }
    sort(pairs, n, compare_headers);
    *count = n;
    return true;
}

static void put_names(struct st_sigv4_text *text, const struct pair *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || compare_headers(&pairs[i - 1], &pairs[i]) != 0) {
            put_text(text, i == 0 ? "" : ";");
            put_name(text, pairs[i].name);
        }
    }
}

static void put_headers(struct st_sigv4_text *text, const struct pair *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_headers(&pairs[i - 1], &pairs[i]) == 0) {
            put_text(text, ",");
        } else {
            put_text(text, i == 0 ? "" : "\n");
            put_name(text, pairs[i].name);
            put_text(text, ":");
        }
        put_value(text, pairs[i].value);
    }
    put_text(text, "\n\n");
}

/* The canonical request; where the names of its headers stand in it is told. */
static bool canonical_request(const struct st_sigv4 *request, const char *time, struct st_sigv4_text *text,
                              struct kp_slice *names) {
    struct pair pairs[PAIRS_MAX];
    size_t count = 0;
    struct pair target = split(kp_slice_cstr(request->target), '?');
    text_begin(text);
    put_text(text, request->method);
    put_text(text, "\n");
    if (!collect_headers(request, time, pairs, &count) || !put_path(text, target.name, request->escape_path) ||
        !put_query(text, target.value)) {
        return false;
    }
    put_headers(text, pairs, count);
    size_t begin = text->len;
    put_names(text, pairs, count);
    *names = kp_slice_of(text->bytes + begin, text->len - begin);
    put_text(text, "\n");
    put_text(text, request->payload);
    return !text->full;
}

static void hex_of(const uint8_t hash[HASH_SIZE], char hex[ST_SIGV4_HASH_MAX]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_SIZE; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[2 * HASH_SIZE] = '\0';
}

bool st_sigv4_hash(struct kp_slice body, char hex[ST_SIGV4_HASH_MAX]) {
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(body.len == 0 ? "" : (const char *)body.ptr, body.len, hash, &size, EVP_sha256(), NULL) != 1 ||
        size != HASH_SIZE) {
        return false;
    }
    hex_of(hash, hex);
    return true;
}

static bool hmac(const void *key, size_t key_len, struct kp_slice text, uint8_t out[HASH_SIZE]) {
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    bool done = HMAC(EVP_sha256(), key, (int)key_len, text.ptr, text.len, sum, &size) != NULL && size == HASH_SIZE;
    memcpy(out, sum, done ? HASH_SIZE : 0);
    explicit_bzero(sum, sizeof sum);
    return done;
}

static bool scope_text(const struct st_sigv4 *request, const char *time, char *scope, size_t size) {
    int len = snprintf(scope, size, "%.8s/%s/%s/aws4_request", time, request->region, request->service);
    return len > 0 && (size_t)len < size;
}

/* Makes the signing key of scope and keys, unless it is the one that we have. */
static bool key_fit(const struct st_sigv4 *request, const char *scope, struct st_sigv4_key *key) {
    if (key->generation == request->keys->generation && strcmp(key->scope, scope) == 0) {
        return true;
    }
    explicit_bzero(key, sizeof *key);
    char secret[ST_AWS_SECRET_MAX + 4];
    uint8_t step[HASH_SIZE];
    int len = snprintf(secret, sizeof secret, "AWS4%s", request->keys->secret);
    bool made = len > 0 && (size_t)len < sizeof secret && hmac(secret, (size_t)len, kp_slice_of(scope, 8), step) &&
                hmac(step, sizeof step, kp_slice_cstr(request->region), step) &&
                hmac(step, sizeof step, kp_slice_cstr(request->service), step) &&
                hmac(step, sizeof step, KP_SLICE_LIT("aws4_request"), key->key);
    if (made) {
        key->generation = request->keys->generation;
        snprintf(key->scope, sizeof key->scope, "%s", scope);
    }
    explicit_bzero(secret, sizeof secret);
    explicit_bzero(step, sizeof step);
    return made;
}

static bool put_string_to_sign(struct st_sigv4_text *text, const char *time, const char *scope,
                               const struct st_sigv4_text *canonical) {
    char hash[ST_SIGV4_HASH_MAX];
    if (!st_sigv4_hash(kp_slice_of(canonical->bytes, canonical->len), hash)) {
        return false;
    }
    text_begin(text);
    put_text(text, ALGORITHM "\n");
    put_text(text, time);
    put_text(text, "\n");
    put_text(text, scope);
    put_text(text, "\n");
    put_text(text, hash);
    return !text->full;
}

bool st_sigv4_canonical(const struct st_sigv4 *request, struct st_sigv4_text *canonical) {
    char time[TIME_MAX];
    struct kp_slice names;
    return time_text(request->time_ms, time) && canonical_request(request, time, canonical, &names);
}

bool st_sigv4_string_to_sign(const struct st_sigv4 *request, struct st_sigv4_text *text) {
    char time[TIME_MAX], scope[sizeof((struct st_sigv4_key *)NULL)->scope];
    struct st_sigv4_text canonical;
    bool made = st_sigv4_canonical(request, &canonical) && time_text(request->time_ms, time) &&
                scope_text(request, time, scope, sizeof scope) && put_string_to_sign(text, time, scope, &canonical);
    explicit_bzero(&canonical, sizeof canonical);
    return made;
}

static bool write_headers(const struct st_sigv4 *request, const char *time, const char *scope, struct kp_slice names,
                          const char *signature, struct st_sigv4_headers *out) {
    int len = snprintf(out->authorization, sizeof out->authorization,
                       "Authorization: " ALGORITHM " Credential=%s/%s, SignedHeaders=%.*s, Signature=%s",
                       request->keys->id, scope, KP_SLICE_ARG(names), signature);
    snprintf(out->date, sizeof out->date, "x-amz-date: %s", time);
    if (request->payload_header) {
        snprintf(out->payload, sizeof out->payload, "x-amz-content-sha256: %s", request->payload);
    }
    if (request->keys->token[0] != '\0') {
        snprintf(out->token, sizeof out->token, "x-amz-security-token: %s", request->keys->token);
    }
    return len > 0 && (size_t)len < sizeof out->authorization;
}

bool st_sigv4_sign(const struct st_sigv4 *request, struct st_sigv4_key *key, struct st_sigv4_headers *out) {
    char time[TIME_MAX], scope[sizeof key->scope], signature[ST_SIGV4_HASH_MAX];
    struct st_sigv4_text canonical, text;
    struct kp_slice names;
    uint8_t sum[HASH_SIZE];
    *out = (struct st_sigv4_headers){0};
    bool made = time_text(request->time_ms, time) && scope_text(request, time, scope, sizeof scope) &&
                canonical_request(request, time, &canonical, &names) &&
                put_string_to_sign(&text, time, scope, &canonical) && key_fit(request, scope, key) &&
                hmac(key->key, sizeof key->key, kp_slice_of(text.bytes, text.len), sum);
    if (made) {
        hex_of(sum, signature);
        made = write_headers(request, time, scope, names, signature, out);
    }
    explicit_bzero(&canonical, sizeof canonical);
    if (!made) {
        explicit_bzero(out, sizeof *out);
    }
    return made;
}
