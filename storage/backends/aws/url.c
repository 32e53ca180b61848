/* Parsing and resolving, storage/backends/aws/url.h. Names obey
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html; a prefix has
 * only letters that need no escaping anywhere. */
#include "storage/backends/aws/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define PACING_MOST_MS 10000
#define USAGE "a store on AWS is s3://bucket[/prefix]?table=name[&region=...][&endpoint=...]"

/* ---- what names look like ---- */

static bool only(const char *text, const char *letters, size_t least, size_t most) {
    size_t len = strlen(text);
    return len >= least && len <= most && strspn(text, letters) == len;
}

static bool is_alnum(char c) {
    return c != '\0' && strchr(LOWER DIGITS, c) != NULL;
}

static bool is_bucket(const char *text) {
    return only(text, LOWER DIGITS "-.", 3, ST_AWS_BUCKET_MAX - 1) && is_alnum(text[0]) &&
           is_alnum(text[strlen(text) - 1]) && strstr(text, "..") == NULL;
}

static bool is_table(const char *text) {
    return only(text, LOWER UPPER DIGITS "_.-", 3, ST_AWS_TABLE_MAX - 1);
}

static bool is_region(const char *text) {
    return only(text, LOWER DIGITS "-", 1, ST_AWS_REGION_MAX - 1);
}

static const char *endpoint_host(const char *text) {
    return strncmp(text, "https://", 8) == 0 ? text + 8 : strncmp(text, "http://", 7) == 0 ? text + 7 : NULL;
}

/* "http[s]://name-or-address[:port]". */
static bool is_endpoint(const char *text) {
    const char *host = endpoint_host(text);
    if (host == NULL || strlen(text) >= ST_AWS_ENDPOINT_MAX) {
        return false;
    }
    size_t len = host[0] == '[' ? strspn(host + 1, DIGITS "abcdefABCDEF:.") + 1
                                : strspn(host, LOWER UPPER DIGITS ".-_");
    if (host[0] == '[' && (len < 3 || host[len++] != ']')) {
        return false;
    }
    if (host[len] == '\0') {
        return len > 0;
    }
    return len > 0 && host[len] == ':' && only(host + len + 1, DIGITS, 1, 5) &&
           strtoul(host + len + 1, NULL, 10) - 1 < 65535;
}

/* Parts between single slashes, none of them "." or "..". */
static bool is_prefix(const char *text) {
    if (!only(text, LOWER UPPER DIGITS "_.-/", 0, ST_AWS_PREFIX_MAX - 1)) {
        return false;
    }
    while (*text != '\0') {
        size_t len = strcspn(text, "/");
        if (len == 0 || strncmp(text, "..", len) == 0) { /* "." or ".." */
            return false;
        }
        text += len + (text[len] == '/');
    }
    return true;
}

/* ---- the URL ---- */

struct parsing {
    struct st_aws_url *url;
    char *message;
    size_t size;
};

static bool refuse(const struct parsing *parsing, const char *what, const char *why) {
    snprintf(parsing->message, parsing->size, "The store's URL is wrong: %s%s; " USAGE ".", what, why);
    return false;
}

static bool take_option(const struct parsing *parsing, const char *name, const char *value) {
    struct st_aws_url *url = parsing->url;
    char what[64];
    snprintf(what, sizeof what, "\"%.40s\"", name);
#define OPTION(field, check)                                                                                           \
    if (strcmp(name, #field) == 0) {                                                                                   \
        if (url->field[0] != '\0') {                                                                                   \
            return refuse(parsing, what, " stands there twice");                                                       \
        }                                                                                                              \
        if (!check(value)) {                                                                                           \
            return refuse(parsing, what, " has a value that cannot be one");                                           \
        }                                                                                                              \
        snprintf(url->field, sizeof url->field, "%s", value);                                                          \
        return true;                                                                                                   \
    }
#include "storage/backends/aws/url_options.def"
#undef OPTION
    if (strcmp(name, "pacing_ms") != 0) {
        return refuse(parsing, what, " is no option of it");
    }
    if (!only(value, DIGITS, 1, 5) || strtoul(value, NULL, 10) > PACING_MOST_MS) {
        return refuse(parsing, what, " must be 0 to 10000");
    }
    url->pacing_ms = (uint32_t)strtoul(value, NULL, 10);
    return true;
}

static bool take_options(const struct parsing *parsing, char *text) {
    for (char *next; text != NULL; text = next) {
        next = strchr(text, '&');
        if (next != NULL) {
            *next++ = '\0';
        }
        char *value = strchr(text, '=');
        if (value == NULL) {
            return refuse(parsing, "every option is name=value", "");
        }
        *value++ = '\0';
        if (!take_option(parsing, text, value)) {
            return false;
        }
    }
    return true;
}

bool st_aws_url_parse(const char *text, struct st_aws_url *url, char *message, size_t size) {
    const struct parsing parsing = {url, message, size};
    char copy[2048];
    *url = (struct st_aws_url){.pacing_ms = ST_AWS_PACING_UNSET};
    if (strncmp(text, "s3://", 5) != 0) {
        return refuse(&parsing, "it does not begin with s3://", "");
    }
    if (strlen(text) >= sizeof copy) {
        return refuse(&parsing, "it is too long", "");
    }
    snprintf(copy, sizeof copy, "%s", text + 5);
    char *options = strchr(copy, '?');
    if (options != NULL) {
        *options++ = '\0';
    }
    char *prefix = strchr(copy, '/');
    if (prefix != NULL) {
        *prefix++ = '\0';
        size_t len = strlen(prefix);
        if (len > 0 && prefix[len - 1] == '/') {
            prefix[len - 1] = '\0';
        }
    }
    if (!is_bucket(copy)) {
        return refuse(&parsing, "a bucket's name has 3 to 63 of a-z, 0-9, '-' and '.'", "");
    }
    if (prefix != NULL && !is_prefix(prefix)) {
        return refuse(&parsing, "a prefix has up to 128 of A-Z, a-z, 0-9, '_', '-', '.' and single '/'", "");
    }
    snprintf(url->bucket, sizeof url->bucket, "%.63s", copy);
    snprintf(url->prefix, sizeof url->prefix, "%s", prefix != NULL ? prefix : "");
    if (!take_options(&parsing, options)) {
        return false;
    }
    return url->table[0] != '\0' || refuse(&parsing, "it names no table", "");
}

/* ---- where that is ---- */

/* The first that is set, or NULL. */
static const char *chosen(const char *own, const char *general, const char *variable) {
    const char *const candidates[] = {own, general, getenv(variable), getenv("AWS_ENDPOINT_URL")};
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (candidates[i] != NULL && candidates[i][0] != '\0') {
            return candidates[i];
        }
    }
    return NULL;
}

/* By its host, which ends at the port. */
static bool is_loopback(const char *host) {
    size_t len = strcspn(host, ":");
    return (len == 9 && strncmp(host, "localhost", len) == 0) || strncmp(host, "[::1]", 5) == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, DIGITS ".") == len);
}

/* An endpoint of the environment may end in a slash. */
static bool take_endpoint(const char *text, char endpoint[ST_AWS_ENDPOINT_MAX], char *message, size_t size) {
    size_t len = strlen(text);
    snprintf(endpoint, ST_AWS_ENDPOINT_MAX, "%.*s", (int)(len > 0 && text[len - 1] == '/' ? len - 1 : len), text);
    if (len >= ST_AWS_ENDPOINT_MAX || !is_endpoint(endpoint)) {
        snprintf(message, size, "The endpoint \"%.100s\" is not of the form http[s]://host[:port].", text);
        return false;
    }
    return true;
}

bool st_aws_place_of(const struct st_aws_url *url, const char *region, struct st_aws_place *place, char *message,
                     size_t size) {
    const char *suffix = strncmp(region, "cn-", 3) == 0 ? ".cn" : "";
    const char *s3 = chosen(url->endpoint_s3, url->endpoint, "AWS_ENDPOINT_URL_S3");
    const char *dynamodb = chosen(url->endpoint_dynamodb, url->endpoint, "AWS_ENDPOINT_URL_DYNAMODB");
    char own[ST_AWS_ENDPOINT_MAX];
    bool by_host = s3 == NULL && strchr(url->bucket, '.') == NULL;
    snprintf(own, sizeof own, "https://%s%ss3.%s.amazonaws.com%s", by_host ? url->bucket : "", by_host ? "." : "",
             region, suffix);
    if (!take_endpoint(s3 != NULL ? s3 : own, place->s3, message, size)) {
        return false;
    }
    snprintf(own, sizeof own, "https://dynamodb.%s.amazonaws.com%s", region, suffix);
    if (!take_endpoint(dynamodb != NULL ? dynamodb : own, place->dynamodb, message, size)) {
        return false;
    }
    place->s3_private = strncmp(place->s3, "https:", 6) == 0 || is_loopback(strstr(place->s3, "://") + 3);
    snprintf(place->bucket_path, sizeof place->bucket_path, "%s%s", by_host ? "" : "/", by_host ? "" : url->bucket);
    snprintf(place->objects, sizeof place->objects, "%s/%s%s", place->bucket_path, url->prefix,
             url->prefix[0] != '\0' ? "/" : "");
    return true;
}
