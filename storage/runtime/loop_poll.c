/*
 * One pass: ppoll waits for descriptors or the next timer, the watches that are ready are called, what is due runs. As
 * deferred calls make the wait zero, tasks that defer tasks do not starve the descriptors.
 *
 * Watches lie in an array beside the array of struct pollfd; a watch's `driver` is its position + 1. While watches are
 * called, one that stops leaves a hole (fd -1, which poll skips), and one that starts comes behind all those that this
 * pass looks at; holes are closed before the next wait.
 */
#include "storage/runtime/loop_poll.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "storage/runtime/system.h"
#include "storage/runtime/watch.h"

#define ROOM_AT_FIRST 16

struct driver {
    struct st_system system; /* first: see system.h */
    struct st_loop *loop;
    struct pollfd *fds;
    struct st_watch **watches; /* NULL: a hole */
    size_t count, room, holes;
    bool stopping;
};

static bool grow(struct driver *driver) {
    const size_t room = driver->room == 0 ? ROOM_AT_FIRST : 2 * driver->room;
    struct pollfd *fds = realloc(driver->fds, room * sizeof *fds);
    if (fds == NULL) {
        return false;
    }
    driver->fds = fds;
    struct st_watch **watches = realloc(driver->watches, room * sizeof(struct st_watch *));
    if (watches == NULL) {
        return false;
    }
    driver->watches = watches;
    driver->room = room;
    return true;
}

static void place(struct driver *driver, struct st_watch *watch, size_t at) {
    driver->watches[at] = watch;
    watch->driver = (void *)(at + 1);
}

static bool watch_descriptor(void *self, struct st_watch *watch, unsigned events) {
    struct driver *driver = self;
    size_t at = (size_t)watch->driver;
    if (events == 0) {
        if (at != 0) {
            driver->watches[at - 1] = NULL;
            driver->fds[at - 1].fd = -1;
            driver->holes++;
            watch->driver = NULL;
        }
        return true;
    }
    if (at == 0) {
        if (driver->count == driver->room && !grow(driver)) {
            return false;
        }
        at = ++driver->count;
        place(driver, watch, at - 1);
        driver->fds[at - 1] = (struct pollfd){.fd = watch->fd};
    }
    driver->fds[at - 1].events =
        (short)(((events & ST_WATCH_READ) != 0 ? POLLIN : 0) | ((events & ST_WATCH_WRITE) != 0 ? POLLOUT : 0));
    return true;
}

static void close_holes(struct driver *driver) {
    if (driver->holes == 0) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < driver->count; i++) {
        if (driver->watches[i] != NULL) {
            driver->fds[kept] = driver->fds[i];
            place(driver, driver->watches[i], kept++);
        }
    }
    driver->count = kept;
    driver->holes = 0;
}

static void call_ready(struct driver *driver, int ready) {
    const size_t looked_at = driver->count;
    for (size_t i = 0; i < looked_at && ready > 0; i++) {
        const short seen = driver->fds[i].revents;
        if (seen == 0) {
            continue;
        }
        ready--;
        struct st_watch *watch = driver->watches[i];
        unsigned events = ((seen & POLLIN) != 0 ? ST_WATCH_READ : 0) | ((seen & POLLOUT) != 0 ? ST_WATCH_WRITE : 0);
        if ((seen & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
            events = ST_WATCH_READ | ST_WATCH_WRITE;
        }
        if (watch != NULL && (events & watch->events) != 0) { /* an earlier call may have stopped or changed it */
            watch->ready(watch, events & watch->events);
        }
    }
}

/* False: nothing to wait for. */
static bool wait_and_call(struct driver *driver) {
    const int64_t due_ns = st_loop_due(driver->loop);
    struct timespec wait = {0, 0};
    close_holes(driver);
    if (due_ns == ST_NEVER && driver->count == 0) {
        return false;
    }
    const bool at_once = due_ns == 0 || driver->stopping;
    if (due_ns != ST_NEVER && !at_once) {
        const int64_t left = due_ns - st_system_mono_ns(NULL);
        if (left > 0) {
            wait = (struct timespec){.tv_sec = left / ST_SECOND, .tv_nsec = left % ST_SECOND};
        }
    }
    const int ready = ppoll(driver->fds, driver->count, due_ns == ST_NEVER && !at_once ? NULL : &wait, NULL);
    if (ready > 0) { /* else the time is up, or a signal came: look again */
        call_ready(driver, ready);
    }
    return true;
}

bool st_loop_poll_run(struct st_loop *loop) {
    struct driver *driver = st_loop_env(loop)->self;
    bool more;
    do {
        more = wait_and_call(driver);
        st_loop_run_due(loop);
    } while (more && !driver->stopping);
    more |= driver->stopping;
    driver->stopping = false;
    return more;
}

void st_loop_poll_stop(struct st_loop *loop) {
    struct driver *driver = st_loop_env(loop)->self;
    driver->stopping = true;
}

struct st_loop *st_loop_poll_new(void) {
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        return NULL;
    }
    const struct st_env env = {.now_mono_ns = st_system_mono_ns,
                               .now_wall_ms = st_system_wall_ms,
                               .random = st_system_random,
                               .watch = watch_descriptor,
                               .self = driver};
    driver->loop = st_loop_new(&env);
    if (driver->loop == NULL) {
        free(driver);
        return NULL;
    }
    return driver->loop;
}

void st_loop_poll_free(struct st_loop *loop) {
    if (loop == NULL) {
        return;
    }
    struct driver *driver = st_loop_env(loop)->self;
    st_loop_free(loop);
    free(driver->fds);
    free(driver->watches);
    free(driver);
}
