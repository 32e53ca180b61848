/* Which store a URL opens, and what is said of one that opens none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/runtime/loop_libevent.h"
#include "storage/store.h"
#include "storage/tests/local_scratch.h"

struct bench {
    struct event_base *base;
    struct st_loop *loop;
    char scratch[SCRATCH_PATH_MAX];
    char message[300];
};

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->base = event_base_new();
    bench->loop = st_loop_libevent_new(bench->base);
    scratch_make(bench->scratch);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    st_loop_libevent_free(bench->loop);
    event_base_free(bench->base);
    scratch_remove(bench->scratch);
    free(bench);
    return 0;
}

static void closed(void *arg) {
    *(bool *)arg = true;
}

static void assert_opens(struct bench *bench, const char *url) {
    struct st_store *store = st_store_open(bench->loop, url, bench->message, sizeof bench->message);
    if (store == NULL) {
        fail_msg("%s: %s", url, bench->message);
        return;
    }
    assert_string_equal(bench->message, "");
    bool is_closed = false;
    store->ops->close(store, closed, &is_closed);
    while (!is_closed) {
        event_base_loop(bench->base, EVLOOP_ONCE);
    }
}

static void assert_refused(struct bench *bench, const char *url) {
    assert_null(st_store_open(bench->loop, url, bench->message, sizeof bench->message));
    size_t len = strlen(bench->message);
    assert_true(len > 10 && bench->message[len - 1] == '.');
}

static void a_path_and_a_file_url_open_the_directory(void **state) {
    struct bench *bench = *state;
    char url[SCRATCH_PATH_MAX + 20];
    assert_opens(bench, bench->scratch);
    snprintf(url, sizeof url, "file:%s", bench->scratch);
    assert_opens(bench, url);
    snprintf(url, sizeof url, "%s/with:colon", bench->scratch);
    assert_opens(bench, url);
}

static void memory_opens_without_a_directory(void **state) {
    assert_opens(*state, "memory:");
}

static void what_names_no_store_is_refused_in_one_sentence(void **state) {
    struct bench *bench = *state;
    static const char *const urls[] = {"",           "file:",       "s3:bucket",      "s3://bucket",
                                       "s3://bucket?table=t&region=x", "http://example/", "memory:x",
                                       "/dev/null/store"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        assert_refused(bench, urls[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_path_and_a_file_url_open_the_directory),
        TEST(memory_opens_without_a_directory),
        TEST(what_names_no_store_is_refused_in_one_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
