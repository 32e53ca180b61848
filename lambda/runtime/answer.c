/* The writer's cap is the Lambda's: what does not fit shows as a failed writer that has been given too much. */
#include "lambda/runtime/answer.h"

#include "lambda/json.h"
#include "lambda/writer.h"

#include <string.h>

static void write_literal(struct rest_writer *writer, const char *text) {
    rest_writer_bytes(writer, kp_slice_cstr(text));
}

static void write_header(struct rest_writer *writer, bool multi, const char *name, const char *value) {
    rest_writer_string(writer, kp_slice_cstr(name));
    write_literal(writer, multi ? ":[" : ":");
    rest_writer_string(writer, kp_slice_cstr(value));
    write_literal(writer, multi ? "]" : "");
}

static void write_head(struct rest_writer *writer, const struct rest_response *response, bool multi) {
    write_literal(writer, "{\"statusCode\":");
    rest_writer_number(writer, response->status);
    write_literal(writer, multi ? ",\"multiValueHeaders\":{" : ",\"headers\":{");
    write_header(writer, multi, "Content-Type", response->content_type);
    for (size_t i = 0; i < response->header_count; i++) {
        write_literal(writer, ",");
        write_header(writer, multi, response->headers[i].name, response->headers[i].value);
    }
    write_literal(writer, "}");
}

/* The body in one run of bytes, which live in *own when that is not NULL. False: no memory. */
static bool flatten(const struct kp_chain *chain, struct kp_blob **own, struct kp_slice *bytes) {
    *own = NULL;
    *bytes = chain->count > 0 ? chain->pieces[0].bytes : KP_SLICE_LIT("");
    if (chain->count < 2) {
        return true;
    }
    struct kp_blob *blob = kp_blob_new(chain->bytes > 0 ? chain->bytes : 1);
    if (blob == NULL) {
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < chain->count; i++) {
        struct kp_slice piece = chain->pieces[i].bytes;
        if (piece.len > 0) {
            memcpy(blob->data + at, piece.ptr, piece.len);
        }
        at += piece.len;
    }
    *own = blob;
    *bytes = kp_slice_of(blob->data, at);
    return true;
}

static bool is_head(const struct rest_event *event) {
    return kp_slice_equal(event->request.method, KP_SLICE_LIT("HEAD"));
}

enum rest_answer_end rest_answer_whole(const struct rest_event *event, const struct rest_response *response,
                                       struct kp_chain *out) {
    struct kp_blob *own = NULL;
    struct kp_slice body = KP_SLICE_LIT("");
    if (response->body.failed || (!is_head(event) && !flatten(&response->body, &own, &body))) {
        return REST_ANSWER_NO_MEMORY;
    }
    struct rest_writer writer;
    rest_writer_init(&writer, REST_ANSWER_BYTES_MAX);
    bool multi = event->kind == REST_EVENT_LOAD_BALANCER && event->multi_value;
    write_head(&writer, response, multi);
    write_literal(&writer, ",\"body\":");
    bool text = rest_utf8_valid(body);
    if (text) {
        rest_writer_string(&writer, body);
    } else {
        rest_writer_base64(&writer, body);
    }
    write_literal(&writer, text ? ",\"isBase64Encoded\":false}" : ",\"isBase64Encoded\":true}");
    kp_blob_unref(own);
    /* A body that was taken so far can fail to fit only by its length, unless memory is out. */
    bool failed = writer.failed, large = failed && body.len > REST_ANSWER_BODY_BYTES;
    rest_writer_finish(&writer, out);
    if (failed || out->failed) {
        return large ? REST_ANSWER_TOO_LARGE : REST_ANSWER_NO_MEMORY;
    }
    return REST_ANSWER_OK;
}

void rest_answer_prelude(const struct rest_response *response, struct kp_chain *out) {
    static const uint8_t end[8];
    struct rest_writer writer;
    rest_writer_init(&writer, REST_ANSWER_BYTES_MAX);
    write_head(&writer, response, false);
    write_literal(&writer, "}");
    rest_writer_bytes(&writer, kp_slice_of(end, sizeof end));
    bool failed = writer.failed;
    rest_writer_finish(&writer, out);
    out->failed = out->failed || failed;
}
