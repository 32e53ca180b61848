/*
 * ApiVersions: the range of every API, from the table. No features are shown: finalized ones would promise what is not
 * built (transaction.version makes Java clients speak KIP-890).
 */
#include "gateway/kafka/dispatch.h"

static bool alphanumeric(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* KIP-511: [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool software_valid(struct kp_slice text) {
    if (text.len == 0 || !alphanumeric(text.ptr[0]) || !alphanumeric(text.ptr[text.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!alphanumeric(text.ptr[i]) && text.ptr[i] != '-' && text.ptr[i] != '.') {
            return false;
        }
    }
    return true;
}

void gw_handle_api_versions(struct gw_exchange *x) {
    const struct kp_api_versions_request *request = x->request;
    struct kp_api_versions_response response;
    kp_init(kp_api_versions_response_type(), &response);
    if (x->header.api_version >= 3 &&
        (!software_valid(request->client_software_name) || !software_valid(request->client_software_version))) {
        response.error_code = KP_ERROR_INVALID_REQUEST;
        gw_exchange_answer(x, &response);
        return;
    }
    response.api_keys.items = gw_exchange_items(x, kp_api_versions_response_key_type(), KP_API_COUNT);
    if (response.api_keys.items == NULL) {
        return;
    }
    response.api_keys.count = KP_API_COUNT;
    for (int i = 0; i < KP_API_COUNT; i++) {
        response.api_keys.items[i] = (struct kp_api_versions_response_key){
            .api_key = kp_apis[i].key, .min_version = kp_apis[i].shown_min, .max_version = kp_apis[i].max};
    }
    gw_exchange_answer(x, &response);
}
