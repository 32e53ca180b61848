/*
 * Objects (https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html). Names, below the store's prefix:
 *
 *   ingest/{2 hex of hash}/{journal}-{b}-{writer}-{n}     b: the slot applied when it was begun
 *   checkpoints/{journal}/{slot, 20 digits}-{writer}-{n}
 *   topics/{journal}/{slot, 20 digits}-{writer}-{n}.segment
 *
 * The writer is 64 random bits of this handle and n counts its names, so a name is never given twice and a PUT needs no
 * condition: repeated, or sent twice at once (hedge.h), it writes the same bytes again. The hash spreads ingest objects
 * over 256 prefixes, because S3 scales by prefix.
 *
 * A ranged GET that is answered 206 with fewer bytes than asked for has met the object's end: damaged, as is 416. Only
 * 404 with NoSuchKey says that an object is absent; a bucket that is gone says nothing about objects.
 *
 * Deletes of one turn of the loop go together, up to 1,000 in one DeleteObjects request.
 */
#include "storage/backends/aws/aws_state.h"
#include "storage/backends/aws/scan.h"

#include "protocol/bytes/crc32c.h"
#include "storage/runtime/metrics.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define LIST_PAGE_MAX 1000
#define LIST_ANSWER_MAX (4 << 20)
#define DELETE_BATCH_MAX 1000
#define STALL_MS 2000 /* without a byte: another connection */

/* ---- names and requests ---- */

bool st_aws_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun, size_t len,
                        char name[ST_OBJECT_NAME_MAX]) {
    (void)len;
    struct st_aws *aws = st_aws_of(store);
    uint64_t n = ++aws->names_given;
    if (kind == ST_OBJECT_INGEST) {
        uint64_t hash = (n ^ strtoull(aws->writer, NULL, 16)) * UINT64_C(0x9e3779b97f4a7c15);
        snprintf(name, ST_OBJECT_NAME_MAX, "ingest/%02x/%" PRIu32 "-%" PRIu64 "-%s-%" PRIu64, (unsigned)(hash >> 56),
                 journal, begun, aws->writer, n);
    } else {
        snprintf(name, ST_OBJECT_NAME_MAX, "%s%" PRIu32 "/%020" PRIu64 "-%s-%" PRIu64 "%s", st_object_prefix(kind),
                 journal, begun, aws->writer, n, kind == ST_OBJECT_SEGMENT ? ".segment" : "");
    }
    return true;
}

static int64_t time_for(size_t bytes) {
    return ST_AWS_OBJECT_TRY_MS + (int64_t)(bytes / ST_AWS_OBJECT_BYTES_A_MS);
}

static struct st_aws_request *s3_request(struct st_aws_call *call, const char *method, size_t bytes) {
    struct st_aws_request *request = st_aws_call_renew(call);
    request->service = &call->aws->s3;
    request->method = method;
    request->try_ms = time_for(bytes);
    request->timeout_ms = ST_AWS_TRIES * request->try_ms;
    request->stall_ms = STALL_MS;
    return request;
}

struct st_aws_request *st_aws_object_request(struct st_aws_call *call, const char *method, const char *name,
                                             size_t bytes) {
    struct st_aws_request *request = s3_request(call, method, bytes);
    snprintf(request->target, sizeof request->target, "%s%s", call->aws->place.objects, name);
    return request;
}

/* Without a region there is nowhere to send to: whoever asks before identify has found it is refused. */
static bool is_ready(struct st_aws_call *call) {
    if (!call->aws->connected) {
        st_aws_call_refuse(call, "the region is not known yet");
    }
    return call->aws->connected;
}

bool st_aws_call_is_ok(const struct st_aws_call *call) {
    return call->request.end == ST_AWS_ANSWERED && call->request.status / 100 == 2;
}

bool st_aws_call_is_error(const struct st_aws_call *call, const char *code) {
    return call->request.end == ST_AWS_ANSWERED && strcmp(call->request.code, code) == 0;
}

/* ---- put ---- */

static void base64(const uint8_t *bytes, int len, char *text) {
    EVP_EncodeBlock((uint8_t *)text, bytes, len);
}

static void put_answered(struct st_aws_call *call) {
    struct st_object_put *op = call->op;
    st_metrics.s3_puts_total += call->request.tries;
    op->error = st_aws_call_is_ok(call) ? ST_OK : st_aws_call_failed(call);
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_object_put(struct st_store *store, struct st_object_put *op) {
    struct st_aws *aws = st_aws_of(store);
    struct st_aws_call *call = st_aws_call_new(aws, op, put_answered);
    if (!is_ready(call)) {
        return;
    }
    struct st_aws_request *request = st_aws_object_request(call, "PUT", op->name, op->len);
    request->hedge = &aws->hedge;
    request->body = kp_slice_of(op->buffer->data + op->at + store->profile.object_head_room, op->len);
    uint32_t crc = op->summed ? op->crc : kp_crc32c(0, request->body.ptr, request->body.len);
    const uint8_t bytes[] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    char text[9];
    base64(bytes, 4, text);
    st_aws_call_header(call, 0, "x-amz-checksum-crc32c: %s", text);
    st_aws_call_send(call);
}

/* ---- get ---- */

static enum st_error get_error(const struct st_aws_call *call, const struct st_object_get *op) {
    const struct st_aws_request *request = &call->request;
    if (st_aws_call_is_error(call, "NoSuchKey")) {
        return ST_ABSENT;
    }
    if (request->end == ST_AWS_ANSWERED && request->status == 416) {
        return ST_DAMAGED;
    }
    if (!st_aws_call_is_ok(call)) {
        return st_aws_call_failed(call);
    }
    /* 200 is the whole object, from a server that passes over Range. */
    bool whole = request->status == 206 || op->position == 0;
    return whole && request->into_len == op->len ? ST_OK : ST_DAMAGED;
}

static void get_answered(struct st_aws_call *call) {
    struct st_object_get *op = call->op;
    st_metrics.s3_gets_total += call->request.tries;
    op->error = get_error(call, op);
    op->date_ms = st_aws_call_date(call);
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_object_get(struct st_store *store, struct st_object_get *op) {
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), op, get_answered);
    if (!is_ready(call)) {
        return;
    }
    if (op->len == 0 || op->position > INT64_MAX - op->len) {
        st_aws_call_refuse(call, "no range of bytes was asked for");
        return;
    }
    struct st_aws_request *request = st_aws_object_request(call, "GET", op->name, op->len);
    request->into = op->into;
    request->into_size = op->len;
    st_aws_call_header(call, 0, "Range: bytes=%" PRIu64 "-%" PRIu64, op->position, op->position + op->len - 1);
    st_aws_call_send(call);
}

/* ---- delete ---- */

static void delete_finish(struct st_aws_call *call, enum st_error error, int64_t date_ms) {
    struct st_object_delete *op = call->op;
    op->error = error;
    op->date_ms = date_ms;
    st_aws_call_end(call);
    op->done(op);
}

static void delete_answered(struct st_aws_call *call) {
    st_metrics.s3_deletes_total += call->request.tries;
    bool gone = st_aws_call_is_ok(call) || st_aws_call_is_error(call, "NoSuchKey");
    delete_finish(call, gone ? ST_OK : st_aws_call_failed(call), st_aws_call_date(call));
}

/* Quiet mode names only what could not be deleted. */
static bool batch_failed(struct kp_slice answer, const char *objects, const struct st_object_delete *op) {
    static const char begin[] = "<Error>";
    char key[sizeof(((struct st_aws_place *)0)->objects) + ST_OBJECT_NAME_MAX];
    char full[sizeof key];
    snprintf(full, sizeof full, "%s%s", objects, op->name);
    while (answer.len > 0) {
        const uint8_t *at = memmem(answer.ptr, answer.len, begin, sizeof begin - 1);
        if (at == NULL) {
            return false;
        }
        answer = kp_slice_of(at, answer.len - (size_t)(at - answer.ptr));
        if (st_scan_xml(answer, "Key", key, sizeof key) && strcmp(key, full) == 0) {
            return true;
        }
        answer = kp_slice_of(answer.ptr + sizeof begin - 1, answer.len - (sizeof begin - 1));
    }
    return false;
}

static const char *key_prefix(const struct st_aws *aws) {
    return aws->place.objects + strlen(aws->place.bucket_path) + 1;
}

static void batch_answered(struct st_aws_call *batch) {
    struct st_aws_call *list = batch->op;
    bool ok = st_aws_call_is_ok(batch) && st_scan_xml_root(batch->request.answer, "DeleteResult");
    enum st_error error = ok ? ST_OK : st_aws_call_failed(batch);
    int64_t date_ms = st_aws_call_date(batch);
    st_metrics.s3_deletes_total += batch->request.tries;
    while (list != NULL) {
        struct st_aws_call *call = list;
        list = call->next;
        bool failed = ok && batch_failed(batch->request.answer, key_prefix(batch->aws), call->op);
        delete_finish(call, failed ? ST_REFUSED : error, date_ms);
    }
    st_aws_call_end(batch);
}

static void delete_one(struct st_aws_call *call) {
    const struct st_object_delete *op = call->op;
    st_aws_object_request(call, "DELETE", op->name, 0);
    st_aws_call_send(call);
}

/* The list has `count` calls; the batch owns them from here on. */
static void delete_batch(struct st_aws *aws, struct st_aws_call *list, size_t count) {
    struct st_aws_call *batch = st_aws_call_new(aws, list, batch_answered);
    struct st_aws_request *request = s3_request(batch, "POST", 0);
    if (!st_json_begin(&batch->json, 200 + count * (ST_OBJECT_NAME_MAX + ST_AWS_PREFIX_MAX + 40), 0)) {
        st_aws_call_refuse(batch, "no memory for the request");
        return;
    }
    st_json_add(&batch->json, "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
    for (const struct st_aws_call *call = list; call != NULL; call = call->next) {
        const struct st_object_delete *op = call->op;
        st_json_add(&batch->json, "<Object><Key>%s%s</Key></Object>", key_prefix(aws), op->name);
    }
    st_json_add(&batch->json, "</Delete>");
    request->body = st_json_text(&batch->json);
    request->answer_max = LIST_ANSWER_MAX;
    snprintf(request->target, sizeof request->target, "%s/?delete=", aws->place.bucket_path);
    uint8_t md5[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (batch->json.full || EVP_Digest(request->body.ptr, request->body.len, md5, &len, EVP_md5(), NULL) != 1) {
        st_aws_call_refuse(batch, "the request cannot be made");
        return;
    }
    char text[2 * EVP_MAX_MD_SIZE];
    base64(md5, (int)len, text);
    st_aws_call_header(batch, 0, "Content-MD5: %s", text); /* the one checksum that every server knows here */
    request->headers[request->header_count++] = "Content-Type: application/xml";
    st_aws_call_send(batch);
}

static void deletes_due(struct st_task *task) {
    struct st_aws *aws = ST_OWNER(task, struct st_aws, delete_soon);
    while (aws->deletes != NULL) {
        struct st_aws_call *list = aws->deletes, *last = list;
        size_t count = 1;
        for (; last->next != NULL && count < DELETE_BATCH_MAX; count++) {
            last = last->next;
        }
        aws->deletes = last->next;
        last->next = NULL;
        if (count == 1) {
            delete_one(list);
        } else {
            delete_batch(aws, list, count);
        }
    }
}

void st_aws_deletes_start(struct st_aws *aws) {
    aws->delete_soon.fn = deletes_due;
}

void st_aws_object_delete(struct st_store *store, struct st_object_delete *op) {
    struct st_aws *aws = st_aws_of(store);
    struct st_aws_call *call = st_aws_call_new(aws, op, delete_answered);
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    if (!is_ready(call)) {
        return;
    }
    if (op->name[strspn(op->name, plain)] != '\0') {
        st_aws_call_refuse(call, "the object's name is none of ours");
        return;
    }
    call->next = aws->deletes;
    aws->deletes = call;
    st_defer(aws->loop, &aws->delete_soon);
}

/* ---- list ---- */

/* Takes the names out of a page. Keys that cannot be ours, for their length or their beginning, are passed over. */
static void list_take(struct st_aws *aws, struct kp_slice page, struct st_object_list *op) {
    static const char begin[] = "<Contents>";
    const char *prefix = key_prefix(aws);
    size_t prefix_len = strlen(prefix);
    char key[ST_AWS_PREFIX_MAX + ST_OBJECT_NAME_MAX];
    while (op->count < op->capacity) {
        const uint8_t *at = memmem(page.ptr, page.len, begin, sizeof begin - 1);
        if (at == NULL) {
            return;
        }
        page = kp_slice_of(at, page.len - (size_t)(at - page.ptr));
        if (st_scan_xml(page, "Key", key, sizeof key) && strncmp(key, prefix, prefix_len) == 0 &&
            strlen(key + prefix_len) < ST_OBJECT_NAME_MAX) {
            snprintf(op->names[op->count++], ST_OBJECT_NAME_MAX, "%s", key + prefix_len);
        }
        page = kp_slice_of(page.ptr + sizeof begin - 1, page.len - (sizeof begin - 1));
    }
}

static void list_answered(struct st_aws_call *call) {
    struct st_object_list *op = call->op;
    struct kp_slice page = call->request.answer;
    char truncated[8];
    st_metrics.s3_lists_total += call->request.tries;
    bool ok = st_aws_call_is_ok(call) && st_scan_xml_root(page, "ListBucketResult") &&
              st_scan_xml(page, "IsTruncated", truncated, sizeof truncated);
    op->error = ok ? ST_OK : st_aws_call_failed(call);
    op->date_ms = st_aws_call_date(call);
    if (ok) {
        list_take(call->aws, page, op);
        op->more = strcmp(truncated, "true") == 0;
        op->error = op->more && op->count == 0 ? ST_DAMAGED : ST_OK; /* a page of what is not ours: no way past it */
    }
    st_aws_call_end(call);
    op->done(op);
}

/* Names have only letters that stand for themselves in a query, and '/'. */
static void add_escaped(char *target, size_t size, const char *text) {
    size_t len = strlen(target);
    for (; *text != '\0' && len + 4 < size; text++) {
        len += (size_t)snprintf(target + len, size - len, *text == '/' ? "%%2F" : "%c", *text);
    }
}

void st_aws_object_list(struct st_store *store, struct st_object_list *op) {
    struct st_aws *aws = st_aws_of(store);
    struct st_aws_call *call = st_aws_call_new(aws, op, list_answered);
    op->count = 0;
    op->more = false;
    if (!is_ready(call)) {
        return;
    }
    struct st_aws_request *request = s3_request(call, "GET", LIST_ANSWER_MAX);
    size_t page = op->capacity < LIST_PAGE_MAX ? op->capacity : LIST_PAGE_MAX;
    request->answer_max = LIST_ANSWER_MAX;
    snprintf(request->target, sizeof request->target, "%s/?list-type=2&max-keys=%zu&prefix=", aws->place.bucket_path,
             page);
    add_escaped(request->target, sizeof request->target, key_prefix(aws));
    add_escaped(request->target, sizeof request->target, st_object_prefix(op->kind));
    if (op->after[0] != '\0') {
        strncat(request->target, "&start-after=", sizeof request->target - strlen(request->target) - 1);
        add_escaped(request->target, sizeof request->target, key_prefix(aws));
        add_escaped(request->target, sizeof request->target, op->after);
    }
    st_aws_call_send(call);
}
