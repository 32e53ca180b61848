/* Driver of a loop on libevent, with the operating system's clocks and randomness. */
#ifndef ST_LOOP_LIBEVENT_H
#define ST_LOOP_LIBEVENT_H

#include "storage/runtime/loop.h"

struct event_base;

/* A loop on this base (which must outlive it); it runs while event_base_loop runs. NULL when memory is out. */
struct st_loop *st_loop_libevent_new(struct event_base *base);
void st_loop_libevent_free(struct st_loop *loop);
/* The base of a loop made here, to which the network code adds its own events; NULL for a loop made elsewhere. */
struct event_base *st_loop_base(struct st_loop *loop);

#endif
