/*
 * The Lambda's program. Lambda starts it once an instance and freezes it between events.
 *
 *   options -> link to the runtime API -> store's URL checked -> first request for an event -> ... -> stop
 *
 * Nothing else happens before that first request: no connection but the one to the runtime API, no credentials, no TLS.
 * What an instance costs before it is useful is the time up to here, so the rest is paid by the first event that needs
 * it. What is wrong with the options is told to the runtime API in one sentence, and the program ends with status 1.
 *
 * SIGTERM comes when the instance is let go, a few hundred milliseconds before SIGKILL ("Shutdown phase" of
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html). Whatever was answered is durable, so
 * there is nothing to save; the store is given a moment to end what it has under way.
 */
#include "lambda/runtime/runtime.h"
#include "storage/runtime/log.h"
#include "storage/runtime/loop_poll.h"
#include "storage/runtime/watch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define CLOSE_NS (200 * ST_MS)

struct process {
    struct st_loop *loop;
    struct rest_link *link;
    struct rest_opener *opener;
    struct rest_runtime *runtime;
    struct rest_lambda_options options;
    struct st_watch signals;
    struct st_timer patience;
    int status;
};

static void store_closed(void *arg) {
    struct process *process = arg;
    st_timer_stop(process->loop, &process->patience);
    st_loop_poll_stop(process->loop);
}

static void patience_over(struct st_timer *timer) {
    _exit(ST_OWNER(timer, struct process, patience)->status);
}

static void ended(void *arg, int status) {
    struct process *process = arg;
    process->status = status;
    if (process->opener == NULL) {
        st_loop_poll_stop(process->loop);
        return;
    }
    st_timer_start(process->loop, &process->patience, CLOSE_NS);
    rest_opener_close(process->opener, store_closed, process);
}

static void signalled(struct st_watch *watch, unsigned events) {
    struct process *process = ST_OWNER(watch, struct process, signals);
    struct signalfd_siginfo signal;
    (void)events;
    if (read(watch->fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        rest_runtime_stop(process->runtime);
    }
}

static bool watch_signals(struct process *process) {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    process->signals.ready = signalled;
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0) {
        return false;
    }
    int fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd >= 0 && st_watch_start(process->loop, &process->signals, fd, ST_WATCH_READ);
}

/* False, with one sentence in message. */
static bool open_parts(struct process *process, char *message, size_t message_size) {
    char sentence[REST_OPTIONS_MESSAGE_MAX];
    if (!rest_lambda_options_load(&process->options, getenv, sentence)) {
        snprintf(message, message_size, "%s", sentence);
        return false;
    }
    st_log_level((enum st_log_level)process->options.log_level);
    int64_t pool = process->options.memory_bytes / 8;
    kp_blob_pool_limit((size_t)pool);
    process->opener = rest_opener_new(process->loop, &process->options, message, message_size);
    return process->opener != NULL;
}

static int run(struct process *process) {
    char message[512] = "";
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (api == NULL) {
        fprintf(stderr, "bootstrap: AWS_LAMBDA_RUNTIME_API is not set; this program is started by AWS Lambda\n");
        return 1;
    }
    process->link = rest_link_new(process->loop, api, message, sizeof message);
    if (process->link == NULL) {
        fprintf(stderr, "bootstrap: %s\n", message);
        return 1;
    }
    bool good = open_parts(process, message, sizeof message);
    process->runtime =
        rest_runtime_new(process->loop, process->link, process->opener, &process->options, ended, process);
    if (process->runtime == NULL || !watch_signals(process)) {
        fprintf(stderr, "bootstrap: out of memory or descriptors\n");
        return 1;
    }
    if (good) {
        rest_runtime_start(process->runtime);
    } else {
        fprintf(stderr, "bootstrap: %s\n", message);
        rest_runtime_refuse(process->runtime, message);
    }
    st_loop_poll_run(process->loop);
    return process->status;
}

/* Amazon's roots lie beside the program, five in place of the system's hundred and fifty, which take 20 ms to read. Who
 * names others in the environment means them. */
static void choose_roots(void) {
    const char *folder = getenv("LAMBDA_TASK_ROOT"), *others = getenv("SSL_CERT_FILE");
    char path[256];
    if (getenv("AWS_CA_BUNDLE") != NULL) {
        return;
    }
    int len = folder != NULL ? snprintf(path, sizeof path, "%s/roots.pem", folder) : 0;
    if (others != NULL) {
        setenv("AWS_CA_BUNDLE", others, 1);
    } else if (len > 0 && (size_t)len < sizeof path && access(path, R_OK) == 0) {
        setenv("AWS_CA_BUNDLE", path, 1);
    }
}

int main(void) {
    choose_roots();
    struct process process = {.patience = {.fn = patience_over}, .status = 1};
    process.loop = st_loop_poll_new();
    if (process.loop == NULL) {
        fprintf(stderr, "bootstrap: out of memory\n");
        return 1;
    }
    int status = run(&process);
    if (process.signals.events != 0) {
        st_watch_stop(process.loop, &process.signals);
        close(process.signals.fd);
    }
    rest_runtime_free(process.runtime); /* a sync of its own may have been under way until the engine was closed */
    rest_link_free(process.link);
    st_loop_poll_free(process.loop);
    return status;
}
