/* Any bytes as an event, and an answer with them as its body: both ends in well-formed JSON or a clear refusal. */
#include "lambda/json.h"
#include "lambda/runtime/answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_request(const struct rest_event *event) {
    must(event->request.method.ptr != NULL && event->request.path.ptr != NULL);
    must(event->request.header_count <= REST_EVENT_HEADERS_MAX);
    size_t sum = 0; /* reads every byte that is named */
    for (size_t i = 0; i < event->request.header_count; i++) {
        struct kp_slice name = event->request.headers[i].name, value = event->request.headers[i].value;
        for (size_t j = 0; j < name.len; j++) {
            sum += name.ptr[j];
        }
        for (size_t j = 0; j < value.len; j++) {
            sum += value.ptr[j];
        }
    }
    must(sum != SIZE_MAX);
    must(rest_utf8_valid(event->request.path));
}

static void check_answer(const struct rest_event *event, struct kp_slice body) {
    struct rest_response response = {.status = 200, .content_type = "application/json"};
    kp_chain_init(&response.body);
    kp_chain_copy(&response.body, body.ptr, body.len / 3);
    struct kp_slice rest = kp_slice_of(body.ptr + body.len / 3, body.len - body.len / 3);
    kp_chain_piece(&response.body, (struct kp_piece){NULL, rest});
    struct kp_chain out;
    kp_chain_init(&out);
    must(rest_answer_whole(event, &response, &out) == REST_ANSWER_OK);
    must(out.count == 1 && rest_json_valid(out.pieces[0].bytes));
    kp_chain_release(&out);
    rest_response_release(&response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kp_arena arena;
    kp_arena_init(&arena, 4u << 20);
    struct rest_event event;
    enum rest_event_error error = rest_event_parse(kp_slice_of(data, size), &arena, &event);
    if (error == REST_EVENT_OK && rest_event_is_http(&event)) {
        check_request(&event);
    }
    must(error == REST_EVENT_OK || error == REST_EVENT_NO_MEMORY || event.sentence != NULL);
    check_answer(&event, kp_slice_of(data, size));
    kp_arena_release(&arena);
    return 0;
}
