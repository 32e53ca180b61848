/*
 * Counters, gauges and histograms of the process, from one table (metrics.def):
 *   COUNTER(name, "help")  GAUGE(name, "help")  HISTOGRAM(name_us, "help")
 * Plain fields: st_metrics.produce_bytes_total += n. Loop thread only. Names end in their unit.
 */
#ifndef ST_METRICS_H
#define ST_METRICS_H

#include <stddef.h>
#include <stdint.h>

#define ST_HISTOGRAM_BUCKETS 28 /* powers of two of microseconds: bucket i counts values < 2^i */

struct st_histogram {
    uint64_t buckets[ST_HISTOGRAM_BUCKETS];
    uint64_t count, sum;
};

struct st_metrics {
#define COUNTER(name, help) uint64_t name;
#define GAUGE(name, help) int64_t name;
#define HISTOGRAM(name, help) struct st_histogram name;
#include "storage/runtime/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

extern struct st_metrics st_metrics;

void st_histogram_add(struct st_histogram *histogram, uint64_t microseconds);
/* Prometheus text exposition 0.0.4 of everything, malloc'ed and NUL-terminated; the caller frees. NULL: no memory. */
char *st_metrics_text(size_t *len);

#endif
