/*
 * Answers of S3 and DynamoDB to every operation of the aws store: the first byte chooses the operation, the second the
 * status, the third how a second request of the same operation is answered; the rest is the body. Stands in for
 * request.h, http.h and credentials.h, so no request leaves the process.
 */
#include "storage/backends/aws/aws.h"
#include "storage/backends/aws/request.h"
#include "storage/backends/aws/scan.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int statuses[] = {200, 206, 301, 400, 403, 404, 412, 416, 500, 0};
static struct kp_slice body;
static int status, next_status;
static unsigned done;
static int64_t now_ns;

/* ---- what stands in ---- */

static void answer(struct st_task *task) {
    struct st_aws_request *request = ST_OWNER(task, struct st_aws_request, task);
    request->status = status;
    status = next_status;
    request->tries = 1 + (unsigned)(body.len % 2);
    request->end = request->status == 0 ? ST_AWS_UNKNOWN : ST_AWS_ANSWERED;
    request->date_ms = INT64_C(1700000000000) + now_ns / ST_MS;
    size_t most = request->into != NULL && request->status / 100 == 2 ? request->into_size : request->answer_max;
    size_t len = body.len < most ? body.len : most;
    if (request->into != NULL && request->status / 100 == 2) {
        memcpy(request->into, body.ptr, len);
        request->into_len = len;
    } else if (request->status != 0) {
        char *copy = malloc(len + 1); /* exact, so that reading past it is seen */
        assert(copy != NULL);
        memcpy(copy, body.ptr, len);
        copy[len] = '\0';
        request->answer = kp_slice_of(copy, len);
        char code[64];
        bool xml = strcmp(request->service->name, "s3") == 0;
        if (request->status >= 300 && (xml ? st_scan_xml(request->answer, "Code", code, sizeof code)
                                           : st_scan_json(request->answer, "__type", code, sizeof code))) {
            snprintf(request->code, sizeof request->code, "%s", code);
        }
    }
    request->done(request);
}

void st_aws_start(struct st_aws_request *request) {
    request->task.fn = answer;
    st_defer(request->service->client->loop, &request->task);
}

void st_aws_request_release(struct st_aws_request *request) {
    free((void *)(uintptr_t)request->answer.ptr);
    request->answer = (struct kp_slice){0};
}

struct st_http_options st_http_options_default(void) {
    return (struct st_http_options){0};
}

struct st_http_client *st_http_client_new(struct st_loop *loop, const struct st_http_options *options) {
    (void)options;
    return (struct st_http_client *)(void *)loop;
}

void st_http_client_close(struct st_http_client *client, void (*freed)(void *arg), void *arg) {
    (void)client;
    freed(arg);
}

void st_http_client_free(struct st_http_client *client) {
    (void)client;
}

struct st_aws_credentials *st_aws_credentials_new(struct st_loop *loop, struct st_http_client *http,
                                                  const char *region) {
    (void)http;
    (void)region;
    return (struct st_aws_credentials *)(void *)loop;
}

void st_aws_credentials_free(struct st_aws_credentials *credentials) {
    (void)credentials;
}

bool st_aws_region_configured(char region[ST_AWS_REGION_MAX]) {
    region[0] = '\0';
    return false;
}

void st_aws_region_ask(struct st_loop *loop, struct st_http_client *http, struct st_aws_region_ask *ask) {
    (void)loop;
    (void)http;
    ask->region[0] = '\0';
    ask->done(ask);
}

/* ---- the loop ---- */

static int64_t mono(void *self) {
    (void)self;
    return now_ns;
}

static int64_t wall(void *self) {
    (void)self;
    return 0;
}

static void zeros(void *self, void *bytes, size_t len) {
    (void)self;
    memset(bytes, 0, len);
}

static void run(struct st_loop *loop, const unsigned *until) {
    for (int turns = 0; *until == 0; turns++) {
        assert(turns < 100000);
        int64_t due = st_loop_due(loop);
        assert(due != ST_NEVER);
        now_ns = due > now_ns ? due : now_ns;
        st_loop_run_due(loop);
    }
}

/* ---- the operations ---- */

#define OVER(name, type) \
    static void name##_over(struct type *op) { \
        (void)op; \
        done++; \
    }
OVER(identify, st_identify)
OVER(get, st_object_get)
OVER(delete, st_object_delete)
OVER(list, st_object_list)
OVER(put, st_journal_put)
OVER(trim, st_journal_trim)
OVER(checkpoint, st_checkpoint_ref)
OVER(leases, st_lease_list)

static void read_over(struct st_journal_read *op) {
    uint64_t slot = op->from;
    for (size_t i = 0; i < op->count; i++) {
        assert(op->entries[i].slot >= slot && (i == 0 || op->entries[i].slot == slot));
        slot = op->entries[i].slot + 1;
        assert(op->entries[i].body.len <= ST_ENTRY_MAX);
    }
    assert(op->error == ST_OK || op->count == 0);
    kp_blob_unref(op->blob);
    free(op->entries);
    done++;
}

static void pool_over(struct st_pool_read *op) {
    assert((op->count == 0) == (op->blob == NULL));
    kp_blob_unref(op->blob);
    free(op->bodies);
    done++;
}

static void operate(struct st_store *store, struct st_loop *loop, unsigned which) {
    static uint8_t into[64];
    static char names[8][ST_OBJECT_NAME_MAX];
    static struct st_lease leases[4];
    const struct st_store_ops *ops = store->ops;
    struct st_identify identify = {.format_version = 1, .create = which % 2 == 0, .done = identify_over};
    struct st_object_get get = {.name = "a", .position = 3, .len = sizeof into, .into = into, .done = get_over};
    struct st_object_delete first = {.name = "a", .done = delete_over}, second = {.name = "b", .done = delete_over};
    struct st_object_list list = {.names = names, .capacity = 8, .done = list_over};
    struct st_journal_put put = {.slot = 5, .body = KP_SLICE_LIT("hello"), .done = put_over};
    struct st_journal_read read = {.from = 5, .max_bytes = 1 << 20, .done = read_over};
    struct st_journal_trim trim = {.below = 9, .done = trim_over};
    struct st_checkpoint_ref ref = {.slot = 5, .name = "five", .done = checkpoint_over};
    struct st_lease_list lease_list = {.leases = leases, .capacity = 4, .done = leases_over};
    struct st_pool_read pool = {.first = 250, .last = which % 24 < 12 ? 250 : 260, .max_bytes = 100, .done = pool_over};
    switch (which % 12) {
    case 0:
    case 1:
        ops->identify(store, &identify);
        break;
    case 2:
        ops->object_get(store, &get);
        break;
    case 3:
        ops->object_delete(store, &first);
        ops->object_delete(store, &second);
        break;
    case 4:
        ops->object_list(store, &list);
        break;
    case 5:
        ops->journal_put(store, &put);
        break;
    case 6:
        ops->journal_read(store, &read);
        break;
    case 7:
        ops->journal_trim(store, &trim);
        break;
    case 8:
        ops->checkpoint_get(store, &ref);
        break;
    case 9:
        ops->checkpoint_advance(store, &ref);
        break;
    case 10:
        ops->lease_list(store, &lease_list);
        break;
    default:
        ops->pool_read(store, &pool);
    }
    run(loop, &done);
    if (which % 12 == 3 && done == 1) {
        done = 0;
        run(loop, &done);
    }
}

static void closed(void *arg) {
    ++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct st_env env = {.now_mono_ns = mono, .now_wall_ms = wall, .random = zeros};
    char message[300];
    if (size < 3) {
        return 0;
    }
    now_ns = 0;
    done = 0;
    status = statuses[data[1] % (sizeof statuses / sizeof statuses[0])];
    next_status = statuses[data[2] % (sizeof statuses / sizeof statuses[0])];
    body = kp_slice_of(data + 3, size - 3);
    struct st_loop *loop = st_loop_new(&env);
    assert(loop != NULL);
    struct st_store *store = st_store_aws_open(loop, "s3://bucket?table=tab&region=r", message, sizeof message);
    assert(store != NULL);
    operate(store, loop, data[0]);
    unsigned is_closed = 0;
    store->ops->close(store, closed, &is_closed);
    run(loop, &is_closed);
    st_loop_free(loop);
    return 0;
}
