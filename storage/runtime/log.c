/*
 * A line is built in one buffer and leaves with one write(2), so that lines of several threads, and of several
 * processes on one pipe, do not mix. It has at most LINE_MAX bytes; a longer one ends in "...". Whatever the caller's
 * values hold, no control byte reaches the terminal and one event stays one line.
 *
 * Each event may use LINES_PER_SECOND in a second (of its own, begun by its first line); the rest are counted.
 */
#include "storage/runtime/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048
#define TAIL_BYTES 160 /* kept free for suppressed= and msg= */
#define LINES_PER_SECOND 5
#define QUOTE_BYTES 256
#define QUOTES 4

struct event {
    enum st_log_level level;
    const char *name, *text;
};

static const struct event events[] = {
#define EVENT(level, name, text) {ST_##level, #name, text},
#include "storage/runtime/events.def"
#undef EVENT
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static enum st_log_level least = ST_INFO; /* these three under the mutex */
static unsigned long counts[ST_EVENT_COUNT];
static struct {
    int64_t second_begun_ms;
    unsigned lines;
    unsigned long suppressed;
} limits[ST_EVENT_COUNT];

void st_log_level(enum st_log_level level) {
    pthread_mutex_lock(&mutex);
    least = level;
    pthread_mutex_unlock(&mutex);
}

unsigned long st_log_count(enum st_event event) {
    pthread_mutex_lock(&mutex);
    unsigned long count = counts[event];
    pthread_mutex_unlock(&mutex);
    return count;
}

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Whether the event may be written now; *suppressed: how many were not, since the last that was. */
static bool admit(enum st_event event, unsigned long *suppressed) {
    int64_t now = now_ms();
    pthread_mutex_lock(&mutex);
    counts[event]++;
    bool admitted = false;
    if (events[event].level >= least) {
        if (limits[event].lines == 0 || now - limits[event].second_begun_ms >= 1000) {
            limits[event].second_begun_ms = now;
            limits[event].lines = 0;
        }
        admitted = limits[event].lines < LINES_PER_SECOND;
        if (admitted) {
            limits[event].lines++;
            *suppressed = limits[event].suppressed;
            limits[event].suppressed = 0;
        } else {
            limits[event].suppressed++;
        }
    }
    pthread_mutex_unlock(&mutex);
    return admitted;
}

/* "ts=2026-01-31T23:59:59.123Z level=warn event=bad_frame" */
static size_t put_head(char *line, const struct event *event) {
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t used = strftime(line, 32, "ts=%Y-%m-%dT%H:%M:%S", &tm);
    used += (size_t)snprintf(line + used, LINE_BYTES - used, ".%03dZ level=%s event=%s",
                             (int)(ts.tv_nsec / 1000000), level_names[event->level], event->name);
    return used;
}

static void write_line(const char *line, size_t len) {
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n < 0 && errno != EINTR) {
            return; /* nobody is left to be told */
        }
        if (n > 0) {
            line += n;
            len -= (size_t)n;
        }
    }
}

void st_log_event(enum st_event event, const char *format, ...) {
    unsigned long suppressed = 0;
    if (!admit(event, &suppressed)) {
        return;
    }
    int error = errno;
    char line[LINE_BYTES];
    size_t used = put_head(line, &events[event]), end = LINE_BYTES - TAIL_BYTES;
    if (format[0] != '\0') {
        line[used++] = ' ';
        va_list args;
        va_start(args, format);
        int n = vsnprintf(line + used, end - used, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < end - used) {
            used += (size_t)n;
        } else {
            memcpy(line + end - 4, "...", 3);
            used = end - 1;
        }
    }
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    if (suppressed > 0) {
        used += (size_t)snprintf(line + used, LINE_BYTES - used, " suppressed=%lu", suppressed);
    }
    int n = snprintf(line + used, LINE_BYTES - used, " msg=\"%s\"", events[event].text);
    used += (size_t)n < LINE_BYTES - used ? (size_t)n : LINE_BYTES - used - 1;
    line[used++] = '\n';
    write_line(line, used);
    errno = error;
}

/* Bytes that `c` takes inside quotes. */
static size_t escape(unsigned char c, char out[5]) {
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= ' ' && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    return (size_t)snprintf(out, 5, "\\x%02x", c);
}

const char *st_log_quote(const void *bytes, unsigned long len) {
    static _Thread_local char quotes[QUOTES][QUOTE_BYTES];
    static _Thread_local unsigned turn;
    char *quote = quotes[turn++ % QUOTES];
    const unsigned char *from = bytes;
    size_t used = 0;
    quote[used++] = '"';
    for (unsigned long i = 0; i < len; i++) {
        char escaped[5];
        size_t n = escape(from[i], escaped);
        if (used + n + sizeof "...\"" > QUOTE_BYTES) {
            memcpy(quote + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(quote + used, escaped, n);
        used += n;
    }
    quote[used++] = '"';
    quote[used] = '\0';
    return quote;
}
