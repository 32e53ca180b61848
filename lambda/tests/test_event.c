/*
 * Events as the front ends write them (events/NAME.json) and what they mean (events/NAME.txt): kind, request line,
 * headers, body. RECORD=1 in the environment writes the .txt files anew, to be read before they are committed.
 */
#include "lambda/runtime/event.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ARENA (64u << 20)

static const char *const kinds[] = {
    [REST_EVENT_REST_API] = "rest api",           [REST_EVENT_HTTP_API] = "http api",
    [REST_EVENT_FUNCTION_URL] = "function url",   [REST_EVENT_LOAD_BALANCER] = "load balancer",
    [REST_EVENT_SCHEDULED] = "scheduled",         [REST_EVENT_UNKNOWN] = "unknown",
};

/* The whole file, NUL-terminated; NULL when it is not there. */
static char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *len = fread(text, 1, (1 << 20) - 1, file);
    text[*len] = 0;
    fclose(file);
    return text;
}

/* Bytes that are no printable ASCII as <hh>. */
static void dump_bytes(FILE *to, struct kp_slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.ptr[i] >= ' ' && bytes.ptr[i] < 0x7f && bytes.ptr[i] != '<') {
            fputc(bytes.ptr[i], to);
        } else {
            fprintf(to, "<%02x>", bytes.ptr[i]);
        }
    }
}

static void dump_line(FILE *to, const char *name, struct kp_slice bytes) {
    fprintf(to, "%s", name);
    if (bytes.ptr == NULL) {
        fprintf(to, " (absent)");
    } else {
        fputc(' ', to);
        dump_bytes(to, bytes);
    }
    fputc('\n', to);
}

static char *dump(const struct rest_event *event, enum rest_event_error error) {
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    fprintf(to, "%s%s\n", kinds[event->kind], event->multi_value ? ", several values" : "");
    if (error != REST_EVENT_OK) {
        fprintf(to, "refused: %s\n", event->sentence);
    } else if (rest_event_is_http(event)) {
        dump_line(to, "method", event->request.method);
        dump_line(to, "path", event->request.path);
        dump_line(to, "query", event->request.query);
        for (size_t i = 0; i < event->request.header_count; i++) {
            fprintf(to, "header ");
            dump_bytes(to, event->request.headers[i].name);
            dump_line(to, ":", event->request.headers[i].value);
        }
        dump_line(to, "body", event->request.body.bytes);
    }
    fclose(to);
    return text;
}

/* Parses a copy of exact size that is gone before the event is looked at: nothing may lie in it. */
static char *parse_and_dump(struct kp_slice text) {
    uint8_t *copy = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(copy);
    memcpy(copy, text.ptr, text.len);
    struct kp_arena arena;
    kp_arena_init(&arena, ARENA);
    struct rest_event event;
    enum rest_event_error error = rest_event_parse(kp_slice_of(copy, text.len), &arena, &event);
    free(copy);
    char *got = dump(&event, error);
    kp_arena_release(&arena);
    return got;
}

static void check_fixture(const char *name) {
    char path[512];
    size_t len, expected_len;
    snprintf(path, sizeof path, TEST_DATA_DIR "/events/%s", name);
    char *json = read_file(path, &len);
    assert_non_null(json);
    char *got = parse_and_dump(kp_slice_of(json, len));
    snprintf(path + strlen(path) - 5, 6, ".txt");
    if (getenv("RECORD") != NULL) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fputs(got, file);
        fclose(file);
    }
    char *expected = read_file(path, &expected_len);
    if (expected == NULL || strcmp(expected, got) != 0) {
        fail_msg("%s means\n%s", name, got);
    }
    free(expected);
    free(got);
    free(json);
}

static void each_documented_event_means_what_it_says(void **state) {
    (void)state;
    DIR *dir = opendir(TEST_DATA_DIR "/events");
    assert_non_null(dir);
    unsigned fixtures = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0) {
            check_fixture(entry->d_name);
            fixtures++;
        }
    }
    closedir(dir);
    assert_true(fixtures >= 20);
}

static void every_prefix_of_an_event_is_refused(void **state) {
    (void)state;
    size_t len;
    char *json = read_file(TEST_DATA_DIR "/events/http_api_produce.json", &len);
    assert_non_null(json);
    while (len > 0 && json[len - 1] != '}') {
        len--;
    }
    for (size_t cut = 0; cut < len; cut++) {
        char *got = parse_and_dump(kp_slice_of(json, cut));
        assert_string_equal(got, "unknown\nrefused: The event is no JSON object.\n");
        free(got);
    }
    free(json);
}

static struct kp_slice body_of(const char *json, struct kp_arena *arena, enum rest_event_error *error) {
    struct rest_event event;
    *error = rest_event_parse(kp_slice_cstr(json), arena, &event);
    return event.request.body.bytes;
}

static void a_body_arrives_byte_for_byte(void **state) {
    (void)state;
    static const struct {
        const char *body, *base64, *bytes;
        size_t len;
    } cases[] = {
        {"\"\"", "false", "", 0},
        {"\"\\u0000\\ud83d\\ude00\\n\\\"\"", "false", "\0\xf0\x9f\x98\x80\n\"", 7},
        {"\"AA==\"", "false", "AA==", 4},
        {"\"AA==\"", "true", "\0", 1},
        {"\"//79\"", "true", "\xff\xfe\xfd", 3},
        {"\"\\u0041\\u0041A=\"", "true", "\0\0", 2},
        {"\"\"", "true", "", 0},
        {"null", "false", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[256];
        snprintf(json, sizeof json, "{\"httpMethod\":\"POST\",\"path\":\"/\",\"body\":%s,\"isBase64Encoded\":%s}",
                 cases[i].body, cases[i].base64);
        struct kp_arena arena;
        kp_arena_init(&arena, ARENA);
        enum rest_event_error error;
        struct kp_slice body = body_of(json, &arena, &error);
        assert_int_equal(error, REST_EVENT_OK);
        assert_true(kp_slice_equal(body, kp_slice_of(cases[i].bytes, cases[i].len)));
        kp_arena_release(&arena);
    }
}

static void what_is_no_base64_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"A", "AA", "AAA", "A===", "====", "AA=A", "AA==AAAA", "A A=", "AA-_", "AAA\\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char json[256];
        snprintf(json, sizeof json,
                 "{\"httpMethod\":\"POST\",\"path\":\"/\",\"body\":\"%s\",\"isBase64Encoded\":true}", texts[i]);
        struct kp_arena arena;
        kp_arena_init(&arena, ARENA);
        enum rest_event_error error;
        body_of(json, &arena, &error);
        assert_int_equal(error, REST_EVENT_MISFIT);
        kp_arena_release(&arena);
    }
}

static void what_does_not_fit_into_memory_is_said(void **state) {
    (void)state;
    size_t len;
    char *json = read_file(TEST_DATA_DIR "/events/rest_api_consume.json", &len);
    assert_non_null(json);
    struct kp_arena arena;
    kp_arena_init(&arena, 16);
    struct rest_event event;
    assert_int_equal(rest_event_parse(kp_slice_of(json, len), &arena, &event), REST_EVENT_NO_MEMORY);
    assert_int_equal(event.kind, REST_EVENT_REST_API);
    kp_arena_release(&arena);
    free(json);
}

static void more_headers_than_any_front_end_sends_are_refused(void **state) {
    (void)state;
    char *json;
    size_t size;
    FILE *to = open_memstream(&json, &size);
    assert_non_null(to);
    fprintf(to, "{\"httpMethod\":\"GET\",\"path\":\"/\",\"multiValueHeaders\":{\"a\":[\"0\"");
    for (int i = 0; i < REST_EVENT_HEADERS_MAX; i++) {
        fprintf(to, ",\"1\"");
    }
    fprintf(to, "]}}");
    fclose(to);
    char *got = parse_and_dump(kp_slice_of(json, size));
    assert_non_null(strstr(got, "too many"));
    free(got);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_documented_event_means_what_it_says),
        cmocka_unit_test(every_prefix_of_an_event_is_refused),
        cmocka_unit_test(a_body_arrives_byte_for_byte),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(what_does_not_fit_into_memory_is_said),
        cmocka_unit_test(more_headers_than_any_front_end_sends_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
