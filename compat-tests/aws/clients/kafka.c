/*
 * Kafka clients of a run whose history is checked (history.py has the events; they go to standard output).
 *
 *   kafka write BOOTSTRAP TOPIC PARTITIONS WRITER RATE    an idempotent producer that sends RATE records a second
 *   kafka tail BOOTSTRAP TOPIC PARTITIONS READER          reads along
 *   kafka watch BOOTSTRAP TOPIC PARTITIONS                asks for the topic and for the ends of its partitions
 *   kafka read BOOTSTRAP TOPIC PARTITIONS READER          reads everything there is, with fresh connections, and ends
 *   kafka create BOOTSTRAP TOPIC PARTITIONS
 *
 * The first three end when standard input does; `write` first waits up to a minute for what is under way.
 *
 * Records of a producer that gave up are unknown unless librdkafka says that they never left; it gives up after a
 * minute and not before, so that an outage of 20 s is bridged. A fatal error (a broken sequence) fails the run.
 */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { VALUE_MAX = 20100, UNDER_WAY_MAX = 5000, WAIT_MS = 60000, PARTITIONS_MAX = 256, WATCH_MS = 200 };

static const char *bootstrap, *topic_name, *name;
static int partitions;
static int under_way;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    fflush(stdout);
    _exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool input_ended(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    return poll(&in, 1, 0) == 1 && read(STDIN_FILENO, &byte, 1) <= 0;
}

/* ---- values ---- */

static size_t make_value(const char *writer, int64_t n, char *value) {
    uint32_t mixed = (uint32_t)n * 2654435761u;
    for (const char *at = writer; *at != '\0'; at++) {
        mixed = (mixed ^ (unsigned char)*at) * 0x01000193u;
    }
    size_t size = 40 + (mixed >> 8) % ((mixed >> 24) % 16 == 0 ? 20000 : 300);
    memset(value, 'a' + (int)(mixed % 26), size);
    int start = snprintf(value, 40, "\"%.20s %" PRId64 " ", writer, n);
    value[start] = (char)('a' + mixed % 26); /* over the NUL */
    value[size - 1] = '"';
    return size;
}

static void print_record(const rd_kafka_message_t *message) {
    char value[VALUE_MAX], start[64] = "", writer[24] = "?";
    int64_t n = -1;
    memcpy(start, message->payload, message->len < sizeof start - 1 ? message->len : sizeof start - 1);
    bool good = sscanf(start, "\"%20s %" SCNd64, writer, &n) == 2;
    good = good && make_value(writer, n, value) == message->len && memcmp(value, message->payload, message->len) == 0;
    printf("r %s %d %" PRId64 " %s %" PRId64 " %s\n", name, message->partition, message->offset, good ? writer : "?",
           good ? n : -1, good ? "good" : "bad");
}

/* ---- librdkafka ---- */

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        die("%s: %s", key, error);
    }
}

static rd_kafka_conf_t *configure(void) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "log_level", "2");
    set(conf, "reconnect.backoff.ms", "20");
    set(conf, "reconnect.backoff.max.ms", "200");
    return conf;
}

static rd_kafka_t *new_handle(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *kafka = rd_kafka_new(type, conf, error, sizeof error);
    if (kafka == NULL) {
        die("rd_kafka_new: %s", error);
    }
    return kafka;
}

static rd_kafka_t *new_consumer(void) {
    rd_kafka_conf_t *conf = configure();
    set(conf, "group.id", "unused");
    set(conf, "enable.auto.commit", "false");
    set(conf, "check.crcs", "true");
    set(conf, "enable.partition.eof", "true");
    set(conf, "auto.offset.reset", "error");
    rd_kafka_t *kafka = new_handle(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(kafka);
    return kafka;
}

/* ---- writing ---- */

static void delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    (void)kafka;
    (void)opaque;
    int64_t n = (int64_t)(intptr_t)message->_private, now = now_ns();
    under_way--;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        printf("a %" PRId64 " %s %" PRId64 " %d %" PRId64 "\n", now, name, n, message->partition, message->offset);
    } else {
        bool never_left = rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        printf("%c %" PRId64 " %s %" PRId64 " %d %s\n", never_left ? 'f' : 'u', now, name, n, message->partition,
               rd_kafka_err2name(message->err));
    }
}

static void failed(rd_kafka_t *kafka, int error, const char *reason, void *opaque) {
    (void)opaque;
    char text[256];
    if (error == RD_KAFKA_RESP_ERR__FATAL && rd_kafka_fatal_error(kafka, text, sizeof text) != 0) {
        die("%s: fatal: %s", name, text);
    }
    if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        printf("m %" PRId64 " %" PRId64 " 3\n", now_ns(), now_ns());
        fprintf(stderr, "%s: %s\n", name, reason);
    }
}

static void send_one(rd_kafka_t *kafka, int64_t n) {
    char value[VALUE_MAX];
    size_t len = make_value(name, n, value);
    int32_t partition = (int32_t)(n % partitions);
    printf("s %" PRId64 " %s %" PRId64 " %d\n", now_ns(), name, n, partition);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        kafka, RD_KAFKA_V_TOPIC(topic_name), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_VALUE(value, len),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE((void *)(intptr_t)n), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("%s: produce: %s", name, rd_kafka_err2str(error));
    }
    under_way++;
}

static void write_records(int64_t rate) {
    rd_kafka_conf_t *conf = configure();
    set(conf, "enable.idempotence", "true");
    set(conf, "message.timeout.ms", "60000");
    set(conf, "linger.ms", "5");
    set(conf, "retry.backoff.ms", "50");
    set(conf, "socket.timeout.ms", "20000");
    set(conf, "topic.metadata.propagation.max.ms", "0"); /* a topic that is called unknown is not excused */
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_error_cb(conf, failed);
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, conf);
    int64_t began = now_ns(), sent = 0;
    while (!input_ended()) {
        int64_t due = (now_ns() - began) / 1000 * rate / 1000000;
        while (sent < due && under_way < UNDER_WAY_MAX) {
            send_one(kafka, sent++);
        }
        if (under_way == UNDER_WAY_MAX) { /* an outage: what could not be sent meanwhile is not made up for */
            began = now_ns() - sent * 1000000000 / rate;
        }
        rd_kafka_poll(kafka, 2);
    }
    rd_kafka_flush(kafka, WAIT_MS + 5000);
    if (under_way != 0) {
        die("%s: %d records were neither acknowledged nor given up", name, under_way);
    }
    rd_kafka_destroy(kafka);
}

/* ---- reading ---- */

static bool passes(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR__TRANSPORT || error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
           error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR ||
           error == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT || error == RD_KAFKA_RESP_ERR__RESOLVE ||
           error == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS || error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

/* The end of each partition, asked for until it is told. */
static void read_ends(rd_kafka_t *kafka, int64_t begins[], int64_t ends[]) {
    for (int p = 0; p < partitions; p++) {
        int64_t give_up_at = now_ns() + WAIT_MS * INT64_C(1000000);
        rd_kafka_resp_err_t error;
        do {
            error = rd_kafka_query_watermark_offsets(kafka, topic_name, p, &begins[p], &ends[p], 10000);
        } while (error != RD_KAFKA_RESP_ERR_NO_ERROR && now_ns() < give_up_at);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("%s: the end of partition %d: %s", name, p, rd_kafka_err2str(error));
        }
        printf("b %s %d %" PRId64 "\n", name, p, begins[p]);
    }
}

/* Reads from the start until the ends that were told, or, with `along`, until standard input ends. */
static void read_records(bool along) {
    int64_t begins[PARTITIONS_MAX], ends[PARTITIONS_MAX], quiet_since = now_ns();
    rd_kafka_t *kafka = new_consumer();
    read_ends(kafka, begins, ends);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    int64_t left = 0;
    for (int p = 0; p < partitions; p++) {
        rd_kafka_topic_partition_list_add(list, topic_name, p)->offset = begins[p];
        left += ends[p] - begins[p];
    }
    rd_kafka_assign(kafka, list);
    while (along ? !input_ended() : left > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, 200);
        if (message == NULL) {
            if (!along && now_ns() - quiet_since > WAIT_MS * INT64_C(1000000)) {
                die("%s: nothing came for a minute, %" PRId64 " records before the end", name, left);
            }
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            print_record(message);
            left -= message->offset < ends[message->partition];
            quiet_since = now_ns();
        } else if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF && !passes(message->err)) {
            die("%s: %s", name, rd_kafka_message_errstr(message));
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

/* ---- watching ---- */

static void watch(void) {
    rd_kafka_t *kafka = new_consumer();
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, topic_name, NULL);
    for (int p = 0; !input_ended(); p = (p + 1) % partitions) {
        const struct rd_kafka_metadata *metadata;
        int64_t began = now_ns(), low, high;
        if (rd_kafka_metadata(kafka, 0, topic, &metadata, 15000) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            int code = metadata->topic_cnt == 1 ? metadata->topics[0].err : 0;
            printf("m %" PRId64 " %" PRId64 " %d\n", began, now_ns(), code);
            rd_kafka_metadata_destroy(metadata);
        }
        began = now_ns();
        rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(kafka, topic_name, p, &low, &high, 15000);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            printf("e %" PRId64 " %" PRId64 " %d %" PRId64 "\n", began, now_ns(), p, high);
        } else if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            printf("m %" PRId64 " %" PRId64 " %d\n", began, now_ns(), error);
        }
        rd_kafka_poll(kafka, WATCH_MS);
    }
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
}

static void create(void) {
    char error[256];
    rd_kafka_t *kafka = new_handle(RD_KAFKA_PRODUCER, configure());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(topic_name, partitions, 1, error, sizeof error);
    rd_kafka_CreateTopics(kafka, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    size_t count = 0;
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("create: %s", event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    }
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    if (count != 1 || rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("create: %s", count == 1 ? rd_kafka_topic_result_error_string(results[0]) : "no result");
    }
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        die("usage: kafka write|tail|watch|read|create BOOTSTRAP TOPIC PARTITIONS [NAME [RATE]]");
    }
    const char *what = argv[1];
    bootstrap = argv[2];
    topic_name = argv[3];
    partitions = (int)strtol(argv[4], NULL, 10);
    name = argc > 5 ? argv[5] : what;
    int64_t rate = argc > 6 ? strtoll(argv[6], NULL, 10) : 100;
    if (partitions < 1 || partitions > PARTITIONS_MAX || rate < 1 || strlen(name) > 20) {
        die("PARTITIONS from 1 to %d, RATE from 1 and a NAME of up to 20 characters are due", PARTITIONS_MAX);
    }
    if (strcmp(what, "write") == 0) {
        write_records(rate);
    } else if (strcmp(what, "tail") == 0 || strcmp(what, "read") == 0) {
        read_records(strcmp(what, "tail") == 0);
    } else if (strcmp(what, "watch") == 0) {
        watch();
    } else if (strcmp(what, "create") == 0) {
        create();
    } else {
        die("%s: no such thing to do", what);
    }
    return 0;
}
