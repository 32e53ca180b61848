/* Frames in, answers out in order, limits, deadlines, and what is hostile. */
#include "gateway/tests/kafka_door.h"

static int setup(void **state) {
    *state = door_new();
    return 0;
}

static int teardown(void **state) {
    door_free(*state);
    return 0;
}

static void ask_versions(struct client *client, int32_t correlation) {
    struct kp_api_versions_request request = {0};
    client_ask(client, KP_API_api_versions, 0, correlation, &request);
}

static void expect_versions(struct client *client, int32_t correlation) {
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_api_versions_response response;
    client_expect(client, KP_API_api_versions, 0, correlation, &arena, &response);
    assert_int_equal(response.error_code, KP_ERROR_NONE);
    assert_int_equal(response.api_keys.count, KP_API_COUNT);
    kp_arena_release(&arena);
}

static void a_frame_may_arrive_byte_by_byte(void **state) {
    struct client *client = client_new(*state);
    struct kp_api_versions_request request = {0};
    size_t len = 0;
    uint8_t *bytes = frame_of(KP_API_api_versions, 0, 5, &request, &len);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(client->out.bytes, 0);
        assert_int_equal(client_give(client, bytes + i, 1, 1), 1);
    }
    expect_versions(client, 5);
    free(bytes);
    client_free(client);
}

static void frames_cut_anywhere_are_the_same_frames(void **state) {
    struct kp_api_versions_request request = {0};
    size_t len = 0;
    uint8_t *bytes = frame_of(KP_API_api_versions, 0, 6, &request, &len);
    uint8_t *three = malloc(3 * len);
    assert_non_null(three);
    for (int i = 0; i < 3; i++) {
        memcpy(three + (size_t)i * len, bytes, len);
    }
    for (size_t step = 1; step < 2 * len; step++) {
        struct client *client = client_new(*state);
        assert_int_equal(client_give(client, three, 3 * len, step), 3 * len);
        for (int i = 0; i < 3; i++) {
            expect_versions(client, 6);
        }
        client_free(client);
    }
    free(three);
    free(bytes);
}

static void expect_refused(struct door *door, const void *bytes, size_t len) {
    struct client *client = client_new(door);
    unsigned long logged = st_log_count(ST_EVENT_bad_frame);
    client_give(client, bytes, len, SIZE_MAX);
    assert_true(client->closed);
    assert_int_equal(client->out.bytes, 0);
    assert_int_equal(st_log_count(ST_EVENT_bad_frame), logged + 1);
    client_free(client);
}

static void what_is_no_request_closes_its_connection_with_one_line(void **state) {
    struct client *bystander = client_new(*state);
    expect_refused(*state, "\x80\x00\x00\x00", 4);                                     /* negative size */
    expect_refused(*state, "\x00\x00\x00\x00", 4);                                     /* nothing */
    expect_refused(*state, "\x16\x03\x01\x02\x00", 5);                                 /* TLS */
    expect_refused(*state, "GET / HTTP/1.1\r\n\r\n", 18);                              /* HTTP */
    expect_refused(*state, "\x00\x00\x00\x0a\x00\x77\x00\x00\x00\x00\x00\x01\xff\xff", 14); /* unknown key */
    expect_refused(*state, "\x00\x00\x00\x0a\x00\x03\x00\x63\x00\x00\x00\x01\xff\xff", 14); /* Metadata v99 */
    expect_refused(*state, "\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff", 14); /* Produce v2 */
    expect_refused(*state, "\x00\x00\x00\x0a\x00\x03\x00\x04\x00\x00\x00\x01\x7f\xff", 14); /* client id too long */
    expect_refused(*state, "\x00\x00\x00\x0e\x00\x03\x00\x04\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff", 18); /* count */
    ask_versions(bystander, 1);
    expect_versions(bystander, 1);
    client_free(bystander);
}

static void an_unknown_version_of_api_versions_is_answered_in_version_0(void **state) {
    struct client *client = client_new(*state);
    const uint8_t bytes[] = "\x00\x00\x00\x0a\x00\x12\x00\x63\x00\x00\x00\x2a\xff\xff";
    client_give(client, bytes, sizeof bytes - 1, SIZE_MAX);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 16);
    struct kp_api_versions_response response;
    client_expect(client, KP_API_api_versions, 0, 42, &arena, &response);
    assert_int_equal(response.error_code, KP_ERROR_UNSUPPORTED_VERSION);
    assert_int_equal(response.api_keys.count, 1);
    assert_int_equal(response.api_keys.items[0].api_key, 18);
    assert_int_equal(response.api_keys.items[0].max_version, 4);
    kp_arena_release(&arena);
    client_free(client);
}

static void a_bad_software_name_is_an_invalid_request(void **state) {
    static const struct {
        const char *name;
        int error;
    } cases[] = {{"librdkafka", 0},   {"a", 0},    {"a-b.c", 0},
                 {"", 42},            {"-a", 42},  {"a-", 42},
                 {"apache kafka", 42}, {"a_b", 42}};
    struct client *client = client_new(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_api_versions_request request = {.client_software_name = kp_slice_cstr(cases[i].name),
                                                  .client_software_version = KP_SLICE_LIT("1.0")};
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 16);
        struct kp_api_versions_response response;
        client_call(client, KP_API_api_versions, 4, &request, &arena, &response);
        assert_int_equal(response.error_code, cases[i].error);
        assert_int_equal(response.finalized_features.count, 0);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void produce_is_shown_from_0_though_served_from_3(void **state) {
    struct client *client = client_new(*state);
    struct kp_api_versions_request request = {0};
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 16);
    struct kp_api_versions_response response;
    client_call(client, KP_API_api_versions, 2, &request, &arena, &response);
    assert_int_equal(response.api_keys.items[0].api_key, 0);
    assert_int_equal(response.api_keys.items[0].min_version, 0);
    assert_int_equal(response.api_keys.items[0].max_version, 13);
    kp_arena_release(&arena);
    client_free(client);
}

static struct client *proven_client(struct door *door) {
    struct client *client = client_new(door);
    ask_versions(client, 1);
    expect_versions(client, 1);
    return client;
}

/* A frame's length, and nothing of the frame. */
static void claim(struct client *client, uint32_t size) {
    uint8_t prefix[4];
    kp_be_store32(prefix, size);
    client_give(client, prefix, 4, SIZE_MAX);
}

static void a_claim_takes_no_more_memory_than_was_earned(void **state) {
    struct door *door = *state;
    struct client *client = proven_client(door);
    claim(client, 100 * 1024 * 1024);
    uint8_t some[1000] = {0};
    client_give(client, some, sizeof some, SIZE_MAX);
    assert_int_equal(st_metrics.frame_bytes, GW_FRAME_START);
    assert_false(client->closed);
    client_free(client);
    assert_int_equal(st_metrics.frame_bytes, 0);
}

static void an_unproven_connection_may_claim_little(void **state) {
    struct client *client = client_new(*state);
    claim(client, GW_FRAME_UNPROVEN + 1);
    assert_true(client->closed);
    client_free(client);
    client = client_new(*state);
    claim(client, GW_FRAME_UNPROVEN);
    assert_false(client->closed);
    client_free(client);
}

static void reading_pauses_when_the_budget_is_used_up_and_one_frame_may_pass(void **state) {
    struct door *door = *state;
    door->config.queued_max_request_bytes = 4 * GW_FRAME_START;
    struct client *first = proven_client(door), *second = proven_client(door), *third = proven_client(door);
    uint8_t *bytes = calloc(1, 1024 * 1024);
    assert_non_null(bytes);
    claim(first, 1024 * 1024);
    assert_int_equal(client_give(first, bytes, 4 * GW_FRAME_START, SIZE_MAX), 4 * GW_FRAME_START);
    claim(second, 1024 * 1024); /* finds no room beyond its first bytes and is the first to overdraw */
    assert_int_equal(client_give(second, bytes, 2 * GW_FRAME_START, SIZE_MAX), 2 * GW_FRAME_START);
    claim(third, 1024 * 1024);
    assert_int_equal(client_give(third, bytes, GW_FRAME_START + 1, SIZE_MAX), GW_FRAME_START);
    assert_true(third->paused);
    assert_int_equal(third->deadline_ns, ST_NEVER); /* it is not the client that is slow */
    client_free(proven_client(door)); /* who asks for little is served */
    client_free(second);
    door_run(door, ST_MS);
    assert_false(third->paused);
    assert_int_equal(client_give(third, bytes, 1, SIZE_MAX), 1); /* now it may overdraw */
    client_free(first);
    client_free(third);
    free(bytes);
}

static void a_slow_frame_is_closed_only_while_others_wait_for_its_room(void **state) {
    struct door *door = *state;
    door->config.queued_max_request_bytes = 4 * GW_FRAME_START;
    struct client *slow = proven_client(door), *quick = proven_client(door), *waits = proven_client(door);
    uint8_t *bytes = calloc(1, 1024 * 1024);
    assert_non_null(bytes);
    claim(slow, 1024 * 1024);
    client_give(slow, bytes, 2 * GW_FRAME_START, SIZE_MAX);
    door_run(door, 5 * ST_SECOND);
    assert_false(slow->closed);
    claim(quick, 1024 * 1024);
    client_give(quick, bytes, 2 * GW_FRAME_START, SIZE_MAX); /* overdraws */
    claim(waits, 1024 * 1024);
    client_give(waits, bytes, GW_FRAME_START + 1, SIZE_MAX);
    assert_true(waits->paused);
    for (int i = 0; i < 4; i++) {
        client_give(quick, bytes, 32 * 1024, SIZE_MAX);
        door_run(door, ST_SECOND);
    }
    assert_true(slow->closed);
    assert_false(quick->closed);
    assert_false(waits->closed);
    client_free(slow);
    client_free(quick);
    client_free(waits);
    free(bytes);
}

static void a_connection_has_so_many_requests_under_way(void **state) {
    struct door *door = *state;
    door->config.connection_max_requests = 3;
    struct client *client = client_new(door);
    struct kp_offset_for_leader_epoch_request request = {0}; /* answered only after a sync */
    size_t len = 0;
    uint8_t *bytes = frame_of(KP_API_offset_for_leader_epoch, 2, 9, &request, &len);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(client_give(client, bytes, len, SIZE_MAX), len);
    }
    assert_int_equal(client_give(client, bytes, len, SIZE_MAX), 0);
    assert_true(client->paused);
    door_run(door, ST_SECOND);
    assert_false(client->paused);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 16);
    struct kp_offset_for_leader_epoch_response response;
    for (int i = 0; i < 3; i++) {
        client_expect(client, KP_API_offset_for_leader_epoch, 2, 9, &arena, &response);
    }
    assert_int_equal(client_give(client, bytes, len, SIZE_MAX), len);
    door_run(door, ST_SECOND);
    kp_arena_release(&arena);
    free(bytes);
    client_free(client);
}

static void who_does_not_take_his_answers_is_not_read(void **state) {
    struct client *client = client_new(*state);
    client->hoards = true;
    client->backlog = GW_CONN_LOW_WATER - 1;
    ask_versions(client, 1);
    struct kp_api_versions_request request = {0};
    size_t len = 0;
    uint8_t *bytes = frame_of(KP_API_api_versions, 0, 2, &request, &len);
    assert_int_equal(client_give(client, bytes, len, SIZE_MAX), 0);
    assert_true(client->paused);
    client->backlog = 0;
    client->conn.ops->drained(&client->conn);
    assert_false(client->paused);
    assert_int_equal(client_give(client, bytes, len, SIZE_MAX), len);
    free(bytes);
    client_free(client);
}

static void answers_leave_in_the_order_of_the_requests(void **state) {
    struct client *client = client_new(*state);
    struct kp_offset_for_leader_epoch_request slow = {0};
    client_ask(client, KP_API_offset_for_leader_epoch, 2, 1, &slow);
    ask_versions(client, 2); /* is ready at once, but second */
    assert_int_equal(client->out.bytes, 0);
    door_run(*state, ST_SECOND);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 16);
    struct kp_offset_for_leader_epoch_response response;
    client_expect(client, KP_API_offset_for_leader_epoch, 2, 1, &arena, &response);
    expect_versions(client, 2);
    kp_arena_release(&arena);
    client_free(client);
}

static void deadlines_follow_what_is_waited_for(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    assert_int_equal(client->deadline_ns, door->config.connections_max_idle_ms * ST_MS);
    client_give(client, (const uint8_t *)"\0", 1, 1);
    assert_int_equal(client->deadline_ns, door->config.receive_timeout_ms * ST_MS);
    client_free(client);
    client = client_new(door);
    struct kp_offset_for_leader_epoch_request slow = {0};
    client_ask(client, KP_API_offset_for_leader_epoch, 2, 1, &slow);
    assert_int_equal(client->deadline_ns, ST_NEVER);
    door_run(door, ST_SECOND);
    assert_int_equal(client->deadline_ns, door->config.connections_max_idle_ms * ST_MS);
    client_free(client);
}

static void who_hangs_up_leaves_nothing_behind(void **state) {
    struct client *client = client_new(*state);
    struct kp_offset_for_leader_epoch_request slow = {0};
    client_ask(client, KP_API_offset_for_leader_epoch, 2, 1, &slow);
    ask_versions(client, 2);
    client_hang_up(client);
    door_run(*state, ST_SECOND);
    assert_int_equal(st_metrics.frame_bytes, 0);
    client_free(client);
}

static void who_only_stops_sending_gets_his_answers(void **state) {
    struct client *client = client_new(*state);
    assert_false(client->conn.ops->ended(&client->conn)); /* owes nothing */
    struct kp_offset_for_leader_epoch_request slow = {0};
    client_ask(client, KP_API_offset_for_leader_epoch, 2, 1, &slow);
    assert_true(client->conn.ops->ended(&client->conn));
    assert_false(client->finished);
    door_run(*state, ST_SECOND);
    assert_true(client->out.bytes > 0);
    assert_true(client->finished);
    client_free(client);
}

static void draining_answers_what_is_under_way_and_finishes(void **state) {
    struct door *door = *state;
    struct client *idle = client_new(door), *busy = client_new(door);
    struct kp_offset_for_leader_epoch_request slow = {0};
    client_ask(busy, KP_API_offset_for_leader_epoch, 2, 1, &slow);
    gw_kafka_drain(&door->gateway);
    assert_true(idle->finished);
    assert_false(busy->finished);
    uint8_t *into = NULL;
    assert_int_equal(busy->conn.ops->want(&busy->conn, &into), 0); /* no new request is begun */
    door_run(door, ST_SECOND);
    assert_true(busy->finished);
    assert_true(busy->out.bytes > 0);
    client_free(idle);
    client_free(busy);
}

static void one_sync_a_second_shows_what_other_gateways_have_changed(void **state) {
    struct door *door = *state;
    uint64_t before = st_metrics.journal_reads_total;
    door_run(door, 10 * ST_SECOND);
    assert_int_equal(st_metrics.journal_reads_total, before); /* nobody is connected */
    struct client *client = client_new(door);
    door_run(door, 10 * ST_SECOND);
    assert_in_range(st_metrics.journal_reads_total - before, 9, 11);
    client_free(client);
    door_run(door, 2 * ST_SECOND);
    before = st_metrics.journal_reads_total;
    door_run(door, 10 * ST_SECOND);
    assert_int_equal(st_metrics.journal_reads_total, before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_frame_may_arrive_byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_cut_anywhere_are_the_same_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_request_closes_its_connection_with_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_version_of_api_versions_is_answered_in_version_0, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_software_name_is_an_invalid_request, setup, teardown),
        cmocka_unit_test_setup_teardown(produce_is_shown_from_0_though_served_from_3, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_takes_no_more_memory_than_was_earned, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unproven_connection_may_claim_little, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_pauses_when_the_budget_is_used_up_and_one_frame_may_pass, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_slow_frame_is_closed_only_while_others_wait_for_its_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_connection_has_so_many_requests_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(who_does_not_take_his_answers_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_leave_in_the_order_of_the_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(deadlines_follow_what_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(who_hangs_up_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(who_only_stops_sending_gets_his_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_answers_what_is_under_way_and_finishes, setup, teardown),
        cmocka_unit_test_setup_teardown(one_sync_a_second_shows_what_other_gateways_have_changed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
