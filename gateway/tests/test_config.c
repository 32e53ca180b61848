/* Options from every source, as tables: what is set, and with which sentence what is refused. */
#include "gateway/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 6 };

struct config_case {
    const char *name;
    const char *arguments[ARGUMENTS_MAX]; /* FILE stands for the properties file */
    const char *environment[4];
    const char *file;     /* its content; NULL: none */
    const char *expected; /* as summary() prints, or the whole sentence */
};

static const struct config_case accepted[] = {
    {.name = "defaults",
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=1 auto=1 max=104857600 log=1 "
                 "file:/h/.local/share/serverless-streams"},
    {.name = "--name value",
     .arguments = {"--num.partitions", "7", "--data", "/d"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=7 auto=1 max=104857600 log=1 file:/d"},
    {.name = "--name=value",
     .arguments = {"--num.partitions=7", "--store=memory:"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=7 auto=1 max=104857600 log=1 memory:"},
    {.name = "the last of two",
     .arguments = {"--num.partitions=7", "--num.partitions=8", "--store=memory:"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=8 auto=1 max=104857600 log=1 memory:"},
    {.name = "the environment",
     .environment = {"STREAMS_NUM_PARTITIONS=3", "STREAMS_KAFKA=h:1", "STREAMS_STORE=memory:"},
     .expected = "h:1 127.0.0.1:8080 none p=3 auto=1 max=104857600 log=1 memory:"},
    {.name = "a file",
     .arguments = {"--config", "FILE"},
     .file = "# comment\n! comment\n\n  num.partitions = 4\nkafka:h:2\nlog.level debug\nstore=file\\:/a\\\n   b\n",
     .expected = "h:2 127.0.0.1:8080 none p=4 auto=1 max=104857600 log=0 file:/ab"},
    {.name = "a file with CR LF, escapes and no end of line",
     .arguments = {"--config", "FILE"},
     .file = "num\\u002Epartitions=4\r\nstore=memory\\u003a\r\nauto.create.topics.enable=False",
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=4 auto=0 max=104857600 log=1 memory:"},
    {.name = "the command line goes before the environment, this before the file",
     .arguments = {"--config", "FILE", "--num.partitions", "1"},
     .environment = {"STREAMS_NUM_PARTITIONS=2", "STREAMS_LOG_LEVEL=error"},
     .file = "num.partitions=3\nlog.level=warn\nhttp=none\nstore=memory:\n",
     .expected = "127.0.0.1:9092 none none p=1 auto=1 max=104857600 log=3 memory:"},
    {.name = "the file named by the environment",
     .environment = {"STREAMS_CONFIG=FILE"},
     .file = "store=memory:\nnum.partitions=9\n",
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=9 auto=1 max=104857600 log=1 memory:"},
    {.name = "a truth without a value, before another option and at the end",
     .arguments = {"--auto.create.topics.enable=false", "--auto.create.topics.enable", "--store=s3://b/p?table=tab",
                   "--create-table"},
     .environment = {"STREAMS_CREATE_TABLE=false"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=1 auto=1 max=104857600 log=1 s3://b/p?table=tab"},
    {.name = "a truth with a value of its own",
     .arguments = {"--auto.create.topics.enable", "false", "--store", "memory:"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=1 auto=0 max=104857600 log=1 memory:"},
    {.name = "units of bytes",
     .arguments = {"--socket.request.max.bytes", "2m", "--store=memory:"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=1 auto=1 max=2097152 log=1 memory:"},
    {.name = "IPv6",
     .arguments = {"--kafka=[::1]:0", "--http", "[::]:80", "--store=memory:"},
     .expected = "[::1]:0 [::]:80 none p=1 auto=1 max=104857600 log=1 memory:"},
    {.name = "a wildcard with an address to tell",
     .arguments = {"--kafka=0.0.0.0:9092", "--advertise=box.example:9093", "--store=memory:"},
     .expected = "0.0.0.0:9092 127.0.0.1:8080 box.example:9093 p=1 auto=1 max=104857600 log=1 memory:"},
    {.name = "one door only",
     .arguments = {"--kafka=none", "--store=memory:"},
     .expected = "none 127.0.0.1:8080 none p=1 auto=1 max=104857600 log=1 memory:"},
    {.name = "a data home of the user",
     .environment = {"XDG_DATA_HOME=/x"},
     .expected = "127.0.0.1:9092 127.0.0.1:8080 none p=1 auto=1 max=104857600 log=1 file:/x/serverless-streams"},
};

static const struct config_case refused[] = {
    {.name = "an unknown option",
     .arguments = {"--num.partition", "1"},
     .expected = "there is no option --num.partition; the nearest is --num.partitions (--help lists all)"},
    {.name = "an unknown option, misspelt more",
     .arguments = {"--kafak=x"},
     .expected = "there is no option --kafak; the nearest is --kafka (--help lists all)"},
    {.name = "a word", .arguments = {"start"}, .expected = "\"start\" is not an option; options are --name value"},
    {.name = "no value", .arguments = {"--http"}, .expected = "--http needs a value: --http HOST:PORT"},
    {.name = "no number",
     .arguments = {"--num.partitions", "many"},
     .expected = "--num.partitions must be a number from 1 to 10000, not \"many\""},
    {.name = "a number with a tail",
     .arguments = {"--num.partitions", "1x"},
     .expected = "--num.partitions must be a number from 1 to 10000, not \"1x\""},
    {.name = "too small",
     .arguments = {"--num.partitions", "0"},
     .expected = "--num.partitions must be a number from 1 to 10000, not \"0\""},
    {.name = "too many bytes",
     .arguments = {"--socket.request.max.bytes=9999999999G"},
     .expected = "--socket.request.max.bytes must be a number of bytes (K, M or G may follow) from 1024 to 2147483647, "
                 "not \"9999999999G\""},
    {.name = "no truth",
     .arguments = {"--auto.create.topics.enable=yes"},
     .expected = "--auto.create.topics.enable must be true or false, not \"yes\""},
    {.name = "a word after a truth",
     .arguments = {"--create-table", "tab"},
     .expected = "--create-table must be true or false, not \"tab\""},
    {.name = "no choice",
     .arguments = {"--log.level=loud"},
     .expected = "--log.level must be one of debug|info|warn|error, not \"loud\""},
    {.name = "no port",
     .arguments = {"--http=h"},
     .expected = "--http must be HOST:PORT, [IPV6]:PORT or none, not \"h\""},
    {.name = "no host",
     .arguments = {"--http=:1"},
     .expected = "--http must be HOST:PORT, [IPV6]:PORT or none, not \":1\""},
    {.name = "a port too large",
     .arguments = {"--http=h:65536"},
     .expected = "--http must be HOST:PORT, [IPV6]:PORT or none, not \"h:65536\""},
    {.name = "IPv6 without brackets",
     .arguments = {"--http=::1:80"},
     .expected = "--http must be HOST:PORT, [IPV6]:PORT or none, not \"::1:80\""},
    {.name = "a wildcard without --advertise",
     .arguments = {"--kafka=0.0.0.0:9092"},
     .expected = "--kafka 0.0.0.0 is no address that a client can connect to: say with --advertise HOST:PORT which one "
                 "to tell them"},
    {.name = "a wildcard of IPv6",
     .arguments = {"--kafka=[::]:9092"},
     .expected = "--kafka :: is no address that a client can connect to: say with --advertise HOST:PORT which one to "
                 "tell them"},
    {.name = "a wildcard advertised",
     .arguments = {"--advertise=0.0.0.0:1"},
     .expected = "--advertise 0.0.0.0 is no address that a client can connect to"},
    {.name = "no door",
     .arguments = {"--kafka=none", "--http=none"},
     .expected = "--kafka and --http are both none: there is nothing to serve"},
    {.name = "a bad variable",
     .environment = {"STREAMS_NUM_PARTITIONS=x"},
     .expected = "environment variable STREAMS_NUM_PARTITIONS: "
                 "num.partitions must be a number from 1 to 10000, not \"x\""},
    {.name = "a bad line of a file",
     .arguments = {"--config", "FILE"},
     .file = "# one\nnum.partitions=3\nlog.level=\\\n  loud\n",
     .expected = "FILE:3: log.level must be one of debug|info|warn|error, not \"loud\""},
    {.name = "an unknown key in a file",
     .arguments = {"--config", "FILE"},
     .file = "\nnum.network.threads=3\n",
     .expected = "FILE:2: there is no option num.network.threads; the nearest is num.partitions"},
    {.name = "a file that names another",
     .arguments = {"--config", "FILE"},
     .file = "config=other\n",
     .expected = "FILE:1: a properties file cannot name another"},
    {.name = "a bad escape in a file",
     .arguments = {"--config", "FILE"},
     .file = "data=\\u12\n",
     .expected = "FILE:1: \\u needs four hexadecimal digits of an ASCII character"},
    {.name = "a file that is not there",
     .arguments = {"--config", "/nowhere/at.all"},
     .expected = "cannot read /nowhere/at.all: No such file or directory"},
};

static char path[] = "/tmp/test_config_XXXXXX";

static void write_file(const char *content) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

/* Replaces FILE by the path of the properties file. */
static char *with_path(const char *text) {
    const char *at = strstr(text, "FILE");
    char *out = NULL;
    if (at == NULL || strncmp(text, "--", 2) == 0) {
        out = strdup(text);
    } else {
        assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, path, at + 4) >= 0);
    }
    assert_non_null(out);
    return out;
}

static void summary(const struct gw_config *config, char *text, size_t size) {
    char kafka[300], http[300], advertise[300];
    gw_address_text(&config->kafka, kafka, sizeof kafka);
    gw_address_text(&config->http, http, sizeof http);
    gw_address_text(&config->advertise, advertise, sizeof advertise);
    snprintf(text, size, "%s %s %s p=%lld auto=%d max=%lld log=%d %s", kafka, http, advertise,
             (long long)config->num_partitions, config->auto_create_topics_enable,
             (long long)config->socket_request_max_bytes, config->log_level, config->store);
}

static bool run_case(const struct config_case *test, enum gw_config_outcome outcome) {
    char *argv[ARGUMENTS_MAX + 2] = {strdup("gateway")}, *environment[6] = {strdup("HOME=/h")};
    int argc = 1, count = 1;
    for (int i = 0; i < ARGUMENTS_MAX && test->arguments[i] != NULL; i++) {
        argv[argc++] = with_path(test->arguments[i]);
    }
    for (int i = 0; i < 4 && test->environment[i] != NULL; i++) {
        environment[count++] = with_path(test->environment[i]);
    }
    if (test->file != NULL) {
        write_file(test->file);
    }
    char message[GW_CONFIG_MESSAGE_MAX] = "", got[1200], *shown = NULL;
    struct gw_config config;
    const struct gw_config_input input = {argc, argv, environment, &shown, message};
    enum gw_config_outcome is = gw_config_load(&config, &input);
    if (is == GW_CONFIG_OK) {
        summary(&config, got, sizeof got);
    } else {
        snprintf(got, sizeof got, "%s", message);
    }
    gw_config_release(&config);
    char *expected = with_path(test->expected);
    bool right = is == outcome && strcmp(got, expected) == 0;
    if (!right) {
        print_error("%s:\n  got      \"%s\"\n  expected \"%s\"\n", test->name, got, expected);
    }
    free(expected);
    while (argc > 0) {
        free(argv[--argc]);
    }
    while (count > 0) {
        free(environment[--count]);
    }
    return right;
}

static void run_table(const struct config_case *cases, size_t count, enum gw_config_outcome outcome) {
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        failed += !run_case(&cases[i], outcome);
    }
    assert_int_equal(failed, 0);
}

static void options_come_from_every_source_in_order_of_precedence(void **state) {
    (void)state;
    run_table(accepted, sizeof accepted / sizeof accepted[0], GW_CONFIG_OK);
}

static void what_is_wrong_is_refused_in_one_sentence(void **state) {
    (void)state;
    run_table(refused, sizeof refused / sizeof refused[0], GW_CONFIG_BAD);
}

static char *shown_for(const char *flag) {
    char name[] = "gateway", message[GW_CONFIG_MESSAGE_MAX], *text = NULL;
    char *copy = strdup(flag);
    char *argv[] = {name, copy, NULL};
    struct gw_config config;
    const struct gw_config_input input = {2, argv, NULL, &text, message};
    assert_int_equal(gw_config_load(&config, &input), GW_CONFIG_SHOW);
    gw_config_release(&config);
    free(copy);
    assert_non_null(text);
    return text;
}

static void help_documents_every_option(void **state) {
    (void)state;
    char *text = shown_for("--help");
#define OPTION(TYPE, field, name, value, least, most, metavar, help)                                                   \
    assert_non_null(strstr(text, "  --" name " " metavar "\n      " help));
#include "gateway/config.def"
#undef OPTION
    free(text);
    text = shown_for("--version");
    assert_int_equal(strncmp(text, "serverless-streams ", 19), 0);
    free(text);
}

static void every_default_is_valid(void **state) {
    (void)state;
    struct gw_config config;
    gw_config_default(&config);
#define CHECK_ADDRESS(field, value, least, most) ((void)0)
#define CHECK_TEXT(field, value, least, most) assert_string_equal(config.field, value)
#define CHECK_NUMBER(field, value, least, most) assert_in_range(config.field, least, most)
#define CHECK_BYTES(field, value, least, most) assert_in_range(config.field, least, most)
#define CHECK_BOOL(field, value, least, most) assert_string_equal(config.field ? "true" : "false", value)
#define CHECK_CHOICE(field, value, least, most) assert_true(config.field >= 0)
#define OPTION(TYPE, field, name, value, least, most, metavar, help) CHECK_##TYPE(field, value, least, most);
#include "gateway/config.def"
#undef OPTION
    gw_config_release(&config);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) {
        perror(path);
        return 1;
    }
    close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_come_from_every_source_in_order_of_precedence),
        cmocka_unit_test(what_is_wrong_is_refused_in_one_sentence),
        cmocka_unit_test(help_documents_every_option),
        cmocka_unit_test(every_default_is_valid),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
