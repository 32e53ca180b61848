#include "lambda/router.h"

#include "lambda/exchange.h"

#include <stdio.h>

#define SEGMENTS_MAX 8

static const struct rest_route routes[] = {
#define ROUTE(method, pattern, handler) {method, pattern, rest_##handler##_start},
#include "lambda/routes.def"
#undef ROUTE
};
#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

struct segments {
    struct kp_slice at[SEGMENTS_MAX];
    size_t count;
};

/* False when path does not begin with a slash or has more segments than any pattern. */
static bool split(struct kp_slice path, struct segments *segments) {
    segments->count = 0;
    if (path.len > 1 && path.ptr[path.len - 1] == '/') {
        path.len--;
    }
    while (path.len > 0) {
        if (path.ptr[0] != '/' || segments->count == SEGMENTS_MAX) {
            return false;
        }
        const uint8_t *next = memchr(path.ptr + 1, '/', path.len - 1);
        size_t len = next == NULL ? path.len : (size_t)(next - path.ptr);
        segments->at[segments->count++] = kp_slice_of(path.ptr + 1, len - 1);
        path = kp_slice_of(path.ptr + len, path.len - len);
    }
    return segments->count > 0;
}

static bool pattern_fits(const char *pattern, const struct segments *segments, size_t from, struct kp_slice *topic) {
    struct segments wanted;
    if (!split(kp_slice_cstr(pattern), &wanted) || wanted.count != segments->count - from) {
        return false;
    }
    *topic = (struct kp_slice){NULL, 0};
    for (size_t i = 0; i < wanted.count; i++) {
        struct kp_slice given = segments->at[from + i];
        if (kp_slice_equal(wanted.at[i], KP_SLICE_LIT("{topic}"))) {
            *topic = given;
        } else if (!kp_slice_equal(wanted.at[i], given)) {
            return false;
        }
    }
    return true;
}

static bool is_stage(struct kp_slice segment) {
    if (segment.len < 1 || segment.len > 128) {
        return false;
    }
    for (size_t i = 0; i < segment.len; i++) {
        uint8_t c = segment.ptr[i], lower = c | 0x20;
        bool letter = lower >= 'a' && lower <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '$') {
            return false;
        }
    }
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        struct segments pattern;
        if (split(kp_slice_cstr(routes[i].pattern), &pattern) && kp_slice_equal(pattern.at[0], segment)) {
            return false;
        }
    }
    return true;
}

static void allow(struct rest_match *match, const char *method) {
    size_t used = strlen(match->allow);
    const char *also = strcmp(method, "GET") == 0 ? ", HEAD" : "";
    snprintf(match->allow + used, sizeof match->allow - used, "%s%s%s", used > 0 ? ", " : "", method, also);
}

void rest_match(struct kp_slice method, struct kp_slice path, struct rest_match *match) {
    *match = (struct rest_match){.route = NULL};
    struct segments segments;
    if (!split(path, &segments)) {
        return;
    }
    size_t from = segments.count > 1 && is_stage(segments.at[0]) ? 1 : 0;
    struct kp_slice served = kp_slice_equal(method, KP_SLICE_LIT("HEAD")) ? KP_SLICE_LIT("GET") : method;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        struct kp_slice topic;
        if (!pattern_fits(routes[i].pattern, &segments, from, &topic)) {
            continue;
        }
        match->topic = topic;
        if (kp_slice_equal(served, kp_slice_cstr(routes[i].method))) {
            match->route = &routes[i];
            match->allow[0] = 0;
            return;
        }
        allow(match, routes[i].method);
    }
}
