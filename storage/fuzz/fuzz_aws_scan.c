/*
 * Answers of S3, DynamoDB, STS and the metadata service, as anybody might send them. Whatever is found fits its room,
 * is a text, and is "" when nothing was found.
 */
#include "storage/backends/aws/scan.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 24 };

static void check(bool found, const char out[ROOM + 1]) {
    if (memchr(out, '\0', ROOM) == NULL || out[ROOM] != '#' || (!found && out[0] != '\0')) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"Code", "__type", "message", "AccessKeyId", "a"};
    struct kp_slice text = kp_slice_of(data, size);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char out[ROOM + 1];
        memset(out, '#', sizeof out);
        check(st_scan_json(text, names[i], out, ROOM), out);
        memset(out, '#', sizeof out);
        check(st_scan_xml(text, names[i], out, ROOM), out);
        st_scan_xml_root(text, names[i]);
    }
    return 0;
}
