/*
 * The pool of a journal: how many writers that hold one request each share slots instead of racing for them.
 *
 * A commit that lost pool_after slots (struct st_store_profile) puts its request into the pool and waits. Who wrote
 * the last shared entry reads the pool, and commits what is in it as one entry; while it does not, those who wait are
 * ranked by a hash, and do so in this order.
 * pool.c says why that is safe. Private to the journal: its owner sees struct st_commit_op (journal.h).
 */
#ifndef ST_POOL_H
#define ST_POOL_H

#include "storage/journal/beat.h"
#include "storage/journal/fold.h"
#include "storage/journal/pooled.h"

/* Requests that were begun before the last so many slots are read by nobody. */
#define ST_POOL_SLOTS 2

struct st_journal;

struct st_pool {
    unsigned lost;           /* slots, by this commit */
    int64_t others_ns;       /* when it was last known that others wait there; 0: nobody does */
    struct st_beat beat;
    unsigned streak;         /* commits that won their slots one after the other without a pause */
    int64_t over_ns;         /* when the last commit was over */
    bool active;             /* the commit's request is, or may come to be, in the pool */
    uint64_t begun;          /* the slot that was applied when it was made, or put again */
    int64_t begun_ns;        /* beat.first_ns when it was made: of the entry before it */
    int64_t in_ns;           /* when it was in the pool; 0: not yet, as far as is known */
    unsigned entries;        /* of the beat that came without it */
    uint64_t seen;           /* every slot up to here was looked through for it */
    bool renewed;            /* it was put again: the copy that was begun earlier may be there, whatever a put says */
    struct kp_blob *request; /* its bytes */

    uint64_t decided_slot; /* 0: not decided yet */
    size_t decided_with;   /* commits in that entry */
    bool decided_own;      /* that entry is the one that was put here */

    struct st_pool_put put;
    bool putting;
    struct kp_blob *put_body; /* a reference of the put */

    struct st_pool_read read;
    bool reading;
    struct st_pooled *members; /* as last read */
    size_t member_count;
    struct kp_blob *member_blob; /* their bytes */
    uint64_t members_at; /* the slot applied when they were asked for; UINT64_MAX: never */
    bool members_used;   /* an entry was made of them */

    struct st_timer watch, turn;
    uint64_t turn_slot; /* that the timer waits for */
    bool turn_due;      /* to read the pool; or, once that was read for this slot, to commit */
    bool takes_over;    /* the timer waits in case those who come first do not commit */
};

void st_pool_init(struct st_journal *journal);
void st_pool_release(struct st_journal *journal);
/* The commit that is to be built has lost often enough: true when its request goes into the pool instead. */
bool st_pool_enter(struct st_journal *journal);
/* A commit begins; a commit won its slot without the pool. */
void st_pool_begins(struct st_journal *journal);
void st_pool_raced(struct st_journal *journal);
/* Others wait there: the next commit goes there at once. */
bool st_pool_contended(const struct st_journal *journal);
/* An entry was applied. */
void st_pool_applied(struct st_journal *journal, uint64_t slot, struct kp_slice body);
/* Goes on with a commit that is in the pool; no put of it is with the store. */
void st_pool_step(struct st_journal *journal);
/* The commit ends: it is in the pool no more. */
void st_pool_leave(struct st_journal *journal);

#endif
