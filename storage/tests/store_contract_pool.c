/* The suite's tests of the pool; skipped for a backend without one. */
#include "storage/tests/store_contract_fixture.h"

#include <stdio.h>

#define MINUTE_MS 60000

static bool has_pool(const struct fixture *f) {
    return f->a->profile.pool_after > 0;
}

static struct kp_uuid id_of(uint8_t first, uint8_t last) {
    struct kp_uuid id;
    memset(id.bytes, 0x5a, sizeof id.bytes);
    id.bytes[0] = first;
    id.bytes[13] = last;
    return id;
}

static enum st_error put(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t begun, struct kp_uuid id,
                         struct kp_slice body, int64_t expires_ms) {
    struct st_pool_put *op = pool_put_new(f);
    op->journal = journal;
    op->begun = begun;
    op->id = id;
    op->body = body;
    op->expires_ms = expires_ms;
    return pool_put_run(f, store, op);
}

/* A request of which the body is the letter, and so is the first byte of its id. */
static void put_letter(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t begun,
                       const char *letter) {
    assert_int_equal(
        put(f, store, journal, begun, id_of((uint8_t)*letter, 0), kp_slice_of(letter, 1), MINUTE_MS), ST_OK);
}

static struct st_pool_read *read_slots(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first,
                                       uint64_t last, size_t max_bytes) {
    struct st_pool_read *op = pool_read_new(f);
    op->journal = journal;
    op->first = first;
    op->last = last;
    op->max_bytes = max_bytes;
    assert_int_equal(pool_read_run(f, store, op), ST_OK);
    assert_true((op->count == 0) == (op->blob == NULL) && (op->count == 0) == (op->bodies == NULL));
    return op;
}

static void release(struct st_pool_read *op) {
    kp_blob_unref(op->blob);
    free(op->bodies);
}

/* The letters that stand, as a text. */
static const char *standing(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first,
                            uint64_t last) {
    static char text[32];
    struct st_pool_read *op = read_slots(f, store, journal, first, last, 1 << 20);
    memset(text, 0, sizeof text);
    for (size_t i = 0; i < op->count; i++) {
        assert_int_equal(op->bodies[i].len, 1);
        text[i] = (char)*op->bodies[i].ptr;
    }
    release(op);
    return text;
}

static void what_was_begun_at_some_slots_is_read_in_order(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    assert_string_equal(standing(f, f->b, 0, 0, 200), "");
    static const char order[] = "cabzdn";
    static const uint64_t begun[] = {7, 7, 8, 7, 8, 9};
    for (size_t i = 0; i < 6; i++) {
        put_letter(f, i % 2 == 0 ? f->a : f->b, 0, begun[i], order + i);
    }
    put_letter(f, f->a, 1, 8, "j");
    assert_string_equal(standing(f, f->b, 0, 7, 8), "dbzca");
    assert_string_equal(standing(f, f->a, 0, 0, 7), "zca");
    assert_string_equal(standing(f, f->a, 0, 8, 8), "db");
    assert_string_equal(standing(f, f->b, 0, 8, 9), "ndb");
    assert_string_equal(standing(f, f->a, 0, 0, 6), "");
    assert_string_equal(standing(f, f->a, 1, 8, 200), "j");
    assert_string_equal(standing(f, f->a, 0, 9, 260), "n");
}

static void slots_far_from_the_first_are_told_apart_too(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    const uint64_t far = UINT64_C(1) << 40;
    put_letter(f, f->a, 0, far - 256, "w"); /* a backend may keep them by their last byte */
    put_letter(f, f->a, 0, far - 1, "x");
    put_letter(f, f->a, 0, far, "a");
    put_letter(f, f->a, 0, far + 255, "b");
    put_letter(f, f->a, 0, far + 256, "c");
    assert_string_equal(standing(f, f->b, 0, far - 1, far), "ax");
    assert_string_equal(standing(f, f->b, 0, far - 255, far), "ax");
    assert_string_equal(standing(f, f->b, 0, far, far + ST_POOL_SLOTS_MOST - 1), "ba");
    assert_string_equal(standing(f, f->b, 0, far + 1, far + ST_POOL_SLOTS_MOST), "cb");
    assert_string_equal(standing(f, f->b, 0, far + 256, far + 300), "c");
}

static void a_request_comes_back_as_it_was_put_and_is_put_once(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    uint8_t *body = malloc(ST_POOL_BODY_MAX + 1);
    assert_non_null(body);
    contract_fill(body, ST_POOL_BODY_MAX + 1, 3);
    const struct kp_slice largest = kp_slice_of(body, ST_POOL_BODY_MAX), twin = KP_SLICE_LIT("twin");
    assert_int_equal(put(f, f->a, 0, 3, id_of(200, 1), largest, MINUTE_MS), ST_OK);
    assert_int_equal(put(f, f->b, 0, 3, id_of(200, 1), largest, MINUTE_MS), ST_TAKEN);
    assert_int_equal(put(f, f->b, 0, 3, id_of(200, 2), twin, MINUTE_MS), ST_OK);
    enum st_error error = put(f, f->a, 0, 3, id_of(1, 1), kp_slice_of(body, ST_POOL_BODY_MAX + 1), MINUTE_MS);
    assert_true(error != ST_OK && error != ST_TAKEN && !st_error_outcome_unknown(error));
    struct st_pool_read *op = read_slots(f, f->b, 0, 0, 3, 1 << 20);
    assert_int_equal(op->count, 2);
    assert_true(kp_slice_equal(op->bodies[1], largest));
    assert_true(kp_slice_equal(op->bodies[0], twin));
    release(op);
    op = read_slots(f, f->b, 0, 3, 3, 1);
    assert_int_equal(op->count, 1); /* about max_bytes, but at least one */
    release(op);
    free(body);
}

static void what_has_expired_is_not_read(void **state) {
    struct fixture *f = *state;
    if (!has_pool(f)) {
        skip();
    }
    put_letter(f, f->a, 0, 4, "s");
    assert_int_equal(put(f, f->a, 0, 4, id_of('e', 0), KP_SLICE_LIT("e"), -MINUTE_MS), ST_OK);
    assert_string_equal(standing(f, f->a, 0, 4, 4), "s");
}

int contract_pool_tests(void) {
    static const struct CMUnitTest tests[] = {
        CONTRACT_TEST(what_was_begun_at_some_slots_is_read_in_order),
        CONTRACT_TEST(slots_far_from_the_first_are_told_apart_too),
        CONTRACT_TEST(a_request_comes_back_as_it_was_put_and_is_put_once),
        CONTRACT_TEST(what_has_expired_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
