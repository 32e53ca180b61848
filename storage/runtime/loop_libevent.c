/*
 * Two libevent events serve the loop, and neither costs a system call:
 *  - `soon` is activated by hand when something is deferred while libevent runs its callbacks: it then runs in the same
 *    pass, after the sockets that were ready.
 *  - `timer` waits for the next timer. After a run that left tasks behind it is set to "at once", which libevent serves
 *    only after it has polled its sockets again: so tasks that defer tasks do not starve them.
 *
 * libevent measures with a coarse clock that it reads once a pass, so `timer` can fire a little early; the run then
 * finds nothing due and sets it again.
 */
#include "storage/runtime/loop_libevent.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define RANDOM_BUFFER 512

struct driver {
    struct st_loop *loop;
    struct event_base *base;
    struct event *soon, *timer;
    int64_t armed_ns; /* what `timer` waits for; ST_NEVER when it is off */
    bool running;     /* inside st_loop_run_due, or about to be (soon is active) */
    size_t random_left;
    uint8_t random[RANDOM_BUFFER];
};

static int64_t clock_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * ST_SECOND + ts.tv_nsec;
}

static int64_t now_mono_ns(void *self) {
    (void)self;
    return clock_ns(CLOCK_MONOTONIC);
}

static int64_t now_wall_ms(void *self) {
    (void)self;
    return clock_ns(CLOCK_REALTIME) / ST_MS;
}

static void must_random(uint8_t *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = getrandom(bytes, len, 0);
        if (n < 0 && errno != EINTR) {
            perror("getrandom");
            abort(); /* ids that repeat would lose data */
        }
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

static void random_bytes(void *self, void *bytes, size_t len) {
    struct driver *driver = self;
    if (len > RANDOM_BUFFER) {
        must_random(bytes, len);
        return;
    }
    if (driver->random_left < len) {
        must_random(driver->random, RANDOM_BUFFER);
        driver->random_left = RANDOM_BUFFER;
    }
    driver->random_left -= len;
    memcpy(bytes, driver->random + driver->random_left, len);
    memset(driver->random + driver->random_left, 0, len);
}

static void arm_timer(struct driver *driver, int64_t due_ns) {
    if (due_ns == driver->armed_ns) {
        return;
    }
    driver->armed_ns = due_ns;
    if (due_ns == ST_NEVER) {
        event_del(driver->timer);
        return;
    }
    int64_t wait = due_ns == 0 ? 0 : due_ns - clock_ns(CLOCK_MONOTONIC);
    struct timeval tv = {0, 0};
    if (wait > 0) {
        wait = (wait + 999) / 1000;
        tv.tv_sec = wait / 1000000;
        tv.tv_usec = wait % 1000000;
    }
    event_add(driver->timer, &tv);
}

static void wake_at(void *self, int64_t due_ns) {
    struct driver *driver = self;
    if (due_ns == 0 && !driver->running) {
        driver->running = true;
        event_active(driver->soon, EV_TIMEOUT, 1);
    } else {
        arm_timer(driver, due_ns);
    }
}

static void run(struct driver *driver) {
    driver->running = true;
    st_loop_run_due(driver->loop);
    driver->running = false;
}

static void soon_cb(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    run(arg);
}

static void timer_cb(evutil_socket_t fd, short what, void *arg) {
    struct driver *driver = arg;
    (void)fd;
    (void)what;
    driver->armed_ns = ST_NEVER;
    run(driver);
}

static void driver_free(struct driver *driver) {
    if (driver->soon != NULL) {
        event_free(driver->soon);
    }
    if (driver->timer != NULL) {
        event_free(driver->timer);
    }
    free(driver);
}

struct st_loop *st_loop_libevent_new(struct event_base *base) {
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        return NULL;
    }
    driver->base = base;
    driver->armed_ns = ST_NEVER;
    driver->soon = event_new(base, -1, 0, soon_cb, driver);
    driver->timer = event_new(base, -1, 0, timer_cb, driver);
    const struct st_env env = {.now_mono_ns = now_mono_ns,
                               .now_wall_ms = now_wall_ms,
                               .random = random_bytes,
                               .wake_at = wake_at,
                               .self = driver};
    if (driver->soon != NULL && driver->timer != NULL) {
        driver->loop = st_loop_new(&env);
    }
    if (driver->loop == NULL) {
        driver_free(driver);
        return NULL;
    }
    return driver->loop;
}

static struct driver *driver_of(struct st_loop *loop) {
    const struct st_env *env = st_loop_env(loop);
    return env->wake_at == wake_at ? env->self : NULL;
}

void st_loop_libevent_free(struct st_loop *loop) {
    if (loop == NULL) {
        return;
    }
    struct driver *driver = driver_of(loop);
    st_loop_free(loop);
    driver_free(driver);
}

struct event_base *st_loop_base(struct st_loop *loop) {
    struct driver *driver = driver_of(loop);
    return driver != NULL ? driver->base : NULL;
}

/* ---- descriptors ---- */

struct st_fd_watch {
    struct event *event;
    void (*readable)(void *arg);
    void *arg;
};

static void readable_cb(evutil_socket_t fd, short what, void *arg) {
    struct st_fd_watch *watch = arg;
    (void)fd;
    (void)what;
    watch->readable(watch->arg);
}

struct st_fd_watch *st_fd_watch_start(struct st_loop *loop, int fd, void (*readable)(void *arg), void *arg) {
    struct driver *driver = driver_of(loop);
    struct st_fd_watch *watch = driver != NULL ? calloc(1, sizeof *watch) : NULL;
    if (watch == NULL) {
        return NULL;
    }
    watch->readable = readable;
    watch->arg = arg;
    watch->event = event_new(driver->base, fd, EV_READ | EV_PERSIST, readable_cb, watch);
    if (watch->event == NULL || event_add(watch->event, NULL) != 0) {
        st_fd_watch_stop(watch);
        return NULL;
    }
    return watch;
}

void st_fd_watch_stop(struct st_fd_watch *watch) {
    if (watch == NULL) {
        return;
    }
    if (watch->event != NULL) {
        event_free(watch->event);
    }
    free(watch);
}
