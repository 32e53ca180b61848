/*
 * Hearing of other processes' commits: inotify on DIR/writers, where every process reads one byte of its own file after
 * each commit (writer.h). A read marks no inode dirty, and it comes when the commit is visible, which a write to the
 * WAL does not: that one comes an fdatasync earlier, when a reader would still find nothing.
 *
 * Each other process's file has a watch of its own, and the directory one for files that are new: a watch for all reads
 * in the directory would have every commit of ours wake our own loop. That one is what is left when watches run out.
 */
#ifndef ST_LOCAL_BELLS_H
#define ST_LOCAL_BELLS_H

#include "storage/runtime/loop.h"

struct st_bells;

/* Calls `heard` on the loop thread when a process other than `own` has perhaps committed. NULL: the kernel has no more
 * watches to give, and only looking helps. */
struct st_bells *st_bells_new(struct st_loop *loop, const char *directory, uint64_t own, void (*heard)(void *arg),
                              void *arg);
void st_bells_free(struct st_bells *bells);

#endif
