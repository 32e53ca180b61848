/*
 * The two loops of a journal. Sync: read from n+1 until the store says that was all; one read in flight, those who come
 * meanwhile wait for the next. Put: build, put, and whatever the answer was, find out whose the slot is.
 *
 * A read may learn whose the slot is while the put is still flying. The put is not acted on twice: what the read said
 * is kept in `owner`, and the put's own answer then only ends the flight.
 */
#include "storage/journal/journal.h"

#include "storage/mutants.h"
#include "storage/runtime/backoff.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#define READ_PAGE_BYTES (4 << 20) /* a page of DynamoDB has 1 MB of entries, which are compressed */

static void read_send(struct st_journal *journal);
static void put_step(struct st_journal *journal);

/* ---- applying ---- */

static void journal_stop(struct st_journal *journal, uint64_t slot, const char *why) {
    journal->stopped = true;
    ST_LOG(journal_stopped, "journal=%u slot=%llu why=%s", journal->number, (unsigned long long)slot, why);
}

/* False: the journal is stopped, or memory is out (journal->starved) and the entry is to be read again later. */
static bool apply(struct st_journal *journal, uint64_t slot, struct kp_slice body) {
    enum st_apply result = st_fold_apply(journal->fold, body);
    journal->starved = result == ST_APPLY_NO_MEMORY;
    if (journal->starved) {
        return false;
    }
    if (result != ST_APPLY_OK) {
        journal_stop(journal, slot, result == ST_APPLY_DAMAGED ? "damaged" : "misfit");
        return false;
    }
    st_pool_applied(journal, slot, body);
    journal->host->applied(journal);
    return true;
}

/* An entry that was read. False: stop reading this page. */
static bool take_entry(struct st_journal *journal, const struct st_journal_entry *entry) {
    if (entry->slot <= journal->fold->slot) {
        return true; /* applied meanwhile: our own */
    }
    if (entry->slot != journal->fold->slot + 1 && !ST_MUTANT(gap_ignored)) {
        journal->host->fell_behind(journal); /* the fold fell behind the trim */
        return false;
    }
    bool contested = journal->commit != NULL && journal->owner == ST_SLOT_OPEN && journal->slot == entry->slot &&
                     (journal->put_state == ST_PUT_FLYING || journal->put_state == ST_PUT_RESOLVING ||
                      journal->put_state == ST_PUT_BACKOFF || journal->put_state == ST_PUT_PROVING);
    journal->news = true;
    bool applied = apply(journal, entry->slot, entry->body);
    struct st_entry parsed;
    if (contested && !journal->starved && st_entry_read(entry->body, &parsed)) {
        /* Anybody may write an entry with a request of the pool. */
        bool mine = journal->pool.active ? kp_uuid_equal(&parsed.writer, &journal->host->writer)
                                         : st_entry_has(&parsed, &journal->commit->id);
        journal->owner = mine ? ST_SLOT_MINE : ST_SLOT_OTHERS;
    }
    return applied;
}

/* ---- sync ---- */

/* True when no checkpoint above the fold stood less than an hour before: then nothing above it is trimmed by now. */
static bool proven_lately(const struct st_journal *journal, int64_t date_ms) {
    return journal->proven_ms != 0 && date_ms - journal->proven_ms < ST_TAIL_PROOF_MS;
}

static void syncs_finish(struct st_sync *list, enum st_error error) {
    while (list != NULL) {
        struct st_sync *sync = list;
        list = sync->next;
        sync->next = NULL;
        sync->error = error;
        sync->done(sync);
    }
}

static void sync_end(struct st_journal *journal, enum st_error error) {
    struct st_sync *done = journal->sync_sent;
    journal->sync_sent = NULL;
    bool news = journal->news;
    journal->news = false;
    journal->host->synced(journal, error, news);
    if (journal->stopped) { /* nothing is read any more: those who queued meanwhile are told as well */
        journal->host->fail_soon(journal, journal->sync_queued);
        journal->sync_queued = NULL;
    } else if (!journal->reading && !journal->loading && journal->sync_queued != NULL) {
        journal->sync_sent = journal->sync_queued;
        journal->sync_queued = NULL;
        read_send(journal);
    }
    syncs_finish(done, error);
}

static void read_retry_due(struct st_timer *timer) {
    struct st_journal *journal = ST_OWNER(timer, struct st_journal, read_retry);
    if (!journal->reading && !journal->loading && !journal->stopped) {
        read_send(journal);
    }
}

static void read_again_later(struct st_journal *journal) {
    struct st_loop *loop = journal->host->loop;
    st_timer_start(loop, &journal->read_retry, st_backoff_ns(loop, journal->read_failures));
}

static void read_failed(struct st_journal *journal) {
    journal->read_failures++;
    journal->behind = false;
    journal->host->store_failed(journal, journal->read.error);
    if (journal->put_state == ST_PUT_RESOLVING) { /* it must be known whose the slot is, whoever else waits */
        read_again_later(journal);
    }
    sync_end(journal, ST_UNREADABLE);
    put_step(journal); /* a commit that waited for a reload goes on with the fold as it is */
}

static void page_drop(struct st_journal *journal) {
    free(journal->read.entries);
    kp_blob_unref(journal->read.blob);
    journal->read.entries = NULL;
    journal->read.blob = NULL;
    journal->read.count = 0;
}

static void page_take(struct st_journal *journal) {
    struct st_journal_read *op = &journal->read;
    bool whole = true;
    journal->reading = false;
    journal->starved = false;
    for (size_t i = 0; i < op->count && whole; i++) {
        whole = take_entry(journal, &op->entries[i]);
    }
    bool at_end = op->at_end && whole;
    journal->behind = !at_end && !journal->stopped && !journal->loading;
    page_drop(journal);
    if (journal->stopped) {
        sync_end(journal, ST_UNREADABLE);
    } else if (journal->starved && !whole) {
        op->error = ST_NO_MEMORY;
        read_failed(journal);
        return;
    } else if (journal->loading) {
        /* the syncs go on when the newer fold stands */
    } else if (at_end) {
        journal->proven_ms = op->date_ms;
        sync_end(journal, ST_OK);
    } else {
        read_send(journal);
    }
    put_step(journal);
}

/* What was read above a fold of long ago may be a trimmed slot that a late put revived: whether slots above the fold
 * can have been trimmed, the newest checkpoint tells. */
static void page_proof_done(struct st_checkpoint_ref *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, page_proof);
    journal->host->op_ended(journal);
    if (op->error == ST_OK && op->slot > journal->fold->slot) {
        page_drop(journal);
        journal->reading = false;
        journal->host->fell_behind(journal);
    } else if (op->error == ST_OK || op->error == ST_ABSENT) {
        journal->proven_ms = op->date_ms;
        page_take(journal);
    } else {
        page_drop(journal);
        journal->reading = false;
        journal->read.error = op->error;
        read_failed(journal);
    }
}

static void read_done(struct st_journal_read *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, read);
    journal->host->op_ended(journal);
    if (op->error != ST_OK) {
        journal->reading = false;
        read_failed(journal);
        return;
    }
    journal->host->store_answered(journal);
    journal->read_failures = 0;
    journal->read_took_ns += (st_now_ns(journal->host->loop) - journal->read_sent_ns - journal->read_took_ns) / 4;
    if (proven_lately(journal, op->date_ms) || ST_MUTANT(page_unproven) || ST_MUTANT(gap_ignored)) {
        page_take(journal);
        return;
    }
    journal->page_proof = (struct st_checkpoint_ref){.journal = journal->number, .done = page_proof_done};
    journal->host->op_started(journal);
    journal->host->store->ops->checkpoint_get(journal->host->store, &journal->page_proof);
}

static void read_send(struct st_journal *journal) {
    journal->reading = true;
    journal->read = (struct st_journal_read){
        .journal = journal->number,
        .from = journal->fold->slot + 1,
        .max_bytes = READ_PAGE_BYTES,
        .done = read_done,
    };
    journal->read_sent_ns = st_now_ns(journal->host->loop);
    st_metrics.journal_reads_total++;
    journal->host->op_started(journal);
    journal->host->store->ops->journal_read(journal->host->store, &journal->read);
}

void st_journal_sync(struct st_journal *journal, struct st_sync *sync) {
    bool joins_sent = ST_MUTANT(sync_joins_sent) && journal->reading;
    struct st_sync **last = joins_sent ? &journal->sync_sent : &journal->sync_queued;
    while (*last != NULL) { /* told in the order in which they came */
        last = &(*last)->next;
    }
    sync->next = NULL;
    *last = sync;
    if (journal->stopped) {
        struct st_sync *queued = journal->sync_queued;
        journal->sync_queued = NULL;
        journal->host->fail_soon(journal, queued);
        return;
    }
    if (!journal->reading && !journal->loading && journal->sync_sent == NULL) {
        journal->sync_sent = journal->sync_queued;
        journal->sync_queued = NULL;
        read_send(journal);
    }
}

/* ---- put ---- */

void st_journal_finish(struct st_journal *journal, enum st_error error, uint64_t slot, bool own_body) {
    struct st_commit_op *op = journal->commit;
    struct kp_blob *body = journal->body;
    journal->commit = NULL;
    journal->body = NULL;
    journal->put_state = ST_PUT_IDLE;
    journal->perhaps_stored = false;
    st_timer_stop(journal->host->loop, &journal->put_retry);
    st_pool_leave(journal);
    op->finished(op, error, slot, own_body ? body : NULL);
    kp_blob_unref(body);
}

static void commit_finish(struct st_journal *journal, enum st_error error, uint64_t slot) {
    st_journal_finish(journal, error, slot, true);
}

/* Whose the slot is can no longer be told, and the journal is being loaded: a request of the pool may still be decided
 * later, anything else never again. */
static void commit_lost_sight(struct st_journal *journal) {
    if (journal->pool.active) {
        journal->put_state = ST_PUT_POOLED;
        journal->perhaps_stored = false;
    } else {
        commit_finish(journal, ST_UNKNOWN, 0);
    }
}

static void put_retry_due(struct st_timer *timer) {
    struct st_journal *journal = ST_OWNER(timer, struct st_journal, put_retry);
    put_step(journal);
}

static void put_backoff(struct st_journal *journal) {
    journal->put_state = ST_PUT_BACKOFF;
    journal->put_failures++;
    st_timer_start(journal->host->loop, &journal->put_retry, st_backoff_ns(journal->host->loop, journal->put_failures));
}

/* The put is ours at journal->slot and the fold stands just below it. */
static void put_won(struct st_journal *journal) {
    uint64_t slot = journal->slot;
    if (slot == journal->fold->slot + 1 &&
        !apply(journal, slot, kp_slice_of(journal->body->data, journal->body->size))) {
        if (journal->starved) { /* it stands: it is read, and applied, when there is memory */
            journal->put_state = ST_PUT_RESOLVING;
            journal->perhaps_stored = true;
            journal->read_failures++;
            read_again_later(journal);
            return;
        }
        commit_finish(journal, ST_UNKNOWN, 0);
        return;
    }
    if (journal->pool.active) {
        journal->put_state = ST_PUT_RESOLVING;
        journal->owner = ST_SLOT_MINE;
        put_step(journal);
        return;
    }
    st_pool_raced(journal);
    commit_finish(journal, ST_OK, slot);
}

static void proof_done(struct st_checkpoint_ref *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, proof);
    journal->host->op_ended(journal);
    if (op->error == ST_ABSENT || (op->error == ST_OK && op->slot < journal->slot)) {
        journal->proven_ms = op->date_ms;
        put_won(journal);
    } else if (op->error == ST_OK) {
        journal->host->fell_behind(journal);
        commit_lost_sight(journal);
    } else {
        put_backoff(journal); /* the identical put answers "taken" by us, and is proven then */
    }
}

static void put_ok(struct st_journal *journal, int64_t date_ms) {
    if (proven_lately(journal, date_ms) || ST_MUTANT(ok_unproven)) {
        journal->proven_ms = date_ms;
        put_won(journal);
        return;
    }
    journal->put_state = ST_PUT_PROVING;
    journal->perhaps_stored = true;
    journal->proof = (struct st_checkpoint_ref){.journal = journal->number, .done = proof_done};
    journal->host->op_started(journal);
    journal->host->store->ops->checkpoint_get(journal->host->store, &journal->proof);
}

/* Of wrong variants: whatever the next read brings, the put is made anew behind it. */
static void forget_and_read(struct st_journal *journal) {
    journal->owner = ST_SLOT_OTHERS;
    if (!journal->reading && !journal->loading) {
        read_send(journal);
    }
}

static void put_taken(struct st_journal *journal) {
    st_metrics.slots_lost_total++;
    journal->put_state = ST_PUT_RESOLVING;
    if (ST_MUTANT(taken_means_lost) && journal->owner == ST_SLOT_OPEN) {
        forget_and_read(journal);
    } else if (journal->owner != ST_SLOT_OPEN || journal->stopped) {
        put_step(journal); /* a read has told already, or nothing will */
    } else if (!journal->reading && !journal->loading) {
        read_send(journal);
    }
}

static void put_done(struct st_journal_put *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, put);
    journal->host->op_ended(journal);
    if (op->error == ST_OK || op->error == ST_TAKEN) {
        journal->host->store_answered(journal);
        journal->put_failures = 0;
    }
    switch (op->error) {
    case ST_OK:
        journal->put_state = ST_PUT_RESOLVING;
        if (journal->owner == ST_SLOT_OPEN && !journal->loading && journal->fold->slot < journal->slot) {
            put_ok(journal, op->date_ms);
        } else {
            put_step(journal); /* also when a fold was loaded past the slot: it may be a trimmed one, revived */
        }
        return;
    case ST_TAKEN:
        put_taken(journal);
        return;
    case ST_GONE:
        if (ST_MUTANT(gone_as_taken)) {
            journal->put_state = ST_PUT_RESOLVING;
            forget_and_read(journal);
            return;
        }
        journal->host->fell_behind(journal);
        commit_lost_sight(journal);
        return;
    default:
        /* REFUSED leaves what earlier attempts left; everything else may have been, or may yet be, applied. */
        journal->perhaps_stored |= op->error != ST_REFUSED && !ST_MUTANT(unknown_as_refused);
        journal->perhaps_stored &= !(ST_MUTANT(refusal_forgets_unknown) && op->error == ST_REFUSED);
        if (ST_MUTANT(blind_reappend) || ST_MUTANT(scan_then_append)) {
            journal->put_state = ST_PUT_RESOLVING;
            journal->owner = ST_MUTANT(blind_reappend) ? ST_SLOT_OTHERS : journal->owner;
            if (!journal->reading && !journal->loading) {
                read_send(journal);
            }
            return;
        }
        journal->host->store_failed(journal, op->error);
        put_backoff(journal);
        if (journal->owner != ST_SLOT_OPEN) {
            put_step(journal);
        } else {
            st_journal_reconsider(journal);
        }
    }
}

static void put_send(struct st_journal *journal) {
    journal->put_state = ST_PUT_FLYING;
    journal->put = (struct st_journal_put){
        .journal = journal->number,
        .slot = journal->slot,
        .body = kp_slice_of(journal->body->data, journal->body->size),
        .writer = journal->host->writer,
        .done = put_done,
    };
    journal->host->op_started(journal);
    journal->host->store->ops->journal_put(journal->host->store, &journal->put);
}

static void put_build(struct st_journal *journal) {
    if (journal->behind) {
        return; /* the next slot is known to be another's */
    }
    if (ST_MUTANT(unchecked_after_lost) && journal->body != NULL) {
        journal->owner = ST_SLOT_OPEN;
        journal->slot = journal->fold->slot + 1;
        put_send(journal);
        return;
    }
    kp_blob_unref(journal->body);
    journal->body = NULL;
    uint32_t pool_after = journal->host->store->profile.pool_after;
    bool contended = st_pool_contended(journal) || journal->pool.lost >= pool_after;
    if (pool_after > 0 && contended && journal->commit->request != NULL && st_pool_enter(journal)) {
        return;
    }
    journal->perhaps_stored = false;
    journal->owner = ST_SLOT_OPEN;
    journal->slot = journal->fold->slot + 1;
    struct kp_blob *body = journal->commit->build(journal->commit, journal->fold);
    if (body == NULL) {
        commit_finish(journal, ST_OK, 0);
        return;
    }
    journal->body = body;
    put_send(journal);
}

void st_journal_put_entry(struct st_journal *journal, struct kp_blob *body) {
    kp_blob_unref(journal->body);
    journal->body = body;
    journal->perhaps_stored = false;
    journal->owner = ST_SLOT_OPEN;
    journal->slot = journal->fold->slot + 1;
    put_send(journal);
}

void st_journal_put_again(struct st_journal *journal) {
    put_send(journal);
}

void st_journal_read_on(struct st_journal *journal) {
    read_send(journal);
}

void st_journal_step(struct st_journal *journal) {
    put_step(journal);
}

/* A reload brought the fold past the slot of the put: whose it was can no longer be told. */
static void put_overtaken(struct st_journal *journal) {
    if (journal->put_state == ST_PUT_BACKOFF && !journal->perhaps_stored) {
        journal->put_state = ST_PUT_WAITING;
        put_build(journal);
    } else {
        commit_finish(journal, ST_UNKNOWN, 0);
    }
}

/* What may be stored is sent again as it was. Else the entry is built anew: requests in it may have been given up. */
static void put_again(struct st_journal *journal) {
    if (journal->perhaps_stored || ST_MUTANT(resend_refused)) {
        put_send(journal);
        return;
    }
    journal->put_state = ST_PUT_WAITING;
    if (!journal->loading && !journal->stopped) {
        put_build(journal);
    }
}

/* Goes on with the commit after anything that may matter to it. */
static void put_step(struct st_journal *journal) {
    if (journal->commit == NULL || journal->put_state == ST_PUT_FLYING || journal->put_state == ST_PUT_PROVING) {
        return;
    }
    if (journal->pool.active) {
        st_pool_step(journal);
        return;
    }
    if (journal->put_state == ST_PUT_WAITING) {
        if (!journal->loading && !journal->stopped) {
            put_build(journal);
        }
        return;
    }
    if (ST_MUTANT(scan_then_append) && journal->put_state == ST_PUT_RESOLVING && journal->perhaps_stored &&
        journal->owner == ST_SLOT_OPEN && !journal->reading) {
        forget_and_read(journal);
        return;
    }
    if (journal->owner == ST_SLOT_MINE) {
        commit_finish(journal, ST_OK, journal->slot);
    } else if (journal->owner == ST_SLOT_OPEN && journal->fold->slot >= journal->slot && !journal->loading) {
        put_overtaken(journal);
    } else if (journal->owner == ST_SLOT_OTHERS) {
        journal->put_state = ST_PUT_WAITING;
        journal->pool.lost++;
        if (!journal->commit->wanted(journal->commit)) {
            commit_finish(journal, ST_REFUSED, 0); /* the slot is proven another's: surely not stored */
        } else if (!journal->loading && !journal->stopped) {
            put_build(journal);
        }
    } else if (journal->put_state == ST_PUT_BACKOFF && journal->put_retry.heap_index == 0) {
        put_again(journal);
    } else if (journal->put_state == ST_PUT_RESOLVING && journal->stopped) {
        commit_finish(journal, ST_UNKNOWN, 0); /* it stopped at this very slot: whose that is cannot be read */
    } else if (journal->put_state == ST_PUT_RESOLVING && !journal->reading && !journal->loading &&
               journal->read_retry.heap_index == 0) {
        read_send(journal);
    }
}

void st_journal_commit(struct st_journal *journal, struct st_commit_op *op) {
    journal->commit = op;
    journal->put_failures = 0;
    st_pool_begins(journal);
    journal->put_state = ST_PUT_WAITING;
    st_random(journal->host->loop, op->id.bytes, sizeof op->id.bytes);
    put_step(journal);
}

bool st_journal_perhaps_stored(const struct st_journal *journal, const struct st_commit_op *op) {
    if (journal->commit == op && journal->pool.active) {
        return !ST_MUTANT(pool_definite); /* until it is decided, whatever the own puts came to */
    }
    if (journal->commit != op || journal->owner == ST_SLOT_OTHERS) {
        return false;
    }
    return journal->perhaps_stored || journal->put_state == ST_PUT_FLYING ||
           journal->put_state == ST_PUT_RESOLVING || journal->put_state == ST_PUT_PROVING;
}

void st_journal_reconsider(struct st_journal *journal) {
    struct st_commit_op *op = journal->commit;
    bool with_store = journal->put_state == ST_PUT_FLYING || journal->put_state == ST_PUT_PROVING;
    if (journal->pool.active) {
        return; /* decided by an entry alone, whoever waits */
    }
    if (op != NULL && !with_store && !st_journal_perhaps_stored(journal, op) && !op->wanted(op)) {
        commit_finish(journal, ST_REFUSED, 0);
    }
}

/* ---- life ---- */

void st_journal_load_failed(struct st_journal *journal) {
    struct st_sync *sent = journal->sync_sent;
    journal->sync_sent = NULL;
    if (!journal->reading) { /* else the read under way was sent before them, and must not answer them */
        journal->sync_sent = journal->sync_queued;
        journal->sync_queued = NULL;
    }
    syncs_finish(sent, ST_UNREADABLE);
}

void st_journal_init(struct st_journal *journal, const struct st_journal_host *host, uint32_t number) {
    *journal = (struct st_journal){
        .host = host,
        .number = number,
        .read_retry = {.fn = read_retry_due},
        .put_retry = {.fn = put_retry_due},
        .loading = true,
    };
    st_pool_init(journal);
}

void st_journal_release(struct st_journal *journal) {
    st_timer_stop(journal->host->loop, &journal->read_retry);
    st_timer_stop(journal->host->loop, &journal->put_retry);
    st_pool_release(journal);
    kp_blob_unref(journal->body);
    page_drop(journal);
    st_fold_free(journal->fold);
    journal->fold = NULL;
}

void st_journal_install(struct st_journal *journal, struct st_fold *fold, int64_t newest_ms) {
    if (journal->fold != fold) {
        st_fold_free(journal->fold);
        journal->fold = fold;
    }
    journal->loading = false;
    journal->proven_ms = newest_ms;
    if (!journal->reading) { /* else who waits joins the next read: the one under way was sent before */
        if (journal->sync_sent == NULL) {
            journal->sync_sent = journal->sync_queued;
            journal->sync_queued = NULL;
        }
        read_send(journal); /* whoever waits: the new fold has to reach the tail */
    }
}
