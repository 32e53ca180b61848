/* The suite's tests of objects and their names. */
#include "storage/tests/store_contract_fixture.h"

#include <stdio.h>

/* ---- objects ---- */

static void object_name_of(struct fixture *f, struct st_store *store, enum st_object_kind kind, uint64_t begun,
                           size_t len, char name[ST_OBJECT_NAME_MAX]) {
    time_t deadline = contract_now_s() + PATIENCE_S;
    memset(name, 0, ST_OBJECT_NAME_MAX);
    while (!store->ops->object_name(store, kind, 0, begun, len, name)) {
        assert_true(contract_now_s() < deadline);
        contract->pump(f->world);
    }
    size_t name_len = strnlen(name, ST_OBJECT_NAME_MAX);
    assert_true(name_len > 0 && name_len < ST_OBJECT_NAME_MAX);
}

static size_t round_up(size_t size, size_t align) {
    return (size + align - 1) / align * align;
}

/* An object of `len` bytes filled from `seed`, ready to be put; the buffer is the caller's. */
struct st_object_put *contract_object_new(struct fixture *f, struct st_store *store, enum st_object_kind kind,
                                          size_t len, uint64_t seed) {
    const struct st_store_profile *profile = &store->profile;
    struct st_object_put *op = object_put_new(f);
    object_name_of(f, store, kind, 1, len, op->name);
    op->buffer = kp_blob_new(profile->object_head_room + round_up(len, profile->object_align));
    assert_non_null(op->buffer);
    contract_fill(op->buffer->data + profile->object_head_room, len, seed);
    op->len = len;
    return op;
}

/* The name of an object that was put. */
static const char *put_object(struct fixture *f, struct st_store *store, enum st_object_kind kind, size_t len,
                              uint64_t seed) {
    struct st_object_put *op = contract_object_new(f, store, kind, len, seed);
    assert_int_equal(object_put_run(f, store, op), ST_OK);
    kp_blob_unref(op->buffer);
    return op->name;
}

static struct st_object_get *get_start(struct fixture *f, struct st_store *store, const char *name, uint64_t position,
                                       size_t len) {
    struct st_object_get *op = object_get_new(f);
    snprintf(op->name, sizeof op->name, "%s", name);
    op->position = position;
    op->len = len;
    op->into = malloc(len + 1);
    assert_non_null(op->into);
    op->into[len] = 0xa5;
    object_get_start(store, op);
    return op;
}

static enum st_error get_wait(struct fixture *f, struct st_object_get *op) {
    object_get_wait(f, op);
    assert_int_equal(op->into[op->len], 0xa5);
    return op->error;
}

/* Reads a range and compares it with what fill wrote. */
enum st_error contract_get_range(struct fixture *f, struct st_store *store, const char *name, uint64_t position,
                                 size_t len, uint64_t seed) {
    struct st_object_get *op = get_start(f, store, name, position, len);
    if (get_wait(f, op) == ST_OK) {
        uint8_t *whole = malloc(position + len);
        assert_non_null(whole);
        contract_fill(whole, position + len, seed);
        assert_memory_equal(op->into, whole + position, len);
        free(whole);
    }
    free(op->into);
    return op->error;
}

static enum st_error delete_object(struct fixture *f, struct st_store *store, const char *name) {
    struct st_object_delete *op = object_delete_new(f);
    snprintf(op->name, sizeof op->name, "%s", name);
    return object_delete_run(f, store, op);
}

static void objects_of_every_size_are_read_back_by_the_other_handle(void **state) {
    struct fixture *f = *state;
    static const size_t sizes[] = {1, 511, 512, 4064, 4095, 4096, 4097, 65536, 1000003, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *name = put_object(f, f->a, ST_OBJECT_INGEST, sizes[i], i);
        assert_int_equal(contract_get_range(f, f->b, name, 0, sizes[i], i), ST_OK);
        assert_int_equal(contract_get_range(f, f->a, name, 0, sizes[i], i), ST_OK);
    }
}

static void any_range_of_an_object_can_be_read(void **state) {
    struct fixture *f = *state;
    enum { LEN = 20000 };
    const char *name = put_object(f, f->a, ST_OBJECT_SEGMENT, LEN, 9);
    static const size_t ranges[][2] = {{0, 1}, {1, 1}, {4095, 2}, {4096, 4096}, {100, 19900}, {LEN - 1, 1}, {3, 9999}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        assert_int_equal(contract_get_range(f, f->a, name, ranges[i][0], ranges[i][1], 9), ST_OK);
    }
}

static void a_range_past_the_end_is_damaged_and_a_missing_object_absent(void **state) {
    struct fixture *f = *state;
    const char *name = put_object(f, f->a, ST_OBJECT_INGEST, 5000, 3);
    put_object(f, f->a, ST_OBJECT_INGEST, 5000, 4); /* what follows it must not be read in its stead */
    assert_int_equal(contract_get_range(f, f->a, name, 0, 5001, 3), ST_DAMAGED);
    assert_int_equal(contract_get_range(f, f->a, name, 4999, 2, 3), ST_DAMAGED);
    assert_int_equal(contract_get_range(f, f->a, name, 5000, 1, 3), ST_DAMAGED);
    assert_int_equal(contract_get_range(f, f->b, name, UINT64_C(1) << 40, 1, 3), ST_DAMAGED);
    char never_put[ST_OBJECT_NAME_MAX];
    object_name_of(f, f->a, ST_OBJECT_INGEST, 7, 100, never_put);
    assert_int_equal(contract_get_range(f, f->a, never_put, 0, 100, 3), ST_ABSENT);
    assert_int_equal(contract_get_range(f, f->b, never_put, 0, 100, 3), ST_ABSENT);
}

static void putting_an_object_again_is_harmless(void **state) {
    struct fixture *f = *state;
    struct st_object_put *first = contract_object_new(f, f->a, ST_OBJECT_INGEST, 10000, 6);
    assert_int_equal(object_put_run(f, f->a, first), ST_OK);
    struct st_object_put *again = object_put_new(f);
    memcpy(again->name, first->name, sizeof again->name);
    again->buffer = first->buffer;
    again->len = first->len;
    assert_int_equal(object_put_run(f, f->a, again), ST_OK);
    kp_blob_unref(first->buffer);
    assert_int_equal(contract_get_range(f, f->b, first->name, 0, 10000, 6), ST_OK);
}

static void a_deleted_object_is_absent_and_may_be_deleted_again(void **state) {
    struct fixture *f = *state;
    const char *goes = put_object(f, f->a, ST_OBJECT_INGEST, 9000, 1);
    const char *stays = put_object(f, f->a, ST_OBJECT_INGEST, 9000, 2);
    assert_int_equal(contract_get_range(f, f->b, goes, 0, 9000, 1), ST_OK);
    assert_int_equal(delete_object(f, f->b, goes), ST_OK);
    assert_int_equal(delete_object(f, f->a, goes), ST_OK);
    assert_int_equal(contract_get_range(f, f->a, goes, 0, 9000, 1), ST_ABSENT);
    assert_int_equal(contract_get_range(f, f->b, goes, 100, 1, 1), ST_ABSENT);
    assert_int_equal(contract_get_range(f, f->a, stays, 0, 9000, 2), ST_OK);
    contract_reopen(f);
    assert_int_equal(contract_get_range(f, f->a, goes, 0, 9000, 1), ST_ABSENT);
    assert_int_equal(contract_get_range(f, f->b, stays, 0, 9000, 2), ST_OK);
    assert_int_equal(delete_object(f, f->b, stays), ST_OK);
    assert_int_equal(contract_get_range(f, f->a, stays, 0, 9000, 2), ST_ABSENT);
}

static void objects_put_and_read_at_once_do_not_mix(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 24 };
    struct st_object_put *puts[COUNT];
    struct st_object_get *gets[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        struct st_store *store = i % 3 == 0 ? f->b : f->a;
        puts[i] = contract_object_new(f, store, ST_OBJECT_INGEST, 1 + i * 7919, i);
        object_put_start(store, puts[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(object_put_wait(f, puts[i]), ST_OK);
        kp_blob_unref(puts[i]->buffer);
    }
    for (size_t i = 0; i < COUNT; i++) {
        gets[i] = get_start(f, i % 2 == 0 ? f->a : f->b, puts[i]->name, 0, puts[i]->len);
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(get_wait(f, gets[i]), ST_OK);
        assert_true(contract_filled(gets[i]->into, gets[i]->len, i));
        free(gets[i]->into);
    }
}

static int compare_names(const void *a, const void *b) {
    return strcmp(a, b);
}

static void names_are_never_given_twice(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 4000 };
    char(*names)[ST_OBJECT_NAME_MAX] = calloc(COUNT, sizeof *names);
    assert_non_null(names);
    for (size_t i = 0; i < COUNT; i++) {
        if (i == COUNT / 2) {
            contract_reopen(f);
        }
        static const enum st_object_kind kinds[] = {ST_OBJECT_INGEST, ST_OBJECT_CHECKPOINT, ST_OBJECT_SEGMENT};
        object_name_of(f, i % 2 == 0 ? f->a : f->b, kinds[i % 3], 5, 1 + i % 7, names[i]);
    }
    qsort(names, COUNT, sizeof *names, compare_names);
    for (size_t i = 1; i < COUNT; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            fail_msg("the name %s was given twice", names[i]);
        }
    }
    free(names);
}

/* All names of a kind, page by page; *count of them, the caller frees. */
static char (*list_all(struct fixture *f, struct st_store *store, enum st_object_kind kind, size_t page,
                       size_t *count))[ST_OBJECT_NAME_MAX] {
    enum { ROOM = 256 };
    char(*all)[ST_OBJECT_NAME_MAX] = calloc(ROOM, sizeof *all);
    assert_non_null(all);
    *count = 0;
    for (bool more = true; more;) {
        assert_true(*count + page <= ROOM);
        struct st_object_list *op = object_list_new(f);
        op->kind = kind;
        op->names = all + *count;
        op->capacity = page;
        if (*count > 0) {
            memcpy(op->after, all[*count - 1], sizeof op->after);
        }
        assert_int_equal(object_list_run(f, store, op), ST_OK);
        assert_true(op->count <= page);
        assert_true(!op->more || op->count > 0);
        more = op->more;
        *count += op->count;
    }
    for (size_t i = 1; i < *count; i++) {
        assert_true(strcmp(all[i - 1], all[i]) < 0);
    }
    return all;
}

static void assert_listed(struct fixture *f, struct st_store *store, enum st_object_kind kind, const char *const *names,
                          size_t count) {
    static const size_t pages[] = {1, 3, 10, 100};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        size_t listed;
        char(*all)[ST_OBJECT_NAME_MAX] = list_all(f, store, kind, pages[i], &listed);
        assert_int_equal(listed, count);
        for (size_t k = 0; k < count; k++) {
            assert_non_null(bsearch(names[k], all, listed, sizeof *all, compare_names));
        }
        free(all);
    }
}

static void lists_give_every_object_of_their_kind_once_in_order(void **state) {
    struct fixture *f = *state;
    enum { INGEST = 23, CHECKPOINTS = 4 };
    const char *ingest[INGEST], *checkpoints[CHECKPOINTS];
    assert_listed(f, f->a, ST_OBJECT_INGEST, NULL, 0);
    for (size_t i = 0; i < INGEST; i++) {
        ingest[i] = put_object(f, i % 2 == 0 ? f->a : f->b, ST_OBJECT_INGEST, 100 + i, i);
    }
    for (size_t i = 0; i < CHECKPOINTS; i++) {
        checkpoints[i] = put_object(f, f->a, ST_OBJECT_CHECKPOINT, 100, i);
    }
    assert_listed(f, f->a, ST_OBJECT_INGEST, ingest, INGEST);
    assert_listed(f, f->b, ST_OBJECT_CHECKPOINT, checkpoints, CHECKPOINTS);
    assert_listed(f, f->b, ST_OBJECT_SEGMENT, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(delete_object(f, f->a, ingest[i]), ST_OK);
    }
    contract_reopen(f);
    assert_listed(f, f->a, ST_OBJECT_INGEST, ingest + 3, INGEST - 3);
    assert_listed(f, f->a, ST_OBJECT_CHECKPOINT, checkpoints, CHECKPOINTS);
}

int contract_object_tests(void) {
    static const struct CMUnitTest tests[] = {
        CONTRACT_TEST(objects_of_every_size_are_read_back_by_the_other_handle),
        CONTRACT_TEST(any_range_of_an_object_can_be_read),
        CONTRACT_TEST(a_range_past_the_end_is_damaged_and_a_missing_object_absent),
        CONTRACT_TEST(putting_an_object_again_is_harmless),
        CONTRACT_TEST(a_deleted_object_is_absent_and_may_be_deleted_again),
        CONTRACT_TEST(objects_put_and_read_at_once_do_not_mix),
        CONTRACT_TEST(names_are_never_given_twice),
        CONTRACT_TEST(lists_give_every_object_of_their_kind_once_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
