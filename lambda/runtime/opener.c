/*
 *   closed --want--> opening --ok--> open, for as long as the process lives
 *      ^                |
 *      +---- error -----+   the engine can only be freed then; the next want makes another
 *
 * An opening that outlasts its invocation goes on when the process is thawed for the next one, which joins it.
 */
#include "lambda/runtime/opener.h"

#include "lambda/runtime/answer.h"
#include "storage/backends/aws/aws.h"
#include "storage/backends/aws/url.h"
#include "storage/runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rest_opener {
    struct st_loop *loop;
    struct rest_lambda_options options;
    struct st_store *store;
    struct st_engine *engine;
    struct rest *rest; /* NULL until the engine is open */
    bool opening;
    struct rest_opener_want *want;
    struct st_task answer;
    char sentence[ST_IDENTIFY_MESSAGE_MAX + 64];
    void (*closed)(void *arg);
    void *closed_arg;
};

static void answer(struct st_task *task) {
    struct rest_opener *opener = ST_OWNER(task, struct rest_opener, answer);
    struct rest_opener_want *want = opener->want;
    opener->want = NULL;
    if (want != NULL) {
        want->done(want, opener->rest, opener->sentence);
    }
}

static void fail(struct rest_opener *opener, const char *sentence) {
    snprintf(opener->sentence, sizeof opener->sentence, "The store cannot be opened: %s", sentence);
    ST_LOG(store_not_opened, "reason=%s", st_log_quote(opener->sentence, strlen(opener->sentence)));
    st_defer(opener->loop, &opener->answer);
}

static struct rest_options rest_options_of(const struct rest_opener *opener) {
    struct rest_options options = rest_options_default();
    int64_t inflate = opener->options.memory_bytes / 8, memory = opener->options.memory_bytes / 2;
    options.timeout_ms = opener->options.request_timeout_ms;
    options.answer_bytes_max = REST_ANSWER_BODY_BYTES;
    options.inflate_bytes_max = inflate < (int64_t)options.inflate_bytes_max ? (size_t)inflate
                                                                             : options.inflate_bytes_max;
    options.memory_bytes_max = (size_t)memory;
    return options;
}

static void close_engine(struct rest_opener *opener);

static void opened(void *arg, enum st_error error) {
    struct rest_opener *opener = arg;
    opener->opening = false;
    if (error == ST_OK && opener->closed != NULL) {
        close_engine(opener);
        return;
    }
    if (error == ST_OK) {
        struct rest_options options = rest_options_of(opener);
        opener->rest = rest_new(opener->loop, opener->engine, &options);
        if (opener->rest != NULL) {
            st_defer(opener->loop, &opener->answer);
            return;
        }
        error = ST_REFUSED;
    }
    const char *said = st_engine_open_message(opener->engine);
    fail(opener, said[0] != 0 ? said : st_error_text(error));
    st_engine_free(opener->engine);
    opener->engine = NULL;
    if (opener->closed != NULL) {
        st_defer_cancel(opener->loop, &opener->answer);
        close_engine(opener);
    }
}

static void open_engine(struct rest_opener *opener) {
    struct st_engine_options options = st_engine_options_default();
    options.cache_bytes = (size_t)opener->options.cache_bytes;
    options.flush_bytes_max = (size_t)opener->options.flush_bytes;
    options.hold_bytes_max = (size_t)opener->options.hold_bytes;
    opener->engine = st_engine_new(opener->loop, opener->store, &options);
    if (opener->engine == NULL) {
        fail(opener, "out of memory");
        return;
    }
    opener->opening = true;
    st_engine_open(opener->engine, opened, opener);
}

void rest_opener_want(struct rest_opener *opener, struct rest_opener_want *want) {
    opener->want = want;
    if (opener->rest != NULL) {
        st_defer(opener->loop, &opener->answer);
    } else if (!opener->opening) {
        open_engine(opener);
    }
}

void rest_opener_forget(struct rest_opener *opener) {
    opener->want = NULL;
}

struct st_engine *rest_opener_engine(struct rest_opener *opener) {
    return opener->rest != NULL ? opener->engine : NULL;
}

/* Stores that a function can reach: no directory of its own lasts. */
static struct st_store *open_store(struct st_loop *loop, const char *url, char *message, size_t message_size) {
    if (strcmp(url, "memory:") == 0) {
        struct st_store *store = st_store_memory_new(loop);
        if (store == NULL) {
            snprintf(message, message_size, "There is no memory for the store.");
        }
        return store;
    }
    if (strncmp(url, ST_AWS_URL_SCHEME, strlen(ST_AWS_URL_SCHEME)) == 0) {
        return st_store_aws_open(loop, url, message, message_size);
    }
    snprintf(message, message_size, "The store \"%.128s\" is of no kind that a function can have: use "
             "s3://BUCKET?table=NAME.", url);
    return NULL;
}

struct rest_opener *rest_opener_new(struct st_loop *loop, const struct rest_lambda_options *options, char *message,
                                    size_t message_size) {
    struct rest_opener *opener = calloc(1, sizeof *opener);
    if (opener == NULL) {
        snprintf(message, message_size, "out of memory");
        return NULL;
    }
    opener->loop = loop;
    opener->options = *options;
    opener->answer.fn = answer;
    opener->store = open_store(loop, options->store, message, message_size);
    if (opener->store == NULL) {
        free(opener);
        return NULL;
    }
    return opener;
}

static void store_closed(void *arg) {
    struct rest_opener *opener = arg;
    void (*closed)(void *arg) = opener->closed;
    void *closed_arg = opener->closed_arg;
    free(opener);
    closed(closed_arg);
}

static void engine_closed(void *arg) {
    struct rest_opener *opener = arg;
    st_engine_free(opener->engine);
    rest_free(opener->rest);
    opener->store->ops->close(opener->store, store_closed, opener);
}

/* Operations under way point into the engine's memory, so it is closed before it is freed. */
static void close_engine(struct rest_opener *opener) {
    if (opener->engine != NULL) {
        st_engine_close(opener->engine, engine_closed, opener);
    } else {
        opener->store->ops->close(opener->store, store_closed, opener);
    }
}

void rest_opener_close(struct rest_opener *opener, void (*closed)(void *arg), void *arg) {
    opener->closed = closed;
    opener->closed_arg = arg;
    st_defer_cancel(opener->loop, &opener->answer);
    if (!opener->opening) {
        close_engine(opener);
    }
}
