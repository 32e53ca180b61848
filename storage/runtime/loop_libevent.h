/* Driver of a loop on libevent, with the operating system's clocks and randomness. */
#ifndef ST_LOOP_LIBEVENT_H
#define ST_LOOP_LIBEVENT_H

#include "storage/runtime/loop.h"

struct event_base;
struct st_fd_watch;

/* A loop on this base (which must outlive it); it runs while event_base_loop runs. NULL when memory is out. */
struct st_loop *st_loop_libevent_new(struct event_base *base);
void st_loop_libevent_free(struct st_loop *loop);
/* The base of a loop made here, to which the network code adds its own events; NULL for a loop made elsewhere. */
struct event_base *st_loop_base(struct st_loop *loop);

/* Calls readable(arg) from the loop whenever the descriptor can be read, until it is stopped (which does not close it).
 * NULL when memory is out or the loop was made elsewhere. */
struct st_fd_watch *st_fd_watch_start(struct st_loop *loop, int fd, void (*readable)(void *arg), void *arg);
void st_fd_watch_stop(struct st_fd_watch *watch);

#endif
