/* inotify behind watch.h. */
#include "storage/backends/local/watch.h"

#include "storage/backends/local/object_file.h"
#include "storage/backends/local/writer.h"
#include "storage/runtime/loop_libevent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct st_watch {
    int fd, folder; /* the watch of the directory */
    struct st_fd_watch *readable;
    char path[PATH_MAX]; /* of the directory */
    char own[17];        /* name of our own file, whose events are no news */
    void (*heard)(void *arg);
    void *arg;
};

/* The bell of one process. False: the kernel has no more watches to give. */
static bool listen_to(struct st_watch *watch, const char *name) {
    char path[PATH_MAX + NAME_MAX + 2];
    if (strcmp(name, watch->own) == 0) {
        return true;
    }
    snprintf(path, sizeof path, "%s/%s", watch->path, name);
    return inotify_add_watch(watch->fd, path, IN_ACCESS) >= 0 || errno == ENOENT;
}

static bool listen_to_those_there(struct st_watch *watch) {
    char **names;
    size_t count;
    bool good = st_directory_names(AT_FDCWD, watch->path, &names, &count);
    for (size_t i = 0; good && i < count; i++) {
        good = listen_to(watch, names[i]);
    }
    free(names);
    return good;
}

/* Every bell, our own as well: takes no further watch. */
static void listen_to_the_directory(struct st_watch *watch) {
    inotify_add_watch(watch->fd, watch->path, IN_ACCESS);
}

/* Whether the event is news. */
static bool take_event(struct st_watch *watch, const struct inotify_event *event) {
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        listen_to_the_directory(watch); /* a new process may be among what was dropped */
        return true;
    }
    if (event->wd != watch->folder) {
        return (event->mask & IN_ACCESS) != 0;
    }
    if (event->len == 0 || strcmp(event->name, watch->own) == 0) {
        return false;
    }
    if ((event->mask & IN_CREATE) != 0 && !listen_to(watch, event->name)) {
        listen_to_the_directory(watch);
    }
    return true; /* also of a new process: it may have committed before we listened to it */
}

static void readable(void *arg) {
    struct st_watch *watch = arg;
    bool news = false;
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t got = read(watch->fd, buffer, sizeof buffer); /* of more than that we are told again */
    const struct inotify_event *event;
    for (char *at = buffer; at < buffer + got; at += sizeof *event + event->len) {
        event = (const struct inotify_event *)(const void *)at;
        news |= take_event(watch, event);
    }
    if (news) {
        watch->heard(watch->arg);
    }
}

struct st_watch *st_watch_new(struct st_loop *loop, const char *directory, uint64_t own, void (*heard)(void *arg),
                              void *arg) {
    struct st_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return NULL;
    }
    snprintf(watch->own, sizeof watch->own, "%016" PRIx64, own);
    watch->heard = heard;
    watch->arg = arg;
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd >= 0 &&
        snprintf(watch->path, sizeof watch->path, "%s/" ST_WRITERS, directory) < (int)sizeof watch->path) {
        watch->folder = inotify_add_watch(watch->fd, watch->path, IN_CREATE);
    }
    if (watch->folder > 0) { /* they count from 1 */
        if (!listen_to_those_there(watch)) {
            listen_to_the_directory(watch);
        }
        watch->readable = st_fd_watch_start(loop, watch->fd, readable, watch);
    }
    if (watch->readable == NULL) {
        st_watch_free(watch);
        return NULL;
    }
    return watch;
}

void st_watch_free(struct st_watch *watch) {
    if (watch == NULL) {
        return;
    }
    if (watch->readable != NULL) {
        st_fd_watch_stop(watch->readable);
    }
    if (watch->fd >= 0) {
        close(watch->fd);
    }
    free(watch);
}
