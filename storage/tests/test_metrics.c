/* The text that /metrics answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/runtime/metrics.h"

static void assert_has_line(const char *text, const char *line) {
    const char *at = strstr(text, line);
    while (at != NULL && !((at == text || at[-1] == '\n') && at[strlen(line)] == '\n')) {
        at = strstr(at + 1, line);
    }
    if (at == NULL) {
        fail_msg("no line \"%s\" in:\n%s", line, text);
    }
}

static void counters_and_gauges_show_their_values(void **state) {
    (void)state;
    memset(&st_metrics, 0, sizeof st_metrics);
    st_metrics.requests_total = UINT64_MAX;
    st_metrics.connections = -3;
    size_t len;
    char *text = st_metrics_text(&len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    assert_has_line(text, "# TYPE requests_total counter");
    assert_has_line(text, "# HELP requests_total Kafka requests decoded");
    assert_has_line(text, "requests_total 18446744073709551615");
    assert_has_line(text, "# TYPE connections gauge");
    assert_has_line(text, "connections -3");
    assert_int_equal(text[len - 1], '\n');
    free(text);
}

static void a_histogram_counts_each_value_in_every_bucket_above_it(void **state) {
    (void)state;
    memset(&st_metrics, 0, sizeof st_metrics);
    static const uint64_t values[] = {0, 1, 2, 3, 4, 1000, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        st_histogram_add(&st_metrics.fetch_latency_us, values[i]);
    }
    size_t len;
    char *text = st_metrics_text(&len);
    assert_has_line(text, "# TYPE fetch_latency_us histogram");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"0\"} 1");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"1\"} 2");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"3\"} 4");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"7\"} 5");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"511\"} 5");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"1023\"} 6");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"134217727\"} 6");
    assert_has_line(text, "fetch_latency_us_bucket{le=\"+Inf\"} 7");
    assert_has_line(text, "fetch_latency_us_count 7");
    assert_has_line(text, "fetch_latency_us_sum 1099511628786");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_show_their_values),
        cmocka_unit_test(a_histogram_counts_each_value_in_every_bucket_above_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
