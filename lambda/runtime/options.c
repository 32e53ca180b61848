/* One pass over the table; see options.def for how a value is written. */
#include "lambda/runtime/options.h"

#include "storage/runtime/option_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_DEFAULT_MB 128 /* the least that a function can have */
#define MEMORY_SHARE 8

enum type { TYPE_TEXT, TYPE_NUMBER, TYPE_BYTES, TYPE_CHOICE };

struct option {
    enum type type;
    size_t position;
    const char *name, *value;
    int64_t least, most;
    const char *metavar;
};

static const struct option table[] = {
#define OPTION(type, field, name, value, least, most, metavar, help) \
    {TYPE_##type, offsetof(struct rest_lambda_options, field), name, value, least, most, metavar},
#include "lambda/runtime/options.def"
#undef OPTION
};
#define TABLE_COUNT (sizeof table / sizeof table[0])

static void environment_name(const struct option *option, char name[64]) {
    int len = snprintf(name, 64, "STREAMS_%s", option->name);
    for (int i = 0; i < len; i++) {
        name[i] = name[i] == '.' ? '_' : (char)toupper((unsigned char)name[i]);
    }
}

static bool set(struct rest_lambda_options *options, const struct option *option, const char *value) {
    void *field = (char *)options + option->position;
    switch (option->type) {
    case TYPE_TEXT:
        *(const char **)field = value;
        return true;
    case TYPE_NUMBER:
    case TYPE_BYTES: {
        int64_t number;
        bool fits = st_option_number(value, option->type == TYPE_BYTES, &number) && number >= option->least &&
                    number <= option->most;
        *(int64_t *)field = fits ? number : 0;
        return fits;
    }
    case TYPE_CHOICE:
        *(int *)field = st_option_choice(option->metavar, value);
        return *(int *)field >= 0;
    }
    return false;
}

static void set_default(struct rest_lambda_options *options, const struct option *option) {
    set(options, option, option->value);
    if (option->type == TYPE_BYTES) {
        int64_t *bytes = (int64_t *)(void *)((char *)options + option->position);
        int64_t share = options->memory_bytes / MEMORY_SHARE;
        *bytes = *bytes < share ? *bytes : share > option->least ? share : option->least;
    }
}

bool rest_lambda_options_load(struct rest_lambda_options *options, char *(*find)(const char *name),
                              char message[REST_OPTIONS_MESSAGE_MAX]) {
    const char *memory = find("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
    int64_t megabytes;
    if (memory == NULL || !st_option_number(memory, false, &megabytes) || megabytes < MEMORY_DEFAULT_MB ||
        megabytes > INT32_MAX) {
        megabytes = MEMORY_DEFAULT_MB;
    }
    *options = (struct rest_lambda_options){.memory_bytes = megabytes << 20};
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        char name[64];
        environment_name(&table[i], name);
        const char *value = find(name);
        if (value == NULL) {
            set_default(options, &table[i]);
        } else if (!set(options, &table[i], value)) {
            if (table[i].type == TYPE_CHOICE) {
                snprintf(message, REST_OPTIONS_MESSAGE_MAX, "%s must be one of %s, not \"%.64s\"", name,
                         table[i].metavar, value);
            } else {
                snprintf(message, REST_OPTIONS_MESSAGE_MAX, "%s must be a number from %lld to %lld, not \"%.64s\"",
                         name, (long long)table[i].least, (long long)table[i].most, value);
            }
            return false;
        }
    }
    if (options->store[0] == 0) {
        snprintf(message, REST_OPTIONS_MESSAGE_MAX,
                 "STREAMS_STORE is not set: it names the store, for example s3://bucket?table=name");
        return false;
    }
    return true;
}
