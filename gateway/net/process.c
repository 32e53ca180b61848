/* One libevent base without locks: everything but the workers runs on one thread. */
#include "gateway/net/process.h"

#include "storage/runtime/loop_libevent.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

struct gw_process {
    struct event_base *base;
    struct st_loop *loop;
    void (*on_signal)(void *arg);
    void *arg;
    struct event *sigterm, *sigint;
};

static void signalled(evutil_socket_t number, short what, void *arg) {
    (void)number;
    (void)what;
    struct gw_process *process = arg;
    process->on_signal(process->arg);
}

static struct event_base *base_new(void) {
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    /* Not PRECISE_TIMER: nothing here is timed finer than a millisecond, and it costs a system call a turn. */
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

struct gw_process *gw_process_new(void (*on_signal)(void *arg), void *arg) {
    struct gw_process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        return NULL;
    }
    process->on_signal = on_signal;
    process->arg = arg;
    process->base = base_new();
    process->loop = process->base == NULL ? NULL : st_loop_libevent_new(process->base);
    if (process->loop == NULL) {
        gw_process_free(process);
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN);
    if (on_signal == NULL) {
        return process;
    }
    process->sigterm = evsignal_new(process->base, SIGTERM, signalled, process);
    process->sigint = evsignal_new(process->base, SIGINT, signalled, process);
    if (process->sigterm == NULL || process->sigint == NULL || event_add(process->sigterm, NULL) != 0 ||
        event_add(process->sigint, NULL) != 0) {
        gw_process_free(process);
        return NULL;
    }
    return process;
}

struct st_loop *gw_process_loop(struct gw_process *process) {
    return process->loop;
}

void gw_process_run(struct gw_process *process) {
    event_base_loop(process->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void gw_process_stop(struct gw_process *process) {
    event_base_loopbreak(process->base);
}

void gw_process_turn(struct gw_process *process) {
    event_base_loop(process->base, EVLOOP_ONCE);
}

void gw_process_free(struct gw_process *process) {
    if (process == NULL) {
        return;
    }
    if (process->sigterm != NULL) {
        event_free(process->sigterm);
    }
    if (process->sigint != NULL) {
        event_free(process->sigint);
    }
    if (process->loop != NULL) {
        st_loop_libevent_free(process->loop);
    }
    if (process->base != NULL) {
        event_base_free(process->base);
    }
    free(process);
}

uint64_t gw_process_raise_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024;
    }
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : soft;
}
