/* The scanner and the writer on any bytes: what one says must agree with what the other does. */
#include "lambda/json.h"
#include "lambda/writer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_member(struct kp_slice text, struct kp_slice value) {
    if (value.ptr == NULL) {
        return;
    }
    must(value.ptr > text.ptr && value.len > 0 && value.ptr + value.len < text.ptr + text.len);
    must(rest_json_valid(value));
    must(memchr(" \t\r\n", value.ptr[0], 4) == NULL && memchr(" \t\r\n", value.ptr[value.len - 1], 4) == NULL);
}

/* Whatever the bytes are, the form in which an answer gives them is JSON. */
static void check_written(struct kp_slice text) {
    struct rest_writer writer;
    rest_writer_init(&writer, 16 + text.len * 6);
    if (rest_value_kind(text) == REST_VALUE_BINARY) {
        rest_writer_base64(&writer, text);
    } else {
        rest_writer_string(&writer, text);
    }
    must(!writer.failed && rest_json_valid(kp_slice_of(writer.blob->data, writer.used)));
    rest_writer_release(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kp_slice text = kp_slice_of(data, size);
    struct rest_json_member members[] = {{.name = KP_SLICE_LIT("payload")}, {.name = KP_SLICE_LIT("key")}};
    size_t at;
    enum rest_json_error error = rest_json_object(text, members, 2, &at);
    must(at <= size);
    bool valid = rest_json_valid(text);
    if (error == REST_JSON_OK) {
        must(valid && at == size);
        check_member(text, members[0].value);
        check_member(text, members[1].value);
    } else {
        must(!valid || error == REST_JSON_NOT_OBJECT || error == REST_JSON_DUPLICATE);
    }
    must(!valid || rest_utf8_valid(text));
    check_written(text);
    return 0;
}
