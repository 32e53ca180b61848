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

#include <event2/event.h>
#include <stdlib.h>

#include "storage/runtime/system.h"
#include "storage/runtime/watch.h"

struct driver {
    struct st_system system; /* first: see system.h */
    struct st_loop *loop;
    struct event_base *base;
    struct event *soon, *timer;
    int64_t armed_ns; /* what `timer` waits for; ST_NEVER when it is off */
    bool running;     /* inside st_loop_run_due, or about to be (soon is active) */
};

static void arm_timer(struct driver *driver, int64_t due_ns) {
    if (due_ns == driver->armed_ns) {
        return;
    }
    driver->armed_ns = due_ns;
    if (due_ns == ST_NEVER) {
        event_del(driver->timer);
        return;
    }
    int64_t wait = due_ns == 0 ? 0 : due_ns - st_system_mono_ns(NULL);
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

static void descriptor_cb(evutil_socket_t fd, short what, void *arg) {
    struct st_watch *watch = arg;
    (void)fd;
    watch->ready(watch, ((what & EV_READ) != 0 ? ST_WATCH_READ : 0) | ((what & EV_WRITE) != 0 ? ST_WATCH_WRITE : 0));
}

/* The event is kept while the watch lives on with other wishes, as those of a socket change with every request. */
static bool watch_descriptor(void *self, struct st_watch *watch, unsigned events) {
    struct driver *driver = self;
    struct event *event = watch->driver;
    if (events == 0) {
        event_free(event);
        watch->driver = NULL;
        return true;
    }
    const short what = (short)(EV_PERSIST | ((events & ST_WATCH_READ) != 0 ? EV_READ : 0) |
                               ((events & ST_WATCH_WRITE) != 0 ? EV_WRITE : 0));
    if (event == NULL) {
        event = event_new(driver->base, watch->fd, what, descriptor_cb, watch);
        if (event == NULL) {
            return false;
        }
    } else {
        event_del(event);
        event_assign(event, driver->base, watch->fd, what, descriptor_cb, watch);
    }
    if (event_add(event, NULL) != 0) {
        event_free(event);
        watch->driver = NULL;
        watch->events = 0;
        return false;
    }
    watch->driver = event;
    return true;
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
    const struct st_env env = {.now_mono_ns = st_system_mono_ns,
                               .now_wall_ms = st_system_wall_ms,
                               .random = st_system_random,
                               .wake_at = wake_at,
                               .watch = watch_descriptor,
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
