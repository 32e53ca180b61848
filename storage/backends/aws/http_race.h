/*
 * One request that is sent twice if it takes long, over two connections: the first good answer counts, and the other
 * request is cancelled. Only for what may take effect twice without harm.
 *
 * A good answer is one of status 2xx. Any other end of one waits for the other; when both have ended without a good
 * answer, the worse of both is told: one that was sent and not answered before one that was answered, that before one
 * that was not sent, and the later of two that are equal. Who needs to know whether *either* may have had an effect
 * looks at both.
 */
#ifndef ST_AWS_HTTP_RACE_H
#define ST_AWS_HTTP_RACE_H

#include "storage/backends/aws/http.h"

/* The caller owns it, and all that its request names, until `done` has run, once, from the loop. */
struct st_http_race {
    struct st_http_request request; /* all but its `done`, and its result, whichever of the two that came from */
    int64_t again_ms;               /* it is sent again after so long without an answer. 0: at once; < 0: never */
    bool (*may)(struct st_http_race *race); /* asked before it is sent again */
    void (*done)(struct st_http_race *race);
    /* out */
    bool late;                      /* it had no answer after again_ms */
    bool twice;                     /* it was sent again */
    struct st_http_request other;   /* then: what became of the one that is not told; cancelled: ST_HTTP_LOST */
    /* this module's */
    struct st_loop *loop;
    struct st_http_client *client;
    struct st_timer timer;
    int64_t due_ns;
    unsigned under_way;
};

/* A request with `into` is never sent again: two answers would write into one buffer. */
void st_http_race_start(struct st_loop *loop, struct st_http_client *client, struct st_http_race *race);
/* Both answers. */
void st_http_race_release(struct st_http_race *race);

#endif
