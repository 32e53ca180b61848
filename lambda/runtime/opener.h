/*
 * The store and the engine of a function: the store's URL is checked at once, everything else waits for the first
 * invocation that needs it. A store that cannot be opened is tried again at the next one.
 */
#ifndef REST_OPENER_H
#define REST_OPENER_H

#include "lambda/rest.h"
#include "lambda/runtime/options.h"

struct rest_opener;

/* NULL, with one sentence in message: the URL is none, or memory is out. */
struct rest_opener *rest_opener_new(struct st_loop *loop, const struct rest_lambda_options *options, char *message,
                                    size_t message_size);

/* One at a time. */
struct rest_opener_want {
    /* From the loop. rest NULL: the store could not be opened, `sentence` says why. */
    void (*done)(struct rest_opener_want *want, struct rest *rest, const char *sentence);
};
void rest_opener_want(struct rest_opener *opener, struct rest_opener_want *want);
/* Its done will not run any more; the opening goes on. */
void rest_opener_forget(struct rest_opener *opener);
/* NULL while it is not open. */
struct st_engine *rest_opener_engine(struct rest_opener *opener);

/* Ends what is under way, however long the store takes for it, and frees everything, the opener too; `closed` runs from
 * the loop. */
void rest_opener_close(struct rest_opener *opener, void (*closed)(void *arg), void *arg);

#endif
