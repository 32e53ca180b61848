/*
 * Combining (DESIGN.md, "Contention").
 *
 * Why one request is made true at most once. A request says which slot b its writer had applied when it was made. It is
 * put into an entry only for a slot s with b < s <= b + 1024 (ST_POOL_WINDOW), by a writer that has applied every slot
 * below s, and only if the fold at s - 1 does not hold its id. The fold holds the ids of the last 1024 slots, and slots
 * b + 1 ... s - 1 are among those. A slot is taken once. So whoever may write s knows what every slot before s made of
 * the request, and an entry that lost its slot is made anew, from the fold that the winner's entry left. No clock is
 * involved, and nothing rests on the pool: it may lose a request (its own writer commits it), bring one back that was
 * decided long ago (its id, or its window, keeps it out), or show an old state.
 *
 * Why its writer knows what became of it. From the moment its put to the pool has left, anybody may make it true, so
 * "unknown" is all that can be told, and the writer begins nothing else in this journal (what it answered later would
 * take effect before it). It ends with an entry that holds its commit: facts, or a refusal for each part. Or with slot
 * b + 1024 applied and none found: surely never. A writer that was away so long that it must load a checkpoint asks the
 * fold for the id; beyond the window nothing is to be learnt there, but nothing can happen any more either.
 *
 * Before its request goes in, a writer has no put under way: the slots that it tried are proven another's.
 *
 * Why it goes on. Everyone who waits has the request itself and can commit it alone. Ranks only save puts that would
 * lose: a writer whose view of the pool is old may put at the same time as another, and one of them loses a slot.
 *
 * Who reads the pool. If all who wait did, each would read the requests of all. A rank is a hash, so with n waiting the
 * first has about an n-th of the greatest: who has less than CANDIDATES n-ths reads the pool at once, and learns who is
 * first; the others look for the next entry, and as long as none comes the bound doubles every TAKEOVER. How many wait
 * is guessed by the last entry. Among those who read the first commits at once; the one at place k takes over when the
 * slot is still open k * TAKEOVER later. Where the table is slow, for whatever reason, all of these times grow with it:
 * who asks more often than it answers makes it no faster.
 *
 * What DESIGN.md leaves open is decided so:
 *  - Only flushes of appends, with idempotency keys or without, go into the pool. Changes of the catalog are rare and
 *    go on racing for slots.
 *  - The bytes of an entry lie in one object or in the entry, never in both, because (slot, position) names them for
 *    ever: a combiner whose request has an object commits it alone, any other commits all that are inline.
 *  - A batch that must be held for its predecessor is held by its own process and never gets here; if one turns out to
 *    be early all the same, the request is left in the pool, but its own writer refuses it as "not now".
 *  - A put to the pool whose outcome is unknown counts as done: the request may be there. Refused is surely not there:
 *    the commit goes back to racing.
 *  - Who commits a request deletes it from the pool, in one batch with what it found there that was decided before or
 *    has outlived its window; all the rest expires.
 *  - After a commit that shared its entry the next one of this process goes to the pool at once, until one finds itself
 *    alone.
 *  - A writer whose commits follow one another without a pause never loses a slot to those who must read first what it
 *    wrote, and would shut them out for ever. So once in LOOK_EVERY such commits it looks into the pool, beside its
 *    next put, and if somebody waits there goes there itself. Anyone else who loses no slots never touches the pool.
 */
#include "storage/journal/pool.h"

#include "storage/journal/journal.h"
#include "storage/mutants.h"
#include "storage/runtime/backoff.h"
#include "storage/runtime/metrics.h"

#define CANDIDATES 2             /* expected to read the pool for a slot; in one slot of seven there is none */
#define TAKEOVER (30 * ST_MS)
#define TAKEOVER_READS 8         /* and no less than so many reads of the journal take */
#define TAKEOVER_MOST ST_SECOND
#define LOOK_EVERY 8
#define PAUSE (20 * ST_MS) /* so long nothing was to be committed: others had their chance */
#define WATCH (15 * ST_MS)
#define WATCH_READS 2
#define WATCH_MOST (250 * ST_MS)
#define PUT_WATCH (50 * ST_MS) /* the put of the request takes long */
#define OVERLAP 32       /* slots: who began before those, in the bucket before, is left to commit by itself */
#define DELETED_AFTER 16 /* slots: by then who committed a request has deleted it, unless that failed */
#define EXPIRES_MS (10 * 60 * 1000)
#define READ_MOST (1024 * 1024)
#define COMBINE_MOST 512        /* requests of one entry */
#define COMMIT_OVERHEAD 320     /* id, length, pooled, level and object facts */
#define APPEND_OVERHEAD 96      /* what facts of an append and its key may be longer than the pooled append */

static uint64_t window_end(const struct st_journal *journal, uint64_t begun) {
    uint64_t window = journal->fold->pool_window;
    return begun + (ST_MUTANT(pool_window_off) ? 4 * window : window);
}

/* ---- members ---- */

static void members_drop(struct st_pool *pool) {
    free(pool->members);
    kp_blob_unref(pool->member_blob);
    pool->members = NULL;
    pool->member_blob = NULL;
    pool->member_count = 0;
}

static void read_done(struct st_pool_read *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.read);
    struct st_pool *pool = &journal->pool;
    journal->host->op_ended(journal);
    pool->reading = false;
    if (!pool->active) {
        free(op->error == ST_OK ? op->items : NULL);
        kp_blob_unref(op->error == ST_OK ? op->blob : NULL);
        return;
    }
    if (op->error == ST_OK) { /* else what is known must do: at least one's own request is */
        members_drop(pool);
        pool->members = op->items;
        pool->member_count = op->count;
        pool->member_blob = op->blob;
        pool->members_used = false;
    } else {
        journal->host->store_failed(journal, op->error);
    }
    st_journal_step(journal);
}

static void read_send(struct st_journal *journal, void (*done)(struct st_pool_read *op)) {
    struct st_pool *pool = &journal->pool;
    const uint64_t slot = journal->fold->slot;
    pool->reading = true;
    pool->read = (struct st_pool_read){
        .journal = journal->number,
        .first = (slot > OVERLAP ? slot - OVERLAP : 0) / ST_POOL_BUCKET,
        .last = slot / ST_POOL_BUCKET,
        .max_bytes = READ_MOST,
        .done = done,
    };
    st_metrics.pool_reads_total++;
    journal->host->op_started(journal);
    journal->host->store->ops->pool_read(journal->host->store, &pool->read);
}

static void members_read(struct st_journal *journal) {
    journal->pool.members_at = journal->fold->slot;
    read_send(journal, read_done);
}

/* May be made true in the next slot. */
static bool eligible(const struct st_journal *journal, const struct st_pooled *request) {
    const struct st_fold *fold = journal->fold;
    if (request->begun > fold->slot || fold->slot >= window_end(journal, request->begun)) {
        return false;
    }
    if (ST_MUTANT(pool_unfiltered) && journal->pool.members_used) {
        return true;
    }
    return st_fold_pooled(fold, &request->id, request->begun) == NULL;
}

/* False: not a request that may be looked at. */
static bool member_read(const struct st_pool_item *item, struct st_pooled *request) {
    return st_pooled_read(item->body, request) && kp_uuid_equal(&request->id, &item->key.id) &&
           request->begun / ST_POOL_BUCKET == item->key.bucket;
}

static uint64_t rank(const struct kp_uuid *id, uint64_t slot) {
    struct st_unpack in = st_unpack_of(kp_slice_of(id->bytes, sizeof id->bytes));
    uint64_t high = st_unpack_fixed(&in, 8);
    return st_hash_mix(st_hash_mix(slot, high), st_unpack_fixed(&in, 8));
}

/* How often the bound on ranks must double until it is above the own one for the next slot. */
static size_t turns_until_candidate(const struct st_journal *journal) {
    unsigned __int128 own = rank(&journal->commit->id, journal->fold->slot + 1);
    size_t turns = 0;
    for (uint64_t ahead = (uint64_t)(own * journal->pool.crowd / CANDIDATES >> 64); ahead > 0; ahead /= 2) {
        turns++;
    }
    return turns;
}

/* How many of the known members come before the own request for the next slot. */
static size_t place(const struct st_journal *journal) {
    const struct st_pool *pool = &journal->pool;
    uint64_t slot = journal->fold->slot + 1, own = rank(&journal->commit->id, slot);
    size_t before = 0;
    for (size_t i = 0; i < pool->member_count; i++) {
        struct st_pooled request;
        before += rank(&pool->members[i].key.id, slot) < own && member_read(&pool->members[i], &request) &&
                  eligible(journal, &request);
    }
    return before;
}

/* ---- looking, while commits win slot after slot ---- */

static void look_done(struct st_pool_read *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.read);
    struct st_pool *pool = &journal->pool;
    journal->host->op_ended(journal);
    pool->reading = false;
    if (op->error != ST_OK) {
        return;
    }
    for (size_t i = 0; i < op->count && journal->fold != NULL; i++) {
        struct st_pooled request;
        pool->contended |= member_read(&op->items[i], &request) && eligible(journal, &request);
    }
    free(op->items);
    kp_blob_unref(op->blob);
}

void st_pool_begins(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    pool->lost = 0;
    if (st_now_ns(journal->host->loop) - pool->over_ns > PAUSE) {
        pool->streak = 0;
    }
}

void st_pool_raced(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    pool->over_ns = st_now_ns(journal->host->loop);
    if (++pool->streak % LOOK_EVERY == 0 && !pool->reading && journal->host->store->profile.pool_after > 0) {
        read_send(journal, look_done);
    }
}

/* ---- combining ---- */

static void key_add(struct st_pool *pool, uint64_t bucket, const struct kp_uuid *id, bool stale) {
    if (pool->key_count < ST_POOL_DELETE_MOST) {
        pool->stale[pool->key_count] = stale;
        pool->keys[pool->key_count++] = (struct st_pool_key){bucket, *id};
    }
}

static int request_order(const void *left, const void *right) {
    const struct st_pooled *a = left, *b = right;
    if (a->begun != b->begun) {
        return a->begun < b->begun ? -1 : 1;
    }
    return memcmp(a->id.bytes, b->id.bytes, sizeof a->id.bytes);
}

struct room {
    size_t commits, inline_len;
    bool object;
};

/* Upper bounds of what the request adds to an entry. */
static bool fits(struct room *room, const struct st_pooled *request) {
    size_t commits = COMMIT_OVERHEAD + request->appends.len + request->count * APPEND_OVERHEAD;
    size_t inline_len = request->object_len > 0 ? 0 : request->inline_bytes.len;
    bool object = request->object_len > 0;
    bool mixed = room->object || (object && room->commits > 0);
    if (mixed || room->commits + commits + room->inline_len + inline_len > ST_ENTRY_MAX - ST_ENTRY_HEAD - 4) {
        return false;
    }
    room->commits += commits;
    room->inline_len += inline_len;
    room->object |= object;
    return true;
}

bool st_pooled_fits_alone(const struct st_pooled *request) {
    struct room room = {0};
    return fits(&room, request);
}

/* Decided so long ago that who did it has failed to delete it, or too late for ever. */
static bool left_behind(const struct st_fold *fold, const struct st_pooled *request) {
    const struct st_pooled_outcome *outcome = st_fold_pooled(fold, &request->id, request->begun);
    return request->begun <= fold->slot && (outcome == NULL || outcome->slot + DELETED_AFTER <= fold->slot);
}

/* The own request and those of the members that may stand in the next slot and fit, in order. */
static size_t choose(struct st_journal *journal, struct st_pooled *chosen) {
    struct st_pool *pool = &journal->pool;
    struct room room = {0};
    size_t count = 0, all = 0;
    pool->key_count = 0;
    st_pooled_read(kp_slice_of(pool->request->data, pool->request->size), &chosen[count]);
    fits(&room, &chosen[count++]);
    key_add(pool, pool->begun / ST_POOL_BUCKET, &journal->commit->id, false);
    struct st_pooled *others = calloc(pool->member_count + 1, sizeof *others);
    for (size_t i = 0; others != NULL && i < pool->member_count; i++) {
        const struct st_pool_item *item = &pool->members[i];
        bool readable = member_read(item, &others[all]);
        if (readable && kp_uuid_equal(&item->key.id, &journal->commit->id)) {
            continue;
        }
        if (readable && eligible(journal, &others[all])) {
            all++;
        } else if (!readable || left_behind(journal->fold, &others[all])) {
            key_add(pool, item->key.bucket, &item->key.id, true);
        }
    }
    if (all > 0) {
        qsort(others, all, sizeof *others, request_order);
    }
    for (size_t i = 0; i < all && count < COMBINE_MOST; i++) {
        if (fits(&room, &others[i])) {
            chosen[count++] = others[i];
            key_add(pool, others[i].begun / ST_POOL_BUCKET, &others[i].id, false);
        }
    }
    free(others);
    qsort(chosen, count, sizeof *chosen, request_order);
    return count;
}

static void combine(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    struct st_pooled *chosen = calloc(COMBINE_MOST, sizeof *chosen);
    struct kp_blob *body = NULL;
    if (chosen != NULL) {
        size_t count = choose(journal, chosen);
        body = journal->commit->combine(journal->commit, journal->fold, chosen, count);
    }
    free(chosen);
    pool->members_used = true;
    if (body == NULL) { /* no memory: another time */
        pool->turn_due = false;
        pool->turn_slot = journal->fold->slot + 1;
        st_timer_start(journal->host->loop, &pool->turn, TAKEOVER);
        return;
    }
    st_journal_put_entry(journal, body);
}

/* ---- what was decided leaves the pool, best effort ---- */

static void drop_done(struct st_pool_delete *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.drop);
    journal->pool.dropping = false;
    journal->host->op_ended(journal);
}

/* The entry that was put stands: its requests, and what was found decided, go. */
static void landed(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    journal->put_state = ST_PUT_POOLED;
    st_metrics.commits_total++;
    st_metrics.pool_commits_total += pool->decided_with;
    if (pool->dropping) {
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < pool->key_count; i++) { /* some may have been left */
        if (pool->stale[i] || st_fold_pooled(journal->fold, &pool->keys[i].id, journal->slot - 1) != NULL) {
            pool->drop_keys[count++] = pool->keys[i];
        }
    }
    pool->key_count = 0;
    if (count == 0) {
        return;
    }
    pool->drop = (struct st_pool_delete){
        .journal = journal->number, .keys = pool->drop_keys, .count = count, .done = drop_done};
    pool->dropping = true;
    journal->host->op_started(journal);
    journal->host->store->ops->pool_delete(journal->host->store, &pool->drop);
}

/* ---- waiting ---- */

void st_pool_leave(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    pool->active = false;
    st_timer_stop(journal->host->loop, &pool->watch);
    st_timer_stop(journal->host->loop, &pool->turn);
    members_drop(pool);
    kp_blob_unref(pool->request);
    pool->request = NULL;
}

static void finish(struct st_journal *journal, enum st_error error, uint64_t slot) {
    journal->pool.contended = slot != 0 && journal->pool.decided_with > 1;
    st_journal_finish(journal, error, slot, journal->pool.decided_own);
}

static void watch_due(struct st_timer *timer) {
    struct st_journal *journal = ST_OWNER(timer, struct st_journal, pool.watch);
    if (!journal->reading && !journal->loading && !journal->stopped) {
        st_journal_read_on(journal);
    }
}

static void turn_due(struct st_timer *timer) {
    struct st_journal *journal = ST_OWNER(timer, struct st_journal, pool.turn);
    journal->pool.turn_due = true;
    st_journal_step(journal);
}

/* A time that grows with what the table takes to answer. */
static int64_t stretched(const struct st_journal *journal, int64_t least_ns, int64_t reads, int64_t most_ns) {
    int64_t slow_ns = reads * journal->read_took_ns;
    return slow_ns < least_ns ? least_ns : slow_ns < most_ns ? slow_ns : most_ns;
}

static void watch(struct st_journal *journal) {
    struct st_loop *loop = journal->host->loop;
    struct st_pool *pool = &journal->pool;
    if (pool->watch.heap_index == 0 && !journal->reading) {
        int64_t failing = journal->read_failures > 0 ? st_backoff_ns(loop, journal->read_failures) : 0;
        st_timer_start(loop, &pool->watch, stretched(journal, WATCH, WATCH_READS, WATCH_MOST) + failing);
    }
}

/* The outcome of the last entry put here. False: it is not known yet. */
static bool put_settled(struct st_journal *journal) {
    if (journal->put_state == ST_PUT_POOLED) {
        return true;
    }
    if (journal->owner == ST_SLOT_MINE) {
        landed(journal);
        return true;
    }
    if (journal->owner == ST_SLOT_OTHERS || (journal->fold->slot >= journal->slot && !journal->loading)) {
        journal->put_state = ST_PUT_POOLED;
        st_timer_stop(journal->host->loop, &journal->put_retry);
        return true;
    }
    if (journal->stopped) {
        return true; /* whose the slot is cannot be read any more */
    }
    if (journal->put_state == ST_PUT_BACKOFF && journal->put_retry.heap_index == 0) {
        if (journal->perhaps_stored) {
            st_journal_put_again(journal);
            return false;
        }
        journal->put_state = ST_PUT_POOLED;
        return true;
    }
    if (journal->put_state == ST_PUT_RESOLVING && !journal->reading && !journal->loading &&
        journal->read_retry.heap_index == 0) {
        st_journal_read_on(journal);
    }
    return false;
}

/* True when the commit is over. */
static bool ended(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    const struct st_fold *fold = journal->fold;
    if (pool->decided_slot != 0) {
        finish(journal, ST_OK, pool->decided_slot);
        return true;
    }
    if (journal->stopped) {
        finish(journal, ST_UNKNOWN, 0);
        return true;
    }
    if (fold->slot != pool->seen && !journal->loading) { /* a checkpoint was loaded past slots that nobody looked at */
        const struct st_pooled_outcome *outcome = st_fold_pooled(fold, &journal->commit->id, pool->begun);
        pool->seen = fold->slot;
        if (outcome != NULL || fold->slot > pool->begun + fold->pool_window) {
            finish(journal, outcome != NULL && outcome->verdict != ST_OK ? ST_REFUSED : ST_UNKNOWN, 0);
            return true;
        }
    }
    bool passed_over = ST_MUTANT(pool_passed_over) && fold->slot >= pool->begun + 2;
    if ((fold->slot >= window_end(journal, pool->begun) && !journal->loading) || passed_over) {
        finish(journal, ST_REFUSED, 0); /* nobody will make it true any more */
        return true;
    }
    return false;
}

/* Reads the pool, and then commits what is in it, when it is this writer's turn to. */
static void turn(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    uint64_t next = journal->fold->slot + 1;
    bool members_known = pool->members_at == journal->fold->slot;
    if (pool->turn_slot != next) {
        pool->turn_slot = next;
        pool->turn_due = false;
        st_timer_stop(journal->host->loop, &pool->turn);
    }
    if (!pool->turn_due && pool->turn.heap_index == 0) {
        int64_t turns = (int64_t)(members_known ? place(journal) : turns_until_candidate(journal));
        pool->turn_due = turns == 0;
        if (turns > 0) {
            int64_t turn_ns = stretched(journal, TAKEOVER, TAKEOVER_READS, TAKEOVER_MOST);
            st_timer_start(journal->host->loop, &pool->turn, turns * turn_ns);
        }
    }
    if (pool->turn_due && members_known) {
        combine(journal);
    } else if (pool->turn_due) {
        pool->turn_due = false;
        members_read(journal);
    }
}

void st_pool_step(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    if (!put_settled(journal) || ended(journal)) {
        return;
    }
    if (journal->loading) {
        return; /* goes on when the newer fold stands */
    }
    watch(journal);
    if (pool->putting || pool->reading) {
        return;
    }
    turn(journal);
}

void st_pool_applied(struct st_journal *journal, uint64_t slot, struct kp_slice body) {
    struct st_pool *pool = &journal->pool;
    struct st_entry entry;
    if (slot == pool->seen + 1) {
        pool->seen = slot;
    }
    if (pool->decided_slot != 0 || !st_entry_read(body, &entry)) {
        return;
    }
    struct st_unpack commits = st_unpack_of(entry.commits);
    struct st_commit commit;
    size_t count = 0;
    while (st_commit_next(&commits, &commit)) {
        count++;
        if (kp_uuid_equal(&commit.id, &journal->commit->id)) {
            pool->decided_slot = slot;
            journal->commit->decided(journal->commit, journal->fold, commit.facts);
        }
    }
    pool->decided_with = count;
    if (count > 1 || pool->decided_slot != 0) { /* others may commit without the pool meanwhile */
        pool->crowd = count;
    }
    pool->decided_own = journal->body != NULL &&
                        kp_slice_equal(body, kp_slice_of(journal->body->data, journal->body->size));
}

/* ---- going in ---- */

static void put_done(struct st_pool_put *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.put);
    struct st_pool *pool = &journal->pool;
    journal->host->op_ended(journal);
    pool->putting = false;
    kp_blob_unref(pool->put_body);
    pool->put_body = NULL;
    bool own = pool->active && journal->commit != NULL && kp_uuid_equal(&op->key.id, &journal->commit->id);
    bool surely_not = op->error == ST_REFUSED || op->error == ST_TOO_LARGE;
    if (own && surely_not && pool->decided_slot == 0) { /* race on */
        st_pool_leave(journal);
        pool->contended = false;
        pool->lost = 0;
        journal->put_state = ST_PUT_WAITING;
    }
    if (own) {
        st_timer_stop(journal->host->loop, &pool->watch);
        st_journal_step(journal);
    }
}

bool st_pool_enter(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    if (pool->putting || pool->reading) {
        return false; /* of an earlier commit, whose answers are late */
    }
    struct st_commit_op *op = journal->commit;
    struct kp_uuid raced = op->id;
    st_random(journal->host->loop, op->id.bytes, sizeof op->id.bytes); /* no entry that was tried holds it */
    struct kp_blob *request = op->request(op, journal->fold);
    if (request == NULL) {
        op->id = raced;
        return false;
    }
    pool->active = true;
    pool->begun = pool->seen = journal->fold->slot;
    pool->request = request;
    pool->decided_slot = 0;
    pool->decided_with = 0;
    pool->decided_own = false;
    pool->members_at = UINT64_MAX;
    pool->turn_slot = 0;
    journal->put_state = ST_PUT_POOLED;
    journal->perhaps_stored = false;
    journal->owner = ST_SLOT_OPEN;
    pool->putting = true;
    pool->put_body = kp_blob_ref(request);
    pool->put = (struct st_pool_put){
        .journal = journal->number,
        .key = {pool->begun / ST_POOL_BUCKET, op->id},
        .body = kp_slice_of(request->data, request->size),
        .expires_ms = EXPIRES_MS,
        .done = put_done,
    };
    st_metrics.pool_puts_total++;
    journal->host->op_started(journal);
    journal->host->store->ops->pool_put(journal->host->store, &pool->put);
    st_timer_start(journal->host->loop, &pool->watch, PUT_WATCH);
    return true;
}

/* ---- life ---- */

void st_pool_init(struct st_journal *journal) {
    journal->pool = (struct st_pool){.watch = {.fn = watch_due}, .turn = {.fn = turn_due}};
}

void st_pool_release(struct st_journal *journal) {
    st_pool_leave(journal);
    kp_blob_unref(journal->pool.put_body);
    journal->pool.put_body = NULL;
}
