/*
 * A Lambda's life between two events: asks the runtime API for the next one, has it answered by the HTTP door, gives
 * the answer back, and asks again (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html).
 *
 * Every invocation is answered before the function would be killed for its time. What the engine then still has under
 * way, a put with an unknown outcome, rests while the process is frozen and goes on with the next event.
 */
#ifndef REST_RUNTIME_H
#define REST_RUNTIME_H

#include "lambda/runtime/link.h"
#include "lambda/runtime/opener.h"

struct rest_runtime;

/* None of the parts is owned. `ended` runs once, from the loop: status is that of the process. NULL: out of memory. */
struct rest_runtime *rest_runtime_new(struct st_loop *loop, struct rest_link *link, struct rest_opener *opener,
                                      const struct rest_lambda_options *options,
                                      void (*ended)(void *arg, int status), void *arg);
void rest_runtime_start(struct rest_runtime *runtime);
/* Ends it: at once between invocations, else after the answer. */
void rest_runtime_stop(struct rest_runtime *runtime);
void rest_runtime_free(struct rest_runtime *runtime);

/* Tells the runtime API that the function cannot start, and then `ended` with status 1. */
void rest_runtime_refuse(struct rest_runtime *runtime, const char *sentence);

#endif
