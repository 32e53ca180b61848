/*
 * Load on a Kafka broker by librdkafka, in its default configuration except where a comment says why not.
 *
 *   load produce BOOTSTRAP TOPIC PARTITIONS SIZE BYTES      makes the topic, sends BYTES in records of SIZE, acks=all
 *   load ceiling PARTITIONS SIZE BYTES                      the same to librdkafka's mock broker, within this process
 *   load fetch BOOTSTRAP TOPIC PARTITIONS PASSES            reads the topic from its start to its end, PASSES times
 *   load latency BOOTSTRAP TOPIC SIZE RATE SECONDS          makes the topic, sends at a fixed rate and reads along
 *   load delete BOOTSTRAP TOPIC...
 *
 * Each prints one line of NAME=VALUE. MB are 10^6 bytes of record values.
 *
 * The latency run is an open loop: a record's time counts from the instant at which it was due, so a stall is seen by
 * every record that it delays. The due time travels in the record; producer and consumer share one process and clock.
 */
#include "measure.h"
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 30000,
    BATCH = 4096,
    STRIPE = 256,
    WARM_UP_SECONDS = 1,
    PARTITIONS_MAX = 1024,
    SIZE_MAX_BYTES = 1000000,
};

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        die("%s: %s", name, error);
    }
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *kafka = rd_kafka_new(type, conf, error, sizeof error);
    if (kafka == NULL) {
        die("rd_kafka_new: %s", error);
    }
    return kafka;
}

static rd_kafka_conf_t *configure(const char *bootstrap) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (bootstrap != NULL) {
        set(conf, "bootstrap.servers", bootstrap);
    }
    return conf;
}

/* Dies unless the one topic of an admin call's result was served. */
static void expect_topic_result(rd_kafka_queue_t *queue) {
    size_t count = 0;
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    const rd_kafka_topic_result_t **topics = NULL;
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("admin: %s", event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    }
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT) {
        topics = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    } else {
        topics = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    }
    for (size_t i = 0; i < count; i++) {
        if (rd_kafka_topic_result_error(topics[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("topic %s: %s", rd_kafka_topic_result_name(topics[i]),
                rd_kafka_err2str(rd_kafka_topic_result_error(topics[i])));
        }
    }
    rd_kafka_event_destroy(event);
}

/* Waits until the topic has its partitions, so that nothing measured waits for metadata. */
static void await_topic(rd_kafka_t *kafka, rd_kafka_topic_t *topic, int partitions) {
    for (uint64_t limit = now_ns() + WAIT_MS * 1000000ull; now_ns() < limit; sleep_until_ns(now_ns() + 20000000)) {
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(kafka, 0, topic, &metadata, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            continue;
        }
        bool there = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                     metadata->topics[0].partition_cnt == partitions;
        for (int i = 0; there && i < partitions; i++) {
            there = metadata->topics[0].partitions[i].leader >= 0;
        }
        rd_kafka_metadata_destroy(metadata);
        if (there) {
            return;
        }
    }
    die("the topic did not get its %d partitions", partitions);
}

static void create_topic(const char *bootstrap, const char *name, int partitions) {
    char error[256];
    rd_kafka_t *kafka = open_client(RD_KAFKA_PRODUCER, configure(bootstrap));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, error, sizeof error);
    if (topic == NULL) {
        die("topic %s: %s", name, error);
    }
    rd_kafka_CreateTopics(kafka, &topic, 1, NULL, queue);
    expect_topic_result(queue);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

static void delete_topics(const char *bootstrap, char **names, size_t count) {
    rd_kafka_t *kafka = open_client(RD_KAFKA_PRODUCER, configure(bootstrap));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(names[i]);
        rd_kafka_DeleteTopics(kafka, &topic, 1, NULL, queue);
        expect_topic_result(queue);
        rd_kafka_DeleteTopic_destroy(topic);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

/* Bytes that do not compress and are the same in every run. */
static void fill(char *bytes, size_t count) {
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (char)state;
    }
}

static void count_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    uint64_t *acknowledged = opaque;
    (void)kafka;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("a record was refused: %s", rd_kafka_err2str(message->err));
    }
    ++*acknowledged;
}

/*
 * Sends from one buffer that outlives the producer, without copying. Partitions take turns of STRIPE records: fewer
 * wake-ups of the client's own threads than a turn for each record, while every partition still has a full batch.
 */
static void send_all(rd_kafka_t *kafka, rd_kafka_topic_t *topic, int partitions, size_t size, uint64_t count,
                     const uint64_t *acknowledged) {
    static char payload[SIZE_MAX_BYTES];
    fill(payload, size);
    uint64_t began = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        int32_t partition = (int32_t)(i / STRIPE % (uint64_t)partitions);
        while (rd_kafka_produce(topic, partition, 0, payload, size, NULL, 0, NULL) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
            }
            rd_kafka_poll(kafka, 10);
        }
        if (i % STRIPE == 0) {
            rd_kafka_poll(kafka, 0);
        }
    }
    while (*acknowledged < count) {
        if (now_ns() - began > 120 * 1000000000ull) {
            die("%llu of %llu records were acknowledged in 120 s", (unsigned long long)*acknowledged,
                (unsigned long long)count);
        }
        rd_kafka_poll(kafka, 10);
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    double bytes = (double)count * (double)size;
    printf("records=%llu bytes=%.0f seconds=%.3f mb_s=%.1f records_s=%.0f\n", (unsigned long long)count, bytes,
           seconds, bytes / seconds / 1e6, (double)count / seconds);
}

static void produce(const char *bootstrap, const char *name, int partitions, size_t size, uint64_t bytes) {
    uint64_t acknowledged = 0;
    rd_kafka_conf_t *conf = configure(bootstrap);
    set(conf, "acks", "all");
    /* Deep enough that the sending thread, not the queue, is the limit; the bytes limit of 1 GiB is the default. */
    set(conf, "queue.buffering.max.messages", "300000");
    rd_kafka_conf_set_dr_msg_cb(conf, count_report);
    rd_kafka_conf_set_opaque(conf, &acknowledged);
    if (bootstrap != NULL) {
        create_topic(bootstrap, name, partitions);
    } else {
        set(conf, "test.mock.num.brokers", "1");
        set(conf, "log_level", "3");
    }
    rd_kafka_t *kafka = open_client(RD_KAFKA_PRODUCER, conf);
    if (bootstrap == NULL && rd_kafka_mock_topic_create(rd_kafka_handle_mock_cluster(kafka), name, partitions, 1) !=
                                 RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("the mock broker does not make the topic");
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, name, NULL);
    await_topic(kafka, topic, partitions);
    send_all(kafka, topic, partitions, size, bytes / size, &acknowledged);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
}

/* One pass over the topic. The clock runs from the first call for records to the arrival of the last one. */
static void fetch_pass(const char *bootstrap, const char *name, int partitions, struct histogram *passes,
                       uint64_t *records, uint64_t *bytes, uint64_t *spent) {
    static rd_kafka_message_t *messages[BATCH];
    int64_t low[PARTITIONS_MAX], high[PARTITIONS_MAX];
    uint64_t due = 0, seen = 0;
    rd_kafka_conf_t *conf = configure(bootstrap);
    /* The default of 100,000 records is reached by 10 MB of small ones and would stop fetching for a second. */
    set(conf, "queued.min.messages", "1000000");
    rd_kafka_t *kafka = open_client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, name, NULL);
    await_topic(kafka, topic, partitions);
    for (int i = 0; i < partitions; i++) {
        if (rd_kafka_query_watermark_offsets(kafka, name, i, &low[i], &high[i], WAIT_MS) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("the offsets of partition %d are not told", i);
        }
        due += (uint64_t)(high[i] - low[i]);
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    uint64_t began = now_ns();
    for (int i = 0; i < partitions; i++) {
        rd_kafka_consume_start_queue(topic, i, low[i], queue);
    }
    while (seen < due) {
        /* The call returns when it has as many as were asked for, so the last one must ask for the rest only. */
        size_t ask = due - seen < BATCH ? (size_t)(due - seen) : BATCH;
        ssize_t got = rd_kafka_consume_batch_queue(queue, WAIT_MS, messages, ask);
        if (got <= 0) {
            die("%llu of %llu records came", (unsigned long long)seen, (unsigned long long)due);
        }
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                die("fetch: %s", rd_kafka_message_errstr(messages[i]));
            }
            *bytes += messages[i]->len;
            rd_kafka_message_destroy(messages[i]);
        }
        seen += (uint64_t)got;
    }
    uint64_t took = now_ns() - began;
    histogram_add(passes, took);
    *spent += took;
    *records += seen;
    for (int i = 0; i < partitions; i++) {
        rd_kafka_consume_stop(topic, i);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
}

static void fetch(const char *bootstrap, const char *name, int partitions, uint64_t count) {
    static struct histogram passes;
    uint64_t records = 0, bytes = 0, spent = 0;
    if (partitions > PARTITIONS_MAX) {
        die("at most %d partitions", PARTITIONS_MAX);
    }
    for (uint64_t i = 0; i < count; i++) {
        fetch_pass(bootstrap, name, partitions, &passes, &records, &bytes, &spent);
    }
    double seconds = (double)spent / 1e9;
    printf("records=%llu bytes=%llu seconds=%.3f mb_s=%.1f records_s=%.0f pass_p50_ms=%.3f\n",
           (unsigned long long)records, (unsigned long long)bytes, seconds, (double)bytes / seconds / 1e6,
           (double)records / seconds, histogram_ms(&passes, 50));
}

/* A latency run. The three threads share nothing but what is written before they start, and `last` at the end. */
struct latency_run {
    rd_kafka_t *producer, *consumer;
    rd_kafka_topic_t *read_topic;
    rd_kafka_queue_t *queue;
    uint64_t measured_from; /* records due earlier are the warm-up */
    uint64_t records;
    struct histogram acks, end_to_end;
    uint64_t acknowledged;
};

static void take_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    struct latency_run *run = opaque;
    uint64_t due = (uint64_t)(uintptr_t)message->_private;
    (void)kafka;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("a record was refused: %s", rd_kafka_err2str(message->err));
    }
    if (due >= run->measured_from) {
        histogram_add(&run->acks, now_ns() - due);
    }
    run->acknowledged++;
}

static void *poll_reports(void *opaque) {
    struct latency_run *run = opaque;
    for (uint64_t limit = now_ns() + 180 * 1000000000ull; run->acknowledged < run->records;) {
        rd_kafka_poll(run->producer, 100);
        if (now_ns() > limit) {
            die("%llu of %llu records were acknowledged", (unsigned long long)run->acknowledged,
                (unsigned long long)run->records);
        }
    }
    return NULL;
}

static void *read_along(void *opaque) {
    static rd_kafka_message_t *messages[BATCH];
    struct latency_run *run = opaque;
    for (uint64_t seen = 0; seen < run->records;) {
        ssize_t got = rd_kafka_consume_batch_queue(run->queue, WAIT_MS, messages, 1);
        if (got <= 0) {
            die("%llu of %llu records came", (unsigned long long)seen, (unsigned long long)run->records);
        }
        uint64_t now = now_ns(), due;
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR || messages[i]->len < sizeof due) {
                die("fetch: %s", rd_kafka_message_errstr(messages[i]));
            }
            memcpy(&due, messages[i]->payload, sizeof due);
            if (due >= run->measured_from) {
                histogram_add(&run->end_to_end, now - due);
            }
            rd_kafka_message_destroy(messages[i]);
        }
        seen += (uint64_t)got;
    }
    return NULL;
}

static void open_both(struct latency_run *run, const char *bootstrap, const char *name) {
    rd_kafka_conf_t *conf = configure(bootstrap);
    set(conf, "acks", "all");
    set(conf, "linger.ms", "0");            /* a record leaves at once */
    set(conf, "socket.nagle.disable", "true"); /* and does not wait for the answer to the one before */
    rd_kafka_conf_set_dr_msg_cb(conf, take_report);
    rd_kafka_conf_set_opaque(conf, run);
    run->producer = open_client(RD_KAFKA_PRODUCER, conf);
    conf = configure(bootstrap);
    set(conf, "socket.nagle.disable", "true");
    run->consumer = open_client(RD_KAFKA_CONSUMER, conf);
    run->read_topic = rd_kafka_topic_new(run->consumer, name, NULL);
    await_topic(run->consumer, run->read_topic, 1);
    run->queue = rd_kafka_queue_new(run->consumer);
    rd_kafka_consume_start_queue(run->read_topic, 0, 0, run->queue);
}

static void print_latency(const char *name, const struct histogram *histogram) {
    printf(" %s_p50_ms=%.3f %s_p99_ms=%.3f %s_p999_ms=%.3f", name, histogram_ms(histogram, 50), name,
           histogram_ms(histogram, 99), name, histogram_ms(histogram, 99.9));
}

static void latency(const char *bootstrap, const char *name, size_t size, uint64_t rate, uint64_t seconds) {
    static struct latency_run run;
    static char payload[SIZE_MAX_BYTES];
    pthread_t reports, reader;
    fill(payload, size);
    create_topic(bootstrap, name, 1);
    open_both(&run, bootstrap, name);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(run.producer, name, NULL);
    await_topic(run.producer, topic, 1);
    uint64_t began = now_ns() + 100000000;
    run.measured_from = began + WARM_UP_SECONDS * 1000000000ull;
    run.records = (seconds + WARM_UP_SECONDS) * rate;
    if (pthread_create(&reports, NULL, poll_reports, &run) != 0 ||
        pthread_create(&reader, NULL, read_along, &run) != 0) {
        die("no thread to be had");
    }
    for (uint64_t i = 0; i < run.records; i++) {
        uint64_t due = began + i * 1000000000ull / rate;
        sleep_until_ns(due);
        memcpy(payload, &due, sizeof due);
        if (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, payload, size, NULL, 0, (void *)(uintptr_t)due) != 0) {
            die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
        }
    }
    pthread_join(reports, NULL);
    pthread_join(reader, NULL);
    printf("records=%llu bytes=%llu", (unsigned long long)run.acks.count, (unsigned long long)(run.acks.count * size));
    print_latency("ack", &run.acks);
    print_latency("read", &run.end_to_end);
    printf("\n");
    rd_kafka_consume_stop(run.read_topic, 0);
    rd_kafka_queue_destroy(run.queue);
    rd_kafka_topic_destroy(run.read_topic);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(run.consumer);
    rd_kafka_destroy(run.producer);
}

static size_t record_size(const char *text) {
    size_t size = number(text, sizeof(uint64_t));
    if (size > SIZE_MAX_BYTES) {
        die("a record has at most %d bytes", SIZE_MAX_BYTES);
    }
    return size;
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "produce") == 0 && argc == 7) {
        produce(argv[2], argv[3], (int)number(argv[4], 1), record_size(argv[5]), number(argv[6], 1));
    } else if (strcmp(verb, "ceiling") == 0 && argc == 5) {
        produce(NULL, "ceiling", (int)number(argv[2], 1), record_size(argv[3]), number(argv[4], 1));
    } else if (strcmp(verb, "fetch") == 0 && argc == 6) {
        fetch(argv[2], argv[3], (int)number(argv[4], 1), number(argv[5], 1));
    } else if (strcmp(verb, "latency") == 0 && argc == 7) {
        latency(argv[2], argv[3], record_size(argv[4]), number(argv[5], 1), number(argv[6], 1));
    } else if (strcmp(verb, "delete") == 0 && argc >= 4) {
        delete_topics(argv[2], argv + 3, (size_t)argc - 3);
    } else {
        die("usage: load produce|ceiling|fetch|latency|delete ..., see load.c");
    }
    return 0;
}
