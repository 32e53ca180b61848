/*
 * A token of somebody else's identity provider, exchanged for a role's keys by STS, as EKS pods do it
 * (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html): AWS_ROLE_ARN and
 * AWS_WEB_IDENTITY_TOKEN_FILE, and perhaps AWS_ROLE_SESSION_NAME. The request carries no signature, the token is the
 * proof. The file is read at each fetch: its token is replaced long before the process ends.
 *
 * AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL name another endpoint than that of the region.
 */
#include "storage/backends/aws/credential_source.h"

#include "storage/backends/aws/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TIMEOUT_MS = 5000,
    TOKEN_FILE_MAX = 20000, /* what STS takes */
    FORM_MAX = 3 * (TOKEN_FILE_MAX + 2048 + 64) + 256,
};

struct form {
    char *at;
    size_t len;
    bool full;
};

static void put(struct form *form, const char *text, bool escape) {
    static const char digits[] = "0123456789ABCDEF";
    for (; *text != '\0' && !form->full; text++) {
        uint8_t c = (uint8_t)*text;
        bool plain = !escape || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c) != NULL;
        if (form->len + 4 > FORM_MAX) {
            form->full = true;
        } else if (plain) {
            form->at[form->len++] = (char)c;
        } else {
            form->at[form->len++] = '%';
            form->at[form->len++] = digits[c >> 4];
            form->at[form->len++] = digits[c & 15];
        }
    }
}

static bool read_keys(struct kp_slice xml, struct st_aws_keys *keys) {
    char expiration[64];
    return st_scan_xml(xml, "AccessKeyId", keys->id, sizeof keys->id) &&
           st_scan_xml(xml, "SecretAccessKey", keys->secret, sizeof keys->secret) &&
           st_scan_xml(xml, "SessionToken", keys->token, sizeof keys->token) &&
           st_scan_xml(xml, "Expiration", expiration, sizeof expiration) &&
           st_credential_time(expiration, &keys->expires_ms);
}

static void answered(struct st_credential_fetch *fetch) {
    char text[128], code[64], message[128];
    if (fetch->request.end == ST_HTTP_ANSWERED && fetch->request.status == 200) {
        if (read_keys(fetch->request.answer, &fetch->keys)) {
            st_credential_found(fetch);
        } else {
            st_credential_failed(fetch, "STS answered AssumeRoleWithWebIdentity without keys");
        }
        return;
    }
    if (fetch->request.end == ST_HTTP_ANSWERED &&
        st_scan_xml(fetch->request.answer, "Code", code, sizeof code)) {
        st_scan_xml(fetch->request.answer, "Message", message, sizeof message);
        st_credential_failed(fetch, "STS refused AssumeRoleWithWebIdentity: %s %s", code, message);
        return;
    }
    st_credential_failed(fetch, "STS at %.100s gave %s", fetch->url,
                         st_credential_trouble(fetch, text, sizeof text));
}

static bool endpoint(struct st_credential_fetch *fetch) {
    const char *given = st_credential_env("AWS_ENDPOINT_URL_STS");
    given = given != NULL ? given : st_credential_env("AWS_ENDPOINT_URL");
    const char *suffix = strncmp(fetch->region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";
    int len;
    if (given != NULL) {
        size_t end = strlen(given);
        end -= end > 0 && given[end - 1] == '/' ? 1 : 0;
        len = snprintf(fetch->url, sizeof fetch->url, "%.*s/", (int)(end < INT16_MAX ? end : INT16_MAX), given);
    } else {
        len = snprintf(fetch->url, sizeof fetch->url, "https://sts.%s.%s/", fetch->region, suffix);
    }
    bool is_url = strncmp(fetch->url, "https://", 8) == 0 || strncmp(fetch->url, "http://", 7) == 0;
    if (len < 0 || (size_t)len >= sizeof fetch->url || !is_url) {
        st_credential_failed(fetch, "the endpoint of STS is no http or https URL");
        return false;
    }
    if (given == NULL && fetch->region[0] == '\0') {
        st_credential_failed(fetch, "no region is known in which to ask STS: set AWS_REGION");
        return false;
    }
    return true;
}

/* "serverless-streams-" and 16 digits: CloudTrail shows it. */
static void name_session(struct st_credential_fetch *fetch, char *name, size_t size) {
    snprintf(name, size, "serverless-streams-%016llx", (unsigned long long)st_random_u64(fetch->loop));
}

void st_credential_assume(struct st_credential_fetch *fetch, const char *token_file, const char *role_arn,
                          const char *session_name) {
    char session[64];
    size_t len = 0;
    if (!endpoint(fetch)) {
        return;
    }
    char *token = st_credential_read_file(token_file, TOKEN_FILE_MAX, &len);
    if (token == NULL) {
        st_credential_failed(fetch, "the web identity token file %.100s cannot be read: %s", token_file,
                             strerror(errno));
        return;
    }
    token[strcspn(token, "\r\n")] = '\0';
    fetch->body = malloc(FORM_MAX);
    struct form form = {.at = fetch->body, .full = fetch->body == NULL};
    name_session(fetch, session, sizeof session);
    put(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=", false);
    put(&form, role_arn, true);
    put(&form, "&RoleSessionName=", false);
    put(&form, session_name != NULL ? session_name : session, true);
    put(&form, "&WebIdentityToken=", false);
    put(&form, token, true);
    bool empty = token[0] == '\0';
    st_credential_free_file(token, len);
    fetch->body_len = form.len;
    if (form.full || empty || !st_credential_header(fetch, "Content-Type", "application/x-www-form-urlencoded")) {
        st_credential_failed(fetch, "the web identity token file %.100s is %s", token_file,
                             empty ? "empty" : "longer than memory or STS takes");
        return;
    }
    st_credential_send(fetch, "POST", TIMEOUT_MS, answered);
}

static void fetch_web_identity(struct st_credential_fetch *fetch) {
    const char *token_file = st_credential_env("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role_arn = st_credential_env("AWS_ROLE_ARN");
    if (token_file == NULL) {
        st_credential_absent(fetch, "no AWS_WEB_IDENTITY_TOKEN_FILE");
    } else if (role_arn == NULL) {
        st_credential_failed(fetch, "AWS_WEB_IDENTITY_TOKEN_FILE is set in the environment, but AWS_ROLE_ARN is not");
    } else {
        st_credential_assume(fetch, token_file, role_arn, st_credential_env("AWS_ROLE_SESSION_NAME"));
    }
}

const struct st_credential_source st_credential_web_identity = {"web_identity", fetch_web_identity};
