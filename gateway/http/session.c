/*
 * A connection's requests, one after the other:
 *
 *   IDLE --first byte--> HEAD --> BODY --> CALL (with the handlers) --answer--> IDLE, or HEAD when more is there
 *                          |        |                                     |
 *                          +--bad---+--> error answer --> CLOSING         +--> STALLED while the client does not read
 *                                                                         +--> STREAM --end--> as after an answer
 *
 * An answer in pieces goes out while the state is STREAM, a piece at a time, the next when the client has taken enough
 * of those before. What waits for records, or streams, leaves its turn to others; when the client sends FIN meanwhile,
 * it is hurried: a client that has gone costs nothing more, one that has only said its last gets what there is.
 *
 * Pipelined requests wait in the input buffer and then in the socket: only one is with the handlers at a time, which
 * keeps answers in order and bounds what one client can occupy. While there is none, a connection has no buffer.
 *
 * Memory: a request that finds none in the budget is answered 503. When that happens, requests that come too slowly
 * are answered 408 before their deadline, so that whoever sends a little and stops keeps nobody away for long.
 *
 * Deadlines: IDLE has connections.max.idle.ms; a request that is not there whole with its first bytes has
 * receive.timeout.ms from then on, and is answered 408. CALL and STREAM have none: the handlers answer in time. What is
 * sent is watched by the connection (send.timeout.ms).
 */
#include "gateway/http/session.h"

#include "gateway/http/answer.h"
#include "gateway/http/request.h"
#include "storage/runtime/log.h"
#include "storage/runtime/metrics.h"

#include <stdlib.h>

#define INSPECTION_NS ST_SECOND
enum { LEAST_PACE = 16 * 1024 }; /* bytes between two inspections */

enum session_state { SESSION_IDLE, SESSION_HEAD, SESSION_BODY, SESSION_CALL, SESSION_STREAM, SESSION_STALLED,
                     SESSION_CLOSING };

struct gw_http_session {
    struct gw_http *door;
    struct gw_conn *conn;
    struct gw_http_request *request; /* NULL while IDLE */
    enum session_state state;
    bool timed; /* the deadline is that of a request */
    size_t arrived, inspected; /* bytes, now and when slow requests were last looked for */
    bool suspect;              /* this request was there then */
    struct gw_http_session *next, **link;
    struct gw_http_session *next_waiting, **waiting_link; /* waiting_link NULL: does not wait */
};

static void run(struct gw_http_session *session);
static void inspect_all(struct gw_http *door);

/* ---- answers ---- */

static bool is_head(const struct gw_http_request *request) {
    return kp_slice_equal(request->parser.head.method, KP_SLICE_LIT("HEAD"));
}

static void drop_request(struct gw_http_session *session) {
    if (session->request != NULL) {
        gw_http_request_free(session->request);
        session->request = NULL;
    }
}

static void close_after(struct gw_http_session *session) {
    session->state = SESSION_CLOSING;
    drop_request(session);
    gw_conn_finish(session->conn);
}

/* Sends and releases the response. */
static void send_response(struct gw_http_session *session, const struct gw_http_answer *answer) {
    struct kp_chain out;
    kp_chain_init(&out);
    gw_http_answer(session->door, answer, &out);
    rest_response_release(answer->response);
    gw_conn_send(session->conn, &out);
    st_metrics.http_requests_total++;
}

/* What ends the connection: the bytes are no request, or one that is not taken. */
static void refuse(struct gw_http_session *session, enum rest_error error) {
    struct rest_response response;
    rest_response_error(&response, error);
    if (error == REST_OVERLOADED) {
        ST_LOG(memory_short, "door=http used=%zu", session->door->request_bytes);
    } else if (error != REST_LENGTH_REQUIRED && error != REST_BODY_TOO_LARGE && error != REST_EXPECTATION_FAILED &&
               error != REST_REQUEST_TIMEOUT) {
        ST_LOG(bad_frame, "door=http peer=%s status=%d", session->conn->peer, response.status);
        st_metrics.bad_frames_total++;
    }
    const struct gw_http_answer answer = {.response = &response};
    send_response(session, &answer);
    close_after(session);
    if (error == REST_OVERLOADED) {
        inspect_all(session->door);
    }
}

static void become_idle(struct gw_http_session *session) {
    drop_request(session);
    session->state = SESSION_IDLE;
    session->timed = false;
    gw_conn_deadline(session->conn, session->door->gateway->config->connections_max_idle_ms * ST_MS);
}

/* The request has been answered and the connection stays: what came behind it is next. */
static void next_request(struct gw_http_session *session) {
    gw_http_request_next(session->request);
    if (gw_conn_backlog(session->conn) >= GW_CONN_LOW_WATER) {
        session->state = SESSION_STALLED;
        return;
    }
    if (session->request->used > 0) {
        session->state = SESSION_HEAD;
        session->timed = false;
    } else {
        become_idle(session);
    }
}

static void answer_over(struct gw_http_session *session, bool keep_alive) {
    if (keep_alive) {
        next_request(session);
    } else {
        close_after(session);
    }
}

static void answer_request(struct gw_http_session *session, struct rest_response *response) {
    const struct gw_http_request *request = session->request;
    const struct gw_http_head *head = &request->parser.head;
    const struct gw_http_answer answer = {
        .response = response,
        .head_only = is_head(request),
        .version_1_0 = head->version_1_0,
        .keep_alive = head->keep_alive && !session->door->gateway->draining,
    };
    send_response(session, &answer);
    answer_over(session, answer.keep_alive);
}

static bool keeps_alive_after_stream(const struct gw_http_session *session) {
    const struct gw_http_head *head = &session->request->parser.head;
    return head->keep_alive && !head->version_1_0;
}

static void begin_stream(struct gw_http_session *session, struct rest_response *response) {
    const struct gw_http_answer answer = {
        .response = response,
        .version_1_0 = session->request->parser.head.version_1_0,
        .keep_alive = keeps_alive_after_stream(session),
        .streaming = true,
    };
    session->state = SESSION_STREAM;
    send_response(session, &answer);
}

static void end_stream(struct gw_http_session *session, bool cut) {
    bool keep_alive = keeps_alive_after_stream(session);
    if (cut) { /* the client sees that the body has no end */
        session->state = SESSION_CLOSING;
        drop_request(session);
        gw_conn_close(session->conn);
        return;
    }
    if (!session->request->parser.head.version_1_0) {
        struct kp_chain out;
        kp_chain_init(&out);
        gw_http_last_chunk(&out);
        gw_conn_send(session->conn, &out);
    }
    answer_over(session, keep_alive && !session->door->gateway->draining);
}

/* ---- whose turn it is ---- */

/* A burst from thousands of connections stays in their sockets, where it costs nothing, until calls are done. Only
 * whole requests count, so that slow clients keep nobody waiting. */
static bool may_begin(struct gw_http_session *session) {
    struct gw_http *door = session->door;
    if (door->calls < (size_t)door->gateway->config->queued_max_requests) {
        return true;
    }
    session->waiting_link = door->waiting_end;
    *door->waiting_end = session;
    door->waiting_end = &session->next_waiting;
    return false;
}

static void leave_line(struct gw_http_session *session) {
    if (session->waiting_link == NULL) {
        return;
    }
    *session->waiting_link = session->next_waiting;
    if (session->next_waiting != NULL) {
        session->next_waiting->waiting_link = session->waiting_link;
    } else {
        session->door->waiting_end = session->waiting_link;
    }
    session->next_waiting = NULL;
    session->waiting_link = NULL;
}

/* Leaves its turn to others. */
static void call_over(struct gw_http_request *request) {
    struct gw_http *door = request->door;
    struct gw_http_session *next = door->waiting;
    if (!request->counted) {
        return;
    }
    request->counted = false;
    door->calls--;
    if (next != NULL) {
        leave_line(next);
        gw_conn_resume(next->conn);
    }
}

/* ---- requests ---- */

static void call_done(struct rest_call *call) {
    struct gw_http_request *request = ST_OWNER(call, struct gw_http_request, call);
    struct gw_http_session *session = request->session;
    call_over(request);
    if (session == NULL) {
        rest_response_release(&call->response);
        gw_http_request_free(request);
        return;
    }
    gw_conn_watch_end(session->conn, false);
    if (call->streaming) {
        end_stream(session, call->cut);
    } else {
        answer_request(session, &call->response);
    }
    run(session);
}

static void call_waits(struct rest_call *call) {
    struct gw_http_request *request = ST_OWNER(call, struct gw_http_request, call);
    call_over(request);
    if (request->session != NULL) {
        gw_conn_watch_end(request->session->conn, true);
    }
}

static void call_begun(struct rest_call *call) {
    struct gw_http_request *request = ST_OWNER(call, struct gw_http_request, call);
    if (request->session != NULL) {
        begin_stream(request->session, &call->response);
    }
}

static bool call_piece(struct rest_call *call, struct kp_chain *piece) {
    struct gw_http_request *request = ST_OWNER(call, struct gw_http_request, call);
    if (request->session == NULL) {
        kp_chain_release(piece);
        kp_chain_init(piece);
        return true;
    }
    struct gw_conn *conn = request->session->conn;
    struct kp_chain out;
    kp_chain_init(&out);
    if (request->parser.head.version_1_0) {
        kp_chain_move(&out, piece);
    } else {
        gw_http_chunk(piece, &out);
    }
    gw_conn_send(conn, &out);
    return gw_conn_backlog(conn) < GW_CONN_LOW_WATER;
}

/* The one route that is the gateway's own. */
static void answer_metrics(struct gw_http_session *session) {
    struct kp_slice method = session->request->parser.head.method;
    struct rest_response response = {.status = 200, .content_type = "text/plain; version=0.0.4"};
    size_t len = 0;
    char *text = NULL;
    if (!kp_slice_equal(method, KP_SLICE_LIT("GET")) && !kp_slice_equal(method, KP_SLICE_LIT("HEAD"))) {
        rest_response_error(&response, REST_METHOD_NOT_ALLOWED);
        rest_response_header(&response, "Allow", "GET, HEAD");
    } else if ((text = st_metrics_text(&len)) == NULL) {
        rest_response_error(&response, REST_OVERLOADED);
    } else {
        kp_chain_init(&response.body);
        kp_chain_copy(&response.body, text, len);
    }
    free(text);
    answer_request(session, &response);
}

static void begin_call(struct gw_http_session *session) {
    struct gw_http_request *request = session->request;
    const struct gw_http_head *head = &request->parser.head;
    struct rest_request *to = &request->call.request;
    *to = (struct rest_request){
        .method = head->method,
        .headers = head->headers,
        .header_count = head->header_count,
        .body = gw_http_request_payload(request),
    };
    bool whole_server = kp_slice_equal(head->target, KP_SLICE_LIT("*")); /* OPTIONS *: no route has this path */
    if (whole_server) {
        to->path = head->target;
    } else if (!rest_target_split(head->target, &to->path, &to->query)) {
        refuse(session, REST_BAD_REQUEST);
        return;
    }
    if (kp_slice_equal(to->path, KP_SLICE_LIT("/metrics"))) {
        answer_metrics(session);
        return;
    }
    session->state = SESSION_CALL;
    session->door->calls++;
    request->counted = true;
    gw_conn_deadline(session->conn, ST_NEVER);
    request->session = session;
    request->call.order = session->conn->id;
    request->call.timeout_ms = 0;
    request->call.done = call_done;
    request->call.waits = call_waits;
    request->call.begun = is_head(request) ? NULL : call_begun;
    request->call.piece = call_piece;
    request->call.streaming = request->call.cut = false;
    request->call.exchange = NULL;
    if (!session->door->handle(session->door->rest, &request->call)) {
        struct rest_response response;
        call_over(request);
        rest_response_error(&response, REST_OVERLOADED);
        answer_request(session, &response);
    }
}

static void head_complete(struct gw_http_session *session) {
    const struct gw_http_request *request = session->request;
    const struct gw_http_head *head = &request->parser.head;
    session->state = SESSION_BODY;
    bool waits = head->expect_continue && request->used == head->length && (head->chunked || head->content_length > 0);
    if (waits) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        struct kp_chain out;
        kp_chain_init(&out);
        kp_chain_copy(&out, go_on, sizeof go_on - 1);
        gw_conn_send(session->conn, &out);
    }
}

/* Goes as far as the bytes that are there allow. */
static void run(struct gw_http_session *session) {
    enum gw_http_step step = GW_HTTP_DONE;
    while (step == GW_HTTP_DONE && (session->state == SESSION_HEAD || session->state == SESSION_BODY)) {
        bool head = session->state == SESSION_HEAD;
        step = head ? gw_http_request_head(session->request) : gw_http_request_body(session->request);
        if (step == GW_HTTP_DONE && head) {
            head_complete(session);
        } else if (step == GW_HTTP_DONE) {
            begin_call(session);
        }
    }
    if (step == GW_HTTP_BAD) {
        refuse(session, session->request->parser.error);
        return;
    }
    if (session->state <= SESSION_BODY) {
        if (session->state != SESSION_IDLE && !session->timed) {
            session->timed = true;
            session->suspect = false;
            gw_conn_deadline(session->conn, session->door->gateway->config->receive_timeout_ms * ST_MS);
        }
        gw_conn_resume(session->conn);
    }
}

/* Memory is short: who has sent too little since the last look gives his up. */
static void inspect_all(struct gw_http *door) {
    int64_t now = st_now_ns(door->gateway->loop);
    if (now - door->inspected_ns < INSPECTION_NS) {
        return;
    }
    door->inspected_ns = now;
    for (struct gw_http_session *session = door->sessions; session != NULL; session = session->next) {
        if (!session->timed || (session->state != SESSION_HEAD && session->state != SESSION_BODY)) {
            continue;
        }
        if (session->suspect && session->arrived - session->inspected < LEAST_PACE) {
            refuse(session, REST_REQUEST_TIMEOUT);
        }
        session->suspect = true;
        session->inspected = session->arrived;
    }
}

/* ---- the connection's owner ---- */

static size_t want(struct gw_conn *conn, uint8_t **into) {
    struct gw_http_session *session = conn->owner;
    if (session->state > SESSION_BODY) {
        return 0;
    }
    if (session->request == NULL) {
        if (!may_begin(session)) {
            return 0;
        }
        session->request = gw_http_request_new(session->door);
    }
    size_t room = session->request == NULL ? 0 : gw_http_request_room(session->request, into);
    if (room == 0) {
        refuse(session, REST_OVERLOADED);
    }
    return room;
}

static void received(struct gw_conn *conn, size_t n) {
    struct gw_http_session *session = conn->owner;
    if (session->state == SESSION_IDLE) {
        session->state = SESSION_HEAD;
    }
    session->arrived += n;
    gw_http_request_received(session->request, n);
    run(session);
}

static void drained(struct gw_conn *conn) {
    struct gw_http_session *session = conn->owner;
    if (session->state == SESSION_STREAM) {
        rest_call_resume(&session->request->call);
        return;
    }
    if (session->state != SESSION_STALLED) {
        return;
    }
    if (session->request->used > 0) {
        session->state = SESSION_HEAD;
        session->timed = false;
    } else {
        become_idle(session);
    }
    run(session);
}

/* Noticed only where a request is awaited or unfinished: every answer before it has been given. */
static bool ended(struct gw_conn *conn) {
    drop_request(conn->owner);
    return false;
}

static void quiet(struct gw_conn *conn) {
    struct gw_http_session *session = conn->owner;
    if (session->state == SESSION_CALL || session->state == SESSION_STREAM) {
        rest_call_hurry(&session->request->call);
    }
}

static void late(struct gw_conn *conn) {
    struct gw_http_session *session = conn->owner;
    if (session->state == SESSION_HEAD || session->state == SESSION_BODY) {
        refuse(session, REST_REQUEST_TIMEOUT);
    }
}

static void closed(struct gw_conn *conn, const char *why) {
    (void)why;
    struct gw_http_session *session = conn->owner;
    if (session->state == SESSION_CALL || session->state == SESSION_STREAM) {
        session->request->session = NULL; /* call_done frees it */
        rest_call_hurry(&session->request->call);
    } else {
        drop_request(session);
    }
    leave_line(session);
    *session->link = session->next;
    if (session->next != NULL) {
        session->next->link = session->link;
    }
    free(session);
}

static const struct gw_conn_ops ops = {
    .want = want,
    .received = received,
    .drained = drained,
    .ended = ended,
    .quiet = quiet,
    .late = late,
    .closed = closed,
};

bool gw_http_session_new(struct gw_http *door, struct gw_conn *conn) {
    struct gw_http_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return false;
    }
    *session = (struct gw_http_session){.door = door, .conn = conn, .next = door->sessions, .link = &door->sessions};
    if (session->next != NULL) {
        session->next->link = &session->next;
    }
    door->sessions = session;
    conn->ops = &ops;
    conn->owner = session;
    gw_conn_send_timeout(conn, door->gateway->config->send_timeout_ms * ST_MS);
    become_idle(session);
    return true;
}

void gw_http_sessions_drain(struct gw_http *door) {
    for (struct gw_http_session *session = door->sessions; session != NULL; session = session->next) {
        if (session->state == SESSION_IDLE || session->state == SESSION_STALLED) {
            close_after(session);
        }
    }
}
