/*
 * Journals, checkpoints and leases: items of one table
 * (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/).
 *
 *   pk                sk                 attributes
 *   store             0                  format N, cluster S, place S                           (start.c)
 *   journal#{j}       {slot}             b B, or n N and z B: the entry, which holds writer, commit ids and time itself
 *                                        (entry_item.h)
 *   checkpoint#{j}    0                  slot N, name S, size N, made N: store time, ms
 *   gateways          {hash of holder}   h B: the holder, b B: the lease, t N: renewed, ms, expires N: TTL, s
 *
 * pk is a string, sk a number, and attribute names are short: an entry's write units are counted by the kilobyte of the
 * whole item. Every read is consistent. Nothing but leases has `expires`.
 *
 * A page of a Query is not one moment: entries that came while it was read may be there without those before them. So a
 * page is cut where slots have a gap, and one that begins with a gap is read once more: what was committed before the
 * first answer is in the second. A gap that is still there is a trim's.
 *
 * A put that finds its slot taken gets the entry that stands there. After an earlier try without an answer, an entry
 * equal to its own, which has a random commit id in it, is that try's.
 */
#include "storage/backends/aws/aws_state.h"
#include "storage/backends/aws/entry_item.h"

#include "storage/runtime/backoff.h"
#include "storage/runtime/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_ANSWER_MAX (6 << 20) /* a page is at most 1 MB of items: as JSON, of small ones, about three times that */
#define PAGE_BYTES (1 << 20)
#define ENTRY_LEAST 64
#define LIMIT_LEAST 16
#define TRIM_BATCH 25             /* what BatchWriteItem takes */
#define TRIM_STUCK_MOST 5
#define LEASE_TTL_S (24 * 60 * 60)
#define TEXT_ROOM 1024            /* of a request: names are bounded */

/* ---- requests ---- */

bool st_aws_table_begin(struct st_aws_call *call, const char *action, size_t text, size_t bytes) {
    struct st_aws_request *request = st_aws_call_renew(call);
    request->service = &call->aws->dynamodb;
    request->method = "POST";
    request->target[0] = '/';
    request->try_ms = ST_AWS_TABLE_TRY_MS;
    request->timeout_ms = ST_AWS_TRIES * ST_AWS_TABLE_TRY_MS;
    request->headers[request->header_count++] = "Content-Type: application/x-amz-json-1.0";
    st_aws_call_header(call, 0, "X-Amz-Target: DynamoDB_20120810.%s", action);
    if (!call->aws->connected || !st_json_begin(&call->json, TEXT_ROOM + text, bytes)) {
        return false;
    }
    st_json_add(&call->json, "{\"TableName\":\"%s\",", call->aws->url.table);
    return true;
}

void st_aws_table_send(struct st_aws_call *call) {
    if (call->json.blob == NULL || call->json.full) {
        st_aws_call_refuse(call, "the request cannot be made");
        return;
    }
    call->request.body = st_json_text(&call->json);
    st_aws_call_send(call);
}

/* Units are told in halves for reads; a table's writes are whole ones. */
static void count_units(const cJSON *answer, bool write) {
    uint64_t halves = st_json_half_units(answer);
    if (write) {
        st_metrics.dynamodb_write_units_total += halves / 2;
    } else {
        st_metrics.dynamodb_read_half_units_total += halves;
    }
}

cJSON *st_aws_table_answer(const struct st_aws_call *call) {
    st_metrics.dynamodb_requests_total += call->request.tries;
    cJSON *answer = call->request.end == ST_AWS_ANSWERED ? st_json_parse(call->request.answer) : NULL;
    if (answer != NULL) {
        count_units(answer, !call->request.read_only);
    }
    return answer;
}

static bool begin_get(struct st_aws_call *call, const char *pk) {
    if (!st_aws_table_begin(call, "GetItem", 0, 0)) {
        return false;
    }
    call->request.read_only = true;
    call->request.answer_max = PAGE_ANSWER_MAX;
    st_json_add(&call->json,
                "\"Key\":{\"pk\":{\"S\":\"%s\"},\"sk\":{\"N\":\"0\"}},\"ConsistentRead\":true,"
                "\"ReturnConsumedCapacity\":\"TOTAL\"}",
                pk);
    return true;
}

static bool begin_query(struct st_aws_call *call) {
    if (!st_aws_table_begin(call, "Query", 0, 0)) {
        return false;
    }
    call->request.read_only = true;
    call->request.answer_max = PAGE_ANSWER_MAX;
    st_json_add(&call->json, "\"ConsistentRead\":true,\"ReturnConsumedCapacity\":\"TOTAL\",");
    return true;
}

/* An answer cannot be read that came with status 200: no effect is lost with it. */
static enum st_error read_failed(const struct st_aws_call *call) {
    st_aws_call_failed(call);
    return ST_REFUSED;
}

/* ---- put an entry ---- */

/* True when the slot holds this very entry. */
static bool put_is_mine(const cJSON *answer, struct kp_slice body) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(answer, "Item");
    if (st_entry_item_len(item) != body.len) {
        return false;
    }
    uint8_t *there = malloc(body.len + 1);
    bool mine = there != NULL && st_entry_item_read(item, there) == ST_OK && memcmp(there, body.ptr, body.len) == 0;
    free(there);
    return mine;
}

static void put_answered(struct st_aws_call *call) {
    struct st_journal_put *op = call->op;
    cJSON *answer = st_aws_table_answer(call);
    if (call->memory.flag) {
        op->error = ST_TOO_LARGE;
    } else if (st_aws_call_is_ok(call)) {
        op->error = ST_OK;
    } else if (st_aws_call_is_error(call, "ConditionalCheckFailedException")) {
        op->error = call->request.tries > 1 && put_is_mine(answer, op->body) ? ST_OK : ST_TAKEN;
    } else {
        op->error = st_aws_call_failed(call);
    }
    op->date_ms = st_aws_call_date(call);
    cJSON_Delete(answer);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_journal_put(struct st_store *store, struct st_journal_put *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, put_answered);
    call->memory.flag = op->body.len > ST_ENTRY_MAX;
    if (call->memory.flag) {
        st_aws_call_refuse(call, "the entry is too large");
        return;
    }
    if (st_aws_table_begin(call, "PutItem", 0, op->body.len)) {
        call->request.answer_max = PAGE_ANSWER_MAX;
        st_json_add(&call->json, "\"Item\":{\"pk\":{\"S\":\"journal#%" PRIu32 "\"},\"sk\":{\"N\":\"%" PRIu64 "\"},",
                    op->journal, op->slot);
        st_entry_item_write(&call->json, op->body);
        st_json_add(&call->json, "},\"ConditionExpression\":\"attribute_not_exists(pk)\","
                    "\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\",\"ReturnConsumedCapacity\":\"TOTAL\"}");
    }
    st_aws_table_send(call);
}

/* ---- read entries ---- */

/* How many of the page's items are to be given, and their bytes: ascending without a gap, within max_bytes but at least
 * one. -1: an item is damaged. */
static int page_measure(const cJSON *items, const struct st_journal_read *op, size_t *bytes) {
    const cJSON *item;
    int count = 0;
    uint64_t expected = 0, slot;
    *bytes = 0;
    cJSON_ArrayForEach(item, items) {
        size_t len = st_entry_item_len(item);
        if (!st_item_number(item, "sk", &slot) || slot < op->from || len == SIZE_MAX) {
            return -1;
        }
        bool gap = count > 0 && slot != expected;
        if (gap || (count > 0 && (*bytes >= op->max_bytes || len > op->max_bytes - *bytes))) {
            break;
        }
        *bytes += len;
        expected = slot + 1;
        count++;
    }
    return count;
}

static enum st_error page_fill(const cJSON *items, struct st_journal_read *op, size_t count, size_t bytes) {
    op->blob = kp_blob_new(bytes > 0 ? bytes : 1);
    op->entries = reallocarray(NULL, count, sizeof(struct st_journal_entry));
    enum st_error error = op->blob != NULL && op->entries != NULL ? ST_OK : ST_REFUSED;
    uint8_t *to = op->blob != NULL ? op->blob->data : NULL;
    const cJSON *item = items->child;
    for (; error == ST_OK && op->count < count; item = item->next) {
        struct st_journal_entry *entry = &op->entries[op->count++];
        entry->body = kp_slice_of(to, st_entry_item_len(item));
        st_item_number(item, "sk", &entry->slot); /* it is one: it was measured */
        error = st_entry_item_read(item, to);
        to += entry->body.len;
    }
    if (error != ST_OK) {
        kp_blob_unref(op->blob);
        free(op->entries);
        op->blob = NULL;
        op->entries = NULL;
        op->count = 0;
    }
    return error;
}

static void read_send(struct st_aws_call *call) {
    const struct st_journal_read *op = call->op;
    if (begin_query(call)) {
        st_json_add(&call->json,
                    "\"KeyConditionExpression\":\"pk = :p AND sk >= :s\",\"ExpressionAttributeValues\":"
                    "{\":p\":{\"S\":\"journal#%" PRIu32 "\"},\":s\":{\"N\":\"%" PRIu64 "\"}}",
                    op->journal, op->from);
        if (op->max_bytes < PAGE_BYTES) { /* more would be read, and paid, in vain: entries are larger than this */
            st_json_add(&call->json, ",\"Limit\":%zu", LIMIT_LEAST + op->max_bytes / ENTRY_LEAST);
        }
        st_json_add(&call->json, "}");
    }
    st_aws_table_send(call);
}

/* True when it has to be read again: its beginning may have come while it was read. */
static bool page_take(struct st_aws_call *call, const cJSON *answer, struct st_journal_read *op) {
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(answer, "Items");
    size_t bytes;
    if (!st_aws_call_is_ok(call) || !cJSON_IsArray(items)) {
        op->error = read_failed(call);
        return false;
    }
    int count = page_measure(items, op, &bytes);
    if (count < 0) {
        op->error = ST_DAMAGED;
        return false;
    }
    uint64_t first;
    if (count > 0 && st_item_number(items->child, "sk", &first) && first != op->from && call->turn++ == 0) {
        return true;
    }
    op->at_end = count == cJSON_GetArraySize(items) &&
                 cJSON_GetObjectItemCaseSensitive(answer, "LastEvaluatedKey") == NULL;
    op->error = count > 0 ? page_fill(items, op, (size_t)count, bytes) : ST_OK;
    return false;
}

static void read_answered(struct st_aws_call *call) {
    struct st_journal_read *op = call->op;
    cJSON *answer = st_aws_table_answer(call);
    bool again = page_take(call, answer, op);
    cJSON_Delete(answer);
    if (again) {
        read_send(call);
        return;
    }
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_journal_read(struct st_store *store, struct st_journal_read *op) {
    op->entries = NULL;
    op->count = 0;
    op->blob = NULL;
    op->at_end = false;
    read_send(st_aws_call_new(st_aws_of(store), op, read_answered));
}

/* ---- trim ---- */

static void trim_query(struct st_aws_call *call);
static void trim_listed(struct st_aws_call *call);

static void trim_end(struct st_aws_call *call, enum st_error error) {
    struct st_journal_trim *op = call->op;
    op->error = error;
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

/* What was not deleted of a batch is found again by the next look at the lowest slots. */
static void trim_deleted(struct st_aws_call *call) {
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *left = cJSON_GetObjectItemCaseSensitive(answer, "UnprocessedItems");
    bool ok = st_aws_call_is_ok(call) && answer != NULL, some_left = left != NULL && left->child != NULL;
    cJSON_Delete(answer);
    if (!ok) {
        trim_end(call, st_aws_call_failed(call));
    } else if (call->memory.flag || some_left) {
        trim_query(call);
    } else {
        trim_end(call, ST_OK);
    }
}

static void trim_delete(struct st_aws_call *call, const cJSON *items) {
    struct st_aws_call *to = call;
    const struct st_journal_trim *op = call->op;
    const cJSON *item;
    uint64_t slot;
    const char *between = "";
    to->answered = trim_deleted;
    if (st_aws_table_begin(to, "BatchWriteItem", TRIM_BATCH * 160, 0)) {
        to->json.len = 0; /* the one action that names its table elsewhere */
        st_json_add(&to->json, "{\"ReturnConsumedCapacity\":\"TOTAL\",\"RequestItems\":{\"%s\":[", to->aws->url.table);
        cJSON_ArrayForEach(item, items) {
            if (st_item_number(item, "sk", &slot)) {
                st_json_add(&to->json,
                            "%s{\"DeleteRequest\":{\"Key\":{\"pk\":{\"S\":\"journal#%" PRIu32
                            "\"},\"sk\":{\"N\":\"%" PRIu64 "\"}}}}",
                            between, op->journal, slot);
                between = ",";
            }
        }
        st_json_add(&to->json, "]}}");
    }
    st_aws_table_send(to);
}

static void trim_listed(struct st_aws_call *call) {
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(answer, "Items");
    int count = cJSON_GetArraySize(items);
    uint64_t first;
    if (!st_aws_call_is_ok(call) || !cJSON_IsArray(items) || count > TRIM_BATCH) {
        trim_end(call, read_failed(call));
    } else if (count == 0) {
        trim_end(call, ST_OK);
    } else if (!st_item_number(items->child, "sk", &first) || first == 0) {
        trim_end(call, ST_DAMAGED);
    } else if (first <= call->memory.number && ++call->turn >= TRIM_STUCK_MOST) {
        trim_end(call, ST_REFUSED);
    } else {
        call->turn = first > call->memory.number ? 0 : call->turn;
        call->memory.number = first;
        call->memory.flag = cJSON_GetObjectItemCaseSensitive(answer, "LastEvaluatedKey") != NULL;
        trim_delete(call, items);
    }
    cJSON_Delete(answer);
}

/* The lowest slots that are to go. memory.number is the first of them: when it does not rise, nothing moves. */
static void trim_query(struct st_aws_call *call) {
    const struct st_journal_trim *op = call->op;
    call->answered = trim_listed;
    if (begin_query(call)) {
        st_json_add(&call->json,
                    "\"KeyConditionExpression\":\"pk = :p AND sk < :s\",\"ProjectionExpression\":\"sk\",\"Limit\":%d,"
                    "\"ExpressionAttributeValues\":{\":p\":{\"S\":\"journal#%" PRIu32 "\"},\":s\":{\"N\":\"%" PRIu64
                    "\"}}}",
                    TRIM_BATCH, op->journal, op->below);
    }
    st_aws_table_send(call);
}

void st_aws_journal_trim(struct st_store *store, struct st_journal_trim *op) {
    trim_query(st_aws_call_new(st_aws_of(store), op, trim_listed));
}

/* ---- checkpoints ---- */

/* The item into the operation. False: it is not whole. */
static bool checkpoint_read(const cJSON *item, struct st_checkpoint_ref *ref) {
    const char *name = st_item_text(item, "name", "S");
    uint64_t made_ms;
    if (name == NULL || strlen(name) >= sizeof ref->name || !st_item_number(item, "slot", &ref->slot) ||
        !st_item_number(item, "size", &ref->size) || !st_item_number(item, "made", &made_ms) || made_ms > INT64_MAX) {
        return false;
    }
    snprintf(ref->name, sizeof ref->name, "%s", name);
    ref->made_ms = (int64_t)made_ms;
    return true;
}

static void checkpoint_end(struct st_aws_call *call, enum st_error error) {
    struct st_checkpoint_ref *op = call->op;
    op->error = error;
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

static void checkpoint_ask(struct st_aws_call *call) {
    const struct st_checkpoint_ref *op = call->op;
    char pk[32];
    snprintf(pk, sizeof pk, "checkpoint#%" PRIu32, op->journal);
    begin_get(call, pk);
    st_aws_table_send(call);
}

/* The standing checkpoint of an answer: ST_OK, ST_ABSENT, ST_DAMAGED, or why there is none. */
static enum st_error checkpoint_standing(struct st_aws_call *call, struct st_checkpoint_ref *ref) {
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(answer, "Item");
    enum st_error error = !st_aws_call_is_ok(call) || answer == NULL ? read_failed(call)
                          : item == NULL                            ? ST_ABSENT
                          : checkpoint_read(item, ref)              ? ST_OK
                                                                    : ST_DAMAGED;
    cJSON_Delete(answer);
    return error;
}

static void checkpoint_answered(struct st_aws_call *call) {
    checkpoint_end(call, checkpoint_standing(call, call->op));
}

void st_aws_checkpoint_get(struct st_store *store, struct st_checkpoint_ref *op) {
    checkpoint_ask(st_aws_call_new(st_aws_of(store), op, checkpoint_answered));
}

/* The same slot under the same name is this very checkpoint, put by a try that was not answered. */
static bool same_checkpoint(const struct st_checkpoint_ref *a, const struct st_checkpoint_ref *b) {
    return a->slot == b->slot && strcmp(a->name, b->name) == 0;
}

static void advance_put_answered(struct st_aws_call *call) {
    struct st_checkpoint_ref *op = call->op, standing = {0};
    cJSON *answer = st_aws_table_answer(call);
    enum st_error error;
    if (st_aws_call_is_ok(call)) {
        error = ST_OK;
    } else if (st_aws_call_is_error(call, "ConditionalCheckFailedException")) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(answer, "Item");
        bool mine = checkpoint_read(item, &standing) && same_checkpoint(&standing, op);
        op->made_ms = mine ? standing.made_ms : op->made_ms;
        error = mine ? ST_OK : ST_TAKEN;
    } else {
        error = st_aws_call_failed(call);
    }
    cJSON_Delete(answer);
    checkpoint_end(call, error);
}

static void advance_put(struct st_aws_call *call) {
    const struct st_checkpoint_ref *op = call->op;
    call->answered = advance_put_answered;
    if (st_aws_table_begin(call, "PutItem", ST_OBJECT_NAME_MAX, 0)) {
        st_json_add(&call->json,
                    "\"Item\":{\"pk\":{\"S\":\"checkpoint#%" PRIu32 "\"},\"sk\":{\"N\":\"0\"},\"slot\":{\"N\":\"%"
                    PRIu64 "\"},\"name\":{\"S\":\"%s\"},\"size\":{\"N\":\"%" PRIu64 "\"},\"made\":{\"N\":\"%" PRIi64
                    "\"}},",
                    op->journal, op->slot, op->name, op->size, op->made_ms);
        st_json_add(&call->json,
                    "\"ConditionExpression\":\"attribute_not_exists(pk) OR #s < :s\",\"ExpressionAttributeNames\":"
                    "{\"#s\":\"slot\"},\"ExpressionAttributeValues\":{\":s\":{\"N\":\"%" PRIu64 "\"}},"
                    "\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\",\"ReturnConsumedCapacity\":\"TOTAL\"}",
                    op->slot);
    }
    st_aws_table_send(call);
}

/* Asked first for the time: what is written as the time of the checkpoint decides when entries may go, so it comes from
 * an answer of just now, not from a clock that may have stood still. */
static void advance_asked(struct st_aws_call *call) {
    struct st_checkpoint_ref *op = call->op, standing = {0};
    enum st_error error = checkpoint_standing(call, &standing);
    if (error == ST_OK && standing.slot >= op->slot) {
        bool mine = same_checkpoint(&standing, op);
        op->made_ms = mine ? standing.made_ms : 0;
        checkpoint_end(call, mine ? ST_OK : ST_TAKEN);
    } else if ((error == ST_OK || error == ST_ABSENT) && call->request.date_ms > 0) {
        op->made_ms = call->request.date_ms;
        advance_put(call);
    } else {
        checkpoint_end(call, error == ST_DAMAGED ? ST_DAMAGED : ST_REFUSED);
    }
}

void st_aws_checkpoint_advance(struct st_store *store, struct st_checkpoint_ref *op) {
    checkpoint_ask(st_aws_call_new(st_aws_of(store), op, advance_asked));
}

/* ---- the time ---- */

static void time_asked(struct st_aws_call *call) {
    void (*next)(struct st_aws_call *call) = call->next_step;
    call->answered = call->after;
    cJSON_Delete(st_aws_table_answer(call));
    if (st_aws_date_now(call->aws) > 0) {
        next(call);
    } else {
        st_aws_call_refuse(call, "the service's time is not known");
    }
}

void st_aws_with_time(struct st_aws_call *call, void (*next)(struct st_aws_call *call)) {
    if (st_aws_date_now(call->aws) > 0) {
        next(call);
        return;
    }
    call->next_step = next;
    call->after = call->answered;
    call->answered = time_asked;
    begin_get(call, "store");
    st_aws_table_send(call);
}

/* ---- leases ---- */

/* FNV-1a: holders are few, and the item says whose it is. */
static uint64_t lease_key(const char *holder) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *holder != '\0'; holder++) {
        hash = (hash ^ (uint8_t)*holder) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static void lease_renewed(struct st_aws_call *call) {
    struct st_lease_renew *op = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *left = cJSON_GetObjectItemCaseSensitive(answer, "UnprocessedItems");
    op->error = !st_aws_call_is_ok(call)              ? st_aws_call_failed(call)
                : left != NULL && left->child != NULL ? ST_REFUSED
                                                      : ST_OK;
    op->date_ms = st_aws_call_date(call);
    cJSON_Delete(answer);
    st_aws_call_end(call);
    op->done(op);
}

static void lease_give_up(struct st_aws_call *call) {
    const struct st_lease_renew *op = call->op;
    if (st_aws_table_begin(call, "BatchWriteItem", 0, 0)) {
        call->json.len = 0;
        st_json_add(&call->json,
                    "{\"ReturnConsumedCapacity\":\"TOTAL\",\"RequestItems\":{\"%s\":[{\"DeleteRequest\":{\"Key\":"
                    "{\"pk\":{\"S\":\"gateways\"},\"sk\":{\"N\":\"%" PRIu64 "\"}}}}]}}",
                    call->aws->url.table, lease_key(op->lease.holder));
    }
    st_aws_table_send(call);
}

/* Holders are bytes to the store: base64, like the lease itself. */
static void lease_put(struct st_aws_call *call) {
    struct st_lease_renew *op = call->op;
    op->lease.renewed_ms = st_aws_date_now(call->aws);
    if (st_aws_table_begin(call, "PutItem", 0, sizeof op->lease.holder + ST_LEASE_BODY_MAX + 3)) {
        st_json_add(&call->json, "\"Item\":{\"pk\":{\"S\":\"gateways\"},\"sk\":{\"N\":\"%" PRIu64 "\"},"
                    "\"t\":{\"N\":\"%" PRIi64 "\"},\"expires\":{\"N\":\"%" PRIi64 "\"},\"h\":{\"B\":\"",
                    lease_key(op->lease.holder), op->lease.renewed_ms, op->lease.renewed_ms / 1000 + LEASE_TTL_S);
        st_json_base64(&call->json, kp_slice_of(op->lease.holder, strnlen(op->lease.holder, sizeof op->lease.holder)));
        st_json_add(&call->json, "\"},\"b\":{\"B\":\"");
        st_json_base64(&call->json, kp_slice_of(op->lease.body, op->lease.len));
        st_json_add(&call->json, "\"}},\"ReturnConsumedCapacity\":\"TOTAL\"}");
    }
    st_aws_table_send(call);
}

void st_aws_lease_renew(struct st_store *store, struct st_lease_renew *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, lease_renewed);
    if (op->lease.len == 0) {
        lease_give_up(call);
    } else {
        st_aws_with_time(call, lease_put);
    }
}

static bool lease_read(const cJSON *item, int64_t date_ms, struct st_lease *lease) {
    uint64_t renewed_ms, expires_s;
    size_t holder = st_item_bytes_len(item, "h"), body = st_item_bytes_len(item, "b");
    *lease = (struct st_lease){.len = body};
    if (holder >= sizeof lease->holder || body > ST_LEASE_BODY_MAX || !st_item_number(item, "t", &renewed_ms) ||
        !st_item_number(item, "expires", &expires_s) || expires_s < (uint64_t)date_ms / 1000) {
        return false;
    }
    lease->renewed_ms = (int64_t)renewed_ms;
    return st_item_bytes(item, "h", (uint8_t *)lease->holder) && st_item_bytes(item, "b", lease->body);
}

static void leases_answered(struct st_aws_call *call) {
    struct st_lease_list *op = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(answer, "Items"), *item;
    bool ok = st_aws_call_is_ok(call) && cJSON_IsArray(items);
    op->error = ok ? ST_OK : read_failed(call);
    op->date_ms = st_aws_call_date(call);
    cJSON_ArrayForEach(item, items) {
        if (ok && op->count < op->capacity && lease_read(item, op->date_ms, &op->leases[op->count])) {
            op->count++;
        }
    }
    cJSON_Delete(answer);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_lease_list(struct st_store *store, struct st_lease_list *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, leases_answered);
    op->count = 0;
    if (begin_query(call)) {
        st_json_add(&call->json, "\"KeyConditionExpression\":\"pk = :p\",\"ExpressionAttributeValues\":"
                    "{\":p\":{\"S\":\"gateways\"}}}");
    }
    st_aws_table_send(call);
}
