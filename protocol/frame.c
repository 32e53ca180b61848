#include "protocol/frame.h"

#include "protocol/bytes/be.h"
#include "protocol/bytes/varint.h"

#define NEVER KP_VERSION_NEVER
const struct kp_api kp_apis[KP_API_COUNT] = {
#define API(k, n, shown, lowest, highest, flex, bits)                                                                  \
    [KP_API_##n] = {.key = (k),                                                                                        \
                    .name = #n,                                                                                        \
                    .shown_min = (shown),                                                                              \
                    .min = (lowest),                                                                                   \
                    .max = (highest),                                                                                  \
                    .flexible = (flex),                                                                                \
                    .flags = (bits),                                                                                   \
                    .request = kp_##n##_request_type,                                                                  \
                    .response = kp_##n##_response_type},
#include "protocol/apis.def"
#undef API
};

enum {
    API_VERSIONS_KEY = 18,
    HEADER_FIXED = 8, /* key, version, correlation id */
};

const struct kp_api *kp_api_find(int16_t key) {
    for (size_t i = 0; i < KP_API_COUNT; i++) {
        if (kp_apis[i].key == key) {
            return &kp_apis[i];
        }
    }
    return NULL;
}

int64_t kp_frame_size(const uint8_t prefix[KP_FRAME_PREFIX], size_t limit) {
    int32_t size = (int32_t)kp_be_load32(prefix);
    return size < HEADER_FIXED || (size_t)size > limit ? -1 : size;
}

/* Takes a section of tagged fields, none of which is known in a header, off the front. */
static bool skip_tags(struct kp_slice *in) {
    const uint8_t *at = in->ptr, *end = in->ptr + in->len;
    uint32_t count = 0;
    size_t taken = kp_uvarint32_get(at, end, &count);
    bool ok = taken != 0;
    at += taken;
    for (uint32_t i = 0; ok && i < count; i++) {
        uint32_t tag = 0, size = 0;
        size_t tag_len = kp_uvarint32_get(at, end, &tag);
        size_t size_len = tag_len == 0 ? 0 : kp_uvarint32_get(at + tag_len, end, &size);
        at += tag_len + size_len;
        ok = size_len != 0 && size <= (size_t)(end - at);
        at += ok ? size : 0;
    }
    if (ok) {
        *in = kp_slice_of(at, (size_t)(end - at));
    }
    return ok;
}

/* Two-byte length, -1 for null, in every version of the header. */
static bool take_client_id(struct kp_slice *in, struct kp_slice *client_id) {
    if (in->len < 2) {
        return false;
    }
    int16_t length = (int16_t)kp_be_load16(in->ptr);
    size_t size = length < 0 ? 0 : (size_t)length;
    if (length < -1 || size > in->len - 2) {
        return false;
    }
    *client_id = kp_slice_of(length < 0 ? NULL : in->ptr + 2, size);
    *in = kp_slice_of(in->ptr + 2 + size, in->len - 2 - size);
    return true;
}

enum kp_header_status kp_request_header(struct kp_slice frame, struct kp_request_header *header,
                                        struct kp_slice *body) {
    *header = (struct kp_request_header){0};
    *body = kp_slice_of(frame.ptr, 0);
    if (frame.len < HEADER_FIXED) {
        return KP_HEADER_DAMAGED;
    }
    header->api_key = (int16_t)kp_be_load16(frame.ptr);
    header->api_version = (int16_t)kp_be_load16(frame.ptr + 2);
    header->correlation_id = (int32_t)kp_be_load32(frame.ptr + 4);
    header->api = kp_api_find(header->api_key);
    struct kp_slice rest = kp_slice_of(frame.ptr + HEADER_FIXED, frame.len - HEADER_FIXED);
    bool whole = take_client_id(&rest, &header->client_id);
    const struct kp_api *api = header->api;
    if (api == NULL) {
        return KP_HEADER_REFUSED;
    }
    if (header->api_version < api->min || header->api_version > api->max) {
        /* Whatever follows the correlation id of a version that is not known is not looked at. */
        return api->key == API_VERSIONS_KEY ? KP_HEADER_UNSUPPORTED : KP_HEADER_REFUSED;
    }
    if (!whole || (header->api_version >= api->flexible && !skip_tags(&rest))) {
        return KP_HEADER_DAMAGED;
    }
    *body = rest;
    return KP_HEADER_OK;
}

bool kp_request_decode(const struct kp_request_header *header, struct kp_slice body, struct kp_arena *arena,
                       void *request, struct kp_decode_error *error) {
    struct kp_wire wire = kp_wire_of(header->api, header->api_version);
    return kp_decode(header->api->request(), wire, &body, arena, request, error);
}

static bool response_header_has_tags(const struct kp_api *api, int16_t version) {
    return api->key != API_VERSIONS_KEY && version >= api->flexible;
}

/* Writes the length prefix once the frame behind it is complete. */
static bool finish(struct kp_chain *out, uint8_t *prefix, size_t begin) {
    size_t size = out->bytes - begin;
    if (out->failed || size > INT32_MAX) {
        return false;
    }
    kp_be_store32(prefix, (uint32_t)size);
    return true;
}

static bool respond(const struct kp_api *api, int16_t version, int32_t correlation_id, const void *response,
                    struct kp_chain *out) {
    size_t size = response_header_has_tags(api, version) ? 9 : 8;
    uint8_t *at = kp_chain_reserve(out, size);
    if (at == NULL) {
        return false;
    }
    size_t begin = out->bytes - size + KP_FRAME_PREFIX;
    kp_be_store32(at + 4, (uint32_t)correlation_id);
    if (size > 8) {
        at[8] = 0;
    }
    return kp_encode(api->response(), kp_wire_of(api, version), response, out) && finish(out, at, begin);
}

bool kp_response_encode(const struct kp_request_header *header, const void *response, struct kp_chain *out) {
    return respond(header->api, header->api_version, header->correlation_id, response, out);
}

bool kp_response_unsupported(const struct kp_request_header *header, struct kp_chain *out) {
    const struct kp_api *api = &kp_apis[KP_API_api_versions];
    struct kp_api_versions_response_key range = {
        .api_key = api->key, .min_version = api->shown_min, .max_version = api->max};
    struct kp_api_versions_response response;
    kp_init(kp_api_versions_response_type(), &response);
    response.error_code = KP_ERROR_UNSUPPORTED_VERSION;
    response.api_keys.items = &range;
    response.api_keys.count = 1;
    return respond(api, 0, header->correlation_id, &response, out);
}

bool kp_request_encode(const struct kp_api *api, int16_t version, int32_t correlation_id, struct kp_slice client_id,
                       const void *request, struct kp_chain *out) {
    if (client_id.len > INT16_MAX) {
        return false;
    }
    uint8_t *at = kp_chain_reserve(out, KP_FRAME_PREFIX + HEADER_FIXED + 2);
    if (at == NULL) {
        return false;
    }
    size_t begin = out->bytes - HEADER_FIXED - 2;
    kp_be_store16(at + 4, (uint16_t)api->key);
    kp_be_store16(at + 6, (uint16_t)version);
    kp_be_store32(at + 8, (uint32_t)correlation_id);
    kp_be_store16(at + 12, client_id.ptr == NULL ? UINT16_MAX : (uint16_t)client_id.len);
    kp_chain_copy(out, client_id.ptr, client_id.len);
    if (version >= api->flexible) {
        kp_chain_copy(out, "", 1);
    }
    return kp_encode(api->request(), kp_wire_of(api, version), request, out) && finish(out, at, begin);
}

bool kp_response_header(const struct kp_api *api, int16_t version, struct kp_slice frame, int32_t *correlation_id,
                        struct kp_slice *body) {
    if (frame.len < 4) {
        return false;
    }
    *correlation_id = (int32_t)kp_be_load32(frame.ptr);
    *body = kp_slice_of(frame.ptr + 4, frame.len - 4);
    return response_header_has_tags(api, version) ? skip_tags(body) : true;
}
