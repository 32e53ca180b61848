/* What http.c (requests, their ends, who waits) and http_try.c (one request inside libcurl) share. */
#ifndef ST_AWS_HTTP_STATE_H
#define ST_AWS_HTTP_STATE_H

#include "storage/backends/aws/http_headers.h"
#include "storage/backends/aws/http_sockets.h"

#define ST_HTTP_AUTHORITY_MAX 320 /* "https://host:port" with the NUL */
#define ST_HTTP_REASON_MAX 96     /* as in struct st_http_request */

/* Where requests go: scheme, host and port as in the URL. Connections are counted per host. */
struct st_http_host {
    char authority[ST_HTTP_AUTHORITY_MAX];
    bool tls;
    unsigned active;                       /* tries inside libcurl */
    struct st_http_try *waiting, *last;    /* for a connection, in order */
    struct st_http_host *next;
};

/* One request on its way. Those without a request are kept for the next one, with what libcurl remembers of them. */
struct st_http_try {
    struct st_http_client *client;
    struct st_http_request *request;
    struct st_http_host *host;
    const char *target;        /* in the request's URL */
    CURL *easy;                /* NULL until it is inside libcurl for the first time */
    struct curl_slist *lines;  /* its headers */
    struct st_timer timer;     /* its time limits */
    int64_t due_ns;            /* when the request's time is up */
    int64_t moved_ns;          /* when bytes were last seen to have moved, and how many it were then */
    uint64_t moved_bytes;
    bool active;               /* inside libcurl */
    bool begun;                /* libcurl had a connection and began to send: from here on the outcome is open */
    bool opened;               /* a connection was opened for it */
    bool too_long, no_memory;  /* why we told libcurl to stop */
    struct st_http_headers headers;
    uint8_t *bytes;            /* what becomes request->answer */
    size_t bytes_len, bytes_room;
    char error[CURL_ERROR_SIZE];
    struct st_http_try *next;  /* of those kept, or of those waiting */
    struct st_http_try *before, *after; /* of all with a request */
};

struct st_http_client {
    struct st_http_options options;
    struct st_loop *loop;
    CURLM *multi; /* NULL until the first request: libcurl costs milliseconds to start */
    CURLSH *share;
    char ca_file[256]; /* found out at the first TLS request */
    struct st_http_sockets sockets;
    struct st_http_host *hosts;
    struct st_http_try *tries; /* all with a request */
    struct st_http_try *kept;
    struct st_http_request *ended, *ended_last; /* whose done is to run, linked by their `client` */
    struct st_task deliver;
    bool *freed; /* set by st_http_client_free while `deliver` runs */
    bool turning, again; /* reading libcurl's messages; and more was given to it meanwhile */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Makes the easy handle and gives it to libcurl. False: no memory. */
bool st_http_try_begin(struct st_http_try *try);
/* Takes it out of libcurl, which forgets the request's buffers. `code` is what libcurl said, or our own verdict. Fills
 * in end, reason and the rest; the answer becomes the request's. */
void st_http_try_end(struct st_http_try *try, CURLcode code);
/* Frees the easy handle and the try, which is not active. */
void st_http_try_free(struct st_http_try *try);
/* Bytes that have moved so far, in both directions. */
uint64_t st_http_try_moved(struct st_http_try *try);

#endif
