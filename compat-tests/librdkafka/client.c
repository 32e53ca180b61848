/*
 * librdkafka against a broker: produce with each codec, keys and headers, idempotence, fetch from an offset, list
 * offsets, and the admin calls. Each check is a line "ok FEATURE" or "not ok FEATURE: why".
 *
 *   client BOOTSTRAP
 */
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS = 2000, WAIT_MS = 15000 };

static const char *bootstrap;
static char topic[64];
static int failures;

static void ok(const char *feature) {
    printf("ok %s\n", feature);
}

static void not_ok(const char *feature, const char *why, ...) __attribute__((format(printf, 2, 3)));

static void not_ok(const char *feature, const char *why, ...) {
    va_list args;
    va_start(args, why);
    printf("not ok %s: ", feature);
    vprintf(why, args);
    printf("\n");
    va_end(args);
    failures++;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        die(name, error);
    }
}

/* What the delivery reports of one producer said. */
struct delivery {
    int reported, failed;
    int64_t offset_first, offset_last;
    int disorder; /* an offset that was not the one before + 1 */
    rd_kafka_resp_err_t error;
};

static void delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    (void)kafka;
    struct delivery *delivery = opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        delivery->failed++;
        delivery->error = message->err;
    } else {
        if (delivery->reported == delivery->failed) {
            delivery->offset_first = message->offset;
        } else if (message->offset != delivery->offset_last + 1) {
            delivery->disorder++;
        }
        delivery->offset_last = message->offset;
    }
    delivery->reported++;
}

static rd_kafka_t *new_handle(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    set(conf, "bootstrap.servers", bootstrap);
    rd_kafka_t *kafka = rd_kafka_new(type, conf, error, sizeof error);
    if (kafka == NULL) {
        die("rd_kafka_new", error);
    }
    return kafka;
}

static void produce(const char *feature, int32_t partition, const char *option, const char *value, int64_t offset_due) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "linger.ms", "5");
    set(conf, "batch.num.messages", "100");
    set(conf, option, value);
    struct delivery delivery = {0};
    rd_kafka_conf_set_opaque(conf, &delivery);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, conf);
    for (int i = 0; i < RECORDS; i++) {
        char key[32], text[64];
        snprintf(key, sizeof key, "key %d", i);
        snprintf(text, sizeof text, "%s %d of %d, and again %d", feature, i, RECORDS, i);
        rd_kafka_resp_err_t error = rd_kafka_producev(
            kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(text, strlen(text)),
            RD_KAFKA_V_HEADER("feature", feature, -1), RD_KAFKA_V_TIMESTAMP(1700000000000 + i), RD_KAFKA_V_END);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("produce", rd_kafka_err2str(error));
        }
        rd_kafka_poll(kafka, 0);
    }
    rd_kafka_flush(kafka, WAIT_MS);
    if (delivery.reported != RECORDS || delivery.failed > 0) {
        not_ok(feature, "%d of %d reported, %d failed: %s", delivery.reported, RECORDS, delivery.failed,
               rd_kafka_err2str(delivery.error));
    } else if (offset_due >= 0 && (delivery.offset_first != offset_due || delivery.disorder > 0)) {
        not_ok(feature, "first offset %ld, %ld due, %d out of order", (long)delivery.offset_first, (long)offset_due,
               delivery.disorder);
    } else {
        ok(feature);
    }
    rd_kafka_destroy(kafka);
}

/* Checks record `offset` of partition 0: `feature` tells what produce() put there. */
static bool right_record(const rd_kafka_message_t *message, const char *const *features) {
    char key[32], text[64];
    int i = (int)(message->offset % RECORDS);
    const char *feature = features[message->offset / RECORDS];
    snprintf(key, sizeof key, "key %d", i);
    snprintf(text, sizeof text, "%s %d of %d, and again %d", feature, i, RECORDS, i);
    rd_kafka_headers_t *headers;
    const void *header;
    size_t header_len;
    rd_kafka_timestamp_type_t type;
    return message->key_len == strlen(key) && memcmp(message->key, key, message->key_len) == 0 &&
           message->len == strlen(text) && memcmp(message->payload, text, message->len) == 0 &&
           rd_kafka_message_timestamp(message, &type) == 1700000000000 + i &&
           rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           rd_kafka_header_get_last(headers, "feature", &header, &header_len) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           header_len == strlen(feature) && memcmp(header, feature, header_len) == 0;
}

static void fetch(const char *feature, int64_t from, int64_t to, const char *const *features) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "group.id", "unused");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.partition.eof", "true");
    set(conf, "check.crcs", "true");
    rd_kafka_t *kafka = new_handle(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = from;
    rd_kafka_assign(kafka, list);
    int64_t next = from;
    const char *why = "";
    while (why[0] == '\0' && next < to) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, WAIT_MS);
        if (message == NULL) {
            why = "nothing came";
            break;
        }
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            why = rd_kafka_err2str(message->err);
        } else if (message->offset != next) {
            why = "not the next offset";
        } else if (!right_record(message, features)) {
            why = "another record than was sent";
        }
        next += why[0] == '\0';
        rd_kafka_message_destroy(message);
    }
    if (why[0] != '\0') {
        not_ok(feature, "%s at offset %ld", why, (long)next);
    } else {
        ok(feature);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

static void list_offsets(int64_t end) {
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    int64_t low = -1, high = -1;
    rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(kafka, topic, 0, &low, &high, WAIT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || low != 0 || high != end) {
        not_ok("list-offsets", "%s, %ld to %ld, 0 to %ld due", rd_kafka_err2str(error), (long)low, (long)high,
               (long)end);
    } else {
        ok("list-offsets");
    }
    /* The first record at or after a time: timestamps begin again with each call of produce(). */
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 1700000000000 + 777;
    error = rd_kafka_offsets_for_times(kafka, list, WAIT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || list->elems[0].offset != 777) {
        not_ok("list-offsets-time", "%s, offset %ld, 777 due", rd_kafka_err2str(error), (long)list->elems[0].offset);
    } else {
        ok("list-offsets-time");
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

/* The error of an admin result event's only topic or resource; of a described one also its max.message.bytes. */
static rd_kafka_resp_err_t admin_error(rd_kafka_event_t *event, char *config_value, size_t config_value_size) {
    size_t n = 0;
    if (event == NULL) {
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return rd_kafka_event_error(event);
    }
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
        return rd_kafka_topic_result_error(
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n)[0]);
    case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
        return rd_kafka_topic_result_error(
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n)[0]);
    default: {
        const rd_kafka_ConfigResource_t *resource =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n)[0];
        const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0) {
                snprintf(config_value, config_value_size, "%s", rd_kafka_ConfigEntry_value(entries[i]));
            }
        }
        return rd_kafka_ConfigResource_error(resource);
    }
    }
}

static void admin_check(const char *feature, rd_kafka_queue_t *queue, const char *config_due) {
    char value[32] = "";
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    rd_kafka_resp_err_t error = admin_error(event, value, sizeof value);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        not_ok(feature, "%s", rd_kafka_err2name(error));
    } else if (config_due != NULL && strcmp(value, config_due) != 0) {
        not_ok(feature, "max.message.bytes=%s, %s due", value, config_due);
    } else {
        ok(feature);
    }
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
}

static void create_topic(void) {
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic, 3, 1, NULL, 0);
    rd_kafka_NewTopic_set_config(new_topic, "max.message.bytes", "700000");
    rd_kafka_CreateTopics(kafka, &new_topic, 1, NULL, queue);
    admin_check("create-topic", queue, NULL);
    rd_kafka_NewTopic_destroy(new_topic);

    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_DescribeConfigs(kafka, &resource, 1, NULL, queue);
    admin_check("describe-configs", queue, "700000");
    rd_kafka_ConfigResource_destroy(resource);

    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    rd_kafka_resp_err_t error = rd_kafka_metadata(kafka, 0, handle, &metadata, WAIT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        not_ok("metadata", "%s", rd_kafka_err2str(error));
    } else if (metadata->topic_cnt != 1 || metadata->topics[0].partition_cnt != 3) {
        not_ok("metadata", "%d topics, %d partitions", metadata->topic_cnt, metadata->topics[0].partition_cnt);
    } else {
        ok("metadata");
    }
    if (metadata != NULL) {
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

static void delete_topic(void) {
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_DeleteTopic_t *doomed = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(kafka, &doomed, 1, NULL, queue);
    admin_check("delete-topic", queue, NULL);
    rd_kafka_DeleteTopic_destroy(doomed);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        die("usage", "client BOOTSTRAP");
    }
    bootstrap = argv[1];
    snprintf(topic, sizeof topic, "librdkafka-%d", (int)getpid());
    setvbuf(stdout, NULL, _IOLBF, 0);
    create_topic();

    static const char *const features[] = {"none", "gzip", "snappy", "lz4", "zstd", "idempotent"};
    enum { FEATURES = sizeof features / sizeof features[0] };
    for (int i = 0; i < FEATURES - 1; i++) {
        produce(features[i], 0, "compression.codec", features[i], (int64_t)i * RECORDS);
    }
    produce(features[FEATURES - 1], 0, "enable.idempotence", "true", (FEATURES - 1) * RECORDS);
    produce("acks-1", 1, "acks", "1", 0);
    produce("acks-0", 2, "acks", "0", -1); /* the client learns no offsets */
    list_offsets((int64_t)FEATURES * RECORDS);
    fetch("fetch", 0, (int64_t)FEATURES * RECORDS, features);
    fetch("fetch-from-offset", 4321, (int64_t)FEATURES * RECORDS, features);
    delete_topic();
    return failures != 0;
}
