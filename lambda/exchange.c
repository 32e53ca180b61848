/*
 * The life of a call: taken from the pool, started, perhaps waiting for the engine, answered, returned. Three rules
 * come together here and nowhere else: done never runs inside rest_handle, every call is answered by its deadline, and
 * memory that an operation of the engine uses is not reused before its callback.
 *
 *   started --> busy (an operation of the engine) --> parked (for records) --> busy ... --> answered
 *                      |                                   |
 *                      +--> full (for room) <--------------+   only while it streams
 *
 * The deadline watches what is busy. A call that is parked or full has nothing under way, so it can be woken, hurried
 * and answered at any time.
 */
#include "lambda/exchange.h"

#include "lambda/query.h"
#include "lambda/response.h"
#include "lambda/router.h"

#include <stdio.h>
#include <stdlib.h>

#define SPARE_MAX 256 /* exchanges kept for reuse */

static void link_into(struct rest_exchange **list, struct rest_exchange *exchange) {
    exchange->next = *list;
    exchange->link = list;
    if (*list != NULL) {
        (*list)->link = &exchange->next;
    }
    *list = exchange;
}

static void unlink_from(struct rest_exchange *exchange) {
    *exchange->link = exchange->next;
    if (exchange->next != NULL) {
        exchange->next->link = exchange->link;
    }
}

static void stop_park(struct rest_exchange *exchange) {
    if (exchange->parked) {
        exchange->parked = false;
        st_wait_stop(exchange->rest->engine, &exchange->waiter);
        st_timer_stop(exchange->rest->loop, &exchange->wake);
    }
}

/* Nothing points at the exchange any more: frees what the handler held and keeps the memory for the next call. */
static void recycle(struct rest_exchange *exchange) {
    struct rest *rest = exchange->rest;
    if (exchange->release != NULL) {
        exchange->release(exchange);
        exchange->release = NULL;
    }
    st_timer_stop(rest->loop, &exchange->deadline);
    stop_park(exchange);
    exchange->full = false;
    st_defer_cancel(rest->loop, &exchange->going);
    rest->waits -= exchange->counted ? 1 : 0;
    exchange->counted = false;
    unlink_from(exchange);
    if (rest->spare_count == SPARE_MAX) {
        free(exchange);
        return;
    }
    link_into(&rest->spare, exchange);
    rest->spare_count++;
}

/* The answer goes out; the exchange lives on only for an operation that is still under way. */
static void answer(struct rest_exchange *exchange) {
    struct rest_call *call = exchange->call;
    exchange->call = NULL;
    call->exchange = NULL;
    if (call->response.body.failed) {
        rest_response_release(&call->response);
        rest_response_error(&call->response, REST_OVERLOADED);
    }
    if (!exchange->busy) {
        recycle(exchange);
    }
    call->done(call);
}

static void answer_from_loop(struct st_task *task) {
    answer(ST_OWNER(task, struct rest_exchange, answer));
}

static void deadline_passed(struct st_timer *timer) {
    struct rest_exchange *exchange = ST_OWNER(timer, struct rest_exchange, deadline);
    if (exchange->late != ST_OK) {
        rest_exchange_store_error(exchange, exchange->late);
    } else {
        rest_exchange_error(exchange, REST_STORE_AWAY);
    }
}

static void go_on(struct st_task *task) {
    struct rest_exchange *exchange = ST_OWNER(task, struct rest_exchange, going);
    if (exchange->parked || exchange->full) {
        stop_park(exchange);
        exchange->full = false;
        exchange->go_on(exchange);
    }
}

static void partition_grew(struct st_waiter *waiter) {
    struct rest_exchange *exchange = ST_OWNER(waiter, struct rest_exchange, waiter);
    go_on(&exchange->going);
}

static void time_to_wake(struct st_timer *timer) {
    struct rest_exchange *exchange = ST_OWNER(timer, struct rest_exchange, wake);
    go_on(&exchange->going);
}

static struct rest_exchange *take(struct rest *rest) {
    struct rest_exchange *exchange = rest->spare;
    if (exchange == NULL) {
        exchange = calloc(1, sizeof *exchange);
        if (exchange == NULL) {
            return NULL;
        }
        exchange->rest = rest;
        exchange->deadline.fn = deadline_passed;
        exchange->answer.fn = answer_from_loop;
        exchange->going.fn = go_on;
        exchange->wake.fn = time_to_wake;
    } else {
        unlink_from(exchange);
        rest->spare_count--;
    }
    link_into(&rest->active, exchange);
    return exchange;
}

/* Finds the route and decodes its topic; answers when there is nothing to start. */
static const struct rest_route *find_route(struct rest_exchange *exchange) {
    const struct rest_request *request = &exchange->call->request;
    struct rest_match match;
    rest_match(request->method, request->path, &match);
    if (match.route == NULL) {
        rest_exchange_error(exchange, match.allow[0] == 0 ? REST_UNKNOWN_ROUTE : REST_METHOD_NOT_ALLOWED);
        if (match.allow[0] != 0) {
            rest_response_header(&exchange->call->response, "Allow", match.allow);
        }
        return NULL;
    }
    if (match.topic.ptr != NULL) {
        bool decoded = rest_percent_decode(match.topic, exchange->topic, sizeof exchange->topic, &exchange->topic_len);
        if (!decoded || !st_topic_name_valid(rest_exchange_topic(exchange))) {
            rest_exchange_store_error(exchange, ST_BAD_TOPIC_NAME);
            return NULL;
        }
    }
    return match.route;
}

bool rest_handle(struct rest *rest, struct rest_call *call) {
    struct rest_exchange *exchange = take(rest);
    if (exchange == NULL) {
        return false;
    }
    call->exchange = exchange;
    exchange->call = call;
    exchange->busy = false;
    exchange->synced = false;
    exchange->hurried = false;
    exchange->waited = false;
    exchange->last_words = NULL;
    exchange->late = ST_OK;
    call->streaming = false;
    call->cut = false;
    exchange->end_ns = call->timeout_ms > 0 ? st_now_ns(rest->loop) + call->timeout_ms * ST_MS : ST_NEVER;
    rest_exchange_renew(exchange);
    exchange->starting = true;
    const struct rest_route *route = find_route(exchange);
    if (route != NULL) {
        route->start(exchange);
    }
    exchange->starting = false;
    return true;
}

struct kp_slice rest_exchange_topic(const struct rest_exchange *exchange) {
    return kp_slice_of(exchange->topic, exchange->topic_len);
}

int64_t rest_exchange_ms_left(const struct rest_exchange *exchange) {
    int64_t left_ns = exchange->deadline_ns - st_now_ns(exchange->rest->loop);
    return left_ns > 0 ? left_ns / ST_MS : 0;
}

void rest_exchange_renew(struct rest_exchange *exchange) {
    struct rest *rest = exchange->rest;
    int64_t deadline_ns = st_now_ns(rest->loop) + rest->options.timeout_ms * ST_MS;
    exchange->deadline_ns = deadline_ns < exchange->end_ns ? deadline_ns : exchange->end_ns;
    st_timer_stop(rest->loop, &exchange->deadline);
}

void rest_exchange_wait(struct rest_exchange *exchange) {
    exchange->busy = true;
    if (exchange->deadline.heap_index == 0) {
        int64_t left_ns = exchange->deadline_ns - st_now_ns(exchange->rest->loop);
        st_timer_start(exchange->rest->loop, &exchange->deadline, left_ns > 0 ? left_ns : 0);
    }
}

void rest_exchange_commit(struct rest_exchange *exchange) {
    exchange->busy = true;
    st_timer_stop(exchange->rest->loop, &exchange->deadline);
}

void rest_exchange_commit_within(struct rest_exchange *exchange, enum st_error late) {
    rest_exchange_wait(exchange);
    exchange->late = late;
}

bool rest_exchange_resume(struct rest_exchange *exchange) {
    exchange->busy = false;
    if (exchange->call == NULL) {
        recycle(exchange);
        return false;
    }
    return true;
}

static void synced(struct st_sync *sync) {
    struct rest_exchange *exchange = ST_OWNER(sync, struct rest_exchange, sync);
    if (!rest_exchange_resume(exchange)) {
        return;
    }
    if (sync->error != ST_OK) {
        rest_exchange_store_error(exchange, sync->error);
        return;
    }
    exchange->synced = true;
    exchange->after_sync(exchange);
}

void rest_exchange_sync(struct rest_exchange *exchange, void (*after)(struct rest_exchange *exchange)) {
    exchange->after_sync = after;
    exchange->sync = (struct st_sync){.done = synced};
    rest_exchange_wait(exchange);
    st_sync(exchange->rest->engine, &exchange->sync);
}

/* ---- waiting for records ---- */

bool rest_exchange_hurried(const struct rest_exchange *exchange) {
    return exchange->hurried || exchange->rest->draining;
}

bool rest_exchange_may_wait(struct rest_exchange *exchange) {
    struct rest *rest = exchange->rest;
    if (!exchange->counted && rest->waits < rest->options.waits_max) {
        exchange->counted = true;
        rest->waits++;
    }
    return exchange->counted;
}

static void tell_waits(struct rest_exchange *exchange) {
    if (!exchange->waited) {
        exchange->waited = true;
        if (exchange->call->waits != NULL) {
            exchange->call->waits(exchange->call);
        }
    }
}

void rest_exchange_park(struct rest_exchange *exchange, const struct st_topic *topic, int32_t partition,
                        int64_t delay_ns, void (*go_on_then)(struct rest_exchange *exchange)) {
    struct rest *rest = exchange->rest;
    st_timer_stop(rest->loop, &exchange->deadline);
    exchange->go_on = go_on_then;
    exchange->parked = true;
    exchange->waiter = (struct st_waiter){.partition = partition, .fn = partition_grew};
    if (topic != NULL) {
        exchange->waiter.topic_id = topic->id;
        st_wait_start(rest->engine, &exchange->waiter);
    }
    st_timer_start(rest->loop, &exchange->wake, delay_ns > 0 ? delay_ns : 0);
    tell_waits(exchange);
}

static void hurry(struct rest_exchange *exchange) {
    exchange->hurried = true;
    if (exchange->parked || exchange->full) {
        st_defer(exchange->rest->loop, &exchange->going);
    }
}

void rest_call_hurry(struct rest_call *call) {
    if (call->exchange != NULL) {
        hurry(call->exchange);
    }
}

void rest_drain(struct rest *rest) {
    rest->draining = true;
    for (struct rest_exchange *exchange = rest->active; exchange != NULL; exchange = exchange->next) {
        hurry(exchange);
    }
}

/* ---- answers in pieces ---- */

bool rest_exchange_can_stream(const struct rest_exchange *exchange) {
    return exchange->call->begun != NULL && exchange->call->piece != NULL;
}

void rest_exchange_begin(struct rest_exchange *exchange) {
    struct rest_call *call = exchange->call;
    call->streaming = true;
    tell_waits(exchange);
    call->begun(call);
}

void rest_exchange_piece(struct rest_exchange *exchange, struct kp_chain *piece,
                         void (*go_on_then)(struct rest_exchange *exchange)) {
    st_timer_stop(exchange->rest->loop, &exchange->deadline);
    if (exchange->call->piece(exchange->call, piece)) {
        go_on_then(exchange);
    } else {
        exchange->go_on = go_on_then;
        exchange->full = true;
        if (rest_exchange_hurried(exchange)) {
            st_defer(exchange->rest->loop, &exchange->going);
        }
    }
}

void rest_call_resume(struct rest_call *call) {
    struct rest_exchange *exchange = call->exchange;
    if (exchange != NULL && exchange->full) {
        st_defer(exchange->rest->loop, &exchange->going);
    }
}

void rest_exchange_end(struct rest_exchange *exchange, bool cut) {
    exchange->call->cut = cut;
    answer(exchange);
}

/* ---- answers ---- */

void rest_exchange_done(struct rest_exchange *exchange) {
    if (exchange->starting) {
        st_defer(exchange->rest->loop, &exchange->answer);
    } else {
        answer(exchange);
    }
}

/* An answer that has begun cannot become another: the error is the last that it says. */
static void answer_error(struct rest_exchange *exchange, struct rest_response *error) {
    struct rest_call *call = exchange->call;
    if (!call->streaming) {
        call->response = *error;
        rest_exchange_done(exchange);
        return;
    }
    struct kp_chain words;
    kp_chain_init(&words);
    exchange->last_words(exchange, &error->body, &words);
    rest_response_release(error);
    bool cut = words.failed;
    call->piece(call, &words);
    rest_exchange_end(exchange, cut);
}

void rest_exchange_error(struct rest_exchange *exchange, enum rest_error error) {
    struct rest_response response;
    rest_response_error(&response, error);
    answer_error(exchange, &response);
}

void rest_exchange_error_text(struct rest_exchange *exchange, enum rest_error error, const char *text) {
    struct rest_response response;
    rest_response_error_text(&response, error, text);
    answer_error(exchange, &response);
}

void rest_exchange_json_error(struct rest_exchange *exchange, enum rest_json_error error, size_t at) {
    char text[160];
    snprintf(text, sizeof text, "The body %s (at byte %zu).", rest_json_error_text(error), at);
    rest_exchange_error_text(exchange, REST_BAD_JSON, text);
}

void rest_exchange_store_error(struct rest_exchange *exchange, enum st_error error) {
    struct rest_response response;
    rest_response_store_error(&response, error);
    answer_error(exchange, &response);
}
