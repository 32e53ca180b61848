/*
 * One look at the top level finds the members that tell the kinds apart; the front ends' documents promise these and
 * little else, so nothing else is relied on. Names that occur twice cannot come from AWS; the scanner refuses them.
 *
 * Parameters of a REST API arrive decoded, so they are encoded again: the HTTP door decodes once, whoever asks. The
 * load balancer passes them on as they were sent. Where both forms of a header or parameter are there, the one with
 * several values has all of them.
 */
#include "lambda/runtime/event.h"

#include "lambda/base64.h"
#include "lambda/json.h"

#include <string.h>

enum top {
    METHOD,
    PATH,
    RAW_PATH,
    RAW_QUERY,
    HEADERS,
    HEADERS_MULTI,
    QUERY,
    QUERY_MULTI,
    BODY,
    IS_BASE64,
    CONTEXT,
    SOURCE,
    DETAIL_TYPE,
    RECORDS,
    TOP_COUNT,
};

static const char *const top_names[TOP_COUNT] = {
    [METHOD] = "httpMethod",
    [PATH] = "path",
    [RAW_PATH] = "rawPath",
    [RAW_QUERY] = "rawQueryString",
    [HEADERS] = "headers",
    [HEADERS_MULTI] = "multiValueHeaders",
    [QUERY] = "queryStringParameters",
    [QUERY_MULTI] = "multiValueQueryStringParameters",
    [BODY] = "body",
    [IS_BASE64] = "isBase64Encoded",
    [CONTEXT] = "requestContext",
    [SOURCE] = "source",
    [DETAIL_TYPE] = "detail-type",
    [RECORDS] = "Records",
};

struct parse {
    struct rest_json_member top[TOP_COUNT];
    struct kp_arena *arena;
    struct rest_event *event;
    enum rest_event_error error;
};

static bool misfit(struct parse *parse, const char *sentence) {
    parse->event->sentence = sentence;
    parse->error = REST_EVENT_MISFIT;
    return false;
}

static bool no_memory(struct parse *parse) {
    parse->error = REST_EVENT_NO_MEMORY;
    return false;
}

static bool is_object(struct kp_slice value) {
    return value.ptr != NULL && value.ptr[0] == '{';
}

static bool is_null(struct kp_slice value) {
    return value.ptr == NULL || kp_slice_equal(value, KP_SLICE_LIT("null"));
}

static struct kp_slice inside_of(const struct parse *parse, enum top member) {
    return rest_json_inside(parse->top[member].value);
}

/* A member of an object that was checked already; absent when there is none. */
static struct kp_slice member_of(struct kp_slice object, const char *name) {
    struct rest_json_member member = {.name = kp_slice_cstr(name)};
    size_t at;
    return is_object(object) && rest_json_object(object, &member, 1, &at) == REST_JSON_OK ? member.value
                                                                                       : (struct kp_slice){NULL, 0};
}

/* What a string (its inside) means, in the arena. An absent one stays absent. */
static bool copy_text(struct parse *parse, struct kp_slice inside, struct kp_slice *text) {
    *text = (struct kp_slice){NULL, 0};
    if (inside.ptr == NULL) {
        return true;
    }
    uint8_t *into = kp_arena_alloc_raw(parse->arena, inside.len);
    if (into == NULL) {
        return no_memory(parse);
    }
    *text = kp_slice_of(into, rest_json_unescape(inside, into));
    return true;
}

/* ---- headers ---- */

static size_t count_values(struct kp_slice object) {
    struct kp_slice name, value, element;
    size_t count = 0;
    while (rest_json_next_member(&object, &name, &value)) {
        if (value.ptr[0] != '[') {
            count++;
        }
        while (rest_json_next_value(&value, &element)) {
            count++;
        }
    }
    return count;
}

static bool add_header(struct parse *parse, struct rest_header *headers, struct kp_slice name, struct kp_slice value) {
    struct kp_slice inside = rest_json_inside(value);
    if (inside.ptr == NULL) {
        return is_null(value) || misfit(parse, "A header of the event is no string.");
    }
    struct rest_header *header = &headers[parse->event->request.header_count++];
    return copy_text(parse, name, &header->name) && copy_text(parse, inside, &header->value);
}

static bool take_headers(struct parse *parse) {
    bool multi = is_object(parse->top[HEADERS_MULTI].value);
    struct kp_slice object = parse->top[multi ? HEADERS_MULTI : HEADERS].value, name, value, element;
    parse->event->multi_value = multi;
    if (is_null(object)) {
        return true;
    }
    size_t count = is_object(object) ? count_values(object) : SIZE_MAX;
    if (count > REST_EVENT_HEADERS_MAX) {
        return misfit(parse, "The event's headers are no object, or too many.");
    }
    struct rest_header *headers = kp_arena_array(parse->arena, count, sizeof *headers);
    if (headers == NULL) {
        return no_memory(parse);
    }
    parse->event->request.headers = headers;
    while (rest_json_next_member(&object, &name, &value)) {
        if (value.ptr[0] != '[' && !add_header(parse, headers, name, value)) {
            return false;
        }
        while (rest_json_next_value(&value, &element)) {
            if (!add_header(parse, headers, name, element)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the query ---- */

struct text {
    uint8_t *at, *end;
    bool encode; /* what a URI keeps for itself becomes %XX (RFC 3986, 2.1) */
};

static bool is_unreserved(uint8_t c) {
    uint8_t lower = c | 0x20;
    return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || (c != 0 && strchr("-._~", c) != NULL);
}

static void put_raw(struct text *text, uint8_t c) {
    if (text->at < text->end) {
        *text->at++ = c;
    }
}

static void put_string(struct text *text, struct kp_slice inside) {
    static const char digits[] = "0123456789ABCDEF";
    uint8_t *from = text->at;
    size_t len = rest_json_unescape(inside, from);
    text->at = from + len;
    if (!text->encode) {
        return;
    }
    size_t escapes = 0;
    for (size_t i = 0; i < len; i++) {
        escapes += !is_unreserved(from[i]);
    }
    uint8_t *to = text->at = from + len + 2 * escapes;
    for (size_t i = len; escapes > 0 && i-- > 0;) { /* from behind, so that it is done in place */
        uint8_t c = from[i];
        if (is_unreserved(c)) {
            *--to = c;
        } else {
            *--to = (uint8_t)digits[c & 15];
            *--to = (uint8_t)digits[c >> 4];
            *--to = '%';
            escapes--;
        }
    }
}

static bool put_parameter(struct parse *parse, struct text *text, struct kp_slice name, struct kp_slice value) {
    struct kp_slice inside = rest_json_inside(value);
    if (inside.ptr == NULL && !is_null(value)) {
        return misfit(parse, "A query parameter of the event is no string.");
    }
    const uint8_t *first = parse->event->request.query.ptr;
    if (text->at != first) {
        put_raw(text, '&');
    }
    put_string(text, name);
    put_raw(text, '=');
    if (inside.ptr != NULL) {
        put_string(text, inside);
    }
    return true;
}

/* How long the rebuilt query can become: a byte of a string is at least one byte of the event, and up to three here;
 * a name is there once for each of its values. */
static size_t query_room(struct kp_slice object) {
    struct kp_slice name, value, element, rest = object;
    size_t room = 0;
    while (rest_json_next_member(&rest, &name, &value)) {
        bool array = value.ptr[0] == '[';
        room += array ? 0 : 3 * (name.len + value.len) + 2;
        while (rest_json_next_value(&value, &element)) {
            room += 3 * (name.len + element.len) + 2;
        }
    }
    return room;
}

static bool rebuild_query(struct parse *parse) {
    bool multi = is_object(parse->top[QUERY_MULTI].value);
    struct kp_slice object = parse->top[multi ? QUERY_MULTI : QUERY].value, name, value, element;
    if (is_null(object)) {
        return true;
    }
    size_t room = is_object(object) ? query_room(object) : SIZE_MAX;
    if (room > REST_EVENT_BYTES_MAX) {
        return misfit(parse, "The event's query parameters are no object, or too many.");
    }
    struct text text = {.at = kp_arena_alloc_raw(parse->arena, room),
                        .encode = parse->event->kind == REST_EVENT_REST_API};
    if (text.at == NULL) {
        return no_memory(parse);
    }
    text.end = text.at + room;
    struct kp_slice *query = &parse->event->request.query;
    *query = kp_slice_of(text.at, 0);
    while (rest_json_next_member(&object, &name, &value)) {
        if (value.ptr[0] != '[' && !put_parameter(parse, &text, name, value)) {
            return false;
        }
        while (rest_json_next_value(&value, &element)) {
            if (!put_parameter(parse, &text, name, element)) {
                return false;
            }
        }
    }
    query->len = (size_t)(text.at - query->ptr);
    return true;
}

/* ---- the body ---- */

static bool take_body(struct parse *parse) {
    struct kp_slice inside = inside_of(parse, BODY);
    if (inside.ptr == NULL) {
        return is_null(parse->top[BODY].value) || misfit(parse, "The event's body is no string.");
    }
    struct kp_blob *blob = kp_blob_new(inside.len > 0 ? inside.len : 1);
    bool held = blob != NULL && kp_arena_hold(parse->arena, blob);
    kp_blob_unref(blob); /* the arena has its own reference */
    if (!held) {
        return no_memory(parse);
    }
    size_t len = rest_json_unescape(inside, blob->data);
    bool base64 = kp_slice_equal(parse->top[IS_BASE64].value, KP_SLICE_LIT("true"));
    if (base64 && !rest_base64_decode(kp_slice_of(blob->data, len), blob->data, &len)) { /* in place */
        return misfit(parse, "The event's body is said to be base64 and is not.");
    }
    parse->event->request.body = (struct kp_piece){blob, kp_slice_of(blob->data, len)};
    return true;
}

/* ---- kinds ---- */

static bool ends_in_function_url(struct kp_slice inside) {
    return inside.ptr != NULL && memmem(inside.ptr, inside.len, ".lambda-url.", 12) != NULL;
}

static enum rest_event_kind kind_of(const struct parse *parse) {
    struct kp_slice context = parse->top[CONTEXT].value;
    if (inside_of(parse, METHOD).ptr != NULL && inside_of(parse, PATH).ptr != NULL) {
        return is_object(member_of(context, "elb")) ? REST_EVENT_LOAD_BALANCER : REST_EVENT_REST_API;
    }
    if (inside_of(parse, RAW_PATH).ptr != NULL && is_object(member_of(context, "http"))) {
        bool url = ends_in_function_url(rest_json_inside(member_of(context, "domainName")));
        return url ? REST_EVENT_FUNCTION_URL : REST_EVENT_HTTP_API;
    }
    struct kp_slice source = inside_of(parse, SOURCE);
    if (kp_slice_equal(inside_of(parse, DETAIL_TYPE), KP_SLICE_LIT("Scheduled Event")) &&
        (kp_slice_equal(source, KP_SLICE_LIT("aws.events")) || kp_slice_equal(source, KP_SLICE_LIT("aws.scheduler")))) {
        return REST_EVENT_SCHEDULED;
    }
    return REST_EVENT_UNKNOWN;
}

static const char *unknown_sentence(const struct parse *parse) {
    if (parse->top[RECORDS].value.ptr != NULL) {
        return "This function takes no records of queues, streams or buckets: it answers HTTP.";
    }
    if (parse->top[DETAIL_TYPE].value.ptr != NULL) {
        return "Of EventBridge's events this function takes scheduled ones only.";
    }
    return "The event is none of API Gateway, a function URL, a load balancer or a schedule.";
}

/* The path of an HTTP API begins with the stage, unless that is $default. */
static void cut_stage(struct kp_slice *path, struct kp_slice stage) {
    if (stage.ptr == NULL || stage.len == 0 || path->len < stage.len + 1 || path->ptr[0] != '/' ||
        memcmp(path->ptr + 1, stage.ptr, stage.len) != 0) {
        return;
    }
    struct kp_slice rest = kp_slice_of(path->ptr + 1 + stage.len, path->len - 1 - stage.len);
    if (rest.len == 0) {
        *path = KP_SLICE_LIT("/");
    } else if (rest.ptr[0] == '/') {
        *path = rest;
    }
}

static bool take_target(struct parse *parse) {
    struct rest_request *request = &parse->event->request;
    struct kp_slice context = parse->top[CONTEXT].value;
    if (parse->event->kind == REST_EVENT_REST_API || parse->event->kind == REST_EVENT_LOAD_BALANCER) {
        return copy_text(parse, inside_of(parse, METHOD), &request->method) &&
               copy_text(parse, inside_of(parse, PATH), &request->path) && rebuild_query(parse);
    }
    struct kp_slice method = rest_json_inside(member_of(member_of(context, "http"), "method"));
    if (method.ptr == NULL) {
        return misfit(parse, "The event has no requestContext.http.method.");
    }
    if (!copy_text(parse, method, &request->method) || !copy_text(parse, inside_of(parse, RAW_PATH), &request->path) ||
        !copy_text(parse, inside_of(parse, RAW_QUERY), &request->query)) {
        return false;
    }
    if (parse->event->kind == REST_EVENT_HTTP_API) {
        cut_stage(&request->path, rest_json_inside(member_of(context, "stage")));
    }
    return true;
}

enum rest_event_error rest_event_parse(struct kp_slice text, struct kp_arena *arena, struct rest_event *event) {
    struct parse parse = {.arena = arena, .event = event, .error = REST_EVENT_OK};
    for (size_t i = 0; i < TOP_COUNT; i++) {
        parse.top[i].name = kp_slice_cstr(top_names[i]);
    }
    *event = (struct rest_event){.kind = REST_EVENT_UNKNOWN};
    size_t at;
    if (rest_json_object(text, parse.top, TOP_COUNT, &at) != REST_JSON_OK) {
        event->sentence = "The event is no JSON object.";
        return REST_EVENT_BAD_JSON;
    }
    event->kind = kind_of(&parse);
    if (event->kind == REST_EVENT_UNKNOWN) {
        event->sentence = unknown_sentence(&parse);
        return REST_EVENT_MISFIT;
    }
    if (event->kind != REST_EVENT_SCHEDULED && take_headers(&parse) && take_target(&parse)) {
        take_body(&parse);
    }
    return parse.error;
}
