/*
 * Every message in both directions. Input: a direction byte (even: a request frame without its length prefix, odd: a
 * response), for a response also the API's index and the version, then the bytes.
 *
 * What decodes must encode, and decode again to something equal: a codec that reads what it cannot write, or the other
 * way round, stops the fuzzer as a crash would.
 */
#include "protocol/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_LIMIT = 1 << 22 };

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static struct kp_slice flatten(const struct kp_chain *chain, struct kp_arena *arena) {
    uint8_t *flat = kp_arena_alloc(arena, chain->bytes);
    require(flat != NULL);
    size_t used = 0;
    for (size_t i = 0; i < chain->count; i++) {
        memcpy(flat + used, chain->pieces[i].bytes.ptr, chain->pieces[i].bytes.len);
        used += chain->pieces[i].bytes.len;
    }
    return kp_slice_of(flat, used);
}

static void check_again(const struct kp_struct *type, struct kp_wire wire, const void *message) {
    struct kp_arena arena;
    struct kp_chain chain;
    kp_arena_init(&arena, SIZE_MAX);
    kp_chain_init(&chain);
    require(kp_encode(type, wire, message, &chain));
    struct kp_slice bytes = flatten(&chain, &arena);
    void *again = kp_arena_alloc(&arena, type->size);
    require(kp_decode(type, wire, &bytes, &arena, again, NULL));
    require(bytes.len == 0 && kp_equal(type, wire, message, again));
    char text[256];
    require(kp_dump(type, wire, message, text, sizeof text) < SIZE_MAX);
    kp_chain_release(&chain);
    kp_arena_release(&arena);
}

static void decode(const struct kp_struct *type, struct kp_wire wire, struct kp_slice body) {
    struct kp_arena arena;
    struct kp_decode_error error;
    kp_arena_init(&arena, ARENA_LIMIT);
    void *message = kp_arena_alloc(&arena, type->size);
    if (kp_decode(type, wire, &body, &arena, message, &error)) {
        check_again(type, wire, message);
    } else {
        require(error.what != NULL && strlen(error.path) < sizeof error.path);
    }
    require(arena.used <= ARENA_LIMIT);
    kp_arena_release(&arena);
}

static void request(struct kp_slice frame) {
    struct kp_request_header header;
    struct kp_slice body;
    enum kp_header_status status = kp_request_header(frame, &header, &body);
    if (status == KP_HEADER_OK) {
        decode(header.api->request(), kp_wire_of(header.api, header.api_version), body);
    }
}

static void response(struct kp_slice in) {
    if (in.len < 2) {
        return;
    }
    const struct kp_api *api = &kp_apis[in.ptr[0] % KP_API_COUNT];
    int16_t version = (int16_t)(api->shown_min + in.ptr[1] % (api->max - api->shown_min + 1));
    int32_t correlation_id = 0;
    struct kp_slice body;
    if (kp_response_header(api, version, kp_slice_of(in.ptr + 2, in.len - 2), &correlation_id, &body)) {
        decode(api->response(), kp_wire_of(api, version), body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct kp_slice rest = kp_slice_of(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        request(rest);
    } else {
        response(rest);
    }
    return 0;
}
