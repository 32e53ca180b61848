/*
 * A request goes round: keys -> signature -> HTTP -> what came of it -> finish, or once more.
 *
 *     START   keys at hand are used at once, else it waits for them
 *     KEYS    signs for the service's clock and sends
 *     SENT    sent again over another connection while its first try takes long, if it has a hedge; then
 *             the answer, or its lack, is classed by the one table of aws_errors.def:
 *               FINAL, STATE          finish
 *               TRANSIENT, THROTTLED  wait and send again, if tries, budget and time allow; else finish
 *               SKEWED, SIGNATURE     learn the offset from Date, sign and send again, once
 *               KEYS                  have the keys fetched anew; if they changed, sign and send again, once
 *
 * Body and headers of all tries are the same bytes; only date and signature differ, because a signature is good for
 * minutes. A body that must be hashed is hashed once.
 *
 * What is told follows two rules. A try is of unknown outcome when its bytes may have reached the service and no
 * definite answer came back; one such try makes the whole request so, until an answer tells the state of what was to be
 * written (success, or a STATE error: the layer above looks whose write it was). A plain refusal (403, a throttle)
 * only tells about its own try, so it does not undo that. Of two requests that raced both are looked at.
 *
 * `done` always runs from a task of its own: a request may fail inside st_aws_start, and the memory of the try is gone
 * by then, so that who is called may start the next request in the same struct.
 */
#include "storage/backends/aws/request.h"

#include "storage/backends/aws/http_race.h"
#include "storage/backends/aws/scan.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_COST = 14,
    RETRY_COST_THROTTLED = 5,
    RETRY_GAIN = 1,            /* of a success at the first try */
    BASE_MS = 50,
    BASE_DYNAMODB_MS = 25,
    BASE_THROTTLED_MS = 1000,
    DELAY_MS_MAX = 20000,
    RETRY_AFTER_MS_MORE = 5000, /* what a service may ask for beyond our own delay */
    SIGNATURE_SKEW_MS = 4 * 60 * 1000, /* services accept five minutes; less cannot have been the reason */
    URL_MAX = 320 + ST_AWS_TARGET_MAX,
    HOST_MAX = 320,
    OWN_HEADERS = 4,
};

enum class { FINAL, STATE, TRANSIENT, THROTTLED, SKEWED, SIGNATURE, KEYS };

struct st_aws_try {
    struct st_aws_request *request;
    struct st_http_race race;
    struct st_aws_keys_want want;
    struct st_timer timer;     /* the delay before a retry, or the deadline while keys are waited for */
    int64_t deadline_ns;
    uint64_t generation;       /* of the keys that signed it last */
    unsigned retries, paid;    /* paid: what the last retry cost */
    bool unknown;              /* some try so far */
    bool skew_tried, keys_tried;
    bool answer_held;          /* a KEYS error that stands if there are no other keys */
    char payload[ST_SIGV4_HASH_MAX];
    char url[URL_MAX];
    struct st_sigv4_headers signed_as;
    const char *headers[ST_AWS_HEADERS_MAX + OWN_HEADERS];
    size_t header_count;
};

static bool is_read_only(const struct st_aws_request *request) {
    return request->read_only || strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
}

static struct st_loop *loop_of(const struct st_aws_try *try) {
    return try->request->service->client->loop;
}

static void run_done(struct st_task *task) {
    struct st_aws_request *request = ST_OWNER(task, struct st_aws_request, task);
    request->done(request);
}

/* Gives up the memory of the try and has `done` run. */
static void finish(struct st_aws_try *try, enum st_aws_end end) {
    struct st_aws_request *request = try->request;
    st_timer_stop(loop_of(try), &try->timer);
    request->end = end;
    request->into_len = try->race.request.into_len;
    request->answer = try->race.request.answer;
    request->state = NULL;
    explicit_bzero(try, sizeof *try);
    free(try);
    st_defer(request->service->client->loop, &request->task);
}

/* Nothing more will be tried and no answer stands. */
static void give_up(struct st_aws_try *try) {
    finish(try, try->unknown ? ST_AWS_UNKNOWN : ST_AWS_REFUSED);
}

/* ---- the budget of retries ---- */

static bool budget_take(struct st_aws_try *try, unsigned cost) {
    struct st_aws_client *client = try->request->service->client;
    if (client->retry_spent + cost > ST_AWS_RETRY_TOKENS_MAX) {
        return false;
    }
    client->retry_spent += cost;
    try->paid = cost;
    return true;
}

static void budget_give(struct st_aws_try *try) {
    struct st_aws_client *client = try->request->service->client;
    unsigned gain = try->paid > 0 ? try->paid : RETRY_GAIN;
    client->retry_spent -= gain < client->retry_spent ? gain : client->retry_spent;
}

/* ---- sending ---- */

/* As libcurl makes Host of the URL: without the port that the scheme implies. */
static bool host_of(const struct st_aws_service *service, char host[HOST_MAX]) {
    const char *at = strstr(service->endpoint, "://");
    int len = at == NULL ? -1 : snprintf(host, HOST_MAX, "%s", at + 3);
    if (len <= 0 || len >= HOST_MAX) {
        return false;
    }
    const char *implied = strncmp(service->endpoint, "https:", 6) == 0 ? ":443" : ":80";
    size_t cut = strlen(implied);
    if ((size_t)len > cut && strcmp(host + len - cut, implied) == 0) {
        host[(size_t)len - cut] = '\0';
    }
    return true;
}

static bool sign(struct st_aws_try *try, const struct st_aws_keys *keys) {
    struct st_aws_request *request = try->request;
    struct st_aws_service *service = request->service;
    bool is_s3 = strcmp(service->name, "s3") == 0;
    char host[HOST_MAX];
    const struct st_sigv4 parts = {
        .method = request->method,
        .target = request->target,
        .host = host,
        .headers = request->headers,
        .header_count = request->header_count,
        .payload = try->payload,
        .payload_header = is_s3,
        .escape_path = !is_s3,
        .time_ms = st_now_wall_ms(service->client->loop) + service->client->skew_ms,
        .region = service->client->region,
        .service = service->name,
        .keys = keys,
    };
    try->generation = keys->generation;
    if (!host_of(service, host) || !st_sigv4_sign(&parts, &service->key, &try->signed_as)) {
        return false;
    }
    const char *const own[OWN_HEADERS] = {try->signed_as.date, try->signed_as.payload, try->signed_as.token,
                                          try->signed_as.authorization};
    try->header_count = request->header_count;
    memcpy(try->headers, request->headers, request->header_count * sizeof *try->headers);
    for (size_t i = 0; i < OWN_HEADERS; i++) {
        if (own[i][0] != '\0') {
            try->headers[try->header_count++] = own[i];
        }
    }
    return true;
}

static void race_done(struct st_http_race *race);
static void keys_came(struct st_aws_keys_want *want, const struct st_aws_keys *keys);

/* Retries are not: what failed once is in trouble, not late, and the budget of retries counts on single requests. */
static bool is_hedged(const struct st_aws_try *try) {
    return try->request->hedge != NULL && try->retries == 0;
}

static bool may_send_again(struct st_http_race *race) {
    struct st_aws_try *try = ST_OWNER(race, struct st_aws_try, race);
    const bool may = st_aws_hedge_late(try->request->hedge, race->again_ms);
    try->request->tries += may;
    return may;
}

static void send_signed(struct st_aws_try *try, const struct st_aws_keys *keys) {
    struct st_aws_request *request = try->request;
    int64_t left_ms = (try->deadline_ns - st_now_ns(loop_of(try))) / ST_MS;
    st_http_race_release(&try->race);
    try->race = (struct st_http_race){0};
    try->answer_held = false;
    if (left_ms <= 0) {
        snprintf(request->reason, sizeof request->reason, "no time was left to send the request");
        give_up(try);
        return;
    }
    if (!sign(try, keys)) {
        snprintf(request->reason, sizeof request->reason, "the request cannot be signed: it is too long, not escaped, "
                                                          "or memory is out");
        give_up(try);
        return;
    }
    try->race.request = (struct st_http_request){
        .method = request->method,
        .url = try->url,
        .headers = try->headers,
        .header_count = try->header_count,
        .body = request->body,
        .timeout_ms = request->try_ms > 0 && request->try_ms < left_ms ? request->try_ms : left_ms,
        .stall_ms = request->stall_ms,
        .fresh = try->retries > 0,
        .into = request->into,
        .into_size = request->into_size,
        .answer_max = request->answer_max,
    };
    try->race.again_ms = is_hedged(try) ? st_aws_hedge_begin(request->hedge, request->body.len) : -1;
    try->race.may = may_send_again;
    try->race.done = race_done;
    request->tries++;
    request->status = 0;
    request->code[0] = '\0';
    request->reason[0] = '\0';
    st_http_race_start(loop_of(try), request->service->client->http, &try->race);
}

static void answer_stands(struct st_aws_try *try);

static void keys_late(struct st_timer *timer) {
    struct st_aws_try *try = ST_OWNER(timer, struct st_aws_try, timer);
    struct st_aws_request *request = try->request;
    st_aws_keys_forget(request->service->client->credentials, &try->want);
    if (try->answer_held) {
        answer_stands(try);
        return;
    }
    snprintf(request->reason, sizeof request->reason, "the credentials did not come in time");
    give_up(try);
}

static void ask_keys(struct st_aws_try *try) {
    struct st_aws_client *client = try->request->service->client;
    const struct st_aws_keys *keys = st_aws_keys_now(client->credentials);
    if (keys != NULL) {
        send_signed(try, keys);
        return;
    }
    int64_t left_ns = try->deadline_ns - st_now_ns(client->loop);
    try->timer.fn = keys_late;
    st_timer_start(client->loop, &try->timer, left_ns > 0 ? left_ns : 0);
    try->want = (struct st_aws_keys_want){.done = keys_came};
    st_aws_keys_want(client->credentials, &try->want);
}

static void keys_came(struct st_aws_keys_want *want, const struct st_aws_keys *keys) {
    struct st_aws_try *try = ST_OWNER(want, struct st_aws_try, want);
    struct st_aws_request *request = try->request;
    st_timer_stop(loop_of(try), &try->timer);
    if (try->answer_held && (keys == NULL || keys->generation == try->generation)) {
        answer_stands(try);
    } else if (keys == NULL) {
        snprintf(request->reason, sizeof request->reason, "%s", want->reason);
        snprintf(request->code, sizeof request->code, ST_AWS_NO_CREDENTIALS);
        give_up(try);
    } else {
        send_signed(try, keys);
    }
}

/* ---- what came of it ---- */

static bool is_success(const struct st_aws_request *request) {
    return request->status >= 200 && request->status < 300 && request->code[0] == '\0';
}

/* Printable ASCII, of the first line only: a second one might repeat what was signed. */
static void clean(char *text) {
    size_t i = 0;
    for (; text[i] != '\0' && text[i] != '\n' && text[i] != '\r'; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            text[i] = '?';
        }
    }
    text[i] = '\0';
}

/* Code and message: S3 and STS in XML, DynamoDB in JSON as {"__type": "namespace#Code", "message": "..."}. */
static void read_error(struct st_aws_request *request, struct kp_slice body) {
    char message[512] = "", type[128];
    if (st_scan_json(body, "__type", type, sizeof type)) {
        const char *hash = strrchr(type, '#');
        snprintf(request->code, sizeof request->code, "%s", hash == NULL ? type : hash + 1);
        if (!st_scan_json(body, "message", message, sizeof message)) {
            st_scan_json(body, "Message", message, sizeof message);
        }
    } else if (st_scan_xml(body, "Code", request->code, sizeof request->code)) {
        st_scan_xml(body, "Message", message, sizeof message);
    }
    clean(request->code);
    clean(message);
    if (request->code[0] == '\0' && request->status < 300) {
        snprintf(request->code, sizeof request->code, "Error");
    }
    if (request->code[0] == '\0') {
        snprintf(request->reason, sizeof request->reason, "the service answered status %d without saying why",
                 request->status);
    } else if (message[0] == '\0') {
        snprintf(request->reason, sizeof request->reason, "the service answered %s", request->code);
    } else {
        snprintf(request->reason, sizeof request->reason, "%s: %s", request->code, message);
    }
}

/* An error of S3 may come with status 200, when it had begun to answer before it knew. */
static bool is_error_in_200(const struct st_aws_request *request, struct kp_slice body) {
    return request->status == 200 && strcmp(request->service->name, "s3") == 0 && st_scan_xml_root(body, "Error");
}

static enum class class_of(const struct st_aws_request *request, bool *unknown) {
    static const struct {
        const char *code;
        enum class class;
        bool unknown;
    } table[] = {
#define AWS_ERROR(code, class, unknown) {code, class, unknown},
#include "storage/backends/aws/aws_errors.def"
#undef AWS_ERROR
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].code, request->code) == 0) {
            *unknown = table[i].unknown;
            return table[i].class;
        }
    }
    int status = request->status;
    *unknown = status >= 500 || status == 408 || status < 300; /* a 200 that holds an error had begun to work */
    if (*unknown) {
        return TRANSIENT;
    }
    if (request->code[0] != '\0') {
        return FINAL;
    }
    if (status == 404 || status == 409 || status == 412 || status == 416) {
        return STATE; /* of a HEAD, which has no body to name the error */
    }
    return status == 429 ? THROTTLED : FINAL;
}

/* The last answer is what is told, unless an earlier try may have had effect and this one does not tell. */
static void answer_stands(struct st_aws_try *try) {
    bool unknown;
    bool tells = is_success(try->request) || class_of(try->request, &unknown) == STATE;
    finish(try, try->unknown && !tells ? ST_AWS_UNKNOWN : ST_AWS_ANSWERED);
}

static int64_t delay_ms(struct st_aws_try *try, bool throttled) {
    bool dynamodb = strcmp(try->request->service->name, "dynamodb") == 0;
    int64_t most = throttled ? BASE_THROTTLED_MS : dynamodb ? BASE_DYNAMODB_MS : BASE_MS;
    for (unsigned i = 0; i < try->retries && most < DELAY_MS_MAX; i++) {
        most *= 2;
    }
    most = most < DELAY_MS_MAX ? most : DELAY_MS_MAX;
    int64_t delay = (int64_t)(st_random_u64(loop_of(try)) % (uint64_t)(most + 1));
    int64_t asked = try->race.request.retry_after_ms;
    if (asked <= delay) {
        return delay;
    }
    return asked < delay + RETRY_AFTER_MS_MORE ? asked : delay + RETRY_AFTER_MS_MORE;
}

static void retry_due(struct st_timer *timer) {
    ask_keys(ST_OWNER(timer, struct st_aws_try, timer));
}

/* Sends it again after a while, if it may. */
static void retry(struct st_aws_try *try, bool throttled) {
    struct st_aws_request *request = try->request;
    int64_t delay_ns = delay_ms(try, throttled) * ST_MS;
    if (try->retries + 1 >= request->tries_max || st_now_ns(loop_of(try)) + delay_ns >= try->deadline_ns ||
        !budget_take(try, throttled ? RETRY_COST_THROTTLED : RETRY_COST)) {
        give_up(try);
        return;
    }
    try->retries++;
    st_metrics.aws_retries_total++;
    try->timer.fn = retry_due;
    st_timer_start(loop_of(try), &try->timer, delay_ns);
}

/* The signature was refused for its time, or perhaps for it. */
static void clock_refused(struct st_aws_try *try, bool surely) {
    struct st_aws_client *client = try->request->service->client;
    int64_t date_ms = try->race.request.date_ms;
    int64_t offset_ms = date_ms - st_now_wall_ms(client->loop);
    int64_t off_ms = offset_ms > client->skew_ms ? offset_ms - client->skew_ms : client->skew_ms - offset_ms;
    if (try->skew_tried || date_ms == 0 || (!surely && off_ms < SIGNATURE_SKEW_MS)) {
        answer_stands(try);
        return;
    }
    try->skew_tried = true;
    client->skew_ms = offset_ms;
    ST_LOG(aws_clock_skew, "skew_ms=%lld service=%s", (long long)offset_ms, try->request->service->name);
    ask_keys(try);
}

/* Other requests may have had the keys changed meanwhile: then these are used at once. */
static void keys_refused(struct st_aws_try *try) {
    if (try->keys_tried) {
        answer_stands(try);
        return;
    }
    struct st_aws_client *client = try->request->service->client;
    try->keys_tried = true;
    try->answer_held = true;
    st_aws_keys_refused(client->credentials, try->generation);
    const struct st_aws_keys *keys = st_aws_keys_now(client->credentials);
    if (keys != NULL && keys->generation == try->generation) {
        answer_stands(try);
    } else {
        ask_keys(try);
    }
}

static void answered(struct st_aws_try *try) {
    struct st_aws_request *request = try->request;
    bool unknown = false;
    const struct kp_slice answer = try->race.request.answer;
    if (request->status < 200 || request->status > 299 || is_error_in_200(request, answer)) {
        read_error(request, answer);
    }
    if (is_success(request)) {
        if (is_hedged(try) && !try->race.late) {
            st_aws_hedge_in_time(request->hedge, try->race.again_ms);
        }
        budget_give(try);
        answer_stands(try);
        return;
    }
    enum class class = class_of(request, &unknown);
    try->unknown = try->unknown || (unknown && !is_read_only(request));
    switch (class) {
    case STATE:
        budget_give(try);
        answer_stands(try);
        return;
    case FINAL:
        answer_stands(try);
        return;
    case TRANSIENT:
        retry(try, false);
        return;
    case THROTTLED:
        st_metrics.aws_throttled_total++;
        retry(try, true);
        return;
    case SKEWED:
    case SIGNATURE:
        clock_refused(try, class == SKEWED);
        return;
    case KEYS:
        keys_refused(try);
        return;
    }
}

/* Of two requests one is told; whatever that one says, the other may have had effect. */
static void weigh_other(struct st_aws_try *try, const struct st_http_request *other) {
    struct st_aws_request *request = try->request;
    bool unknown = other->end == ST_HTTP_LOST || other->end == ST_HTTP_TOO_LONG;
    if (other->end == ST_HTTP_ANSWERED) {
        request->status = other->status;
        read_error(request, other->answer);
        class_of(request, &unknown);
        request->code[0] = '\0';
        request->reason[0] = '\0';
    }
    try->unknown = try->unknown || (unknown && !is_read_only(request));
}

static void race_done(struct st_http_race *race) {
    struct st_aws_try *try = ST_OWNER(race, struct st_aws_try, race);
    struct st_aws_request *request = try->request;
    const struct st_http_request *http = &race->request;
    if (race->twice) {
        weigh_other(try, &race->other);
        st_http_request_release(&race->other);
    }
    request->status = http->end == ST_HTTP_ANSWERED || http->end == ST_HTTP_TOO_LONG ? http->status : 0;
    request->date_ms = http->date_ms != 0 ? http->date_ms : request->date_ms;
    switch (http->end) {
    case ST_HTTP_ANSWERED:
        answered(try);
        return;
    case ST_HTTP_NOT_SENT:
        snprintf(request->reason, sizeof request->reason, "no connection to the service: %s", http->reason);
        retry(try, false);
        return;
    case ST_HTTP_LOST:
        try->unknown = try->unknown || !is_read_only(request);
        snprintf(request->reason, sizeof request->reason, "the service did not answer: %s", http->reason);
        retry(try, false);
        return;
    case ST_HTTP_TOO_LONG:
        try->unknown = try->unknown || !is_read_only(request);
        snprintf(request->reason, sizeof request->reason, "the service's answer is longer than it may be");
        give_up(try);
        return;
    case ST_HTTP_NO_MEMORY:
        snprintf(request->reason, sizeof request->reason, "no memory for the request");
        give_up(try);
        return;
    }
}

/* ---- the begin and the end ---- */

/* One sentence when it cannot be sent at all. */
static const char *prepare(struct st_aws_try *try) {
    struct st_aws_request *request = try->request;
    const struct st_aws_service *service = request->service;
    int len = snprintf(try->url, sizeof try->url, "%s%s", service->endpoint, request->target);
    if (len < 0 || (size_t)len >= sizeof try->url || request->header_count > ST_AWS_HEADERS_MAX) {
        return "the request is too long";
    }
    if (service->unsigned_bodies) {
        snprintf(try->payload, sizeof try->payload, ST_SIGV4_UNSIGNED);
    } else if (!st_sigv4_hash(request->body, try->payload)) {
        return "no memory for the request";
    }
    return NULL;
}

void st_aws_start(struct st_aws_request *request) {
    struct st_loop *loop = request->service->client->loop;
    request->end = ST_AWS_REFUSED;
    request->status = 0;
    request->code[0] = '\0';
    request->reason[0] = '\0';
    request->into_len = 0;
    request->answer = (struct kp_slice){0};
    request->date_ms = 0;
    request->tries = 0;
    request->task = (struct st_task){.fn = run_done};
    struct st_aws_try *try = calloc(1, sizeof *try);
    request->state = try;
    if (try == NULL) {
        snprintf(request->reason, sizeof request->reason, "no memory for the request");
        st_defer(loop, &request->task);
        return;
    }
    try->request = request;
    try->deadline_ns = st_now_ns(loop) + request->timeout_ms * ST_MS;
    const char *wrong = prepare(try);
    if (wrong != NULL) {
        snprintf(request->reason, sizeof request->reason, "%s", wrong);
        give_up(try);
        return;
    }
    ask_keys(try);
}

void st_aws_request_release(struct st_aws_request *request) {
    struct st_http_request owner = {.answer = request->answer};
    st_http_request_release(&owner);
    request->answer = (struct kp_slice){0};
}
