/*
 * One request as libcurl sees it: an easy handle with its options and callbacks.
 *
 * What the outcome is. libcurl calls `begin` (CURLOPT_PREREQFUNCTION) when it has a connection, TLS included, and is
 * about to send the first byte; before that nothing can have had an effect, and after it anything can. Its counters of
 * bytes sent are no help between these two: CURLINFO_REQUEST_SIZE counts the first send only, so a request whose first
 * send had to wait counts as nothing although it went out later. So: an error before `begin` is NOT_SENT, any other
 * error is LOST, even if it is about memory.
 *
 * Which retries there are. libcurl itself sends a request again, over another connection, when a used connection gave
 * not one byte of answer. Nobody here would know that the request went out twice, so both ways to that are closed: when
 * a request that had begun opens a socket, it gets none; when it begins for a second time on an idle connection, that
 * is refused.
 *
 * How bodies go out. As CURLOPT_POSTFIELDS, whatever the method: libcurl then reads from the caller's memory, and sends
 * bodies of up to 64 KiB in one piece with the head, so that a small request is one packet and one system call (as
 * CURLOPT_UPLOAD it were two). Headers that libcurl would add of its own are switched off by an empty one each; an
 * empty value of the caller's needs libcurl's notation for it ("Name;"), or the header would be left out although it
 * is signed.
 *
 * CURLOPT_REQUEST_TARGET has path and query sent as they stand. CURLOPT_QUICK_EXIT: a request that gives up while its
 * name is being looked up does not wait for the resolver's thread, which ends by itself. Names are looked up beside the
 * loop only if libcurl was built for it (AsynchDNS): with the threaded resolver, as Debian does, or with c-ares, as the
 * static one of the Lambda, where getaddrinfo would load NSS.
 */
#include "storage/backends/aws/http_state.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "storage/runtime/metrics.h"

#define RECEIVE_LEAST (16L * 1024)
#define SEND_LEAST (72L * 1024)   /* over TLS, head and body go out in one piece only if both fit in here */
#define BUFFER_MOST (256L * 1024) /* each way, while a large body moves: fewer system calls */
#define ANSWER_FIRST 1024
#define MAX_AGE_S (24L * 3600) /* libcurl's own limit for idle connections; ours comes first (http_sockets.c) */

static const char empty_answer[] = "";

/* ---- callbacks of libcurl ---- */

/* libcurl is about to send the request a second time. */
static void refuse_retry(struct st_http_try *try) {
    snprintf(try->request->reason, ST_HTTP_REASON_MAX, "the connection ended without an answer");
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    struct st_http_try *try = arg;
    (void)purpose;
    if (try->begun) {
        refuse_retry(try);
        return CURL_SOCKET_BAD;
    }
    try->opened = true;
    return st_http_socket_open(&try->client->sockets, address);
}

static int begin(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port) {
    struct st_http_try *try = arg;
    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    if (try->begun) {
        refuse_retry(try);
        return CURL_PREREQFUNC_ABORT;
    }
    try->begun = true;
    try->moved_ns = st_now_ns(try->client->loop);
    st_metrics.store_http_requests_total++;
    st_metrics.store_http_reused_total += !try->opened;
    return CURL_PREREQFUNC_OK;
}

static size_t take_header(char *line, size_t size, size_t count, void *arg) {
    struct st_http_try *try = arg;
    if (!st_http_headers_line(&try->headers, try->request, line, size * count)) {
        try->too_long = true;
        return 0;
    }
    return size * count;
}

/* Room for `len` more bytes and a NUL; len is within the request's answer_max. */
static bool make_room(struct st_http_try *try, size_t len) {
    const size_t need = try->bytes_len + len + 1;
    if (need <= try->bytes_room) {
        return true;
    }
    size_t room = try->bytes_room == 0 ? ANSWER_FIRST : try->bytes_room;
    while (room < need) {
        room *= 2;
    }
    const size_t most = try->request->answer_max + 1;
    room = room < most ? room : most;
    uint8_t *bytes = realloc(try->bytes, room);
    if (bytes == NULL) {
        return false;
    }
    try->bytes = bytes;
    try->bytes_room = room;
    return true;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg) {
    struct st_http_try *try = arg;
    struct st_http_request *request = try->request;
    const size_t len = size * count;
    st_metrics.store_http_received_bytes_total += len;
    if (request->into != NULL && request->status >= 200 && request->status < 300) {
        if (len > request->into_size - request->into_len) {
            try->too_long = true;
            return 0;
        }
        memcpy(request->into + request->into_len, bytes, len);
        request->into_len += len;
        return len;
    }
    if (len > request->answer_max - try->bytes_len) {
        try->too_long = true;
        return 0;
    }
    if (!make_room(try, len)) {
        try->no_memory = true;
        return 0;
    }
    memcpy(try->bytes + try->bytes_len, bytes, len);
    try->bytes_len += len;
    return len;
}

/* ---- options ---- */

/* The first of the places where Linux systems keep their certificates, libcurl's own choice before them. */
static const char *system_ca_file(void) {
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* Amazon Linux, Fedora */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Amazon Linux without the link */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/ssl/cert.pem",                                 /* Alpine, and where OpenSSL was built with defaults */
    };
    const char *built_in = curl_version_info(CURLVERSION_NOW)->cainfo;
    if (built_in != NULL && access(built_in, R_OK) == 0) {
        return built_in;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], R_OK) == 0) {
            return places[i];
        }
    }
    return places[0];
}

/* What never changes for a try. */
static bool make_easy(struct st_http_try *try) {
    struct st_http_client *client = try->client;
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        return false;
    }
    try->easy = easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, try);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, try->error);
    curl_easy_setopt(easy, CURLOPT_SHARE, client->share);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, MAX_AGE_S);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->options.connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* with a folder of certificates libcurl would not cache the file's */
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, try);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, st_http_socket_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, &client->sockets); /* connections outlive the try */
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, begin);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, try);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, try);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, try);
    return true;
}

static bool add_line(struct st_http_try *try, const char *line) {
    struct curl_slist *grown = curl_slist_append(try->lines, line);
    if (grown != NULL) {
        try->lines = grown;
    }
    return grown != NULL;
}

/* "Name: value", or "Name;" when the value is empty. */
static bool add_header(struct st_http_try *try, const char *header) {
    const char *colon = strchr(header, ':');
    if (colon == NULL || colon[1 + strspn(colon + 1, " \t")] != '\0') {
        return add_line(try, header);
    }
    char *without = strndup(header, (size_t)(colon - header) + 1);
    if (without == NULL) {
        return false;
    }
    without[colon - header] = ';';
    const bool good = add_line(try, without);
    free(without);
    return good;
}

static bool add_headers(struct st_http_try *try) {
    const struct st_http_request *request = try->request;
    bool good = add_line(try, "Accept:") && add_line(try, "Expect:"), typed = false;
    for (size_t i = 0; good && i < request->header_count; i++) {
        typed |= strncasecmp(request->headers[i], "content-type:", 13) == 0;
        good = add_header(try, request->headers[i]);
    }
    return good && (typed || add_line(try, "Content-Type:"));
}

static bool set_method(struct st_http_try *try) {
    const struct st_http_request *request = try->request;
    CURL *easy = try->easy;
    const char *method = request->method;
    const bool is_get = strcmp(method, "GET") == 0, is_head = strcmp(method, "HEAD") == 0;
    const bool has_body = request->body.ptr != NULL || strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0;
    CURLcode code = CURLE_OK;
    if (has_body) { /* without bytes: "Content-Length: 0" */
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.len > 0 ? (const char *)request->body.ptr : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        if (is_head) {
            curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        }
    }
    code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, !has_body && (is_get || is_head) ? NULL : method);
    return code == CURLE_OK;
}

static long clamp(size_t len, long least) {
    return len < (size_t)least ? least : len < (size_t)BUFFER_MOST ? (long)len : BUFFER_MOST;
}

static bool set_request(struct st_http_try *try) {
    const struct st_http_request *request = try->request;
    CURL *easy = try->easy;
    if (curl_easy_setopt(easy, CURLOPT_URL, try->host->authority) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, try->target) != CURLE_OK || !set_method(try) ||
        !add_headers(try)) {
        return false;
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, try->lines);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, request->fresh ? 0L : 60L); /* 0: looked up anew */
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, clamp(request->into_size, RECEIVE_LEAST));
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, clamp(request->body.len, SEND_LEAST));
    if (!try->host->tls) {
        return true;
    }
    struct st_http_client *client = try->client;
    if (client->ca_file[0] == '\0') {
        snprintf(client->ca_file, sizeof client->ca_file, "%s",
                 client->options.ca_file != NULL ? client->options.ca_file : system_ca_file());
    }
    return curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file) == CURLE_OK;
}

/* ---- life ---- */

bool st_http_try_begin(struct st_http_try *try) {
    if ((try->easy == NULL && !make_easy(try)) || !set_request(try)) {
        return false;
    }
    try->error[0] = '\0';
    if (curl_multi_add_handle(try->client->multi, try->easy) != CURLM_OK) {
        return false;
    }
    try->active = true;
    try->host->active++;
    return true;
}

uint64_t st_http_try_moved(struct st_http_try *try) {
    curl_off_t sent = 0, received = 0;
    curl_easy_getinfo(try->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl_easy_getinfo(try->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
    return (uint64_t)sent + (uint64_t)received + try->headers.bytes;
}

static void say_why(struct st_http_try *try, CURLcode code) {
    struct st_http_request *request = try->request;
    const char *why = try->error[0] != '\0' ? try->error : curl_easy_strerror(code);
    if (try->no_memory) {
        why = "no memory for the answer";
    } else if (request->reason[0] != '\0') {
        return; /* our own verdict */
    }
    snprintf(request->reason, sizeof request->reason, "%s", why);
}

static void give_answer(struct st_http_try *try) {
    struct st_http_request *request = try->request;
    if (try->bytes_len > 0) {
        try->bytes[try->bytes_len] = '\0';
        request->answer = kp_slice_of(try->bytes, try->bytes_len);
        try->bytes = NULL;
        try->bytes_room = 0;
    } else {
        request->answer = kp_slice_of(empty_answer, 0);
    }
}

/* An answer that says nothing of its length ends with the connection, and then it may have been cut short. TLS tells
 * these apart, but libcurl passes the end of the connection on as the end of the answer. Over plain HTTP nobody can
 * tell: there it is believed, as small servers of credentials answer so. */
static bool end_is_whole(const struct st_http_try *try) {
    const int status = try->request->status;
    return !try->host->tls || try->headers.framed || status == 204 || status == 304 ||
           strcmp(try->request->method, "HEAD") == 0;
}

void st_http_try_end(struct st_http_try *try, CURLcode code) {
    struct st_http_request *request = try->request;
    if (try->active) {
        curl_off_t sent = 0;
        curl_easy_getinfo(try->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
        st_metrics.store_http_sent_bytes_total += (uint64_t)sent;
        curl_multi_remove_handle(try->client->multi, try->easy);
        curl_easy_setopt(try->easy, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(try->easy, CURLOPT_HTTPHEADER, NULL);
        try->active = false;
        try->host->active--;
    }
    curl_slist_free_all(try->lines);
    try->lines = NULL;
    request->reused = try->begun && !try->opened;
    if (code == CURLE_OK && try->headers.over && !end_is_whole(try)) {
        snprintf(request->reason, sizeof request->reason, "an answer of no stated length");
        code = CURLE_PARTIAL_FILE;
    }
    if (code == CURLE_OK && try->headers.over) {
        request->end = ST_HTTP_ANSWERED;
    } else if (try->too_long) {
        request->end = ST_HTTP_TOO_LONG;
    } else if (try->begun) {
        request->end = ST_HTTP_LOST;
    } else {
        request->end = code == CURLE_OUT_OF_MEMORY ? ST_HTTP_NO_MEMORY : ST_HTTP_NOT_SENT;
    }
    if (request->end != ST_HTTP_ANSWERED) {
        say_why(try, code);
    }
    give_answer(try);
}

void st_http_try_free(struct st_http_try *try) {
    if (try->easy != NULL) {
        curl_easy_cleanup(try->easy);
    }
    curl_slist_free_all(try->lines);
    free(try->bytes);
    free(try);
}

void st_http_request_release(struct st_http_request *request) {
    if (request->answer.ptr != NULL && (const char *)request->answer.ptr != empty_answer) {
        free((void *)(uintptr_t)request->answer.ptr);
    }
    request->answer = (struct kp_slice){NULL, 0};
}
