/*
 * The sockets and the clock of one libcurl multi handle on our loop: libcurl says which descriptors and what time it
 * waits for, st_watch and st_timer tell it when they have come (curl_multi_socket_action).
 */
#ifndef ST_AWS_HTTP_SOCKETS_H
#define ST_AWS_HTTP_SOCKETS_H

#include <curl/curl.h>

#include "storage/runtime/loop.h"

struct st_http_socket;

/* Embedded in its owner's struct. */
struct st_http_sockets {
    struct st_loop *loop;
    CURLM *multi;
    /* libcurl has done something: look at its messages. Outside libcurl, so it may call it. */
    void (*turned)(struct st_http_sockets *sockets);
    struct st_timer timer;
    struct st_http_socket *first; /* all that are open */
    int64_t elapsed_ns, mono_ns;  /* both clocks when they were last read */
};

/* Sets the multi handle's callbacks. */
void st_http_sockets_init(struct st_http_sockets *sockets, struct st_loop *loop, CURLM *multi,
                          void (*turned)(struct st_http_sockets *sockets));
/* After curl_multi_cleanup, which closes the sockets. */
void st_http_sockets_release(struct st_http_sockets *sockets);
/* What CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION call. CURL_SOCKET_BAD: none to be had. */
curl_socket_t st_http_socket_open(struct st_http_sockets *sockets, const struct curl_sockaddr *address);
int st_http_socket_close(void *sockets, curl_socket_t fd);
/* Lets libcurl do now what it wants to do at once. */
void st_http_sockets_turn(struct st_http_sockets *sockets);
/* Before a request starts: discards the connections that have been idle for longer than this, or that their peer has
 * closed, so that libcurl takes none of them; after so long a freeze also those in use, whose requests then fail. */
void st_http_sockets_expire(struct st_http_sockets *sockets, int64_t idle_ns);

#endif
