/*
 * A producer at a fixed rate, an open loop, and what its acknowledgements took. It is idempotent when at most 5
 * requests may be in flight. librdkafka sends each partition's batch in a request of its own, so with few in flight
 * many partitions wait for each other.
 *
 *   pace BOOTSTRAP TOPICS PARTITIONS SIZE RATE SECONDS LINGER_MS IN_FLIGHT
 *
 * TOPICS is a comma-separated list; they exist. Records of SIZE take turns over all partitions of all topics. A
 * record's time counts from the instant at which it was due, so a stall is seen by every record that it delays; the
 * first second is not counted. IN_FLIGHT: requests of the one connection under way at once, at most. Prints one line
 * of NAME=VALUE.
 */
#include "../../bench/measure.h"
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPICS_MAX = 16, SIZE_MAX_BYTES = 100000, WARM_UP_NS = 1000000000, PATIENCE_S = 120 };

struct run {
    rd_kafka_t *kafka;
    rd_kafka_topic_t *topics[TOPICS_MAX];
    unsigned topic_count, partitions;
    uint64_t measured_from, records, acknowledged, last_ack;
    struct histogram acks;
};

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        die("%s: %s", name, error);
    }
}

static void take_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    struct run *run = opaque;
    uint64_t due = (uint64_t)(uintptr_t)message->_private;
    (void)kafka;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("a record was refused: %s", rd_kafka_err2str(message->err));
    }
    run->last_ack = now_ns();
    if (due >= run->measured_from) {
        histogram_add(&run->acks, run->last_ack - due);
    }
    run->acknowledged++;
}

static void *poll_reports(void *opaque) {
    struct run *run = opaque;
    uint64_t seen = 0, since = now_ns();
    while (run->acknowledged < run->records) {
        rd_kafka_poll(run->kafka, 100);
        since = run->acknowledged != seen ? now_ns() : since;
        seen = run->acknowledged;
        if (now_ns() - since > PATIENCE_S * 1000000000ull) {
            die("nothing was acknowledged for %d s", PATIENCE_S);
        }
    }
    return NULL;
}

static void open_producer(struct run *run, char **argv) {
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "enable.idempotence", number(argv[8], 1) <= 5 ? "true" : "false"); /* which allows no more */
    set(conf, "linger.ms", argv[7]);
    set(conf, "max.in.flight", argv[8]);
    set(conf, "socket.nagle.disable", "true");
    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "98304");
    rd_kafka_conf_set_dr_msg_cb(conf, take_report);
    rd_kafka_conf_set_opaque(conf, run);
    run->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (run->kafka == NULL) {
        die("rd_kafka_new: %s", error);
    }
    char *rest = argv[2], *name;
    while ((name = strsep(&rest, ",")) != NULL && run->topic_count < TOPICS_MAX) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(run->kafka, name, NULL);
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(run->kafka, 0, topic, &metadata, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("%s: no metadata", name);
        }
        rd_kafka_metadata_destroy(metadata);
        run->topics[run->topic_count++] = topic;
    }
}

int main(int argc, char **argv) {
    static struct run run;
    static char payload[SIZE_MAX_BYTES];
    if (argc != 9) {
        die("usage: pace BOOTSTRAP TOPICS PARTITIONS SIZE RATE SECONDS LINGER_MS IN_FLIGHT");
    }
    run.partitions = (unsigned)number(argv[3], 1);
    size_t size = number(argv[4], 1);
    uint64_t rate = number(argv[5], 1), seconds = number(argv[6], 1);
    if (size > sizeof payload) {
        die("a record has at most %d bytes", SIZE_MAX_BYTES);
    }
    memset(payload, 'x', sizeof payload);
    open_producer(&run, argv);
    uint64_t began = now_ns() + 100000000;
    run.measured_from = began + WARM_UP_NS;
    run.records = rate * (seconds + 1);
    pthread_t reports;
    if (pthread_create(&reports, NULL, poll_reports, &run) != 0) {
        die("no thread to be had");
    }
    for (uint64_t i = 0; i < run.records; i++) {
        uint64_t due = began + i * 1000000000ull / rate;
        if (due > now_ns()) {
            sleep_until_ns(due);
        }
        unsigned place = (unsigned)(i % ((uint64_t)run.topic_count * run.partitions));
        while (rd_kafka_produce(run.topics[place / run.partitions], (int32_t)(place % run.partitions),
                                RD_KAFKA_MSG_F_COPY, payload, size, NULL, 0, (void *)(uintptr_t)due) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
            }
            sleep_until_ns(now_ns() + 1000000);
        }
    }
    pthread_join(reports, NULL);
    double spent = (double)(run.last_ack - began) / 1e9;
    printf("records=%llu seconds=%.3f mb_s=%.2f p50_ms=%.2f p99_ms=%.2f p999_ms=%.2f greatest_ms=%.2f\n",
           (unsigned long long)run.records, spent, (double)run.records * (double)size / spent / 1e6,
           histogram_ms(&run.acks, 50), histogram_ms(&run.acks, 99), histogram_ms(&run.acks, 99.9),
           histogram_ms(&run.acks, 100));
    for (unsigned i = 0; i < run.topic_count; i++) {
        rd_kafka_topic_destroy(run.topics[i]);
    }
    rd_kafka_destroy(run.kafka);
    return 0;
}
