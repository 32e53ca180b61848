/*
 * A request is one struct with two events: `apply` changes or reads the state, `answer` hands the result to the
 * sender's loop. They are planned independently, which is the whole point. A request is freed when neither is
 * planned any more and its sender has been told (or is dead).
 */
#include "storage/backends/sim_state.h"

#include <stdio.h>
#include <stdlib.h>

struct st_sim {
    struct st_sim_clock *clock;
    struct sim_state state;
    uint64_t names; /* given out */
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
    enum st_error (*apply)(struct request *request);
    void (*deliver)(struct request *request);
};

struct request {
    struct st_sim *sim;
    struct sim_store *store; /* NULL: its process is dead */
    struct request *next, **link;
    const struct kind *kind;
    struct st_sim_event apply, answer;
    struct st_task told;
    bool answered;       /* by the store: the rest is the loop's */
    bool outcome_hidden; /* the answer is `error`, whatever apply finds */
    enum st_error error;
    int64_t date_ms;
    uint8_t *bytes; /* of the input, copied; or of the result */
    size_t len;
    struct st_journal_entry *entries; /* result of a journal read; bodies lie in bytes */
    struct kp_slice *bodies;          /* ... of a pool's */
    void *op;                         /* the caller's */
    union {                           /* the operation as it was sent; apply writes its outputs here */
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
        struct st_pool_put pool_put;
        struct st_pool_read pool_read;
    } u;
};

/* ---- requests ---- */

static void request_free(struct request *request) {
    *request->link = request->next;
    if (request->next != NULL) {
        request->next->link = request->link;
    }
    free(request->entries);
    free(request->bodies);
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
    request->sim->state.now_ms = request->date_ms;
    request->error = request->kind->apply(request);
    st_sim_trace(request->sim->clock, request->kind->name, request->store == NULL ? 99 : request->store->node,
                 (uint64_t)request->error,
                 request->kind->class == ST_SIM_JOURNAL_PUT ? request->u.journal_put.slot : 0);
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
    struct st_dice *dice = &sim->state.dice;
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
    struct request *request = sim_must(calloc(1, sizeof *request));
    request->sim = sim;
    request->store = store;
    request->kind = kind;
    request->op = op;
    memcpy(&request->u, op, kind->size);
    if (bytes.ptr != NULL) {
        request->bytes = sim_copy(bytes.ptr, bytes.len);
        request->len = bytes.len;
    }
    request->next = sim->requests;
    request->link = &sim->requests;
    if (request->next != NULL) {
        request->next->link = &request->next;
    }
    sim->requests = request;
    store->open++;
    const struct st_sim_faults *faults = &sim->state.options.faults[kind->class];
    enum fate fate = draw_fate(&sim->state.dice, faults);
    sim->fates[fate]++;
    plan(request, fate, faults);
    if (sim->state.watch.sent != NULL) {
        sim->state.watch.sent(sim->state.watch.arg, store->node, kind->class);
    }
}

/* ---- effects ---- */

static void wake_others(struct st_sim *sim, const struct sim_store *writer) {
    for (struct sim_store *store = sim->stores; sim->state.options.hints && store != NULL; store = store->next) {
        if (store != writer && store->hint.heap_index == 0) {
            st_sim_at(sim->clock, &store->hint,
                      sim->clock->now_ns + st_dice_spread(&sim->state.dice, 10000, 100 * ST_MS));
        }
    }
}

static enum st_error apply_object_put(struct request *request) {
    return sim_state_object_put(&request->sim->state, &request->u.object_put,
                                kp_slice_of(request->bytes, request->len));
}

static enum st_error apply_object_get(struct request *request) {
    return sim_state_object_get(&request->sim->state, &request->u.object_get, &request->bytes);
}

static enum st_error apply_object_delete(struct request *request) {
    return sim_state_object_delete(&request->sim->state, &request->u.object_delete);
}

static enum st_error apply_object_list(struct request *request) {
    return sim_state_object_list(&request->sim->state, &request->u.object_list, &request->bytes);
}

static enum st_error apply_journal_put(struct request *request) {
    enum st_error error = sim_state_journal_put(&request->sim->state, &request->u.journal_put,
                                                kp_slice_of(request->bytes, request->len));
    if (error == ST_OK) {
        wake_others(request->sim, request->store);
    }
    return error;
}

static enum st_error apply_journal_read(struct request *request) {
    return sim_state_journal_read(&request->sim->state, &request->u.journal_read, &request->entries,
                                  &request->bytes, &request->len);
}

static enum st_error apply_journal_trim(struct request *request) {
    return sim_state_journal_trim(&request->sim->state, &request->u.journal_trim, request->outcome_hidden);
}

static enum st_error apply_checkpoint_get(struct request *request) {
    return sim_state_checkpoint_get(&request->sim->state, &request->u.checkpoint);
}

static enum st_error apply_checkpoint_advance(struct request *request) {
    return sim_state_checkpoint_advance(&request->sim->state, &request->u.checkpoint);
}

static enum st_error apply_identify(struct request *request) {
    return sim_state_identify(&request->sim->state, &request->u.identify);
}

static enum st_error apply_lease_renew(struct request *request) {
    return sim_state_lease_renew(&request->sim->state, &request->u.lease_renew);
}

static enum st_error apply_lease_list(struct request *request) {
    return sim_state_lease_list(&request->sim->state, &request->u.lease_list, &request->bytes);
}

static enum st_error apply_pool_put(struct request *request) {
    return sim_state_pool_put(&request->sim->state, &request->u.pool_put, kp_slice_of(request->bytes, request->len));
}

static enum st_error apply_pool_read(struct request *request) {
    return sim_state_pool_read(&request->sim->state, &request->u.pool_read, &request->bodies, &request->bytes,
                               &request->len);
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
    read->blob = sim_must(kp_blob_new(request->len));
    memcpy(read->blob->data, request->bytes, request->len);
    for (size_t i = 0; i < read->count; i++) {
        struct kp_slice *body = &request->entries[i].body;
        body->ptr = read->blob->data + (body->ptr - request->bytes);
    }
    read->entries = request->entries;
    request->entries = NULL;
}

static void fill_pool(struct request *request) {
    struct st_pool_read *read = &request->u.pool_read;
    read->blob = NULL;
    read->bodies = NULL;
    if (request->error != ST_OK || read->count == 0) {
        read->count = 0;
        return;
    }
    read->blob = sim_must(kp_blob_new(request->len));
    memcpy(read->blob->data, request->bytes, request->len);
    for (size_t i = 0; i < read->count; i++) {
        struct kp_slice *body = &request->bodies[i];
        body->ptr = read->blob->data + (body->ptr - request->bytes);
    }
    read->bodies = request->bodies;
    request->bodies = NULL;
}

/* KIND(name, member of the union, struct, class, fill) makes name_kind and the backend's sim_name. A request that
 * was answered "unknown" has no answer of the store, hence no date. */
#define KIND(name_, member, type, class_, fill)                                                                    \
    static void name_##_deliver(struct request *request) {                                                         \
        struct type *op = request->op;                                                                             \
        fill(request);                                                                                             \
        *op = request->u.member;                                                                                   \
        op->error = request->error;                                                                                \
        op->date_ms = request->outcome_hidden ? 0 : request->date_ms;                                              \
        op->done(op);                                                                                              \
    }                                                                                                              \
    static const struct kind name_##_kind = {#name_, class_, sizeof(struct type), apply_##name_, name_##_deliver};

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
KIND(pool_put, pool_put, st_pool_put, ST_SIM_POOL, fill_nothing)
KIND(pool_read, pool_read, st_pool_read, ST_SIM_POOL, fill_pool)
#undef KIND

#define NO_BYTES ((struct kp_slice){0})

static bool sim_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun,
                            size_t len, char name[ST_OBJECT_NAME_MAX]) {
    struct st_sim *sim = ST_OWNER(store, struct sim_store, base)->sim;
    (void)len;
    if (st_dice_chance(&sim->state.dice, sim->state.options.nameless)) {
        return false;
    }
    memset(name, 0, ST_OBJECT_NAME_MAX);
    snprintf(name, ST_OBJECT_NAME_MAX, "%s%u-%llu-%llu", st_object_prefix(kind), journal,
             (unsigned long long)begun, (unsigned long long)++sim->names);
    return true;
}

static void sim_object_put(struct st_store *store, struct st_object_put *op) {
    size_t head = store->profile.object_head_room, align = store->profile.object_align;
    size_t padded = align == 0 ? op->len : (op->len + align - 1) / align * align;
    bool fits = op->at <= op->buffer->size && op->buffer->size - op->at >= head + padded;
    sim_rule(&ST_OWNER(store, struct sim_store, base)->sim->state, fits, "an object's buffer is too small");
    uint8_t *object = op->buffer->data + op->at;
    send(store, &object_put_kind, op, kp_slice_of(object + head, op->len));
    memset(object, 0xee, head); /* head room and padding are the backend's */
    if (fits) {
        memset(object + head + op->len, 0xee, padded - op->len);
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

static void sim_pool_put(struct st_store *store, struct st_pool_put *op) {
    send(store, &pool_put_kind, op, op->body);
}

static void sim_pool_read(struct st_store *store, struct st_pool_read *op) {
    send(store, &pool_read_kind, op, NO_BYTES);
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
    .pool_put = sim_pool_put,
    .pool_read = sim_pool_read,
    .close = sim_close,
};

struct st_store *st_sim_store_new(struct st_sim *sim, struct st_loop *loop, unsigned node) {
    struct sim_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->base.ops = &sim_ops;
    store->base.profile = sim->state.options.profile;
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
        .watched = true,
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
    struct st_sim *sim = sim_must(calloc(1, sizeof *sim));
    sim->clock = clock;
    sim->state = (struct sim_state){.dice = st_dice_of(seed, "store"), .options = *options, .watch = *watch};
    return sim;
}

void st_sim_free(struct st_sim *sim) {
    while (sim->requests != NULL) {
        struct request *request = sim->requests;
        st_sim_cancel(sim->clock, &request->apply);
        st_sim_cancel(sim->clock, &request->answer);
        request_free(request);
    }
    sim_state_release(&sim->state);
    free(sim);
}

struct st_sim_options *st_sim_options(struct st_sim *sim) {
    return &sim->state.options;
}

int64_t st_sim_date_ms(const struct st_sim *sim) {
    return sim->state.options.epoch_ms + sim->clock->now_ns / ST_MS;
}

const uint64_t *st_sim_fates(const struct st_sim *sim) {
    return sim->fates;
}

uint64_t st_sim_last_slot(struct st_sim *sim, uint32_t journal) {
    return sim_journal(&sim->state, journal)->last;
}

uint64_t st_sim_trimmed_below(struct st_sim *sim, uint32_t journal) {
    return sim_journal(&sim->state, journal)->trimmed_below;
}

uint64_t st_sim_revived(struct st_sim *sim, uint32_t journal) {
    return sim_journal(&sim->state, journal)->revived;
}

uint64_t st_sim_pooled(const struct st_sim *sim) {
    return sim->state.pool_count;
}

uint64_t st_sim_checkpoint_slot(struct st_sim *sim, uint32_t journal) {
    return sim_newest_checkpoint(sim_journal(&sim->state, journal));
}
