/* The frame of the suite, and its tests of identity, leases and handles. */
#include "storage/tests/store_contract_fixture.h"

#include <stdio.h>

const struct store_contract *contract;

void contract_finish(struct call *call) {
    call->done++;
    call->was_inline |= call->starting;
}

time_t contract_now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

void contract_wait_for(struct fixture *f, const struct call *call) {
    time_t deadline = contract_now_s() + PATIENCE_S;
    while (call->done == 0) {
        if (contract_now_s() > deadline) {
            fail_msg("an operation did not come back in %d s", PATIENCE_S);
        }
        contract->pump(f->world);
    }
}

/* ---- handles ---- */

struct st_store *contract_open(struct fixture *f) {
    struct st_store *store = contract->open(f->world);
    assert_non_null(store);
    f->open++;
    return store;
}

static void close_done(void *arg) {
    contract_finish(arg);
}

void contract_close_start(struct st_store *store, struct call *call) {
    call->starting = true;
    store->ops->close(store, close_done, call);
    call->starting = false;
}

void contract_close(struct fixture *f, struct st_store *store) {
    struct call call = {0};
    contract_close_start(store, &call);
    contract_wait_for(f, &call);
    assert_false(call.was_inline);
    f->open--;
}

/* Both handles are closed and opened anew, as after a restart of everything. */
void contract_reopen(struct fixture *f) {
    contract_close(f, f->a);
    contract_close(f, f->b);
    f->a = contract_open(f);
    f->b = contract_open(f);
}

int contract_set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->world = contract->make();
    f->a = contract_open(f);
    f->b = contract_open(f);
    *state = f;
    return 0;
}

int contract_tear_down(void **state) {
    struct fixture *f = *state;
    if (f->a != NULL) {
        contract_close(f, f->a);
    }
    if (f->b != NULL) {
        contract_close(f, f->b);
    }
    int failed = f->open != 0;
    while (f->calls != NULL) {
        struct call *call = f->calls;
        f->calls = call->next;
        if (call->done > 1 || call->was_inline) {
            print_error("a callback ran %u times%s\n", call->done, call->was_inline ? ", inside its call" : "");
            failed = 1;
        }
        free(call);
    }
    contract->destroy(f->world);
    free(f);
    return failed;
}

/* ---- bytes ---- */

/* Bytes that differ with every seed and position. */
void contract_fill(uint8_t *bytes, size_t len, uint64_t seed) {
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)(x >> 24);
    }
}

bool contract_filled(const uint8_t *bytes, size_t len, uint64_t seed) {
    uint8_t *expected = malloc(len + 1);
    assert_non_null(expected);
    contract_fill(expected, len, seed);
    bool same = memcmp(expected, bytes, len) == 0;
    free(expected);
    return same;
}

/* ---- identity ---- */

static struct st_identify *identity_new(struct fixture *f, uint8_t seed, uint32_t version) {
    struct st_identify *op = identify_new(f);
    memset(op->cluster_id.bytes, seed, sizeof op->cluster_id.bytes);
    op->format_version = version;
    return op;
}

static void a_store_is_founded_once(void **state) {
    struct fixture *f = *state;
    struct st_identify *by_a = identity_new(f, 1, ST_FORMAT_VERSION), *by_b = identity_new(f, 2, ST_FORMAT_VERSION);
    identify_start(f->a, by_a);
    identify_start(f->b, by_b);
    assert_int_equal(identify_wait(f, by_a), ST_OK);
    assert_int_equal(identify_wait(f, by_b), ST_OK);
    assert_int_equal(by_a->founded + by_b->founded, 1);
    assert_true(kp_uuid_equal(&by_a->cluster_id, &by_b->cluster_id));
    assert_int_equal(by_a->cluster_id.bytes[0], by_a->founded ? 1 : 2);
    contract_reopen(f);
    struct st_identify *later = identity_new(f, 3, ST_FORMAT_VERSION);
    assert_int_equal(identify_run(f, f->a, later), ST_OK);
    assert_false(later->founded);
    assert_true(kp_uuid_equal(&later->cluster_id, &by_a->cluster_id));
    assert_int_equal(later->format_version, ST_FORMAT_VERSION);
}

static void a_store_of_a_newer_format_is_refused(void **state) {
    struct fixture *f = *state;
    identify_run(f, f->a, identity_new(f, 1, ST_FORMAT_VERSION + 1));
    assert_int_equal(identify_run(f, f->a, identity_new(f, 1, ST_FORMAT_VERSION + 1)), ST_MISFIT);
    assert_int_equal(identify_run(f, f->b, identity_new(f, 1, ST_FORMAT_VERSION)), ST_MISFIT);
}

/* ---- leases ---- */

static void renew(struct fixture *f, struct st_store *store, const char *holder, const char *body) {
    struct st_lease_renew *op = lease_renew_new(f);
    snprintf(op->lease.holder, sizeof op->lease.holder, "%s", holder);
    op->lease.len = strlen(body);
    memcpy(op->lease.body, body, op->lease.len);
    assert_int_equal(lease_renew_run(f, store, op), ST_OK);
}

static int compare_holders(const void *a, const void *b) {
    return strcmp(((const struct st_lease *)a)->holder, ((const struct st_lease *)b)->holder);
}

/* The leases, sorted by holder, in room of `capacity`. */
static size_t leases_of(struct fixture *f, struct st_store *store, struct st_lease *leases, size_t capacity) {
    struct st_lease_list *op = lease_list_new(f);
    op->leases = leases;
    op->capacity = capacity;
    assert_int_equal(lease_list_run(f, store, op), ST_OK);
    assert_true(op->count <= capacity);
    for (size_t i = 0; i < op->count; i++) {
        assert_true(leases[i].renewed_ms > 0 && leases[i].renewed_ms <= op->date_ms);
    }
    qsort(leases, op->count, sizeof *leases, compare_holders);
    return op->count;
}

static void leases_are_renewed_listed_and_given_up(void **state) {
    struct fixture *f = *state;
    struct st_lease leases[4];
    assert_int_equal(leases_of(f, f->a, leases, 4), 0);
    renew(f, f->a, "node-2", "two");
    renew(f, f->b, "node-1", "one");
    renew(f, f->a, "node-3", "three");
    renew(f, f->b, "node-2", "two again");
    assert_int_equal(leases_of(f, f->b, leases, 4), 3);
    assert_string_equal(leases[0].holder, "node-1");
    assert_string_equal(leases[1].holder, "node-2");
    assert_true(kp_slice_equal(kp_slice_of(leases[1].body, leases[1].len), KP_SLICE_LIT("two again")));
    assert_int_equal(leases_of(f, f->b, leases, 2), 2);
    renew(f, f->b, "node-2", "");
    renew(f, f->b, "node-9", "");
    contract_reopen(f);
    assert_int_equal(leases_of(f, f->a, leases, 4), 2);
    assert_string_equal(leases[1].holder, "node-3");
}

static void a_lease_holds_512_bytes(void **state) {
    struct fixture *f = *state;
    struct st_lease_renew *op = lease_renew_new(f);
    op->lease.holder[0] = 'L';
    op->lease.len = ST_LEASE_BODY_MAX;
    contract_fill(op->lease.body, ST_LEASE_BODY_MAX, 5);
    assert_int_equal(lease_renew_run(f, f->a, op), ST_OK);
    struct st_lease lease;
    assert_int_equal(leases_of(f, f->b, &lease, 1), 1);
    assert_int_equal(lease.len, ST_LEASE_BODY_MAX);
    assert_true(contract_filled(lease.body, ST_LEASE_BODY_MAX, 5));
}

/* ---- handles ---- */

static void close_completes_what_is_under_way(void **state) {
    struct fixture *f = *state;
    struct st_object_put *object = contract_object_new(f, f->a, ST_OBJECT_INGEST, 100000, 1);
    struct st_journal_put *entry = contract_entry_new(f, 0, 1, "under way", 9);
    struct st_journal_read *read = journal_read_new(f);
    struct st_lease_renew *lease = lease_renew_new(f);
    read->from = 1;
    lease->lease.holder[0] = 'h';
    lease->lease.len = 1;
    object_put_start(f->a, object);
    journal_put_start(f->a, entry);
    journal_read_start(f->a, read);
    lease_renew_start(f->a, lease);
    struct call closed = {0};
    contract_close_start(f->a, &closed);
    f->a = NULL;
    f->open--;
    contract_wait_for(f, &closed);
    assert_int_equal(closed.done, 1);
    assert_false(closed.was_inline);
    assert_int_equal(ST_OWNER(object, struct object_put_call, op)->call.done, 1);
    assert_int_equal(ST_OWNER(entry, struct journal_put_call, op)->call.done, 1);
    assert_int_equal(ST_OWNER(read, struct journal_read_call, op)->call.done, 1);
    assert_int_equal(ST_OWNER(lease, struct lease_renew_call, op)->call.done, 1);
    assert_true(object->error == ST_OK && entry->error == ST_OK && read->error == ST_OK && lease->error == ST_OK);
    kp_blob_unref(read->blob);
    free(read->entries);
    kp_blob_unref(object->buffer);
    assert_int_equal(contract_get_range(f, f->b, object->name, 0, 100000, 1), ST_OK);
    assert_int_equal(contract_put_entry(f, f->b, 0, 1, "late", 4), ST_TAKEN);
}

static void one_handle_goes_on_when_the_other_is_closed(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 3, 10);
    contract_close(f, f->a);
    f->a = NULL;
    contract_put_entries(f, f->b, 0, 4, 6, 10);
    contract_assert_holds(f, f->b, 0, 1, 6, 10, 1000);
    f->a = contract_open(f);
    contract_assert_holds(f, f->a, 0, 1, 6, 10, 1000);
}

static void others_are_told_of_an_append(void **state) {
    struct fixture *f = *state;
    if (!contract->hints) {
        skip();
    }
    for (uint64_t slot = 1; slot <= 3; slot++) {
        struct call told = {0};
        f->a->changed = close_done;
        f->a->changed_arg = &told;
        contract_put_entries(f, f->b, 0, slot, slot, 10);
        contract_wait_for(f, &told);
        f->a->changed = NULL;
    }
}

int store_contract_run(const struct store_contract *backend) {
    static const struct CMUnitTest tests[] = {
        CONTRACT_TEST(a_store_is_founded_once),
        CONTRACT_TEST(a_store_of_a_newer_format_is_refused),
        CONTRACT_TEST(leases_are_renewed_listed_and_given_up),
        CONTRACT_TEST(a_lease_holds_512_bytes),
        CONTRACT_TEST(close_completes_what_is_under_way),
        CONTRACT_TEST(one_handle_goes_on_when_the_other_is_closed),
        CONTRACT_TEST(others_are_told_of_an_append),
    };
    contract = backend;
    print_message("store contract: %s\n", backend->name);
    int failed = contract_journal_tests() + contract_object_tests() + contract_pool_tests();
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
