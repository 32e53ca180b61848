/*
 * What the sources share. Everything that held a secret is cleared before it is given back: answers, headers, request
 * bodies, files. (What libcurl and the kernel keep of it on the way is theirs.)
 */
#include "storage/backends/aws/credential_source.h"

#include "storage/backends/aws/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EXPIRATION_MAX = 64 };

/* ---- requests ---- */

void st_credential_clear(const void *bytes, size_t len) {
    if (len > 0) {
        explicit_bzero((void *)(uintptr_t)bytes, len);
    }
}

static void drop_answer(struct st_credential_fetch *fetch) {
    st_credential_clear(fetch->request.answer.ptr, fetch->request.answer.len);
    st_http_request_release(&fetch->request);
    fetch->request = (struct st_http_request){0};
}

void st_credential_wipe(struct st_credential_fetch *fetch) {
    drop_answer(fetch);
    st_credential_clear(fetch->body, fetch->body_len);
    free(fetch->body);
    fetch->body = NULL;
    fetch->body_len = 0;
    explicit_bzero(fetch->headers, sizeof fetch->headers);
    fetch->header_count = 0;
}

void st_credential_found(struct st_credential_fetch *fetch) {
    fetch->date_ms = fetch->request.date_ms;
    st_credential_wipe(fetch);
    fetch->done(fetch, ST_CREDENTIAL_FOUND);
}

static void end_without(struct st_credential_fetch *fetch, enum st_credential_end end) {
    st_credential_wipe(fetch);
    explicit_bzero(&fetch->keys, sizeof fetch->keys);
    fetch->done(fetch, end);
}

void st_credential_absent(struct st_credential_fetch *fetch, const char *reason, ...) {
    va_list arguments;
    va_start(arguments, reason);
    vsnprintf(fetch->reason, sizeof fetch->reason, reason, arguments);
    va_end(arguments);
    end_without(fetch, ST_CREDENTIAL_ABSENT);
}

void st_credential_failed(struct st_credential_fetch *fetch, const char *reason, ...) {
    va_list arguments;
    va_start(arguments, reason);
    vsnprintf(fetch->reason, sizeof fetch->reason, reason, arguments);
    va_end(arguments);
    end_without(fetch, ST_CREDENTIAL_FAILED);
}

bool st_credential_header(struct st_credential_fetch *fetch, const char *name, const char *value) {
    char *header = fetch->headers[fetch->header_count];
    int len = fetch->header_count == ST_CREDENTIAL_HEADERS_MAX || strpbrk(value, "\r\n") != NULL
                  ? -1
                  : snprintf(header, ST_CREDENTIAL_HEADER_MAX, "%s: %s", name, value);
    if (len < 0 || len >= ST_CREDENTIAL_HEADER_MAX) {
        return false;
    }
    fetch->header_list[fetch->header_count++] = header;
    return true;
}

static void request_done(struct st_http_request *request) {
    struct st_credential_fetch *fetch = ST_OWNER(request, struct st_credential_fetch, request);
    fetch->answered(fetch);
}

void st_credential_send(struct st_credential_fetch *fetch, const char *method, int64_t timeout_ms,
                        void (*answered)(struct st_credential_fetch *fetch)) {
    drop_answer(fetch);
    fetch->answered = answered;
    fetch->request = (struct st_http_request){
        .method = method,
        .url = fetch->url,
        .headers = fetch->header_list,
        .header_count = fetch->header_count,
        .body = kp_slice_of(fetch->body, fetch->body_len),
        .timeout_ms = timeout_ms,
        .answer_max = ST_CREDENTIAL_ANSWER_MAX,
        .done = request_done,
    };
    st_http_start(fetch->http, &fetch->request);
}

const char *st_credential_trouble(const struct st_credential_fetch *fetch, char *text, size_t size) {
    if (fetch->request.end == ST_HTTP_ANSWERED) {
        snprintf(text, size, "status %d", fetch->request.status);
    } else if (fetch->request.end == ST_HTTP_TOO_LONG) {
        snprintf(text, size, "an endless answer");
    } else {
        snprintf(text, size, "no answer: %s", fetch->request.reason);
    }
    return text;
}

/* ---- texts ---- */

static bool is_digits(const char *text, const char *pattern) {
    for (size_t i = 0; pattern[i] != '\0'; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (pattern[i] == '0' ? !digit : text[i] != pattern[i]) {
            return false;
        }
    }
    return true;
}

bool st_credential_time(const char *text, int64_t *time_ms) {
    struct tm parts = {0};
    if (!is_digits(text, "0000-00-00T00:00:00") ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &parts.tm_hour,
               &parts.tm_min, &parts.tm_sec) != 6) {
        return false;
    }
    const char *rest = text + sizeof "0000-00-00T00:00:00" - 1;
    rest += *rest == '.' ? 1 + strspn(rest + 1, "0123456789") : 0;
    if (parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 ||
        parts.tm_min > 59 || parts.tm_sec > 60 || (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0)) {
        return false;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    *time_ms = (int64_t)timegm(&parts) * 1000;
    return *time_ms > 0; /* 0 would mean: never */
}

bool st_credential_json(struct kp_slice json, struct st_aws_keys *keys, const char **wrong) {
    char expiration[EXPIRATION_MAX];
    *keys = (struct st_aws_keys){0};
    *wrong = "an answer without AccessKeyId";
    if (!st_scan_json(json, "AccessKeyId", keys->id, sizeof keys->id)) {
        return false;
    }
    *wrong = "an answer without SecretAccessKey";
    if (!st_scan_json(json, "SecretAccessKey", keys->secret, sizeof keys->secret)) {
        return false;
    }
    *wrong = "an answer without Token";
    if (!st_scan_json(json, "Token", keys->token, sizeof keys->token)) {
        return false;
    }
    *wrong = "an answer without a valid Expiration";
    return st_scan_json(json, "Expiration", expiration, sizeof expiration) &&
           st_credential_time(expiration, &keys->expires_ms);
}

/* ---- environment and files ---- */

const char *st_credential_env(const char *name) {
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

void st_credential_free_file(char *bytes, size_t len) {
    st_credential_clear(bytes, len);
    free(bytes);
}

/* Not blocking: a named pipe reads as empty. */
char *st_credential_read_file(const char *path, size_t most, size_t *len) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return NULL;
    }
    char *bytes = malloc(most + 1);
    size_t have = 0;
    ssize_t got = bytes == NULL ? -1 : 1;
    while (got > 0 && have <= most) {
        got = read(fd, bytes + have, most + 1 - have);
        have += got > 0 ? (size_t)got : 0;
    }
    int error = bytes == NULL ? ENOMEM : have > most ? EFBIG : got < 0 ? errno : 0;
    close(fd);
    if (error != 0) {
        if (bytes != NULL) {
            st_credential_free_file(bytes, have);
        }
        errno = error;
        return NULL;
    }
    bytes[have] = '\0';
    *len = have;
    return bytes;
}
