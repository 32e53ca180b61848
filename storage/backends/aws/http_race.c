/*
 *   start -> first under way -> [again_ms, may] -> both under way -> one ended -> the other ended -> done
 *                    \                                      \
 *                     ended -> done                          one ended with 2xx, the other cancelled -> done
 *
 * Nothing here knows whether the client is closing: it ends both requests, and each end arrives like any other. A timer
 * that comes due between the close and the first of these ends starts a second request, which the client refuses.
 */
#include "storage/backends/aws/http_race.h"

static bool is_good(const struct st_http_request *request) {
    return request->end == ST_HTTP_ANSWERED && request->status / 100 == 2;
}

/* How much is open about what a request did. */
static int badness(const struct st_http_request *request) {
    const bool answered = request->end == ST_HTTP_ANSWERED || request->end == ST_HTTP_TOO_LONG;
    return request->end == ST_HTTP_LOST ? 2 : answered ? 1 : 0;
}

/* Nothing is under way any more. Both ask for the same but for the time, so they can change places as a whole. */
static void finish(struct st_http_race *race, bool second_counts) {
    st_timer_stop(race->loop, &race->timer);
    if (second_counts) {
        const struct st_http_request first = race->request;
        race->request = race->other;
        race->request.timeout_ms = first.timeout_ms;
        race->other = first;
    }
    race->done(race);
}

static void ended(struct st_http_race *race, bool is_second) {
    struct st_http_request *this = is_second ? &race->other : &race->request;
    struct st_http_request *that = is_second ? &race->request : &race->other;
    race->under_way--;
    if (race->under_way == 0) { /* the last, unless it was alone */
        const bool this_counts = !race->twice || is_good(this) || badness(this) >= badness(that);
        finish(race, this_counts == is_second);
    } else if (is_good(this)) {
        st_http_cancel(race->client, that);
        that->end = ST_HTTP_LOST;
        race->under_way--;
        finish(race, is_second);
    }
}

static void first_done(struct st_http_request *request) {
    struct st_http_race *race = ST_OWNER(request, struct st_http_race, request);
    ended(race, false);
}

static void second_done(struct st_http_request *request) {
    struct st_http_race *race = ST_OWNER(request, struct st_http_race, other);
    ended(race, true);
}

static void send_again(struct st_http_race *race) {
    const int64_t left_ms = (race->due_ns - st_now_ns(race->loop)) / ST_MS;
    race->late = true;
    if (left_ms <= 0 || !race->may(race)) {
        return;
    }
    const struct st_http_request *first = &race->request;
    race->other = (struct st_http_request){
        .method = first->method,
        .url = first->url,
        .headers = first->headers,
        .header_count = first->header_count,
        .body = first->body,
        .timeout_ms = left_ms,
        .stall_ms = first->stall_ms,
        .fresh = first->fresh,
        .answer_max = first->answer_max,
        .done = second_done,
    };
    race->twice = true;
    race->under_way++;
    st_http_start(race->client, &race->other);
}

static void again_due(struct st_timer *timer) {
    send_again(ST_OWNER(timer, struct st_http_race, timer));
}

void st_http_race_start(struct st_loop *loop, struct st_http_client *client, struct st_http_race *race) {
    race->late = false;
    race->twice = false;
    race->other = (struct st_http_request){0};
    race->loop = loop;
    race->client = client;
    race->timer = (struct st_timer){.fn = again_due};
    race->due_ns = st_now_ns(loop) + race->request.timeout_ms * ST_MS;
    race->under_way = 1;
    race->request.done = first_done;
    st_http_start(client, &race->request);
    if (race->request.into != NULL || race->again_ms < 0) {
        return;
    }
    if (race->again_ms == 0) {
        send_again(race);
    } else {
        st_timer_start(loop, &race->timer, race->again_ms * ST_MS);
    }
}

void st_http_race_release(struct st_http_race *race) {
    st_http_request_release(&race->request);
    st_http_request_release(&race->other);
}
