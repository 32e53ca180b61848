/*
 * Topic configurations as clients see them: what is in force, where it comes from, and Kafka's name for the broker-wide
 * default of the same thing (its "synonym").
 */
#ifndef GW_KAFKA_TOPIC_CONFIGS_H
#define GW_KAFKA_TOPIC_CONFIGS_H

#include "storage/engine.h"
#include "storage/topic_config.h"

enum gw_config_source { GW_SOURCE_TOPIC = 1, GW_SOURCE_STATIC_BROKER = 4, GW_SOURCE_DEFAULT = 5 };

/* The override among `configs`, the last when there are several; NULL: none. */
const struct st_config *gw_topic_config_override(const struct st_config *configs, size_t count, const char *name);
/* The value in force. */
struct kp_slice gw_topic_config_value(const struct st_config *configs, size_t count, const struct st_config_rule *rule,
                                      enum gw_config_source *source);
/* The value in force of an INT or LONG. */
int64_t gw_topic_config_number(const struct st_topic *topic, const char *name);
/* "log.cleanup.policy" for "cleanup.policy"; NULL when a broker has no such option. */
const char *gw_topic_config_synonym(const char *name);

#endif
