/*
 * A journal as one process sees it: the fold, the sync that keeps it fresh, and the put that adds to it.
 *
 * Commit rules (DESIGN.md, "Commit"; each wrong variant is a mutant that the simulator catches):
 *  - A writer writes slot n+1 only after it applied 1..n, and builds the entry from that state.
 *  - Outcome unknown (no answer, 5xx): the identical put is sent again, same slot, same commit id, until its outcome is
 *    known. Nobody is told a definite error meanwhile.
 *  - Slot taken: read from n+1. Our commit id in it: it was ours. Else apply, build again, next slot.
 *  - Slot gone: unknown for good; the fold is dropped and the newest checkpoint loaded.
 *  - "ok", and what a read brings, is believed only if the fold was proven less than an hour before, by the store's
 *    clock: a process that was frozen longer may have written, or read, a trimmed slot that a late put revived.
 *  - A commit that lost slots to others goes through the pool, where the store has one (pool.h).
 */
#ifndef ST_JOURNAL_H
#define ST_JOURNAL_H

#include "storage/journal/fold.h"
#include "storage/journal/pool.h"

#define ST_TAIL_PROOF_MS (60 * 60 * 1000)

/* What wants to become an entry. One at a time per journal; embedded in its owner. */
struct st_commit_op {
    struct kp_uuid id; /* set by st_journal_commit */
    /* Builds the entry for slot fold->slot + 1, or returns NULL when there is nothing (any more) to write. May run
     * several times; each time all earlier decisions are void. */
    struct kp_blob *(*build)(struct st_commit_op *op, struct st_fold *fold);
    /* The pool; all three or none. request: decides as build does and writes what is left as a request of the pool
     * (pooled.h) with `id`, begun at the fold's slot. NULL: nothing is left, or it cannot go there. combine: builds
     * the entry of these requests, in this order, for slot fold->slot + 1; one of them has `id`, and others may be left
     * out. NULL: out of memory. decided: an entry was applied whose commit `id` has these facts. */
    struct kp_blob *(*request)(struct st_commit_op *op, struct st_fold *fold);
    struct kp_blob *(*combine)(struct st_commit_op *op, struct st_fold *fold, const struct st_pooled *requests,
                               size_t count);
    void (*decided)(struct st_commit_op *op, const struct st_fold *fold, struct kp_slice facts);
    /* False: nobody waits any more; given up at the next moment when surely nothing is stored. */
    bool (*wanted)(struct st_commit_op *op);
    /* The end, from the loop. ST_OK: applied at `slot` (or nothing was written: slot 0), `body` may be kept by
     * reference, and is NULL when somebody else wrote the entry; ST_REFUSED: surely not stored; ST_UNKNOWN: perhaps. */
    void (*finished)(struct st_commit_op *op, enum st_error error, uint64_t slot, struct kp_blob *body);
};

enum st_put_state {
    ST_PUT_IDLE,
    ST_PUT_FLYING,    /* the store has it */
    ST_PUT_RESOLVING, /* the slot is taken: reading whose it is */
    ST_PUT_BACKOFF,   /* to be sent again */
    ST_PUT_PROVING,   /* ok, but the tail was not proven lately: asking for the newest checkpoint */
    ST_PUT_WAITING,   /* the journal is being reloaded, or has no fold yet */
    ST_PUT_POOLED,    /* its request is in the pool, and no put of an entry is under way */
};

enum st_slot_owner { ST_SLOT_OPEN, ST_SLOT_MINE, ST_SLOT_OTHERS };

struct st_journal;

/* What a journal needs of the engine that it is part of, and what it tells it. */
struct st_journal_host {
    struct st_loop *loop;
    struct st_store *store;
    struct kp_uuid writer; /* random, names this process in entries */
    uint32_t pool_slots;   /* requests of the pool that were begun at so many slots are read */
    void (*applied)(struct st_journal *journal);                                  /* an entry, to the fold */
    void (*synced)(struct st_journal *journal, enum st_error error, bool news);   /* news: entries of others came */
    void (*fell_behind)(struct st_journal *journal);                              /* load the newest checkpoint */
    void (*fail_soon)(struct st_journal *journal, struct st_sync *list);          /* from the loop, ST_UNREADABLE */
    void (*op_started)(struct st_journal *journal);                               /* of the store; each ends once */
    void (*op_ended)(struct st_journal *journal);
    void (*store_answered)(struct st_journal *journal);
    void (*store_failed)(struct st_journal *journal, enum st_error error);
};

struct st_journal {
    const struct st_journal_host *host;
    uint32_t number;
    struct st_fold *fold;
    bool stopped;   /* an entry did not fit: nothing is written or synced any more */
    bool starved;   /* the last entry could not be applied for want of memory */
    bool loading;   /* a newer checkpoint is being loaded; the old fold answers meanwhile */

    struct st_sync *sync_queued, *sync_sent;
    struct st_journal_read read;
    bool reading;
    bool behind; /* the last page had a continuation, which is being read */
    unsigned read_failures; /* in a row */
    int64_t read_sent_ns, read_took_ns; /* took: about, the last ones that were answered */
    struct st_timer read_retry;
    bool news;              /* the sync under way brought entries of others */

    struct st_commit_op *commit;
    enum st_put_state put_state;
    enum st_slot_owner owner; /* what reads said of the slot of the put */
    bool perhaps_stored;      /* an attempt of this put has an unknown outcome */
    uint64_t slot;            /* of the put */
    struct kp_blob *body;
    struct st_journal_put put;
    struct st_timer put_retry;
    unsigned put_failures;
    struct st_pool pool;
    /* Store time at which no checkpoint above the fold stood, last proven: at the tail, or by asking. 0: never. */
    int64_t proven_ms;
    struct st_checkpoint_ref proof, page_proof;
};

/* The host outlives the journal. */
void st_journal_init(struct st_journal *journal, const struct st_journal_host *host, uint32_t number);
void st_journal_release(struct st_journal *journal);
/* A loaded (or empty) fold to go on from; frees the one before. Or the standing one, to go on with after a load. */
void st_journal_install(struct st_journal *journal, struct st_fold *fold, int64_t newest_ms);
/* A try to load failed and will be repeated: those who wait for a sync are told. */
void st_journal_load_failed(struct st_journal *journal);
void st_journal_sync(struct st_journal *journal, struct st_sync *sync);
/* Begins a commit; there must be none. */
void st_journal_commit(struct st_journal *journal, struct st_commit_op *op);
/* True while a put of the current commit may have, or come to have, an effect. */
bool st_journal_perhaps_stored(const struct st_journal *journal, const struct st_commit_op *op);
/* The caller of a commit lost interest: gives it up if that is safe now. */
void st_journal_reconsider(struct st_journal *journal);

/* For the pool: its part of the two loops. */
void st_journal_step(struct st_journal *journal);                                /* something changed */
void st_journal_read_on(struct st_journal *journal);                             /* none is under way */
void st_journal_put_entry(struct st_journal *journal, struct kp_blob *body);     /* takes it over; the next slot */
void st_journal_put_again(struct st_journal *journal);                           /* the identical one */
void st_journal_finish(struct st_journal *journal, enum st_error error, uint64_t slot, bool own_body);

#endif
