/*
 * A request is one struct with two events: `apply` changes or reads the state, `answer` hands the result to the sender's
 * loop. They are planned independently, which is the whole point. A request is freed when neither is planned any more
 * and its sender has been told (or is dead).
 *
 * The state is plain: objects in an array sorted by name, journals in arrays indexed by slot.
 */
#include "storage/backends/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define JOURNALS_MAX 16
#define HOLDERS_MAX 64

struct object {
    char name[ST_OBJECT_NAME_MAX];
    uint8_t *data;
    size_t len;
    bool deleted; /* kept as a tombstone, so that a second life of the name is seen */
};

struct slot {
    uint8_t *data; /* NULL: absent */
    size_t len;
};

struct checkpoint {
    uint64_t slot;
    int64_t made_ms;
    uint64_t size;
    char name[ST_OBJECT_NAME_MAX];
};

struct journal {
    struct slot *slots; /* slots[0] is slot 1 */
    uint64_t room, last, trimmed_below;
    struct checkpoint *checkpoints; /* all that ever stood, oldest first */
    size_t checkpoint_count;
};

struct st_sim {
    struct st_sim_clock *clock;
    struct st_dice dice;
    struct st_sim_options options;
    struct st_sim_watch watch;
    struct object *objects;
    size_t object_count, object_room;
    uint64_t names; /* given out */
    struct journal journals[JOURNALS_MAX];
    struct st_lease leases[HOLDERS_MAX];
    size_t lease_count;
    struct st_identify identity; /* format_version 0: not founded */
    struct sim_store *stores;
    struct request *requests;
    uint64_t fates[ST_SIM_FATES];
};

struct sim_store {
    struct st_store base;
    struct st_sim *sim;
    struct st_loop *loop;
    unsigned node;
    struct sim_store *next, **link;
    size_t open; /* operations whose done has not run */
    struct st_sim_event hint;
    struct st_task hinted, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

enum fate { FATE_REFUSED, FATE_LOST_REQUEST, FATE_LOST_ANSWER, FATE_FAILED, FATE_LATE, FATE_SLOW, FATE_FINE };
_Static_assert(FATE_FINE + 1 == ST_SIM_FATES, "one counter a fate");

struct request;
struct kind {
    const char *name;
    enum st_sim_class class;
    size_t size; /* of the operation struct */
    void (*apply)(struct request *request);
    void (*deliver)(struct request *request);
};

struct request {
    struct st_sim *sim;
    struct sim_store *store; /* NULL: its process is dead */
    struct request *next, **link;
    const struct kind *kind;
    struct st_sim_event apply, answer;
    struct st_task told;
    bool answered;            /* by the store: the rest is the loop's */
    bool outcome_hidden;      /* the answer is `error`, whatever apply finds */
    enum st_error error;
    int64_t date_ms;
    uint8_t *bytes; /* of the input, copied; or of the result */
    size_t len;
    struct st_journal_entry *entries; /* result of a journal read; bodies lie in bytes */
    void *op; /* the caller's */
    union {   /* the operation as it was sent; apply writes its outputs here */
        struct st_object_put object_put;
        struct st_object_get object_get;
        struct st_object_delete object_delete;
        struct st_object_list object_list;
        struct st_journal_put journal_put;
        struct st_journal_read journal_read;
        struct st_journal_trim journal_trim;
        struct st_checkpoint_ref checkpoint;
        struct st_identify identify;
        struct st_lease_renew lease_renew;
        struct st_lease_list lease_list;
    } u;
};

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("simulator: out of memory\n", stderr);
        abort();
    }
    return memory;
}

static uint8_t *copy_of(const void *bytes, size_t len) {
    uint8_t *copy = must(malloc(len + 1));
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

static void rule(struct st_sim *sim, bool kept, const char *text) {
    if (!kept && sim->watch.broken != NULL) {
        sim->watch.broken(sim->watch.arg, text);
    }
}

/* ---- requests ---- */

static void request_free(struct request *request) {
    *request->link = request->next;
    if (request->next != NULL) {
        request->next->link = request->link;
    }
    free(request->entries);
    free(request->bytes);
    free(request);
}

/* Nothing more will happen with it. */
static void request_settle(struct request *request) {
    if (request->op == NULL && request->apply.heap_index == 0 && request->answer.heap_index == 0) {
        request_free(request);
    }
}

static void apply_due(struct st_sim_event *event) {
    struct request *request = ST_OWNER(event, struct request, apply);
    enum st_error told = request->error;
    request->date_ms = st_sim_date_ms(request->sim);
    request->error = ST_OK;
    request->kind->apply(request);
    st_sim_trace(request->sim->clock, request->kind->name, request->store == NULL ? 99 : request->store->node,
                 (uint64_t)request->error, request->kind->class == ST_SIM_JOURNAL_PUT ? request->u.journal_put.slot : 0);
    if (request->outcome_hidden) {
        request->error = told;
    }
    request_settle(request);
}

static void told(struct st_task *task) {
    struct request *request = ST_OWNER(task, struct request, told);
    struct sim_store *store = request->store;
    request->kind->deliver(request); /* the caller may start new operations, or close */
    request->op = NULL;
    request->store = NULL;
    store->open--;
    if (store->open == 0 && store->closed != NULL) {
        st_defer(store->loop, &store->closing);
    }
    request_settle(request);
}

static void answer_due(struct st_sim_event *event) {
    struct request *request = ST_OWNER(event, struct request, answer);
    if (request->store == NULL) {
        request_settle(request);
        return;
    }
    request->answered = true;
    request->told.fn = told;
    st_defer(request->store->loop, &request->told);
}

static enum fate draw_fate(struct st_dice *dice, const struct st_sim_faults *faults) {
    const uint32_t chances[] = {faults->refused, faults->lost_request, faults->lost_answer,
                                faults->failed,  faults->late,         faults->slow};
    uint64_t draw = st_dice_below(dice, 1000000);
    for (unsigned i = 0; i < sizeof chances / sizeof chances[0]; i++) {
        if (draw < chances[i]) {
            return (enum fate)i;
        }
        draw -= chances[i];
    }
    return FATE_FINE;
}

static void plan(struct request *request, enum fate fate, const struct st_sim_faults *faults) {
    struct st_sim *sim = request->sim;
    struct st_dice *dice = &sim->dice;
    int64_t now = sim->clock->now_ns;
    int64_t there = now + st_dice_spread(dice, faults->latency_least_ns, faults->latency_most_ns);
    int64_t back = there + st_dice_spread(dice, faults->latency_least_ns, faults->latency_most_ns);
    int64_t apply_at = there, answer_at = back;
    bool effect = true;
    switch (fate) {
    case FATE_REFUSED:
        effect = false;
        request->error = ST_REFUSED;
        break;
    case FATE_LOST_REQUEST:
        effect = false;
        request->error = ST_UNKNOWN;
        answer_at = now + faults->timeout_ns;
        break;
    case FATE_LOST_ANSWER:
        request->error = ST_UNKNOWN;
        answer_at = now + faults->timeout_ns;
        break;
    case FATE_FAILED:
        request->error = ST_UNKNOWN;
        effect = st_dice_below(dice, 2) == 0;
        apply_at = st_dice_below(dice, 2) == 0 ? there : back + st_dice_spread(dice, 1000, 500 * ST_MS);
        break;
    case FATE_LATE:
        request->error = ST_UNKNOWN;
        answer_at = now + faults->timeout_ns;
        apply_at = now + st_dice_spread(dice, faults->latency_most_ns, faults->late_most_ns);
        break;
    case FATE_SLOW:
        apply_at = now + st_dice_spread(dice, faults->latency_least_ns, faults->slow_most_ns);
        answer_at = apply_at + st_dice_spread(dice, faults->latency_least_ns, faults->slow_most_ns);
        break;
    case FATE_FINE:
        break;
    }
    request->outcome_hidden = request->error != ST_OK;
    request->apply.fn = apply_due;
    request->answer.fn = answer_due;
    if (effect) {
        st_sim_at(sim->clock, &request->apply, apply_at);
    }
    st_sim_at(sim->clock, &request->answer, answer_at);
}

/* Sends a copy of `op`; the input bytes that it points at are copied too. */
static void send(struct st_store *handle, const struct kind *kind, void *op, struct kp_slice bytes) {
    struct sim_store *store = ST_OWNER(handle, struct sim_store, base);
    struct st_sim *sim = store->sim;
    struct request *request = must(calloc(1, sizeof *request));
    request->sim = sim;
    request->store = store;
    request->kind = kind;
    request->op = op;
    memcpy(&request->u, op, kind->size);
    if (bytes.ptr != NULL) {
        request->bytes = copy_of(bytes.ptr, bytes.len);
        request->len = bytes.len;
    }
    request->next = sim->requests;
    request->link = &sim->requests;
    if (request->next != NULL) {
        request->next->link = &request->next;
    }
    sim->requests = request;
    store->open++;
    const struct st_sim_faults *faults = &sim->options.faults[kind->class];
    enum fate fate = draw_fate(&sim->dice, faults);
    sim->fates[fate]++;
    plan(request, fate, faults);
    if (sim->watch.sent != NULL) {
        sim->watch.sent(sim->watch.arg, store->node, kind->class);
    }
}

/* ---- objects ---- */

/* Where the name stands, or would stand. */
static size_t object_at(const struct st_sim *sim, const char *name) {
    size_t low = 0, high = sim->object_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(sim->objects[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct object *object_of(struct st_sim *sim, const char *name) {
    size_t at = object_at(sim, name);
    return at < sim->object_count && strcmp(sim->objects[at].name, name) == 0 ? &sim->objects[at] : NULL;
}

static void object_put_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    const char *name = request->u.object_put.name;
    struct object *old = object_of(sim, name);
    if (old != NULL) {
        rule(sim, old->len == request->len && memcmp(old->data, request->bytes, old->len) == 0,
             "an object's name was given to other bytes");
        return; /* a late twin of a deleted object's put must not revive it: names are unique for ever */
    }
    if (sim->object_count == sim->object_room) {
        sim->object_room = sim->object_room == 0 ? 64 : 2 * sim->object_room;
        sim->objects = must(realloc(sim->objects, sim->object_room * sizeof *sim->objects));
    }
    size_t at = object_at(sim, name);
    memmove(&sim->objects[at + 1], &sim->objects[at], (sim->object_count - at) * sizeof *sim->objects);
    sim->object_count++;
    struct object *object = &sim->objects[at];
    *object = (struct object){.data = copy_of(request->bytes, request->len), .len = request->len};
    memcpy(object->name, name, sizeof object->name);
}

static void object_get_apply(struct request *request) {
    const struct st_object_get *get = &request->u.object_get;
    const struct object *object = object_of(request->sim, get->name);
    if (object == NULL || object->deleted) {
        request->error = ST_ABSENT;
    } else if (get->position > object->len || get->len > object->len - get->position) {
        request->error = ST_DAMAGED;
    } else {
        request->bytes = copy_of(object->data + get->position, get->len);
    }
}

static void object_delete_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    const char *name = request->u.object_delete.name;
    for (unsigned j = 0; j < JOURNALS_MAX; j++) {
        size_t count = sim->journals[j].checkpoint_count;
        rule(sim, count == 0 || strcmp(sim->journals[j].checkpoints[count - 1].name, name) != 0,
             "the newest checkpoint's object was deleted");
    }
    struct object *object = object_of(sim, name);
    if (object != NULL) {
        object->deleted = true;
    }
}

static const char *kind_prefix(enum st_object_kind kind) {
    switch (kind) {
    case ST_OBJECT_INGEST:
        return "ingest/";
    case ST_OBJECT_CHECKPOINT:
        return "checkpoints/";
    case ST_OBJECT_SEGMENT:
        return "topics/";
    }
    return "";
}

static void object_list_apply(struct request *request) {
    const struct st_sim *sim = request->sim;
    struct st_object_list *list = &request->u.object_list;
    const char *prefix = kind_prefix(list->kind);
    request->bytes = must(malloc((list->capacity + 1) * ST_OBJECT_NAME_MAX));
    list->count = 0;
    list->more = false;
    for (size_t i = 0; i < sim->object_count; i++) {
        const struct object *object = &sim->objects[i];
        if (object->deleted || strncmp(object->name, prefix, strlen(prefix)) != 0 ||
            strcmp(object->name, list->after) <= 0) {
            continue;
        }
        if (list->count == list->capacity) {
            list->more = true;
            break;
        }
        memcpy(request->bytes + list->count++ * ST_OBJECT_NAME_MAX, object->name, ST_OBJECT_NAME_MAX);
    }
}

static bool sim_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun, size_t len,
                            char name[ST_OBJECT_NAME_MAX]) {
    struct st_sim *sim = ST_OWNER(store, struct sim_store, base)->sim;
    (void)len;
    if (st_dice_chance(&sim->dice, sim->options.nameless)) {
        return false;
    }
    memset(name, 0, ST_OBJECT_NAME_MAX);
    snprintf(name, ST_OBJECT_NAME_MAX, "%s%u-%llu-%llu", kind_prefix(kind), journal, (unsigned long long)begun,
             (unsigned long long)++sim->names);
    return true;
}

/* ---- journals ---- */

static bool slot_there(const struct journal *journal, uint64_t slot) {
    return slot >= 1 && slot <= journal->last && journal->slots[slot - 1].data != NULL;
}

static uint64_t newest_checkpoint(const struct journal *journal) {
    return journal->checkpoint_count == 0 ? 0 : journal->checkpoints[journal->checkpoint_count - 1].slot;
}

static void wake_others(struct st_sim *sim, const struct sim_store *writer) {
    for (struct sim_store *store = sim->stores; sim->options.hints && store != NULL; store = store->next) {
        if (store != writer && store->hint.heap_index == 0) {
            st_sim_at(sim->clock, &store->hint, sim->clock->now_ns + st_dice_spread(&sim->dice, 10000, 100 * ST_MS));
        }
    }
}

static void journal_put_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    const struct st_journal_put *put = &request->u.journal_put;
    struct journal *journal = &sim->journals[put->journal];
    uint64_t covered = newest_checkpoint(journal);
    bool gone = sim->options.guarded && (put->slot <= covered || put->slot < journal->trimmed_below);
    if (slot_there(journal, put->slot) && !(gone && sim->options.gone_first)) {
        request->error = ST_TAKEN;
        return;
    }
    if (gone) {
        request->error = ST_GONE;
        return;
    }
    rule(sim, put->slot <= journal->last + 1, "a slot was put whose predecessor does not exist");
    rule(sim, request->len > 0 && request->len <= ST_ENTRY_MAX, "an entry is too large");
    while (put->slot > journal->room) {
        uint64_t room = journal->room == 0 ? 256 : 2 * journal->room;
        journal->slots = must(realloc(journal->slots, room * sizeof *journal->slots));
        memset(journal->slots + journal->room, 0, (room - journal->room) * sizeof *journal->slots);
        journal->room = room;
    }
    journal->slots[put->slot - 1] = (struct slot){copy_of(request->bytes, request->len), request->len};
    journal->last = put->slot > journal->last ? put->slot : journal->last;
    wake_others(sim, request->store);
}

static void journal_read_apply(struct request *request) {
    struct st_journal_read *read = &request->u.journal_read;
    const struct journal *journal = &request->sim->journals[read->journal];
    uint64_t first = read->from < 1 ? 1 : read->from, slot;
    size_t bytes = 0, count = 0;
    /* A page may be cut anywhere after its first entry, and then says so. */
    size_t most = read->max_bytes;
    if (st_dice_below(&request->sim->dice, 4) == 0) {
        most = (size_t)st_dice_below(&request->sim->dice, most + 1);
    }
    for (slot = first; slot <= journal->last && (count == 0 || bytes < most); slot++) {
        bytes += slot_there(journal, slot) ? journal->slots[slot - 1].len : 0;
        count += slot_there(journal, slot) ? 1 : 0;
    }
    read->at_end = slot > journal->last;
    read->count = count;
    request->len = bytes;
    request->bytes = must(malloc(bytes + 1));
    request->entries = must(calloc(count + 1, sizeof *request->entries));
    size_t used = 0, given = 0;
    for (uint64_t s = first; s < slot; s++) {
        if (slot_there(journal, s)) {
            const struct slot *entry = &journal->slots[s - 1];
            memcpy(request->bytes + used, entry->data, entry->len);
            request->entries[given++] = (struct st_journal_entry){s, {request->bytes + used, entry->len}};
            used += entry->len;
        }
    }
}

/* The highest slot that a checkpoint which has stood for the grace covers. */
static uint64_t settled_slot(const struct st_sim *sim, const struct journal *journal) {
    int64_t before_ms = st_sim_date_ms(sim) - sim->options.trim_grace_ms;
    uint64_t settled = 0;
    for (size_t i = 0; i < journal->checkpoint_count && journal->checkpoints[i].made_ms <= before_ms; i++) {
        settled = journal->checkpoints[i].slot;
    }
    return settled;
}

static void journal_trim_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    const struct st_journal_trim *trim = &request->u.journal_trim;
    struct journal *journal = &sim->journals[trim->journal];
    rule(sim, trim->below <= settled_slot(sim, journal), "slots were trimmed before a checkpoint of them had stood for the grace");
    rule(sim, trim->below <= journal->last, "the last slot was trimmed");
    uint64_t below = trim->below > journal->last + 1 ? journal->last + 1 : trim->below;
    if (request->outcome_hidden && below > journal->trimmed_below) { /* who fails, fails halfway */
        below = journal->trimmed_below + st_dice_below(&sim->dice, below - journal->trimmed_below + 1);
    }
    for (uint64_t slot = 1; slot < below; slot++) {
        free(journal->slots[slot - 1].data);
        journal->slots[slot - 1] = (struct slot){0};
    }
    journal->trimmed_below = below > journal->trimmed_below ? below : journal->trimmed_below;
}

/* ---- checkpoints, identity, leases ---- */

static void checkpoint_get_apply(struct request *request) {
    struct st_checkpoint_ref *ref = &request->u.checkpoint;
    const struct journal *journal = &request->sim->journals[ref->journal];
    if (journal->checkpoint_count == 0) {
        request->error = ST_ABSENT;
        return;
    }
    const struct checkpoint *newest = &journal->checkpoints[journal->checkpoint_count - 1];
    ref->slot = newest->slot;
    ref->size = newest->size;
    ref->made_ms = newest->made_ms;
    memcpy(ref->name, newest->name, sizeof ref->name);
}

static void checkpoint_advance_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    struct st_checkpoint_ref *ref = &request->u.checkpoint;
    struct journal *journal = &sim->journals[ref->journal];
    if (journal->checkpoint_count > 0 && ref->slot <= newest_checkpoint(journal)) {
        request->error = ST_TAKEN;
        return;
    }
    const struct object *object = object_of(sim, ref->name);
    rule(sim, object != NULL && !object->deleted && object->len == ref->size, "a checkpoint names an object that is not there");
    rule(sim, ref->slot <= journal->last, "a checkpoint covers slots that do not exist");
    journal->checkpoints =
        must(realloc(journal->checkpoints, (journal->checkpoint_count + 1) * sizeof *journal->checkpoints));
    struct checkpoint *made = &journal->checkpoints[journal->checkpoint_count++];
    *made = (struct checkpoint){.slot = ref->slot, .made_ms = st_sim_date_ms(sim), .size = ref->size};
    memcpy(made->name, ref->name, sizeof made->name);
    ref->made_ms = made->made_ms;
}

static void identify_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    struct st_identify *identify = &request->u.identify;
    bool founds = sim->identity.format_version == 0;
    if (founds) {
        sim->identity = *identify;
    }
    identify->cluster_id = sim->identity.cluster_id;
    identify->format_version = sim->identity.format_version;
    identify->founded = founds;
}

static void lease_renew_apply(struct request *request) {
    struct st_sim *sim = request->sim;
    const struct st_lease *lease = &request->u.lease_renew.lease;
    size_t at = 0;
    while (at < sim->lease_count && strncmp(sim->leases[at].holder, lease->holder, sizeof lease->holder) != 0) {
        at++;
    }
    if (lease->len == 0) {
        if (at < sim->lease_count) {
            sim->lease_count--;
            memmove(&sim->leases[at], &sim->leases[at + 1], (sim->lease_count - at) * sizeof *lease);
        }
        return;
    }
    if (at == HOLDERS_MAX) {
        request->error = ST_REFUSED;
        return;
    }
    sim->lease_count += at == sim->lease_count ? 1 : 0;
    sim->leases[at] = *lease;
    sim->leases[at].renewed_ms = st_sim_date_ms(sim);
}

static void lease_list_apply(struct request *request) {
    const struct st_sim *sim = request->sim;
    struct st_lease_list *list = &request->u.lease_list;
    list->count = sim->lease_count < list->capacity ? sim->lease_count : list->capacity;
    request->bytes = copy_of(sim->leases, list->count * sizeof *sim->leases);
}

/* ---- answers ---- */

/* What an answer carries besides the struct itself: written into the caller's memory only now, on its loop. */
static void fill_nothing(struct request *request) {
    (void)request;
}

static void fill_get(struct request *request) {
    if (request->error == ST_OK) {
        memcpy(request->u.object_get.into, request->bytes, request->u.object_get.len);
    }
}

static void fill_list(struct request *request) {
    struct st_object_list *list = &request->u.object_list;
    if (request->error == ST_OK) {
        memcpy(list->names, request->bytes, list->count * ST_OBJECT_NAME_MAX);
    } else {
        list->count = 0;
    }
}

static void fill_leases(struct request *request) {
    struct st_lease_list *list = &request->u.lease_list;
    if (request->error == ST_OK) {
        memcpy(list->leases, request->bytes, list->count * sizeof *list->leases);
    } else {
        list->count = 0;
    }
}

static void fill_read(struct request *request) {
    struct st_journal_read *read = &request->u.journal_read;
    read->blob = NULL;
    read->entries = NULL;
    if (request->error != ST_OK) {
        read->count = 0;
        read->at_end = false;
        return;
    }
    if (read->count == 0) {
        return;
    }
    read->blob = must(kp_blob_new(request->len));
    memcpy(read->blob->data, request->bytes, request->len);
    for (size_t i = 0; i < read->count; i++) {
        struct kp_slice *body = &request->entries[i].body;
        body->ptr = read->blob->data + (body->ptr - request->bytes);
    }
    read->entries = request->entries;
    request->entries = NULL;
}

/* KIND(name, member of the union, struct, class, fill) makes name_kind and the backend's sim_name. A request that was
 * answered "unknown" has no answer of the store, hence no date. */
#define KIND(name_, member, type, class_, fill)                                                                        \
    static void name_##_deliver(struct request *request) {                                                             \
        struct type *op = request->op;                                                                                 \
        fill(request);                                                                                                 \
        *op = request->u.member;                                                                                       \
        op->error = request->error;                                                                                    \
        op->date_ms = request->outcome_hidden ? 0 : request->date_ms;                                                  \
        op->done(op);                                                                                                  \
    }                                                                                                                  \
    static const struct kind name_##_kind = {#name_, class_, sizeof(struct type), name_##_apply, name_##_deliver};

KIND(object_put, object_put, st_object_put, ST_SIM_OBJECT_PUT, fill_nothing)
KIND(object_get, object_get, st_object_get, ST_SIM_OBJECT_GET, fill_get)
KIND(object_delete, object_delete, st_object_delete, ST_SIM_OTHER, fill_nothing)
KIND(object_list, object_list, st_object_list, ST_SIM_OTHER, fill_list)
KIND(journal_put, journal_put, st_journal_put, ST_SIM_JOURNAL_PUT, fill_nothing)
KIND(journal_read, journal_read, st_journal_read, ST_SIM_JOURNAL_READ, fill_read)
KIND(journal_trim, journal_trim, st_journal_trim, ST_SIM_OTHER, fill_nothing)
KIND(checkpoint_get, checkpoint, st_checkpoint_ref, ST_SIM_OTHER, fill_nothing)
KIND(checkpoint_advance, checkpoint, st_checkpoint_ref, ST_SIM_OTHER, fill_nothing)
KIND(identify, identify, st_identify, ST_SIM_OTHER, fill_nothing)
KIND(lease_renew, lease_renew, st_lease_renew, ST_SIM_OTHER, fill_nothing)
KIND(lease_list, lease_list, st_lease_list, ST_SIM_OTHER, fill_leases)
#undef KIND

#define NO_BYTES ((struct kp_slice){0})

static void sim_object_put(struct st_store *store, struct st_object_put *op) {
    size_t head = store->profile.object_head_room, align = store->profile.object_align;
    size_t padded = align == 0 ? op->len : (op->len + align - 1) / align * align;
    rule(ST_OWNER(store, struct sim_store, base)->sim, op->buffer->size >= head + padded, "an object's buffer is too small");
    send(store, &object_put_kind, op, kp_slice_of(op->buffer->data + head, op->len));
    memset(op->buffer->data, 0xee, head); /* head room and padding are the backend's */
    if (op->buffer->size >= head + padded) {
        memset(op->buffer->data + head + op->len, 0xee, padded - op->len);
    }
}

static void sim_object_get(struct st_store *store, struct st_object_get *op) {
    send(store, &object_get_kind, op, NO_BYTES);
}

static void sim_object_delete(struct st_store *store, struct st_object_delete *op) {
    send(store, &object_delete_kind, op, NO_BYTES);
}

static void sim_object_list(struct st_store *store, struct st_object_list *op) {
    send(store, &object_list_kind, op, NO_BYTES);
}

static void sim_journal_put(struct st_store *store, struct st_journal_put *op) {
    send(store, &journal_put_kind, op, op->body);
}

static void sim_journal_read(struct st_store *store, struct st_journal_read *op) {
    send(store, &journal_read_kind, op, NO_BYTES);
}

static void sim_journal_trim(struct st_store *store, struct st_journal_trim *op) {
    send(store, &journal_trim_kind, op, NO_BYTES);
}

static void sim_checkpoint_get(struct st_store *store, struct st_checkpoint_ref *op) {
    send(store, &checkpoint_get_kind, op, NO_BYTES);
}

static void sim_checkpoint_advance(struct st_store *store, struct st_checkpoint_ref *op) {
    send(store, &checkpoint_advance_kind, op, NO_BYTES);
}

static void sim_identify(struct st_store *store, struct st_identify *op) {
    send(store, &identify_kind, op, NO_BYTES);
}

static void sim_lease_renew(struct st_store *store, struct st_lease_renew *op) {
    send(store, &lease_renew_kind, op, NO_BYTES);
}

static void sim_lease_list(struct st_store *store, struct st_lease_list *op) {
    send(store, &lease_list_kind, op, NO_BYTES);
}

/* ---- handles ---- */

static void store_free(struct sim_store *store) {
    st_sim_cancel(store->sim->clock, &store->hint);
    st_defer_cancel(store->loop, &store->hinted);
    st_defer_cancel(store->loop, &store->closing);
    *store->link = store->next;
    if (store->next != NULL) {
        store->next->link = store->link;
    }
    free(store);
}

static void close_now(struct st_task *task) {
    struct sim_store *store = ST_OWNER(task, struct sim_store, closing);
    void (*closed)(void *arg) = store->closed;
    void *arg = store->closed_arg;
    store_free(store);
    closed(arg);
}

static void sim_close(struct st_store *handle, void (*closed)(void *arg), void *arg) {
    struct sim_store *store = ST_OWNER(handle, struct sim_store, base);
    store->closed = closed;
    store->closed_arg = arg;
    if (store->open == 0) {
        st_defer(store->loop, &store->closing);
    }
}

static void hint_due(struct st_sim_event *event) {
    struct sim_store *store = ST_OWNER(event, struct sim_store, hint);
    st_defer(store->loop, &store->hinted);
}

static void hinted(struct st_task *task) {
    struct sim_store *store = ST_OWNER(task, struct sim_store, hinted);
    if (store->base.changed != NULL) {
        store->base.changed(store->base.changed_arg);
    }
}

static const struct st_store_ops sim_ops = {
    .identify = sim_identify,
    .object_name = sim_object_name,
    .object_put = sim_object_put,
    .object_get = sim_object_get,
    .object_delete = sim_object_delete,
    .object_list = sim_object_list,
    .journal_put = sim_journal_put,
    .journal_read = sim_journal_read,
    .journal_trim = sim_journal_trim,
    .checkpoint_get = sim_checkpoint_get,
    .checkpoint_advance = sim_checkpoint_advance,
    .lease_renew = sim_lease_renew,
    .lease_list = sim_lease_list,
    .close = sim_close,
};

struct st_store *st_sim_store_new(struct st_sim *sim, struct st_loop *loop, unsigned node) {
    struct sim_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->base.ops = &sim_ops;
    store->base.profile = sim->options.profile;
    store->sim = sim;
    store->loop = loop;
    store->node = node;
    store->hint.fn = hint_due;
    store->hinted.fn = hinted;
    store->closing.fn = close_now;
    store->next = sim->stores;
    store->link = &sim->stores;
    if (store->next != NULL) {
        store->next->link = &store->next;
    }
    sim->stores = store;
    return &store->base;
}

void st_sim_store_kill(struct st_store *handle) {
    struct sim_store *store = ST_OWNER(handle, struct sim_store, base);
    for (struct request *request = store->sim->requests, *next; request != NULL; request = next) {
        next = request->next;
        if (request->store == store) {
            st_defer_cancel(store->loop, &request->told);
            st_sim_cancel(store->sim->clock, &request->answer);
            request->store = NULL;
            request->op = NULL;
            request_settle(request);
        }
    }
    store_free(store);
}

/* ---- the whole ---- */

struct st_sim_options st_sim_options_quiet(void) {
    struct st_sim_options options = {
        .profile = {.inline_limit = 4096,
                    .flush_limit = 256 * 1024,
                    .uploads_in_flight = 2,
                    .object_head_room = 64,
                    .object_align = 512,
                    .poll_least_ns = 10 * ST_MS,
                    .poll_most_ns = ST_SECOND},
        .guarded = true,
        .hints = true,
        .epoch_ms = INT64_C(1700000000000),
        .trim_grace_ms = INT64_C(24) * 3600 * 1000,
    };
    for (unsigned i = 0; i < ST_SIM_CLASSES; i++) {
        options.faults[i] = (struct st_sim_faults){
            .latency_least_ns = ST_MS / 10,
            .latency_most_ns = 2 * ST_MS,
            .timeout_ns = ST_SECOND,
            .late_most_ns = ST_SECOND,
            .slow_most_ns = ST_SECOND,
        };
    }
    return options;
}

struct st_sim *st_sim_new(struct st_sim_clock *clock, uint64_t seed, const struct st_sim_options *options,
                          const struct st_sim_watch *watch) {
    struct st_sim *sim = must(calloc(1, sizeof *sim));
    sim->clock = clock;
    sim->dice = st_dice_of(seed, "store");
    sim->options = *options;
    sim->watch = *watch;
    return sim;
}

void st_sim_free(struct st_sim *sim) {
    while (sim->requests != NULL) {
        struct request *request = sim->requests;
        st_sim_cancel(sim->clock, &request->apply);
        st_sim_cancel(sim->clock, &request->answer);
        request_free(request);
    }
    for (size_t i = 0; i < sim->object_count; i++) {
        free(sim->objects[i].data);
    }
    free(sim->objects);
    for (unsigned j = 0; j < JOURNALS_MAX; j++) {
        struct journal *journal = &sim->journals[j];
        for (uint64_t slot = 0; slot < journal->last; slot++) {
            free(journal->slots[slot].data);
        }
        free(journal->slots);
        free(journal->checkpoints);
    }
    free(sim);
}

struct st_sim_options *st_sim_options(struct st_sim *sim) {
    return &sim->options;
}

int64_t st_sim_date_ms(const struct st_sim *sim) {
    return sim->options.epoch_ms + sim->clock->now_ns / ST_MS;
}

const uint64_t *st_sim_fates(const struct st_sim *sim) {
    return sim->fates;
}

uint64_t st_sim_last_slot(const struct st_sim *sim, uint32_t journal) {
    return sim->journals[journal].last;
}

uint64_t st_sim_trimmed_below(const struct st_sim *sim, uint32_t journal) {
    return sim->journals[journal].trimmed_below;
}

uint64_t st_sim_checkpoint_slot(const struct st_sim *sim, uint32_t journal) {
    return newest_checkpoint(&sim->journals[journal]);
}
