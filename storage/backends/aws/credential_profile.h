/*
 * One profile of the shared files
 * (https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html): ~/.aws/credentials and ~/.aws/config, or what
 * AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name; the profile is AWS_PROFILE, or "default".
 *
 * A line is a comment ('#', ';' first), a section ("[name]"; in the config file "[profile name]", and "[default]"), or
 * "name = value", where " #" and " ;" begin a comment. Indented lines belong to the setting above them and are none of
 * ours. What the credentials file says goes before what the config file says.
 */
#ifndef ST_AWS_CREDENTIAL_PROFILE_H
#define ST_AWS_CREDENTIAL_PROFILE_H

#include "storage/backends/aws/credentials.h"

#define ST_PROFILE_NAME_MAX 128
#define ST_PROFILE_TEXT_MAX 1024

struct st_profile {
    char name[ST_PROFILE_NAME_MAX];
    bool found;          /* a section of this name */
    bool too_long;       /* a setting of it that we want is longer than it may be */
    char id[ST_AWS_KEY_MAX], secret[ST_AWS_SECRET_MAX], token[ST_AWS_TOKEN_MAX];
    char region[ST_AWS_REGION_MAX];
    char role_arn[ST_PROFILE_TEXT_MAX], role_session_name[ST_PROFILE_NAME_MAX], token_file[ST_PROFILE_TEXT_MAX];
    char source[ST_PROFILE_NAME_MAX];  /* source_profile or credential_source */
    char process[ST_PROFILE_TEXT_MAX]; /* credential_process */
    char sso[ST_PROFILE_TEXT_MAX];     /* sso_session or sso_start_url */
};

enum st_profile_file { ST_PROFILE_CREDENTIALS, ST_PROFILE_CONFIG };

/* Adds what the text of one file says about profile->name; settings given there replace those of before. */
void st_profile_parse(struct st_profile *profile, enum st_profile_file file, struct kp_slice text);
/* Reads both files. False: one of them is there and cannot be read, which `reason` says. */
bool st_profile_load(struct st_profile *profile, char *reason, size_t size);

#endif
