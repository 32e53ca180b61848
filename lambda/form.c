#include "lambda/form.h"

#include "lambda/response.h"

#include <strings.h>

static const char *const types[] = {
    [REST_FORM_JSON] = "application/json",
    [REST_FORM_LINES] = "application/x-ndjson",
    [REST_FORM_EVENTS] = "text/event-stream",
};

static bool same_text(struct kp_slice a, const char *b) {
    return a.len == strlen(b) && strncasecmp((const char *)a.ptr, b, a.len) == 0;
}

static struct kp_slice trim(struct kp_slice text) {
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text = kp_slice_of(text.ptr + 1, text.len - 1);
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* The first type of the list that is one of ours; false when there is none. */
static bool find_type(struct kp_slice list, enum rest_form *form) {
    while (list.len > 0) {
        const uint8_t *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        const uint8_t *semicolon = len == 0 ? NULL : memchr(list.ptr, ';', len);
        struct kp_slice type = trim(kp_slice_of(list.ptr, semicolon == NULL ? len : (size_t)(semicolon - list.ptr)));
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            if (same_text(type, types[i])) {
                *form = (enum rest_form)i;
                return true;
            }
        }
        size_t taken = comma == NULL ? len : len + 1;
        list = kp_slice_of(list.ptr + taken, list.len - taken);
    }
    return false;
}

enum rest_form rest_form_accepted(const struct rest_request *request) {
    enum rest_form form = REST_FORM_JSON;
    for (size_t i = 0; i < request->header_count; i++) {
        if (same_text(request->headers[i].name, "accept") && find_type(request->headers[i].value, &form)) {
            break;
        }
    }
    return form;
}

void rest_form_begin(enum rest_form form, struct rest_response *response) {
    rest_response_begin(response, 200);
    response->content_type = types[form];
    if (form != REST_FORM_JSON) {
        rest_response_header(response, "Cache-Control", "no-store");
    }
}

void rest_form_open(enum rest_form form, struct rest_writer *writer) {
    switch (form) {
    case REST_FORM_JSON:
        rest_writer_bytes(writer, KP_SLICE_LIT("{\"messages\":["));
        return;
    case REST_FORM_LINES:
        return;
    case REST_FORM_EVENTS:
        rest_writer_bytes(writer, KP_SLICE_LIT("retry: 1000\n\n"));
        return;
    }
}

static void write_id(struct rest_writer *writer, int64_t next_offset) {
    rest_writer_bytes(writer, KP_SLICE_LIT("id: "));
    rest_writer_number(writer, next_offset);
    rest_writer_bytes(writer, KP_SLICE_LIT("\n"));
}

void rest_form_message(enum rest_form form, struct rest_writer *writer, const struct kp_record *record, bool first,
                       const struct rest_message_form *how) {
    switch (form) {
    case REST_FORM_JSON:
        rest_writer_bytes(writer, first ? KP_SLICE_LIT("") : KP_SLICE_LIT(","));
        rest_message_write(writer, record, how);
        return;
    case REST_FORM_LINES:
        rest_message_write(writer, record, how);
        rest_writer_bytes(writer, KP_SLICE_LIT("\n"));
        return;
    case REST_FORM_EVENTS:
        write_id(writer, record->offset + 1);
        rest_writer_bytes(writer, KP_SLICE_LIT("data: "));
        rest_message_write(writer, record, how);
        rest_writer_bytes(writer, KP_SLICE_LIT("\n\n"));
        return;
    }
}

void rest_form_close(enum rest_form form, struct rest_writer *writer, int64_t next_offset, bool none) {
    switch (form) {
    case REST_FORM_JSON:
        rest_writer_bytes(writer, KP_SLICE_LIT("],\"next_offset\":"));
        rest_writer_number(writer, next_offset);
        rest_writer_bytes(writer, KP_SLICE_LIT("}"));
        return;
    case REST_FORM_LINES:
        rest_writer_bytes(writer, KP_SLICE_LIT("{\"next_offset\":"));
        rest_writer_number(writer, next_offset);
        rest_writer_bytes(writer, KP_SLICE_LIT("}\n"));
        return;
    case REST_FORM_EVENTS:
        if (none) {
            write_id(writer, next_offset);
            rest_writer_bytes(writer, KP_SLICE_LIT("\n"));
        }
        return;
    }
}

void rest_form_ping(struct rest_writer *writer, int64_t next_offset) {
    rest_writer_bytes(writer, KP_SLICE_LIT(": ping\n"));
    write_id(writer, next_offset);
    rest_writer_bytes(writer, KP_SLICE_LIT("\n"));
}

void rest_form_error(enum rest_form form, struct kp_chain *json, struct kp_chain *out) {
    bool events = form == REST_FORM_EVENTS;
    if (events) {
        kp_chain_copy(out, "event: error\ndata: ", 19);
    }
    kp_chain_move(out, json);
    kp_chain_copy(out, "\n\n", events ? 2 : 1);
}
