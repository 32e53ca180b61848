/*
 * Targets and headers that are signed: input is lines, the first one the target, each further one a header. What is
 * signed has one line for each part of it, so nothing of the input may have ended a line.
 */
#include "storage/backends/aws/sigv4.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(const char *text, size_t len, char what) {
    size_t found = 0;
    for (size_t i = 0; i < len; i++) {
        found += text[i] == what ? 1 : 0;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct st_aws_keys keys = {.id = "id", .secret = "secret", .token = "token"};
    const char *lines[ST_SIGV4_HEADERS_MAX + 2];
    size_t line_count = 0;
    char *text = malloc(size + 1);
    if (text == NULL) {
        abort();
    }
    memcpy(text, size == 0 ? "" : (const char *)data, size);
    text[size] = '\0';
    for (char *at = text; at != NULL && line_count < ST_SIGV4_HEADERS_MAX + 2; line_count++) {
        char *end = strchr(at, '\n');
        lines[line_count] = at;
        at = end == NULL ? NULL : end + 1;
        if (end != NULL) {
            *end = '\0';
        }
    }
    struct st_sigv4 request = {.method = "GET", .target = lines[0], .host = "h", .headers = lines + 1,
                               .header_count = line_count - 1, .payload = ST_SIGV4_UNSIGNED, .payload_header = true,
                               .region = "r", .service = "s", .keys = &keys};
    for (int twice = 0; twice < 2; twice++) {
        struct st_sigv4_text canonical;
        request.escape_path = twice == 1;
        if (st_sigv4_canonical(&request, &canonical)) {
            if (strlen(canonical.bytes) != canonical.len || canonical.len >= sizeof canonical.bytes ||
                count(canonical.bytes, canonical.len, '\n') > 10 + request.header_count) {
                abort();
            }
        }
    }
    free(text);
    return 0;
}
