/*
 * What is to happen to requests, and what has: faults by kind and probability, latencies by kind, outages, counts. Set
 * and read by the lines of the control port (rules.c has them); thread-safe.
 */
#ifndef PROXY_RULES_H
#define PROXY_RULES_H

#include "kinds.h"
#include "units.h"
#include <stdbool.h>
#include <stdint.h>

enum effect { NONE, FULL, PART, LATE, HELD };
enum action { GIVE, RESET, CUT, ERROR, TRICKLE, HOLD, TAKE };

enum fault {
#define FAULT(name, services, effect, action, status, code) FAULT_##name,
#include "faults.def"
#undef FAULT
    FAULTS, /* none */
};

struct fault_row {
    const char *name;
    unsigned services;
    enum effect effect;
    enum action action;
    int status;
    const char *code;
};
extern const struct fault_row fault_rows[FAULTS + 1]; /* the last one does nothing: FULL, GIVE */

/* What is decided for one request when its head has come. */
struct plan {
    enum fault fault;
    uint64_t fault_ms;   /* the rule's time, for LATE, HELD and HOLD */
    uint64_t latency_ns; /* from the request's last byte to the answer, unless the server takes longer */
};

/* A request for rules and counts. */
struct request {
    enum kind kind;
    bool conditional; /* has If-None-Match */
    bool has_object;  /* GET and HEAD: a 200 is the object's */
};

struct plan rules_plan(const struct request *request);
/* Ends `when` the service is back, as CLOCK_MONOTONIC's nanoseconds; 0: it is there. */
uint64_t rules_away_until(enum service service);

/* `place`: where in the bucket or table, "" for unknown. */
void rules_count(enum kind kind, const char *place, uint64_t bytes_in, uint64_t bytes_out,
                 const struct units *units);
void rules_count_connection(enum service service);

/* One line of the control port; the answer is lines that end with "ok" or "error SENTENCE". */
void rules_command(const char *line, void (*print)(void *arg, const char *text), void *arg);

uint64_t clock_ns(void);

#endif
