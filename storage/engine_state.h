/*
 * What the parts of the engine share. Private to storage/: the doors see storage/engine.h.
 */
#ifndef ST_ENGINE_STATE_H
#define ST_ENGINE_STATE_H

#include "storage/engine.h"
#include "storage/journal/journal.h"
#include "storage/log/blocks.h"
#include "storage/log/cache.h"
#include "storage/log/flush.h"
#include "storage/log/load.h"
#include "storage/log/refusal.h"

#define ST_HOLD_NS (2 * ST_SECOND) /* how long a batch waits for its predecessor */
#define ST_HOLD_MOST 5             /* batches held per producer and partition */
#define ST_HELD_MOST 1000          /* batches held in all: each applied entry looks at every one */

struct st_engine {
    struct st_loop *loop;
    struct st_store *store;
    struct st_engine_options options;
    struct kp_uuid cluster_id;

    struct st_journal_host journal_host;
    struct st_journal journal; /* number 0: catalog and every topic */
    struct st_flusher flusher;
    struct st_cache cache;
    struct st_blocks blocks;

    struct st_load *loads; /* runs being read from the store */
    unsigned load_count;
    struct st_load *loads_unsent; /* of them: to be sent as ranges by loads_send */
    struct st_task loads_send;
    struct st_load_range *load_ranges; /* under way */
    struct st_load_page *load_pages;   /* the same, of entries */
    struct st_load *loads_failed;      /* to be ended by loads_fail */
    struct st_task loads_fail;
    struct kp_blob *load_slab; /* that ranges are read into */
    size_t load_slab_used;
    struct st_reader *readers;
    struct st_time_search *time_searches;
    struct st_task time_rest; /* a batch was opened for a search in this pass of the loop, and no other may be */
    bool time_resting;

    struct st_append_request *held; /* batches that wait for their predecessor, oldest first */
    size_t held_bytes;
    struct st_timer hold_timer;
    struct st_sync hold_sync;
    bool hold_syncing;

    struct st_append_state *completed, **completed_last; /* answers to be given from the loop */
    struct st_task complete;
    void (*relieved)(void *arg);
    void *relieved_arg;

    uint64_t producer_id_next, producer_id_end; /* of the block that this process holds */
    struct st_producer_id *producer_id_waiting, **producer_id_last;
    bool producer_ids_asked;
    struct st_change *changes_aside; /* wrong in themselves, answered from the loop; or waiting for a sync */
    struct st_task producer_ids_ready;

    size_t waiter_count;
    struct st_waiter *fired;
    struct st_task fire;
    struct st_timer poll;
    int64_t poll_ns;
    struct st_sync poll_sync;
    bool polling, poll_again;

    struct st_identify identify;
    struct st_checkpoint_ref checkpoint_ref;
    struct st_timer load_retry;
    unsigned load_failures;
    struct st_checkpointer *checkpointer;

    struct st_refusals refusals;
    struct st_task recheck_held;
    struct st_sync *failed_syncs;
    struct st_task fail_syncs;

    void (*opened)(void *arg, enum st_error error);
    void *opened_arg;
    void (*closed)(void *arg);
    void *closed_arg;
    struct st_task close_check;
    bool open, closing, dying, store_away; /* dying: being freed, nobody is answered any more */
    unsigned ops; /* store operations under way */
};

/* Every store operation of the engine is counted, so that close knows when the last is over. */
void st_engine_op_started(struct st_engine *engine);
void st_engine_op_ended(struct st_engine *engine);
/* Something ended that a close may wait for. */
void st_engine_close_soon(struct st_engine *engine);
void st_engine_store_answered(struct st_engine *engine);
void st_engine_store_failed(struct st_engine *engine, enum st_error error);

/* What the fold rests on is gone, or the fold fell behind: the newest checkpoint is loaded. */
void st_engine_reload(struct st_engine *engine);

/* The end of a load: a fold, owned by the engine from here on, or an error. */
void st_engine_loaded(struct st_engine *engine, enum st_error error, struct st_fold *fold);
/* checkpointing.c */
bool st_checkpoints_init(struct st_engine *engine); /* false: out of memory */
void st_checkpoints_release(struct st_engine *engine);
/* After each own commit: begins a checkpoint when one is due. */
void st_checkpoints_consider(struct st_engine *engine);
/* Loads the fold of this checkpoint; st_engine_loaded tells the end. */
void st_checkpoint_load(struct st_engine *engine, const struct st_checkpoint_ref *ref);
/* append.c */
void st_appends_init(struct st_engine *engine);
void st_appends_release(struct st_engine *engine);
void st_append_hold(struct st_engine *engine, struct st_append_request *request);
void st_append_recheck_held(struct st_engine *engine);
void st_append_relief(struct st_engine *engine);
/* Decides everything that is held now: the engine closes. */
void st_append_release_held(struct st_engine *engine);
/* read.c: a load ended, readers that found no room for theirs try again */
void st_reads_retry(struct st_engine *engine);
/* change.c */
void st_changes_init(struct st_engine *engine);
void st_changes_release(struct st_engine *engine);
/* row_find.c */
enum st_row_search { ST_ROW_FOUND, ST_ROW_LOADING, ST_ROW_ABSENT, ST_ROW_NO_MEMORY };
/* The row that holds offset (log_start <= offset < end). ST_ROW_LOADING: it lies in a block of the checkpoint that is
 * being read; wait->done is called (without bytes) when it is there. ST_ROW_ABSENT: damaged. */
enum st_row_search st_row_find(struct st_engine *engine, const struct st_partition *partition, int64_t offset,
                               struct st_row_ref *ref, struct st_load_wait *wait);
/* The first row whose time_reached_ms is at least timestamp_ms; there is one. */
enum st_row_search st_row_find_time(struct st_engine *engine, const struct st_partition *partition,
                                    int64_t timestamp_ms, struct st_row_ref *ref, struct st_load_wait *wait);
/* read.c, find_time.c */
void st_reads_release(struct st_engine *engine);
void st_time_searches_release(struct st_engine *engine);
/* wait.c */
void st_waits_init(struct st_engine *engine);
void st_waits_release(struct st_engine *engine);
void st_waits_fire(struct st_engine *engine, struct st_partition *partition);
void st_waits_fire_all(struct st_engine *engine, struct st_fold *fold);
void st_waits_synced(struct st_engine *engine, bool news);

#endif
