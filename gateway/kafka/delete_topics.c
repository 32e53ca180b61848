/*
 * DeleteTopics: by name, or from v6 on by id. A topic whose deletion is not known to be over after timeout_ms is
 * answered REQUEST_TIMED_OUT; it goes all the same.
 */
#include "gateway/kafka/dispatch.h"

#include <stdlib.h>

struct deletion {
    struct st_topic_delete op;
    struct gw_exchange *x;
    struct kp_slice name; /* as asked; ptr NULL: by id */
    struct kp_uuid id;    /* as asked, or zero */
    enum kp_error error;
    const char *message;
    bool open;
};

struct removal {
    struct gw_exchange *x;
    struct deletion *deletions;
    int32_t count;
    int32_t open; /* deletions under way, and one while they are being started */
    struct st_timer timer;
    bool answered;
};

static void refuse(struct deletion *deletion, enum kp_error error, const char *message) {
    deletion->error = error;
    deletion->message = message;
}

/* ---- the answer ---- */

static void answer(struct removal *removal) {
    struct gw_exchange *x = removal->x;
    struct kp_delete_topics_response response;
    removal->answered = true;
    st_timer_stop(x->gateway->loop, &removal->timer);
    kp_init(kp_delete_topics_response_type(), &response);
    response.responses.items = gw_exchange_items(x, kp_delete_topics_response_topic_type(), removal->count);
    if (response.responses.items == NULL) {
        return;
    }
    response.responses.count = removal->count;
    for (int32_t i = 0; i < removal->count; i++) {
        struct deletion *deletion = &removal->deletions[i];
        struct kp_delete_topics_response_topic *out = &response.responses.items[i];
        if (deletion->open) {
            refuse(deletion, KP_ERROR_REQUEST_TIMED_OUT, st_error_text(ST_UNKNOWN));
        }
        out->name = deletion->name;
        out->topic_id = deletion->id;
        out->error_code = (int16_t)deletion->error;
        if (deletion->message != NULL) {
            out->error_message = kp_slice_cstr(deletion->message);
        }
    }
    gw_exchange_answer(x, &response);
}

/* ---- checks ---- */

static int by_id(const void *a, const void *b) {
    const struct deletion *const *one = a, *const *two = b;
    return memcmp(&(*one)->op.id, &(*two)->op.id, sizeof(struct kp_uuid));
}

/* One topic asked for twice, by whatever: nobody can say which of the two answers would be which. */
static bool refuse_repeated(struct gw_exchange *x, struct removal *removal) {
    size_t count = (size_t)removal->count;
    struct deletion **sorted = gw_exchange_room(x, count, sizeof(struct deletion *));
    if (sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &removal->deletions[i];
    }
    qsort(sorted, count, sizeof(struct deletion *), by_id);
    for (size_t i = 1; i < count; i++) {
        if (!kp_uuid_is_zero(&sorted[i]->op.id) && by_id(&sorted[i], &sorted[i - 1]) == 0) {
            refuse(sorted[i], KP_ERROR_INVALID_REQUEST, "The topic stands more than once in the request.");
            refuse(sorted[i - 1], KP_ERROR_INVALID_REQUEST, "The topic stands more than once in the request.");
        }
    }
    return true;
}

/* Finds the topic; deletion->op.id stays zero when there is none to delete. */
static void resolve(struct gw_exchange *x, struct deletion *deletion, enum st_error sync) {
    bool named = deletion->name.ptr != NULL, identified = !kp_uuid_is_zero(&deletion->id);
    if (named == identified) {
        refuse(deletion, KP_ERROR_INVALID_REQUEST, "A topic is named either by name or by id.");
        return;
    }
    const struct st_topic *topic = named ? st_topic_by_name(x->gateway->engine, deletion->name)
                                         : st_topic_by_id(x->gateway->engine, &deletion->id);
    if (topic != NULL) {
        deletion->op.id = topic->id;
    } else if (sync != ST_OK) {
        refuse(deletion, KP_ERROR_REQUEST_TIMED_OUT, st_error_text(sync));
    } else {
        enum st_error error = named ? ST_NO_TOPIC : ST_NO_TOPIC_ID;
        refuse(deletion, st_error_kafka(error), st_error_text(error));
    }
}

/* ---- deleting ---- */

static void deletion_over(struct removal *removal) {
    if (--removal->open == 0 && !removal->answered) {
        answer(removal);
    }
}

static void deleted(struct st_topic_delete *op) {
    struct deletion *deletion = ST_OWNER(op, struct deletion, op);
    struct gw_exchange *x = deletion->x;
    deletion->open = false;
    if (op->error != ST_OK) {
        bool named = deletion->name.ptr != NULL;
        enum st_error error = op->error == ST_NO_TOPIC_ID && named ? ST_NO_TOPIC : op->error;
        refuse(deletion, st_error_kafka(error), st_error_text(error));
    }
    deletion_over(x->state);
    gw_exchange_drop(x);
}

static void timed_out(struct st_timer *timer) {
    answer(ST_OWNER(timer, struct removal, timer));
}

static void start(struct gw_exchange *x, struct deletion *deletion) {
    struct removal *removal = x->state;
    deletion->open = true;
    deletion->op.done = deleted;
    removal->open++;
    gw_exchange_hold(x);
    st_topic_delete(x->gateway->engine, &deletion->op);
}

static void delete_all(struct gw_exchange *x, struct removal *removal, enum st_error sync) {
    for (int32_t i = 0; i < removal->count; i++) {
        resolve(x, &removal->deletions[i], sync);
    }
    if (!refuse_repeated(x, removal)) {
        return;
    }
    const struct kp_delete_topics_request *request = x->request;
    removal->open = 1;
    for (int32_t i = 0; i < removal->count; i++) {
        struct deletion *deletion = &removal->deletions[i];
        if (deletion->error == KP_ERROR_NONE) {
            deletion->id = x->header.api_version >= 6 ? deletion->op.id : deletion->id;
            start(x, deletion);
        }
    }
    if (removal->open > 1) {
        int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : 0;
        st_timer_start(x->gateway->loop, &removal->timer, timeout_ms * ST_MS);
    }
    deletion_over(removal);
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    gw_exchange_hold(x);
    delete_all(x, x->state, error);
    gw_exchange_drop(x);
}

void gw_handle_delete_topics(struct gw_exchange *x) {
    const struct kp_delete_topics_request *request = x->request;
    bool structs = x->header.api_version >= 6;
    struct removal *removal = gw_exchange_room(x, 1, sizeof *removal);
    if (removal == NULL) {
        return;
    }
    *removal = (struct removal){.x = x, .timer = {.fn = timed_out}};
    removal->count = structs ? request->topics.count : request->topic_names.count;
    x->state = removal;
    removal->deletions = gw_exchange_room(x, (size_t)removal->count, sizeof *removal->deletions);
    if (removal->deletions == NULL) {
        return;
    }
    for (int32_t i = 0; i < removal->count; i++) {
        struct deletion *deletion = &removal->deletions[i];
        deletion->x = x;
        deletion->name = structs ? request->topics.items[i].name : request->topic_names.items[i];
        deletion->id = structs ? request->topics.items[i].topic_id : (struct kp_uuid){0};
    }
    gw_exchange_sync(x, fresh);
}
