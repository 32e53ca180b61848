/*
 * The pool of a journal (storage/store.h): requests that wait for somebody to commit them.
 *
 *   pk                       sk                                  attributes
 *   pool#{j}#{begun / 256}   begun % 256 and the first 14        b B: the request, expires N: TTL, s
 *                            bytes of the id, as one number
 *
 * So one query finds what was begun at a few neighbouring slots, and pays for nothing older; where they lie in two
 * buckets two queries are sent at once, since a read of the pool is on the way of every commit under contention. A
 * number of DynamoDB has 38 digits, which 17 bytes do not fit into; ids are random, so 14 of theirs tell them apart.
 * What has expired costs no write when DynamoDB removes it; until then, it may take days, it is passed over here.
 */
#include "storage/backends/aws/aws_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKET 256 /* slots */
#define ANSWER_MAX (6 << 20)
#define ID_PREFIX 14
#define SK_MAX 40

_Static_assert(ST_POOL_SLOTS_MOST <= BUCKET, "a read touches two buckets at most");

static void sk_of(uint64_t begun, const uint8_t prefix[ID_PREFIX], char text[SK_MAX]) {
    unsigned __int128 number = begun % BUCKET;
    char *at = text + SK_MAX - 1;
    for (size_t i = 0; i < ID_PREFIX; i++) {
        number = number << 8 | prefix[i];
    }
    *at = '\0';
    do {
        *--at = (char)('0' + (int)(number % 10));
        number /= 10;
    } while (number > 0);
    memmove(text, at, strlen(at) + 1);
}

/* ---- put ---- */

static void put_answered(struct st_aws_call *call) {
    struct st_pool_put *op = call->op;
    cJSON_Delete(st_aws_table_answer(call));
    op->error = call->memory.flag                                                   ? ST_TOO_LARGE
                : st_aws_call_is_ok(call)                                           ? ST_OK
                : st_aws_call_is_error(call, "ConditionalCheckFailedException") ? ST_TAKEN
                                                                                    : st_aws_call_failed(call);
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

static void put_send(struct st_aws_call *call) {
    const struct st_pool_put *op = call->op;
    char sk[SK_MAX];
    sk_of(op->begun, op->id.bytes, sk);
    if (st_aws_table_begin(call, "PutItem", 0, op->body.len)) {
        st_json_add(&call->json,
                    "\"Item\":{\"pk\":{\"S\":\"pool#%" PRIu32 "#%" PRIu64 "\"},\"sk\":{\"N\":\"%s\"},"
                    "\"expires\":{\"N\":\"%" PRIi64 "\"},\"b\":{\"B\":\"",
                    op->journal, op->begun / BUCKET, sk, (st_aws_date_now(call->aws) + op->expires_ms) / 1000 + 1);
        st_json_base64(&call->json, op->body);
        st_json_add(&call->json, "\"}},\"ConditionExpression\":\"attribute_not_exists(pk)\","
                                 "\"ReturnConsumedCapacity\":\"TOTAL\"}");
    }
    st_aws_table_send(call);
}

void st_aws_pool_put(struct st_store *store, struct st_pool_put *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, put_answered);
    call->memory.flag = op->body.len > ST_POOL_BODY_MAX;
    if (call->memory.flag) {
        st_aws_call_refuse(call, "the request is too large");
    } else {
        st_aws_with_time(call, put_send);
    }
}

/* ---- read ---- */

/* A read under way: the answers of its two queries, the upper bucket first. */
struct reading {
    struct st_pool_read *op;
    cJSON *answers[2];
    unsigned open;
    enum st_error error;
};

static bool item_stands(const cJSON *item, int64_t date_ms, size_t *len) {
    uint64_t expires_s;
    *len = st_item_bytes_len(item, "b");
    return *len <= ST_POOL_BODY_MAX && st_item_number(item, "expires", &expires_s) &&
           expires_s > (uint64_t)date_ms / 1000;
}

/* How many are to be given, and their bytes. */
static size_t measure(const struct reading *reading, size_t *bytes) {
    const struct st_pool_read *op = reading->op;
    size_t count = 0, len;
    *bytes = 0;
    for (size_t i = 0; i < 2; i++) {
        const cJSON *items = cJSON_GetObjectItemCaseSensitive(reading->answers[i], "Items"), *item;
        cJSON_ArrayForEach(item, items) {
            if (!item_stands(item, op->date_ms, &len)) {
                continue;
            }
            if (count > 0 && (*bytes >= op->max_bytes || len > op->max_bytes - *bytes)) {
                return count;
            }
            *bytes += len;
            count++;
        }
    }
    return count;
}

static void fill(struct reading *reading, size_t count, size_t bytes) {
    struct st_pool_read *op = reading->op;
    op->blob = kp_blob_new(bytes > 0 ? bytes : 1);
    op->bodies = reallocarray(NULL, count, sizeof *op->bodies);
    reading->error = op->blob != NULL && op->bodies != NULL ? ST_OK : ST_REFUSED;
    uint8_t *to = op->blob != NULL ? op->blob->data : NULL;
    for (size_t i = 0; i < 2; i++) {
        const cJSON *items = cJSON_GetObjectItemCaseSensitive(reading->answers[i], "Items"), *item;
        size_t len;
        cJSON_ArrayForEach(item, items) {
            if (reading->error != ST_OK || op->count == count || !item_stands(item, op->date_ms, &len)) {
                continue;
            }
            op->bodies[op->count++] = kp_slice_of(to, len);
            reading->error = st_item_bytes(item, "b", to) ? ST_OK : ST_DAMAGED;
            to += len;
        }
    }
    if (reading->error != ST_OK) {
        kp_blob_unref(op->blob);
        free(op->bodies);
        op->blob = NULL;
        op->bodies = NULL;
        op->count = 0;
    }
}

static void finish(struct reading *reading) {
    struct st_pool_read *op = reading->op;
    size_t bytes, count = reading->error == ST_OK ? measure(reading, &bytes) : 0;
    if (count > 0) {
        fill(reading, count, bytes);
    }
    op->error = reading->error;
    cJSON_Delete(reading->answers[0]);
    cJSON_Delete(reading->answers[1]);
    free(reading);
    op->done(op);
}

static void take_answer(struct st_aws_call *call, size_t which) {
    struct reading *reading = call->op;
    cJSON *answer = st_aws_table_answer(call);
    int64_t date_ms = st_aws_call_date(call);
    reading->answers[which] = answer;
    reading->op->date_ms = date_ms > reading->op->date_ms ? date_ms : reading->op->date_ms;
    if (!st_aws_call_is_ok(call) || !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(answer, "Items"))) {
        st_aws_call_failed(call);
        reading->error = ST_REFUSED;
    }
    st_aws_call_end(call);
    if (--reading->open == 0) {
        finish(reading);
    }
}

static void upper_answered(struct st_aws_call *call) {
    take_answer(call, 0);
}

static void lower_answered(struct st_aws_call *call) {
    take_answer(call, 1);
}

/* What was begun at the slots `first` to `last`, which lie in one bucket. */
static void query_bucket(struct st_aws *aws, struct reading *reading, uint64_t first, uint64_t last,
                         void (*answered)(struct st_aws_call *call)) {
    static const uint8_t lowest[ID_PREFIX];
    struct st_aws_call *call = st_aws_call_new(aws, reading, answered);
    uint8_t highest[ID_PREFIX];
    char from[SK_MAX], to[SK_MAX];
    reading->open++;
    sk_of(first, lowest, from);
    memset(highest, 0xff, sizeof highest);
    sk_of(last, highest, to);
    if (st_aws_table_begin(call, "Query", 0, 0)) {
        call->request.read_only = true;
        call->request.answer_max = ANSWER_MAX;
        st_json_add(&call->json,
                    "\"ConsistentRead\":true,\"ScanIndexForward\":false,\"ReturnConsumedCapacity\":\"TOTAL\","
                    "\"KeyConditionExpression\":\"pk = :p AND sk BETWEEN :f AND :t\",\"ExpressionAttributeValues\":"
                    "{\":p\":{\"S\":\"pool#%" PRIu32 "#%" PRIu64
                    "\"},\":f\":{\"N\":\"%s\"},\":t\":{\"N\":\"%s\"}}}",
                    reading->op->journal, first / BUCKET, from, to);
    }
    st_aws_table_send(call);
}

static void no_memory(struct st_aws_call *call) {
    struct st_pool_read *op = call->op;
    op->error = ST_REFUSED;
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_pool_read(struct st_store *store, struct st_pool_read *op) {
    struct st_aws *aws = st_aws_of(store);
    struct reading *reading = calloc(1, sizeof *reading);
    op->bodies = NULL;
    op->count = 0;
    op->blob = NULL;
    op->date_ms = 0;
    if (reading == NULL) {
        st_aws_call_refuse(st_aws_call_new(aws, op, no_memory), "no memory");
        return;
    }
    reading->op = op;
    uint64_t upper = op->last - op->last % BUCKET; /* where the upper bucket begins */
    if (op->first < upper) {
        query_bucket(aws, reading, op->first, upper - 1, lower_answered);
    }
    query_bucket(aws, reading, op->first < upper ? upper : op->first, op->last, upper_answered);
}
