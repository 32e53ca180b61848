/*
 * What the files of the fold share: the growth of its sorted tables. Everything that may fail for want of memory is
 * apart from what changes the tables, so that an entry can take its memory first.
 */
#ifndef ST_FOLD_TABLES_H
#define ST_FOLD_TABLES_H

#include "storage/journal/fold.h"

/* Room for `count` elements of `size` bytes in the malloc'ed array that `array` points at. */
bool st_fold_grow(void *array, size_t count, size_t *capacity, size_t size);
/* A malloc'ed copy with a NUL behind it; ptr NULL: out of memory. */
struct kp_slice st_fold_duplicate(struct kp_slice bytes);

/* A topic outside of any table; NULL: out of memory. */
struct st_topic_state *st_topic_state_new(const struct st_fact_topic *fact);
void st_topic_state_free(struct st_topic_state *topic);
bool st_fold_grow_topics(struct st_fold *fold, size_t more);
/* It fits, and there is room for it. */
void st_fold_insert_topic(struct st_fold *fold, struct st_topic_state *topic);
/* Takes it out; it is the caller's. */
void st_fold_remove_topic(struct st_fold *fold, const struct st_topic_state *topic);

bool st_partition_grow_producers(struct st_partition *partition, size_t more);
/* There is room for it. */
void st_partition_insert_producer(struct st_partition *partition, struct st_producer *producer, int64_t id);

#endif
