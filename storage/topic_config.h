/*
 * Topic configurations: one table (topic_config.def) for what is accepted, its default and its type. A topic keeps
 * only overrides; what is not overridden has the default of the release that reads it.
 */
#ifndef ST_TOPIC_CONFIG_H
#define ST_TOPIC_CONFIG_H

#include "protocol/bytes/slice.h"

/* As DescribeConfigs v3+ numbers them (KIP-569). */
enum st_config_type {
    ST_CONFIG_BOOLEAN = 1,
    ST_CONFIG_STRING = 2,
    ST_CONFIG_INT = 3,
    ST_CONFIG_LONG = 5,
    ST_CONFIG_DOUBLE = 6,
    ST_CONFIG_LIST = 7,
};

struct st_config_rule {
    const char *name, *value, *doc; /* value: the default */
    enum st_config_type type;
    int accept;
};

extern const struct st_config_rule st_config_rules[]; /* sorted by name */
extern const size_t st_config_rule_count;

/* NULL when there is no such configuration. */
const struct st_config_rule *st_config_rule(struct kp_slice name);
bool st_config_valid(const struct st_config_rule *rule, struct kp_slice value);
/* Reads the value of an INT or LONG as the rules do: blanks around it and a sign are allowed. */
bool st_config_number(struct kp_slice value, int64_t *number);

#endif
