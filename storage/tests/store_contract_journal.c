/* The suite's tests of journals, checkpoints and trimming. */
#include "storage/tests/store_contract_fixture.h"

#include <stdio.h>

/* ---- journals ---- */

struct st_journal_put *contract_entry_new(struct fixture *f, uint32_t journal, uint64_t slot, const void *body,
                                          size_t len) {
    struct st_journal_put *op = journal_put_new(f);
    op->journal = journal;
    op->slot = slot;
    op->body = kp_slice_of(body, len);
    op->writer.bytes[0] = 1;
    return op;
}

enum st_error contract_put_entry(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t slot,
                                 const void *body, size_t len) {
    return journal_put_run(f, store, contract_entry_new(f, journal, slot, body, len));
}

/* Puts slots first..last of `len` bytes filled with their slot as the seed. */
void contract_put_entries(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first, uint64_t last,
                          size_t len) {
    uint8_t *body = malloc(len);
    assert_non_null(body);
    for (uint64_t slot = first; slot <= last; slot++) {
        contract_fill(body, len, slot);
        assert_int_equal(contract_put_entry(f, store, journal, slot, body, len), ST_OK);
    }
    free(body);
}

static struct st_journal_read *read_page(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t from,
                                         size_t max_bytes) {
    struct st_journal_read *op = journal_read_new(f);
    op->journal = journal;
    op->from = from;
    op->max_bytes = max_bytes;
    assert_int_equal(journal_read_run(f, store, op), ST_OK);
    for (size_t i = 0; i < op->count; i++) {
        assert_true(op->entries[i].slot >= from);
        assert_true(i == 0 || op->entries[i].slot > op->entries[i - 1].slot);
    }
    if (op->count == 0) {
        assert_true(op->at_end);
        assert_null(op->blob);
    }
    return op;
}

static void page_release(struct st_journal_read *op) {
    kp_blob_unref(op->blob);
    free(op->entries);
}

/* Reads the journal page by page and checks that it holds exactly first..last, filled as put_entries does. */
void contract_assert_holds(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first, uint64_t last,
                           size_t len, size_t max_bytes) {
    uint64_t next = first;
    for (bool at_end = false; !at_end;) {
        struct st_journal_read *page = read_page(f, store, journal, next == first ? 1 : next, max_bytes);
        for (size_t i = 0; i < page->count; i++) {
            assert_true(page->entries[i].slot == next);
            assert_int_equal(page->entries[i].body.len, len);
            assert_true(contract_filled(page->entries[i].body.ptr, len, next));
            next++;
        }
        at_end = page->at_end;
        page_release(page);
    }
    assert_true(next == last + 1);
}

static void an_entry_is_read_back_as_it_was_put(void **state) {
    struct fixture *f = *state;
    uint8_t body[] = "first";
    assert_int_equal(contract_put_entry(f, f->a, 0, 1, body, 5), ST_OK);
    memset(body, 'x', sizeof body); /* the buffer is ours again */
    assert_int_equal(contract_put_entry(f, f->a, 0, 2, "s", 1), ST_OK);
    struct st_journal_read *page = read_page(f, f->a, 0, 1, 1000);
    assert_int_equal(page->count, 2);
    assert_true(page->at_end);
    assert_true(page->entries[0].slot == 1 && page->entries[1].slot == 2);
    assert_true(kp_slice_equal(page->entries[0].body, KP_SLICE_LIT("first")));
    assert_true(kp_slice_equal(page->entries[1].body, KP_SLICE_LIT("s")));
    page_release(page);
}

static void what_one_handle_wrote_the_other_reads_at_once(void **state) {
    struct fixture *f = *state;
    for (uint64_t slot = 1; slot <= 20; slot++) {
        struct st_store *writer = slot % 2 == 0 ? f->a : f->b, *reader = slot % 2 == 0 ? f->b : f->a;
        contract_put_entries(f, writer, 0, slot, slot, 50);
        struct st_journal_read *page = read_page(f, reader, 0, slot, 1000);
        assert_int_equal(page->count, 1);
        assert_true(contract_filled(page->entries[0].body.ptr, 50, slot));
        page_release(page);
    }
}

static void of_two_handles_racing_for_a_slot_one_wins(void **state) {
    struct fixture *f = *state;
    unsigned won_by_a = 0;
    enum { RACES = 40 };
    for (uint64_t slot = 1; slot <= RACES; slot++) {
        struct st_journal_put *by_a = contract_entry_new(f, 0, slot, "from a", 6);
        struct st_journal_put *by_b = contract_entry_new(f, 0, slot, "from b", 6);
        if (slot % 2 == 0) {
            journal_put_start(f->a, by_a);
            journal_put_start(f->b, by_b);
        } else {
            journal_put_start(f->b, by_b);
            journal_put_start(f->a, by_a);
        }
        journal_put_wait(f, by_a);
        journal_put_wait(f, by_b);
        bool a_won = by_a->error == ST_OK;
        assert_int_equal(by_a->error, a_won ? ST_OK : ST_TAKEN);
        assert_int_equal(by_b->error, a_won ? ST_TAKEN : ST_OK);
        won_by_a += a_won;
        struct st_journal_read *page = read_page(f, f->a, 0, slot, 1000);
        assert_int_equal(page->count, 1);
        assert_true(kp_slice_equal(page->entries[0].body, a_won ? KP_SLICE_LIT("from a") : KP_SLICE_LIT("from b")));
        page_release(page);
    }
    print_message("           %u of %d races won by the first handle\n", won_by_a, RACES);
}

/* One writer of a journal that is chased to its end: puts the next slot, and on TAKEN the one after it. */
struct chaser {
    struct st_store *store;
    struct st_journal_put *op;
    uint64_t next;
    unsigned won;
};

static void chaser_put(struct fixture *f, struct chaser *chaser) {
    chaser->op = contract_entry_new(f, 0, chaser->next, &chaser->next, 0);
    static const uint8_t body[300] = {1};
    chaser->op->body = kp_slice_of(body, sizeof body);
    journal_put_start(chaser->store, chaser->op);
}

static void two_handles_writing_flat_out_fill_every_slot_once(void **state) {
    struct fixture *f = *state;
    enum { EACH = 60 };
    struct chaser chasers[2] = {{.store = f->a, .next = 1}, {.store = f->b, .next = 1}};
    chaser_put(f, &chasers[0]);
    chaser_put(f, &chasers[1]);
    time_t deadline = contract_now_s() + PATIENCE_S;
    while (chasers[0].won < EACH || chasers[1].won < EACH) {
        assert_true(contract_now_s() < deadline);
        contract->pump(f->world);
        for (size_t i = 0; i < 2; i++) {
            struct chaser *chaser = &chasers[i];
            if (chaser->op == NULL || ST_OWNER(chaser->op, struct journal_put_call, op)->call.done == 0) {
                continue;
            }
            assert_true(chaser->op->error == ST_OK || chaser->op->error == ST_TAKEN);
            chaser->won += chaser->op->error == ST_OK;
            chaser->next++;
            chaser->op = NULL;
            if (chaser->won < EACH) {
                chaser_put(f, chaser);
            }
        }
    }
    struct st_journal_read *page = read_page(f, f->a, 0, 1, 1 << 20);
    assert_int_equal(page->count, 2 * EACH);
    assert_true(page->entries[page->count - 1].slot == 2 * EACH);
    page_release(page);
}

static void repeating_a_put_finds_the_slot_taken(void **state) {
    struct fixture *f = *state;
    assert_int_equal(contract_put_entry(f, f->a, 0, 1, "same", 4), ST_OK);
    assert_int_equal(contract_put_entry(f, f->a, 0, 1, "same", 4), ST_TAKEN);
    assert_int_equal(contract_put_entry(f, f->b, 0, 1, "other", 5), ST_TAKEN);
    struct st_journal_put *first = contract_entry_new(f, 0, 2, "twice", 5);
    struct st_journal_put *second = contract_entry_new(f, 0, 2, "twice", 5);
    journal_put_start(f->a, first);
    journal_put_start(f->a, second);
    journal_put_wait(f, first);
    journal_put_wait(f, second);
    assert_int_equal((first->error == ST_OK) + (second->error == ST_OK), 1);
    assert_int_equal((first->error == ST_TAKEN) + (second->error == ST_TAKEN), 1);
}

static void journals_are_apart(void **state) {
    struct fixture *f = *state;
    static const uint32_t journals[] = {0, 1, 7, 4000000000};
    for (size_t i = 0; i < 4; i++) {
        contract_put_entries(f, f->a, journals[i], 1, i + 1, 10);
    }
    for (size_t i = 0; i < 4; i++) {
        contract_assert_holds(f, f->b, journals[i], 1, i + 1, 10, 1000);
    }
    contract_assert_holds(f, f->b, 3, 1, 0, 10, 1000);
}

static void pages_hold_about_max_bytes_and_at_least_one_entry(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 30, LEN = 1000 };
    contract_put_entries(f, f->a, 0, 1, COUNT, LEN);
    static const size_t limits[] = {0, 1, LEN, LEN + 1, 3 * LEN, 3 * LEN + 500, COUNT * LEN, SIZE_MAX};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct st_journal_read *page = read_page(f, f->a, 0, 1, limits[i]);
        assert_true(page->count >= 1);
        assert_true((page->count - 1) * LEN <= limits[i]);
        assert_true(!page->at_end || page->count == COUNT);
        page_release(page);
        contract_assert_holds(f, f->b, 0, 1, COUNT, LEN, limits[i]);
    }
}

static void reading_may_begin_anywhere_and_finds_nothing_past_the_end(void **state) {
    struct fixture *f = *state;
    struct st_journal_read *page = read_page(f, f->a, 0, 1, 1000);
    assert_int_equal(page->count, 0);
    page_release(page);
    contract_put_entries(f, f->a, 0, 1, 10, 100);
    page = read_page(f, f->b, 0, 6, 250);
    assert_true(page->count >= 2 && page->entries[0].slot == 6);
    assert_false(page->at_end && page->count < 5);
    page_release(page);
    page = read_page(f, f->b, 0, 10, 1);
    assert_true(page->count == 1 && page->entries[0].slot == 10);
    page_release(page);
    page = read_page(f, f->b, 0, 11, 1000);
    assert_int_equal(page->count, 0);
    page_release(page);
    page = read_page(f, f->b, 0, UINT64_C(1) << 62, 1000);
    assert_int_equal(page->count, 0);
    page_release(page);
}

static void entries_have_up_to_256_kib_and_no_more(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 5, ST_ENTRY_MAX);
    uint8_t *large = calloc(1, ST_ENTRY_MAX + 1);
    assert_non_null(large);
    enum st_error error = contract_put_entry(f, f->a, 0, 6, large, ST_ENTRY_MAX + 1);
    free(large);
    assert_true(error != ST_OK && error != ST_TAKEN && !st_error_outcome_unknown(error));
    contract_assert_holds(f, f->b, 0, 1, 5, ST_ENTRY_MAX, 2 * ST_ENTRY_MAX);
    assert_int_equal(contract_put_entry(f, f->a, 0, 6, "small", 5), ST_OK);
}

static void entries_survive_closing_everything(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 12, 500);
    contract_reopen(f);
    contract_assert_holds(f, f->a, 0, 1, 12, 500, 4000);
    assert_int_equal(contract_put_entry(f, f->b, 0, 12, "late", 4), ST_TAKEN);
    contract_put_entries(f, f->b, 0, 13, 13, 500);
    contract_assert_holds(f, f->a, 0, 1, 13, 500, 4000);
}

static void a_read_beside_writers_sees_a_prefix(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 40 };
    for (uint64_t slot = 1; slot <= COUNT; slot++) {
        static const uint8_t body[100] = {7};
        struct st_journal_put *put = contract_entry_new(f, 0, slot, body, sizeof body);
        struct st_journal_read *read = journal_read_new(f);
        read->from = 1;
        read->max_bytes = 1 << 20;
        journal_put_start(f->a, put);
        journal_read_start(f->b, read);
        assert_int_equal(journal_put_wait(f, put), ST_OK);
        assert_int_equal(journal_read_wait(f, read), ST_OK);
        assert_true(read->count == slot - 1 || read->count == slot);
        for (size_t i = 0; i < read->count; i++) {
            assert_true(read->entries[i].slot == i + 1);
        }
        page_release(read);
    }
}

/* ---- checkpoints and trimming ---- */

static struct st_checkpoint_ref *ref_new(struct fixture *f, uint32_t journal, uint64_t slot, const char *name) {
    struct st_checkpoint_ref *op = checkpoint_ref_new(f);
    op->journal = journal;
    op->slot = slot;
    op->size = 10 * slot;
    snprintf(op->name, sizeof op->name, "%s", name);
    return op;
}

static enum st_error advance(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t slot,
                             const char *name) {
    struct st_checkpoint_ref *op = ref_new(f, journal, slot, name);
    checkpoint_ref_run(f, store, op);
    if (op->error == ST_OK) {
        assert_true(op->made_ms > 0 && op->made_ms <= op->date_ms);
    }
    return op->error;
}

static struct st_checkpoint_ref *newest(struct fixture *f, struct st_store *store, uint32_t journal) {
    struct st_checkpoint_ref *op = ref_new(f, journal, 0, "");
    struct call *call = &ST_OWNER(op, struct checkpoint_ref_call, op)->call;
    call->starting = true;
    store->ops->checkpoint_get(store, op);
    call->starting = false;
    checkpoint_ref_wait(f, op);
    return op;
}

static void a_checkpoint_only_advances(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 10, 10);
    assert_int_equal(newest(f, f->a, 0)->error, ST_ABSENT);
    assert_int_equal(advance(f, f->a, 0, 5, "five"), ST_OK);
    assert_int_equal(advance(f, f->b, 0, 5, "also five"), ST_TAKEN);
    assert_int_equal(advance(f, f->b, 0, 4, "four"), ST_TAKEN);
    struct st_checkpoint_ref *ref = newest(f, f->b, 0);
    assert_int_equal(ref->error, ST_OK);
    assert_true(ref->slot == 5 && ref->size == 50);
    assert_string_equal(ref->name, "five");
    assert_true(ref->made_ms > 0 && ref->made_ms <= ref->date_ms);
    assert_int_equal(advance(f, f->b, 0, 9, "nine"), ST_OK);
    contract_reopen(f);
    ref = newest(f, f->a, 0);
    assert_int_equal(ref->error, ST_OK);
    assert_true(ref->slot == 9);
    assert_string_equal(ref->name, "nine");
    assert_int_equal(newest(f, f->a, 1)->error, ST_ABSENT);
}

static void of_two_handles_advancing_to_one_slot_one_wins(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 20, 10);
    for (uint64_t slot = 1; slot <= 20; slot++) {
        struct st_checkpoint_ref *by_a = ref_new(f, 0, slot, "by a"), *by_b = ref_new(f, 0, slot, "by b");
        checkpoint_ref_start(slot % 2 == 0 ? f->a : f->b, slot % 2 == 0 ? by_a : by_b);
        checkpoint_ref_start(slot % 2 == 0 ? f->b : f->a, slot % 2 == 0 ? by_b : by_a);
        checkpoint_ref_wait(f, by_a);
        checkpoint_ref_wait(f, by_b);
        bool a_won = by_a->error == ST_OK;
        assert_int_equal(by_a->error, a_won ? ST_OK : ST_TAKEN);
        assert_int_equal(by_b->error, a_won ? ST_TAKEN : ST_OK);
        assert_string_equal(newest(f, f->a, 0)->name, a_won ? "by a" : "by b");
    }
}

static enum st_error trim(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t below) {
    struct st_journal_trim *op = journal_trim_new(f);
    op->journal = journal;
    op->below = below;
    return journal_trim_run(f, store, op);
}

static void a_slot_under_the_checkpoint_cannot_be_put(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 6, 10);
    assert_int_equal(advance(f, f->a, 0, 4, "four"), ST_OK);
    for (uint64_t slot = 1; slot <= 4; slot++) {
        enum st_error error = contract_put_entry(f, f->b, 0, slot, "late", 4);
        assert_true(error == ST_GONE || error == ST_TAKEN);
    }
    assert_int_equal(contract_put_entry(f, f->b, 0, 5, "late", 4), ST_TAKEN);
    assert_int_equal(contract_put_entry(f, f->b, 0, 6, "late", 4), ST_TAKEN);
    assert_int_equal(contract_put_entry(f, f->b, 0, 7, "next", 4), ST_OK);
}

static void a_slot_that_never_was_is_gone_once_a_checkpoint_stands_above_it(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 2, 10);
    assert_int_equal(advance(f, f->a, 0, 5, "of a writer that was ahead"), ST_OK);
    enum st_error error = contract_put_entry(f, f->b, 0, 3, "late", 4);
    assert_int_equal(error, contract->revives ? ST_OK : ST_GONE);
    assert_int_equal(contract_put_entry(f, f->b, 0, 6, "next", 4), ST_OK);
}

static void trimmed_slots_are_gone_for_readers_and_writers(void **state) {
    struct fixture *f = *state;
    contract_put_entries(f, f->a, 0, 1, 10, 10);
    contract_put_entries(f, f->a, 1, 1, 3, 10);
    assert_int_equal(advance(f, f->a, 0, 8, "eight"), ST_OK);
    assert_int_equal(trim(f, f->a, 0, 6), ST_OK);
    assert_int_equal(trim(f, f->b, 0, 4), ST_OK); /* lower than before: nothing to do */
    for (int round = 0; round < 2; round++) {
        struct st_journal_read *page = read_page(f, f->b, 0, 1, 1000);
        assert_int_equal(page->count, 5);
        assert_true(page->at_end && page->entries[0].slot == 6 && page->entries[4].slot == 10);
        page_release(page);
        page = read_page(f, f->b, 0, 3, 1);
        assert_true(page->count == 1 && page->entries[0].slot == 6);
        page_release(page);
        contract_reopen(f);
    }
    for (uint64_t slot = 1; slot <= 5 && !contract->revives; slot++) {
        assert_int_equal(contract_put_entry(f, f->b, 0, slot, "late", 4), ST_GONE);
    }
    assert_int_equal(contract_put_entry(f, f->b, 0, 10, "late", 4), ST_TAKEN);
    assert_int_equal(contract_put_entry(f, f->b, 0, 11, "next", 4), ST_OK);
    contract_assert_holds(f, f->b, 1, 1, 3, 10, 1000);
}

static void a_long_journal_is_trimmed_whole(void **state) {
    struct fixture *f = *state;
    enum { COUNT = 600 };
    contract_put_entries(f, f->a, 0, 1, COUNT, 20);
    assert_int_equal(advance(f, f->a, 0, COUNT, "last"), ST_OK);
    assert_int_equal(trim(f, f->b, 0, COUNT), ST_OK);
    struct st_journal_read *page = read_page(f, f->a, 0, 1, 1 << 20);
    assert_true(page->count == 1 && page->entries[0].slot == COUNT && page->at_end);
    page_release(page);
}

int contract_journal_tests(void) {
    static const struct CMUnitTest tests[] = {
        CONTRACT_TEST(an_entry_is_read_back_as_it_was_put),
        CONTRACT_TEST(what_one_handle_wrote_the_other_reads_at_once),
        CONTRACT_TEST(of_two_handles_racing_for_a_slot_one_wins),
        CONTRACT_TEST(two_handles_writing_flat_out_fill_every_slot_once),
        CONTRACT_TEST(repeating_a_put_finds_the_slot_taken),
        CONTRACT_TEST(journals_are_apart),
        CONTRACT_TEST(pages_hold_about_max_bytes_and_at_least_one_entry),
        CONTRACT_TEST(reading_may_begin_anywhere_and_finds_nothing_past_the_end),
        CONTRACT_TEST(entries_have_up_to_256_kib_and_no_more),
        CONTRACT_TEST(entries_survive_closing_everything),
        CONTRACT_TEST(a_read_beside_writers_sees_a_prefix),
        CONTRACT_TEST(a_checkpoint_only_advances),
        CONTRACT_TEST(of_two_handles_advancing_to_one_slot_one_wins),
        CONTRACT_TEST(a_slot_under_the_checkpoint_cannot_be_put),
        CONTRACT_TEST(a_slot_that_never_was_is_gone_once_a_checkpoint_stands_above_it),
        CONTRACT_TEST(trimmed_slots_are_gone_for_readers_and_writers),
        CONTRACT_TEST(a_long_journal_is_trimmed_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
