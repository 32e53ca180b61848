/* Where keys come from: each source, what it says when something is wrong, the order of all, and the region. */
#include "storage/backends/aws/credential_profile.h"
#include "storage/tests/aws_credentials_fixture.h"

#include <fcntl.h>

/* ---- one source ---- */

static void the_environment_gives_keys_that_never_expire(void **state) {
    struct bench *bench = *state;
    setenv("AWS_ACCESS_KEY_ID", "from-env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    assert_int_equal(bench->http->asked_count, 0);
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "from-env");
    assert_string_equal(want->keys.secret, "hush");
    assert_string_equal(want->keys.token, "");
    assert_int_equal(want->keys.expires_ms, 0);
    assert_int_equal(want->keys.generation, 1);
    fixture_run(bench->http, 1000 * HOUR);
    assert_non_null(st_aws_keys_now(bench->credentials));
    assert_int_equal(st_aws_keys_now(bench->credentials)->generation, 1);
}

static void half_of_a_key_in_the_environment_is_an_error(void **state) {
    struct bench *bench = *state;
    setenv("AWS_ACCESS_KEY_ID", "from-env", 1);
    check_reason(bench, "AWS_ACCESS_KEY_ID is set in the environment, but AWS_SECRET_ACCESS_KEY is not");
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    unsetenv("AWS_ACCESS_KEY_ID");
    check_reason(bench, "AWS_SECRET_ACCESS_KEY is set in the environment, but AWS_ACCESS_KEY_ID is not");
    static const char *const wrong[] = {"with blank", "id\r\nX-Header:injected", "id\x7f", "\xC3\xA4"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("AWS_ACCESS_KEY_ID", wrong[i], 1);
        check_reason(bench, "the credentials of source 'environment' are empty, or hold blanks or other characters "
                            "that no credentials have");
    }
    char longer[ST_AWS_SECRET_MAX + 1];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    setenv("AWS_SECRET_ACCESS_KEY", longer, 1);
    check_reason(bench, "the credentials in the environment are longer than any that AWS gives");
}

static void profiles_are_read_as_the_sdks_read_them(void **state) {
    (void)state;
    static const struct {
        const char *profile, *config, *credentials, *id, *region;
        bool found;
    } cases[] = {
        {"default", "[default]\nregion=r\n", "[default]\naws_access_key_id = a\n", "a", "r", true},
        {"default", "[default]\nregion=r", "[default]\nregion=of credentials\naws_access_key_id=a", "a",
         "of credentials", true},
        {"p", "[profile p]\naws_access_key_id=a\n", "", "a", "", true},
        {"p", "[p]\naws_access_key_id=a\n", "", "", "", false},
        {"p", "", "[profile p]\naws_access_key_id=a\n", "", "", false},
        {"p", "", "[p]\naws_access_key_id=a\n", "a", "", true},
        {"p q", "[profile \"p q\"]\naws_access_key_id=a", "", "a", "", true},
        {"p", "[ profile \t p ] # comment\naws_access_key_id=a", "", "a", "", true},
        {"p", "[profile pq]\naws_access_key_id=b\n[profile p]\naws_access_key_id=a\n[sso-session p]\nregion=no", "",
         "a", "", true},
        {"default", "[profile default]\r\nAWS_ACCESS_KEY_ID =  a  \r\nregion\t=\tr ; comment\r\n", "", "a", "r", true},
        {"default", "[default]\naws_access_key_id=a#b;c\nregion=r #c", "", "a#b;c", "r", true},
        {"default", "[default]\nregion=r\n# region=s\n; region=t\n\n", "", "", "r", true},
        {"default", "[default]\nregion=r\ns3 =\n  region = nested\n", "", "", "r", true},
        {"default", "[default]\nregion=\nno equals\n=nothing\nregion_=x", "", "", "", true},
        {"default", "region=r", "region=s", "", "", false},
        {"default", "[default]\nregion=r\nregion=s", "", "", "s", true},
        {"default", "[default\nregion=r", "", "", "r", true},
        {"default", "[\n[]\n[profile]\n[profile ]\nregion=r", "[", "", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_profile profile = {0};
        snprintf(profile.name, sizeof profile.name, "%s", cases[i].profile);
        st_profile_parse(&profile, ST_PROFILE_CONFIG, kp_slice_cstr(cases[i].config));
        st_profile_parse(&profile, ST_PROFILE_CREDENTIALS, kp_slice_cstr(cases[i].credentials));
        if (profile.found != cases[i].found || strcmp(profile.id, cases[i].id) != 0 ||
            strcmp(profile.region, cases[i].region) != 0) {
            fail_msg("case %zu: found %d, id '%s', region '%s'", i, profile.found, profile.id, profile.region);
        }
        assert_false(profile.too_long);
    }
}

static void the_shared_file_of_the_profile_gives_keys(void **state) {
    struct bench *bench = *state;
    write_file(bench, "[default]\naws_access_key_id=of-default\naws_secret_access_key=hush\n"
                      "[other]\naws_access_key_id=of-other\naws_secret_access_key=hush\naws_session_token=a-token\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->file, 1);
    setenv("AWS_PROFILE", "other", 1);
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "of-other");
    assert_string_equal(want->keys.token, "a-token");
}

static void the_files_lie_in_the_home_unless_they_are_named(void **state) {
    struct bench *bench = *state;
    char folder[80], file[96], *home = getenv("HOME") == NULL ? NULL : strdup(getenv("HOME"));
    snprintf(folder, sizeof folder, "%s/.aws", bench->folder);
    snprintf(file, sizeof file, "%s/credentials", folder);
    snprintf(bench->file, sizeof bench->file, "%s", file);
    char make[96];
    snprintf(make, sizeof make, "mkdir %s", folder);
    assert_int_equal(system(make), 0);
    write_file(bench, "[default]\naws_access_key_id=of-home\naws_secret_access_key=hush\n");
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    unsetenv("AWS_CONFIG_FILE");
    setenv("HOME", bench->folder, 1);
    check_id(bench, "of-home");
    if (home != NULL) {
        setenv("HOME", home, 1);
    }
    free(home);
    unlink(file);
    rmdir(folder);
}

static void profiles_that_are_not_supported_are_refused_in_one_sentence(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"role_arn=arn:x\nsource_profile=base\naws_access_key_id=a\naws_secret_access_key=b",
         "profile 'default' assumes a role, which is not supported; run: "
         "eval \"$(aws configure export-credentials --format env)\""},
        {"sso_session=corp\nsso_account_id=1",
         "profile 'default' signs on by SSO, which is not supported; run: "
         "eval \"$(aws configure export-credentials --format env)\""},
        {"credential_process=/bin/keys",
         "profile 'default' has a credential_process, which is not supported; run: "
         "eval \"$(aws configure export-credentials --format env)\""},
        {"aws_access_key_id=a", "profile 'default' has aws_access_key_id but not aws_secret_access_key"},
        {"aws_secret_access_key=a", "profile 'default' has aws_secret_access_key but not aws_access_key_id"},
    };
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->file, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "[default]\n%s\n", cases[i].text);
        write_file(bench, text);
        check_reason(bench, cases[i].reason);
    }
    setenv("AWS_PROFILE", "nobody", 1);
    check_reason(bench, "AWS_PROFILE names 'nobody', which neither of the shared files has");
    unsetenv("AWS_PROFILE");
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->folder, 1);
    char reason[256];
    snprintf(reason, sizeof reason, "%s cannot be read: Is a directory", bench->folder);
    check_reason(bench, reason);
    char longer[600];
    snprintf(longer, sizeof longer, "[default]\naws_access_key_id=%0500d\n", 1);
    write_file(bench, longer);
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->file, 1);
    check_reason(bench, "a setting of profile 'default' is longer than any that AWS gives");
}

static const char sts_keys[] =
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
    "<AssumeRoleWithWebIdentityResult><Audience>a</Audience><AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser>"
    "<Credentials><SessionToken>sts&amp;token</SessionToken><SecretAccessKey>hush</SecretAccessKey>"
    "<Expiration>2023-11-14T23:13:20Z</Expiration><AccessKeyId>from-sts</AccessKeyId></Credentials>"
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

static void a_web_identity_is_exchanged_at_sts(void **state) {
    struct bench *bench = *state;
    write_file(bench, "ey.J+t/=\n");
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", bench->file, 1);
    setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a b", 1);
    setenv("AWS_ROLE_SESSION_NAME", "me", 1);
    answers(bench, NULL, 200, sts_keys);
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "from-sts");
    assert_string_equal(want->keys.secret, "hush");
    assert_string_equal(want->keys.token, "sts&token");
    assert_int_equal(want->keys.expires_ms, TRUE_WALL_MS + HOUR);
    const struct asked *asked = fixture_last(bench->http);
    assert_string_equal(asked->method, "POST");
    assert_string_equal(asked->url, "https://sts.eu-west-1.amazonaws.com/");
    assert_string_equal(asked->headers, "Content-Type: application/x-www-form-urlencoded\n");
    assert_string_equal(asked->body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A"
                                     "123456789012%3Arole%2Fa%20b&RoleSessionName=me&WebIdentityToken=ey.J%2Bt%2F%3D");
}

static void the_token_file_is_read_at_each_refresh(void **state) {
    struct bench *bench = *state;
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", bench->file, 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
    answers(bench, "http://127.0.0.1:1/", 200, sts_keys);
    write_file(bench, "first");
    check_id(bench, "from-sts");
    assert_non_null(strstr(fixture_last(bench->http)->body, "&RoleSessionName=serverless-streams-"));
    assert_non_null(strstr(fixture_last(bench->http)->body, "&WebIdentityToken=first"));
    write_file(bench, "second");
    setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2/", 1);
    answers(bench, "http://127.0.0.1:2/", 200, sts_keys);
    fixture_run(bench->http, HOUR - 4 * MINUTE);
    check_id(bench, "from-sts");
    assert_int_equal(bench->http->asked_count, 2);
    assert_non_null(strstr(fixture_last(bench->http)->body, "&WebIdentityToken=second"));
}

static void a_profile_may_name_a_web_identity(void **state) {
    struct bench *bench = *state;
    char text[512];
    snprintf(text, sizeof text, "[default]\nrole_arn=arn:1\nrole_session_name=n\nweb_identity_token_file=%s\n",
             bench->file);
    write_file(bench, text); /* its own token, which shows that it was read */
    setenv("AWS_CONFIG_FILE", bench->file, 1);
    answers(bench, "https://sts.eu-west-1.amazonaws.com/", 200, sts_keys);
    check_id(bench, "from-sts");
    const char *body = fixture_last(bench->http)->body;
    assert_non_null(strstr(body, "&RoleArn=arn%3A1&RoleSessionName=n&WebIdentityToken=%5Bdefault%5D"));
}

static void what_is_wrong_with_a_web_identity_is_told(void **state) {
    struct bench *bench = *state;
    char reason[256];
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", bench->file, 1);
    check_reason(bench, "AWS_WEB_IDENTITY_TOKEN_FILE is set in the environment, but AWS_ROLE_ARN is not");
    setenv("AWS_ROLE_ARN", "arn", 1);
    snprintf(reason, sizeof reason, "the web identity token file %s cannot be read: No such file or directory",
             bench->file);
    check_reason(bench, reason);
    write_file(bench, "\n");
    snprintf(reason, sizeof reason, "the web identity token file %s is empty", bench->file);
    check_reason(bench, reason);
    write_file(bench, "token");
    answers(bench, NULL, 400, "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredTokenException</Code>"
                              "<Message>Token expired</Message></Error></ErrorResponse>");
    check_reason(bench, "STS refused AssumeRoleWithWebIdentity: ExpiredTokenException Token expired");
    fixture_no_rules(bench->http);
    answers(bench, NULL, 200, "<html>");
    check_reason(bench, "STS answered AssumeRoleWithWebIdentity without keys");
    fixture_no_rules(bench->http);
    fixture_rule(bench->http, (struct rule){.end = ST_HTTP_NOT_SENT, .reason = "refused"});
    check_reason(bench, "STS at https://sts.eu-west-1.amazonaws.com/ gave no answer: refused");
    setenv("AWS_ENDPOINT_URL_STS", "ftp://x", 1);
    check_reason(bench, "the endpoint of STS is no http or https URL");
}

static void a_container_endpoint_gives_keys(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/uuid", 1);
    answers(bench, NULL, 200, json_keys(bench, 0, "of-task", HOUR));
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "of-task");
    assert_string_equal(want->keys.secret, "hush/of-task");
    assert_string_equal(want->keys.token, "token-of-task");
    assert_int_equal(want->keys.expires_ms, TRUE_WALL_MS + HOUR);
    assert_string_equal(fixture_last(bench->http)->url, "http://169.254.170.2/v2/credentials/uuid");
    assert_string_equal(fixture_last(bench->http)->headers, "");
}

static void the_containers_token_file_is_read_at_each_refresh(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", bench->file, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not this one", 1);
    answers(bench, NULL, 200, json_keys(bench, 0, "of-pod", HOUR));
    write_file(bench, "first\n");
    check_id(bench, "of-pod");
    assert_string_equal(fixture_last(bench->http)->headers, "Authorization: first\n");
    write_file(bench, "second");
    fixture_run(bench->http, HOUR - 4 * MINUTE);
    check_id(bench, "of-pod");
    assert_string_equal(fixture_last(bench->http)->headers, "Authorization: second\n");
    assert_int_equal(bench->http->asked_count, 2);
}

static void plain_http_is_only_asked_where_nobody_listens_in(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *url;
        bool asked;
    } cases[] = {
        {"https://keys.example.com/x", true},
        {"http://127.0.0.1:8080/x", true},
        {"http://127.1.2.3", true},
        {"http://localhost/x", true},
        {"http://[::1]:80/x", true},
        {"http://169.254.170.2/x", true},
        {"http://169.254.170.23/x", true},
        {"http://[fd00:ec2::23]/x", true},
        {"http://example.com/x", false},
        {"http://169.254.170.3/x", false},
        {"http://127.0.0.1.evil/x", false},
        {"http://localhost.evil/x", false},
        {"http://[::2]/x", false},
        {"http://127.0.0.1@evil/x", false},
        {"http://localhost:1@evil/x", false},
        {"http://", false},
        {"http://[::1", false},
        {"ftp://127.0.0.1/x", false},
        {"127.0.0.1/x", false},
        {"http://127.0.0.256/x", false},
        {"http://evil?http://127.0.0.1", false},
    };
    answers(bench, NULL, 500, "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", cases[i].url, 1);
        size_t before = bench->http->asked_count;
        const struct want *want = want_keys(bench);
        if ((bench->http->asked_count > before) != cases[i].asked) {
            fail_msg("%s: %s", cases[i].url, want->want.reason);
        }
        assert_string_equal(want->keys.id, "");
    }
}

static void what_is_wrong_with_a_container_endpoint_is_told(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "x", 1);
    check_reason(bench, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with '/'");
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "two\r\nlines", 1);
    check_reason(bench, "the container authorization token is too long or has more than one line");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", bench->file, 1);
    check_reason(bench, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: No such file or directory");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    static const struct {
        int status;
        const char *body, *reason;
    } cases[] = {
        {403, "", "the container credentials endpoint gave status 403"},
        {200, "{}", "the container credentials endpoint gave an answer without AccessKeyId"},
        {200, "{\"AccessKeyId\":\"a\"}", "the container credentials endpoint gave an answer without SecretAccessKey"},
        {200, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\"}",
         "the container credentials endpoint gave an answer without Token"},
        {200, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\",\"Token\":\"c\",\"Expiration\":\"soon\"}",
         "the container credentials endpoint gave an answer without a valid Expiration"},
        {200, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\",\"Token\":\"c\","
              "\"Expiration\":\"1970-01-01T00:00:00Z\"}",
         "the container credentials endpoint gave an answer without a valid Expiration"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_no_rules(bench->http);
        answers(bench, NULL, cases[i].status, cases[i].body);
        check_reason(bench, cases[i].reason);
    }
}

static void an_instance_gives_the_keys_of_its_role(void **state) {
    struct bench *bench = *state;
    imds(bench, "of-role", 6 * HOUR);
    const struct want *want = want_keys(bench);
    assert_string_equal(want->keys.id, "of-role");
    assert_int_equal(want->keys.expires_ms, TRUE_WALL_MS + 6 * HOUR);
    assert_int_equal(bench->http->asked_count, 3);
    const struct asked *asked = bench->http->asked;
    assert_string_equal(asked[0].method, "PUT");
    assert_string_equal(asked[0].url, "http://169.254.169.254/latest/api/token");
    assert_string_equal(asked[0].headers, "X-aws-ec2-metadata-token-ttl-seconds: 21600\n");
    assert_string_equal(asked[1].method, "GET");
    assert_string_equal(asked[1].url, "http://169.254.169.254/latest/meta-data/iam/security-credentials/");
    assert_string_equal(asked[1].headers, "X-aws-ec2-metadata-token: session\n");
    assert_string_equal(asked[2].url, "http://169.254.169.254/latest/meta-data/iam/security-credentials/a-role");
    assert_string_equal(asked[2].headers, "X-aws-ec2-metadata-token: session\n");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(asked[i].timeout_ms, 1000);
    }
}

static void the_metadata_service_may_lie_elsewhere_or_be_turned_off(void **state) {
    struct bench *bench = *state;
    setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
    check_reason(bench, "AWS_ACCESS_KEY_ID is not set; profile 'default' has no keys; no "
                        "AWS_WEB_IDENTITY_TOKEN_FILE; no container endpoint; AWS_EC2_METADATA_DISABLED is set");
    assert_int_equal(bench->http->asked_count, 0);
    setenv("AWS_EC2_METADATA_DISABLED", "false", 1);
    answers(bench, NULL, 403, "");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv6", 1);
    want_keys(bench);
    assert_string_equal(fixture_last(bench->http)->url, "http://[fd00:ec2::254]/latest/api/token");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9/", 1);
    want_keys(bench);
    assert_string_equal(fixture_last(bench->http)->url, "http://127.0.0.1:9/latest/api/token");
}

static void a_machine_without_metadata_service_says_all_that_was_tried_after_a_second(void **state) {
    struct bench *bench = *state;
    fixture_rule(bench->http, (struct rule){.takes_ms = HOUR});
    struct want *want = start_want(bench, 0);
    fixture_run(bench->http, 1000);
    assert_int_equal(want->done, 1);
    assert_string_equal(want->want.reason, "no credentials: AWS_ACCESS_KEY_ID is not set; profile 'default' has no "
                        "keys; no AWS_WEB_IDENTITY_TOKEN_FILE; no container endpoint; the instance metadata service "
                        "does not answer");
    assert_int_equal(bench->http->asked_count, 1);
}

static void what_is_wrong_with_an_instance_is_told(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *role;
        int role_status, keys_status;
        const char *keys, *reason;
    } cases[] = {
        {"", 404, 0, "", "the instance has no role"},
        {"", 200, 0, "", "the instance metadata service gave status 200 for the role's name"},
        {"a/../b", 200, 0, "", "the instance metadata service gave a role name that is none"},
        {"r", 200, 500, "", "the instance metadata service gave status 500 for the role's credentials"},
        {"r", 200, 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}",
         "the instance metadata service has no credentials for the role: AssumeRoleUnauthorizedAccess"},
        {"r", 200, 200, "[]", "the instance metadata service gave an answer without AccessKeyId"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_no_rules(bench->http);
        answers(bench, "/latest/api/token", 200, "s");
        answers(bench, "security-credentials/r", cases[i].keys_status, cases[i].keys);
        answers(bench, "security-credentials/", cases[i].role_status, cases[i].role);
        const struct want *want = want_keys(bench);
        assert_non_null(strstr(want->want.reason, cases[i].reason));
    }
}

/* ---- the order ---- */

static void the_first_source_that_has_something_wins(void **state) {
    struct bench *bench = *state;
    setenv("AWS_ACCESS_KEY_ID", "from-env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    write_file(bench, "[default]\naws_access_key_id=of-profile\naws_secret_access_key=hush\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", bench->file, 1);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", bench->file, 1);
    setenv("AWS_ROLE_ARN", "arn", 1);
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    imds(bench, "of-role", 6 * HOUR);
    answers(bench, "https://sts.", 200, sts_keys);
    answers(bench, "http://169.254.170.2/task", 200, json_keys(bench, 1, "of-task", HOUR));
    static const char *const order[] = {"from-env", "of-profile", "from-sts", "of-task", "of-role"};
    static const char *const variables[] = {"AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE",
                                            "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"};
    for (size_t i = 0; i < 5; i++) {
        st_aws_credentials_free(bench->credentials);
        bench->credentials = st_aws_credentials_new(bench->http->loop, bench->http, "eu-west-1");
        check_id(bench, order[i]);
        if (i < 4) {
            unsetenv(variables[i]);
        }
        if (i == 0) {
            unsetenv("AWS_SECRET_ACCESS_KEY");
        } else if (i == 1) {
            setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
        }
    }
}

static void a_source_that_once_gave_keys_is_not_left_for_another(void **state) {
    struct bench *bench = *state;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    answers(bench, "/task", 200, json_keys(bench, 1, "of-task", HOUR));
    check_id(bench, "of-task");
    setenv("AWS_ACCESS_KEY_ID", "from-env", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    fixture_no_rules(bench->http);
    answers(bench, "/task", 500, "");
    fixture_run(bench->http, 2 * HOUR);
    check_reason(bench, "the container credentials endpoint gave status 500");
    unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    imds(bench, "of-role", HOUR);
    check_reason(bench, "no container endpoint");
}

/* ---- the rest ---- */

static void region_done(struct st_aws_region_ask *ask) {
    assert_null(ask->state);
    snprintf(ask->reason + strlen(ask->reason), 8, "!");
}

static void the_region_is_found_in_its_order(void **state) {
    struct bench *bench = *state;
    char region[ST_AWS_REGION_MAX];
    assert_false(st_aws_region_configured(region));
    assert_string_equal(region, "");
    write_file(bench, "[default]\nregion=of-profile\n");
    setenv("AWS_CONFIG_FILE", bench->file, 1);
    assert_true(st_aws_region_configured(region));
    assert_string_equal(region, "of-profile");
    setenv("AWS_DEFAULT_REGION", "of-default", 1);
    assert_true(st_aws_region_configured(region));
    assert_string_equal(region, "of-default");
    setenv("AWS_REGION", "of-env", 1);
    assert_true(st_aws_region_configured(region));
    assert_string_equal(region, "of-env");
}

static void an_instance_tells_its_region(void **state) {
    struct bench *bench = *state;
    struct st_aws_region_ask ask = {.done = region_done};
    answers(bench, "/latest/api/token", 200, "session");
    answers(bench, "http://169.254.169.254/latest/meta-data/placement/region", 200, "eu-north-1");
    st_aws_region_ask(bench->http->loop, bench->http, &ask);
    fixture_run(bench->http, 1000);
    assert_string_equal(ask.region, "eu-north-1");
    assert_string_equal(ask.reason, "!");
    assert_string_equal(fixture_last(bench->http)->headers, "X-aws-ec2-metadata-token: session\n");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    st_aws_region_ask(bench->http->loop, bench->http, &ask);
    assert_string_equal(ask.reason, "AWS_EC2_METADATA_DISABLED is set"); /* done adds its mark, from the loop */
    fixture_run(bench->http, 0);
    assert_string_equal(ask.region, "");
    assert_string_equal(ask.reason, "AWS_EC2_METADATA_DISABLED is set!");
}

static void nothing_of_a_secret_is_logged(void **state) {
    struct bench *bench = *state;
    int saved = dup(STDERR_FILENO), log = open(bench->file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && log >= 0);
    dup2(log, STDERR_FILENO);
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "SENTINEL", 1);
    answers(bench, "/task", 200, json_keys(bench, 1, "SENTINEL", HOUR));
    const struct want *want = want_keys(bench);
    bool found = strcmp(want->keys.id, "SENTINEL") == 0;
    fixture_no_rules(bench->http);
    answers(bench, "/task", 200, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SENTINEL\"}");
    fixture_run(bench->http, 2 * HOUR);
    want = want_keys(bench);
    dup2(saved, STDERR_FILENO);
    close(saved);
    char text[4096];
    ssize_t len = pread(log, text, sizeof text - 1, 0);
    close(log);
    assert_true(found && len > 0);
    text[len] = '\0';
    assert_non_null(strstr(text, "event=aws_credentials source=container"));
    assert_non_null(strstr(text, "event=aws_credentials_failed"));
    assert_null(strstr(text, "SENTINEL"));
    assert_null(strstr(want->want.reason, "SENTINEL"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_of_a_secret_is_logged), /* first: later its lines would be held back */
        TEST(the_environment_gives_keys_that_never_expire),
        TEST(half_of_a_key_in_the_environment_is_an_error),
        TEST(profiles_are_read_as_the_sdks_read_them),
        TEST(the_shared_file_of_the_profile_gives_keys),
        TEST(the_files_lie_in_the_home_unless_they_are_named),
        TEST(profiles_that_are_not_supported_are_refused_in_one_sentence),
        TEST(a_web_identity_is_exchanged_at_sts),
        TEST(the_token_file_is_read_at_each_refresh),
        TEST(a_profile_may_name_a_web_identity),
        TEST(what_is_wrong_with_a_web_identity_is_told),
        TEST(a_container_endpoint_gives_keys),
        TEST(the_containers_token_file_is_read_at_each_refresh),
        TEST(plain_http_is_only_asked_where_nobody_listens_in),
        TEST(what_is_wrong_with_a_container_endpoint_is_told),
        TEST(an_instance_gives_the_keys_of_its_role),
        TEST(the_metadata_service_may_lie_elsewhere_or_be_turned_off),
        TEST(a_machine_without_metadata_service_says_all_that_was_tried_after_a_second),
        TEST(what_is_wrong_with_an_instance_is_told),
        TEST(the_first_source_that_has_something_wins),
        TEST(a_source_that_once_gave_keys_is_not_left_for_another),
        TEST(the_region_is_found_in_its_order),
        TEST(an_instance_tells_its_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
