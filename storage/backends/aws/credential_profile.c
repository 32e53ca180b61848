/*
 * The profile as a source of keys. A profile that gets its keys from a program, a sign-on or another profile is refused
 * in one sentence instead of being passed over: the next source would be somebody else. The AWS CLI turns each of them
 * into the variables of the first source.
 */
#include "storage/backends/aws/credential_profile.h"

#include "storage/backends/aws/credential_source.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define EXPORT "run: eval \"$(aws configure export-credentials --format env)\""

enum { FILE_MAX = 256 * 1024, PATH_TEXT_MAX = 1024 };

/* Which setting goes where; two may share a place when either has the same consequence. */
static const struct {
    const char *name;
    size_t offset, size;
} settings[] = {
#define SETTING(name, member) {name, offsetof(struct st_profile, member), sizeof((struct st_profile *)NULL)->member},
    SETTING("aws_access_key_id", id)
    SETTING("aws_secret_access_key", secret)
    SETTING("aws_session_token", token)
    SETTING("region", region)
    SETTING("role_arn", role_arn)
    SETTING("role_session_name", role_session_name)
    SETTING("web_identity_token_file", token_file)
    SETTING("source_profile", source)
    SETTING("credential_source", source)
    SETTING("credential_process", process)
    SETTING("sso_session", sso)
    SETTING("sso_start_url", sso)
#undef SETTING
};

/* ---- the files ---- */

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static struct kp_slice trim(struct kp_slice text) {
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text = kp_slice_of(text.ptr + 1, text.len - 1);
    }
    return text;
}

/* The first word and the trimmed rest. */
static struct kp_slice first_word(struct kp_slice text, struct kp_slice *rest) {
    size_t len = 0;
    while (len < text.len && !is_blank(text.ptr[len])) {
        len++;
    }
    *rest = trim(kp_slice_of(text.ptr + len, text.len - len));
    return kp_slice_of(text.ptr, len);
}

/* What stands between the brackets, against the profile's name. */
static bool is_section_of(const struct st_profile *profile, enum st_profile_file file, struct kp_slice section) {
    struct kp_slice name = trim(section), rest;
    bool prefixed = file == ST_PROFILE_CONFIG && kp_slice_equal(first_word(name, &rest), KP_SLICE_LIT("profile"));
    if (prefixed && rest.len > 0) {
        name = rest;
        if (name.len >= 2 && name.ptr[0] == '"' && name.ptr[name.len - 1] == '"') {
            name = kp_slice_of(name.ptr + 1, name.len - 2);
        }
    } else if (file == ST_PROFILE_CONFIG && !kp_slice_equal(name, KP_SLICE_LIT("default"))) {
        return false;
    }
    return kp_slice_equal(name, kp_slice_cstr(profile->name));
}

static struct kp_slice without_comment(struct kp_slice value) {
    for (size_t i = 1; i < value.len; i++) {
        if ((value.ptr[i] == '#' || value.ptr[i] == ';') && is_blank(value.ptr[i - 1])) {
            return trim(kp_slice_of(value.ptr, i));
        }
    }
    return value;
}

static void take_setting(struct st_profile *profile, struct kp_slice line) {
    const uint8_t *equals = memchr(line.ptr, '=', line.len);
    if (equals == NULL) {
        return;
    }
    struct kp_slice name = trim(kp_slice_of(line.ptr, (size_t)(equals - line.ptr)));
    struct kp_slice value = kp_slice_of(equals, line.len - (size_t)(equals - line.ptr));
    value = trim(without_comment(kp_slice_of(value.ptr + 1, value.len - 1)));
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strlen(settings[i].name) != name.len ||
            strncasecmp(settings[i].name, (const char *)name.ptr, name.len) != 0) {
            continue;
        }
        char *to = (char *)profile + settings[i].offset;
        bool fits = value.len < settings[i].size && memchr(value.ptr, '\0', value.len) == NULL;
        memcpy(to, value.ptr, fits ? value.len : 0);
        to[fits ? value.len : 0] = '\0';
        profile->too_long = profile->too_long || !fits;
        return;
    }
}

void st_profile_parse(struct st_profile *profile, enum st_profile_file file, struct kp_slice text) {
    bool inside = false;
    while (text.len > 0) {
        const uint8_t *newline = memchr(text.ptr, '\n', text.len);
        size_t len = newline == NULL ? text.len : (size_t)(newline - text.ptr);
        struct kp_slice line = kp_slice_of(text.ptr, len);
        size_t taken = newline == NULL ? len : len + 1;
        text = kp_slice_of(text.ptr + taken, text.len - taken);
        if (line.len == 0 || is_blank(line.ptr[0]) || line.ptr[0] == '#' || line.ptr[0] == ';') {
            continue;
        }
        if (line.ptr[0] == '[') {
            const uint8_t *close = memchr(line.ptr, ']', line.len);
            size_t end = close == NULL ? line.len : (size_t)(close - line.ptr);
            inside = is_section_of(profile, file, kp_slice_of(line.ptr + 1, end - 1));
            profile->found = profile->found || inside;
        } else if (inside) {
            take_setting(profile, line);
        }
    }
}

/* What the variable names, or the usual place; "~/" is HOME. False: there is no such place. */
static bool file_path(const char *variable, const char *usual, char path[PATH_TEXT_MAX]) {
    const char *named = st_credential_env(variable), *home = st_credential_env("HOME");
    const char *text = named != NULL ? named : usual;
    bool in_home = strncmp(text, "~/", 2) == 0;
    if (in_home && home == NULL) {
        return false;
    }
    int len = snprintf(path, PATH_TEXT_MAX, "%s%s", in_home ? home : "", in_home ? text + 1 : text);
    return len > 0 && len < PATH_TEXT_MAX;
}

/* A file that is not there says nothing; one that cannot be read is an error. */
static bool load_file(struct st_profile *profile, enum st_profile_file file, char *reason, size_t size) {
    char path[PATH_TEXT_MAX];
    bool named = file == ST_PROFILE_CREDENTIALS ? file_path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", path)
                                                : file_path("AWS_CONFIG_FILE", "~/.aws/config", path);
    size_t len = 0;
    char *text = named ? st_credential_read_file(path, FILE_MAX, &len) : NULL;
    if (!named || (text == NULL && (errno == ENOENT || errno == ENOTDIR))) {
        return true;
    }
    if (text == NULL) {
        snprintf(reason, size, "%.100s cannot be read: %s", path, strerror(errno));
        return false;
    }
    st_profile_parse(profile, file, kp_slice_of(text, len));
    st_credential_free_file(text, len);
    return true;
}

bool st_profile_load(struct st_profile *profile, char *reason, size_t size) {
    const char *name = st_credential_env("AWS_PROFILE");
    explicit_bzero(profile, sizeof *profile);
    int len = snprintf(profile->name, sizeof profile->name, "%s", name == NULL ? "default" : name);
    if (len < 0 || (size_t)len >= sizeof profile->name) {
        snprintf(reason, size, "AWS_PROFILE is longer than %d characters", ST_PROFILE_NAME_MAX - 1);
        return false;
    }
    return load_file(profile, ST_PROFILE_CONFIG, reason, size) &&
           load_file(profile, ST_PROFILE_CREDENTIALS, reason, size);
}

bool st_aws_region_configured(char region[ST_AWS_REGION_MAX]) {
    static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = st_credential_env(names[i]);
        if (value != NULL && strlen(value) < ST_AWS_REGION_MAX) {
            snprintf(region, ST_AWS_REGION_MAX, "%s", value);
            return true;
        }
    }
    struct st_profile profile;
    char reason[ST_CREDENTIAL_REASON_MAX];
    bool loaded = st_profile_load(&profile, reason, sizeof reason);
    snprintf(region, ST_AWS_REGION_MAX, "%s", loaded ? profile.region : "");
    explicit_bzero(&profile, sizeof profile);
    return region[0] != '\0';
}

/* ---- the source ---- */

static void take_keys(struct st_credential_fetch *fetch, const struct st_profile *profile) {
    if (profile->id[0] == '\0' || profile->secret[0] == '\0') {
        st_credential_failed(fetch, "profile '%s' has %s but not %s", profile->name,
                             profile->id[0] == '\0' ? "aws_secret_access_key" : "aws_access_key_id",
                             profile->id[0] == '\0' ? "aws_access_key_id" : "aws_secret_access_key");
        return;
    }
    memcpy(fetch->keys.id, profile->id, sizeof fetch->keys.id);
    memcpy(fetch->keys.secret, profile->secret, sizeof fetch->keys.secret);
    memcpy(fetch->keys.token, profile->token, sizeof fetch->keys.token);
    st_credential_found(fetch);
}

static void use_profile(struct st_credential_fetch *fetch, const struct st_profile *profile) {
    if (!profile->found && st_credential_env("AWS_PROFILE") != NULL) {
        st_credential_failed(fetch, "AWS_PROFILE names '%s', which neither of the shared files has", profile->name);
    } else if (profile->too_long) {
        st_credential_failed(fetch, "a setting of profile '%s' is longer than any that AWS gives", profile->name);
    } else if (profile->role_arn[0] != '\0' && profile->token_file[0] != '\0') {
        st_credential_assume(fetch, profile->token_file, profile->role_arn,
                             profile->role_session_name[0] == '\0' ? NULL : profile->role_session_name);
    } else if (profile->role_arn[0] != '\0' && profile->source[0] != '\0') {
        st_credential_failed(fetch, "profile '%s' assumes a role, which is not supported; " EXPORT, profile->name);
    } else if (profile->id[0] != '\0' || profile->secret[0] != '\0') {
        take_keys(fetch, profile);
    } else if (profile->sso[0] != '\0') {
        st_credential_failed(fetch, "profile '%s' signs on by SSO, which is not supported; " EXPORT, profile->name);
    } else if (profile->process[0] != '\0') {
        st_credential_failed(fetch, "profile '%s' has a credential_process, which is not supported; " EXPORT,
                             profile->name);
    } else {
        st_credential_absent(fetch, "profile '%s' has no keys", profile->name);
    }
}

static void fetch_profile(struct st_credential_fetch *fetch) {
    struct st_profile profile;
    char reason[ST_CREDENTIAL_REASON_MAX];
    if (st_profile_load(&profile, reason, sizeof reason)) {
        use_profile(fetch, &profile);
    } else {
        st_credential_failed(fetch, "%s", reason);
    }
    explicit_bzero(&profile, sizeof profile);
}

const struct st_credential_source st_credential_profile = {"profile", fetch_profile};
