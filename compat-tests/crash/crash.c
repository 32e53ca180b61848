/*
 * kill -9 of the real gateway at random times under an idempotent librdkafka producer.
 *
 *   crash GATEWAY ROUNDS SEED STORE     STORE: a URL for the gateway's --store, a fresh one
 *
 * One producer lives through all rounds. In each the gateway is killed while requests are under way, and started again
 * on the same port and store. Message i has a value that follows from i alone; its partition is i % PARTITIONS. What
 * must hold:
 *   - after every start: a partition ends above the last offset that was acknowledged in it;
 *   - at the end every message was acknowledged, and reading all partitions from the start gives offsets 0, 1, 2 ...
 *     without a hole, each message exactly once, whole, in the order sent, at the offset that was acknowledged.
 * The gateway is killed once more before the reading. A second gateway, on the same store and never killed, must give
 * the same. Exit status 0 and a last line "ok ..." when all holds.
 */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PARTITIONS = 4,
    MESSAGES_MAX = 400000,
    UNDER_WAY_MAX = 3000, /* messages sent and not yet acknowledged */
    VALUE_MAX = 40000,
    LIFE_MS_MAX = 700,
    PAUSE_MS_MAX = 100,
    WAIT_MS = 60000,
};
#define TOPIC "crash"

static int64_t offsets[MESSAGES_MAX]; /* acknowledged at; -1: not yet */
static int64_t acknowledged_last[PARTITIONS];
static int sent, acknowledged;
static uint64_t random_state;

struct gateway {
    pid_t pid; /* 0: not running */
    char address[64];
};
static struct gateway victim = {.address = "127.0.0.1:0"};
static struct gateway witness = {.address = "127.0.0.1:0"}; /* a second one on the same store, which nobody kills */

static void kill_gateway(struct gateway *gateway) {
    if (gateway->pid > 0) {
        kill(gateway->pid, SIGKILL);
        waitpid(gateway->pid, NULL, 0);
        gateway->pid = 0;
    }
}

static void die(const char *what, const char *why) {
    printf("not ok crash: %s: %s\n", what, why);
    kill_gateway(&victim);
    kill_gateway(&witness);
    exit(1);
}

static uint64_t random_next(void) { /* xorshift64 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(uint64_t ms) {
    struct timespec delay = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&delay, NULL);
}

/* ---- the gateway ---- */

/* On the port that it had before, if it had one. */
static void start_gateway(struct gateway *gateway, const char *program, const char *store) {
    int ends[2];
    if (pipe(ends) != 0) {
        die("pipe", strerror(errno));
    }
    gateway->pid = fork();
    if (gateway->pid < 0) {
        die("fork", strerror(errno));
    }
    if (gateway->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(program, program, "--kafka", gateway->address, "--http", "none", "--store", store, "--num.partitions",
              "4", "--log.level", "warn", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    char line[512];
    bool ready = false;
    while (!ready && out != NULL && fgets(line, sizeof line, out) != NULL) {
        ready = sscanf(line, "ready kafka=%63s", gateway->address) == 1;
    }
    if (!ready) {
        die("the gateway", "did not become ready");
    }
    fclose(out); /* it prints nothing more there */
}

/* ---- messages ---- */

/* Most are small, some so large that a flush with them does not fit into a journal entry. */
static size_t make_value(int i, char *value) {
    unsigned mixed = (unsigned)i * 2654435761u;
    size_t len = 32 + (mixed >> 8) % ((mixed >> 24) % 16 == 0 ? VALUE_MAX - 64 : 300);
    memset(value, 'a' + (int)(mixed % 26), len);
    int text = snprintf(value, 24, "%d ", i);
    value[text] = 'x'; /* over the NUL */
    return len;
}

static void delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
    (void)kafka;
    (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("a message was given up", rd_kafka_err2str(message->err));
    }
    int i = (int)(intptr_t)message->_private;
    offsets[i] = message->offset;
    if (message->offset < 0 || message->offset <= acknowledged_last[message->partition]) {
        die("an acknowledged offset", "is not above the one before it");
    }
    acknowledged_last[message->partition] = message->offset;
    acknowledged++;
}

static void produce_next(rd_kafka_t *kafka) {
    char value[VALUE_MAX];
    size_t len = make_value(sent, value);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        kafka, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(sent % PARTITIONS), RD_KAFKA_V_VALUE(value, len),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE((void *)(intptr_t)sent), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("produce", rd_kafka_err2str(error));
    }
    offsets[sent++] = -1;
}

/* ---- librdkafka ---- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        die(name, error);
    }
}

static rd_kafka_t *new_handle(rd_kafka_type_t type, rd_kafka_conf_t *conf, const struct gateway *gateway) {
    char error[256];
    set(conf, "bootstrap.servers", gateway->address);
    set(conf, "log_level", "2");
    set(conf, "reconnect.backoff.ms", "10");
    set(conf, "reconnect.backoff.max.ms", "50");
    rd_kafka_t *kafka = rd_kafka_new(type, conf, error, sizeof error);
    if (kafka == NULL) {
        die("rd_kafka_new", error);
    }
    return kafka;
}

static rd_kafka_t *new_producer(void) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "enable.idempotence", "true");
    set(conf, "message.timeout.ms", "0"); /* never gives up */
    set(conf, "linger.ms", "2");
    set(conf, "retry.backoff.ms", "20");
    set(conf, "socket.timeout.ms", "10000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    return new_handle(RD_KAFKA_PRODUCER, conf, &victim);
}

static void check_ends(rd_kafka_t *kafka) {
    for (int p = 0; p < PARTITIONS; p++) {
        int64_t low = -1, high = -1, acknowledged_before = acknowledged_last[p];
        int64_t give_up_at = now_ms() + WAIT_MS;
        rd_kafka_resp_err_t error;
        do {
            error = rd_kafka_query_watermark_offsets(kafka, TOPIC, p, &low, &high, WAIT_MS);
            if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
                error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) {
                die("lost", "the topic is unknown after a restart");
            }
        } while (error != RD_KAFKA_RESP_ERR_NO_ERROR && now_ms() < give_up_at);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            die("list offsets after a restart", rd_kafka_err2str(error));
        }
        if (low != 0 || high <= acknowledged_before) {
            char why[128];
            snprintf(why, sizeof why, "partition %d is [%ld, %ld), offset %ld was acknowledged", p, (long)low,
                     (long)high, (long)acknowledged_before);
            die("lost", why);
        }
    }
}

/* ---- reading it all ---- */

struct reading {
    int64_t offset_next[PARTITIONS];
    int last[PARTITIONS]; /* the message read before, -1: none */
    int count;
};

/* "123 xxxx" is message 123. */
static int number_of(const rd_kafka_message_t *message) {
    const char *text = message->payload;
    int64_t number = 0;
    for (size_t at = 0; at < message->len && text[at] >= '0' && text[at] <= '9' && number < MESSAGES_MAX; at++) {
        number = number * 10 + (text[at] - '0');
    }
    return (int)number;
}

static void check_message(struct reading *reading, const rd_kafka_message_t *message) {
    char value[VALUE_MAX], why[160];
    int p = message->partition;
    int i = number_of(message);
    const char *wrong = NULL;
    if (message->offset != reading->offset_next[p]) {
        wrong = "an offset is missing before";
    } else if (i >= sent || i % PARTITIONS != p || message->len != make_value(i, value) ||
               memcmp(value, message->payload, message->len) != 0) {
        wrong = "not what was sent";
    } else if (i <= reading->last[p]) {
        wrong = "doubled or out of order";
    } else if (i != (reading->last[p] < 0 ? p : reading->last[p] + PARTITIONS)) {
        wrong = "a message is missing before";
    } else if (offsets[i] != message->offset) {
        wrong = "acknowledged at another offset";
    }
    if (wrong != NULL) {
        snprintf(why, sizeof why, "message %d at offset %ld of partition %d", i, (long)message->offset, p);
        die(wrong, why);
    }
    reading->last[p] = i;
    reading->offset_next[p]++;
    reading->count++;
}

static void read_all(const struct gateway *gateway) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "group.id", "unused");
    set(conf, "enable.auto.commit", "false");
    set(conf, "check.crcs", "true");
    set(conf, "enable.partition.eof", "true");
    rd_kafka_t *kafka = new_handle(RD_KAFKA_CONSUMER, conf, gateway);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    struct reading reading = {.count = 0};
    for (int p = 0; p < PARTITIONS; p++) {
        rd_kafka_topic_partition_list_add(list, TOPIC, p)->offset = 0;
        reading.last[p] = -1;
    }
    rd_kafka_assign(kafka, list);
    for (int ends = 0; ends < PARTITIONS;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, WAIT_MS);
        if (message == NULL) {
            die("reading", "nothing came");
        }
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ends++;
        } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            check_message(&reading, message);
        } else if (message->err != RD_KAFKA_RESP_ERR__TRANSPORT &&
                   message->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
            die("reading", rd_kafka_message_errstr(message));
        }
        rd_kafka_message_destroy(message);
    }
    if (reading.count != sent) {
        char why[96];
        snprintf(why, sizeof why, "%d of %d messages read", reading.count, sent);
        die("lost", why);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: crash GATEWAY ROUNDS SEED STORE\n");
        return 2;
    }
    const char *program = argv[1], *store = argv[4];
    int rounds = (int)strtol(argv[2], NULL, 10);
    uint64_t seed = strtoull(argv[3], NULL, 10);
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int p = 0; p < PARTITIONS; p++) {
        acknowledged_last[p] = -1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu\n", (unsigned long long)seed);

    start_gateway(&victim, program, store);
    start_gateway(&witness, program, store);
    rd_kafka_t *kafka = new_producer();
    int cut = 0; /* messages that were under way when the gateway was killed */
    for (int round = 0; round < rounds; round++) {
        int acknowledged_before = acknowledged;
        int64_t kill_at = now_ms() + (int64_t)(random_next() % LIFE_MS_MAX);
        /* A round without any acknowledgement would show nothing, so it goes on until there is one. */
        int64_t give_up_at = now_ms() + WAIT_MS;
        int burst = 1 << random_next() % 9, sent_max = (int)((int64_t)MESSAGES_MAX * (round + 1) / rounds);
        while (now_ms() < kill_at || acknowledged == acknowledged_before) {
            if (now_ms() > give_up_at) {
                die("nothing acknowledged", "for a minute");
            }
            for (int n = 0; n < burst && sent - acknowledged < UNDER_WAY_MAX && sent < sent_max; n++) {
                produce_next(kafka);
            }
            rd_kafka_poll(kafka, 1);
        }
        kill_gateway(&victim);
        cut += sent - acknowledged;
        sleep_ms(random_next() % PAUSE_MS_MAX);
        start_gateway(&victim, program, store);
        check_ends(kafka);
    }
    rd_kafka_resp_err_t error = rd_kafka_flush(kafka, WAIT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || acknowledged != sent) {
        die("the rest was not acknowledged within a minute", rd_kafka_err2str(error));
    }
    rd_kafka_destroy(kafka);
    kill_gateway(&victim);
    start_gateway(&victim, program, store);
    read_all(&victim);
    read_all(&witness);
    kill_gateway(&victim);
    kill_gateway(&witness);
    printf("ok crash: %d kills, %d messages acknowledged, %d were under way at a kill\n", rounds, sent, cut);
    return 0;
}
