/*
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
 * (https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html): what a Lambda function has, fixed for
 * the life of its sandbox, and what people export by hand.
 */
#include "storage/backends/aws/credential_source.h"

static bool copy(char *to, size_t size, const char *value) {
    size_t len = strlen(value);
    if (len >= size) {
        return false;
    }
    memcpy(to, value, len + 1);
    return true;
}

static void fetch_environment(struct st_credential_fetch *fetch) {
    const char *id = st_credential_env("AWS_ACCESS_KEY_ID");
    const char *secret = st_credential_env("AWS_SECRET_ACCESS_KEY");
    const char *token = st_credential_env("AWS_SESSION_TOKEN");
    if (id == NULL && secret == NULL) {
        st_credential_absent(fetch, "AWS_ACCESS_KEY_ID is not set");
    } else if (id == NULL || secret == NULL) {
        st_credential_failed(fetch, "%s is set in the environment, but %s is not",
                             id == NULL ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID",
                             id == NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
    } else if (!copy(fetch->keys.id, sizeof fetch->keys.id, id) ||
               !copy(fetch->keys.secret, sizeof fetch->keys.secret, secret) ||
               !copy(fetch->keys.token, sizeof fetch->keys.token, token == NULL ? "" : token)) {
        st_credential_failed(fetch, "the credentials in the environment are longer than any that AWS gives");
    } else {
        st_credential_found(fetch);
    }
}

const struct st_credential_source st_credential_environment = {"environment", fetch_environment};
