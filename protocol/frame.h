/*
 * Frames: a four-byte length, then a header, then a message. What is irregular about Kafka's headers is kept here:
 *
 * - The request header is v1 or, for flexible versions, v2: tagged fields after a client id that stays non-compact.
 * - The response header is v0 (correlation id) or, for flexible versions, v1 (and tagged fields); for ApiVersions it
 *   is always v0, because the client does not yet know what it talks to.
 * - An ApiVersions request of an unknown version is answered in v0 with error 35 and the range of ApiVersions alone;
 *   its body is not read.
 *
 * The life of a request:
 *     kp_frame_size          how long is it
 *     kp_request_header      which API, which version, and whether to go on
 *     kp_request_decode      the body, by api->request()
 *     kp_response_encode     length, header and body into a chain
 */
#ifndef KP_FRAME_H
#define KP_FRAME_H

#include "protocol/codec.h"
#include "protocol/error.h"

enum kp_api_flag {
    KP_API_BEFORE_AUTH = 1, /* allowed on a connection that has not authenticated */
};

#define KP_VERSION_NEVER INT16_MAX

struct kp_api {
    int16_t key;
    const char *name;                                        /* "list_offsets" */
    int16_t shown_min, min, max;                             /* versions; see apis.def */
    int16_t flexible;                                        /* first flexible version */
    uint32_t flags;                                          /* enum kp_api_flag */
    const struct kp_struct *(*request)(void), *(*response)(void);
};

/* Index of an API in tables: KP_API_produce, KP_API_fetch ... */
enum kp_api_index {
#define API(key, name, ...) KP_API_##name,
#include "protocol/apis.def"
#undef API
    KP_API_COUNT
};

extern const struct kp_api kp_apis[KP_API_COUNT]; /* ascending by key */

/* NULL for a key that is not served. */
const struct kp_api *kp_api_find(int16_t key);
static inline enum kp_api_index kp_api_index_of(const struct kp_api *api) {
    return (enum kp_api_index)(api - kp_apis);
}
static inline struct kp_wire kp_wire_of(const struct kp_api *api, int16_t version) {
    return (struct kp_wire){.version = version, .flexible = version >= api->flexible};
}

#define KP_FRAME_PREFIX 4

/* Size of the frame behind its length prefix, or -1 when it is negative, too short for a header or above `limit`: the
 * connection must then be closed, for nothing after it can be found. */
int64_t kp_frame_size(const uint8_t prefix[KP_FRAME_PREFIX], size_t limit);

enum kp_header_status {
    KP_HEADER_OK,          /* api, version and body are set: decode it */
    KP_HEADER_UNSUPPORTED, /* an ApiVersions request of an unknown version: answer kp_response_unsupported */
    KP_HEADER_REFUSED,     /* unknown key, or version not served: close, as Kafka does */
    KP_HEADER_DAMAGED,     /* not a request header: close */
};

struct kp_request_header {
    int16_t api_key, api_version; /* as sent; 0 when DAMAGED before them */
    int32_t correlation_id;
    struct kp_slice client_id; /* ptr NULL: null. Slice of the frame */
    const struct kp_api *api;  /* NULL for an unknown key */
};

/* Reads the header of a frame (without the length prefix). *body is what follows it. */
enum kp_header_status kp_request_header(struct kp_slice frame, struct kp_request_header *header, struct kp_slice *body);

/* Decodes the body into `request`, a struct of header->api->request(). Bytes behind the last known field are ignored,
 * as Kafka does. */
bool kp_request_decode(const struct kp_request_header *header, struct kp_slice body, struct kp_arena *arena,
                       void *request, struct kp_decode_error *error);

/* Appends a whole response frame. False as for kp_encode. */
bool kp_response_encode(const struct kp_request_header *header, const void *response, struct kp_chain *out);
/* The answer to KP_HEADER_UNSUPPORTED. */
bool kp_response_unsupported(const struct kp_request_header *header, struct kp_chain *out);

/* The other side, for clients and tests. */
bool kp_request_encode(const struct kp_api *api, int16_t version, int32_t correlation_id, struct kp_slice client_id,
                       const void *request, struct kp_chain *out);
/* Reads the header of a response frame (without the length prefix); *body is what follows it. */
bool kp_response_header(const struct kp_api *api, int16_t version, struct kp_slice frame, int32_t *correlation_id,
                        struct kp_slice *body);

#endif
