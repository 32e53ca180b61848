/* Metadata, topics and configurations. */
#include "gateway/tests/kafka_door.h"

static int setup(void **state) {
    *state = door_new();
    return 0;
}

static int teardown(void **state) {
    door_free(*state);
    return 0;
}

/* ---- Metadata ---- */

static void ask_metadata(struct client *client, int16_t version, const char *name, const struct kp_uuid *id,
                         bool create, struct kp_arena *arena, struct kp_metadata_response *response) {
    struct kp_metadata_request_topic topic = {0};
    topic.name = name != NULL ? kp_slice_cstr(name) : (struct kp_slice){0};
    if (id != NULL) {
        topic.topic_id = *id;
    }
    struct kp_metadata_request request = {.allow_auto_topic_creation = create};
    request.topics.items = &topic;
    request.topics.count = 1;
    client_call(client, KP_API_metadata, version, &request, arena, response);
    assert_int_equal(response->topics.count, 1);
}

static void every_version_names_the_node_and_the_partitions(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    struct kp_uuid id = make_topic(client, "t", 3, NULL, NULL);
    for (int16_t version = 0; version <= 13; version++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_metadata_response response;
        ask_metadata(client, version, "t", NULL, true, &arena, &response);
        assert_int_equal(response.brokers.count, 1);
        assert_int_equal(response.brokers.items[0].node_id, 7);
        assert_int_equal(response.brokers.items[0].port, 9092);
        assert_true(kp_slice_equal(response.brokers.items[0].host, KP_SLICE_LIT("gw.example")));
        assert_int_equal(response.controller_id, version >= 1 ? 7 : -1);
        assert_true(version < 2 || kp_slice_equal(response.cluster_id, kp_slice_cstr(door->gateway.cluster_id)));
        struct kp_metadata_response_topic *topic = &response.topics.items[0];
        assert_int_equal(topic->error_code, KP_ERROR_NONE);
        assert_int_equal(topic->partitions.count, 3);
        assert_true(version < 10 || kp_uuid_equal(&topic->topic_id, &id));
        assert_int_equal(topic->topic_authorized_operations, INT32_MIN);
        for (int32_t i = 0; i < 3; i++) {
            struct kp_metadata_response_partition *partition = &topic->partitions.items[i];
            assert_int_equal(partition->partition_index, i);
            assert_int_equal(partition->leader_id, 7);
            assert_int_equal(partition->leader_epoch, -1);
            assert_int_equal(partition->replica_nodes.count, 1);
            assert_int_equal(partition->isr_nodes.items[0], 7);
        }
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void all_topics_and_no_topics_are_asked_for_differently_by_version(void **state) {
    static const struct {
        int16_t version;
        int32_t asked, answered;
    } cases[] = {{0, 0, 2}, {1, -1, 2}, {1, 0, 0}, {12, -1, 2}, {13, 0, 0}};
    struct client *client = client_new(*state);
    make_topic(client, "b", 1, NULL, NULL);
    make_topic(client, "a", 1, NULL, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_metadata_request request = {0};
        request.topics.count = cases[i].asked;
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_metadata_response response;
        client_call(client, KP_API_metadata, cases[i].version, &request, &arena, &response);
        assert_int_equal(response.topics.count, cases[i].answered);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void a_topic_is_made_when_the_client_allows_it(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    door->config.num_partitions = 4;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_metadata_response response;
    ask_metadata(client, 4, "made", NULL, false, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    ask_metadata(client, 4, "made", NULL, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
    assert_int_equal(response.topics.items[0].partitions.count, 4);
    ask_metadata(client, 0, "by version 0", NULL, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_INVALID_TOPIC_EXCEPTION);
    ask_metadata(client, 0, "by-version-0", NULL, false, &arena, &response); /* v0 can not forbid it */
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
    door->config.auto_create_topics_enable = false;
    ask_metadata(client, 4, "not", NULL, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    kp_arena_release(&arena);
    client_free(client);
}

static void topics_are_found_by_id_from_version_12(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid id = make_topic(client, "t", 1, NULL, NULL), other = {{1}};
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_metadata_response response;
    ask_metadata(client, 12, NULL, &id, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
    assert_true(kp_slice_equal(response.topics.items[0].name, KP_SLICE_LIT("t")));
    ask_metadata(client, 12, NULL, &other, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_UNKNOWN_TOPIC_ID);
    assert_null(response.topics.items[0].name.ptr);
    assert_true(kp_uuid_equal(&response.topics.items[0].topic_id, &other));
    ask_metadata(client, 10, NULL, &id, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_INVALID_REQUEST);
    kp_arena_release(&arena);
    client_free(client);
}

static void an_unreachable_store_is_no_unknown_topic(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid other = {{1}};
    make_topic(client, "t", 1, NULL, NULL);
    store_away = true;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_metadata_response response;
    ask_metadata(client, 9, "t", NULL, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
    for (int create = 0; create < 2; create++) {
        ask_metadata(client, 9, "nowhere", NULL, create, &arena, &response);
        assert_int_equal(response.topics.items[0].error_code, KP_ERROR_LEADER_NOT_AVAILABLE);
        assert_int_equal(response.topics.items[0].partitions.count, 0); /* never a partition without leader */
    }
    ask_metadata(client, 12, NULL, &other, true, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_LEADER_NOT_AVAILABLE);
    store_away = false;
    kp_arena_release(&arena);
    client_free(client);
}

static void operations_are_told_when_asked_for(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, NULL, NULL);
    struct kp_metadata_request request = {.include_cluster_authorized_operations = true,
                                          .include_topic_authorized_operations = true};
    request.topics.count = -1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_metadata_response response;
    client_call(client, KP_API_metadata, 8, &request, &arena, &response);
    assert_int_equal(response.cluster_authorized_operations, 0x1FA0);
    assert_int_equal(response.topics.items[0].topic_authorized_operations, 0x0DF8);
    kp_arena_release(&arena);
    client_free(client);
}

/* ---- CreateTopics ---- */

static void create(struct client *client, int16_t version, bool validate,
                   const struct kp_create_topics_request_topic *topics, int32_t count, struct kp_arena *arena,
                   struct kp_create_topics_response *response) {
    struct kp_create_topics_request request = {.timeout_ms = 1000, .validate_only = validate};
    request.topics.items = (struct kp_create_topics_request_topic *)(uintptr_t)topics;
    request.topics.count = count;
    client_call(client, KP_API_create_topics, version, &request, arena, response);
}

static void bad_topics_are_refused_each_with_its_error(void **state) {
    static const struct {
        const char *name;
        int32_t partitions;
        int16_t replicas;
        int error;
    } cases[] = {
        {"ok", 1, 1, 0},      {"ok", 1, 1, 36},     {"b b", 1, 1, 17},  {"", 1, 1, 17},   {"..", 1, 1, 17},
        {"p0", 0, 1, 37},     {"p-2", -2, 1, 37},   {"p1", 10001, 1, 37}, {"r0", 1, 0, 38}, {"r-2", 1, -2, 38},
        {"default", -1, -1, 0}, {"three", 1, 3, 0},
    };
    struct client *client = client_new(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_create_topics_request_topic topic = {.name = kp_slice_cstr(cases[i].name),
                                                       .num_partitions = cases[i].partitions,
                                                       .replication_factor = cases[i].replicas};
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_create_topics_response response;
        create(client, 7, false, &topic, 1, &arena, &response);
        struct kp_create_topics_response_topic *answer = &response.topics.items[0];
        assert_int_equal(answer->error_code, cases[i].error);
        assert_true((answer->error_message.len > 0) == (cases[i].error != 0));
        assert_int_equal(answer->num_partitions, cases[i].error == 0 ? 1 : -1);
        assert_int_equal(answer->replication_factor, cases[i].error == 0 ? 1 : -1);
        assert_true((answer->configs.count > 0) == (cases[i].error == 0));
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void every_version_makes_topics(void **state) {
    struct client *client = client_new(*state);
    for (int16_t version = 2; version <= 7; version++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", version);
        struct kp_create_topics_request_topic topic = {
            .name = kp_slice_cstr(name), .num_partitions = 2, .replication_factor = 1};
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_create_topics_response response;
        create(client, version, false, &topic, 1, &arena, &response);
        assert_int_equal(response.topics.items[0].error_code, KP_ERROR_NONE);
        assert_true(kp_uuid_is_zero(&response.topics.items[0].topic_id) == (version < 7));
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void a_topic_named_twice_is_refused_once(void **state) {
    struct client *client = client_new(*state);
    struct kp_create_topics_request_topic topics[3] = {
        {.name = KP_SLICE_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
        {.name = KP_SLICE_LIT("once"), .num_partitions = 1, .replication_factor = 1},
        {.name = KP_SLICE_LIT("twice"), .num_partitions = 1, .replication_factor = 1},
    };
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_create_topics_response response;
    create(client, 5, false, topics, 3, &arena, &response);
    assert_int_equal(response.topics.count, 2);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_INVALID_REQUEST);
    assert_int_equal(response.topics.items[1].error_code, KP_ERROR_NONE);
    kp_arena_release(&arena);
    client_free(client);
}

static void assignments_are_checked(void **state) {
    static const struct {
        int32_t partitions[2], broker;
        int16_t replicas;
        int error;
    } cases[] = {
        {{0, 1}, 7, -1, 0}, {{0, 1}, 7, 1, 42}, {{0, 2}, 7, -1, 39}, {{0, 0}, 7, -1, 39}, {{0, 1}, 8, -1, 39}};
    struct client *client = client_new(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "a%u", (unsigned)i);
        int32_t broker = cases[i].broker;
        struct kp_create_topics_request_assignment assignments[2];
        for (int j = 0; j < 2; j++) {
            assignments[j].partition_index = cases[i].partitions[j];
            assignments[j].broker_ids.items = &broker;
            assignments[j].broker_ids.count = 1;
        }
        struct kp_create_topics_request_topic topic = {
            .name = kp_slice_cstr(name), .num_partitions = -1, .replication_factor = cases[i].replicas};
        topic.assignments.items = assignments;
        topic.assignments.count = 2;
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_create_topics_response response;
        create(client, 6, false, &topic, 1, &arena, &response);
        assert_int_equal(response.topics.items[0].error_code, cases[i].error);
        assert_int_equal(response.topics.items[0].num_partitions, cases[i].error == 0 ? 2 : -1);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void configurations_are_checked_and_kept(void **state) {
    struct client *client = client_new(*state);
    static const struct {
        const char *name, *value;
        int error;
    } cases[] = {{"retention.ms", "5", 0}, {"retention.ms", "abc", 40}, {"nope", "1", 40}, {"retention.ms", NULL, 40}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_create_topics_request_config config = {.name = kp_slice_cstr(cases[i].name)};
        if (cases[i].value != NULL) {
            config.value = kp_slice_cstr(cases[i].value);
        }
        struct kp_create_topics_request_topic topic = {
            .name = KP_SLICE_LIT("t"), .num_partitions = 1, .replication_factor = 1};
        topic.configs.items = &config;
        topic.configs.count = 1;
        for (int validate = 1; validate >= 0; validate--) {
            struct kp_arena arena;
            kp_arena_init(&arena, 1 << 20);
            struct kp_create_topics_response response;
            create(client, 5, validate, &topic, 1, &arena, &response);
            assert_int_equal(response.topics.items[0].error_code, cases[i].error);
            for (int32_t c = 0; c < response.topics.items[0].configs.count; c++) {
                struct kp_create_topics_response_config *answer = &response.topics.items[0].configs.items[c];
                bool given = kp_slice_equal(answer->name, KP_SLICE_LIT("retention.ms"));
                assert_int_equal(answer->config_source, given ? 1 : 5);
                assert_true(!given || kp_slice_equal(answer->value, KP_SLICE_LIT("5")));
            }
            kp_arena_release(&arena);
        }
    }
    client_free(client);
}

static void after_its_timeout_a_topic_is_answered_as_unknown_and_made_all_the_same(void **state) {
    struct client *client = client_new(*state);
    struct kp_create_topics_request_topic topic = {
        .name = KP_SLICE_LIT("slow"), .num_partitions = 1, .replication_factor = 1};
    struct kp_create_topics_request request = {.timeout_ms = 2000};
    request.topics.items = &topic;
    request.topics.count = 1;
    store_takes_nothing = true;
    client_ask(client, KP_API_create_topics, 7, 1, &request);
    door_run(*state, 1900 * ST_MS);
    assert_int_equal(client->out.bytes, 0);
    door_run(*state, 200 * ST_MS);
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_create_topics_response response;
    client_expect(client, KP_API_create_topics, 7, 1, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_REQUEST_TIMED_OUT);
    store_takes_nothing = false;
    door_run(*state, 30 * ST_SECOND);
    assert_int_equal(put_records(client, "slow", 0, 1, "v"), 0);
    kp_arena_release(&arena);
    client_free(client);
}

static void who_hangs_up_while_a_topic_is_made_leaves_nothing_behind(void **state) {
    struct client *client = client_new(*state);
    struct kp_create_topics_request_topic topic = {
        .name = KP_SLICE_LIT("slow"), .num_partitions = 1, .replication_factor = 1};
    struct kp_create_topics_request request = {.timeout_ms = 2000};
    request.topics.items = &topic;
    request.topics.count = 1;
    store_takes_nothing = true;
    client_ask(client, KP_API_create_topics, 7, 1, &request);
    door_run(*state, ST_SECOND);
    client_free(client);
    door_run(*state, 5 * ST_SECOND);
    assert_true(st_metrics.frame_bytes > 0); /* the operation still goes on */
    store_takes_nothing = false;
    door_run(*state, 30 * ST_SECOND);
    assert_int_equal(st_metrics.frame_bytes, 0);
}

/* ---- DeleteTopics ---- */

static int16_t delete_one(struct client *client, int16_t version, const char *name, const struct kp_uuid *id) {
    struct kp_slice text = name != NULL ? kp_slice_cstr(name) : (struct kp_slice){0};
    struct kp_delete_topics_request_topic topic = {.name = text};
    if (id != NULL) {
        topic.topic_id = *id;
    }
    struct kp_delete_topics_request request = {.timeout_ms = 1000};
    request.topics.items = &topic;
    request.topics.count = 1;
    request.topic_names.items = &text;
    request.topic_names.count = 1;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_delete_topics_response response;
    client_call(client, KP_API_delete_topics, version, &request, &arena, &response);
    assert_int_equal(response.responses.count, 1);
    int16_t error = response.responses.items[0].error_code;
    kp_arena_release(&arena);
    return error;
}

static void topics_are_deleted_by_name_and_by_id(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid other = {{1}};
    for (int16_t version = 1; version <= 6; version++) {
        make_topic(client, "t", 1, NULL, NULL);
        assert_int_equal(delete_one(client, version, "t", NULL), KP_ERROR_NONE);
        assert_int_equal(delete_one(client, version, "t", NULL), KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    }
    struct kp_uuid id = make_topic(client, "t", 1, NULL, NULL);
    assert_int_equal(delete_one(client, 6, "t", &id), KP_ERROR_INVALID_REQUEST);
    assert_int_equal(delete_one(client, 6, NULL, NULL), KP_ERROR_INVALID_REQUEST);
    assert_int_equal(delete_one(client, 6, NULL, &other), KP_ERROR_UNKNOWN_TOPIC_ID);
    store_away = true;
    assert_int_equal(delete_one(client, 6, NULL, &other), KP_ERROR_REQUEST_TIMED_OUT);
    store_away = false;
    assert_int_equal(delete_one(client, 6, NULL, &id), KP_ERROR_NONE);
    assert_int_equal(delete_one(client, 6, NULL, &id), KP_ERROR_UNKNOWN_TOPIC_ID);
    client_free(client);
}

static void one_topic_named_twice_is_not_deleted(void **state) {
    struct client *client = client_new(*state);
    struct kp_uuid id = make_topic(client, "t", 1, NULL, NULL);
    struct kp_delete_topics_request_topic topics[2] = {{.name = KP_SLICE_LIT("t")}, {.topic_id = id}};
    struct kp_delete_topics_request request = {.timeout_ms = 1000};
    request.topics.items = topics;
    request.topics.count = 2;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_delete_topics_response response;
    client_call(client, KP_API_delete_topics, 6, &request, &arena, &response);
    assert_int_equal(response.responses.items[0].error_code, KP_ERROR_INVALID_REQUEST);
    assert_int_equal(response.responses.items[1].error_code, KP_ERROR_INVALID_REQUEST);
    assert_int_equal(put_records(client, "t", 0, 1, "v"), 0);
    kp_arena_release(&arena);
    client_free(client);
}

/* ---- describing ---- */

static void describe_configs(struct client *client, int16_t version, int8_t type, const char *name, const char *key,
                             struct kp_arena *arena, struct kp_describe_configs_response_result *result) {
    struct kp_slice wanted = kp_slice_cstr(key != NULL ? key : "");
    struct kp_describe_configs_request_resource resource = {.resource_type = type,
                                                            .resource_name = kp_slice_cstr(name)};
    resource.configuration_keys.items = &wanted;
    resource.configuration_keys.count = key != NULL ? 1 : -1;
    struct kp_describe_configs_request request = {.include_synonyms = true, .include_documentation = version >= 3};
    request.resources.items = &resource;
    request.resources.count = 1;
    struct kp_describe_configs_response response;
    client_call(client, KP_API_describe_configs, version, &request, arena, &response);
    assert_int_equal(response.results.count, 1);
    *result = response.results.items[0];
}

static void a_topics_configuration_shows_overrides_defaults_and_synonyms(void **state) {
    struct client *client = client_new(*state);
    make_topic(client, "t", 1, "cleanup.policy", "compact");
    for (int16_t version = 1; version <= 4; version++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_describe_configs_response_result result;
        describe_configs(client, version, 2, "t", "cleanup.policy", &arena, &result);
        assert_int_equal(result.error_code, KP_ERROR_NONE);
        assert_int_equal(result.configs.count, 1);
        struct kp_describe_configs_response_config *config = &result.configs.items[0];
        assert_true(kp_slice_equal(config->value, KP_SLICE_LIT("compact")));
        assert_int_equal(config->config_source, 1);
        assert_int_equal(config->synonyms.count, 2);
        assert_true(kp_slice_equal(config->synonyms.items[1].name, KP_SLICE_LIT("log.cleanup.policy")));
        assert_true(kp_slice_equal(config->synonyms.items[1].value, KP_SLICE_LIT("delete")));
        assert_int_equal(config->synonyms.items[1].source, 5);
        assert_int_equal(config->config_type, version >= 3 ? 7 : 0);
        assert_true((config->documentation.len > 0) == (version >= 3));
        describe_configs(client, version, 2, "t", NULL, &arena, &result);
        assert_true(result.configs.count > 20);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void what_has_no_configuration_is_refused(void **state) {
    static const struct {
        int8_t type;
        const char *name;
        int error;
    } cases[] = {{2, "nowhere", 3}, {2, "b b", 17}, {4, "8", 42}, {4, "x", 42}, {4, "7", 0}, {4, "", 0}, {16, "x", 42}};
    struct client *client = client_new(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        struct kp_describe_configs_response_result result;
        describe_configs(client, 4, cases[i].type, cases[i].name, NULL, &arena, &result);
        assert_int_equal(result.error_code, cases[i].error);
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void this_brokers_options_are_told(void **state) {
    struct door *door = *state;
    struct client *client = client_new(door);
    door->config.num_partitions = 5;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_describe_configs_response_result result;
    describe_configs(client, 4, 4, "7", "num.partitions", &arena, &result);
    assert_int_equal(result.configs.count, 1);
    assert_true(kp_slice_equal(result.configs.items[0].value, KP_SLICE_LIT("5")));
    assert_int_equal(result.configs.items[0].config_source, 4); /* given, not the default */
    assert_true(result.configs.items[0].read_only);
    describe_configs(client, 4, 4, "7", "log.retention.ms", &arena, &result);
    assert_true(kp_slice_equal(result.configs.items[0].value, KP_SLICE_LIT("604800000")));
    kp_arena_release(&arena);
    client_free(client);
}

static void the_cluster_is_described(void **state) {
    struct client *client = client_new(*state);
    for (int16_t version = 0; version <= 2; version++) {
        struct kp_describe_cluster_request request = {.include_cluster_authorized_operations = true,
                                                      .endpoint_type = 1};
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 16);
        struct kp_describe_cluster_response response;
        client_call(client, KP_API_describe_cluster, version, &request, &arena, &response);
        assert_int_equal(response.error_code, KP_ERROR_NONE);
        assert_int_equal(response.controller_id, 7);
        assert_int_equal(response.brokers.count, 1);
        assert_int_equal(response.cluster_authorized_operations, 0x1FA0);
        request.endpoint_type = 2;
        client_call(client, KP_API_describe_cluster, version, &request, &arena, &response);
        assert_int_equal(response.error_code, version == 0 ? 0 : KP_ERROR_MISMATCHED_ENDPOINT_TYPE);
        kp_arena_release(&arena);
    }
    client_free(client);
}

/* Pages of two partitions over topics of one, three and one, in order of name. */
static void topics_are_described_page_by_page(void **state) {
    static const char *const expected[] = {"a0 b0", "b1 b2", "c0", NULL};
    struct client *client = client_new(*state);
    make_topic(client, "c", 1, NULL, NULL);
    make_topic(client, "a", 1, NULL, NULL);
    make_topic(client, "b", 3, NULL, NULL);
    for (int named = 0; named < 2; named++) {
        struct kp_describe_topic_partitions_request_topic names[] = {
            {KP_SLICE_LIT("c")}, {KP_SLICE_LIT("b")}, {KP_SLICE_LIT("b")}, {KP_SLICE_LIT("a")}};
        struct kp_describe_topic_partitions_request request = {.response_partition_limit = 2};
        request.topics.items = names;
        request.topics.count = named ? 4 : 0;
        struct kp_arena arena;
        kp_arena_init(&arena, 1 << 20);
        for (int page = 0; page == 0 || request.cursor != NULL; page++) {
            assert_non_null(expected[page]);
            struct kp_describe_topic_partitions_response response;
            client_call(client, KP_API_describe_topic_partitions, 0, &request, &arena, &response);
            char text[64] = "";
            for (int32_t t = 0; t < response.topics.count; t++) {
                struct kp_describe_topic_partitions_response_topic *topic = &response.topics.items[t];
                for (int32_t p = 0; p < topic->partitions.count; p++) {
                    size_t len = strlen(text);
                    snprintf(text + len, sizeof text - len, "%s%.*s%d", len > 0 ? " " : "", KP_SLICE_ARG(topic->name),
                             topic->partitions.items[p].partition_index);
                    assert_int_equal(topic->partitions.items[p].eligible_leader_replicas.count, 0);
                }
            }
            assert_string_equal(text, expected[page]);
            request.cursor = response.next_cursor;
        }
        kp_arena_release(&arena);
    }
    client_free(client);
}

static void descriptions_of_what_is_not_there_say_so(void **state) {
    struct client *client = client_new(*state);
    struct kp_describe_topic_partitions_request_topic names[] = {{KP_SLICE_LIT("nowhere")}, {KP_SLICE_LIT("b b")}};
    struct kp_describe_topic_partitions_request request = {.response_partition_limit = 10};
    request.topics.items = names;
    request.topics.count = 2;
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 20);
    struct kp_describe_topic_partitions_response response;
    client_call(client, KP_API_describe_topic_partitions, 0, &request, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(response.topics.items[1].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_null(response.next_cursor);
    struct kp_describe_topic_partitions_cursor outside = {.topic_name = KP_SLICE_LIT("x")};
    request.cursor = &outside;
    client_call(client, KP_API_describe_topic_partitions, 0, &request, &arena, &response);
    assert_int_equal(response.topics.items[0].error_code, KP_ERROR_INVALID_REQUEST);
    kp_arena_release(&arena);
    client_free(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_version_names_the_node_and_the_partitions, setup, teardown),
        cmocka_unit_test_setup_teardown(all_topics_and_no_topics_are_asked_for_differently_by_version, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_topic_is_made_when_the_client_allows_it, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_are_found_by_id_from_version_12, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unreachable_store_is_no_unknown_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(operations_are_told_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_topics_are_refused_each_with_its_error, setup, teardown),
        cmocka_unit_test_setup_teardown(every_version_makes_topics, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_named_twice_is_refused_once, setup, teardown),
        cmocka_unit_test_setup_teardown(assignments_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(configurations_are_checked_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(after_its_timeout_a_topic_is_answered_as_unknown_and_made_all_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_hangs_up_while_a_topic_is_made_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_are_deleted_by_name_and_by_id, setup, teardown),
        cmocka_unit_test_setup_teardown(one_topic_named_twice_is_not_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topics_configuration_shows_overrides_defaults_and_synonyms, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_no_configuration_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(this_brokers_options_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cluster_is_described, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_are_described_page_by_page, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptions_of_what_is_not_there_say_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
