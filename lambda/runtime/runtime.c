/*
 *   asking ----event----> (opening the store) ----> handling ----answer----> answering ----> (lingering) ----> asking
 *      |                        |                                              ^
 *      | no event of ours       | time is over, cannot be opened               |
 *      +------------------------+----------------------------------------------+
 *
 * Time. The runtime API names the wall clock's time at which the function is killed. MARGIN_MS before it the answer
 * must be there; in functions with little time, half of what is left. Until the engine is open a timer of ours sees to
 * that, afterwards the call's own timeout, because only the engine knows whether a record may still be stored.
 *
 * Streams. Whether an invocation's answer may be streamed is not in the event: the function URL or the method of the
 * REST API is configured so, and then wants every answer in that form. So it is an option here too.
 *
 * The trace id is kept for the log. The environment variable that other runtimes put it into is for the X-Ray SDK,
 * which is not here, and glibc never frees what setenv once held.
 */
#include "lambda/runtime/runtime.h"

#include "lambda/runtime/answer.h"
#include "lambda/writer.h"
#include "storage/runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MALFORMED_MAX = 5, MARGIN_MS = 500, ANSWER_TIMEOUT_MS = 10000 };
#define PAUSE_NS (50 * ST_MS)
#define LINGER_LOOK_NS (5 * ST_MS)
#define ARENA_BYTES (4 * REST_EVENT_BYTES_MAX)
#define API "/2018-06-01/runtime/"

enum state { IDLE, ASKING, OPENING, HANDLING, ANSWERING, LINGERING, ENDED };

struct rest_runtime {
    struct st_loop *loop;
    struct rest_link *link;
    struct rest_opener *opener;
    const struct rest_lambda_options *options;
    void (*ended)(void *arg, int status);
    void *arg;
    enum state state;
    bool stopping;
    int status; /* of the process, once it ends after an answer */
    unsigned malformed; /* answers to "next" one after the other that made no sense */
    struct st_timer timer; /* of the state: a pause, the deadline, or the next look at what lingers */
    struct st_task end;
    struct rest_link_request request;
    char headers[256]; /* of the request */
    char id[REST_REQUEST_ID_MAX + 1], trace_id[256];
    int64_t deadline_ns; /* when the answer must be there */
    struct kp_arena arena;
    struct rest_event event;
    struct rest_opener_want want;
    struct rest_call call;
    struct st_sync sync;
    bool syncing;   /* for a scheduled event, perhaps an earlier one */
    bool called;    /* the call is with the HTTP door: done has not run */
    bool streaming; /* a streamed answer has begun and its request is not over */
};

static void ask(struct rest_runtime *runtime);

static void run_ended(struct st_task *task) {
    struct rest_runtime *runtime = ST_OWNER(task, struct rest_runtime, end);
    runtime->ended(runtime->arg, runtime->status);
}

static void end(struct rest_runtime *runtime, int status) {
    if (runtime->state != ENDED) {
        runtime->state = ENDED;
        runtime->status = status;
        st_defer(runtime->loop, &runtime->end);
    }
}

static void fail(struct rest_runtime *runtime, const char *sentence) {
    ST_LOG(runtime_api_failed, "reason=%s", st_log_quote(sentence, strlen(sentence)));
    end(runtime, 1);
}

/* ---- giving an answer back ---- */

/* A checkpoint that is being written is not left behind half way: asking for the next event freezes the process. */
static void linger(struct rest_runtime *runtime) {
    const struct st_engine *engine = rest_opener_engine(runtime->opener);
    bool busy = engine != NULL && st_engine_upkeep_busy(engine);
    if (runtime->stopping) {
        end(runtime, 0);
    } else if (busy && st_now_ns(runtime->loop) < runtime->deadline_ns) {
        runtime->state = LINGERING;
        st_timer_start(runtime->loop, &runtime->timer, LINGER_LOOK_NS);
    } else {
        ask(runtime);
    }
}

/* The invocation is over, however its answer fared. */
static void invocation_over(struct rest_runtime *runtime) {
    kp_arena_release(&runtime->arena);
    linger(runtime);
}

static void answer_sent(struct rest_link_request *request) {
    struct rest_runtime *runtime = ST_OWNER(request, struct rest_runtime, request);
    runtime->streaming = false;
    bool answered = request->end == REST_LINK_ANSWERED;
    if (!answered || request->reply->status >= 300) {
        ST_LOG(answer_refused, "request=%s trace=%s status=%d", runtime->id,
               st_log_quote(runtime->trace_id, strlen(runtime->trace_id)), answered ? request->reply->status : 0);
    }
    if (answered && request->reply->status >= 500) {
        fail(runtime, "the runtime API is in a state that cannot be recovered from");
    } else if (runtime->called) {
        rest_call_hurry(&runtime->call); /* nobody takes what it still has to say */
    } else {
        invocation_over(runtime);
    }
}

/* Starts the POST whose target and body are in runtime->request. */
static void post_target(struct rest_runtime *runtime, const char *headers) {
    struct rest_link_request *request = &runtime->request;
    runtime->state = ANSWERING;
    request->method = "POST";
    snprintf(runtime->headers, sizeof runtime->headers, "%s", headers);
    request->headers = runtime->headers;
    request->answer_max = 64 * 1024;
    request->timeout_ms = request->streamed ? 0 : ANSWER_TIMEOUT_MS;
    request->done = answer_sent;
    rest_link_start(runtime->link, request);
}

/* What: "response" or "error". */
static void post(struct rest_runtime *runtime, const char *what, const char *headers) {
    struct rest_link_request *request = &runtime->request;
    snprintf(request->target, sizeof request->target, API "invocation/%s/%s", runtime->id, what);
    post_target(runtime, headers);
}

static void begin_request(struct rest_runtime *runtime) {
    runtime->request = (struct rest_link_request){.streamed = false};
    kp_chain_init(&runtime->request.body);
}

/* {"errorMessage":"...","errorType":"...","stackTrace":[]} */
static void write_error(struct rest_runtime *runtime, const char *type, const char *sentence) {
    struct rest_writer writer;
    rest_writer_init(&writer, 4096);
    rest_writer_bytes(&writer, KP_SLICE_LIT("{\"errorMessage\":"));
    rest_writer_string(&writer, kp_slice_cstr(sentence));
    rest_writer_bytes(&writer, KP_SLICE_LIT(",\"errorType\":"));
    rest_writer_string(&writer, kp_slice_cstr(type));
    rest_writer_bytes(&writer, KP_SLICE_LIT(",\"stackTrace\":[]}"));
    rest_writer_finish(&writer, &runtime->request.body);
}

static void post_error(struct rest_runtime *runtime, const char *type, const char *sentence) {
    ST_LOG(invocation_failed, "request=%s type=%s trace=%s reason=%s", runtime->id, type,
           st_log_quote(runtime->trace_id, strlen(runtime->trace_id)), st_log_quote(sentence, strlen(sentence)));
    char headers[128];
    snprintf(headers, sizeof headers,
             "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: %s\r\n", type);
    begin_request(runtime);
    write_error(runtime, type, sentence);
    post(runtime, "error", headers);
}

#define STREAM_HEADERS                                                          \
    "Content-Type: application/vnd.awslambda.http-integration-response\r\n"     \
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n"                      \
    "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"

static bool wants_stream(const struct rest_runtime *runtime) {
    enum rest_stream_choice choice = (enum rest_stream_choice)runtime->options->response_stream;
    return (runtime->event.kind == REST_EVENT_FUNCTION_URL &&
            (choice == REST_STREAM_URL || choice == REST_STREAM_BOTH)) ||
           (runtime->event.kind == REST_EVENT_REST_API && (choice == REST_STREAM_REST || choice == REST_STREAM_BOTH));
}

static bool is_head(const struct rest_runtime *runtime) {
    return kp_slice_equal(runtime->event.request.method, KP_SLICE_LIT("HEAD"));
}

static void room(struct rest_link_request *request) {
    struct rest_runtime *runtime = ST_OWNER(request, struct rest_runtime, request);
    if (runtime->called) {
        rest_call_resume(&runtime->call);
    }
}

/* The head of a streamed answer, with what there is of its body. */
static void begin_stream(struct rest_runtime *runtime, struct rest_response *response) {
    begin_request(runtime);
    rest_answer_prelude(response, &runtime->request.body);
    if (is_head(runtime)) {
        kp_chain_release(&response->body);
    } else {
        kp_chain_move(&runtime->request.body, &response->body);
    }
    runtime->request.streamed = true;
    runtime->request.room = room;
    runtime->streaming = true;
    post(runtime, "response", STREAM_HEADERS);
}

static void post_whole(struct rest_runtime *runtime, struct rest_response *response) {
    begin_request(runtime);
    enum rest_answer_end made = rest_answer_whole(&runtime->event, response, &runtime->request.body);
    if (made != REST_ANSWER_OK) {
        rest_response_release(response);
        kp_chain_release(&runtime->request.body);
        kp_chain_init(&runtime->request.body);
        rest_response_error(response, made == REST_ANSWER_TOO_LARGE ? REST_LARGE_ANSWER : REST_OVERLOADED);
        made = rest_answer_whole(&runtime->event, response, &runtime->request.body);
    }
    rest_response_release(response);
    if (made == REST_ANSWER_OK) {
        post(runtime, "response", "Content-Type: application/json\r\n");
    } else {
        kp_chain_release(&runtime->request.body);
        post_error(runtime, "Streams.OutOfMemory", "The function is short of memory.");
    }
}

/* Takes the response over. */
static void give(struct rest_runtime *runtime, struct rest_response *response) {
    if (!wants_stream(runtime)) {
        post_whole(runtime, response);
        return;
    }
    begin_stream(runtime, response);
    rest_link_finish(runtime->link, "");
}

static void give_error(struct rest_runtime *runtime, enum rest_error error) {
    rest_response_error(&runtime->call.response, error);
    give(runtime, &runtime->call.response);
}

/* ---- handling ---- */

static void call_begun(struct rest_call *call) {
    begin_stream(ST_OWNER(call, struct rest_runtime, call), &call->response);
}

static bool call_piece(struct rest_call *call, struct kp_chain *piece) {
    struct rest_runtime *runtime = ST_OWNER(call, struct rest_runtime, call);
    if (!runtime->streaming || is_head(runtime)) {
        kp_chain_release(piece);
        return true;
    }
    return rest_link_write(runtime->link, piece);
}

#define CUT_TRAILERS                                             \
    "Lambda-Runtime-Function-Error-Type: Streams.Cut\r\n"        \
    "Lambda-Runtime-Function-Error-Body: eyJlcnJvck1lc3NhZ2UiOiJUaGUgc3RyZWFtIHdhcyBjdXQuIn0=\r\n"

static void call_done(struct rest_call *call) {
    struct rest_runtime *runtime = ST_OWNER(call, struct rest_runtime, call);
    runtime->called = false;
    if (!call->streaming) {
        give(runtime, &call->response);
        return;
    }
    rest_response_release(&call->response);
    if (runtime->streaming) {
        rest_link_finish(runtime->link, call->cut ? CUT_TRAILERS : "");
    } else if (runtime->state != ENDED) {
        invocation_over(runtime); /* the other side had enough before the end */
    }
}

static void synced(struct st_sync *sync) {
    struct rest_runtime *runtime = ST_OWNER(sync, struct rest_runtime, sync);
    runtime->syncing = false;
    if (runtime->state != HANDLING || runtime->event.kind != REST_EVENT_SCHEDULED) {
        return; /* its time was over before */
    }
    st_timer_stop(runtime->loop, &runtime->timer);
    if (sync->error != ST_OK) {
        post_error(runtime, "Streams.StoreUnavailable", st_error_text(sync->error));
        return;
    }
    begin_request(runtime);
    kp_chain_copy(&runtime->request.body, "{\"status\":\"ok\"}", 15);
    post(runtime, "response", "Content-Type: application/json\r\n");
}

static void handle(struct rest_runtime *runtime, struct rest *rest) {
    runtime->state = HANDLING;
    if (runtime->event.kind == REST_EVENT_SCHEDULED) {
        /* Coming to the tail is what checkpoints and trims hang on. The timer goes on. */
        if (!runtime->syncing) {
            runtime->syncing = true;
            runtime->sync = (struct st_sync){.done = synced};
            st_sync(rest_opener_engine(runtime->opener), &runtime->sync);
        }
        return;
    }
    st_timer_stop(runtime->loop, &runtime->timer);
    int64_t left_ms = (runtime->deadline_ns - st_now_ns(runtime->loop)) / ST_MS;
    runtime->call = (struct rest_call){.request = runtime->event.request, .done = call_done};
    runtime->call.timeout_ms = left_ms > 0 ? left_ms : 1;
    if (wants_stream(runtime)) {
        runtime->call.begun = call_begun;
        runtime->call.piece = call_piece;
    }
    runtime->called = true;
    if (!rest_handle(rest, &runtime->call)) {
        runtime->called = false;
        give_error(runtime, REST_OVERLOADED);
    }
}

static void give_up(struct rest_runtime *runtime, const char *sentence) {
    st_timer_stop(runtime->loop, &runtime->timer);
    if (rest_event_is_http(&runtime->event)) {
        give_error(runtime, REST_STORE_AWAY);
    } else {
        post_error(runtime, "Streams.StoreUnavailable", sentence);
    }
}

static void store_opened(struct rest_opener_want *want, struct rest *rest, const char *sentence) {
    struct rest_runtime *runtime = ST_OWNER(want, struct rest_runtime, want);
    if (rest != NULL) {
        handle(runtime, rest);
    } else {
        give_up(runtime, sentence);
    }
}

/* ---- events ---- */

static void take_event(struct rest_runtime *runtime, struct kp_slice text) {
    switch (rest_event_parse(text, &runtime->arena, &runtime->event)) {
    case REST_EVENT_OK:
        runtime->state = OPENING;
        int64_t left_ns = runtime->deadline_ns - st_now_ns(runtime->loop);
        st_timer_start(runtime->loop, &runtime->timer, left_ns);
        rest_opener_want(runtime->opener, &runtime->want);
        return;
    case REST_EVENT_BAD_JSON:
        post_error(runtime, "Streams.BadEvent", runtime->event.sentence);
        return;
    case REST_EVENT_MISFIT:
        if (rest_event_is_http(&runtime->event)) {
            rest_response_error(&runtime->call.response, REST_BAD_EVENT);
            give(runtime, &runtime->call.response);
        } else {
            post_error(runtime, "Streams.UnknownEvent", runtime->event.sentence);
        }
        return;
    case REST_EVENT_NO_MEMORY:
        post_error(runtime, "Streams.OutOfMemory", "The function is short of memory for this event.");
        return;
    }
}

static int64_t time_for_answer_ms(const struct rest_runtime *runtime, int64_t deadline_ms) {
    int64_t most = runtime->options->request_timeout_ms;
    if (deadline_ms == 0) {
        return most;
    }
    int64_t left = deadline_ms - st_now_wall_ms(runtime->loop);
    int64_t margin = left < 2 * MARGIN_MS ? left / 2 : MARGIN_MS;
    left = left > 0 ? left - margin : 0;
    return left < most ? left : most;
}

static void malformed(struct rest_runtime *runtime, const char *why) {
    ST_LOG(runtime_api_malformed, "reason=%s", st_log_quote(why, strlen(why)));
    if (++runtime->malformed >= MALFORMED_MAX) {
        fail(runtime, "the runtime API gives no event that can be answered");
    } else {
        st_timer_start(runtime->loop, &runtime->timer, PAUSE_NS << runtime->malformed);
    }
}

static void event_came(struct rest_link_request *request) {
    struct rest_runtime *runtime = ST_OWNER(request, struct rest_runtime, request);
    struct rest_reply *reply = request->reply;
    if (runtime->state == ENDED) {
        return;
    }
    if (request->end == REST_LINK_LOST) {
        fail(runtime, "the runtime API does not answer");
        return;
    }
    if (reply->status != 200) {
        char sentence[96];
        snprintf(sentence, sizeof sentence, "the runtime API answered %d to the request for an event", reply->status);
        fail(runtime, sentence);
        return;
    }
    if (reply->request_id[0] == 0) {
        malformed(runtime, "an event without a request id");
        return;
    }
    runtime->malformed = 0;
    memcpy(runtime->id, reply->request_id, sizeof runtime->id);
    memcpy(runtime->trace_id, reply->trace_id, sizeof runtime->trace_id);
    runtime->deadline_ns = st_now_ns(runtime->loop) + time_for_answer_ms(runtime, reply->deadline_ms) * ST_MS;
    if (request->end == REST_LINK_TOO_LARGE) {
        post_error(runtime, "Streams.EventTooLarge", "The event is larger than a function takes.");
        return;
    }
    struct kp_blob *body = reply->body;
    reply->body = NULL;
    take_event(runtime, body != NULL ? kp_slice_of(body->data, reply->body_len) : KP_SLICE_LIT(""));
    kp_blob_unref(body); /* nothing of the event lies in it any more */
}

static void ask(struct rest_runtime *runtime) {
    runtime->state = ASKING;
    begin_request(runtime);
    struct rest_link_request *request = &runtime->request;
    request->method = "GET";
    snprintf(request->target, sizeof request->target, "%s", API "invocation/next");
    request->headers = "";
    request->answer_max = REST_EVENT_BYTES_MAX;
    request->done = event_came;
    rest_link_start(runtime->link, request);
}

static void timer_ran(struct st_timer *timer) {
    struct rest_runtime *runtime = ST_OWNER(timer, struct rest_runtime, timer);
    if (runtime->state == ASKING) {
        ask(runtime);
    } else if (runtime->state == LINGERING) {
        linger(runtime);
    } else if (runtime->state == OPENING || runtime->state == HANDLING) {
        rest_opener_forget(runtime->opener);
        give_up(runtime, "The store did not answer in time.");
    }
}

/* ---- life ---- */

struct rest_runtime *rest_runtime_new(struct st_loop *loop, struct rest_link *link, struct rest_opener *opener,
                                      const struct rest_lambda_options *options,
                                      void (*ended)(void *arg, int status), void *arg) {
    struct rest_runtime *runtime = calloc(1, sizeof *runtime);
    if (runtime != NULL) {
        runtime->loop = loop;
        runtime->link = link;
        runtime->opener = opener;
        runtime->options = options;
        runtime->ended = ended;
        runtime->arg = arg;
        runtime->timer.fn = timer_ran;
        runtime->end.fn = run_ended;
        runtime->want.done = store_opened;
        kp_arena_init(&runtime->arena, ARENA_BYTES);
    }
    return runtime;
}

void rest_runtime_start(struct rest_runtime *runtime) {
    ask(runtime);
}

void rest_runtime_stop(struct rest_runtime *runtime) {
    runtime->stopping = true;
    if (runtime->state == ASKING || runtime->state == IDLE || runtime->state == LINGERING) {
        st_timer_stop(runtime->loop, &runtime->timer);
        end(runtime, 0);
    } else if (runtime->called) {
        rest_call_hurry(&runtime->call); /* what waits or streams need not go on */
    }
}

void rest_runtime_free(struct rest_runtime *runtime) {
    if (runtime != NULL) {
        st_timer_stop(runtime->loop, &runtime->timer);
        st_defer_cancel(runtime->loop, &runtime->end);
        kp_arena_release(&runtime->arena);
        free(runtime);
    }
}

static void refusal_sent(struct rest_link_request *request) {
    end(ST_OWNER(request, struct rest_runtime, request), 1);
}

void rest_runtime_refuse(struct rest_runtime *runtime, const char *sentence) {
    begin_request(runtime);
    write_error(runtime, "Streams.BadConfiguration", sentence);
    snprintf(runtime->request.target, sizeof runtime->request.target, "%s", API "init/error");
    post_target(runtime,
                "Content-Type: application/json\r\n"
                "Lambda-Runtime-Function-Error-Type: Streams.BadConfiguration\r\n");
    runtime->request.done = refusal_sent;
}
