/* The table of topic configurations, and which values its rules accept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/topic_config.h"

static void the_table_is_sorted_and_each_default_is_valid(void **state) {
    (void)state;
    assert_true(st_config_rule_count > 0);
    for (size_t i = 0; i < st_config_rule_count; i++) {
        const struct st_config_rule *rule = &st_config_rules[i];
        if (i > 0 && strcmp(st_config_rules[i - 1].name, rule->name) >= 0) {
            fail_msg("%s is out of order", rule->name);
        }
        if (!st_config_valid(rule, kp_slice_cstr(rule->value))) {
            fail_msg("the default of %s is not valid", rule->name);
        }
        assert_true(strlen(rule->doc) > 0);
    }
}

static void each_name_is_found_and_others_are_not(void **state) {
    (void)state;
    for (size_t i = 0; i < st_config_rule_count; i++) {
        assert_ptr_equal(st_config_rule(kp_slice_cstr(st_config_rules[i].name)), &st_config_rules[i]);
    }
    static const char *const others[] = {"", "a", "zzz", "retention.m", "retention.ms.", "Retention.ms"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_null(st_config_rule(kp_slice_cstr(others[i])));
    }
}

static const struct {
    const char *name, *value;
    bool valid;
} cases[] = {
    {"cleanup.policy", "compact", true},
    {"cleanup.policy", "compact,delete", true},
    {"cleanup.policy", " delete , compact ", true},
    {"cleanup.policy", "", false},
    {"cleanup.policy", "delete,", false},
    {"cleanup.policy", "Delete", false},
    {"compression.gzip.level", "-1", true},
    {"compression.gzip.level", "0", false},
    {"compression.gzip.level", "9", true},
    {"compression.gzip.level", "10", false},
    {"compression.lz4.level", "0", false},
    {"compression.lz4.level", "17", true},
    {"compression.lz4.level", "18", false},
    {"compression.zstd.level", "-131072", true},
    {"compression.zstd.level", "23", false},
    {"follower.replication.throttled.replicas", "", true},
    {"follower.replication.throttled.replicas", "*", true},
    {"follower.replication.throttled.replicas", "0:1,10:2", true},
    {"follower.replication.throttled.replicas", "0", false},
    {"follower.replication.throttled.replicas", "0:", false},
    {"follower.replication.throttled.replicas", ":1", false},
    {"follower.replication.throttled.replicas", "0:1:2", false},
    {"follower.replication.throttled.replicas", "0:1,,1:2", false},
    {"follower.replication.throttled.replicas", "none", false},
    {"local.retention.ms", "-2", true},
    {"local.retention.ms", "-3", false},
    {"remote.log.copy.disable", "true", true},
    {"remote.storage.enable", "false", true},
    {"remote.storage.enable", "true", false},
    {"compression.type", "zstd", true},
    {"compression.type", "uncompressed", true},
    {"compression.type", "none", false},
    {"max.message.bytes", "0", true},
    {"max.message.bytes", "2147483647", true},
    {"max.message.bytes", "2147483648", false},
    {"max.message.bytes", "-1", false},
    {"max.message.bytes", " +5 ", true},
    {"max.message.bytes", "", false},
    {"max.message.bytes", "+", false},
    {"max.message.bytes", "-", false},
    {"max.message.bytes", "5x", false},
    {"max.message.bytes", "5 5", false},
    {"max.message.bytes", "0x10", false},
    {"message.timestamp.type", "LogAppendTime", true},
    {"message.timestamp.type", "logappendtime", false},
    {"min.cleanable.dirty.ratio", "0", true},
    {"min.cleanable.dirty.ratio", "1.0", true},
    {"min.cleanable.dirty.ratio", ".25", true},
    {"min.cleanable.dirty.ratio", "1e-3", true},
    {"min.cleanable.dirty.ratio", "1.01", false},
    {"min.cleanable.dirty.ratio", "-0.1", false},
    {"min.cleanable.dirty.ratio", "nan", false},
    {"min.cleanable.dirty.ratio", "0x1", false},
    {"min.cleanable.dirty.ratio", ".", false},
    {"min.cleanable.dirty.ratio", "0.00000000000000000000000000000000000000001", false},
    {"min.insync.replicas", "0", false},
    {"min.insync.replicas", "1", true},
    {"preallocate", "TRUE", true},
    {"preallocate", "yes", false},
    {"preallocate", "1", false},
    {"retention.ms", "-1", true},
    {"retention.ms", "-2", false},
    {"retention.ms", "9223372036854775807", true},
    {"retention.ms", "9223372036854775808", false},
    {"retention.ms", "99999999999999999999999", false},
    {"segment.bytes", "0", false},
};

static void values_are_accepted_as_apache_kafka_accepts_them(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct st_config_rule *rule = st_config_rule(kp_slice_cstr(cases[i].name));
        assert_non_null(rule);
        if (st_config_valid(rule, kp_slice_cstr(cases[i].value)) != cases[i].valid) {
            fail_msg("%s=\"%s\" should be %s", cases[i].name, cases[i].value, cases[i].valid ? "valid" : "refused");
        }
    }
}

static void an_absent_value_and_a_nul_byte_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < st_config_rule_count; i++) {
        assert_false(st_config_valid(&st_config_rules[i], (struct kp_slice){NULL, 0}));
        assert_false(st_config_valid(&st_config_rules[i], KP_SLICE_LIT("1\0002")));
    }
}

static void numbers_reach_both_ends_of_their_range(void **state) {
    (void)state;
    int64_t number = 0;
    assert_true(st_config_number(KP_SLICE_LIT("-9223372036854775808"), &number));
    assert_true(number == INT64_MIN);
    assert_true(st_config_number(KP_SLICE_LIT("9223372036854775807"), &number));
    assert_true(number == INT64_MAX);
    assert_false(st_config_number(KP_SLICE_LIT("9223372036854775808"), &number));
    assert_false(st_config_number(KP_SLICE_LIT("-9223372036854775809"), &number));
    assert_true(st_config_number(KP_SLICE_LIT(" 00012"), &number));
    assert_int_equal(number, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sorted_and_each_default_is_valid),
        cmocka_unit_test(each_name_is_found_and_others_are_not),
        cmocka_unit_test(values_are_accepted_as_apache_kafka_accepts_them),
        cmocka_unit_test(an_absent_value_and_a_nul_byte_are_refused),
        cmocka_unit_test(numbers_reach_both_ends_of_their_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
