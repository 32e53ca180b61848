/*
 * Golden record batches in batches/NAME.txt, in blocks:
 *
 *     title lz4, by librdkafka 2.0.2
 *     hex
 *       00 00 ...
 *     records
 *       0 1700000000000 null "value" header=text
 *     end
 *
 * A broker's check must accept the bytes, and the records read from them must print as these lines.
 */
#include "protocol/record_batch.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BYTES_MAX = 1 << 14, TEXT_MAX = 1 << 14, LINE_MAX_LEN = 1 << 12 };

struct golden {
    char title[200];
    uint8_t bytes[BYTES_MAX];
    size_t len;
    char records[TEXT_MAX];
};

static void append(char *text, const char *line) {
    assert_true(strlen(text) + strlen(line) < TEXT_MAX);
    memcpy(text + strlen(text), line, strlen(line) + 1);
}

static bool read_golden(FILE *file, struct golden *golden) {
    char line[LINE_MAX_LEN];
    enum { NOTHING, HEX, RECORDS } section = NOTHING;
    memset(golden, 0, sizeof *golden);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strcmp(line, "end\n") == 0) {
            return true;
        } else if (strncmp(line, "title ", 6) == 0) {
            snprintf(golden->title, sizeof golden->title, "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
        } else if (strcmp(line, "hex\n") == 0) {
            section = HEX;
        } else if (strcmp(line, "records\n") == 0) {
            section = RECORDS;
        } else if (section == RECORDS) {
            append(golden->records, line + 2);
        } else if (section == HEX) {
            unsigned byte = 0;
            int taken = 0;
            for (const char *at = line; sscanf(at, " %2x%n", &byte, &taken) == 1; at += taken) {
                assert_true(golden->len < BYTES_MAX);
                golden->bytes[golden->len++] = (uint8_t)byte;
            }
        }
    }
    return false;
}

static void print_record(char *text, struct kp_record record) {
    char part[LINE_MAX_LEN];
    snprintf(part, sizeof part, "%" PRId64 " %" PRId64 " ", record.offset, record.timestamp_ms);
    append(text, part);
    if (record.key.ptr == NULL) {
        append(text, "null");
    } else {
        snprintf(part, sizeof part, "\"%.*s\"", KP_SLICE_ARG(record.key));
        append(text, part);
    }
    snprintf(part, sizeof part, " \"%.*s\"", KP_SLICE_ARG(record.value));
    append(text, part);
    struct kp_slice key, value;
    while (kp_record_header_next(&record.headers, &key, &value)) {
        snprintf(part, sizeof part, " %.*s=%.*s", KP_SLICE_ARG(key), KP_SLICE_ARG(value));
        append(text, part);
    }
    append(text, "\n");
}

static void check_golden(const struct golden *golden) {
    struct kp_slice bytes = kp_slice_of(golden->bytes, golden->len);
    struct kp_batch batch;
    const char *reason = NULL;
    if (kp_batch_check(bytes, &batch, &reason) != KP_ERROR_NONE) {
        fail_msg("%s: %s", golden->title, reason);
    }
    struct kp_arena arena;
    struct kp_record_reader reader;
    struct kp_record record;
    char text[TEXT_MAX] = "";
    kp_arena_init(&arena, 1 << 20);
    assert_int_equal(kp_records_open(&reader, bytes, &arena, 1 << 16), KP_ERROR_NONE);
    while (kp_records_next(&reader, &record) == 1) {
        print_record(text, record);
    }
    assert_int_equal(kp_records_next(&reader, &record), 0);
    if (strcmp(text, golden->records) != 0) {
        fail_msg("%s: expected\n%s\nbut it is\n%s", golden->title, golden->records, text);
    }
    kp_arena_release(&arena);
}

static void batches_of_clients_pass_the_check_and_give_their_records(void **state) {
    (void)state;
    DIR *directory = opendir(TEST_DATA_DIR "/batches");
    assert_non_null(directory);
    struct golden *golden = malloc(sizeof *golden);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", TEST_DATA_DIR "/batches", entry->d_name);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        for (; read_golden(file, golden); count++) {
            check_golden(golden);
        }
        fclose(file);
    }
    free(golden);
    closedir(directory);
    assert_true(count >= 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_of_clients_pass_the_check_and_give_their_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
