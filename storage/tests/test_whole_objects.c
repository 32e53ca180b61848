/* Small objects are read as a whole, once, for all who want some of their runs. */
#include "engine_fixture.h"

enum { PARTITIONS = 4, EACH = 3, LEN = 6000 };

static struct clock virtual_clock;
static struct fixture writer, reader;
static struct kp_uuid id;

/* One object with runs of all partitions, written by one process; another, which must read it, with this profile. */
static void open_both(uint32_t whole_object_max, uint32_t checkpoint_entries) {
    struct st_engine_options options = st_engine_options_default();
    options.checkpoint_entries = checkpoint_entries;
    fixture_open(&writer, &virtual_clock, &options);
    writer.gate.store.profile.gathers_frames = true;
    id = create_now(&writer, "t", PARTITIONS);
    static struct appending calls[PARTITIONS * EACH];
    for (int i = 0; i < PARTITIONS * EACH; i++) {
        append_prepare(&calls[i], &id, i % PARTITIONS, letters(LEN, 1000), 30000);
        append_start(&writer, &calls[i]);
    }
    run_ms(&writer, 1000);
    fixture_open_on(&reader, &virtual_clock, writer.loop, st_store_memory_share(writer.gate.inner), &options);
    reader.gate.store.profile.whole_object_max = whole_object_max;
}

static void close_both(void) {
    fixture_close(&reader, false);
    fixture_close(&writer, true);
}

static void begin(struct reading *call, int32_t partition) {
    read_begin(&reader, call, &id, 0, 1 << 24);
    call->part.partition = partition;
}

static void end(struct reading *call) {
    assert_int_equal(call->done, 1);
    assert_int_equal(call->part.error, ST_OK);
    size_t bytes = 0, batches = 0;
    for (size_t i = 0; i < call->part.chain.count; i++) {
        struct kp_slice rest = call->part.chain.pieces[i].bytes;
        bytes += rest.len;
        for (struct kp_batch batch; rest.len > 0; batches++) {
            assert_int_equal(kp_batch_peek(rest, &batch), KP_ERROR_NONE);
            assert_int_equal(batch.base_offset, batches);
            rest = kp_slice_of(rest.ptr + batch.bytes.len, rest.len - batch.bytes.len);
        }
    }
    assert_int_equal(batches, EACH);
    assert_in_range(bytes, EACH * LEN, EACH * (LEN + 100));
    kp_chain_release(&call->part.chain);
}

static uint64_t gets_of_reads_in_turn(void) {
    uint64_t before = st_metrics.object_gets_total;
    for (int32_t partition = PARTITIONS - 1; partition >= 0; partition--) {
        struct reading call;
        begin(&call, partition);
        run_ms(&reader, 100);
        end(&call);
    }
    return st_metrics.object_gets_total - before;
}

static void the_first_who_wants_a_run_reads_the_object_for_all(void **state) {
    (void)state;
    open_both(1 << 20, 1024);
    assert_int_equal(gets_of_reads_in_turn(), 1);
    assert_int_equal(gets_of_reads_in_turn(), 0);
    close_both();
}

static void so_do_those_who_know_it_from_a_checkpoint(void **state) {
    (void)state;
    open_both(1 << 20, 2);
    assert_non_null(reader.engine->journal.fold->checkpoint);
    uint64_t before = st_metrics.object_gets_total;
    struct reading call;
    begin(&call, 0);
    run_ms(&reader, 100);
    end(&call);
    assert_in_range(st_metrics.object_gets_total - before, 1, 2); /* a block of rows may be another */
    assert_int_equal(gets_of_reads_in_turn(), 0);
    close_both();
}

static void who_comes_while_it_is_read_waits_for_it(void **state) {
    (void)state;
    static struct reading calls[PARTITIONS];
    open_both(1 << 20, 1024);
    uint64_t before = st_metrics.object_gets_total;
    reader.gate.hold_object_get = true;
    begin(&calls[0], 0);
    run_ms(&reader, 10);
    for (int32_t i = 1; i < PARTITIONS; i++) {
        begin(&calls[i], i);
    }
    run_ms(&reader, 10);
    assert_int_equal(calls[0].done + calls[1].done, 0);
    gate_release_object_get(&reader.gate);
    run_ms(&reader, 100);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        end(&calls[i]);
    }
    assert_int_equal(st_metrics.object_gets_total - before, 1);
    close_both();
}

static void larger_objects_are_read_by_the_range(void **state) {
    (void)state;
    open_both(PARTITIONS * EACH * LEN, 1024); /* headers make it a little larger */
    assert_int_equal(gets_of_reads_in_turn(), PARTITIONS);
    close_both();
}

static void one_that_fails_is_asked_for_again(void **state) {
    (void)state;
    struct reading call;
    open_both(1 << 20, 1024);
    reader.gate.hold_object_get = true;
    begin(&call, 1);
    run_ms(&reader, 10);
    gate_answer_object_get(&reader.gate, ST_REFUSED, 0);
    reader.gate.hold_object_get = false;
    run_ms(&reader, 100);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.part.error, ST_UNREADABLE);
    assert_int_equal(gets_of_reads_in_turn(), 1);
    close_both();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_who_wants_a_run_reads_the_object_for_all),
        cmocka_unit_test(so_do_those_who_know_it_from_a_checkpoint),
        cmocka_unit_test(who_comes_while_it_is_read_waits_for_it),
        cmocka_unit_test(larger_objects_are_read_by_the_range),
        cmocka_unit_test(one_that_fails_is_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
