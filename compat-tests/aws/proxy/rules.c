/*
 * Commands, one a line:
 *
 *   seed N                        draws begin anew
 *   fault KIND NAME RATE [MS]     from now on requests of this kind meet it with probability RATE (0: not any more)
 *   latency KIND P50 P99          log-normal, milliseconds; 0 0: none
 *   away SERVICE MS               refuses connections and resets those that are open; 0: is back
 *   calm                          forgets faults, latencies and outages
 *   counts                        a line for each place of each kind that was asked for, each fault and each service
 *   forget                        counts from zero
 *
 * KIND is as in kinds.def: s3.put, dynamodb.query; s3.*, dynamodb.* or * stands for several. A fault that is not for a
 * kind's service is left out. Rules are tried in the order in which they were given, each by its own draw, the first
 * that hits is the request's.
 *
 * One sequence of random numbers serves all, in the order in which requests come: the same seed and the same order of
 * requests meet the same faults.
 */
#include "rules.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RULES_MAX = 256, PLACES_MAX = 64, STALL_MS = 30000 };

const struct fault_row fault_rows[FAULTS + 1] = {
#define FAULT(name, services, effect, action, status, code) {#name, services, effect, action, status, code},
#include "faults.def"
#undef FAULT
    {"none", S3 | DYNAMODB, FULL, GIVE, 0, ""},
};

static const struct {
    const char *name;
    enum service service;
} kind_rows[KINDS] = {
#define KIND(service, name, target) {#name, service},
#include "kinds.def"
#undef KIND
};

struct rule {
    uint32_t kinds; /* a bit each */
    enum fault fault;
    double rate;
    uint64_t ms;
};

struct counted {
    enum kind kind;
    char place[16];
    uint64_t requests, bytes_in, bytes_out, write_units, read_halves, puts, deletes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t random_state = 0x9e3779b97f4a7c15u;
static struct rule rules[RULES_MAX];
static size_t rule_count;
static struct {
    double p50, p99; /* milliseconds; 0: none */
} latencies[KINDS];
static uint64_t away_until[2], connections[2];
static struct counted places[PLACES_MAX];
static size_t place_count;
static uint64_t faults_met[KINDS][FAULTS];

uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *service_name(enum service service) {
    return service == S3 ? "s3" : "dynamodb";
}

/* ---- draws ---- */

static uint64_t next_random(void) { /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1du;
}

static double next_unit(void) { /* in (0, 1] */
    return ((double)(next_random() >> 11) + 1) / 9007199254740992.0;
}

static uint64_t draw_latency(enum kind kind) {
    const double standard_p99 = 2.3263478740408408, two_pi = 6.283185307179586;
    double p50 = latencies[kind].p50, p99 = latencies[kind].p99;
    if (p50 <= 0) {
        return 0;
    }
    double normal = sqrt(-2 * log(next_unit())) * cos(two_pi * next_unit()); /* Box and Muller */
    double ms = p50 * exp(log(p99 / p50) / standard_p99 * normal);
    return (uint64_t)(ms * 1e6);
}

static bool fits(const struct rule *rule, const struct request *request) {
    return (rule->kinds & 1u << request->kind) != 0 && (rule->fault != FAULT_own_retry || request->conditional) &&
           (rule->fault != FAULT_error_200 || !request->has_object);
}

struct plan rules_plan(const struct request *request) {
    struct plan plan = {.fault = FAULTS};
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < rule_count && plan.fault == FAULTS; i++) {
        if (fits(&rules[i], request) && next_unit() <= rules[i].rate) {
            plan.fault = rules[i].fault;
            plan.fault_ms = rules[i].ms;
            faults_met[request->kind][plan.fault]++;
        }
    }
    plan.latency_ns = draw_latency(request->kind);
    pthread_mutex_unlock(&lock);
    return plan;
}

uint64_t rules_away_until(enum service service) {
    pthread_mutex_lock(&lock);
    uint64_t until = away_until[service - 1];
    if (until != 0 && until <= clock_ns()) {
        until = away_until[service - 1] = 0;
    }
    pthread_mutex_unlock(&lock);
    return until;
}

/* ---- counts ---- */

void rules_count(enum kind kind, const char *place, uint64_t bytes_in, uint64_t bytes_out,
                 const struct units *units) {
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < place_count && (places[i].kind != kind || strcmp(places[i].place, place) != 0)) {
        i++;
    }
    if (i == place_count && place_count < PLACES_MAX) {
        places[i] = (struct counted){.kind = kind};
        snprintf(places[i].place, sizeof places[i].place, "%s", place);
        place_count++;
    }
    if (i < PLACES_MAX) {
        places[i].requests++;
        places[i].bytes_in += bytes_in;
        places[i].bytes_out += bytes_out;
        places[i].write_units += units->write;
        places[i].read_halves += units->read_halves;
        places[i].puts += units->puts;
        places[i].deletes += units->deletes;
    }
    pthread_mutex_unlock(&lock);
}

void rules_count_connection(enum service service) {
    pthread_mutex_lock(&lock);
    connections[service - 1]++;
    pthread_mutex_unlock(&lock);
}

static void print_counts(void (*print)(void *arg, const char *text), void *arg) {
    char line[400];
    for (size_t i = 0; i < place_count; i++) {
        const struct counted *c = &places[i];
        snprintf(line, sizeof line,
                 "kind=%s.%s place=%s requests=%llu bytes_in=%llu bytes_out=%llu write_units=%llu read_units=%.1f "
                 "puts=%llu deletes=%llu\n",
                 service_name(kind_rows[c->kind].service), kind_rows[c->kind].name,
                 c->place[0] == '\0' ? "-" : c->place, (unsigned long long)c->requests,
                 (unsigned long long)c->bytes_in, (unsigned long long)c->bytes_out,
                 (unsigned long long)c->write_units, (double)c->read_halves / 2, (unsigned long long)c->puts,
                 (unsigned long long)c->deletes);
        print(arg, line);
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (size_t fault = 0; fault < FAULTS; fault++) {
            if (faults_met[kind][fault] != 0) {
                snprintf(line, sizeof line, "fault=%s kind=%s.%s met=%llu\n", fault_rows[fault].name,
                         service_name(kind_rows[kind].service), kind_rows[kind].name,
                         (unsigned long long)faults_met[kind][fault]);
                print(arg, line);
            }
        }
    }
    snprintf(line, sizeof line, "service=s3 connections=%llu\nservice=dynamodb connections=%llu\n",
             (unsigned long long)connections[S3 - 1], (unsigned long long)connections[DYNAMODB - 1]);
    print(arg, line);
}

/* ---- commands ---- */

/* A bit for each kind that the word names; 0: none. */
static uint32_t kinds_named(const char *word) {
    uint32_t found = 0;
    for (size_t kind = 0; kind < KINDS; kind++) {
        char whole[64], any[64];
        snprintf(whole, sizeof whole, "%s.%s", service_name(kind_rows[kind].service), kind_rows[kind].name);
        snprintf(any, sizeof any, "%s.*", service_name(kind_rows[kind].service));
        if (strcmp(word, "*") == 0 || strcmp(word, whole) == 0 || strcmp(word, any) == 0) {
            found |= 1u << kind;
        }
    }
    return found;
}

static const char *command_fault(const char *line) {
    char kind[64], name[64];
    double rate;
    unsigned long long ms = STALL_MS;
    if (sscanf(line, "%63s %63s %lf %llu", kind, name, &rate, &ms) < 3 || rate < 0 || rate > 1) {
        return "fault KIND NAME RATE [MS] is due, RATE from 0 to 1";
    }
    struct rule rule = {.kinds = kinds_named(kind), .fault = FAULTS, .rate = rate, .ms = ms};
    for (size_t i = 0; i < FAULTS; i++) {
        rule.fault = strcmp(name, fault_rows[i].name) == 0 ? (enum fault)i : rule.fault;
    }
    if (rule.fault == FAULTS) {
        return "no fault has this name";
    }
    for (size_t i = 0; i < KINDS; i++) {
        if ((fault_rows[rule.fault].services & kind_rows[i].service) == 0) {
            rule.kinds &= ~(1u << i);
        }
    }
    if (rule.kinds == 0) {
        return "no kind of request has this name and can meet this fault";
    }
    size_t at = 0;
    while (at < rule_count && (rules[at].kinds != rule.kinds || rules[at].fault != rule.fault)) {
        at++;
    }
    if (at == RULES_MAX) {
        return "there are too many rules";
    }
    rules[at] = rule;
    rule_count += at == rule_count;
    return NULL;
}

static const char *command_latency(const char *line) {
    char name[64];
    double p50, p99;
    if (sscanf(line, "%63s %lf %lf", name, &p50, &p99) != 3 || p50 < 0 || p99 < p50) {
        return "latency KIND P50 P99 is due, in milliseconds";
    }
    uint32_t kinds = kinds_named(name);
    for (size_t i = 0; i < KINDS; i++) {
        if ((kinds & 1u << i) != 0) {
            latencies[i].p50 = p50;
            latencies[i].p99 = p99;
        }
    }
    return kinds == 0 ? "no kind of request has this name" : NULL;
}

static const char *command_away(const char *line) {
    char name[64];
    unsigned long long ms;
    if (sscanf(line, "%63s %llu", name, &ms) != 2 || (strcmp(name, "s3") != 0 && strcmp(name, "dynamodb") != 0)) {
        return "away SERVICE MS is due, SERVICE s3 or dynamodb";
    }
    away_until[(strcmp(name, "s3") == 0 ? S3 : DYNAMODB) - 1] = ms == 0 ? 0 : clock_ns() + ms * 1000000u;
    return NULL;
}

static const char *run(const char *line, void (*print)(void *arg, const char *text), void *arg) {
    char word[32] = "";
    int rest = 0;
    sscanf(line, "%31s %n", word, &rest);
    if (strcmp(word, "fault") == 0) {
        return command_fault(line + rest);
    }
    if (strcmp(word, "latency") == 0) {
        return command_latency(line + rest);
    }
    if (strcmp(word, "away") == 0) {
        return command_away(line + rest);
    }
    if (strcmp(word, "seed") == 0) {
        random_state = (strtoull(line + rest, NULL, 10) + 1) * 0x9e3779b97f4a7c15u | 1u;
    } else if (strcmp(word, "calm") == 0) {
        rule_count = 0;
        memset(latencies, 0, sizeof latencies);
        memset(away_until, 0, sizeof away_until);
    } else if (strcmp(word, "counts") == 0) {
        print_counts(print, arg);
    } else if (strcmp(word, "forget") == 0) {
        place_count = 0;
        memset(faults_met, 0, sizeof faults_met);
        memset(connections, 0, sizeof connections);
    } else {
        return "no command has this name";
    }
    return NULL;
}

void rules_command(const char *line, void (*print)(void *arg, const char *text), void *arg) {
    char last[160];
    pthread_mutex_lock(&lock);
    const char *error = run(line, print, arg);
    pthread_mutex_unlock(&lock);
    snprintf(last, sizeof last, "%s%s\n", error == NULL ? "ok" : "error ", error == NULL ? "" : error);
    print(arg, last);
}
