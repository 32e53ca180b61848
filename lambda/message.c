#include "lambda/message.h"

#include "lambda/base64.h"

void rest_message_members(struct rest_json_member members[REST_MEMBER_COUNT]) {
    static const char *const names[REST_MEMBER_COUNT] = {
        [REST_MEMBER_PAYLOAD] = "payload",     [REST_MEMBER_KEY] = "key",
        [REST_MEMBER_HEADERS] = "headers",     [REST_MEMBER_PARTITION] = "partition",
        [REST_MEMBER_TIMESTAMP] = "timestamp", [REST_MEMBER_MESSAGES] = "messages",
    };
    for (size_t i = 0; i < REST_MEMBER_COUNT; i++) {
        members[i] = (struct rest_json_member){.name = kp_slice_cstr(names[i])};
    }
}

/* ---- reading ---- */

static bool is_null(struct kp_slice value) {
    return value.ptr == NULL || value.ptr[0] == 'n';
}

static bool read_base64(struct kp_slice value, struct kp_arena *arena, struct kp_slice *bytes) {
    struct rest_json_member encoded = {.name = KP_SLICE_LIT("base64")};
    size_t at, len;
    if (rest_json_object(value, &encoded, 1, &at) != REST_JSON_OK || encoded.value.ptr == NULL ||
        rest_json_kind(encoded.value) != REST_JSON_STRING) {
        return false;
    }
    struct kp_slice text = rest_json_text(rest_json_inside(encoded.value), arena);
    uint8_t *into = text.ptr == NULL ? NULL : kp_arena_alloc_raw(arena, text.len + 1);
    if (into == NULL || !rest_base64_decode(text, into, &len)) {
        return false;
    }
    *bytes = kp_slice_of(into, len);
    return true;
}

/* False also when the arena is exhausted, which the caller asks it about. */
static bool read_bytes(struct kp_slice value, struct kp_arena *arena, struct kp_slice *bytes) {
    switch (rest_json_kind(value)) {
    case REST_JSON_STRING:
        *bytes = rest_json_text(rest_json_inside(value), arena);
        return bytes->ptr != NULL;
    case REST_JSON_OBJECT:
        return read_base64(value, arena, bytes);
    case REST_JSON_ARRAY:
    case REST_JSON_NUMBER:
    case REST_JSON_WORD:
        return false;
    }
    return false;
}

/* {"name": ..., "value": ...} */
static bool read_header(struct kp_slice item, struct kp_arena *arena, struct kp_record_header *header) {
    struct rest_json_member members[] = {{.name = KP_SLICE_LIT("name")}, {.name = KP_SLICE_LIT("value")}};
    size_t at;
    *header = (struct kp_record_header){.value = {NULL, 0}};
    return rest_json_object(item, members, 2, &at) == REST_JSON_OK && !is_null(members[0].value) &&
           read_bytes(members[0].value, arena, &header->key) &&
           (is_null(members[1].value) || read_bytes(members[1].value, arena, &header->value));
}

/* The next one, of an array of such or of an object {name: value}. False at the end; *good: it could be read. A header
 * NULL only counts. */
static bool next_header(struct kp_slice *rest, bool array, struct kp_arena *arena, struct kp_record_header *header,
                        bool *good) {
    struct kp_slice name, value;
    *good = true;
    if (array) {
        if (!rest_json_next_value(rest, &value)) {
            return false;
        }
        *good = header == NULL || read_header(value, arena, header);
        return true;
    }
    if (!rest_json_next_member(rest, &name, &value)) {
        return false;
    }
    if (header != NULL) {
        *header = (struct kp_record_header){.key = rest_json_text(name, arena), .value = {NULL, 0}};
        *good = header->key.ptr != NULL && (is_null(value) || read_bytes(value, arena, &header->value));
    }
    return true;
}

static bool read_headers(struct kp_slice value, struct kp_arena *arena, struct kp_new_record *record) {
    enum rest_json_kind kind = rest_json_kind(value);
    bool array = kind == REST_JSON_ARRAY, good;
    if (!array && kind != REST_JSON_OBJECT) {
        return false;
    }
    size_t count = 0;
    struct kp_slice rest = value;
    while (next_header(&rest, array, arena, NULL, &good)) {
        if (++count > REST_HEADERS_MAX) {
            return false;
        }
    }
    struct kp_record_header *headers = kp_arena_array(arena, count, sizeof *headers);
    if (headers == NULL) {
        return false;
    }
    rest = value;
    for (size_t i = 0; i < count; i++) {
        if (!next_header(&rest, array, arena, &headers[i], &good) || !good) {
            return false;
        }
    }
    record->headers = headers;
    record->header_count = (int32_t)count;
    return true;
}

bool rest_message_read(const struct rest_json_member members[REST_MEMBER_COUNT], struct kp_arena *arena,
                       int64_t now_ms, struct rest_message *message, enum rest_error *error) {
    *message = (struct rest_message){.record = {.timestamp_ms = now_ms}, .partition = -1};
    struct kp_new_record *record = &message->record;
    *error = REST_MISSING_PAYLOAD;
    record->value = members[REST_MEMBER_PAYLOAD].value;
    if (record->value.ptr == NULL) {
        return false;
    }
    *error = REST_BAD_KEY;
    struct kp_slice value = members[REST_MEMBER_KEY].value;
    if (!is_null(value) && !read_bytes(value, arena, &record->key)) {
        return false;
    }
    *error = REST_BAD_HEADERS;
    value = members[REST_MEMBER_HEADERS].value;
    if (!is_null(value) && !read_headers(value, arena, record)) {
        return false;
    }
    *error = REST_BAD_PARTITION;
    value = members[REST_MEMBER_PARTITION].value;
    int64_t partition = -1;
    if (!is_null(value) && (!rest_json_whole(value, &partition) || partition > INT32_MAX)) {
        return false;
    }
    message->partition = (int32_t)partition;
    *error = REST_BAD_TIMESTAMP;
    value = members[REST_MEMBER_TIMESTAMP].value;
    message->timed = !is_null(value);
    return !message->timed || rest_json_whole(value, &record->timestamp_ms);
}

/* ---- writing ---- */

static void write_payload(struct rest_writer *writer, struct kp_slice value, bool line) {
    switch (rest_value_kind(value)) {
    case REST_VALUE_NULL:
        rest_writer_bytes(writer, KP_SLICE_LIT("null"));
        return;
    case REST_VALUE_JSON:
        if (line) {
            rest_writer_line(writer, value);
        } else {
            rest_writer_bytes(writer, value);
        }
        return;
    case REST_VALUE_TEXT:
        rest_writer_string(writer, value);
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"encoding\":\"text\""));
        return;
    case REST_VALUE_BINARY:
        rest_writer_base64(writer, value);
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"encoding\":\"base64\""));
        return;
    }
}

static void write_bytes(struct rest_writer *writer, struct kp_slice bytes) {
    if (bytes.ptr == NULL) {
        rest_writer_bytes(writer, KP_SLICE_LIT("null"));
    } else if (rest_utf8_valid(bytes)) {
        rest_writer_string(writer, bytes);
    } else {
        rest_writer_bytes(writer, KP_SLICE_LIT("{\"base64\":"));
        rest_writer_base64(writer, bytes);
        rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    }
}

static void write_headers(struct rest_writer *writer, struct kp_slice headers) {
    struct kp_slice name, value;
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"headers\":["));
    for (bool first = true; kp_record_header_next(&headers, &name, &value); first = false) {
        rest_writer_bytes(writer, first ? KP_SLICE_LIT("{\"name\":") : KP_SLICE_LIT(",{\"name\":"));
        write_bytes(writer, name);
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"value\":"));
        write_bytes(writer, value);
        rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("]"));
}

void rest_message_write(struct rest_writer *writer, const struct kp_record *record,
                        const struct rest_message_form *form) {
    rest_writer_bytes(writer, KP_SLICE_LIT("{\"offset\":"));
    rest_writer_number(writer, record->offset);
    if (form->partitioned) {
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"partition\":"));
        rest_writer_number(writer, form->partition);
    }
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"payload\":"));
    write_payload(writer, record->value, form->line);
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"timestamp\":"));
    rest_writer_number(writer, record->timestamp_ms);
    if (record->key.ptr != NULL) {
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"key\":"));
        write_bytes(writer, record->key);
    }
    if (record->header_count > 0) {
        write_headers(writer, record->headers);
    }
    rest_writer_bytes(writer, KP_SLICE_LIT("}"));
}
