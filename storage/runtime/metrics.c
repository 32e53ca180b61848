/*
 * The table is expanded once more, into the lines of the text. A histogram's bucket i is shown with le = 2^i - 1,
 * which for whole microseconds is exactly "less than 2^i".
 */
#include "storage/runtime/metrics.h"

#include "protocol/bytes/blob.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct st_metrics st_metrics;

void st_histogram_add(struct st_histogram *histogram, uint64_t microseconds) {
    unsigned bits = microseconds == 0 ? 0 : 64U - (unsigned)__builtin_clzll(microseconds);
    if (bits < ST_HISTOGRAM_BUCKETS) {
        histogram->buckets[bits]++;
    }
    histogram->count++;
    histogram->sum += microseconds;
}

static void put_title(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_counter(FILE *out, const char *name, const char *help, uint64_t value) {
    put_title(out, name, "counter", help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void put_gauge(FILE *out, const char *name, const char *help, int64_t value) {
    put_title(out, name, "gauge", help);
    fprintf(out, "%s %" PRId64 "\n", name, value);
}

static void put_histogram(FILE *out, const char *name, const char *help,
                          const struct st_histogram *histogram) {
    put_title(out, name, "histogram", help);
    uint64_t below = 0;
    for (unsigned i = 0; i < ST_HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        fprintf(out, "%s_bucket{le=\"%" PRIu64 "\"} %" PRIu64 "\n", name, (UINT64_C(1) << i) - 1, below);
    }
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, histogram->count);
    fprintf(out, "%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n", name, histogram->sum, name,
            histogram->count);
}

char *st_metrics_text(size_t *len) {
    char *text = NULL;
    *len = 0;
    FILE *out = open_memstream(&text, len);
    if (out == NULL) {
        return NULL;
    }
    st_metrics.blob_bytes = (int64_t)kp_blob_stats().live_bytes;
    st_metrics.blob_pooled_bytes = (int64_t)kp_blob_stats().pooled_bytes;
#define COUNTER(name, help) put_counter(out, #name, help, st_metrics.name);
#define GAUGE(name, help) put_gauge(out, #name, help, st_metrics.name);
#define HISTOGRAM(name, help) put_histogram(out, #name, help, &st_metrics.name);
#include "storage/runtime/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    int failed = ferror(out);
    failed |= fclose(out);
    if (failed) {
        free(text);
        return NULL;
    }
    return text;
}
