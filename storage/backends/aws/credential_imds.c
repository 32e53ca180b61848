/*
 * The metadata service of an EC2 instance, version 2
 * (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html):
 *
 *     PUT /latest/api/token                                       a session token, without which nothing is answered
 *     GET /latest/meta-data/iam/security-credentials/             the role's name
 *     GET /latest/meta-data/iam/security-credentials/{role}       its keys, in JSON
 *     GET /latest/meta-data/placement/region                      the region
 *
 * Version 1, without a session, is never asked: whoever can make a process fetch a URL can read it. A machine that is
 * no instance has nobody at that address, so each step waits a second and no longer. The answer to the PUT is sent with
 * a hop limit of 1 unless the instance says otherwise, so in a container it may never arrive: then set the instance's
 * HttpPutResponseHopLimit to 2.
 *
 * AWS_EC2_METADATA_DISABLED=true: not asked. AWS_EC2_METADATA_SERVICE_ENDPOINT, or ..._MODE=IPv6: another address.
 */
#include "storage/backends/aws/credential_source.h"

#include "storage/backends/aws/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ENDPOINT "http://169.254.169.254"
#define ENDPOINT_IPV6 "http://[fd00:ec2::254]"
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"

enum { TIMEOUT_MS = 1000, SESSION_MAX = 512, ROLE_MAX = 128 };

/* base + path + name. False, with the fetch ended, when that is no URL. */
static bool make_url(struct st_credential_fetch *fetch, const char *path, const char *name) {
    const char *given = st_credential_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = st_credential_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    const char *base = given != NULL ? given : mode != NULL && strcasecmp(mode, "IPv6") == 0 ? ENDPOINT_IPV6 : ENDPOINT;
    size_t len = strlen(base);
    len -= len > 0 && base[len - 1] == '/' ? 1 : 0;
    int made = snprintf(fetch->url, sizeof fetch->url, "%.*s%s%s", (int)(len < 1000 ? len : 1000), base, path, name);
    bool is_url = strncmp(fetch->url, "https://", 8) == 0 || strncmp(fetch->url, "http://", 7) == 0;
    if (made < 0 || (size_t)made >= sizeof fetch->url || !is_url) {
        st_credential_failed(fetch, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no http or https URL");
        return false;
    }
    return true;
}

/* Answers that are one word: a session token, a role, a region. */
static bool take_word(const struct st_credential_fetch *fetch, char *word, size_t size) {
    struct kp_slice answer = fetch->request.answer;
    size_t len = 0;
    while (len < answer.len && answer.ptr[len] > ' ' && answer.ptr[len] <= '~') {
        len++;
    }
    bool taken = fetch->request.end == ST_HTTP_ANSWERED && fetch->request.status == 200 && len > 0 && len < size;
    memcpy(word, answer.ptr == NULL ? "" : (const char *)answer.ptr, taken ? len : 0);
    word[taken ? len : 0] = '\0';
    return taken;
}

static void session_came(struct st_credential_fetch *fetch) {
    char session[SESSION_MAX], text[128];
    if (fetch->request.end == ST_HTTP_NOT_SENT || fetch->request.end == ST_HTTP_LOST) {
        st_credential_absent(fetch, "the instance metadata service does not answer");
    } else if (fetch->request.end == ST_HTTP_ANSWERED && fetch->request.status == 403) {
        st_credential_absent(fetch, "the instance metadata service is turned off");
    } else if (!take_word(fetch, session, sizeof session)) {
        st_credential_absent(fetch, "the instance metadata service gave %s",
                             st_credential_trouble(fetch, text, sizeof text));
    } else {
        st_credential_wipe(fetch);
        st_credential_header(fetch, "X-aws-ec2-metadata-token", session);
        fetch->then(fetch);
    }
    explicit_bzero(session, sizeof session);
}

/* `then` runs with a session token among the headers. */
static void begin(struct st_credential_fetch *fetch, void (*then)(struct st_credential_fetch *fetch)) {
    const char *disabled = st_credential_env("AWS_EC2_METADATA_DISABLED");
    if (disabled != NULL && strcasecmp(disabled, "true") == 0) {
        st_credential_absent(fetch, "AWS_EC2_METADATA_DISABLED is set");
        return;
    }
    fetch->then = then;
    st_credential_header(fetch, "X-aws-ec2-metadata-token-ttl-seconds", "21600");
    if (make_url(fetch, "/latest/api/token", "")) {
        st_credential_send(fetch, "PUT", TIMEOUT_MS, session_came);
    }
}

/* ---- keys ---- */

static void keys_came(struct st_credential_fetch *fetch) {
    char text[128], code[64];
    const char *wrong;
    struct kp_slice answer = fetch->request.answer;
    if (fetch->request.end != ST_HTTP_ANSWERED || fetch->request.status != 200) {
        st_credential_failed(fetch, "the instance metadata service gave %s for the role's credentials",
                             st_credential_trouble(fetch, text, sizeof text));
    } else if (st_scan_json(answer, "Code", code, sizeof code) && strcmp(code, "Success") != 0) {
        st_credential_failed(fetch, "the instance metadata service has no credentials for the role: %s", code);
    } else if (!st_credential_json(answer, &fetch->keys, &wrong)) {
        st_credential_failed(fetch, "the instance metadata service gave %s", wrong);
    } else {
        st_credential_found(fetch);
    }
}

static void role_came(struct st_credential_fetch *fetch) {
    char role[ROLE_MAX], text[128];
    if (fetch->request.end == ST_HTTP_ANSWERED && fetch->request.status == 404) {
        st_credential_absent(fetch, "the instance has no role");
    } else if (!take_word(fetch, role, sizeof role)) {
        st_credential_failed(fetch, "the instance metadata service gave %s for the role's name",
                             st_credential_trouble(fetch, text, sizeof text));
    } else if (strpbrk(role, "/?#%") != NULL) {
        st_credential_failed(fetch, "the instance metadata service gave a role name that is none");
    } else if (make_url(fetch, ROLES_PATH, role)) {
        st_credential_send(fetch, "GET", TIMEOUT_MS, keys_came);
    }
}

static void ask_role(struct st_credential_fetch *fetch) {
    if (make_url(fetch, ROLES_PATH, "")) {
        st_credential_send(fetch, "GET", TIMEOUT_MS, role_came);
    }
}

static void fetch_imds(struct st_credential_fetch *fetch) {
    begin(fetch, ask_role);
}

const struct st_credential_source st_credential_imds = {"imds", fetch_imds};

/* ---- the region ---- */

struct region_fetch {
    struct st_credential_fetch fetch;
    struct st_aws_region_ask *ask;
};

static void run_done(struct st_task *task) {
    struct st_aws_region_ask *ask = ST_OWNER(task, struct st_aws_region_ask, task);
    ask->done(ask);
}

static void region_over(struct st_credential_fetch *fetch, enum st_credential_end end) {
    struct region_fetch *region = ST_OWNER(fetch, struct region_fetch, fetch);
    struct st_aws_region_ask *ask = region->ask;
    struct st_loop *loop = fetch->loop;
    if (end != ST_CREDENTIAL_FOUND) {
        ask->region[0] = '\0';
        snprintf(ask->reason, sizeof ask->reason, "%s", fetch->reason);
    }
    ask->state = NULL;
    free(region);
    st_defer(loop, &ask->task);
}

static void region_came(struct st_credential_fetch *fetch) {
    struct st_aws_region_ask *ask = ST_OWNER(fetch, struct region_fetch, fetch)->ask;
    char text[128];
    if (take_word(fetch, ask->region, sizeof ask->region)) {
        st_credential_found(fetch);
    } else {
        st_credential_failed(fetch, "the instance metadata service gave %s for the region",
                             st_credential_trouble(fetch, text, sizeof text));
    }
}

static void ask_region(struct st_credential_fetch *fetch) {
    if (make_url(fetch, "/latest/meta-data/placement/region", "")) {
        st_credential_send(fetch, "GET", TIMEOUT_MS, region_came);
    }
}

void st_aws_region_ask(struct st_loop *loop, struct st_http_client *http, struct st_aws_region_ask *ask) {
    struct region_fetch *region = calloc(1, sizeof *region);
    ask->region[0] = '\0';
    ask->reason[0] = '\0';
    ask->state = region;
    ask->task = (struct st_task){.fn = run_done};
    if (region == NULL) {
        snprintf(ask->reason, sizeof ask->reason, "no memory to ask for the region");
        st_defer(loop, &ask->task);
        return;
    }
    region->ask = ask;
    region->fetch = (struct st_credential_fetch){.loop = loop, .http = http, .region = "", .done = region_over};
    begin(&region->fetch, ask_region);
}
