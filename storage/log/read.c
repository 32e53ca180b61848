/*
 * Reading: which rows, are they in memory, if not load them and look again; then hand out slices of what is in memory.
 *
 * A pass goes over all parts and either finds everything it needs or starts loads for what is missing. What was loaded
 * is pinned by the reader until it is done, so that a small cache cannot make it load the same run for ever.
 */
#include "storage/engine_state.h"
#include "storage/runtime/metrics.h"

#define WAITS_MOST 64         /* loads that one reader waits for at a time */
#define READ_AHEAD_ROWS 16       /* of one part, and no more bytes than: */
#define READ_AHEAD_BYTES ((size_t)8 << 20)

struct pin {
    uint64_t slot;
    uint32_t position;
    struct kp_piece piece;
    struct pin *next;
};

struct reader_wait {
    struct st_load_wait wait;
    struct st_reader *reader;
    size_t part; /* what is loaded is for this one */
    bool busy;
};

struct reader_part {
    enum st_error failed; /* its bytes cannot be had; the other parts go on */
    int64_t next;         /* offset after what was handed out */
};

struct st_reader {
    struct st_engine *engine;
    struct st_read *op;
    struct st_reader *next;
    struct st_task step;
    struct pin *pins;
    struct reader_wait waits[WAITS_MOST];
    unsigned waiting;
    struct st_sync sync;
    enum { SYNC_NONE, SYNC_SENT, SYNC_OVER } synced; /* because bytes were not where the fold says */
    bool starved; /* nothing could be asked for: it looks again when a load ends */
    bool loaded; /* something had to come from the store: its successor will be wanted soon */
    struct reader_part parts[];
};

static const struct kp_piece *pinned(const struct st_reader *reader, uint64_t slot, uint32_t position) {
    for (const struct pin *pin = reader->pins; pin != NULL; pin = pin->next) {
        if (pin->slot == slot && pin->position == position) {
            return &pin->piece;
        }
    }
    return NULL;
}

/* The bytes of a run in memory; blob NULL when they are not. */
static struct kp_piece run_in_memory(const struct st_reader *reader, const struct st_row *row) {
    const struct kp_piece *pin = pinned(reader, row->slot, row->position);
    if (pin != NULL) {
        return *pin;
    }
    struct st_run *run = st_cache_row(&reader->engine->cache, row);
    return run != NULL ? (struct kp_piece){run->owner->blob, run->bytes} : (struct kp_piece){0};
}

/* ---- loads ---- */

static void waited(struct st_reader *reader) {
    if (--reader->waiting == 0) {
        st_defer(reader->engine->loop, &reader->step);
    }
}

static void synced(struct st_sync *sync) {
    struct st_reader *reader = ST_OWNER(sync, struct st_reader, sync);
    reader->synced = SYNC_OVER;
    waited(reader);
}

/* Bytes are gone: perhaps only for the fold as it was, whose topic was deleted and whose entries were trimmed since. It
 * looks again after a sync. False: it did so already. */
static bool look_again(struct st_reader *reader) {
    if (reader->synced == SYNC_NONE) {
        reader->synced = SYNC_SENT;
        reader->waiting++;
        reader->sync.done = synced;
        st_journal_sync(&reader->engine->journal, &reader->sync);
    }
    return reader->synced == SYNC_SENT;
}

static void wait_done(struct st_load_wait *wait, enum st_error error, struct kp_blob *blob, struct kp_slice bytes) {
    struct reader_wait *own = ST_OWNER(wait, struct reader_wait, wait);
    struct st_reader *reader = own->reader;
    bool again = error == ST_ABSENT && look_again(reader);
    if (error != ST_OK && !again) {
        bool damaged = error == ST_DAMAGED || error == ST_ABSENT;
        reader->parts[own->part].failed = damaged ? ST_DAMAGED : ST_UNREADABLE;
    } else if (error == ST_OK && blob != NULL) {
        struct pin *pin = calloc(1, sizeof *pin);
        if (pin != NULL) {
            *pin = (struct pin){wait->slot, wait->position, {kp_blob_ref(blob), bytes}, reader->pins};
            reader->pins = pin;
        }
    }
    own->busy = false;
    waited(reader);
}

static struct reader_wait *wait_free(struct st_reader *reader) {
    for (size_t i = 0; i < WAITS_MOST; i++) {
        if (!reader->waits[i].busy) {
            return &reader->waits[i];
        }
    }
    return NULL;
}

static void wait_use(struct reader_wait *wait, size_t part) {
    wait->busy = true;
    wait->part = part;
    wait->reader->waiting++;
    wait->reader->loaded = true;
}

/* ---- one part ---- */

/* Offset of the batch that `offset` lies in, within a run; and how many bytes of whole batches from there fit in `room`
 * (at least one batch when `first`). */
static struct kp_slice cut(struct kp_slice run, int64_t offset, size_t room, bool first) {
    size_t begin = 0, end;
    struct kp_batch batch;
    while (begin < run.len &&
           kp_batch_peek(kp_slice_of(run.ptr + begin, run.len - begin), &batch) == KP_ERROR_NONE &&
           batch.base_offset + batch.last_offset_delta < offset) {
        begin += batch.bytes.len;
    }
    end = begin;
    while (end < run.len && kp_batch_peek(kp_slice_of(run.ptr + end, run.len - end), &batch) == KP_ERROR_NONE) {
        bool fits = end + batch.bytes.len - begin <= room;
        if (!fits && !(first && end == begin)) {
            break;
        }
        end += batch.bytes.len;
    }
    return kp_slice_of(run.ptr + begin, end - begin);
}

/* How far a walk along the rows of a part came. */
enum walk {
    WALK_OVER,    /* to the end, the limits, or a failure */
    WALK_MISSING, /* something on the way is not in memory, and has been asked for where there was room to */
};

/* Asks for a run that is not in memory, or waits until there is room to ask. False: no load is under way at all, so
 * that none could ever end. */
static bool want_run(struct st_reader *reader, size_t part, const struct st_row_ref *ref, bool cold) {
    struct reader_wait *wait = wait_free(reader);
    if (wait != NULL && st_load_start(reader->engine, ref, cold, &wait->wait)) {
        wait_use(wait, part);
    }
    reader->starved = reader->waiting == 0 && reader->engine->load_count > 0;
    return reader->waiting > 0 || reader->starved;
}

struct walk_at {
    size_t part;
    int64_t offset;
    size_t room;    /* of this part */
    bool emit;      /* hand out what is in memory and ask for nothing; else ask for what is not */
    size_t *given;  /* by all parts */
};

/* Once a part has bytes, a run that does not fit behind them is left: most of it would be for the next read. */
static bool may_leave(const struct st_reader *reader, const struct walk_at *at, const struct st_row *row) {
    return at->offset > reader->op->parts[at->part].offset && row->len > at->room;
}

/* A run that is not in memory. False: the walk ends here with *result. */
static bool walk_missing(struct st_reader *reader, const struct st_partition *partition, struct walk_at *at,
                         const struct st_row_ref *ref, enum walk *result) {
    if (may_leave(reader, at, &ref->row)) {
        return false;
    }
    if (at->emit) {
        *result = WALK_MISSING;
        return false;
    }
    if (!want_run(reader, at->part, ref, ref->row.end < partition->end)) {
        reader->parts[at->part].failed = ST_UNREADABLE;
        return false;
    }
    *result = WALK_MISSING;
    at->room -= ref->row.len < at->room ? ref->row.len : at->room;
    *at->given += ref->row.len;
    at->offset = ref->row.end;
    return true;
}

/* One row. False: the walk ends here with *result. */
static bool walk_row(struct st_reader *reader, const struct st_partition *partition, struct walk_at *at,
                     enum walk *result) {
    struct st_row_ref ref;
    struct reader_wait *wait = at->emit ? NULL : wait_free(reader);
    enum st_row_search search =
        st_row_find(reader->engine, partition, at->offset, &ref, wait != NULL ? &wait->wait : NULL);
    if (search == ST_ROW_LOADING && wait != NULL) {
        wait_use(wait, at->part);
    }
    if (search != ST_ROW_FOUND && at->emit) {
        *result = WALK_MISSING; /* whether it can be had shows when it is asked for */
        return false;
    }
    if (search != ST_ROW_FOUND) {
        *result = reader->waiting > 0 ? WALK_MISSING : WALK_OVER;
        if (reader->waiting == 0) {
            reader->parts[at->part].failed = search == ST_ROW_ABSENT ? ST_DAMAGED : ST_UNREADABLE;
        }
        return false;
    }
    struct kp_piece run = run_in_memory(reader, &ref.row);
    if (run.blob == NULL) {
        return walk_missing(reader, partition, at, &ref, result);
    }
    struct kp_slice bytes = cut(run.bytes, at->offset, at->room, *at->given == 0);
    at->room -= bytes.len < at->room ? bytes.len : at->room;
    *at->given += bytes.len;
    if (at->emit && bytes.len > 0) {
        kp_chain_piece(&reader->op->parts[at->part].chain, (struct kp_piece){run.blob, bytes});
    }
    at->offset = ref.row.end;
    return bytes.ptr + bytes.len == run.bytes.ptr + run.bytes.len; /* else the limits lie inside this run */
}

/* Goes along the rows of a part from its offset. */
static enum walk walk_part(struct st_reader *reader, size_t part, const struct st_partition *partition, size_t *given,
                           bool emit) {
    const struct st_read *op = reader->op;
    enum walk result = WALK_OVER;
    struct walk_at at = {.part = part, .offset = op->parts[part].offset, .emit = emit, .given = given};
    at.room = op->parts[part].max_bytes;
    bool more = true;
    while (more && at.offset < partition->end && at.room > 0 && *given < op->max_bytes) {
        size_t left = op->max_bytes - *given;
        at.room = left < at.room ? left : at.room;
        more = walk_row(reader, partition, &at, &result);
    }
    reader->parts[part].next = at.offset;
    return result;
}

/* Finds the partition and fills the view; NULL with part->error set when there is nothing to read. */
static const struct st_partition *part_open(struct st_reader *reader, struct st_read_part *part) {
    struct st_fold *fold = reader->engine->journal.fold;
    const struct st_topic_state *topic = st_fold_topic_by_id(fold, &part->topic_id);
    part->error = ST_OK;
    part->view = (struct st_partition_view){-1, -1};
    if (topic == NULL) {
        part->error = ST_NO_TOPIC_ID;
        return NULL;
    }
    if (part->partition < 0 || part->partition >= topic->view.partition_count) {
        part->error = ST_NO_PARTITION;
        return NULL;
    }
    const struct st_partition *partition = &topic->partitions[part->partition];
    part->view = (struct st_partition_view){.log_start = partition->log_start, .end = partition->end};
    if (part->offset < partition->log_start || part->offset > partition->end) {
        part->error = ST_OFFSET_RANGE;
        return NULL;
    }
    return partition;
}

static enum walk walk_all(struct st_reader *reader, bool emit, size_t *given) {
    *given = 0;
    enum walk result = WALK_OVER;
    size_t count = reader->op->count;
    for (size_t n = 0; n < count; n++) {
        size_t i = (reader->op->first + n) % count;
        const struct st_partition *partition = part_open(reader, &reader->op->parts[i]);
        if (partition == NULL) {
            continue;
        }
        if (reader->parts[i].failed == ST_OK && walk_part(reader, i, partition, given, emit) == WALK_MISSING) {
            result = WALK_MISSING;
        }
        reader->op->parts[i].error = reader->parts[i].failed;
    }
    return result;
}

/* ---- the reader ---- */

/* A reader that goes through history wants what follows next: so much that the store always has several ranges to read
 * at a time, of all parts together no more than leaves the cache to others. */
static void read_ahead(struct st_reader *reader) {
    size_t budget = reader->engine->cache.limit / 4;
    size_t share = budget / (reader->op->count > 0 ? reader->op->count : 1);
    share = share < READ_AHEAD_BYTES ? share : READ_AHEAD_BYTES;
    for (size_t i = 0; reader->loaded && i < reader->op->count; i++) {
        const struct st_read_part *part = &reader->op->parts[i];
        const struct st_partition *partition =
            st_fold_partition(reader->engine->journal.fold, &part->topic_id, part->partition);
        int64_t offset = reader->parts[i].next;
        struct st_row_ref ref;
        size_t ahead = 0;
        for (int row = 0; partition != NULL && row < READ_AHEAD_ROWS && offset < partition->end; row++) {
            bool known = st_row_find(reader->engine, partition, offset, &ref, NULL) == ST_ROW_FOUND;
            if (!known || ref.row.len > budget || (row > 0 && ahead + ref.row.len > share) ||
                (run_in_memory(reader, &ref.row).blob == NULL &&
                 !st_load_start(reader->engine, &ref, true, NULL))) {
                break;
            }
            ahead += ref.row.len;
            budget -= ref.row.len;
            offset = ref.row.end;
        }
    }
}

static void reader_free(struct st_reader *reader) {
    struct st_reader **link = &reader->engine->readers;
    while (*link != reader) {
        link = &(*link)->next;
    }
    *link = reader->next;
    st_defer_cancel(reader->engine->loop, &reader->step);
    while (reader->pins != NULL) {
        struct pin *pin = reader->pins;
        reader->pins = pin->next;
        kp_blob_unref(pin->piece.blob);
        free(pin);
    }
    st_engine_close_soon(reader->engine);
    free(reader);
}

static void take_back(struct st_reader *reader) {
    for (size_t i = 0; i < reader->op->count; i++) {
        kp_chain_release(&reader->op->parts[i].chain);
        kp_chain_init(&reader->op->parts[i].chain);
    }
}

/* What is in memory is handed out if that is all, or enough; the rest is then read ahead, for the next read. */
static void reader_step(struct st_reader *reader) {
    struct st_read *op = reader->op;
    size_t given, wanted;
    bool missing = walk_all(reader, true, &given) == WALK_MISSING;
    if (missing && (op->enough == 0 || given < op->enough)) {
        take_back(reader);
        if (walk_all(reader, false, &wanted) == WALK_MISSING || reader->waiting > 0) {
            return; /* goes on when the last load is there */
        }
        walk_all(reader, true, &given);
    }
    reader->loaded = reader->loaded || missing;
    read_ahead(reader);
    reader_free(reader);
    op->done(op);
}

static void step_due(struct st_task *task) {
    reader_step(ST_OWNER(task, struct st_reader, step));
}

void st_read(struct st_engine *engine, struct st_read *op) {
    struct st_reader *reader = calloc(1, sizeof *reader + op->count * sizeof reader->parts[0]);
    if (reader == NULL) {
        st_refuse_read(engine, op);
        return;
    }
    reader->engine = engine;
    reader->op = op;
    reader->step.fn = step_due;
    for (size_t i = 0; i < WAITS_MOST; i++) {
        reader->waits[i].wait.done = wait_done;
        reader->waits[i].reader = reader;
    }
    for (size_t i = 0; i < op->count; i++) {
        kp_chain_init(&op->parts[i].chain);
    }
    reader->next = engine->readers;
    engine->readers = reader;
    st_defer(engine->loop, &reader->step);
}

void st_reads_retry(struct st_engine *engine) {
    for (struct st_reader *reader = engine->readers; reader != NULL; reader = reader->next) {
        if (reader->starved) {
            reader->starved = false;
            st_defer(engine->loop, &reader->step);
        }
    }
}

void st_reads_release(struct st_engine *engine) {
    while (engine->readers != NULL) {
        reader_free(engine->readers);
    }
}
