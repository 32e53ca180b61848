/* Founding a store on S3 and DynamoDB, and what is said when it cannot be opened, against real servers. */
#include "storage/runtime/log.h"
#include "storage/tests/aws_parts_fixture.h"

static int set_up(void **state) {
    *state = aws_world_new();
    return 0;
}

static int set_up_with_table(void **state) {
    *state = aws_make();
    return 0;
}

static int tear_down(void **state) {
    aws_world_free(*state);
    return 0;
}

static void identified(struct st_identify *op) {
    op->done = NULL;
}

/* Identifies through handles of their own on these URLs, all at once. */
static void identify_all(struct aws_world *world, struct st_identify *ops, const char *const *urls, size_t count) {
    struct st_store *stores[16];
    for (size_t i = 0; i < count; i++) {
        stores[i] = aws_open_url(world, urls[i]);
        ops[i].format_version = ST_FORMAT_VERSION;
        ops[i].done = identified;
        st_random(world->loop, ops[i].cluster_id.bytes, sizeof ops[i].cluster_id.bytes);
        stores[i]->ops->identify(stores[i], &ops[i]);
    }
    for (size_t i = 0; i < count; i++) {
        while (ops[i].done != NULL) {
            aws_pump(world);
        }
        aws_close(world, stores[i]);
    }
}

static struct st_identify identify(struct aws_world *world, const char *url, bool create) {
    struct st_identify op = {.create = create};
    identify_all(world, &op, &url, 1);
    if (op.error == ST_OK) {
        assert_string_equal(op.message, "");
        assert_true(op.date_ms > 0);
    } else {
        size_t len = strlen(op.message);
        assert_true(len > 20 && op.message[len - 1] == '.');
        assert_null(strchr(op.message, '%'));
    }
    return op;
}

static void assert_says(const struct st_identify *op, enum st_error error, const char *part) {
    if (op->error != error || strstr(op->message, part) == NULL) {
        fail_msg("error %s, not %s: \"%s\" has no \"%s\"", st_error_code(op->error), st_error_code(error), op->message,
                 part);
    }
}

/* Deletes the object `store`. */
static void forget_object(struct aws_world *world) {
    struct st_store *store = aws_open(world);
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), world, aws_call_done);
    world->done = false;
    st_aws_object_request(call, "DELETE", "store", 0);
    st_aws_call_send(call);
    aws_wait(world);
    assert_true(st_aws_call_is_ok(call));
    st_aws_call_end(call);
    aws_close(world, store);
}

static void a_table_is_made_when_asked_for_and_only_then(void **state) {
    struct aws_world *world = *state;
    struct st_identify op = identify(world, world->url, false);
    assert_says(&op, ST_MISFIT, "There is no table");
    assert_says(&op, ST_MISFIT, "--create-table");
    op = identify(world, world->url, true);
    assert_int_equal(op.error, ST_OK);
    assert_true(op.founded);
    struct kp_uuid cluster = op.cluster_id;
    op = identify(world, world->url, true);
    assert_int_equal(op.error, ST_OK);
    assert_false(op.founded);
    assert_true(kp_uuid_equal(&op.cluster_id, &cluster));
    aws_table_action(world, "DeleteTable", "");
}

static void of_many_founders_one_wins(void **state) {
    struct aws_world *world = *state;
    enum { COUNT = 12 };
    struct st_identify ops[COUNT] = {0};
    const char *urls[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        urls[i] = world->url;
    }
    identify_all(world, ops, urls, COUNT);
    int founded = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(ops[i].error, ST_OK);
        assert_true(kp_uuid_equal(&ops[i].cluster_id, &ops[0].cluster_id));
        founded += ops[i].founded;
    }
    assert_int_equal(founded, 1);
}

static void a_founder_that_died_before_the_object_is_helped(void **state) {
    struct aws_world *world = *state;
    struct st_identify first = identify(world, world->url, false);
    forget_object(world);
    struct st_identify second = identify(world, world->url, false);
    assert_int_equal(second.error, ST_OK);
    assert_false(second.founded);
    assert_true(kp_uuid_equal(&first.cluster_id, &second.cluster_id));
    assert_int_equal(identify(world, world->url, false).error, ST_OK); /* and the object stands again */
}

static void a_table_serves_one_place_in_a_bucket(void **state) {
    struct aws_world *world = *state;
    char other[250];
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    snprintf(other, sizeof other, "s3://%s/%s-2?table=%s", getenv("AWS_PARTS_BUCKET"), world->name, world->name);
    struct st_identify op = identify(world, other, false);
    assert_says(&op, ST_MISFIT, "belongs to the store at s3://");
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
}

static void a_place_in_a_bucket_serves_one_table(void **state) {
    struct aws_world *world = *state;
    struct aws_world *second = aws_make();
    char url[250];
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    snprintf(url, sizeof url, "s3://%s/%s?table=%s", getenv("AWS_PARTS_BUCKET"), world->name, second->name);
    struct st_identify op = identify(world, url, false);
    assert_says(&op, ST_MISFIT, "belongs to the table");
    assert_true(identify(second, second->url, false).founded); /* no record was left in it */
    aws_destroy(second);
}

static void an_object_without_its_record_is_no_store(void **state) {
    struct aws_world *world = *state;
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    aws_table_action(world, "DeleteTable", "");
    aws_table_action(world, "CreateTable", AWS_TABLE);
    struct st_identify op = identify(world, world->url, false);
    assert_says(&op, ST_MISFIT, "record is missing");
}

static void a_store_of_another_cluster_is_refused(void **state) {
    struct aws_world *world = *state;
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    aws_table_action(world, "DeleteTable", "");
    aws_table_action(world, "CreateTable", AWS_TABLE);
    char item[400];
    snprintf(item, sizeof item,
             "\"Item\":{\"pk\":{\"S\":\"store\"},\"sk\":{\"N\":\"0\"},\"format\":{\"N\":\"1\"},\"cluster\":{\"S\":"
             "\"AAAAAAAAAAAAAAAAAAAAAQ\"},\"place\":{\"S\":\"%s/%s\"}}",
             getenv("AWS_PARTS_BUCKET"), world->name);
    aws_table_action(world, "PutItem", item);
    struct st_identify op = identify(world, world->url, false);
    assert_says(&op, ST_MISFIT, "are of different stores");
}

static void a_newer_format_and_a_damaged_record_are_refused(void **state) {
    struct aws_world *world = *state;
    aws_table_action(world, "PutItem",
                     "\"Item\":{\"pk\":{\"S\":\"store\"},\"sk\":{\"N\":\"0\"},\"format\":{\"N\":\"2\"},\"cluster\":{"
                     "\"S\":\"AAAAAAAAAAAAAAAAAAAAAQ\"},\"place\":{\"S\":\"x\"}}");
    struct st_identify op = identify(world, world->url, false);
    assert_says(&op, ST_MISFIT, "format 2");
    aws_table_action(world, "PutItem",
                     "\"Item\":{\"pk\":{\"S\":\"store\"},\"sk\":{\"N\":\"0\"},\"format\":{\"N\":\"1\"}}");
    op = identify(world, world->url, false);
    assert_says(&op, ST_DAMAGED, "damaged");
}

static void a_missing_bucket_and_a_wrong_key_schema_are_named(void **state) {
    struct aws_world *world = *state;
    char url[250];
    aws_table_action(world, "CreateTable", AWS_TABLE);
    snprintf(url, sizeof url, "s3://there-is-no-such-bucket?table=%s", world->name);
    struct st_identify op = identify(world, url, false);
    assert_says(&op, ST_MISFIT, "There is no bucket \"there-is-no-such-bucket\"");
    aws_table_action(world, "DeleteTable", "");
    aws_table_action(world, "CreateTable",
                     "\"KeySchema\":[{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"}],\"AttributeDefinitions\":[{"
                     "\"AttributeName\":\"id\",\"AttributeType\":\"S\"}],\"BillingMode\":\"PAY_PER_REQUEST\"");
    op = identify(world, world->url, true);
    assert_says(&op, ST_MISFIT, "has another key than pk (string) and sk (number)");
}

static void who_founds_a_store_in_a_table_that_keeps_everything_is_warned(void **state) {
    struct aws_world *world = *state;
    aws_table_action(world, "CreateTable", AWS_TABLE);
    unsigned long before = st_log_count(ST_EVENT_aws_table_keeps);
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    assert_int_equal(st_log_count(ST_EVENT_aws_table_keeps), before + 1);
    assert_int_equal(identify(world, world->url, false).error, ST_OK); /* it is founded now */
    aws_table_action(world, "DeleteTable", "");
    forget_object(world);
    aws_table_action(world, "CreateTable", AWS_TABLE);
    aws_table_action(world, "UpdateTimeToLive",
                     "\"TimeToLiveSpecification\":{\"Enabled\":true,\"AttributeName\":\"expires\"}");
    assert_int_equal(identify(world, world->url, false).error, ST_OK);
    assert_int_equal(st_log_count(ST_EVENT_aws_table_keeps), before + 1);
    aws_table_action(world, "DeleteTable", "");
}

static void wrong_and_missing_credentials_are_named(void **state) {
    struct aws_world *world = *state;
    char secret[200];
    snprintf(secret, sizeof secret, "%s", getenv("AWS_SECRET_ACCESS_KEY"));
    setenv("AWS_SECRET_ACCESS_KEY", "of/somebody/else", 1);
    struct st_identify op = identify(world, world->url, false);
    assert_says(&op, ST_MISFIT, "S3 does not accept these credentials");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    op = identify(world, world->url, false);
    assert_int_equal(op.error, ST_REFUSED);
    assert_true(strstr(op.message, "credentials") != NULL);
    setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
}

static void services_that_are_away_are_named(void **state) {
    struct aws_world *world = *state;
    char url[300];
    snprintf(url, sizeof url, "%s&endpoint_dynamodb=http://127.0.0.1:9", world->url);
    struct st_identify op = identify(world, url, false);
    assert_says(&op, ST_REFUSED, "The table");
    assert_says(&op, ST_REFUSED, "no connection");
    snprintf(url, sizeof url, "%s&endpoint_s3=http://127.0.0.1:9", world->url);
    op = identify(world, url, false);
    assert_says(&op, ST_REFUSED, "The bucket");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_with_table, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_table_is_made_when_asked_for_and_only_then),
        TABLE_TEST(of_many_founders_one_wins),
        TABLE_TEST(a_founder_that_died_before_the_object_is_helped),
        TABLE_TEST(a_table_serves_one_place_in_a_bucket),
        TABLE_TEST(a_place_in_a_bucket_serves_one_table),
        TABLE_TEST(an_object_without_its_record_is_no_store),
        TABLE_TEST(a_store_of_another_cluster_is_refused),
        TABLE_TEST(a_newer_format_and_a_damaged_record_are_refused),
        TEST(a_missing_bucket_and_a_wrong_key_schema_are_named),
        TEST(who_founds_a_store_in_a_table_that_keeps_everything_is_warned),
        TABLE_TEST(wrong_and_missing_credentials_are_named),
        TABLE_TEST(services_that_are_away_are_named),
    };
    return aws_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : AWS_SKIPPED;
}
