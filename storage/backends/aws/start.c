/*
 * What is checked at start, and how a store is founded.
 *
 * A store is a table and a place in a bucket that name each other: the table's record (pk "store") says which bucket
 * and prefix, the object `store` says which table, and both the cluster. So neither can be taken for part of another
 * store, nor a copy of one for the whole.
 *
 *   record there                      its place must be ours; object there: it must name this table and cluster;
 *                                     absent: it is written (who founded the store died before, or the bucket is new)
 *   record absent, object absent      founded: the record is put if absent, then the object
 *   record absent, object there       another founder may have been at it just now: looked at once more; then refused
 *
 * Both puts are conditional, so of many founders at once one wins, and the others read what it wrote. The object is
 *   {"format":1,"cluster":"{22 letters of base64url}","table":"{name}"}
 *
 * The object's put may be the first to tell that it is there: without leave to list the bucket, S3 answers 403 for what
 * is not.
 *
 * Only the record and the object are asked for; what goes wrong is told by the first answer that says so, in the
 * sentences of sentences.def. Who founds a store in a table that is there asks for its time to live, and warns. With
 * `create`, a missing table is made first: on demand, `expires` as its time to live, and point-in-time recovery
 * where the endpoint knows that.
 */
#include "storage/backends/aws/aws_state.h"
#include "storage/runtime/log.h"

#include <stdio.h>
#include <stdlib.h>

#define OBJECT "store"
#define OBJECT_MAX 1024
#define PLACE_MAX (ST_AWS_BUCKET_MAX + ST_AWS_PREFIX_MAX)
#define LOOKS_MOST 8               /* at record and object, while others found the store */
#define ACTIVE_LOOK_NS (500 * ST_MS)
#define ACTIVE_LOOKS_MOST 240      /* two minutes */

enum service { S3, DYNAMODB };

struct start {
    struct st_aws_call *call;
    struct st_aws *aws;
    struct st_identify *op;
    struct st_aws_region_ask ask;
    struct st_timer timer;
    bool recorded;                 /* the record stands, and these are of it: */
    uint64_t format;
    struct kp_uuid cluster;
    unsigned looks, active_looks;
    bool created;
    bool object_stands;            /* a put found it there */
};

static void read_record(struct start *start);
static void read_object(struct start *start);

/* ---- the end ---- */

static void finish(struct start *start, enum st_error error) {
    struct st_identify *op = start->op;
    op->error = error;
    op->cluster_id = start->cluster;
    op->format_version = (uint32_t)start->format;
    op->date_ms = st_aws_call_date(start->call);
    st_aws_call_end(start->call);
    free(start);
    op->done(op);
}

static void fail(struct start *start, enum st_error error, const char *sentence) {
    snprintf(start->op->message, sizeof start->op->message, "%s", sentence);
    finish(start, error);
}

static const char *sentence_of(enum service service, const char *code) {
    static const struct {
        enum service service;
        const char *code, *text;
    } rows[] = {
#define SENTENCE(service, code, text) {service, code, text},
#include "storage/backends/aws/sentences.def"
#undef SENTENCE
    };
    size_t i = 0;
    while (rows[i].service != service || (rows[i].code[0] != '\0' && strcmp(rows[i].code, code) != 0)) {
        i++;
    }
    return rows[i].text;
}

/* What the last answer says, as one sentence. */
static void fail_answered(struct start *start, enum service service) {
    const struct st_aws_request *request = &start->call->request;
    const struct st_aws_url *url = &start->aws->url;
    const char *text = sentence_of(service, request->code);
    size_t reason_len = strlen(request->reason);
    char reason[sizeof request->reason];
    snprintf(reason, sizeof reason, "%.*s",
             (int)(reason_len > 0 && request->reason[reason_len - 1] == '.' ? reason_len - 1 : reason_len),
             request->reason);
    char sentence[ST_IDENTIFY_MESSAGE_MAX];
    size_t len = 0;
    for (; *text != '\0' && len + 1 < sizeof sentence; text++) {
        const char *value = text[0] != '%'    ? NULL
                            : text[1] == 'b' ? url->bucket
                            : text[1] == 't' ? url->table
                            : text[1] == 'r' ? start->aws->client.region
                                             : reason;
        if (value == NULL) {
            sentence[len++] = *text;
        } else {
            int n = snprintf(sentence + len, sizeof sentence - len, "%s", value);
            len = len + (size_t)n < sizeof sentence ? len + (size_t)n : sizeof sentence - 1;
            text++;
        }
    }
    sentence[len] = '\0';
    bool wait = request->end != ST_AWS_ANSWERED || request->status >= 500;
    fail(start, wait ? ST_REFUSED : ST_MISFIT, sentence);
}

/* ---- record and object ---- */

static void place_text(const struct st_aws *aws, char place[PLACE_MAX]) {
    snprintf(place, PLACE_MAX, "%s%s%s", aws->url.bucket, aws->url.prefix[0] != '\0' ? "/" : "", aws->url.prefix);
}

/* False: the start has ended. */
static bool take_record(struct start *start, const cJSON *item) {
    const char *cluster = st_item_text(item, "cluster", "S"), *place = st_item_text(item, "place", "S");
    char own[PLACE_MAX], sentence[ST_IDENTIFY_MESSAGE_MAX];
    if (cluster == NULL || place == NULL || !st_item_number(item, "format", &start->format) ||
        start->format > UINT32_MAX || !kp_uuid_parse(kp_slice_cstr(cluster), &start->cluster)) {
        fail(start, ST_DAMAGED, "The table's record of the store is damaged.");
        return false;
    }
    start->recorded = true;
    if (start->format > ST_FORMAT_VERSION) {
        snprintf(sentence, sizeof sentence, "The store is of format %llu, newer than this program knows.",
                 (unsigned long long)start->format);
        fail(start, ST_MISFIT, sentence);
        return false;
    }
    place_text(start->aws, own);
    if (strcmp(place, own) != 0) {
        snprintf(sentence, sizeof sentence, "The table \"%s\" belongs to the store at s3://%.190s, not to s3://%s.",
                 start->aws->url.table, place, own);
        fail(start, ST_MISFIT, sentence);
        return false;
    }
    return true;
}

/* The object's text against the record. */
static void compare_object(struct start *start) {
    cJSON *object = st_json_parse(start->call->request.answer);
    const char *cluster = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "cluster"));
    const char *table = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "table"));
    char place[PLACE_MAX], own[KP_UUID_TEXT_MAX] = "", sentence[ST_IDENTIFY_MESSAGE_MAX];
    place_text(start->aws, place);
    if (start->recorded) {
        kp_uuid_text(&start->cluster, own);
    }
    if (cluster == NULL || table == NULL) {
        snprintf(sentence, sizeof sentence, "The object \"" OBJECT "\" at s3://%s is damaged.", place);
        fail(start, ST_DAMAGED, sentence);
    } else if (strcmp(table, start->aws->url.table) != 0) {
        snprintf(sentence, sizeof sentence,
                 "The bucket's place s3://%s belongs to the table \"%.100s\", not to \"%s\".", place, table,
                 start->aws->url.table);
        fail(start, ST_MISFIT, sentence);
    } else if (!start->recorded) {
        snprintf(sentence, sizeof sentence,
                 "The bucket's place s3://%s belongs to a store whose record is missing in the table \"%s\".", place,
                 table);
        fail(start, ST_MISFIT, sentence);
    } else if (strcmp(cluster, own) != 0) {
        snprintf(sentence, sizeof sentence, "The table \"%s\" and the bucket's place s3://%s are of different stores.",
                 table, place);
        fail(start, ST_MISFIT, sentence);
    } else {
        finish(start, ST_OK);
    }
    cJSON_Delete(object);
}

static void object_written(struct st_aws_call *call) {
    struct start *start = call->op;
    bool other = call->request.end == ST_AWS_ANSWERED && (call->request.status == 412 || call->request.status == 409);
    if (st_aws_call_is_ok(call)) {
        finish(start, ST_OK);
    } else if (other) {
        start->object_stands = true;
        read_object(start);
    } else {
        fail_answered(start, S3);
    }
}

static void write_object(struct start *start) {
    struct st_aws_call *call = start->call;
    char cluster[KP_UUID_TEXT_MAX];
    kp_uuid_text(&start->cluster, cluster);
    call->answered = object_written;
    struct st_aws_request *request = st_aws_object_request(call, "PUT", OBJECT, 0);
    if (!st_json_begin(&call->json, OBJECT_MAX, 0)) {
        st_aws_call_refuse(call, "no memory for the request");
        return;
    }
    st_json_add(&call->json, "{\"format\":%llu,\"cluster\":\"%s\",\"table\":\"%s\"}\n",
                (unsigned long long)start->format, cluster, start->aws->url.table);
    request->body = st_json_text(&call->json);
    request->headers[request->header_count++] = "If-None-Match: *";
    request->headers[request->header_count++] = "Content-Type: application/json";
    st_aws_call_send(call);
}

static void record_written(struct st_aws_call *call) {
    struct start *start = call->op;
    cJSON *answer = st_aws_table_answer(call);
    if (st_aws_call_is_ok(call)) {
        start->recorded = start->op->founded = true;
        write_object(start);
    } else if (st_aws_call_is_error(call, "ConditionalCheckFailedException")) {
        struct kp_uuid own = start->op->cluster_id;
        if (take_record(start, cJSON_GetObjectItemCaseSensitive(answer, "Item"))) {
            start->op->founded = kp_uuid_equal(&own, &start->cluster); /* by a try that was not answered */
            write_object(start);
        }
    } else {
        fail_answered(start, DYNAMODB);
    }
    cJSON_Delete(answer);
}

static void write_record(struct start *start) {
    struct st_aws_call *call = start->call;
    char cluster[KP_UUID_TEXT_MAX], place[PLACE_MAX];
    start->cluster = start->op->cluster_id;
    start->format = start->op->format_version;
    kp_uuid_text(&start->cluster, cluster);
    place_text(start->aws, place);
    call->answered = record_written;
    if (st_aws_table_begin(call, "PutItem", 0, 0)) {
        st_json_add(&call->json,
                    "\"Item\":{\"pk\":{\"S\":\"store\"},\"sk\":{\"N\":\"0\"},\"format\":{\"N\":\"%llu\"},"
                    "\"cluster\":{\"S\":\"%s\"},\"place\":{\"S\":\"%s\"}},",
                    (unsigned long long)start->format, cluster, place);
        st_json_add(&call->json, "\"ConditionExpression\":\"attribute_not_exists(pk)\","
                                 "\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"}");
    }
    st_aws_table_send(call);
}

/* Asks for what an action tells of the table. */
static void describe(struct start *start, const char *action, void (*answered)(struct st_aws_call *call)) {
    start->call->answered = answered;
    if (st_aws_table_begin(start->call, action, 0, 0)) {
        start->call->request.read_only = true;
        start->call->json.len--; /* the comma: its name is all that is asked */
        st_json_add(&start->call->json, "}");
    }
    st_aws_table_send(start->call);
}

/* A table that was made by hand serves without it too, only dearer; and who may not ask need not know. */
static void ttl_known(struct st_aws_call *call) {
    struct start *start = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *told = cJSON_GetObjectItemCaseSensitive(answer, "TimeToLiveDescription");
    const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(told, "TimeToLiveStatus"));
    const char *attribute = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(told, "AttributeName"));
    bool on = status != NULL && strncmp(status, "ENABL", 5) == 0; /* ENABLED, ENABLING */
    if (status != NULL && (!on || attribute == NULL || strcmp(attribute, "expires") != 0)) {
        ST_LOG(aws_table_keeps, "table=%s", start->aws->url.table);
    }
    cJSON_Delete(answer);
    write_record(start);
}

static void found(struct start *start) {
    if (start->created) {
        write_record(start);
    } else {
        describe(start, "DescribeTimeToLive", ttl_known);
    }
}

static void object_read(struct st_aws_call *call) {
    struct start *start = call->op;
    /* Who may not list the bucket is told 403 of what is not there: whether it is, the conditional put will tell. */
    bool hidden = st_aws_call_is_error(call, "AccessDenied") && !start->object_stands;
    bool absent = st_aws_call_is_error(call, "NoSuchKey") || hidden;
    if (!absent && !st_aws_call_is_ok(call)) {
        fail_answered(start, S3);
    } else if (!absent && (start->recorded || start->looks > 2)) {
        compare_object(start);
    } else if (!absent) {
        read_record(start);
    } else if (start->looks >= LOOKS_MOST) {
        fail(start, ST_REFUSED, "The store's object and record change while they are read; try again.");
    } else if (start->recorded) {
        write_object(start);
    } else {
        found(start);
    }
}

static void read_object(struct start *start) {
    start->looks++;
    start->call->answered = object_read;
    st_aws_object_request(start->call, "GET", OBJECT, 0);
    st_aws_call_send(start->call);
}

/* ---- the table is made ---- */

static void table_described(struct st_aws_call *call);

static void describe_table(struct start *start) {
    describe(start, "DescribeTable", table_described);
}

static void active_look_due(struct st_timer *timer) {
    describe_table(ST_OWNER(timer, struct start, timer));
}

/* Not every endpoint knows it, and a table without it serves as well. */
static void recovery_set(struct st_aws_call *call) {
    read_record(call->op);
}

static void ttl_set(struct st_aws_call *call) {
    struct start *start = call->op;
    if (!st_aws_call_is_ok(call)) {
        fail_answered(start, DYNAMODB);
        return;
    }
    call->answered = recovery_set;
    if (st_aws_table_begin(call, "UpdateContinuousBackups", 0, 0)) {
        st_json_add(&call->json, "\"PointInTimeRecoverySpecification\":{\"PointInTimeRecoveryEnabled\":true}}");
    }
    st_aws_table_send(call);
}

static void set_ttl(struct start *start) {
    start->call->answered = ttl_set;
    if (st_aws_table_begin(start->call, "UpdateTimeToLive", 0, 0)) {
        st_json_add(&start->call->json,
                    "\"TimeToLiveSpecification\":{\"Enabled\":true,\"AttributeName\":\"expires\"}}");
    }
    st_aws_table_send(start->call);
}

static void table_described(struct st_aws_call *call) {
    struct start *start = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *table = cJSON_GetObjectItemCaseSensitive(answer, "Table");
    const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(table, "TableStatus"));
    bool active = st_aws_call_is_ok(call) && status != NULL && strcmp(status, "ACTIVE") == 0;
    bool later = st_aws_call_is_ok(call) || st_aws_call_is_error(call, "ResourceNotFoundException");
    cJSON_Delete(answer);
    if (active) {
        set_ttl(start);
    } else if (later && ++start->active_looks < ACTIVE_LOOKS_MOST) {
        start->timer.fn = active_look_due;
        st_timer_start(start->aws->loop, &start->timer, ACTIVE_LOOK_NS);
    } else {
        fail_answered(start, DYNAMODB);
    }
}

static void table_created(struct st_aws_call *call) {
    struct start *start = call->op;
    /* In use: another gateway makes it just now. */
    if (st_aws_call_is_ok(call) || st_aws_call_is_error(call, "ResourceInUseException")) {
        describe_table(start);
    } else {
        fail_answered(start, DYNAMODB);
    }
}

static void create_table(struct start *start) {
    start->created = true;
    start->call->answered = table_created;
    if (st_aws_table_begin(start->call, "CreateTable", 0, 0)) {
        st_json_add(&start->call->json,
                    "\"KeySchema\":[{\"AttributeName\":\"pk\",\"KeyType\":\"HASH\"},{\"AttributeName\":\"sk\","
                    "\"KeyType\":\"RANGE\"}],\"AttributeDefinitions\":[{\"AttributeName\":\"pk\",\"AttributeType\":"
                    "\"S\"},{\"AttributeName\":\"sk\",\"AttributeType\":\"N\"}],\"BillingMode\":\"PAY_PER_REQUEST\"}");
    }
    st_aws_table_send(start->call);
}

/* ---- the record is read ---- */

static void record_read(struct st_aws_call *call) {
    struct start *start = call->op;
    cJSON *answer = st_aws_table_answer(call);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(answer, "Item");
    bool missing = st_aws_call_is_error(call, "ResourceNotFoundException");
    if (missing && start->op->create && !start->created) {
        create_table(start);
    } else if (!st_aws_call_is_ok(call) || answer == NULL) {
        fail_answered(start, DYNAMODB);
    } else if (item == NULL || take_record(start, item)) {
        read_object(start);
    }
    cJSON_Delete(answer);
}

static void read_record(struct start *start) {
    start->looks++;
    start->call->answered = record_read;
    if (st_aws_table_begin(start->call, "GetItem", 0, 0)) {
        start->call->request.read_only = true;
        st_json_add(&start->call->json, "\"Key\":{\"pk\":{\"S\":\"store\"},\"sk\":{\"N\":\"0\"}},"
                                        "\"ConsistentRead\":true,\"ReturnConsumedCapacity\":\"TOTAL\"}");
    }
    st_aws_table_send(start->call);
}

/* ---- the region ---- */

static void region_known(struct st_aws_region_ask *ask) {
    struct start *start = ST_OWNER(ask, struct start, ask);
    char sentence[ST_IDENTIFY_MESSAGE_MAX];
    if (ask->region[0] == '\0') {
        snprintf(sentence, sizeof sentence,
                 "No AWS region is known: set region= in the store's URL, or AWS_REGION (%s).", ask->reason);
        fail(start, ST_MISFIT, sentence);
    } else if (!start->aws->connected && !st_aws_connect(start->aws, ask->region, sentence, sizeof sentence)) {
        fail(start, ST_MISFIT, sentence);
    } else {
        read_record(start);
    }
}

static void no_memory(struct st_aws_call *call) {
    struct st_identify *op = call->op;
    op->error = ST_REFUSED;
    op->date_ms = 0;
    st_aws_call_end(call);
    op->done(op);
}

void st_aws_identify(struct st_store *store, struct st_identify *op) {
    struct st_aws *aws = st_aws_of(store);
    struct start *start = calloc(1, sizeof *start);
    struct st_aws_call *call = st_aws_call_new(aws, start, record_read);
    op->founded = false;
    op->message[0] = '\0';
    if (start == NULL) {
        call->op = op;
        call->answered = no_memory;
        st_aws_call_refuse(call, "no memory");
        return;
    }
    *start = (struct start){.call = call, .aws = aws, .op = op, .ask = {.done = region_known}};
    if (aws->connected) {
        read_record(start);
    } else {
        st_aws_region_ask(aws->loop, aws->http, &start->ask);
    }
}
