/* The handle: opening, closing, the way of a request. */
#include "storage/backends/aws/aws_state.h"

#include "storage/runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- calls ---- */

struct st_aws_call *st_aws_call_new(struct st_aws *aws, void *op, void (*answered)(struct st_aws_call *call)) {
    struct st_aws_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        fputs("aws store: memory is out\n", stderr);
        abort();
    }
    call->aws = aws;
    call->op = op;
    call->answered = answered;
    aws->under_way++;
    return call;
}

static void call_release(struct st_aws_call *call) {
    st_aws_request_release(&call->request);
    st_json_end(&call->json);
}

struct st_aws_request *st_aws_call_renew(struct st_aws_call *call) {
    call_release(call);
    call->request = (struct st_aws_request){.tries_max = ST_AWS_TRIES, .answer_max = ST_AWS_ERROR_ANSWER_MAX};
    return &call->request;
}

void st_aws_call_end(struct st_aws_call *call) {
    struct st_aws *aws = call->aws;
    call_release(call);
    free(call);
    aws->under_way--;
    if (aws->closing && aws->under_way == 0) {
        st_defer(aws->loop, &aws->teardown);
    }
}

void st_aws_call_header(struct st_aws_call *call, unsigned which, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(call->headers[which], sizeof call->headers[which], format, args);
    va_end(args);
    call->request.headers[call->request.header_count++] = call->headers[which];
}

static void request_done(struct st_aws_request *request) {
    struct st_aws_call *call = ST_OWNER(request, struct st_aws_call, request);
    struct st_aws *aws = call->aws;
    int64_t now_ns = st_now_ns(aws->loop);
    if (request->date_ms > aws->date_ms + (now_ns - aws->date_mono_ns) / ST_MS) {
        aws->date_ms = request->date_ms;
        aws->date_mono_ns = now_ns;
    }
    call->answered(call);
}

void st_aws_call_send(struct st_aws_call *call) {
    call->request.done = request_done;
    st_aws_start(&call->request);
}

static void refused(struct st_task *task) {
    struct st_aws_call *call = ST_OWNER(task, struct st_aws_call, request.task);
    call->answered(call);
}

void st_aws_call_refuse(struct st_aws_call *call, const char *reason) {
    struct st_aws_request *request = st_aws_call_renew(call);
    request->end = ST_AWS_REFUSED;
    snprintf(request->reason, sizeof request->reason, "%s", reason);
    request->task.fn = refused;
    st_defer(call->aws->loop, &request->task);
}

int64_t st_aws_call_date(const struct st_aws_call *call) {
    return call->request.date_ms != 0 ? call->request.date_ms : st_aws_date_now(call->aws);
}

int64_t st_aws_date_now(const struct st_aws *aws) {
    if (aws->date_ms == 0) {
        return 0;
    }
    int64_t now_ms = aws->date_ms + (st_now_ns(aws->loop) - aws->date_mono_ns) / ST_MS;
    return now_ms - now_ms % 1000;
}

enum st_error st_aws_call_failed(const struct st_aws_call *call) {
    const struct st_aws_request *request = &call->request;
    ST_LOG(store_request_failed, "service=%s method=%s status=%d tries=%u outcome=%s reason=%s",
           request->service != NULL ? request->service->name : "none",
           request->method != NULL ? request->method : "none", request->status, request->tries,
           request->end == ST_AWS_UNKNOWN ? "unknown" : "none",
           st_log_quote(request->reason, strlen(request->reason)));
    return request->end == ST_AWS_UNKNOWN ? ST_UNKNOWN : ST_REFUSED;
}

/* ---- life ---- */

static void freed(void *arg) {
    struct st_aws *aws = arg;
    void (*closed)(void *arg) = aws->closed;
    void *closed_arg = aws->closed_arg;
    if (aws->connected) {
        st_aws_credentials_free(aws->client.credentials);
    }
    free(aws);
    closed(closed_arg);
}

static void tear_down(struct st_task *task) {
    struct st_aws *aws = ST_OWNER(task, struct st_aws, teardown);
    st_http_client_close(aws->http, freed, aws);
}

static void aws_close(struct st_store *store, void (*closed)(void *arg), void *arg) {
    struct st_aws *aws = st_aws_of(store);
    aws->closing = true;
    aws->closed = closed;
    aws->closed_arg = arg;
    if (aws->under_way == 0) {
        st_defer(aws->loop, &aws->teardown);
    }
}

static const struct st_store_ops aws_ops = {
    .identify = st_aws_identify,
    .object_name = st_aws_object_name,
    .object_put = st_aws_object_put,
    .object_get = st_aws_object_get,
    .object_delete = st_aws_object_delete,
    .object_list = st_aws_object_list,
    .journal_put = st_aws_journal_put,
    .journal_read = st_aws_journal_read,
    .journal_trim = st_aws_journal_trim,
    .checkpoint_get = st_aws_checkpoint_get,
    .checkpoint_advance = st_aws_checkpoint_advance,
    .lease_renew = st_aws_lease_renew,
    .lease_list = st_aws_lease_list,
    .pool_put = st_aws_pool_put,
    .pool_read = st_aws_pool_read,
    .close = aws_close,
};

/* Nine flushes a second, so that the one in twenty that is sent twice, and the checkpoints, have their PUTs within ten
 * a second, too. */
#define PACING_MS 110
/* Who asks for less than this asks for no pacing, and has flushes follow each other at this distance. Less would be
 * slower: flushes are committed in order, and the closer they are, the more of them wait behind each slow PUT. In a
 * model with AWS's latencies and PUTs sent twice the median append takes about 80 ms at 30 ms, and over 150 at 10. */
#define UNPACED_MS 30

static const struct st_store_profile profile = {
    .inline_limit = 16 * 1024,
    .inline_bytes_per_s = 500 * 1024,
    .pacing_ms = PACING_MS,
    .flush_limit = 8 << 20,
    .uploads_in_flight = 8,
    .gathers_frames = true,
    .whole_object_max = 1 << 20,
    .object_align = 1,
    .poll_least_ns = 10 * ST_MS,
    .poll_most_ns = ST_SECOND,
    .pool_after = 2,
};

static void service_set(struct st_aws *aws, struct st_aws_service *service, const char *name, const char *endpoint,
                        bool unsigned_bodies) {
    *service = (struct st_aws_service){.client = &aws->client, .unsigned_bodies = unsigned_bodies};
    snprintf(service->name, sizeof service->name, "%s", name);
    snprintf(service->endpoint, sizeof service->endpoint, "%s", endpoint);
}

bool st_aws_connect(struct st_aws *aws, const char *region, char *message, size_t size) {
    if (!st_aws_place_of(&aws->url, region, &aws->place, message, size)) {
        return false;
    }
    aws->client = (struct st_aws_client){.loop = aws->loop, .http = aws->http};
    snprintf(aws->client.region, sizeof aws->client.region, "%s", region);
    aws->client.credentials = st_aws_credentials_new(aws->loop, aws->http, aws->client.region);
    if (aws->client.credentials == NULL) {
        snprintf(message, size, "Memory is out.");
        return false;
    }
    service_set(aws, &aws->s3, "s3", aws->place.s3, aws->place.s3_private);
    service_set(aws, &aws->dynamodb, "dynamodb", aws->place.dynamodb, false);
    aws->connected = true;
    return true;
}

static struct st_aws *open_fail(struct st_aws *aws) {
    if (aws->http != NULL) {
        st_http_client_free(aws->http);
    }
    free(aws);
    return NULL;
}

static struct st_aws *open_with(struct st_loop *loop, const char *text, char *message, size_t size) {
    struct st_aws *aws = calloc(1, sizeof *aws);
    if (aws == NULL) {
        snprintf(message, size, "Memory is out.");
        return NULL;
    }
    if (!st_aws_url_parse(text, &aws->url, message, size)) {
        return open_fail(aws);
    }
    struct st_http_options options = st_http_options_default();
    options.ca_file = getenv("AWS_CA_BUNDLE");
    aws->loop = loop;
    aws->http = st_http_client_new(loop, &options);
    if (aws->http == NULL) {
        snprintf(message, size, "Memory is out, or the loop cannot wait for descriptors.");
        return open_fail(aws);
    }
    char region[ST_AWS_REGION_MAX];
    snprintf(region, sizeof region, "%s", aws->url.region);
    if ((region[0] != '\0' || st_aws_region_configured(region)) && !st_aws_connect(aws, region, message, size)) {
        return open_fail(aws);
    }
    return aws;
}

struct st_store *st_store_aws_open(struct st_loop *loop, const char *url, char *message, size_t message_size) {
    struct st_aws *aws = open_with(loop, url, message, message_size);
    if (aws == NULL) {
        return NULL;
    }
    aws->store = (struct st_store){.ops = &aws_ops, .profile = profile};
    st_aws_hedge_init(&aws->hedge, aws->url.pacing_ms < UNPACED_MS);
    if (aws->url.pacing_ms != ST_AWS_PACING_UNSET) {
        aws->store.profile.pacing_ms = aws->url.pacing_ms > UNPACED_MS ? aws->url.pacing_ms : UNPACED_MS;
    }
    uint64_t id;
    st_random(loop, &id, sizeof id);
    snprintf(aws->writer, sizeof aws->writer, "%016llx", (unsigned long long)id);
    aws->teardown.fn = tear_down;
    st_aws_deletes_start(aws);
    return &aws->store;
}
