/* The process's loop and its signals: what main.c and tests need of the event library, without seeing it. */
#ifndef GW_PROCESS_H
#define GW_PROCESS_H

#include "storage/runtime/loop.h"

struct gw_process;

/* SIGPIPE is ignored; SIGTERM and SIGINT call on_signal from the loop (NULL: they keep their meaning). NULL: no
 * memory. */
struct gw_process *gw_process_new(void (*on_signal)(void *arg), void *arg);
struct st_loop *gw_process_loop(struct gw_process *process);
/* Serves events until gw_process_stop is called from one of them. */
void gw_process_run(struct gw_process *process);
void gw_process_stop(struct gw_process *process);
/* Waits for at most one event and runs what is due. */
void gw_process_turn(struct gw_process *process);
void gw_process_free(struct gw_process *process);

/* Raises the soft limit of open files to the hard one; returns what is now allowed. */
uint64_t gw_process_raise_files(void);

#endif
