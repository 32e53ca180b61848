/*
 * What every load program needs: a clock, and a histogram of latencies.
 *
 * The histogram is log-linear: below 128 ns a bucket for each value, above that 64 buckets for each power of two, so a
 * percentile is off by less than 1.6 % however long the tail is, and adding a value costs a few instructions.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 59 };

struct histogram {
    uint64_t count, greatest;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

void sleep_until_ns(uint64_t when);

void histogram_add(struct histogram *histogram, uint64_t ns);

/* The least latency in milliseconds that `percent` of all values do not exceed; 0 when there are none. */
double histogram_ms(const struct histogram *histogram, double percent);

/* Writes the sentence to standard error and exits with 1. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A whole number of at least `least`, or the program ends with a sentence. */
uint64_t number(const char *text, uint64_t least);

/* Connects to HOST:PORT, TCP_NODELAY set; -1 when nobody listens there. Dies when HOST:PORT is no IPv4 address. */
int connect_to(const char *address);

/* Raises the soft limit of open files to the hard one. */
void allow_many_files(void);

#endif
