/*
 * The client: which requests are inside libcurl, which wait for a connection, and how each ends.
 *
 *   st_http_start -> [waits while its host has connections_max others] -> a try inside libcurl -> ended -> done
 *
 * The queue is ours, not libcurl's, because libcurl counts the time in its queue as time to connect. So all of the time
 * limits are ours but the one for connecting.
 *
 * libcurl is called from four places only, none of them inside one of its callbacks: st_http_start, st_http_cancel, the
 * loop's timers and watches, and st_http_client_close. `done` never runs there: what ended is collected and delivered
 * by a deferred call, so a `done` may start, cancel, close, or free what it likes. The list of what ended is linked
 * through the requests themselves, so that a request for which there is no memory can still be told so.
 *
 * Nothing of libcurl is touched before the first request: its start costs milliseconds, that of TLS tens of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/backends/aws/http_state.h"
#include "storage/runtime/metrics.h"

#define STALL_LOOKS 4 /* a stall is seen at most a quarter of its time late */
#define HOSTS 4L      /* libcurl keeps so many times connections_max; a store talks to three or four hosts */

struct st_http_options st_http_options_default(void) {
    return (struct st_http_options){.connections_max = 64, .connect_timeout_ms = 2000, .idle_ms = 20000};
}

/* ---- ends ---- */

static void append_ended(struct st_http_client *client, struct st_http_request *request) {
    request->client = NULL;
    if (client->ended == NULL) {
        client->ended = request;
    } else {
        client->ended_last->client = request;
    }
    client->ended_last = request;
    st_metrics.store_http_requests--;
    st_defer(client->loop, &client->deliver);
}

/* A request that never became a try. */
static void refuse(struct st_http_client *client, struct st_http_request *request, enum st_http_end end,
                   const char *reason) {
    request->end = end;
    snprintf(request->reason, sizeof request->reason, "%s", reason);
    append_ended(client, request);
}

static void leave_queue(struct st_http_try *try) {
    struct st_http_host *host = try->host;
    struct st_http_try **link = &host->waiting, *before = NULL;
    while (*link != NULL && *link != try) {
        before = *link;
        link = &before->next;
    }
    if (*link == try) {
        *link = try->next;
        host->last = host->last == try ? before : host->last;
    }
}

/* The try is over: its request is complete and out of libcurl. It is kept for another if libcurl knows it. */
static void retire(struct st_http_try *try, CURLcode code) {
    struct st_http_client *client = try->client;
    if (!try->active) {
        leave_queue(try);
    }
    st_timer_stop(client->loop, &try->timer);
    st_http_try_end(try, code);
    if (try->before != NULL) {
        try->before->after = try->after;
    } else {
        client->tries = try->after;
    }
    if (try->after != NULL) {
        try->after->before = try->before;
    }
    if (try->easy != NULL) {
        try->next = client->kept;
        client->kept = try;
    } else {
        st_http_try_free(try);
    }
}

static void end_try(struct st_http_try *try, CURLcode code) {
    struct st_http_client *client = try->client;
    struct st_http_request *request = try->request;
    retire(try, code);
    append_ended(client, request);
}

static void begin_waiting(struct st_http_host *host) {
    while (host->waiting != NULL && host->active < host->waiting->client->options.connections_max) {
        struct st_http_try *try = host->waiting;
        host->waiting = try->next;
        host->last = host->waiting == NULL ? NULL : host->last;
        if (st_http_try_begin(try)) {
            try->client->again = true;
        } else {
            end_try(try, CURLE_OUT_OF_MEMORY);
        }
    }
}

/* Has libcurl begin with what it was given. */
static void turn_again(struct st_http_client *client) {
    if (client->again) {
        client->again = false;
        st_http_sockets_turn(&client->sockets);
    }
}

static void finish(struct st_http_try *try, CURLcode code) {
    struct st_http_host *host = try->host;
    end_try(try, code);
    begin_waiting(host);
}

/* Reads libcurl's messages; what it was given meanwhile is begun at once. */
static void turned(struct st_http_sockets *sockets) {
    struct st_http_client *client = ST_OWNER(sockets, struct st_http_client, sockets);
    if (client->turning) {
        return;
    }
    client->turning = true;
    bool more;
    do {
        const CURLMsg *message;
        int left;
        while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
            struct st_http_try *try = NULL;
            const CURLcode code = message->data.result; /* the message goes with the handle */
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &try);
            finish(try, code);
        }
        more = client->again;
        client->again = false;
        if (more) {
            st_http_sockets_turn(sockets);
        }
    } while (more);
    client->turning = false;
}

static void destroy(struct st_http_client *client) {
    st_defer_cancel(client->loop, &client->deliver);
    while (client->tries != NULL) {
        struct st_http_try *try = client->tries;
        client->tries = try->after;
        st_timer_stop(client->loop, &try->timer);
        if (try->active) {
            curl_multi_remove_handle(client->multi, try->easy);
        }
        st_metrics.store_http_requests--;
        st_http_try_free(try);
    }
    while (client->kept != NULL) {
        struct st_http_try *try = client->kept;
        client->kept = try->next;
        st_http_try_free(try);
    }
    while (client->hosts != NULL) {
        struct st_http_host *host = client->hosts;
        client->hosts = host->next;
        free(host);
    }
    if (client->multi != NULL) {
        curl_multi_cleanup(client->multi);
        curl_share_cleanup(client->share);
        st_http_sockets_release(&client->sockets);
    }
    free(client);
}

static void deliver(struct st_task *task) {
    struct st_http_client *client = ST_OWNER(task, struct st_http_client, deliver);
    bool freed = false;
    client->freed = &freed;
    while (!freed && client->ended != NULL) {
        struct st_http_request *request = client->ended;
        client->ended = request->client;
        request->client = NULL;
        request->done(request);
    }
    if (freed) {
        return;
    }
    client->freed = NULL;
    if (client->closing) {
        void (*closed)(void *arg) = client->closed;
        void *arg = client->closed_arg;
        destroy(client);
        closed(arg);
    }
}

/* ---- time ---- */

static int64_t time_to_look(const struct st_http_try *try, int64_t now_ns) {
    const int64_t left = try->due_ns - now_ns;
    const int64_t stall = try->request->stall_ms * ST_MS / STALL_LOOKS;
    return stall > 0 && stall < left ? stall : left;
}

static bool has_stalled(struct st_http_try *try, int64_t now_ns) {
    if (!try->begun || try->request->stall_ms <= 0) {
        return false;
    }
    const uint64_t moved = st_http_try_moved(try);
    if (moved != try->moved_bytes) {
        try->moved_bytes = moved;
        try->moved_ns = now_ns;
    }
    return now_ns - try->moved_ns >= try->request->stall_ms * ST_MS;
}

static void look(struct st_timer *timer) {
    struct st_http_try *try = ST_OWNER(timer, struct st_http_try, timer);
    struct st_http_client *client = try->client;
    struct st_http_request *request = try->request;
    const int64_t now_ns = st_now_ns(client->loop);
    const bool late = now_ns >= try->due_ns;
    if (!late && !has_stalled(try, now_ns)) {
        st_timer_start(client->loop, &try->timer, time_to_look(try, now_ns));
        return;
    }
    const char *what = !late ? "no byte moved" : try->begun ? "no answer" : try->active ? "no connection" : "not begun";
    snprintf(request->reason, sizeof request->reason, "%s for %lld ms", what,
             (long long)(late ? request->timeout_ms : request->stall_ms));
    finish(try, CURLE_OPERATION_TIMEDOUT);
    st_http_sockets_turn(&client->sockets);
}

/* ---- start ---- */

/* Scheme and authority of the URL, and where its target begins; NULL: it is not one that may be sent. */
static const char *split_url(const char *url, struct kp_slice *authority) {
    const size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    const size_t len = scheme + strcspn(url + scheme, "/?#");
    *authority = kp_slice_of(url, len);
    if (scheme == 0 || len == scheme || len >= ST_HTTP_AUTHORITY_MAX || memchr(url, '@', len) != NULL) {
        return NULL;
    }
    const char *target = url[len] == '\0' ? "/" : url + len;
    for (const char *at = url; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return NULL;
        }
    }
    return *target == '/' && strchr(target, '#') == NULL ? target : NULL;
}

static bool headers_are_lines(const struct st_http_request *request) {
    for (size_t i = 0; i < request->header_count; i++) {
        if (request->headers[i][strcspn(request->headers[i], "\r\n")] != '\0' || request->headers[i][0] == ':' ||
            strchr(request->headers[i], ':') == NULL) {
            return false;
        }
    }
    return true;
}

static struct st_http_host *find_host(struct st_http_client *client, struct kp_slice authority) {
    struct st_http_host *host = client->hosts;
    while (host != NULL && !kp_slice_equal(kp_slice_cstr(host->authority), authority)) {
        host = host->next;
    }
    if (host == NULL && (host = calloc(1, sizeof *host)) != NULL) {
        memcpy(host->authority, authority.ptr, authority.len);
        host->tls = strncmp(host->authority, "https:", 6) == 0;
        host->next = client->hosts;
        client->hosts = host;
    }
    return host;
}

static bool start_libcurl(struct st_http_client *client) {
    if (client->multi != NULL) {
        return true;
    }
    CURLM *multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    client->share = multi != NULL ? curl_share_init() : NULL;
    if (client->share == NULL) {
        curl_multi_cleanup(multi);
        return false;
    }
    curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, HOSTS * (long)client->options.connections_max);
    client->multi = multi;
    st_http_sockets_init(&client->sockets, client->loop, multi, turned);
    return true;
}

static struct st_http_try *new_try(struct st_http_client *client, struct st_http_request *request) {
    struct st_http_try *try = client->kept;
    if (try != NULL) {
        client->kept = try->next;
        *try = (struct st_http_try){.easy = try->easy, .bytes = try->bytes, .bytes_room = try->bytes_room};
    } else if ((try = calloc(1, sizeof *try)) == NULL) {
        return NULL;
    }
    try->client = client;
    try->request = request;
    try->timer.fn = look;
    try->after = client->tries;
    if (try->after != NULL) {
        try->after->before = try;
    }
    client->tries = try;
    st_http_headers_begin(&try->headers, request);
    return try;
}

static void clear_answer(struct st_http_request *request) {
    request->end = ST_HTTP_NOT_SENT;
    request->status = 0;
    request->into_len = 0;
    request->answer = (struct kp_slice){NULL, 0};
    request->date_ms = 0;
    request->retry_after_ms = 0;
    request->request_id[0] = '\0';
    request->reused = false;
    request->reason[0] = '\0';
}

static void enqueue(struct st_http_try *try) {
    struct st_http_host *host = try->host;
    try->next = NULL;
    if (host->waiting == NULL) {
        host->waiting = try;
    } else {
        host->last->next = try;
    }
    host->last = try;
}

void st_http_start(struct st_http_client *client, struct st_http_request *request) {
    struct kp_slice authority;
    clear_answer(request);
    st_metrics.store_http_requests++;
    if (client->closing) {
        refuse(client, request, ST_HTTP_NOT_SENT, "the client is closing");
        return;
    }
    const char *target = split_url(request->url, &authority);
    if (target == NULL || !headers_are_lines(request)) {
        refuse(client, request, ST_HTTP_NOT_SENT, target == NULL ? "not a URL" : "a header that is no line");
        return;
    }
    struct st_http_host *host = find_host(client, authority);
    struct st_http_try *try = host != NULL && start_libcurl(client) ? new_try(client, request) : NULL;
    if (try == NULL) {
        refuse(client, request, ST_HTTP_NO_MEMORY, "no memory for the request");
        return;
    }
    try->host = host;
    try->target = target;
    const int64_t now_ns = st_now_ns(client->loop);
    try->due_ns = now_ns + request->timeout_ms * ST_MS;
    st_timer_start(client->loop, &try->timer, time_to_look(try, now_ns));
    st_http_sockets_expire(&client->sockets, client->options.idle_ms * ST_MS);
    enqueue(try);
    begin_waiting(host);
    turn_again(client);
}

/* ---- cancel ---- */

static void leave_ended(struct st_http_client *client, struct st_http_request *request) {
    struct st_http_request *at = client->ended, *before = NULL;
    while (at != NULL && at != request) {
        before = at;
        at = at->client;
    }
    if (at == NULL) {
        return;
    }
    if (before == NULL) {
        client->ended = request->client;
    } else {
        before->client = request->client;
    }
    client->ended_last = client->ended_last == request ? before : client->ended_last;
    request->client = NULL;
}

void st_http_cancel(struct st_http_client *client, struct st_http_request *request) {
    struct st_http_try *try = client->tries;
    while (try != NULL && try->request != request) {
        try = try->after;
    }
    if (try == NULL) {
        leave_ended(client, request);
    } else {
        struct st_http_host *host = try->host;
        retire(try, CURLE_ABORTED_BY_CALLBACK);
        st_metrics.store_http_requests--;
        begin_waiting(host);
        turn_again(client);
    }
    st_http_request_release(request);
}

/* ---- the client ---- */

struct st_http_client *st_http_client_new(struct st_loop *loop, const struct st_http_options *options) {
    struct st_http_client *client = calloc(1, sizeof *client);
    if (client != NULL) {
        client->loop = loop;
        client->options = *options;
        client->deliver.fn = deliver;
    }
    return client;
}

void st_http_client_close(struct st_http_client *client, void (*freed)(void *arg), void *arg) {
    client->closing = true;
    client->closed = freed;
    client->closed_arg = arg;
    for (struct st_http_host *host = client->hosts; host != NULL; host = host->next) {
        while (host->waiting != NULL) { /* first, or they would begin when others end */
            snprintf(host->waiting->request->reason, ST_HTTP_REASON_MAX, "the client was closed");
            finish(host->waiting, CURLE_ABORTED_BY_CALLBACK);
        }
    }
    while (client->tries != NULL) {
        snprintf(client->tries->request->reason, ST_HTTP_REASON_MAX, "the client was closed");
        finish(client->tries, CURLE_ABORTED_BY_CALLBACK);
    }
    st_defer(client->loop, &client->deliver);
}

void st_http_client_free(struct st_http_client *client) {
    if (client == NULL) {
        return;
    }
    if (client->freed != NULL) {
        *client->freed = true;
    }
    destroy(client);
}
