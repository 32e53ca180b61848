/*
 * DescribeConfigs of topics and of this broker: everything in force, with where it comes from.
 *
 * A topic's configuration has its override and, as synonym, the broker-wide default behind it. The broker's are the
 * options of this gateway that are numbers or switches, and the defaults of topics under their broker-wide names. All
 * are read-only here but a topic's own.
 */
#include "gateway/kafka/dispatch.h"
#include "gateway/kafka/topic_configs.h"

#include <inttypes.h>
#include <stdlib.h>

enum resource_type { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

struct describing {
    struct gw_exchange *x;
    const struct kp_describe_configs_request_resource *asked;
    struct kp_describe_configs_response_result *out;
    int32_t capacity;
    bool failed; /* memory is out: the exchange has been failed */
};

struct entry {
    const char *name;
    struct kp_slice value;
    enum gw_config_source source;
    enum st_config_type type;
    const char *doc;
    bool read_only;
};

static bool wanted(const struct kp_describe_configs_request_resource *asked, const char *name) {
    bool all = asked->configuration_keys.count <= 0;
    for (int32_t i = 0; i < asked->configuration_keys.count && !all; i++) {
        all = kp_slice_equal(asked->configuration_keys.items[i], kp_slice_cstr(name));
    }
    return all;
}

static void add_synonym(struct kp_describe_configs_response_config *config, const char *name, struct kp_slice value,
                        enum gw_config_source source) {
    config->synonyms.items[config->synonyms.count++] = (struct kp_describe_configs_response_synonym){
        .name = kp_slice_cstr(name), .value = value, .source = (int8_t)source};
}

/* NULL: not wanted, or memory is out. Room for two synonyms is ready when they are asked for. */
static struct kp_describe_configs_response_config *add(struct describing *to, const struct entry *entry) {
    const struct kp_describe_configs_request *request = to->x->request;
    if (to->failed || to->out->configs.count == to->capacity || !wanted(to->asked, entry->name)) {
        return NULL;
    }
    struct kp_describe_configs_response_config *config = &to->out->configs.items[to->out->configs.count];
    config->name = kp_slice_cstr(entry->name);
    config->value = entry->value;
    config->read_only = entry->read_only;
    config->config_source = (int8_t)entry->source;
    config->config_type = (int8_t)entry->type;
    if (request->include_documentation) {
        config->documentation = kp_slice_cstr(entry->doc);
    }
    if (request->include_synonyms) {
        config->synonyms.items = gw_exchange_items(to->x, kp_describe_configs_response_synonym_type(), 2);
        to->failed = config->synonyms.items == NULL;
        if (to->failed) {
            return NULL;
        }
        config->synonyms.count = 0;
    }
    to->out->configs.count++;
    return config;
}

static void refuse(struct describing *to, enum kp_error error, struct kp_slice message) {
    to->out->error_code = (int16_t)error;
    to->out->error_message = message;
}

static bool make_room(struct describing *to, size_t count) {
    to->out->configs.items = gw_exchange_items(to->x, kp_describe_configs_response_config_type(), (int32_t)count);
    to->out->configs.count = 0;
    to->capacity = (int32_t)count;
    to->failed = to->out->configs.items == NULL;
    return !to->failed;
}

/* ---- topics ---- */

static void describe_topic_config(struct describing *to, const struct st_topic *topic,
                                  const struct st_config_rule *rule) {
    const struct kp_describe_configs_request *request = to->x->request;
    struct entry entry = {.name = rule->name, .type = rule->type, .doc = rule->doc};
    entry.value = gw_topic_config_value(topic->configs, topic->config_count, rule, &entry.source);
    struct kp_describe_configs_response_config *config = add(to, &entry);
    if (config == NULL || !request->include_synonyms) {
        return;
    }
    if (entry.source == GW_SOURCE_TOPIC) {
        add_synonym(config, rule->name, entry.value, GW_SOURCE_TOPIC);
    }
    const char *synonym = gw_topic_config_synonym(rule->name);
    if (synonym != NULL) {
        add_synonym(config, synonym, kp_slice_cstr(rule->value), GW_SOURCE_DEFAULT);
    }
}

static void describe_topic(struct describing *to, enum st_error sync) {
    struct kp_slice name = to->asked->resource_name;
    const struct st_topic *topic = st_topic_by_name(to->x->gateway->engine, name);
    enum st_error error = topic != NULL                ? ST_OK
                          : !st_topic_name_valid(name) ? ST_BAD_TOPIC_NAME
                          : sync != ST_OK              ? sync
                                                       : ST_NO_TOPIC;
    if (error != ST_OK) {
        refuse(to, st_error_kafka(error), kp_slice_cstr(st_error_text(error)));
        return;
    }
    if (make_room(to, st_config_rule_count)) {
        for (size_t i = 0; i < st_config_rule_count; i++) {
            describe_topic_config(to, topic, &st_config_rules[i]);
        }
    }
}

/* ---- this broker ---- */

struct option {
    const char *name, *help;
    int64_t value, initial;
    bool number; /* else a switch */
    bool wide;   /* may pass 32 bits */
};

#define OPTION_NUMBER(field, name, most, help) {name, help, config->field, initial.field, true, (most) > INT32_MAX},
#define OPTION_BYTES OPTION_NUMBER
#define OPTION_BOOL(field, name, most, help) {name, help, config->field, initial.field, false, false},
#define OPTION_ADDRESS(field, name, most, help)
#define OPTION_TEXT(field, name, most, help)
#define OPTION_CHOICE(field, name, most, help)

static void add_broker_config(struct describing *to, const struct entry *entry) {
    const struct kp_describe_configs_request *request = to->x->request;
    struct kp_describe_configs_response_config *config = add(to, entry);
    if (config != NULL && request->include_synonyms) {
        add_synonym(config, entry->name, entry->value, entry->source);
    }
}

static void describe_options(struct describing *to, const struct option *options, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        struct entry entry = {.name = option->name, .doc = option->help, .read_only = true};
        entry.source = option->value == option->initial ? GW_SOURCE_DEFAULT : GW_SOURCE_STATIC_BROKER;
        if (option->number) {
            entry.type = option->wide ? ST_CONFIG_LONG : ST_CONFIG_INT;
            entry.value = gw_exchange_text(to->x, "%" PRId64, option->value);
        } else {
            entry.type = ST_CONFIG_BOOLEAN;
            entry.value = kp_slice_cstr(option->value != 0 ? "true" : "false");
        }
        add_broker_config(to, &entry);
    }
}

static void describe_this_broker(struct describing *to) {
    const struct gw_config *config = to->x->gateway->config;
    struct gw_config initial;
    gw_config_default(&initial);
    const struct option options[] = {
#define OPTION(TYPE, field, name, value, least, most, metavar, help) OPTION_##TYPE(field, name, most, help)
#include "gateway/config.def"
#undef OPTION
    };
    gw_config_release(&initial);
    size_t count = sizeof options / sizeof options[0];
    if (!make_room(to, count + st_config_rule_count + 1)) {
        return;
    }
    describe_options(to, options, count);
    for (size_t i = 0; i < st_config_rule_count; i++) {
        const struct st_config_rule *rule = &st_config_rules[i];
        const char *name = gw_topic_config_synonym(rule->name);
        if (name != NULL) {
            add_broker_config(to, &(struct entry){.name = name,
                                                  .value = kp_slice_cstr(rule->value),
                                                  .source = GW_SOURCE_DEFAULT,
                                                  .type = rule->type,
                                                  .doc = rule->doc,
                                                  .read_only = true});
        }
    }
    add_broker_config(to, &(struct entry){.name = "default.replication.factor",
                                          .value = KP_SLICE_LIT("1"),
                                          .source = GW_SOURCE_DEFAULT,
                                          .type = ST_CONFIG_INT,
                                          .doc = "Replication is the store's; a topic is reported with one replica.",
                                          .read_only = true});
}

/* "": what is set for all brokers at once, which is nothing. */
static void describe_broker(struct describing *to) {
    struct kp_slice name = to->asked->resource_name;
    struct kp_slice own = gw_exchange_text(to->x, "%d", to->x->gateway->node_id);
    if (kp_slice_equal(name, own)) {
        describe_this_broker(to);
    } else if (name.len > 0) {
        refuse(to, KP_ERROR_INVALID_REQUEST,
               gw_exchange_text(to->x, "This is broker %d; ask a broker for its own configuration.",
                                to->x->gateway->node_id));
    }
}

/* ---- the request ---- */

static void fresh(struct gw_exchange *x, enum st_error error) {
    const struct kp_describe_configs_request *request = x->request;
    struct kp_describe_configs_response response;
    kp_init(kp_describe_configs_response_type(), &response);
    response.results.items =
        gw_exchange_items(x, kp_describe_configs_response_result_type(), request->resources.count);
    if (response.results.items == NULL) {
        return;
    }
    response.results.count = request->resources.count;
    for (int32_t i = 0; i < request->resources.count; i++) {
        struct describing to = {.x = x, .asked = &request->resources.items[i], .out = &response.results.items[i]};
        to.out->resource_type = to.asked->resource_type;
        to.out->resource_name = to.asked->resource_name;
        to.out->error_message = KP_SLICE_LIT(""); /* not null, as Apache Kafka answers */
        switch (to.asked->resource_type) {
        case RESOURCE_TOPIC:
            describe_topic(&to, error);
            break;
        case RESOURCE_BROKER:
            describe_broker(&to);
            break;
        default:
            refuse(&to, KP_ERROR_INVALID_REQUEST, KP_SLICE_LIT("Only topics and brokers have a configuration here."));
        }
        if (to.failed) {
            return;
        }
    }
    gw_exchange_answer(x, &response);
}

void gw_handle_describe_configs(struct gw_exchange *x) {
    gw_exchange_sync(x, fresh);
}
