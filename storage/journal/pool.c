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
 * When. Entries that hold many requests are cheap: each of those who wait reads each entry. So after an entry the pool
 * is left alone for GATHER, while those whom the entry answered put their next requests there. Nobody looks for the
 * next entry before it may be expected (beat.h); and whose request came too late for that one looks for the one after.
 *
 * Who. Whoever wrote the last entry that several shared leads: it reads the pool and writes the next one, if it has a
 * request again by then. So one read of the pool is enough for an entry, and entries follow one another in a steady
 * beat. The others come after it, in the order of their ranks. A rank is a hash, so with n waiting the first has about
 * an n-th of the greatest: who has less than CANDIDATES n-ths reads the pool, and learns who is first; the others look
 * for the next entry, and as long as none comes the bound doubles every TAKEOVER. How many wait is guessed by the last
 * entries. Among those who read the first commits; the one at place k takes over when the slot is still open
 * k * TAKEOVER later. While nobody is known to lead (LEADS entries of one writer show it), they do not wait for the
 * leader. Where the table is slow, for whatever reason, all of these times grow with it: who asks more often than it
 * answers makes it no faster.
 *
 * What is read. The requests begun at the last ST_POOL_SLOTS slots: nobody deletes what was decided, it expires, and is
 * not read again a few slots later. Who was passed over so often, say because its put took long, is not read any more
 * either: it puts its request again, as begun now. That is the same request in the pool twice, and yet it is made true
 * at most once: its writer has seen every slot up to the later begin pass without it, so whatever holds it lies above
 * both, and the fold remembers it until neither may be made true any more. Within one entry the combiner sees to it.
 *
 * What DESIGN.md leaves open is decided so:
 *  - Only flushes of appends, with idempotency keys or without, go into the pool. Changes of the catalog are rare and
 *    go on racing for slots.
 *  - The bytes of an entry lie in one object or in the entry, never in both, because (slot, position) names them for
 *    ever: a combiner whose request has an object commits it alone, any other commits all that are inline.
 *  - A batch that must be held for its predecessor is held by its own process and never gets here; if one turns out to
 *    be early all the same, the request is left in the pool, but its own writer refuses it as "not now".
 *  - A put to the pool whose outcome is unknown counts as done: the request may be there. Refused is surely not there,
 *    unless it is from an earlier put: the commit goes back to racing.
 *  - Who has lately seen an entry that several shared goes to the pool at once.
 *  - A writer whose commits follow one another without a pause never loses a slot to those who must read first what it
 *    wrote, and would shut them out for ever. So once in LOOK_EVERY such commits it looks into the pool, beside its
 *    next put, and if somebody waits there goes there itself. Anyone else who loses no slots never touches the pool.
 */
#include "storage/journal/pool.h"

#include "storage/journal/journal.h"
#include "storage/mutants.h"
#include "storage/runtime/backoff.h"
#include "storage/runtime/metrics.h"

#define CANDIDATES 3   /* expected to read the pool for a slot when nobody leads; in one slot of twenty there is none */
#define LEADS 2        /* so many entries in a row show a leader to the others */
#define GATHER (15 * ST_MS)
#define GATHER_READS 1 /* and no less than one read of the journal takes */
#define TAKEOVER (30 * ST_MS)
#define TAKEOVER_READS 6
#define TAKEOVER_MOST ST_SECOND
#define WATCH (10 * ST_MS)
#define WATCH_READS 2
#define WATCH_MOST (250 * ST_MS)
#define AHEAD (5 * ST_MS)          /* what a look takes to the table and back, at least */
#define PUT_WATCH (50 * ST_MS)     /* the put of the request takes long */
#define LOOK_EVERY 8
#define PAUSE (20 * ST_MS)         /* so long nothing was to be committed: others had their chance */
#define OTHERS_STAND (500 * ST_MS) /* so long those who were seen to wait are taken for waiting */
#define HISTORY_MS 5000            /* entries as old as that say nothing of who waits now */
#define LOOK_SLOTS 32              /* so many slots are looked at to see whether anybody waits at all */
#define READ_MOST (256 * 1024)     /* what an entry holds */
#define EXPIRES_MS (10 * 60 * 1000)
#define COMBINE_MOST 512           /* requests of one entry */
#define COMMIT_OVERHEAD 320        /* id, length, pooled, level and object facts */
#define APPEND_OVERHEAD 96         /* what facts of an append and its key may be longer than the pooled append */

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

/* Without memory for them, as after any read that fails, what is known must do: at least one's own request is. */
static void members_take(struct st_pool *pool, const struct st_pool_read *op) {
    struct st_pooled *members = calloc(op->count + 1, sizeof *members);
    if (members == NULL) {
        return;
    }
    members_drop(pool);
    for (size_t i = 0; i < op->count; i++) {
        pool->member_count += st_pooled_read(op->bodies[i], &members[pool->member_count]);
    }
    pool->members = members;
    pool->member_blob = op->count > 0 ? kp_blob_ref(op->blob) : NULL;
    pool->members_used = false;
}

/* Of a look: whether somebody waits. */
static void waiting_take(struct st_journal *journal, const struct st_pool_read *op) {
    for (size_t i = 0; i < op->count && journal->fold != NULL; i++) {
        struct st_pooled request;
        if (st_pooled_read(op->bodies[i], &request) && eligible(journal, &request)) {
            journal->pool.others_ns = st_now_ns(journal->host->loop);
            return;
        }
    }
}

/* Whatever it was sent for: a commit may have ended, or gone into the pool, meanwhile. */
static void read_done(struct st_pool_read *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.read);
    struct st_pool *pool = &journal->pool;
    journal->host->op_ended(journal);
    pool->reading = false;
    if (op->error != ST_OK) {
        journal->host->store_failed(journal, op->error);
    } else {
        pool->active ? members_take(pool, op) : waiting_take(journal, op);
        free(op->bodies);
        kp_blob_unref(op->blob);
    }
    st_journal_step(journal);
}

/* What was begun at the last slots. */
static void read_send(struct st_journal *journal, uint64_t slots) {
    struct st_pool *pool = &journal->pool;
    const uint64_t slot = journal->fold->slot;
    pool->reading = true;
    pool->read = (struct st_pool_read){
        .journal = journal->number,
        .first = slot >= slots ? slot + 1 - slots : 0,
        .last = slot,
        .max_bytes = READ_MOST,
        .done = read_done,
    };
    st_metrics.pool_reads_total++;
    journal->host->op_started(journal);
    journal->host->store->ops->pool_read(journal->host->store, &pool->read);
}

static void members_read(struct st_journal *journal) {
    journal->pool.members_at = journal->fold->slot;
    read_send(journal, journal->host->pool_slots);
}

/* In the order of which those who wait commit the slot: by chance. */
static uint64_t rank(const struct kp_uuid *id, uint64_t slot) {
    struct st_unpack in = st_unpack_of(kp_slice_of(id->bytes, sizeof id->bytes));
    uint64_t high = st_unpack_fixed(&in, 8);
    return st_hash_mix(st_hash_mix(slot, high), st_unpack_fixed(&in, 8));
}

static bool leads(const struct st_journal *journal) {
    return journal->pool.beat.led > 0 && kp_uuid_equal(&journal->pool.beat.leader, &journal->host->writer);
}

static bool another_leads(const struct st_journal *journal) {
    return journal->pool.beat.led >= LEADS && !leads(journal) && st_pool_contended(journal);
}

/* How often TAKEOVER must pass until it is the own turn to read the pool for the next slot, unless one leads: for the
 * leader, and then until the bound on ranks is above the own one. */
static size_t turns_until_candidate(const struct st_journal *journal) {
    unsigned __int128 own = rank(&journal->commit->id, journal->fold->slot + 1);
    size_t turns = another_leads(journal);
    for (uint64_t ahead = (uint64_t)(own * journal->pool.beat.crowd / CANDIDATES >> 64); ahead > 0; ahead /= 2) {
        turns++;
    }
    return turns;
}

/* How many of the known members come before the own request for the next slot, unless one leads. */
static size_t place(const struct st_journal *journal) {
    const struct st_pool *pool = &journal->pool;
    uint64_t slot = journal->fold->slot + 1, own = rank(&journal->commit->id, slot);
    size_t before = 0;
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct st_pooled *each = &pool->members[i];
        before += rank(&each->id, slot) < own && eligible(journal, each);
    }
    return before;
}

/* ---- looking, while commits win slot after slot ---- */

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
        read_send(journal, LOOK_SLOTS);
    }
}

/* ---- combining ---- */

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

static bool among(const struct st_pooled *chosen, size_t count, const struct kp_uuid *id) {
    for (size_t i = 0; i < (ST_MUTANT(pool_twice) ? 1 : count); i++) {
        if (kp_uuid_equal(&chosen[i].id, id)) {
            return true;
        }
    }
    return false;
}

/* The own request and those of the members that may stand in the next slot and fit, in order. Each once: who was passed
 * over is in the pool twice. */
static size_t choose(struct st_journal *journal, struct st_pooled *chosen) {
    struct st_pool *pool = &journal->pool;
    struct room room = {0};
    size_t count = 0;
    st_pooled_read(kp_slice_of(pool->request->data, pool->request->size), &chosen[count]);
    fits(&room, &chosen[count++]);
    for (size_t i = pool->member_count; i > 0 && count < COMBINE_MOST; i--) { /* they were read in descending order */
        const struct st_pooled *each = &pool->members[i - 1];
        if (!among(chosen, count, &each->id) && eligible(journal, each) && fits(&room, each)) {
            chosen[count++] = *each;
        }
    }
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
    if (slot == 0) {
        journal->pool.others_ns = 0;
    }
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
    if (journal->pool.takes_over && !journal->reading && !journal->loading && !journal->stopped) {
        st_journal_read_on(journal); /* the first may have committed meanwhile */
    } else {
        st_journal_step(journal);
    }
}

/* A time that grows with what the table takes to answer. */
static int64_t stretched(const struct st_journal *journal, int64_t least_ns, int64_t reads, int64_t most_ns) {
    int64_t slow_ns = reads * journal->read_took_ns;
    return slow_ns < least_ns ? least_ns : slow_ns < most_ns ? slow_ns : most_ns;
}

/* For so long from now the pool is left alone: those whom the last entry answered put their next requests there. */
static int64_t gather_ns(const struct st_journal *journal) {
    int64_t end_ns = journal->pool.beat.seen_ns + stretched(journal, GATHER, GATHER_READS, TAKEOVER_MOST);
    int64_t now_ns = st_now_ns(journal->host->loop);
    return now_ns < end_ns ? end_ns - now_ns : 0;
}

/* Not in the next entry, but in the one after, as far as earlier requests tell. */
static bool came_late(const struct st_journal *journal) {
    const struct st_pool *pool = &journal->pool;
    return another_leads(journal) && pool->entries == 0 && pool->in_ns - pool->begun_ns > pool->beat.late_ns;
}

/* A look that is sent a little before the entry can be seen finds it just when it is. */
static void watch(struct st_journal *journal) {
    struct st_loop *loop = journal->host->loop;
    const struct st_beat *beat = &journal->pool.beat;
    if (journal->pool.watch.heap_index == 0 && !journal->reading) {
        int64_t failing = journal->read_failures > 0 ? st_backoff_ns(loop, journal->read_failures) : 0;
        int64_t least_ns = stretched(journal, WATCH, WATCH_READS, WATCH_MOST);
        int64_t cycle_ns = beat->cycle_ns < WATCH_MOST ? beat->cycle_ns : WATCH_MOST;
        int64_t first_ns = beat->first_ns + (came_late(journal) ? 2 : 1) * cycle_ns;
        int64_t next_ns = first_ns - AHEAD - st_now_ns(loop);
        st_timer_start(loop, &journal->pool.watch, (next_ns > least_ns ? next_ns : least_ns) + failing);
    }
}

/* ---- putting the request there ---- */

static void put_done(struct st_pool_put *op) {
    struct st_journal *journal = ST_OWNER(op, struct st_journal, pool.put);
    struct st_pool *pool = &journal->pool;
    journal->host->op_ended(journal);
    pool->putting = false;
    kp_blob_unref(pool->put_body);
    pool->put_body = NULL;
    bool own = pool->active && journal->commit != NULL && kp_uuid_equal(&op->id, &journal->commit->id);
    bool refused = op->error == ST_REFUSED || op->error == ST_TOO_LARGE;
    bool surely_not = refused && (!pool->renewed || ST_MUTANT(pool_refused_anew));
    if (own && surely_not && pool->decided_slot == 0) { /* race on */
        st_pool_leave(journal);
        pool->others_ns = 0;
        pool->lost = 0;
        journal->put_state = ST_PUT_WAITING;
    }
    if (own) {
        pool->in_ns = pool->renewed ? pool->in_ns : st_now_ns(journal->host->loop);
        st_timer_stop(journal->host->loop, &pool->watch);
        st_journal_step(journal);
    }
}

static void put_send(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    pool->putting = true;
    pool->put_body = kp_blob_ref(pool->request);
    pool->put = (struct st_pool_put){
        .journal = journal->number,
        .begun = pool->begun,
        .id = journal->commit->id,
        .body = kp_slice_of(pool->put_body->data, pool->put_body->size),
        .expires_ms = EXPIRES_MS,
        .done = put_done,
    };
    st_metrics.pool_puts_total++;
    journal->host->op_started(journal);
    journal->host->store->ops->pool_put(journal->host->store, &pool->put);
    st_timer_start(journal->host->loop, &pool->watch, PUT_WATCH);
}

/* Passed over until nobody reads what was begun so long ago: begun anew, now. */
static void renew(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    const uint64_t slot = journal->fold->slot;
    if (pool->putting || slot < pool->begun + ST_POOL_SLOTS || leads(journal)) {
        return;
    }
    struct kp_blob *request = st_pooled_renewed(pool->request, slot);
    if (request == NULL) {
        return; /* no memory: after the next entry, then */
    }
    kp_blob_unref(pool->request);
    pool->request = request;
    pool->begun = slot;
    pool->renewed = true;
    put_send(journal);
}

/* ---- waiting for an entry ---- */

/* The outcome of the last entry put here. False: it is not known yet. */
static bool put_settled(struct st_journal *journal) {
    if (journal->put_state == ST_PUT_POOLED) {
        return true;
    }
    if (journal->owner == ST_SLOT_MINE) {
        journal->put_state = ST_PUT_POOLED;
        st_metrics.commits_total++;
        st_metrics.pool_commits_total += journal->pool.decided_with;
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
    bool passed_over = ST_MUTANT(pool_passed_over) && fold->slot > pool->begun;
    if ((fold->slot >= window_end(journal, pool->begun) && !journal->loading) || passed_over) {
        finish(journal, ST_REFUSED, 0); /* nobody will make it true any more */
        return true;
    }
    return false;
}

/* When this writer's turn is, from now. 0: now, to commit what was read, or, when nothing was, to read. */
static int64_t turn_ns(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    bool read = pool->members_at == journal->fold->slot;
    size_t turns = leads(journal) ? 0 : read ? place(journal) : turns_until_candidate(journal);
    pool->takes_over = turns > 0;
    int64_t gather = read ? 0 : gather_ns(journal);
    return (int64_t)turns * stretched(journal, TAKEOVER, TAKEOVER_READS, TAKEOVER_MOST) + gather;
}

/* Reads the pool, and then commits what is in it, when it is this writer's turn to. */
static void turn(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    uint64_t next = journal->fold->slot + 1;
    if (pool->turn_slot != next) {
        pool->turn_slot = next;
        pool->turn_due = false;
        st_timer_stop(journal->host->loop, &pool->turn);
    }
    if (!pool->turn_due && pool->turn.heap_index == 0) {
        int64_t wait_ns = turn_ns(journal);
        pool->turn_due = wait_ns == 0;
        if (wait_ns > 0) {
            st_timer_start(journal->host->loop, &pool->turn, wait_ns);
        }
    }
    if (pool->turn_due && pool->members_at == journal->fold->slot) {
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
    renew(journal);
    watch(journal);
    if (pool->putting || pool->reading || (journal->reading && pool->takes_over)) {
        return;
    }
    turn(journal);
}

static bool of_pool(const struct st_commit *commit) {
    struct st_unpack facts = st_unpack_of(commit->facts);
    struct st_fact fact;
    return st_fact_read(&facts, &fact) && fact.type == ST_FACT_pooled;
}

/* An entry with this many requests of the pool; others may commit without it in between. */
static void shared(struct st_journal *journal, const struct st_entry *entry, size_t count) {
    struct st_pool *pool = &journal->pool;
    int64_t now_ns = st_now_ns(journal->host->loop);
    st_beat_entry(&pool->beat, now_ns, entry->time_ms, &entry->writer, count);
    pool->others_ns = count > 1 ? now_ns : pool->others_ns;
    if (pool->active && pool->decided_slot != 0 && pool->in_ns != 0 && pool->begun_ns != 0) {
        st_beat_learn(&pool->beat, pool->in_ns - pool->begun_ns, pool->entries > 0);
    }
    pool->entries++;
}

void st_pool_applied(struct st_journal *journal, uint64_t slot, struct kp_slice body) {
    struct st_pool *pool = &journal->pool;
    struct st_entry entry;
    if (slot == pool->seen + 1) {
        pool->seen = slot;
    }
    if (journal->host->store->profile.pool_after == 0 || !st_entry_read(body, &entry)) {
        return;
    }
    struct st_unpack commits = st_unpack_of(entry.commits);
    struct st_commit commit;
    size_t count = 0;
    while (st_commit_next(&commits, &commit)) {
        count += of_pool(&commit);
        if (pool->active && pool->decided_slot == 0 && kp_uuid_equal(&commit.id, &journal->commit->id)) {
            pool->decided_slot = slot;
            journal->commit->decided(journal->commit, journal->fold, commit.facts);
        }
    }
    if (count > 0 && st_now_wall_ms(journal->host->loop) - entry.time_ms < HISTORY_MS) {
        shared(journal, &entry, count);
    }
    if (pool->active && pool->decided_slot == slot) {
        pool->decided_with = count;
        pool->decided_own = journal->body != NULL &&
                            kp_slice_equal(body, kp_slice_of(journal->body->data, journal->body->size));
    }
}

bool st_pool_contended(const struct st_journal *journal) {
    const struct st_pool *pool = &journal->pool;
    return pool->others_ns != 0 && st_now_ns(journal->host->loop) - pool->others_ns < OTHERS_STAND;
}

/* ---- going in ---- */

bool st_pool_enter(struct st_journal *journal) {
    struct st_pool *pool = &journal->pool;
    if (pool->putting) {
        return false; /* of an earlier commit, whose answer is late */
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
    pool->renewed = false;
    pool->entries = 0;
    pool->begun_ns = pool->beat.first_ns;
    pool->in_ns = 0;
    pool->decided_slot = 0;
    pool->decided_with = 0;
    pool->decided_own = false;
    pool->members_at = UINT64_MAX;
    pool->turn_slot = 0;
    journal->put_state = ST_PUT_POOLED;
    journal->perhaps_stored = false;
    journal->owner = ST_SLOT_OPEN;
    put_send(journal);
    return true;
}

/* ---- life ---- */

void st_pool_init(struct st_journal *journal) {
    journal->pool = (struct st_pool){.watch = {.fn = watch_due}, .turn = {.fn = turn_due}};
    st_beat_init(&journal->pool.beat);
}

void st_pool_release(struct st_journal *journal) {
    st_pool_leave(journal);
    kp_blob_unref(journal->pool.put_body);
    journal->pool.put_body = NULL;
}
