/*
 * Golden messages in vectors/NN_name.txt, in blocks:
 *
 *     title Fetch request v12, every field
 *     body request fetch v12          or:  frame request fetch v12 (length, header and body)
 *     hex
 *       00 0c ...
 *     dump
 *       max_wait_ms: 500
 *     end
 *
 * Decoding the bytes must give the text, and encoding what was decoded must give the bytes.
 *
 * The bodies were written by an encoder that knows nothing of this one: it reads Kafka's own JSON definitions of its
 * messages. The frames were made by clients and by Apache Kafka. A folder given as argument is read instead.
 */
#include "protocol/frame.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_message.h"

enum { BYTES_MAX = 1 << 16, TEXT_MAX = 1 << 17 };

struct vector {
    char title[200];
    bool frame, request;
    const struct kp_api *api;
    int16_t version;
    uint8_t bytes[BYTES_MAX];
    size_t len;
    char dump[TEXT_MAX];
};

static const char *folder = TEST_DATA_DIR "/vectors";

static const struct kp_api *api_named(const char *name) {
    for (size_t i = 0; i < KP_API_COUNT; i++) {
        if (strcmp(kp_apis[i].name, name) == 0) {
            return &kp_apis[i];
        }
    }
    fail_msg("no API is called %s", name);
    return NULL;
}

static void parse_kind(struct vector *vector, const char *line) {
    char kind[16], direction[16], name[64];
    int version = 0;
    assert_int_equal(sscanf(line, "%15s %15s %63s v%d", kind, direction, name, &version), 4);
    vector->frame = strcmp(kind, "frame") == 0;
    vector->request = strcmp(direction, "request") == 0;
    vector->api = api_named(name);
    vector->version = (int16_t)version;
}

static void parse_hex(struct vector *vector, const char *line) {
    unsigned byte = 0;
    for (int taken = 0; sscanf(line, " %2x%n", &byte, &taken) == 1; line += taken) {
        assert_true(vector->len < BYTES_MAX);
        vector->bytes[vector->len++] = (uint8_t)byte;
    }
}

/* Reads the next block. False at the end of the file. */
static bool read_vector(FILE *file, struct vector *vector) {
    char line[1 << 13];
    enum { NOTHING, HEX, DUMP } section = NOTHING;
    size_t dump_len = 0;
    memset(vector, 0, sizeof *vector);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "end", 3) == 0) {
            return true;
        } else if (strncmp(line, "title ", 6) == 0) {
            snprintf(vector->title, sizeof vector->title, "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
        } else if (strncmp(line, "body ", 5) == 0 || strncmp(line, "frame ", 6) == 0) {
            parse_kind(vector, line);
        } else if (strcmp(line, "hex\n") == 0) {
            section = HEX;
        } else if (strcmp(line, "dump\n") == 0) {
            section = DUMP;
        } else if (section == HEX) {
            parse_hex(vector, line);
        } else if (section == DUMP && strncmp(line, "  ", 2) == 0) {
            size_t len = strlen(line + 2);
            assert_true(dump_len + len < TEXT_MAX);
            memcpy(vector->dump + dump_len, line + 2, len + 1);
            dump_len += len;
        }
    }
    return false;
}

/* Takes length and header off the front of a frame; *correlation_id and *client_id are needed to encode it again. */
static struct kp_slice open_frame(const struct vector *vector, int32_t *correlation_id, struct kp_slice *client_id) {
    struct kp_slice body = {NULL, 0};
    assert_int_equal(kp_frame_size(vector->bytes, BYTES_MAX), vector->len - KP_FRAME_PREFIX);
    struct kp_slice frame = kp_slice_of(vector->bytes + KP_FRAME_PREFIX, vector->len - KP_FRAME_PREFIX);
    if (!vector->request) {
        assert_true(kp_response_header(vector->api, vector->version, frame, correlation_id, &body));
        return body;
    }
    struct kp_request_header header;
    assert_int_equal(kp_request_header(frame, &header, &body), KP_HEADER_OK);
    assert_ptr_equal(header.api, vector->api);
    assert_int_equal(header.api_version, vector->version);
    *correlation_id = header.correlation_id;
    *client_id = header.client_id;
    return body;
}

static bool encode_again(const struct vector *vector, int32_t correlation_id, struct kp_slice client_id,
                         const void *message, struct kp_chain *out) {
    const struct kp_struct *type = vector->request ? vector->api->request() : vector->api->response();
    if (!vector->frame) {
        return kp_encode(type, kp_wire_of(vector->api, vector->version), message, out);
    }
    if (vector->request) {
        return kp_request_encode(vector->api, vector->version, correlation_id, client_id, message, out);
    }
    struct kp_request_header header = {
        .api = vector->api, .api_version = vector->version, .correlation_id = correlation_id};
    return kp_response_encode(&header, message, out);
}

static void check_vector(const struct vector *vector) {
    struct kp_arena arena;
    kp_arena_init(&arena, 1 << 22);
    const struct kp_struct *type = vector->request ? vector->api->request() : vector->api->response();
    struct kp_wire wire = kp_wire_of(vector->api, vector->version);
    struct kp_slice in = kp_slice_of(vector->bytes, vector->len), client_id = {NULL, 0};
    int32_t correlation_id = 0;
    if (vector->frame) {
        in = open_frame(vector, &correlation_id, &client_id);
    }
    void *message = kp_arena_alloc(&arena, type->size);
    struct kp_decode_error error;
    if (!kp_decode(type, wire, &in, &arena, message, &error)) {
        fail_msg("%s: %s at byte %zu, %s", vector->title, error.what, error.offset, error.path);
    }
    if (in.len != 0) {
        fail_msg("%s: %zu bytes are left over", vector->title, in.len);
    }
    static char text[TEXT_MAX];
    assert_true(kp_dump(type, wire, message, text, sizeof text) < sizeof text);
    if (strcmp(text, vector->dump) != 0) {
        fail_msg("%s: expected\n%s\nbut it is\n%s", vector->title, vector->dump, text);
    }
    struct kp_chain chain;
    kp_chain_init(&chain);
    assert_true(encode_again(vector, correlation_id, client_id, message, &chain));
    struct kp_slice flat = flatten(&chain, &arena);
    if (!kp_slice_equal(flat, kp_slice_of(vector->bytes, vector->len))) {
        fail_msg("%s: encoding gives other bytes", vector->title);
    }
    kp_chain_release(&chain);
    kp_arena_release(&arena);
}

static void decoding_gives_the_text_and_encoding_gives_the_bytes(void **state) {
    (void)state;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    struct vector *vector = malloc(sizeof *vector);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        while (read_vector(file, vector)) {
            check_vector(vector);
            count++;
        }
        fclose(file);
    }
    free(vector);
    closedir(directory);
    print_message("%zu vectors\n", count);
    assert_true(count > 100);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        folder = argv[1];
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_gives_the_text_and_encoding_gives_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
