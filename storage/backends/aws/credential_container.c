/*
 * The endpoint that ECS tasks, EKS pods and the like are given
 * (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html):
 *
 *     AWS_CONTAINER_CREDENTIALS_RELATIVE_URI   a path at 169.254.170.2
 *     AWS_CONTAINER_CREDENTIALS_FULL_URI       any https URL; http only where nobody can listen in: this machine, and
 *                                              the link-local addresses of ECS and EKS
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE   sent as Authorization; read at every fetch, because it is rotated
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN        the same, fixed
 */
#include "storage/backends/aws/credential_source.h"

#include <errno.h>
#include <stdio.h>

#define ECS_ENDPOINT "http://169.254.170.2"

enum { TIMEOUT_MS = 2000, TOKEN_FILE_MAX = ST_AWS_TOKEN_MAX };

/* The host of "http://host[:port]/...", without the port; an IPv6 address keeps its brackets. */
static struct kp_slice host_of(const char *url) {
    const char *begin = strstr(url, "://") + 3;
    size_t len = begin[0] == '[' ? strcspn(begin, "]/") + 1 : strcspn(begin, ":/?#");
    return kp_slice_of(begin, len <= strlen(begin) ? len : strlen(begin));
}

/* Four numbers, the first of them 127. */
static bool is_loopback_v4(struct kp_slice host) {
    char text[16];
    int a, b, c, d, taken = 0;
    if (host.len >= sizeof text) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return sscanf(text, "%3d.%3d.%3d.%3d%n", &a, &b, &c, &d, &taken) == 4 && (size_t)taken == host.len && a == 127 &&
           b >= 0 && b < 256 && c >= 0 && c < 256 && d >= 0 && d < 256;
}

/* A name and password in front of '@' would make another host of it. */
static bool is_private(const char *url) {
    static const char *const hosts[] = {"localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    struct kp_slice host = host_of(url);
    size_t authority = strcspn(strstr(url, "://") + 3, "/?#");
    if (memchr(strstr(url, "://") + 3, '@', authority) != NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        if (kp_slice_equal(host, kp_slice_cstr(hosts[i]))) {
            return true;
        }
    }
    return is_loopback_v4(host);
}

static void answered(struct st_credential_fetch *fetch) {
    char text[128];
    const char *wrong;
    if (fetch->request.end != ST_HTTP_ANSWERED || fetch->request.status != 200) {
        st_credential_failed(fetch, "the container credentials endpoint gave %s",
                             st_credential_trouble(fetch, text, sizeof text));
    } else if (!st_credential_json(fetch->request.answer, &fetch->keys, &wrong)) {
        st_credential_failed(fetch, "the container credentials endpoint gave %s", wrong);
    } else {
        st_credential_found(fetch);
    }
}

/* False, with the fetch ended, when there should be a token and is none. */
static bool authorize(struct st_credential_fetch *fetch) {
    const char *path = st_credential_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *fixed = st_credential_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (path == NULL && fixed == NULL) {
        return true;
    }
    size_t len = 0;
    char *token = path == NULL ? NULL : st_credential_read_file(path, TOKEN_FILE_MAX, &len);
    if (path != NULL && token == NULL) {
        st_credential_failed(fetch, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: %s", strerror(errno));
        return false;
    }
    while (token != NULL && len > 0 && (token[len - 1] == '\n' || token[len - 1] == '\r')) {
        token[--len] = '\0';
    }
    bool fits = st_credential_header(fetch, "Authorization", token != NULL ? token : fixed);
    if (token != NULL) {
        st_credential_free_file(token, len);
    }
    if (!fits) {
        st_credential_failed(fetch, "the container authorization token is too long or has more than one line");
    }
    return fits;
}

static void fetch_container(struct st_credential_fetch *fetch) {
    const char *relative = st_credential_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = st_credential_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative == NULL && full == NULL) {
        st_credential_absent(fetch, "no container endpoint");
        return;
    }
    if (relative != NULL && relative[0] != '/') {
        st_credential_failed(fetch, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with '/'");
        return;
    }
    int len = relative != NULL ? snprintf(fetch->url, sizeof fetch->url, ECS_ENDPOINT "%s", relative)
                               : snprintf(fetch->url, sizeof fetch->url, "%s", full);
    bool http = strncmp(fetch->url, "http://", 7) == 0;
    if (len < 0 || (size_t)len >= sizeof fetch->url || (!http && strncmp(fetch->url, "https://", 8) != 0)) {
        st_credential_failed(fetch, "AWS_CONTAINER_CREDENTIALS_FULL_URI is no http or https URL");
        return;
    }
    if (http && !is_private(fetch->url)) {
        st_credential_failed(fetch, "AWS_CONTAINER_CREDENTIALS_FULL_URI is plain http to another machine, "
                                    "which is not safe: use https, or a loopback, ECS or EKS address");
        return;
    }
    if (authorize(fetch)) {
        st_credential_send(fetch, "GET", TIMEOUT_MS, answered);
    }
}

const struct st_credential_source st_credential_container = {"container", fetch_container};
