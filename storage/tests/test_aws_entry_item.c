/* Entries in their items: as they are, compressed, and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/backends/aws/entry_item.h"
#include "storage/store.h"

static uint8_t body[ST_ENTRY_MAX], back[ST_ENTRY_MAX + 1];

static void fill(size_t len, bool alike) {
    uint64_t chance = 1;
    for (size_t i = 0; i < len; i++) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        body[i] = alike ? (uint8_t)(i % 61) : (uint8_t)(chance >> 56);
    }
}

/* The item as the table gives it. */
static cJSON *item_of(size_t len) {
    struct st_json json;
    assert_true(st_json_begin(&json, 64, len));
    st_json_add(&json, "{");
    st_entry_item_write(&json, kp_slice_of(body, len));
    st_json_add(&json, "}");
    assert_false(json.full);
    cJSON *item = st_json_parse(st_json_text(&json));
    assert_non_null(item);
    st_json_end(&json);
    return item;
}

static void assert_comes_back(const cJSON *item, size_t len) {
    assert_int_equal(st_entry_item_len(item), len);
    back[len] = 0xee;
    assert_int_equal(st_entry_item_read(item, back), ST_OK);
    assert_memory_equal(back, body, len);
    assert_int_equal(back[len], 0xee);
}

static void entries_of_any_length_come_back(void **state) {
    (void)state;
    static const size_t lens[] = {0, 1, 511, 512, 513, 1000, 20000, ST_ENTRY_MAX};
    for (size_t i = 0; i < 2 * sizeof lens / sizeof lens[0]; i++) {
        size_t len = lens[i / 2];
        fill(len, i % 2 == 0);
        cJSON *item = item_of(len);
        assert_comes_back(item, len);
        cJSON_Delete(item);
    }
}

static void what_is_alike_becomes_shorter_and_nothing_longer(void **state) {
    (void)state;
    fill(20000, true);
    cJSON *item = item_of(20000);
    assert_null(st_item_text(item, "b", "B"));
    assert_true(st_item_bytes_len(item, "z") < 2000);
    cJSON_Delete(item);
    fill(20000, false);
    item = item_of(20000);
    assert_null(st_item_text(item, "z", "B"));
    assert_int_equal(st_item_bytes_len(item, "b"), 20000);
    cJSON_Delete(item);
}

static void a_retry_is_the_same_text(void **state) {
    (void)state;
    struct st_json texts[2];
    fill(5000, true);
    for (size_t i = 0; i < 2; i++) {
        assert_true(st_json_begin(&texts[i], 64, 5000));
        st_entry_item_write(&texts[i], kp_slice_of(body, 5000));
    }
    assert_true(kp_slice_equal(st_json_text(&texts[0]), st_json_text(&texts[1])));
    st_json_end(&texts[0]);
    st_json_end(&texts[1]);
}

static void replace(cJSON *item, const char *name, const char *type, const char *text) {
    cJSON *value = cJSON_CreateObject();
    cJSON_AddStringToObject(value, type, text);
    if (!cJSON_ReplaceItemInObjectCaseSensitive(item, name, value)) {
        fail_msg("the item has no %s", name);
    }
}

static void damage_is_told_and_claims_are_bounded(void **state) {
    (void)state;
    fill(5000, true);
    static const char *const lengths[] = {"4999", "5001", "0", "262144"};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) { /* the frame becomes another length */
        cJSON *item = item_of(5000);
        replace(item, "n", "N", lengths[i]);
        assert_int_equal(st_entry_item_len(item), strtoul(lengths[i], NULL, 10));
        assert_int_equal(st_entry_item_read(item, back), ST_DAMAGED);
        cJSON_Delete(item);
    }
    static const char *const claims[] = {"262145", "18446744073709551615", "-1", "x", ""};
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        cJSON *item = item_of(5000);
        replace(item, "n", "N", claims[i]);
        assert_true(st_entry_item_len(item) == SIZE_MAX);
        cJSON_Delete(item);
    }
    static const char *const frames[] = {"", "AAAA", "KLUv/QBYAAA=", "????"};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        cJSON *item = item_of(5000);
        replace(item, "z", "B", frames[i]);
        assert_int_equal(st_entry_item_read(item, back), ST_DAMAGED);
        cJSON_Delete(item);
    }
}

static void an_item_without_an_entry_has_no_length(void **state) {
    (void)state;
    static const char *const items[] = {"{}", "{\"z\":{\"B\":\"AAAA\"}}", "{\"b\":{\"S\":\"AAAA\"}}",
                                        "{\"b\":{\"B\":\"AAA\"}}"};
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        cJSON *item = st_json_parse(kp_slice_cstr(items[i]));
        assert_non_null(item);
        assert_true(st_entry_item_len(item) == SIZE_MAX);
        cJSON_Delete(item);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_of_any_length_come_back),
        cmocka_unit_test(what_is_alike_becomes_shorter_and_nothing_longer),
        cmocka_unit_test(a_retry_is_the_same_text),
        cmocka_unit_test(damage_is_told_and_claims_are_bounded),
        cmocka_unit_test(an_item_without_an_entry_has_no_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
