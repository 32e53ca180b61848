/*
 * Logs: logfmt, one line an event, on standard error: ts=... level=... event=... key=value... msg="sentence"
 * Events are declared in events.def: EVENT(level, name, "sentence"). Each is limited to a few lines a second; what was
 * held back is counted in suppressed=N on the next one. Any thread may log. No payload bytes and no secrets are ever
 * logged.
 */
#ifndef ST_LOG_H
#define ST_LOG_H

enum st_log_level { ST_DEBUG, ST_INFO, ST_WARN, ST_ERROR };

enum st_event {
#define EVENT(level, name, text) ST_EVENT_##name,
#include "storage/runtime/events.def"
#undef EVENT
    ST_EVENT_COUNT
};

/* ST_LOG(name, "key=%d other=%s", ...): the format holds key=value pairs; pass "" for none. String values with blanks
 * or quotes must go through %q-like quoting by the caller: st_log_quote. */
#define ST_LOG(name, ...) st_log_event(ST_EVENT_##name, __VA_ARGS__)
void st_log_event(enum st_event event, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A quoted, escaped and truncated copy of bytes in a rotating buffer of the thread: good until 4 calls later. */
const char *st_log_quote(const void *bytes, unsigned long len);
/* Events below this level are dropped; the default is ST_INFO. */
void st_log_level(enum st_log_level least);
/* How often the event happened in this process, written or not: for tests. */
unsigned long st_log_count(enum st_event event);

#endif
