/*
 * Every source of options (defaults, file, environment, command line) ends in one function, set(), which knows the
 * types; so an option behaves the same wherever it is given, and a new one is a line in config.def.
 *
 * Sources are read in order of rising precedence, each overwriting what stands. The file's name is an option itself,
 * so the command line and the environment are searched for it first.
 */
#include "gateway/config.h"

#include "gateway/properties.h"
#include "storage/runtime/option_text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum option_type {
    TYPE_ADDRESS,
    TYPE_TEXT,
    TYPE_NUMBER,
    TYPE_BYTES,
    TYPE_BOOL,
    TYPE_CHOICE,
};

struct option {
    enum option_type type;
    size_t position; /* of the field in struct gw_config */
    const char *name, *value;
    int64_t least, most;
    const char *metavar, *help;
};

static const struct option options[] = {
#define OPTION(TYPE, field, name, value, least, most, metavar, help)                                 \
    {TYPE_##TYPE, offsetof(struct gw_config, field), name, value, least, most, metavar, help},
#include "gateway/config.def"
#undef OPTION
};
enum { OPTION_COUNT = sizeof options / sizeof options[0], NAME_MAX_LEN = 64 };

struct loading {
    struct gw_config *config;
    char *message;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct loading *loading, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(loading->message, GW_CONFIG_MESSAGE_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- names ---- */

static const struct option *option_named(const char *name, size_t len) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

/* Edits (insert, delete, replace) from a to b; a and b are at most NAME_MAX_LEN long. */
static size_t edits(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t row[NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = shorter + 1 < replace ? shorter + 1 : replace;
        }
    }
    return row[b_len];
}

static const char *nearest(const char *name, size_t len) {
    const char *best = options[0].name;
    size_t least = SIZE_MAX;
    len = len < NAME_MAX_LEN ? len : NAME_MAX_LEN;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t distance = edits(name, len, options[i].name, strlen(options[i].name));
        if (distance < least) {
            least = distance;
            best = options[i].name;
        }
    }
    return best;
}

/* ---- values ---- */

bool gw_address_parse(const char *text, struct gw_address *address) {
    *address = (struct gw_address){0};
    if (strcmp(text, "none") == 0) {
        return true;
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        return false;
    }
    const char *host = text;
    size_t host_len = (size_t)(colon - text);
    if (host[0] == '[') {
        if (host_len < 3 || host[host_len - 1] != ']') {
            return false;
        }
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len) != NULL) {
        return false; /* IPv6 without brackets: where the port begins is a guess */
    }
    char *end = NULL;
    errno = 0;
    unsigned long port = isdigit((unsigned char)colon[1]) ? strtoul(colon + 1, &end, 10) : ULONG_MAX;
    if (errno != 0 || port > UINT16_MAX || *end != '\0' || host_len >= GW_HOST_MAX) {
        return false;
    }
    for (size_t i = 0; i < host_len; i++) {
        if (!isgraph((unsigned char)host[i]) || strchr("[]/@", host[i]) != NULL) {
            return false;
        }
    }
    memcpy(address->host, host, host_len);
    address->port = (uint16_t)port;
    return true;
}

void gw_address_text(const struct gw_address *address, char *text, size_t size) {
    if (gw_address_is_none(address)) {
        snprintf(text, size, "none");
    } else if (strchr(address->host, ':') != NULL) {
        snprintf(text, size, "[%s]:%u", address->host, (unsigned)address->port);
    } else {
        snprintf(text, size, "%s:%u", address->host, (unsigned)address->port);
    }
}

static bool set_number(struct loading *loading, const struct option *option, const char *value,
                       const char *where) {
    int64_t number = 0;
    bool bytes = option->type == TYPE_BYTES;
    if (!st_option_number(value, bytes, &number) || number < option->least || number > option->most) {
        return refuse(loading, "%s%s must be a number%s from %lld to %lld, not \"%.64s\"", where,
                      option->name, bytes ? " of bytes (K, M or G may follow)" : "",
                      (long long)option->least, (long long)option->most, value);
    }
    *(int64_t *)(void *)((char *)loading->config + option->position) = number;
    return true;
}

static bool set_text(struct loading *loading, const struct option *option, const char *value) {
    char **field = (char **)(void *)((char *)loading->config + option->position);
    char *copy = strdup(value);
    if (copy == NULL) {
        return refuse(loading, "out of memory");
    }
    free(*field);
    *field = copy;
    return true;
}

/* `where` begins the sentence: "", "FILE:12: " or "STREAMS_HTTP: ". */
static bool set(struct loading *loading, const struct option *option, const char *value, const char *where) {
    void *field = (char *)loading->config + option->position;
    switch (option->type) {
    case TYPE_TEXT:
        return set_text(loading, option, value);
    case TYPE_NUMBER:
    case TYPE_BYTES:
        return set_number(loading, option, value, where);
    case TYPE_ADDRESS:
        if (!gw_address_parse(value, field)) {
            return refuse(loading, "%s%s must be HOST:PORT, [IPV6]:PORT or none, not \"%.64s\"", where,
                          option->name, value);
        }
        return true;
    case TYPE_BOOL:
        if (strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0) {
            return refuse(loading, "%s%s must be true or false, not \"%.64s\"", where, option->name,
                          value);
        }
        *(bool *)field = tolower((unsigned char)value[0]) == 't';
        return true;
    case TYPE_CHOICE:
        *(int *)field = st_option_choice(option->metavar, value);
        if (*(int *)field < 0) {
            return refuse(loading, "%s%s must be one of %s, not \"%.64s\"", where, option->name,
                          option->metavar, value);
        }
        return true;
    }
    return false;
}

/* ---- sources ---- */

static void set_defaults(struct loading *loading) {
    *loading->config = (struct gw_config){0};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        set(loading, &options[i], options[i].value, "");
    }
}

/* STREAMS_NUM_PARTITIONS for num.partitions. */
static void environment_name(const struct option *option, char name[NAME_MAX_LEN + 16]) {
    int at = snprintf(name, NAME_MAX_LEN + 16, "STREAMS_%s", option->name);
    for (int i = (int)strlen("STREAMS_"); i < at; i++) {
        name[i] = name[i] == '.' || name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    }
}

static const char *environment_value(char *const *environment, const char *name) {
    size_t len = strlen(name);
    for (char *const *at = environment; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, name, len) == 0 && (*at)[len] == '=') {
            return *at + len + 1;
        }
    }
    return NULL;
}

static bool read_environment(struct loading *loading, char *const *environment) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char name[NAME_MAX_LEN + 16], where[NAME_MAX_LEN + 64];
        environment_name(&options[i], name);
        snprintf(where, sizeof where, "environment variable %s: ", name);
        const char *value = environment_value(environment, name);
        if (value != NULL && !set(loading, &options[i], value, where)) {
            return false;
        }
    }
    return true;
}

/* Sets the options of the command line; with `only` just that one, and nothing is refused but what concerns it. */
static bool read_command_line(struct loading *loading, const struct gw_config_input *input,
                              const char *only) {
    for (int i = 1; i < input->argc; i++) {
        const char *argument = input->argv[i];
        if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0') {
            return refuse(loading, "\"%.64s\" is not an option; options are --name value", argument);
        }
        const char *name = argument + 2, *equals = strchr(name, '=');
        size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
        const struct option *option = option_named(name, len);
        if (option == NULL) {
            return refuse(loading, "there is no option --%.*s; the nearest is --%s (--help lists all)",
                          (int)(len < NAME_MAX_LEN ? len : NAME_MAX_LEN), name, nearest(name, len));
        }
        const char *next = i + 1 < input->argc ? input->argv[i + 1] : NULL;
        bool is_flag = option->type == TYPE_BOOL && (next == NULL || strncmp(next, "--", 2) == 0); /* means true */
        const char *value = equals != NULL ? equals + 1 : is_flag ? "true" : next;
        i += equals == NULL && !is_flag ? 1 : 0;
        if (value == NULL) {
            return refuse(loading, "--%s needs a value: --%s %s", option->name, option->name,
                          option->metavar);
        }
        if ((only == NULL || strcmp(only, option->name) == 0) && !set(loading, option, value, "--")) {
            return false;
        }
    }
    return true;
}

static bool take_property(void *arg, const struct gw_property *property, char *message) {
    struct loading *loading = arg;
    char where[GW_PROPERTIES_MESSAGE_MAX];
    snprintf(where, sizeof where, "%.200s:%u: ", property->path, property->line);
    const struct option *option = option_named(property->key, strlen(property->key));
    loading->message = message;
    if (option == NULL) {
        return refuse(loading, "%sthere is no option %.64s; the nearest is %s", where, property->key,
                      nearest(property->key, strlen(property->key)));
    }
    if (strcmp(option->name, "config") == 0) {
        return refuse(loading, "%sa properties file cannot name another", where);
    }
    return set(loading, option, property->value, where);
}

/* ---- what is shown ---- */

static char *help_text(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    fprintf(out, "usage: gateway [--name value | --name=value]...\n\n"
                 "Serves Kafka and HTTP clients from one store. Prints one line \"ready kafka=HOST:PORT\n"
                 "http=HOST:PORT pid=N\" on standard output when it serves; logs go to standard error.\n"
                 "SIGTERM ends it after the requests under way.\n\n"
                 "Each option may also stand in a properties file (--config FILE) as name=value, and in the\n"
                 "environment as STREAMS_NAME, in capitals with _ for dots. The command line goes before the\n"
                 "environment, the environment before the file.\n\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        fprintf(out, "  --%s %s\n      %s", options[i].name, options[i].metavar, options[i].help);
        fprintf(out, options[i].value[0] != '\0' ? " (default %s)\n" : "\n", options[i].value);
    }
    fprintf(out, "  --help\n      print this and exit\n  --version\n      print the version and exit\n");
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool asked_for(const struct gw_config_input *input, const char *flag) {
    for (int i = 1; i < input->argc; i++) {
        if (strcmp(input->argv[i], flag) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the whole ---- */

static bool is_wildcard(const struct gw_address *address) {
    return strcmp(address->host, "0.0.0.0") == 0 || strcmp(address->host, "::") == 0 ||
           strcmp(address->host, "*") == 0;
}

static bool data_directory(struct loading *loading, char *const *environment) {
    struct gw_config *config = loading->config;
    if (config->data[0] != '\0') {
        return true;
    }
    const char *base = environment_value(environment, "XDG_DATA_HOME");
    const char *home = environment_value(environment, "HOME");
    char *directory = NULL;
    int printed = -1;
    if (base != NULL && base[0] == '/') {
        printed = asprintf(&directory, "%s/serverless-streams", base);
    } else if (home != NULL && home[0] == '/') {
        printed = asprintf(&directory, "%s/.local/share/serverless-streams", home);
    } else {
        return refuse(loading, "neither XDG_DATA_HOME nor HOME is set: say where the data goes with --data DIR");
    }
    if (printed < 0) {
        return refuse(loading, "out of memory");
    }
    free(config->data);
    config->data = directory;
    return true;
}

static bool complete(struct loading *loading, char *const *environment) {
    struct gw_config *config = loading->config;
    if (gw_address_is_none(&config->kafka) && gw_address_is_none(&config->http)) {
        return refuse(loading, "--kafka and --http are both none: there is nothing to serve");
    }
    if (is_wildcard(&config->kafka) && gw_address_is_none(&config->advertise)) {
        return refuse(loading,
                      "--kafka %s is no address that a client can connect to: say with --advertise HOST:PORT "
                      "which one to tell them",
                      config->kafka.host);
    }
    if (is_wildcard(&config->advertise)) {
        return refuse(loading, "--advertise %s is no address that a client can connect to",
                      config->advertise.host);
    }
    if (config->store[0] != '\0') {
        return true;
    }
    if (!data_directory(loading, environment)) {
        return false;
    }
    char *url = NULL;
    if (asprintf(&url, "file:%s", config->data) < 0) {
        return refuse(loading, "out of memory");
    }
    free(config->store);
    config->store = url;
    return true;
}

void gw_config_default(struct gw_config *config) {
    char message[GW_CONFIG_MESSAGE_MAX];
    struct loading loading = {.config = config, .message = message};
    set_defaults(&loading);
}

enum gw_config_outcome gw_config_load(struct gw_config *config, const struct gw_config_input *input) {
    struct loading loading = {.config = config, .message = input->message};
    set_defaults(&loading);
    if (asked_for(input, "--help")) {
        *input->text = help_text();
        return GW_CONFIG_SHOW;
    }
    if (asked_for(input, "--version")) {
        *input->text = strdup("serverless-streams " GW_VERSION "\n");
        return GW_CONFIG_SHOW;
    }
    const char *path = environment_value(input->environment, "STREAMS_CONFIG");
    if ((path != NULL && !set_text(&loading, option_named("config", 6), path)) ||
        !read_command_line(&loading, input, "config")) {
        return GW_CONFIG_BAD;
    }
    if ((config->config[0] != '\0' && !gw_properties_read(config->config, take_property, &loading, input->message)) ||
        !read_environment(&loading, input->environment) || !read_command_line(&loading, input, NULL) ||
        !complete(&loading, input->environment)) {
        return GW_CONFIG_BAD;
    }
    return GW_CONFIG_OK;
}

void gw_config_release(struct gw_config *config) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].type == TYPE_TEXT) {
            char **field = (char **)(void *)((char *)config + options[i].position);
            free(*field);
            *field = NULL;
        }
    }
}
