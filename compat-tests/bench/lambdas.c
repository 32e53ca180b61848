/*
 * Many instances of the Lambda that write one topic at once, and the runtime API for all of them.
 *
 *   lambdas BOOTSTRAP INSTANCES TOPIC PAYLOAD_BYTES FEW FEW_SECONDS WARM_SECONDS SECONDS
 *
 * The double of compat-tests/lambda can do far more, for a quarter of a core: on a small machine that is a part of what
 * is measured. Here one loop serves every instance, and all it can do is give the next event. Each instance has a port
 * of its own, since the runtime API tells instances apart by nothing else. An event is an HTTP API's, one record of
 * PAYLOAD_BYTES, random letters, which hardly compress; an instance gets the next as soon as it has answered, and
 * whatever is not a 200 ends the program.
 *
 *   FEW_SECONDS    only FEW get events: the table server compiles what it runs, and is too slow for all until then
 *   WARM_SECONDS   all do, from here on; then "measure" is printed, and the load goes on until a line is read
 *   SECONDS        measured; then "measured" is printed, and no event is given any more
 *
 * The caller resets its counters at the first word and reads them at the second. At the end a line of NAME=VALUE: of
 * the requests that began and ended within the measured time. Instances end with this program, however it ends.
 */
#include "measure.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { INSTANCES_MAX = 200, PAYLOAD_MAX = 1 << 20, REQUEST_BYTES = 16384, LOOK_MS = 100 };
enum { PATIENCE_S = 40, SEND_S = 10, DRAIN_S = 10, TERMINATE_S = 2 };
#define MS 1000000ull
#define SECOND (1000 * MS)
#define API "/2018-06-01/runtime/"

enum state { AWAY, ASKING, BUSY };

struct instance {
    pid_t pid;
    int listener, fd; /* fd is -1 while it is not connected */
    enum state state;
    uint64_t since; /* when the state began; a busy one's is when it got its event */
    uint64_t events;
    char id[40]; /* of the event that it got last */
    size_t used;
    char request[REQUEST_BYTES + 1];
};

static struct instance instances[INSTANCES_MAX];
static size_t instance_count, giving; /* so many of them get events, the first ones */
static char *event, *payload_at;
static size_t event_len, payload_len;
static uint64_t began, ended; /* of what is measured */
static struct histogram latency;

static size_t number_of(const struct instance *instance) {
    return (size_t)(instance - instances);
}

static void enter(struct instance *instance, enum state state) {
    instance->state = state;
    instance->since = now_ns();
}

/* ---- instances as processes ---- */

/* Returns the port. */
static unsigned listen_for(struct instance *instance) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    instance->fd = -1;
    instance->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (instance->listener < 0 || bind(instance->listener, (const struct sockaddr *)&here, sizeof here) != 0 ||
        listen(instance->listener, 4) != 0 || getsockname(instance->listener, (struct sockaddr *)&here, &size) != 0) {
        die("no port for instance %zu: %s", number_of(instance), strerror(errno));
    }
    return ntohs(here.sin_port);
}

/* The child's part. Standard output is the caller's, who reads lines from it. */
static void become(const char *bootstrap, unsigned port, pid_t parent) {
    char address[32];
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && dup2(nothing, STDIN_FILENO) >= 0 &&
        dup2(nothing, STDOUT_FILENO) >= 0 && setenv("AWS_LAMBDA_RUNTIME_API", address, 1) == 0 &&
        setenv("AWS_LAMBDA_FUNCTION_NAME", "streams", 1) == 0 &&
        setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512", 1) == 0) {
        execl(bootstrap, bootstrap, (char *)NULL);
    }
    _exit(127);
}

static void start_instance(struct instance *instance, const char *bootstrap) {
    unsigned port = listen_for(instance);
    pid_t parent = getpid();
    instance->pid = fork();
    if (instance->pid == 0) {
        become(bootstrap, port, parent);
    }
    if (instance->pid < 0) {
        die("instance %zu cannot be started: %s", number_of(instance), strerror(errno));
    }
    enter(instance, AWAY);
}

/* Dies when an instance has ended, or does nothing. */
static void look(void) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    uint64_t now = now_ns();
    for (size_t i = 0; i < instance_count; i++) {
        if (instances[i].pid == pid) {
            die("instance %zu has ended, with %s %d", i, WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
        if (instances[i].state != ASKING && now - instances[i].since > PATIENCE_S * SECOND) {
            die("instance %zu has not %s for %d s", i,
                instances[i].state == BUSY ? "answered its event" : "asked for an event", PATIENCE_S);
        }
    }
}

static void end_instances(void) {
    for (size_t i = 0; i < instance_count; i++) {
        kill(instances[i].pid, SIGTERM);
    }
    uint64_t until = now_ns() + TERMINATE_S * SECOND;
    for (size_t i = 0; i < instance_count; i++) {
        while (waitpid(instances[i].pid, NULL, WNOHANG) == 0) {
            uint64_t now = now_ns();
            if (now >= until) {
                kill(instances[i].pid, SIGKILL);
                waitpid(instances[i].pid, NULL, 0);
                break;
            }
            sleep_until_ns(now + 5 * MS);
        }
    }
}

/* ---- the runtime API ---- */

static void compose(const char *topic, size_t payload) {
    static const char end[] = "\\\"}\"}";
    size_t room = payload + strlen(topic) * 2 + 2048;
    event = malloc(room);
    if (event == NULL) {
        die("out of memory");
    }
    int len = snprintf(event, room,
                       "{\"version\":\"2.0\",\"routeKey\":\"$default\",\"rawPath\":\"/topics/%s/produce\","
                       "\"rawQueryString\":\"\",\"headers\":{\"accept\":\"*/*\","
                       "\"host\":\"example.execute-api.us-east-1.amazonaws.com\",\"user-agent\":\"curl/8.5.0\","
                       "\"x-forwarded-for\":\"192.0.2.1\",\"x-forwarded-port\":\"443\","
                       "\"x-forwarded-proto\":\"https\",\"content-type\":\"application/json\"},"
                       "\"requestContext\":{\"accountId\":\"000000000000\",\"apiId\":\"example\","
                       "\"domainName\":\"example.execute-api.us-east-1.amazonaws.com\",\"domainPrefix\":\"example\","
                       "\"http\":{\"method\":\"POST\",\"path\":\"/topics/%s/produce\",\"protocol\":\"HTTP/1.1\","
                       "\"sourceIp\":\"192.0.2.1\",\"userAgent\":\"curl/8.5.0\"},\"requestId\":\"JKJaXmPLvHcESHA=\","
                       "\"routeKey\":\"$default\",\"stage\":\"$default\","
                       "\"time\":\"09/Apr/2026:12:34:56 +0000\",\"timeEpoch\":1775738096000},"
                       "\"isBase64Encoded\":false,\"body\":\"{\\\"payload\\\":\\\"",
                       topic, topic);
    if (len < 0 || (size_t)len >= room - payload - sizeof end) {
        die("the event has %d bytes and its payload, more than there is room for", len);
    }
    payload_at = event + len;
    payload_len = payload;
    memcpy(payload_at + payload, end, sizeof end);
    event_len = (size_t)len + payload + sizeof end - 1;
}

static void compose_payload(void) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static uint64_t chance = 1;
    for (size_t i = 0; i < payload_len; i++) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        payload_at[i] = letters[chance >> 58];
    }
}

static void reply(const struct instance *instance, const char *head, char *body, size_t body_len) {
    char lines[640];
    int len = snprintf(lines, sizeof lines, "%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", head,
                       body_len);
    struct iovec parts[] = {{lines, (size_t)len}, {body, body_len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (sendmsg(instance->fd, &message, MSG_NOSIGNAL) != (ssize_t)((size_t)len + body_len)) {
        die("instance %zu cannot be sent to: %s", number_of(instance), strerror(errno));
    }
}

static void give(struct instance *instance) {
    char head[512];
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    snprintf(instance->id, sizeof instance->id, "%08zx-0000-4000-8000-%012llx", number_of(instance),
             (unsigned long long)instance->events++);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %s\r\nLambda-Runtime-Deadline-Ms: %lld\r\n"
             "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:streams\r\n"
             "Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
             instance->id, ((long long)wall.tv_sec + PATIENCE_S) * 1000 + wall.tv_nsec / 1000000);
    enter(instance, BUSY);
    compose_payload();
    reply(instance, head, event, event_len);
}

static void take_answer(struct instance *instance, const char *body) {
    static char receipt[] = "{\"status\":\"OK\"}";
    char due[128];
    int status = 0;
    uint64_t now = now_ns();
    snprintf(due, sizeof due, "POST " API "invocation/%s/response ", instance->id);
    if (instance->state != BUSY || strncmp(instance->request, due, strlen(due)) != 0) {
        die("instance %zu sent, in place of an answer, %.*s: %.300s", number_of(instance),
            (int)strcspn(instance->request, "\r"), instance->request, body);
    }
    if (sscanf(body, "{\"statusCode\":%d", &status) != 1 || status != 200) {
        die("instance %zu answered its event number %llu with what is no 200: %.300s", number_of(instance),
            (unsigned long long)instance->events, body);
    }
    if (began != 0 && instance->since >= began && now <= ended) {
        histogram_add(&latency, now - instance->since);
    }
    enter(instance, AWAY);
    reply(instance, "HTTP/1.1 202 Accepted", receipt, sizeof receipt - 1);
}

/* The connection has ended: with the process, as look() will find, or the program makes another and asks again. */
static void drop(struct instance *instance) {
    close(instance->fd);
    instance->fd = -1;
    instance->used = 0;
    if (instance->state == ASKING) {
        enter(instance, AWAY);
    }
}

static void take(struct instance *instance) {
    static const char next[] = "GET " API "invocation/next ";
    char *request = instance->request;
    ssize_t got = recv(instance->fd, request + instance->used, REQUEST_BYTES - instance->used, 0);
    if (got <= 0) {
        drop(instance);
        return;
    }
    instance->used += (size_t)got;
    request[instance->used] = '\0';
    const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\ncontent-length:");
    size_t whole = end == NULL ? SIZE_MAX : (size_t)(end + 4 - request);
    if (end != NULL && length != NULL && length < end) {
        whole += strtoul(length + 17, NULL, 10);
    }
    if (instance->used < whole) {
        if (instance->used == REQUEST_BYTES) {
            die("instance %zu sent a request of more than %d bytes", number_of(instance), REQUEST_BYTES);
        }
        return;
    }
    instance->used = 0;
    if (instance->state == AWAY && strncmp(request, next, strlen(next)) == 0) {
        enter(instance, ASKING);
    } else {
        take_answer(instance, end + 4);
    }
}

static void take_connection(struct instance *instance) {
    int on = 1;
    struct timeval patience = {.tv_sec = SEND_S};
    instance->fd = accept4(instance->listener, NULL, NULL, SOCK_CLOEXEC);
    if (instance->fd >= 0) {
        setsockopt(instance->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(instance->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    } else if (errno != EAGAIN && errno != ECONNABORTED) {
        die("instance %zu cannot be connected: %s", number_of(instance), strerror(errno));
    }
}

/* ---- phases ---- */

/* Gives what is due and waits once, until `until` at most, for what comes. Returns whether the line that is awaited has
 * come. */
static bool step(uint64_t until, bool await_line) {
    static struct pollfd polled[INSTANCES_MAX + 1];
    static uint64_t next_look;
    uint64_t now = now_ns();
    if (now >= next_look) {
        look();
        next_look = now + LOOK_MS * MS;
    }
    for (size_t i = 0; i < instance_count; i++) {
        struct instance *instance = &instances[i];
        if (i < giving && instance->state == ASKING) {
            give(instance);
        }
        polled[i] = (struct pollfd){.fd = instance->fd >= 0 ? instance->fd : instance->listener, .events = POLLIN};
    }
    polled[instance_count] = (struct pollfd){.fd = await_line ? STDIN_FILENO : -1, .events = POLLIN};
    uint64_t left = until > now ? until - now : 0;
    if (poll(polled, instance_count + 1, left < LOOK_MS * MS ? (int)(left / MS) + 1 : LOOK_MS) < 0) {
        die("poll: %s", strerror(errno));
    }
    for (size_t i = 0; i < instance_count; i++) {
        if (polled[i].revents != 0 && instances[i].fd >= 0) {
            take(&instances[i]);
        } else if (polled[i].revents != 0) {
            take_connection(&instances[i]);
        }
    }
    return polled[instance_count].revents != 0;
}

static void serve_until(uint64_t until) {
    while (now_ns() < until) {
        step(until, false);
    }
}

static size_t count(enum state state) {
    size_t found = 0;
    for (size_t i = 0; i < instance_count; i++) {
        found += instances[i].state == state;
    }
    return found;
}

static void say(const char *word) {
    puts(word);
    fflush(stdout);
}

static void await_line(void) {
    char line[80];
    while (!step(UINT64_MAX, true)) {
    }
    if (read(STDIN_FILENO, line, sizeof line) <= 0) {
        die("standard input ended before the line that is awaited there");
    }
}

static void drain(void) {
    giving = 0;
    uint64_t until = now_ns() + DRAIN_S * SECOND;
    while (count(BUSY) > 0 && now_ns() < until) {
        step(until, false);
    }
    if (count(BUSY) > 0) {
        die("%zu instances have not answered %d s after the end", count(BUSY), DRAIN_S);
    }
}

int main(int argc, char **argv) {
    static const char usage[] = "usage: lambdas BOOTSTRAP INSTANCES TOPIC PAYLOAD_BYTES FEW FEW_SECONDS WARM_SECONDS "
                                "SECONDS";
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        say(usage);
        return 0;
    }
    if (argc != 9) {
        die("%s", usage);
    }
    size_t count_due = number(argv[2], 1), payload = number(argv[4], 1), few = number(argv[5], 0);
    uint64_t few_s = number(argv[6], 0), warm_s = number(argv[7], 0), seconds = number(argv[8], 1);
    if (count_due > INSTANCES_MAX || payload > PAYLOAD_MAX || few > count_due) {
        die("up to %d INSTANCES, FEW no more than those, and up to %d PAYLOAD_BYTES are due", INSTANCES_MAX,
            PAYLOAD_MAX);
    }
    if (access(argv[1], X_OK) != 0) {
        die("%s cannot be run: %s", argv[1], strerror(errno));
    }
    compose(argv[3], payload);
    while (instance_count < count_due) {
        start_instance(&instances[instance_count++], argv[1]);
    }
    while (count(ASKING) < instance_count) {
        step(UINT64_MAX, false);
    }
    giving = few;
    serve_until(now_ns() + few_s * SECOND);
    giving = instance_count;
    serve_until(now_ns() + warm_s * SECOND);
    say("measure");
    await_line();
    began = now_ns();
    ended = began + seconds * SECOND;
    serve_until(ended);
    say("measured");
    drain();
    end_instances();
    if (latency.count == 0) {
        die("no request began and ended within %llu s", (unsigned long long)seconds);
    }
    printf("records=%llu seconds=%.3f rate=%.1f p50_ms=%.3f p99_ms=%.3f max_ms=%.3f\n",
           (unsigned long long)latency.count, (double)seconds, (double)latency.count / (double)seconds,
           histogram_ms(&latency, 50), histogram_ms(&latency, 99), histogram_ms(&latency, 100));
    free(event);
    return 0;
}
