/* inotify behind watch.h. */
#include "storage/backends/local/watch.h"

#include "storage/backends/local/writer.h"
#include "storage/runtime/loop_libevent.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct st_watch {
    int fd;
    struct st_fd_watch *readable;
    char own[17]; /* name of our own file, whose events are no news */
    void (*heard)(void *arg);
    void *arg;
};

static void readable(void *arg) {
    struct st_watch *watch = arg;
    bool news = false;
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t got;
    while ((got = read(watch->fd, buffer, sizeof buffer)) > 0) {
        const struct inotify_event *event;
        for (char *at = buffer; at < buffer + got; at += sizeof *event + event->len) {
            event = (const struct inotify_event *)(const void *)at;
            bool dropped = (event->mask & IN_Q_OVERFLOW) != 0;
            news |= dropped || (event->len > 0 && strcmp(event->name, watch->own) != 0);
        }
    }
    if (news) {
        watch->heard(watch->arg);
    }
}

struct st_watch *st_watch_new(struct st_loop *loop, const char *directory, uint64_t own, void (*heard)(void *arg),
                              void *arg) {
    char path[PATH_MAX];
    struct st_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return NULL;
    }
    snprintf(watch->own, sizeof watch->own, "%016" PRIx64, own);
    watch->heard = heard;
    watch->arg = arg;
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd >= 0 && snprintf(path, sizeof path, "%s/" ST_WRITERS, directory) < (int)sizeof path &&
        inotify_add_watch(watch->fd, path, IN_ACCESS) >= 0) {
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
