/*
 * The pool of a journal (storage/store.h): requests that wait for somebody to commit them.
 *
 *   pk                      sk                                 attributes
 *   pool#{j}#{bucket}       the first 14 bytes of the id, as   i B: the id, b B: the request, expires N: TTL, s
 *                           a number, most significant first
 *
 * A number of DynamoDB has 38 digits, which 16 bytes do not fit into; ids are random, so 14 tell them apart, and their
 * order is that of the ids. What has expired may stand for days: it is passed over here.
 *
 * Two buckets of a read are two queries, sent at once: they are on the way of every commit under contention.
 */
#include "storage/backends/aws/aws_state.h"

#include "storage/runtime/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 25 /* what BatchWriteItem takes */
#define STUCK_MOST 5
#define ANSWER_MAX (6 << 20)
#define ID_PREFIX 14
#define SK_MAX 40

static void sk_of(const struct kp_uuid *id, char text[SK_MAX]) {
    unsigned __int128 number = 0;
    char *at = text + SK_MAX - 1;
    for (size_t i = 0; i < ID_PREFIX; i++) {
        number = number << 8 | id->bytes[i];
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
    sk_of(&op->key.id, sk);
    if (st_aws_table_begin(call, "PutItem", 0, sizeof op->key.id.bytes + op->body.len + 3)) {
        st_json_add(&call->json,
                    "\"Item\":{\"pk\":{\"S\":\"pool#%" PRIu32 "#%" PRIu64 "\"},\"sk\":{\"N\":\"%s\"},"
                    "\"expires\":{\"N\":\"%" PRIi64 "\"},\"i\":{\"B\":\"",
                    op->journal, op->key.bucket, sk, (st_aws_date_now(call->aws) + op->expires_ms) / 1000 + 1);
        st_json_base64(&call->json, kp_slice_of(op->key.id.bytes, sizeof op->key.id.bytes));
        st_json_add(&call->json, "\"},\"b\":{\"B\":\"");
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

/* A read under way: the answers of its two queries, the lower bucket first. */
struct reading {
    struct st_pool_read *op;
    cJSON *answers[2];
    unsigned open;
    enum st_error error;
};

static bool item_stands(const cJSON *item, int64_t date_ms, size_t *len) {
    uint64_t expires_s;
    *len = st_item_bytes_len(item, "b");
    return *len <= ST_POOL_BODY_MAX && st_item_bytes_len(item, "i") == sizeof(struct kp_uuid) &&
           st_item_number(item, "expires", &expires_s) && expires_s > (uint64_t)date_ms / 1000;
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
    op->items = reallocarray(NULL, count, sizeof(struct st_pool_item));
    reading->error = op->blob != NULL && op->items != NULL ? ST_OK : ST_REFUSED;
    uint8_t *to = op->blob != NULL ? op->blob->data : NULL;
    for (size_t i = 0; i < 2; i++) {
        const cJSON *items = cJSON_GetObjectItemCaseSensitive(reading->answers[i], "Items"), *item;
        size_t len;
        cJSON_ArrayForEach(item, items) {
            if (reading->error != ST_OK || op->count == count || !item_stands(item, op->date_ms, &len)) {
                continue;
            }
            struct st_pool_item *each = &op->items[op->count++];
            each->key.bucket = op->last - 1 + i;
            each->body = kp_slice_of(to, len);
            bool whole = st_item_bytes(item, "i", each->key.id.bytes) && st_item_bytes(item, "b", to);
            reading->error = whole ? ST_OK : ST_DAMAGED;
            to += len;
        }
    }
    if (reading->error != ST_OK) {
        kp_blob_unref(op->blob);
        free(op->items);
        op->blob = NULL;
        op->items = NULL;
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

static void lower_answered(struct st_aws_call *call) {
    take_answer(call, 0);
}

static void upper_answered(struct st_aws_call *call) {
    take_answer(call, 1);
}

static void query_bucket(struct st_aws *aws, struct reading *reading, uint64_t bucket,
                         void (*answered)(struct st_aws_call *call)) {
    struct st_aws_call *call = st_aws_call_new(aws, reading, answered);
    reading->open++;
    if (st_aws_table_begin(call, "Query", 0, 0)) {
        call->request.read_only = true;
        call->request.answer_max = ANSWER_MAX;
        st_json_add(&call->json,
                    "\"ConsistentRead\":true,\"ReturnConsumedCapacity\":\"TOTAL\","
                    "\"KeyConditionExpression\":\"pk = :p\",\"ExpressionAttributeValues\":"
                    "{\":p\":{\"S\":\"pool#%" PRIu32 "#%" PRIu64 "\"}}}",
                    reading->op->journal, bucket);
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
    op->items = NULL;
    op->count = 0;
    op->blob = NULL;
    op->date_ms = 0;
    if (reading == NULL) {
        st_aws_call_refuse(st_aws_call_new(aws, op, no_memory), "no memory");
        return;
    }
    reading->op = op;
    if (op->first < op->last) {
        query_bucket(aws, reading, op->first, lower_answered);
    }
    query_bucket(aws, reading, op->last, upper_answered);
}

/* ---- delete ---- */

static void delete_some(struct st_aws_call *call);

/* memory.number: how many are gone. What was left unprocessed is deleted again with its batch. */
static void delete_answered(struct st_aws_call *call) {
    struct st_pool_delete *op = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *left = cJSON_GetObjectItemCaseSensitive(answer, "UnprocessedItems");
    bool ok = st_aws_call_is_ok(call) && answer != NULL, stuck = ok && left != NULL && left->child != NULL;
    cJSON_Delete(answer);
    call->turn = stuck ? call->turn + 1 : 0;
    call->memory.number += ok && !stuck ? BATCH : 0;
    op->error = !ok ? st_aws_call_failed(call) : stuck && call->turn >= STUCK_MOST ? ST_REFUSED : ST_OK;
    if (op->error == ST_OK && call->memory.number < op->count) {
        delete_some(call);
        return;
    }
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

static void delete_some(struct st_aws_call *call) {
    const struct st_pool_delete *op = call->op;
    size_t from = (size_t)call->memory.number, to = op->count - from > BATCH ? from + BATCH : op->count;
    char sk[SK_MAX];
    if (st_aws_table_begin(call, "BatchWriteItem", BATCH * 160, 0)) {
        call->json.len = 0; /* this action names its table elsewhere */
        st_json_add(&call->json, "{\"ReturnConsumedCapacity\":\"TOTAL\",\"RequestItems\":{\"%s\":[",
                    call->aws->url.table);
        for (size_t i = from; i < to; i++) {
            sk_of(&op->keys[i].id, sk);
            st_json_add(&call->json,
                        "%s{\"DeleteRequest\":{\"Key\":{\"pk\":{\"S\":\"pool#%" PRIu32 "#%" PRIu64
                        "\"},\"sk\":{\"N\":\"%s\"}}}}",
                        i > from ? "," : "", op->journal, op->keys[i].bucket, sk);
        }
        st_json_add(&call->json, "]}}");
    }
    st_aws_table_send(call);
}

static void nothing_to_delete(struct st_aws_call *call) {
    struct st_pool_delete *op = call->op;
    op->error = ST_OK;
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_pool_delete(struct st_store *store, struct st_pool_delete *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, delete_answered);
    if (op->count == 0) {
        call->answered = nothing_to_delete;
        st_aws_call_refuse(call, "there is nothing to delete");
        return;
    }
    delete_some(call);
}
