/* The state that every driver agrees on: `events` is what is wanted now, 0 when stopped. */
#include "storage/runtime/watch.h"

bool st_watch_start(struct st_loop *loop, struct st_watch *watch, int fd, unsigned events) {
    const struct st_env *env = st_loop_env(loop);
    if (watch->events != 0 && watch->fd != fd) {
        st_watch_stop(loop, watch);
    }
    if (watch->events == events) {
        return true;
    }
    watch->fd = fd;
    if (env->watch != NULL && env->watch(env->self, watch, events)) {
        watch->events = events;
        return true;
    }
    st_watch_stop(loop, watch); /* one that could not be changed */
    return false;
}

void st_watch_stop(struct st_loop *loop, struct st_watch *watch) {
    if (watch->events != 0) {
        const struct st_env *env = st_loop_env(loop);
        env->watch(env->self, watch, 0);
        watch->events = 0;
    }
}
