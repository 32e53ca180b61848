#include "gateway/kafka/topic_configs.h"

static const struct {
    const char *topic, *broker;
} synonyms[] = {
#define SYNONYM(topic, broker) {topic, broker},
#include "gateway/kafka/topic_synonyms.def"
#undef SYNONYM
};

const struct st_config *gw_topic_config_override(const struct st_config *configs, size_t count, const char *name) {
    struct kp_slice wanted = kp_slice_cstr(name);
    for (size_t i = count; i > 0; i--) {
        if (kp_slice_equal(configs[i - 1].name, wanted)) {
            return &configs[i - 1];
        }
    }
    return NULL;
}

struct kp_slice gw_topic_config_value(const struct st_config *configs, size_t count, const struct st_config_rule *rule,
                                      enum gw_config_source *source) {
    const struct st_config *override = gw_topic_config_override(configs, count, rule->name);
    *source = override != NULL ? GW_SOURCE_TOPIC : GW_SOURCE_DEFAULT;
    return override != NULL ? override->value : kp_slice_cstr(rule->value);
}

int64_t gw_topic_config_number(const struct st_topic *topic, const char *name) {
    const struct st_config_rule *rule = st_config_rule(kp_slice_cstr(name));
    enum gw_config_source source;
    int64_t number = 0;
    if (!st_config_number(gw_topic_config_value(topic->configs, topic->config_count, rule, &source), &number)) {
        st_config_number(kp_slice_cstr(rule->value), &number);
    }
    return number;
}

const char *gw_topic_config_synonym(const char *name) {
    for (size_t i = 0; i < sizeof synonyms / sizeof synonyms[0]; i++) {
        if (strcmp(synonyms[i].topic, name) == 0) {
            return synonyms[i].broker;
        }
    }
    return NULL;
}
