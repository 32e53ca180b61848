/*
 * A whole request on any bytes: "METHOD target fields\nbody", where `fields` is the value of each header field that is
 * looked at. The topic "t" holds one record whose key and value are the body too, so that a consume meets any value; a
 * caller takes pieces when the input's length is odd. The engine is the tests' fake one, which does all that it is
 * asked.
 */
#include "../tests/fake_engine.h"
#include "../tests/virtual_loop.h"

#include "lambda/json.h"
#include "lambda/rest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool answered;

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

/* Nothing that a caller sends is the server's fault, and every answer of that type is JSON. */
static void check_answer(struct rest_call *call) {
    answered = true;
    struct rest_response *response = &call->response;
    must(response->status == 200 || response->status == 201 || (response->status >= 400 && response->status < 500));
    must(!call->cut && !response->body.failed && (response->body.bytes == 0) == call->streaming);
    if (strcmp(response->content_type, "application/json") != 0) {
        rest_response_release(response);
        return;
    }
    uint8_t *text = malloc(response->body.bytes);
    must(text != NULL);
    size_t at = 0;
    for (size_t i = 0; i < response->body.count; i++) {
        memcpy(text + at, response->body.pieces[i].bytes.ptr, response->body.pieces[i].bytes.len);
        at += response->body.pieces[i].bytes.len;
    }
    must(rest_json_valid(kp_slice_of(text, at)));
    free(text);
    rest_response_release(response);
}

static void begun(struct rest_call *call) {
    must(!answered && call->streaming);
}

static bool piece(struct rest_call *call, struct kp_chain *bytes) {
    must(!answered && call->streaming && !bytes->failed);
    kp_chain_release(bytes);
    kp_chain_init(bytes);
    return true;
}

static struct kp_slice take_until(struct kp_slice *rest, char end) {
    const uint8_t *found = rest->len == 0 ? NULL : memchr(rest->ptr, end, rest->len);
    size_t len = found == NULL ? rest->len : (size_t)(found - rest->ptr);
    struct kp_slice taken = kp_slice_of(rest->ptr, len);
    size_t skip = found == NULL ? len : len + 1;
    *rest = kp_slice_of(rest->ptr + skip, rest->len - skip);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kp_slice body = kp_slice_of(data, size);
    struct kp_slice target = take_until(&body, '\n');
    struct rest_call call = {.done = check_answer, .timeout_ms = 2000};
    call.request.method = take_until(&target, ' ');
    call.request.body.bytes = body;
    struct kp_slice fields = target;
    target = take_until(&fields, ' ');
    const struct rest_header headers[] = {{KP_SLICE_LIT("Accept"), fields},
                                          {KP_SLICE_LIT("Last-Event-ID"), fields},
                                          {KP_SLICE_LIT("Idempotency-Key"), fields}};
    call.request.headers = headers;
    call.request.header_count = fields.len > 0 ? 3 : 0;
    call.begun = size % 2 == 1 ? begun : NULL;
    call.piece = piece;
    if (!rest_target_split(target, &call.request.path, &call.request.query)) {
        return 0;
    }
    struct virtual_clock clock;
    struct st_loop *loop = virtual_loop_new(&clock);
    struct st_engine engine;
    fake_init(&engine, loop);
    engine.piece_bytes = size % 200;
    struct kp_new_record record = {.timestamp_ms = 1, .key = body, .value = body};
    fake_add(fake_topic(&engine, "t", 1), kp_batch_build(&record, 1));
    struct rest_options options = rest_options_default();
    struct rest *rest = rest_new(loop, &engine, &options);
    answered = false;
    must(rest_handle(rest, &call));
    must(virtual_run(loop, &clock, &answered, 60 * ST_SECOND));
    rest_free(rest);
    fake_release(&engine);
    st_loop_free(loop);
    must(kp_blob_stats().live_bytes == 0);
    return 0;
}
