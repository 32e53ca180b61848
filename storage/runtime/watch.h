/*
 * Readiness of descriptors, for code that brings its own sockets: the bell of the workers, libcurl, the Lambda's
 * runtime client. The driver of a loop supplies it (struct st_env); the simulator's loops have none.
 */
#ifndef ST_WATCH_H
#define ST_WATCH_H

#include "storage/runtime/loop.h"

#define ST_WATCH_READ 1u
#define ST_WATCH_WRITE 2u

/* Embedded in its owner's struct. `ready` runs from the loop, again and again while the descriptor is ready for any of
 * `events`; errors and hang-ups count as readable and writable. It may change or stop the watch, and close the
 * descriptor after that. */
struct st_watch {
    void (*ready)(struct st_watch *watch, unsigned events);
    int fd;
    unsigned events; /* wanted; 0: stopped */
    void *driver;    /* the driver's own */
};

/* Starts it on `fd`, or changes what is wanted (events != 0). False, and it is stopped: no memory, or the loop has no
 * such driver. */
bool st_watch_start(struct st_loop *loop, struct st_watch *watch, int fd, unsigned events);
/* Does not close the descriptor. A stopped watch may be stopped again. */
void st_watch_stop(struct st_loop *loop, struct st_watch *watch);

#endif
