#include "gateway/kafka/dispatch.h"

#include "gateway/kafka/link.h"
#include "storage/runtime/metrics.h"

static void (*const handlers[KP_API_COUNT])(struct gw_exchange *x) = {
#define API(key, name, ...) [KP_API_##name] = gw_handle_##name,
#include "protocol/apis.def"
#undef API
};

const char *gw_dispatch_decode(struct gw_exchange *x, size_t size) {
    struct kp_slice body = {0};
    switch (kp_request_header(kp_slice_of(x->frame->data, size), &x->header, &body)) {
    case KP_HEADER_OK:
        break;
    case KP_HEADER_UNSUPPORTED:
        return NULL;
    case KP_HEADER_REFUSED:
        return x->header.api == NULL ? "unknown api" : "version not served";
    case KP_HEADER_DAMAGED:
        return "damaged header";
    }
    const struct kp_struct *type = x->header.api->request();
    x->request = kp_arena_alloc(&x->arena, type->size);
    if (x->request == NULL || !kp_request_decode(&x->header, body, &x->arena, x->request, NULL)) {
        return "damaged request";
    }
    return NULL;
}

void gw_dispatch_begin(struct gw_exchange *x) {
    x->begun = true;
    st_metrics.requests_total++;
    if (x->request == NULL) {
        gw_exchange_answer_unsupported(x);
    } else {
        handlers[kp_api_index_of(x->header.api)](x);
    }
}

bool gw_dispatch_waits_turn(const struct gw_exchange *x) {
    return x->header.api != &kp_apis[KP_API_produce];
}
