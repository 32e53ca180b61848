/*
 * Driver of a loop on poll(2), with the operating system's clocks and randomness and no library: for the Lambda, for
 * tools and tests. With the few descriptors that these watch, poll is as fast as epoll, and it forgives more: one
 * descriptor may have several watches, and a closed one is told apart.
 */
#ifndef ST_LOOP_POLL_H
#define ST_LOOP_POLL_H

#include "storage/runtime/loop.h"

/* NULL when memory is out. */
struct st_loop *st_loop_poll_new(void);
void st_loop_poll_free(struct st_loop *loop);
/* Runs until st_loop_poll_stop: true. False: nothing is left that could ever happen. Not to be called from the loop. */
bool st_loop_poll_run(struct st_loop *loop);
/* From whatever the loop calls: what is due in this pass still runs. Before st_loop_poll_run: that makes one pass,
 * which does not wait. */
void st_loop_poll_stop(struct st_loop *loop);

#endif
