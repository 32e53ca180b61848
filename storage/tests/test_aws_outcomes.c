/* What an operation of the aws store comes to, over a double of HTTP: the answers that servers on a test machine give
 * rarely or never. */
#include "storage/backends/aws/aws.h"
#include "storage/runtime/metrics.h"
#include "storage/tests/aws_fixture.h"

#define DYNAMODB_ERROR(code) "{\"__type\":\"com.amazonaws.dynamodb.v20120810#" code "\",\"message\":\"as told\"}"
#define S3_ERROR(code) "<Error><Code>" code "</Code><Message>as told</Message></Error>"
#define ENTRY(slot, base64) "{\"pk\":{\"S\":\"journal#0\"},\"sk\":{\"N\":\"" slot "\"},\"b\":{\"B\":\"" base64 "\"}}"
#define PAGE(items) "{\"Items\":[" items "],\"ConsumedCapacity\":{\"CapacityUnits\":0.5}}"
#define TAKEN_BY(base64) \
    "{\"__type\":\"a#ConditionalCheckFailedException\",\"message\":\"as told\",\"Item\":" ENTRY("7", base64) "}"
#define HELLO "aGVsbG8=" /* "hello" */

static struct st_http_client *http;
static struct st_store *store;
static unsigned done;
static struct st_task closing;
static void (*closing_done)(void *arg);
static void *closing_arg;

/* ---- the rest of the double ---- */

struct st_http_options st_http_options_default(void) {
    return (struct st_http_options){0};
}

struct st_http_client *st_http_client_new(struct st_loop *loop, const struct st_http_options *options) {
    (void)options;
    assert_ptr_equal(loop, http->loop);
    return http;
}

static void client_closed(struct st_task *task) {
    (void)task;
    closing_done(closing_arg);
}

void st_http_client_close(struct st_http_client *client, void (*freed)(void *arg), void *arg) {
    closing = (struct st_task){.fn = client_closed};
    closing_done = freed;
    closing_arg = arg;
    st_defer(client->loop, &closing);
}

void st_http_client_free(struct st_http_client *client) {
    (void)client;
}

/* ---- the bench ---- */

static void open_store(const char *url) {
    char message[300];
    store = st_store_aws_open(http->loop, url, message, sizeof message);
    if (store == NULL) {
        fail_msg("%s", message);
    }
}

static void store_closed(void *arg) {
    (void)arg;
    store = NULL;
}

static void close_store(void) {
    store->ops->close(store, store_closed, NULL);
    fixture_run(http, 100000);
    assert_null(store);
}

static int set_up(void **state) {
    (void)state;
    static const char *const unset[] = {"AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB",
        "AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        unsetenv(unset[i]);
    }
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    http = fixture_new();
    open_store("s3://bucket/pre?table=tab&region=eu-west-1");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close_store();
    fixture_free(http);
    return 0;
}

static void forget(void) {
    fixture_no_rules(http);
    http->asked_count = 0;
    done = 0;
}

static void answer(int status, const char *body, unsigned times) {
    fixture_rule(http, (struct rule){.status = status, .body = body, .times = times});
}

static void lose(unsigned times) {
    fixture_rule(http, (struct rule){.end = ST_HTTP_LOST, .times = times});
}

#define OPERATION(name, type, member) \
    static void name##_over(struct type *op) { \
        (void)op; \
        done++; \
    } \
    static enum st_error run_##name(struct type *op) { \
        op->done = name##_over; \
        done = 0; \
        store->ops->member(store, op); \
        assert_int_equal(done, 0); \
        fixture_run(http, 100000); \
        assert_int_equal(done, 1); \
        return op->error; \
    }
OPERATION(put, st_journal_put, journal_put)
OPERATION(read, st_journal_read, journal_read)
OPERATION(trim, st_journal_trim, journal_trim)
OPERATION(advance, st_checkpoint_ref, checkpoint_advance)
OPERATION(standing, st_checkpoint_ref, checkpoint_get)
OPERATION(get, st_object_get, object_get)
OPERATION(list, st_object_list, object_list)
OPERATION(lease, st_lease_renew, lease_renew)
OPERATION(identify, st_identify, identify)

/* ---- entries ---- */

static enum st_error put_hello(void) {
    struct st_journal_put op = {.slot = 7, .body = KP_SLICE_LIT("hello")};
    return run_put(&op);
}

static void a_put_whose_answer_was_lost_is_known_by_the_entry_that_stands(void **state) {
    (void)state;
    lose(1);
    answer(400, TAKEN_BY(HELLO), 0);
    assert_int_equal(put_hello(), ST_OK);
    assert_int_equal(http->asked_count, 2);
    assert_string_equal(http->asked[0].body, http->asked[1].body);
    assert_true(http->asked[1].fresh);
    forget();
    lose(1);
    answer(400, TAKEN_BY("SGVsbG8="), 0); /* "Hello" */
    assert_int_equal(put_hello(), ST_TAKEN);
    forget();
    answer(400, TAKEN_BY(HELLO), 0); /* who never sent it before asks, and is told that the slot is taken */
    assert_int_equal(put_hello(), ST_TAKEN);
}

static void a_put_is_refused_only_when_it_surely_had_no_effect(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum st_error error;
    } cases[] = {
        {400, DYNAMODB_ERROR("ProvisionedThroughputExceededException"), ST_REFUSED},
        {400, DYNAMODB_ERROR("AccessDeniedException"), ST_REFUSED},
        {400, DYNAMODB_ERROR("ResourceNotFoundException"), ST_REFUSED},
        {400, "<html>", ST_REFUSED},
        {500, DYNAMODB_ERROR("InternalServerError"), ST_UNKNOWN},
        {503, "", ST_UNKNOWN},
        {501, "", ST_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        forget();
        answer(cases[i].status, cases[i].body, 0);
        assert_int_equal(put_hello(), cases[i].error);
    }
    forget();
    lose(0);
    assert_int_equal(put_hello(), ST_UNKNOWN);
    forget();
    lose(1);
    answer(400, DYNAMODB_ERROR("AccessDeniedException"), 0); /* says nothing about the try before */
    assert_int_equal(put_hello(), ST_UNKNOWN);
}

static void what_dynamodb_charges_for_is_counted(void **state) {
    (void)state;
    uint64_t writes = st_metrics.dynamodb_write_units_total, reads = st_metrics.dynamodb_read_half_units_total;
    answer(200, "{\"ConsumedCapacity\":{\"TableName\":\"tab\",\"CapacityUnits\":3.0}}", 1);
    assert_int_equal(put_hello(), ST_OK);
    assert_non_null(strstr(http->asked[0].body, "\"ReturnConsumedCapacity\":\"TOTAL\""));
    answer(200, PAGE(""), 0);
    struct st_journal_read op = {.from = 1, .max_bytes = 1 << 20};
    assert_int_equal(run_read(&op), ST_OK);
    assert_true(op.at_end && op.count == 0);
    assert_true(st_metrics.dynamodb_write_units_total == writes + 3);
    assert_true(st_metrics.dynamodb_read_half_units_total == reads + 1);
}

static enum st_error read_from(uint64_t from, struct st_journal_read *op) {
    *op = (struct st_journal_read){.from = from, .max_bytes = 1 << 20};
    return run_read(op);
}

static void release(struct st_journal_read *op) {
    kp_blob_unref(op->blob);
    free(op->entries);
}

static void a_page_is_cut_where_slots_are_missing(void **state) {
    (void)state;
    struct st_journal_read op;
    answer(200, PAGE(ENTRY("5", HELLO) "," ENTRY("6", "") "," ENTRY("8", HELLO)), 0);
    assert_int_equal(read_from(5, &op), ST_OK);
    assert_int_equal(op.count, 2);
    assert_false(op.at_end);
    assert_true(kp_slice_equal(op.entries[0].body, KP_SLICE_LIT("hello")));
    assert_int_equal(op.entries[1].body.len, 0);
    assert_int_equal(http->asked_count, 1);
    release(&op);
}

static void a_page_with_a_continuation_is_not_the_end(void **state) {
    (void)state;
    struct st_journal_read op;
    answer(200, "{\"Items\":[" ENTRY("5", HELLO) "],\"LastEvaluatedKey\":{\"sk\":{\"N\":\"5\"}}}", 0);
    assert_int_equal(read_from(5, &op), ST_OK);
    assert_int_equal(op.count, 1);
    assert_false(op.at_end);
    release(&op);
    forget();
    answer(200, PAGE(ENTRY("5", HELLO)), 0);
    assert_int_equal(read_from(5, &op), ST_OK);
    assert_true(op.at_end);
    release(&op);
}

static void a_page_that_begins_with_a_gap_is_read_once_more(void **state) {
    (void)state;
    struct st_journal_read op;
    answer(200, PAGE(ENTRY("6", HELLO)), 1);
    answer(200, PAGE(ENTRY("5", HELLO) "," ENTRY("6", HELLO)), 0);
    assert_int_equal(read_from(5, &op), ST_OK);
    assert_int_equal(op.count, 2);
    assert_true(op.entries[0].slot == 5);
    release(&op);
    forget();
    answer(200, PAGE(ENTRY("6", HELLO)), 0); /* still: what lay below was trimmed */
    assert_int_equal(read_from(5, &op), ST_OK);
    assert_int_equal(http->asked_count, 2);
    assert_true(op.count == 1 && op.entries[0].slot == 6 && op.at_end);
    release(&op);
}

static void pages_that_make_no_sense_are_told(void **state) {
    (void)state;
    static const struct {
        const char *body;
        enum st_error error;
    } cases[] = {
        {PAGE(ENTRY("4", HELLO)), ST_DAMAGED},
        {PAGE(ENTRY("x", HELLO)), ST_DAMAGED},
        {PAGE(ENTRY("5", "abc")), ST_DAMAGED},
        {PAGE(ENTRY("5", "ab*d")), ST_DAMAGED},
        {PAGE("{\"pk\":{\"S\":\"journal#0\"},\"sk\":{\"N\":\"5\"}}"), ST_DAMAGED},
        {PAGE("7"), ST_DAMAGED},
        {"{\"Items\":7}", ST_REFUSED},
        {"{}", ST_REFUSED},
        {"[", ST_REFUSED},
        {"", ST_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_journal_read op;
        forget();
        answer(200, cases[i].body, 0);
        assert_int_equal(read_from(5, &op), cases[i].error);
        assert_true(op.count == 0 && op.blob == NULL && op.entries == NULL);
    }
    struct st_journal_read op;
    forget();
    lose(0);
    assert_int_equal(read_from(5, &op), ST_REFUSED);
}

static void a_trim_goes_on_with_what_was_left_and_gives_up_when_nothing_moves(void **state) {
    (void)state;
    struct st_journal_trim op = {.below = 3};
    fixture_rule(http, (struct rule){.status = 200, .body = PAGE("{\"sk\":{\"N\":\"1\"}},{\"sk\":{\"N\":\"2\"}}"),
                                     .times = 1});
    answer(200, "{\"UnprocessedItems\":{\"tab\":[{}]}}", 1);
    answer(200, PAGE("{\"sk\":{\"N\":\"2\"}}"), 1);
    answer(200, "{\"UnprocessedItems\":{}}", 1);
    assert_int_equal(run_trim(&op), ST_OK);
    assert_int_equal(http->asked_count, 4);
    assert_non_null(strstr(http->asked[1].body, "\"sk\":{\"N\":\"1\"}"));
    assert_null(strstr(http->asked[3].body, "\"sk\":{\"N\":\"1\"}"));
    forget();
    answer(200, "{\"Items\":[{\"sk\":{\"N\":\"1\"}}],\"UnprocessedItems\":{\"tab\":[{}]}}", 0); /* serves for both */
    assert_int_equal(run_trim(&op), ST_REFUSED);
    assert_true(http->asked_count < 20);
}

/* ---- checkpoints and leases ---- */

#define REF(slot, name) \
    "{\"Item\":{\"slot\":{\"N\":\"" slot "\"},\"name\":{\"S\":\"" name "\"},\"size\":{\"N\":\"9\"}," \
    "\"made\":{\"N\":\"77\"}}}"

static void a_checkpoint_is_made_at_the_time_that_the_store_told_just_now(void **state) {
    (void)state;
    http->wall_off_ms = -5000000; /* our own clock is of no account */
    answer(200, REF("4", "four"), 1);
    answer(200, "{}", 0);
    struct st_checkpoint_ref op = {.slot = 5, .name = "five", .size = 9};
    assert_int_equal(run_advance(&op), ST_OK);
    assert_true(op.made_ms == TRUE_WALL_MS && op.date_ms >= op.made_ms);
    assert_non_null(strstr(fixture_last(http)->body, "\"made\":{\"N\":\"1700000000000\"}"));
    forget();
    fixture_rule(http, (struct rule){.status = 200, .body = "{}", .no_date = true});
    assert_int_equal(run_advance(&op), ST_REFUSED);
}

static void a_checkpoint_of_our_own_is_found_and_another_wins(void **state) {
    (void)state;
    struct st_checkpoint_ref op = {.slot = 5, .name = "five", .size = 9};
    answer(200, REF("5", "five"), 0);
    assert_int_equal(run_advance(&op), ST_OK);
    assert_true(op.made_ms == 77);
    forget();
    answer(200, REF("5", "other"), 0);
    assert_int_equal(run_advance(&op), ST_TAKEN);
    forget();
    answer(200, "{}", 1);
    lose(1);
    answer(400, "{\"__type\":\"a#ConditionalCheckFailedException\",\"Item\":{\"slot\":{\"N\":\"5\"},\"name\":{\"S\":"
                "\"five\"},\"size\":{\"N\":\"9\"},\"made\":{\"N\":\"78\"}}}", 0);
    assert_int_equal(run_advance(&op), ST_OK);
    assert_true(op.made_ms == 78);
    forget();
    answer(200, REF("5x", "five"), 0);
    assert_int_equal(run_standing(&op), ST_DAMAGED);
}

static void the_first_lease_asks_for_the_time(void **state) {
    (void)state;
    struct st_lease_renew op = {.lease = {.holder = "me", .body = "b", .len = 1}};
    answer(200, "{}", 0);
    assert_int_equal(run_lease(&op), ST_OK);
    assert_int_equal(http->asked_count, 2);
    assert_true(op.lease.renewed_ms == TRUE_WALL_MS);
    assert_non_null(strstr(fixture_last(http)->body, "\"expires\":{\"N\":\"1700086400\"}"));
    forget();
    answer(200, "{}", 0);
    http->now_ns += 61500 * ST_MS;
    assert_int_equal(run_lease(&op), ST_OK);
    assert_int_equal(http->asked_count, 1); /* now it is known */
    assert_true(op.lease.renewed_ms > TRUE_WALL_MS && op.lease.renewed_ms <= op.date_ms);
    assert_true(op.lease.renewed_ms % 1000 == 0);
}

/* ---- objects ---- */

static void what_a_get_comes_to(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        uint64_t position;
        enum st_error error;
    } cases[] = {
        {206, "hello", 3, ST_OK},
        {206, "hell", 3, ST_DAMAGED},
        {200, "hello", 0, ST_OK},
        {200, "hello", 3, ST_DAMAGED},
        {416, S3_ERROR("InvalidRange"), 3, ST_DAMAGED},
        {404, S3_ERROR("NoSuchKey"), 3, ST_ABSENT},
        {404, S3_ERROR("NoSuchBucket"), 3, ST_REFUSED},
        {404, "", 3, ST_REFUSED},
        {403, S3_ERROR("AccessDenied"), 3, ST_REFUSED},
        {503, S3_ERROR("SlowDown"), 3, ST_REFUSED},
        {500, "", 3, ST_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t into[5];
        struct st_object_get op = {.name = "ingest/ab/x", .position = cases[i].position, .len = 5, .into = into};
        forget();
        answer(cases[i].status, cases[i].body, 0);
        assert_int_equal(run_get(&op), cases[i].error);
    }
    assert_string_equal(http->asked[0].url, "https://bucket.s3.eu-west-1.amazonaws.com/pre/ingest/ab/x");
    assert_non_null(strstr(http->asked[0].headers, "Range: bytes=3-7"));
    uint8_t into[1];
    struct st_object_get none = {.name = "x", .position = UINT64_MAX, .len = 1, .into = into};
    assert_int_equal(run_get(&none), ST_REFUSED);
}

static void put_object_over(struct st_object_put *op) {
    (void)op;
    done++;
}

/* An object of so many digits; all that is sent is counted as a PUT. */
static enum st_error put_object(size_t len) {
    struct st_object_put op = {.name = "ingest/ab/x", .buffer = kp_blob_new(len), .len = len, .done = put_object_over};
    for (size_t i = 0; i < len; i++) {
        op.buffer->data[i] = (uint8_t)('1' + i % 9);
    }
    const uint64_t counted = st_metrics.s3_puts_total;
    done = 0;
    http->asked_count = 0;
    store->ops->object_put(store, &op);
    fixture_run(http, 100000);
    assert_int_equal(done, 1);
    assert_int_equal(st_metrics.s3_puts_total - counted, http->asked_count);
    kp_blob_unref(op.buffer);
    return op.error;
}

static void a_put_of_an_object_says_its_sum_and_is_sent_again_as_it_is(void **state) {
    (void)state;
    lose(1);
    answer(200, "", 0);
    assert_int_equal(put_object(9), ST_OK);
    assert_int_equal(http->asked_count, 2);
    assert_string_equal(http->asked[1].body, "123456789");
    assert_non_null(strstr(http->asked[1].headers, "x-amz-checksum-crc32c: 4waSgw==\n")); /* e3069283 */
}

static void one_slow_put_in_twenty_is_sent_again_meanwhile(void **state) {
    (void)state;
    const uint64_t hedged = st_metrics.s3_hedges_total;
    answer(200, "", 19);
    fixture_rule(http, (struct rule){.status = 200, .takes_ms = 1500, .times = 1});
    answer(200, "", 1);
    fixture_rule(http, (struct rule){.status = 200, .takes_ms = 1500});
    for (int i = 0; i < 19; i++) {
        assert_int_equal(put_object(9), ST_OK);
        assert_int_equal(http->asked_count, 1);
    }
    assert_int_equal(put_object(9), ST_OK);
    assert_int_equal(http->asked_count, 2);
    assert_in_range(http->asked[1].at_ms - http->asked[0].at_ms, 200, 250);
    assert_string_equal(http->asked[0].headers, http->asked[1].headers);
    assert_string_equal(http->asked[1].body, "123456789");
    assert_int_equal(put_object(9), ST_OK); /* slow, and so it is */
    assert_int_equal(http->asked_count, 1);
    assert_int_equal(st_metrics.s3_hedges_total - hedged, 1);
}

static void without_pacing_small_objects_are_sent_twice_at_once(void **state) {
    (void)state;
    static const struct {
        const char *pacing;
        size_t len;
        unsigned sent;
        uint32_t pacing_ms;
    } cases[] = {
        {"", 9, 1, 110}, {"&pacing_ms=30", 9, 1, 30}, {"&pacing_ms=29", 9, 2, 30},
        {"&pacing_ms=0", 9, 2, 30}, {"&pacing_ms=0", 128 * 1024, 2, 30}, {"&pacing_ms=0", 128 * 1024 + 1, 1, 30},
    };
    answer(200, "", 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char url[100];
        close_store();
        snprintf(url, sizeof url, "s3://bucket/pre?table=tab&region=eu-west-1%s", cases[i].pacing);
        open_store(url);
        assert_int_equal(store->profile.pacing_ms, cases[i].pacing_ms);
        assert_int_equal(put_object(cases[i].len), ST_OK);
        assert_int_equal(http->asked_count, cases[i].sent);
        assert_int_equal(http->asked[cases[i].sent - 1].at_ms, http->asked[0].at_ms);
    }
}

static void delete_over(struct st_object_delete *op) {
    (void)op;
    done++;
}

static void deletes_of_one_turn_go_together_and_each_has_its_own_outcome(void **state) {
    (void)state;
    struct st_object_delete ops[3] = {{.name = "ingest/aa/1"}, {.name = "ingest/bb/2"}, {.name = "ingest/cc/3"}};
    answer(200, "<?xml version=\"1.0\"?><DeleteResult xmlns=\"x\"><Error><Key>pre/ingest/bb/2</Key><Code>InternalError"
                "</Code></Error></DeleteResult>", 0);
    done = 0;
    for (size_t i = 0; i < 3; i++) {
        ops[i].done = delete_over;
        store->ops->object_delete(store, &ops[i]);
    }
    fixture_run(http, 100000);
    assert_int_equal(done, 3);
    assert_int_equal(http->asked_count, 1);
    assert_string_equal(http->asked[0].url, "https://bucket.s3.eu-west-1.amazonaws.com/?delete=");
    assert_non_null(strstr(http->asked[0].headers, "Content-MD5: "));
    assert_non_null(strstr(http->asked[0].body, "<Key>pre/ingest/cc/3</Key>"));
    assert_int_equal(ops[0].error, ST_OK);
    assert_int_equal(ops[1].error, ST_REFUSED);
    assert_int_equal(ops[2].error, ST_OK);
    forget();
    answer(200, "<Error><Code>InternalError</Code></Error>", 0); /* 200, and nothing was done */
    for (size_t i = 0; i < 3; i++) {
        store->ops->object_delete(store, &ops[i]);
    }
    fixture_run(http, 100000);
    assert_int_equal(done, 3);
    assert_true(ops[0].error != ST_OK && ops[1].error != ST_OK && ops[2].error != ST_OK);
    forget();
    answer(200, "<html></html>", 0); /* of somebody in between */
    for (size_t i = 0; i < 3; i++) {
        store->ops->object_delete(store, &ops[i]);
    }
    fixture_run(http, 100000);
    assert_true(done == 3 && ops[0].error != ST_OK);
    forget();
    answer(404, S3_ERROR("NoSuchKey"), 0);
    store->ops->object_delete(store, &ops[0]);
    fixture_run(http, 100000);
    assert_int_equal(ops[0].error, ST_OK);
    assert_string_equal(http->asked[0].method, "DELETE");
    snprintf(ops[0].name, sizeof ops[0].name, "a<b>");
    store->ops->object_delete(store, &ops[0]);
    fixture_run(http, 100000);
    assert_int_equal(ops[0].error, ST_REFUSED);
}

#define LISTED(key) "<Contents><Key>" key "</Key><Size>1</Size></Contents>"
#define LISTING(truncated, contents) \
    "<ListBucketResult><IsTruncated>" truncated "</IsTruncated>" contents "</ListBucketResult>"

static void lists_pass_over_what_is_not_ours(void **state) {
    (void)state;
    char names[4][ST_OBJECT_NAME_MAX];
    struct st_object_list op = {.kind = ST_OBJECT_INGEST, .names = names, .capacity = 4, .after = "ingest/00/1"};
    answer(200, LISTING("true", LISTED("pre/ingest/01/a") LISTED("other/x") LISTED("pre/ingest/02/a&amp;b")), 0);
    assert_int_equal(run_list(&op), ST_OK);
    assert_int_equal(op.count, 2);
    assert_true(op.more);
    assert_string_equal(names[0], "ingest/01/a");
    assert_string_equal(names[1], "ingest/02/a&b");
    assert_string_equal(http->asked[0].url, "https://bucket.s3.eu-west-1.amazonaws.com/?list-type=2&max-keys=4&prefix="
                                            "pre%2Fingest%2F&start-after=pre%2Fingest%2F00%2F1");
    static const struct {
        const char *body;
        enum st_error error;
    } cases[] = {
        {LISTING("false", ""), ST_OK},
        {LISTING("true", LISTED("other/x")), ST_DAMAGED}, /* no way past them: not an end, either */
        {"<ListBucketResult>" LISTED("pre/ingest/01/a") "</ListBucketResult>", ST_REFUSED},
        {"<html></html>", ST_REFUSED},
        {"", ST_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        forget();
        answer(200, cases[i].body, 0);
        assert_int_equal(run_list(&op), cases[i].error);
    }
}

/* ---- the start ---- */

static void every_answer_at_start_is_told_in_one_sentence(void **state) {
    (void)state;
    static const struct {
        const char *service;
        int status;
        const char *body;
        enum st_error error;
        const char *sentence;
    } cases[] = {
        {"dynamodb", 400, DYNAMODB_ERROR("ResourceNotFoundException"), ST_MISFIT,
         "There is no table \"tab\" in the region eu-west-1: --create-table makes it."},
        {"dynamodb", 400, DYNAMODB_ERROR("ExpiredTokenException"), ST_MISFIT, "The credentials have expired"},
        {"dynamodb", 400, DYNAMODB_ERROR("UnrecognizedClientException"), ST_MISFIT, "does not know these credentials"},
        {"dynamodb", 400, DYNAMODB_ERROR("InvalidSignatureException"), ST_MISFIT, "not the region of the endpoint"},
        {"dynamodb", 400, DYNAMODB_ERROR("AccessDeniedException"), ST_MISFIT,
         "These credentials may not read and write the table \"tab\" (AccessDeniedException: as told)."},
        {"dynamodb", 400, DYNAMODB_ERROR("ValidationException"), ST_MISFIT, "has another key"},
        {"dynamodb", 503, "", ST_REFUSED, "The table \"tab\" cannot be used: "},
        {"s3", 404, S3_ERROR("NoSuchBucket"), ST_MISFIT, "There is no bucket \"bucket\"."},
        {"s3", 301, S3_ERROR("PermanentRedirect"), ST_MISFIT, "lies in another region than eu-west-1"},
        {"s3", 400, S3_ERROR("AuthorizationHeaderMalformed"), ST_MISFIT, "lies in another region than eu-west-1"},
        {"s3", 400, S3_ERROR("ExpiredToken"), ST_MISFIT, "The credentials have expired"},
        {"s3", 403, S3_ERROR("InvalidAccessKeyId"), ST_MISFIT, "does not know the access key"},
        {"s3", 403, S3_ERROR("SignatureDoesNotMatch"), ST_MISFIT, "the secret key is wrong"},
        {"s3", 403, S3_ERROR("AccessDenied"), ST_MISFIT, "may not read and write the bucket \"bucket\""},
        {"s3", 403, S3_ERROR("Strange"), ST_MISFIT, "The bucket \"bucket\" cannot be used: Strange: as told."},
        {"s3", 503, S3_ERROR("SlowDown"), ST_REFUSED, "The bucket \"bucket\" cannot be used: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_identify op = {.format_version = 1};
        forget();
        fixture_rule(http, (struct rule){.url = cases[i].service, .status = cases[i].status, .body = cases[i].body});
        answer(200, "{}", 0);
        assert_int_equal(run_identify(&op), cases[i].error);
        size_t len = strlen(op.message);
        if (strstr(op.message, cases[i].sentence) == NULL || op.message[len - 1] != '.') {
            fail_msg("\"%s\" does not say \"%s\"", op.message, cases[i].sentence);
        }
    }
}

static void a_founder_that_may_not_list_the_bucket_founds_all_the_same(void **state) {
    (void)state;
    struct st_identify op = {.format_version = 1, .cluster_id = {.bytes = {1}}};
    fixture_rule(http, (struct rule){.method = "GET", .url = "s3", .status = 403, .body = S3_ERROR("AccessDenied")});
    answer(200, "{}", 0);
    assert_int_equal(run_identify(&op), ST_OK);
    assert_true(op.founded);
    assert_string_equal(fixture_last(http)->method, "PUT");
    assert_non_null(strstr(fixture_last(http)->headers, "If-None-Match: *"));
    assert_string_equal(fixture_last(http)->body,
                        "{\"format\":1,\"cluster\":\"AQAAAAAAAAAAAAAAAAAAAA\",\"table\":\"tab\"}\n");
}

static void a_founder_that_is_seen_between_its_two_puts_is_waited_for(void **state) {
    (void)state;
    struct st_identify op = {.format_version = 1, .cluster_id = {.bytes = {7}}};
    fixture_rule(http, (struct rule){.url = "s3", .status = 200, .body =
        "{\"format\":1,\"cluster\":\"AQAAAAAAAAAAAAAAAAAAAA\",\"table\":\"tab\"}"});
    answer(200, "{}", 1); /* its record is not there yet, its object a moment later is */
    answer(200, "{\"Item\":{\"format\":{\"N\":\"1\"},\"cluster\":{\"S\":\"AQAAAAAAAAAAAAAAAAAAAA\"},"
                "\"place\":{\"S\":\"bucket/pre\"}}}", 0);
    assert_int_equal(run_identify(&op), ST_OK);
    assert_false(op.founded);
    assert_int_equal(op.cluster_id.bytes[0], 1);
    forget();
    answer(200, "{\"format\":1,\"cluster\":\"AQAAAAAAAAAAAAAAAAAAAA\",\"table\":\"tab\"}", 0); /* it never comes */
    assert_int_equal(run_identify(&op), ST_MISFIT);
    assert_non_null(strstr(op.message, "record is missing"));
    for (size_t i = 0; i < http->asked_count; i++) {
        assert_string_not_equal(http->asked[i].method, "PUT");
        assert_null(strstr(http->asked[i].headers, "PutItem"));
    }
}

static void without_a_region_the_instance_is_asked_for_its_own(void **state) {
    (void)state;
    close_store();
    open_store("s3://bucket?table=tab");
    uint8_t into[1];
    struct st_object_get early = {.name = "x", .len = 1, .into = into};
    assert_int_equal(run_get(&early), ST_REFUSED);
    assert_int_equal(http->asked_count, 0);
    lose(0);
    struct st_identify op = {.format_version = 1};
    assert_int_equal(run_identify(&op), ST_MISFIT);
    assert_non_null(strstr(op.message, "No AWS region is known"));
    forget();
    fixture_rule(http, (struct rule){.method = "PUT", .url = "/api/token", .status = 200, .body = "token"});
    fixture_rule(http, (struct rule){.url = "/placement/region", .status = 200, .body = "ap-south-1"});
    answer(400, DYNAMODB_ERROR("ResourceNotFoundException"), 0);
    assert_int_equal(run_identify(&op), ST_MISFIT);
    assert_string_equal(fixture_last(http)->url, "https://dynamodb.ap-south-1.amazonaws.com/");
    assert_non_null(strstr(op.message, "region ap-south-1"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_put_whose_answer_was_lost_is_known_by_the_entry_that_stands),
        TEST(a_put_is_refused_only_when_it_surely_had_no_effect),
        TEST(what_dynamodb_charges_for_is_counted),
        TEST(a_page_is_cut_where_slots_are_missing),
        TEST(a_page_with_a_continuation_is_not_the_end),
        TEST(a_page_that_begins_with_a_gap_is_read_once_more),
        TEST(pages_that_make_no_sense_are_told),
        TEST(a_trim_goes_on_with_what_was_left_and_gives_up_when_nothing_moves),
        TEST(a_checkpoint_is_made_at_the_time_that_the_store_told_just_now),
        TEST(a_checkpoint_of_our_own_is_found_and_another_wins),
        TEST(the_first_lease_asks_for_the_time),
        TEST(what_a_get_comes_to),
        TEST(a_put_of_an_object_says_its_sum_and_is_sent_again_as_it_is),
        TEST(one_slow_put_in_twenty_is_sent_again_meanwhile),
        TEST(without_pacing_small_objects_are_sent_twice_at_once),
        TEST(deletes_of_one_turn_go_together_and_each_has_its_own_outcome),
        TEST(lists_pass_over_what_is_not_ours),
        TEST(every_answer_at_start_is_told_in_one_sentence),
        TEST(a_founder_that_may_not_list_the_bucket_founds_all_the_same),
        TEST(a_founder_that_is_seen_between_its_two_puts_is_waited_for),
        TEST(without_a_region_the_instance_is_asked_for_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
