/* inotify behind bells.h. */
#include "storage/backends/local/bells.h"

#include "storage/backends/local/object_file.h"
#include "storage/backends/local/writer.h"
#include "storage/runtime/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct st_bells {
    int fd, folder; /* the watch of the directory */
    struct st_watch readable;
    struct st_loop *loop;
    char path[PATH_MAX]; /* of the directory */
    char own[17];        /* name of our own file, whose events are no news */
    void (*heard)(void *arg);
    void *arg;
};

/* The bell of one process. False: the kernel has no more watches to give. */
static bool listen_to(struct st_bells *bells, const char *name) {
    char path[PATH_MAX + NAME_MAX + 2];
    if (strcmp(name, bells->own) == 0) {
        return true;
    }
    snprintf(path, sizeof path, "%s/%s", bells->path, name);
    return inotify_add_watch(bells->fd, path, IN_ACCESS) >= 0 || errno == ENOENT;
}

static bool listen_to_those_there(struct st_bells *bells) {
    char **names;
    size_t count;
    bool good = st_directory_names(AT_FDCWD, bells->path, &names, &count);
    for (size_t i = 0; good && i < count; i++) {
        good = listen_to(bells, names[i]);
    }
    free(names);
    return good;
}

/* Every bell, our own as well: takes no further watch. */
static void listen_to_the_directory(struct st_bells *bells) {
    inotify_add_watch(bells->fd, bells->path, IN_ACCESS);
}

/* Whether the event is news. */
static bool take_event(struct st_bells *bells, const struct inotify_event *event) {
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        listen_to_the_directory(bells); /* a new process may be among what was dropped */
        return true;
    }
    if (event->wd != bells->folder) {
        return (event->mask & IN_ACCESS) != 0;
    }
    if (event->len == 0 || strcmp(event->name, bells->own) == 0) {
        return false;
    }
    if ((event->mask & IN_CREATE) != 0 && !listen_to(bells, event->name)) {
        listen_to_the_directory(bells);
    }
    return true; /* also of a new process: it may have committed before we listened to it */
}

static void readable(struct st_watch *watch, unsigned events) {
    struct st_bells *bells = ST_OWNER(watch, struct st_bells, readable);
    (void)events;
    bool news = false;
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t got = read(bells->fd, buffer, sizeof buffer); /* of more than that we are told again */
    const struct inotify_event *event;
    for (char *at = buffer; at < buffer + got; at += sizeof *event + event->len) {
        event = (const struct inotify_event *)(const void *)at;
        news |= take_event(bells, event);
    }
    if (news) {
        bells->heard(bells->arg);
    }
}

struct st_bells *st_bells_new(struct st_loop *loop, const char *directory, uint64_t own, void (*heard)(void *arg),
                              void *arg) {
    struct st_bells *bells = calloc(1, sizeof *bells);
    if (bells == NULL) {
        return NULL;
    }
    snprintf(bells->own, sizeof bells->own, "%016" PRIx64, own);
    bells->heard = heard;
    bells->arg = arg;
    bells->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (bells->fd >= 0 &&
        snprintf(bells->path, sizeof bells->path, "%s/" ST_WRITERS, directory) < (int)sizeof bells->path) {
        bells->folder = inotify_add_watch(bells->fd, bells->path, IN_CREATE);
    }
    if (bells->folder > 0) { /* they count from 1 */
        if (!listen_to_those_there(bells)) {
            listen_to_the_directory(bells);
        }
        bells->readable.ready = readable;
        bells->loop = loop;
    }
    if (bells->folder <= 0 || !st_watch_start(loop, &bells->readable, bells->fd, ST_WATCH_READ)) {
        st_bells_free(bells);
        return NULL;
    }
    return bells;
}

void st_bells_free(struct st_bells *bells) {
    if (bells == NULL) {
        return;
    }
    st_watch_stop(bells->loop, &bells->readable);
    if (bells->fd >= 0) {
        close(bells->fd);
    }
    free(bells);
}
