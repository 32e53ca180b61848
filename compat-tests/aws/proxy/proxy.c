/*
 * Stands between the engine and S3 or DynamoDB and does to their requests what networks and services do: see
 * faults.def, and rules.c for the commands. It counts what they would charge for (units.h).
 *
 *   proxy --s3 UPSTREAM --dynamodb UPSTREAM [--seed N]      UPSTREAM: HOST:PORT, plain HTTP
 *
 * It listens on free ports of loopback and prints "ready s3=HOST:PORT dynamodb=HOST:PORT control=HOST:PORT"; it ends
 * with its standard input. Requests are passed on as they came, with their Host, so that signatures stay right.
 *
 * A thread for each connection, which reads a request whole, decides, asks the server over a connection of its own, and
 * answers: what happens to a request reads from top to bottom in exchange(). Waiting is sleeping.
 *
 * With a latency, the server is asked after half of it, so that writes from several places meet there as they would far
 * away, and the answer leaves when it is over.
 */
#include "message.h"
#include "rules.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOW_BYTES_PER_S = 10 * 1024, THREAD_STACK = 512 * 1024, ACCEPT_POLL_MS = 20 };

struct door {
    enum service service;
    struct sockaddr_in upstream, here;
    int fd;
};

/* One client's connection; in the list of all while its thread runs. */
struct connection {
    struct door *door;
    struct stream client, server;
    struct message request, answer;
    bool server_used; /* the server's connection has carried a request before: it may have been closed meanwhile */
    struct connection *next, **link;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *all;

static void fail(const char *what) {
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void sleep_until(uint64_t when_ns) {
    struct timespec when = {.tv_sec = (time_t)(when_ns / 1000000000u), .tv_nsec = (long)(when_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

/* ---- what a request is ---- */

/* Where in the bucket (storage/backends/aws/README.md): the folder that the path, /bucket/key, goes through. */
static const char *object_place(const char *path) {
    static const char *const places[] = {"ingest", "checkpoints", "topics", "store"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        size_t len = strlen(places[i]);
        for (const char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
            if (strncmp(at + 1, places[i], len) == 0 && strchr("/? ", at[1 + len]) != NULL) {
                return places[i];
            }
        }
    }
    return "";
}

static enum kind s3_kind(const char *method, const char *target) {
    const char *query = strchr(target, '?');
    const char *slash = strchr(target + 1, '/'); /* path style: /bucket/key */
    bool object = slash != NULL && slash[1] != '\0' && slash[1] != '?' && (query == NULL || slash < query);
    bool upload = query != NULL && (strstr(query, "uploadId") != NULL || strstr(query, "uploads") != NULL);
    if (object && !upload) {
        return strcmp(method, "PUT") == 0      ? S3_put
               : strcmp(method, "GET") == 0    ? S3_get
               : strcmp(method, "HEAD") == 0   ? S3_head
               : strcmp(method, "DELETE") == 0 ? S3_delete
                                               : S3_other;
    }
    if (query != NULL && strcmp(method, "POST") == 0 && strncmp(query, "?delete", 7) == 0) {
        return S3_delete_objects;
    }
    return query != NULL && strcmp(method, "GET") == 0 && strstr(query, "list-type=2") != NULL ? S3_list : S3_other;
}

static enum kind dynamodb_kind(const struct message *request) {
    static const char *const targets[KINDS] = {
#define KIND(service, name, target) target,
#include "kinds.def"
#undef KIND
    };
    char target[128];
    const char *operation = NULL;
    if (message_header(request, "X-Amz-Target", target, sizeof target)) {
        operation = strchr(target, '.');
    }
    for (size_t i = 0; i < KINDS; i++) {
        if (operation != NULL && targets[i][0] != '\0' && strcmp(operation + 1, targets[i]) == 0) {
            return (enum kind)i;
        }
    }
    return DYNAMODB_other;
}

static struct request classify(const struct connection *connection, const char **place) {
    char method[16] = "", target[2048] = "", value[8];
    sscanf(connection->request.head, "%15s %2047s", method, target);
    struct request request = {.kind = DYNAMODB_other};
    *place = "";
    if (connection->door->service == DYNAMODB) {
        request.kind = dynamodb_kind(&connection->request);
    } else {
        request.kind = s3_kind(method, target);
        *place = object_place(target);
        request.conditional = message_header(&connection->request, "If-None-Match", value, sizeof value);
        request.has_object = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    }
    return request;
}

/* ---- asking the server ---- */

static bool connect_server(struct connection *connection) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    if (connect(fd, (const struct sockaddr *)&connection->door->upstream, sizeof connection->door->upstream) != 0) {
        close(fd);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    stream_init(&connection->server, fd);
    connection->server_used = false;
    return true;
}

static bool is_head(const struct connection *connection) {
    return strncmp(connection->request.head, "HEAD ", 5) == 0;
}

static enum reading read_answer(struct connection *connection) {
    enum reading got;
    do {
        got = message_read_head(&connection->server, &connection->answer);
    } while (got == READ_OK && message_status(&connection->answer) == 100);
    if (got == READ_OK && is_head(connection)) {
        connection->answer.body_len = 0;
        return READ_OK;
    }
    return got == READ_OK ? message_read_body(&connection->server, &connection->answer, BODY_MAX, 0) : got;
}

/* The request goes to the server and its answer into `answer`. A kept connection that the server has closed meanwhile
 * says nothing about the request, which goes over a new one then. */
static bool ask(struct connection *connection) {
    for (int i = 0; i < 2; i++) {
        if (connection->server.fd < 0 && !connect_server(connection)) {
            return false;
        }
        bool used = connection->server_used;
        bool sent = message_send(connection->server.fd, &connection->request, connection->request.body_len, 0);
        enum reading got = sent ? read_answer(connection) : READ_END;
        connection->server_used = true;
        if (got == READ_OK) {
            char value[16];
            if (message_header(&connection->answer, "Connection", value, sizeof value) &&
                strcasecmp(value, "close") == 0) {
                stream_close(&connection->server, false);
            }
            return true;
        }
        stream_close(&connection->server, false);
        if (got != READ_END || !used) {
            return false;
        }
    }
    return false;
}

/* ---- answering the client ---- */

/* The error as the service writes it; nothing when the request is to look carried out. */
static int make_error(enum service service, const struct fault_row *fault, char *body, size_t size) {
    if (fault->action == TAKE) {
        return 0;
    }
    if (service == DYNAMODB) {
        return snprintf(body, size, "{\"__type\":\"%s\",\"message\":\"made by the proxy\"}", fault->code);
    }
    return snprintf(body, size,
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>made by the proxy"
                    "</Message><RequestId>0</RequestId></Error>",
                    fault->code);
}

static void make_answer(struct connection *connection, const struct fault_row *fault) {
    char date[64], body[512];
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    bool s3 = connection->door->service == S3;
    int body_len = make_error(connection->door->service, fault, body, sizeof body);
    message_release(&connection->answer);
    struct message *answer = &connection->answer;
    answer->head_len = (size_t)snprintf(
        answer->head, sizeof answer->head,
        "HTTP/1.1 %d Injected\r\nDate: %s\r\nContent-Type: %s\r\nx-amz-request-id: 0\r\nx-amzn-RequestId: 0\r\n"
        "ETag: \"0\"\r\nContent-Length: %d\r\n\r\n",
        fault->status, date, s3 ? "application/xml" : "application/x-amz-json-1.0", body_len);
    answer->body = malloc((size_t)body_len + 1);
    if (answer->body == NULL) {
        fail("memory");
    }
    memcpy(answer->body, body, (size_t)body_len);
    answer->body_len = is_head(connection) ? 0 : (size_t)body_len;
}

/* False: the connection ends here, with a reset. */
static bool give(struct connection *connection, const struct plan *plan) {
    const struct fault_row *fault = &fault_rows[plan->fault];
    struct message *answer = &connection->answer;
    switch (fault->action) {
    case RESET:
        return false;
    case CUT:
        message_send(connection->client.fd, answer, answer->body_len / 2, 0);
        /* What was sent must arrive before the reset, which throws away what the client has not read. */
        sleep_until(clock_ns() + 20000000u);
        return false;
    case ERROR:
    case TAKE:
        make_answer(connection, fault);
        break;
    case HOLD:
        sleep_until(clock_ns() + plan->fault_ms * 1000000u);
        break;
    case TRICKLE:
        return message_send(connection->client.fd, answer, answer->body_len, SLOW_BYTES_PER_S);
    case GIVE:
        break;
    }
    return message_send(connection->client.fd, answer, answer->body_len, 0);
}

/* ---- one request ---- */

static void count(struct connection *connection, const struct request *request, const char *place, bool asked,
                  bool answered) {
    struct units units = {.write = 0};
    if (asked && connection->door->service == DYNAMODB) {
        units = units_count(request->kind, (const char *)connection->request.body, connection->request.body_len,
                            answered ? (const char *)connection->answer.body : NULL, connection->answer.body_len);
        place = units.place;
    }
    rules_count(request->kind, place, connection->request.body_len, answered ? connection->answer.body_len : 0,
                &units);
}

/* The half that came goes to the server, which then loses the rest. */
static void give_half(struct connection *connection) {
    if (connection->server.fd >= 0 || connect_server(connection)) {
        message_send(connection->server.fd, &connection->request, connection->request.body_len, 0);
        stream_close(&connection->server, true);
    }
}

static void close_client(struct connection *connection) {
    pthread_mutex_lock(&lock); /* cut_connections must not meet a number that is another connection's by now */
    stream_close(&connection->client, true);
    pthread_mutex_unlock(&lock);
}

/* False: the client's connection is over. */
static bool exchange(struct connection *connection) {
    enum reading got = message_read_head(&connection->client, &connection->request);
    if (got != READ_OK) {
        return false;
    }
    char expect[32];
    const char *place;
    struct request request = classify(connection, &place);
    struct plan plan = rules_plan(&request);
    const struct fault_row *fault = &fault_rows[plan.fault];
    if (message_header(&connection->request, "Expect", expect, sizeof expect)) {
        send(connection->client.fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    }
    size_t most = fault->effect == PART ? connection->request.body_len / 2 : BODY_MAX;
    if (message_read_body(&connection->client, &connection->request, most,
                          fault->action == TRICKLE ? SLOW_BYTES_PER_S : 0) != READ_OK) {
        return false;
    }
    uint64_t came = clock_ns();
    bool asked = false, answered = false;
    if (fault->effect == LATE) {
        close_client(connection);
    }
    if (fault->effect == LATE || fault->effect == HELD) {
        sleep_until(came + plan.fault_ms * 1000000u);
    }
    sleep_until(came + plan.latency_ns / 2);
    if (fault->effect == PART) {
        give_half(connection);
    } else if (fault->effect != NONE) {
        asked = true;
        answered = ask(connection);
    }
    count(connection, &request, place, asked, answered);
    sleep_until(came + plan.latency_ns);
    bool has_answer = answered || fault->effect == NONE || fault->effect == PART;
    return has_answer && fault->effect != LATE && rules_away_until(connection->door->service) == 0 &&
           give(connection, &plan);
}

static void *serve(void *arg) {
    struct connection *connection = arg;
    bool go_on = true;
    while (go_on) {
        go_on = exchange(connection);
        message_release(&connection->request);
        message_release(&connection->answer);
    }
    pthread_mutex_lock(&lock);
    *connection->link = connection->next;
    if (connection->next != NULL) {
        connection->next->link = connection->link;
    }
    pthread_mutex_unlock(&lock);
    stream_close(&connection->client, true);
    stream_close(&connection->server, false);
    free(connection);
    return NULL;
}

/* ---- doors ---- */

static void start_thread(void *(*fn)(void *arg), void *arg) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, fn, arg) != 0) {
        fail("a thread");
    }
    pthread_attr_destroy(&attributes);
}

static void start_connection(struct door *door, int fd) {
    struct connection *connection = malloc(sizeof *connection);
    int on = 1;
    if (connection == NULL) {
        fail("memory");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->door = door;
    stream_init(&connection->client, fd);
    stream_init(&connection->server, -1);
    connection->request.body = NULL;
    connection->answer.body = NULL;
    connection->answer.body_len = 0;
    pthread_mutex_lock(&lock);
    connection->next = all;
    connection->link = &all;
    if (all != NULL) {
        all->link = &connection->next;
    }
    all = connection;
    pthread_mutex_unlock(&lock);
    rules_count_connection(door->service);
    start_thread(serve, connection);
}

static int listen_at(struct sockaddr_in *address) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        fail("listen");
    }
    return fd;
}

/* Threads wake up to a closed connection and end it with a reset. */
static void cut_connections(const struct door *door) {
    pthread_mutex_lock(&lock);
    for (struct connection *connection = all; connection != NULL; connection = connection->next) {
        if (connection->door == door && connection->client.fd >= 0) {
            shutdown(connection->client.fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* While the service is away nobody listens: connections are refused, as by a host without the service. */
static void *open_door(void *arg) {
    struct door *door = arg;
    for (;;) {
        if (rules_away_until(door->service) != 0) {
            close(door->fd);
            while (rules_away_until(door->service) != 0) {
                cut_connections(door); /* also one that was accepted just now */
                sleep_until(clock_ns() + 10000000u);
            }
            door->fd = listen_at(&door->here);
        }
        struct pollfd ready = {.fd = door->fd, .events = POLLIN};
        if (poll(&ready, 1, ACCEPT_POLL_MS) == 1) {
            int client = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC);
            if (client >= 0) {
                start_connection(door, client);
            }
        }
    }
    return NULL;
}

/* ---- the control port ---- */

static void print_to(void *arg, const char *text) {
    fputs(text, arg);
}

static void *control(void *arg) {
    int fd = (int)(intptr_t)arg;
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    char line[256];
    if (in == NULL || out == NULL) {
        fail("the control port");
    }
    while (fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        rules_command(line, print_to, out);
        fflush(out);
    }
    fclose(in);
    fclose(out);
    return NULL;
}

static void *open_control(void *arg) {
    int fd = *(int *)arg;
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            start_thread(control, (void *)(intptr_t)client);
        }
    }
    return NULL;
}

/* ---- main ---- */

static struct sockaddr_in parse_address(const char *text) {
    char host[64];
    unsigned port;
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "proxy: %s: an IPv4 address with a port is due\n", text);
        exit(2);
    }
    address.sin_port = htons((uint16_t)port);
    return address;
}

static void ignore(void *arg, const char *text) {
    (void)arg;
    (void)text;
}

int main(int argc, char **argv) {
    static struct door doors[2] = {{.service = S3}, {.service = DYNAMODB}};
    bool has[2] = {false, false};
    for (int i = 1; i + 1 < argc; i += 2) {
        char command[64];
        if (strcmp(argv[i], "--seed") == 0) {
            snprintf(command, sizeof command, "seed %s", argv[i + 1]);
            rules_command(command, ignore, NULL);
        } else if (strcmp(argv[i], "--s3") == 0 || strcmp(argv[i], "--dynamodb") == 0) {
            int which = argv[i][2] == 'd';
            doors[which].upstream = parse_address(argv[i + 1]);
            has[which] = true;
        }
    }
    if (argc % 2 == 0 || !has[0] || !has[1]) {
        fprintf(stderr, "usage: proxy --s3 HOST:PORT --dynamodb HOST:PORT [--seed N]\n");
        return 2;
    }
    struct sockaddr_in control_address = parse_address("127.0.0.1:0");
    int control_fd = listen_at(&control_address);
    start_thread(open_control, &control_fd);
    for (int i = 0; i < 2; i++) {
        doors[i].here = parse_address("127.0.0.1:0"); /* a free port, which it keeps over outages */
        doors[i].fd = listen_at(&doors[i].here);
        start_thread(open_door, &doors[i]);
    }
    printf("ready s3=127.0.0.1:%u dynamodb=127.0.0.1:%u control=127.0.0.1:%u\n", ntohs(doors[0].here.sin_port),
           ntohs(doors[1].here.sin_port), ntohs(control_address.sin_port));
    fflush(stdout);
    char bytes[64];
    while (read(STDIN_FILENO, bytes, sizeof bytes) > 0) {
    }
    return 0;
}
