/* The suite's tests of the pool; skipped for a backend without one. */
#include "storage/tests/store_contract_fixture.h"

#include <stdio.h>

#define MINUTE_MS 60000

static bool has_pool(const struct fixture *f) {
    return f->a->profile.pool_after > 0;
}

static struct st_pool_key key_of(uint64_t bucket, uint8_t first, uint8_t last) {
    struct st_pool_key key = {.bucket = bucket};
    memset(key.id.bytes, 0x5a, sizeof key.id.bytes);
    key.id.bytes[0] = first;
    key.id.bytes[13] = last;
    return key;
}

static enum st_error put(struct fixture *f, struct st_store *store, uint32_t journal, struct st_pool_key key,
                         const void *body, size_t len, int64_t expires_ms) {
    struct st_pool_put *op = pool_put_new(f);
    op->journal = journal;
    op->key = key;
    op->body = kp_slice_of(body, len);
    op->expires_ms = expires_ms;
    return pool_put_run(f, store, op);
}

static struct st_pool_read *read_bucket(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t bucket,
                                        size_t max_bytes) {
    struct st_pool_read *op = pool_read_new(f);
    op->journal = journal;
    op->first = bucket > 0 ? bucket - 1 : 0;
    op->last = bucket;
    op->max_bytes = max_bytes;
    assert_int_equal(pool_read_run(f, store, op), ST_OK);
    assert_true((op->count == 0) == (op->blob == NULL));
    return op;
}

static void release(struct st_pool_read *op) {
    kp_blob_unref(op->blob);
    free(op->items);
}

/* The first bytes of the ids that stand, as a text. */
static const char *standing(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t bucket) {
    static char text[32];
    struct st_pool_read *op = read_bucket(f, store, journal, bucket, 1 << 20);
    memset(text, 0, sizeof text);
    for (size_t i = 0; i < op->count; i++) {
        text[i] = (char)op->items[i].key.id.bytes[0];
        assert_true(op->items[i].key.bucket == bucket || op->items[i].key.bucket + 1 == bucket);
    }
    release(op);
    return text;
}

static void one_bucket_may_be_read_alone(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    assert_int_equal(put(f, f->a, 0, key_of(7, 'a', 0), "a", 1, MINUTE_MS), ST_OK);
    assert_int_equal(put(f, f->a, 0, key_of(8, 'b', 0), "b", 1, MINUTE_MS), ST_OK);
    for (uint64_t bucket = 7; bucket <= 8; bucket++) {
        struct st_pool_read *op = pool_read_new(f);
        op->first = op->last = bucket;
        op->max_bytes = 1 << 20;
        assert_int_equal(pool_read_run(f, f->b, op), ST_OK);
        assert_int_equal(op->count, 1);
        assert_int_equal(op->items[0].key.bucket, bucket);
        release(op);
    }
}

static void what_waits_in_two_buckets_is_read_in_order(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    assert_string_equal(standing(f, f->b, 0, 0), "");
    static const char order[] = "cabzd";
    static const uint64_t buckets[] = {7, 7, 8, 7, 8};
    for (size_t i = 0; i < 5; i++) {
        struct st_pool_key key = key_of(buckets[i], (uint8_t)order[i], 0);
        assert_int_equal(put(f, i % 2 == 0 ? f->a : f->b, 0, key, order + i, 1, MINUTE_MS), ST_OK);
    }
    assert_int_equal(put(f, f->a, 0, key_of(9, 'n', 0), "n", 1, MINUTE_MS), ST_OK);
    assert_int_equal(put(f, f->a, 1, key_of(8, 'j', 0), "j", 1, MINUTE_MS), ST_OK);
    assert_string_equal(standing(f, f->b, 0, 8), "aczbd");
    assert_string_equal(standing(f, f->a, 0, 7), "acz");
    assert_string_equal(standing(f, f->a, 0, 6), "");
    assert_string_equal(standing(f, f->a, 1, 8), "j");
    assert_string_equal(standing(f, f->a, 0, 10), "n");
}

static void a_request_comes_back_as_it_was_put_and_is_put_once(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    uint8_t *body = malloc(ST_POOL_BODY_MAX + 1);
    assert_non_null(body);
    contract_fill(body, ST_POOL_BODY_MAX + 1, 3);
    struct st_pool_key large = key_of(0, 200, 1), twin = key_of(0, 200, 2);
    assert_int_equal(put(f, f->a, 0, large, body, ST_POOL_BODY_MAX, MINUTE_MS), ST_OK);
    assert_int_equal(put(f, f->b, 0, large, body, ST_POOL_BODY_MAX, MINUTE_MS), ST_TAKEN);
    assert_int_equal(put(f, f->b, 0, twin, "twin", 4, MINUTE_MS), ST_OK);
    enum st_error error = put(f, f->a, 0, key_of(0, 1, 1), body, ST_POOL_BODY_MAX + 1, MINUTE_MS);
    assert_true(error != ST_OK && error != ST_TAKEN && !st_error_outcome_unknown(error));
    struct st_pool_read *op = read_bucket(f, f->b, 0, 0, 1 << 20);
    assert_int_equal(op->count, 2);
    assert_true(kp_uuid_equal(&op->items[0].key.id, &large.id) && kp_uuid_equal(&op->items[1].key.id, &twin.id));
    assert_true(kp_slice_equal(op->items[0].body, kp_slice_of(body, ST_POOL_BODY_MAX)));
    assert_true(kp_slice_equal(op->items[1].body, KP_SLICE_LIT("twin")));
    release(op);
    op = read_bucket(f, f->b, 0, 1, 1);
    assert_int_equal(op->count, 1); /* about max_bytes, but at least one */
    release(op);
    free(body);
}

static void what_is_deleted_or_has_expired_is_not_read(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    enum { COUNT = ST_POOL_DELETE_MOST };
    struct st_pool_key keys[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        keys[i] = key_of(3 + i % 2, 'x', (uint8_t)i);
        assert_int_equal(put(f, f->a, 0, keys[i], "x", 1, MINUTE_MS), ST_OK);
    }
    assert_int_equal(put(f, f->a, 0, key_of(4, 's', 0), "s", 1, MINUTE_MS), ST_OK);
    assert_int_equal(put(f, f->a, 0, key_of(4, 'e', 0), "e", 1, -MINUTE_MS), ST_OK);
    struct st_pool_delete *op = pool_delete_new(f);
    op->keys = keys;
    op->count = COUNT;
    assert_int_equal(pool_delete_run(f, f->b, op), ST_OK);
    assert_string_equal(standing(f, f->a, 0, 4), "s");
    op = pool_delete_new(f);
    op->keys = keys;
    op->count = 1;
    assert_int_equal(pool_delete_run(f, f->a, op), ST_OK);
    assert_string_equal(standing(f, f->b, 0, 4), "s");
}

int contract_pool_tests(void) {
    static const struct CMUnitTest tests[] = {
        CONTRACT_TEST(one_bucket_may_be_read_alone),
        CONTRACT_TEST(what_waits_in_two_buckets_is_read_in_order),
        CONTRACT_TEST(a_request_comes_back_as_it_was_put_and_is_put_once),
        CONTRACT_TEST(what_is_deleted_or_has_expired_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
