/*
 * Operations for which memory is out before they begin: each is answered from the loop like any other, and for that
 * needs none. Its own struct, which belongs to the caller until it is answered, is the link of a list.
 */
#ifndef ST_REFUSAL_H
#define ST_REFUSAL_H

#include "storage/engine.h"

struct st_refusals {
    struct st_append *appends;
    struct st_read *reads;
    struct st_find_time *finds;
    struct st_topic_create *creates;
    struct st_topic_delete *deletes;
    struct st_task task;
};

void st_refusals_init(struct st_engine *engine);
void st_refusals_release(struct st_engine *engine);
bool st_refusals_idle(const struct st_engine *engine);
/* ST_NO_MEMORY: surely nothing was done. */
void st_refuse_append(struct st_engine *engine, struct st_append *op);
void st_refuse_create(struct st_engine *engine, struct st_topic_create *op);
void st_refuse_delete(struct st_engine *engine, struct st_topic_delete *op);
/* ST_UNREADABLE */
void st_refuse_read(struct st_engine *engine, struct st_read *op);
void st_refuse_find(struct st_engine *engine, struct st_find_time *op);

#endif
