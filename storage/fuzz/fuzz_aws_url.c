/* URLs of aws stores: what is accepted has endpoints and paths that need no escaping, what is refused a sentence. */
#include "storage/backends/aws/url.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:[]";
    struct st_aws_url url;
    struct st_aws_place place;
    char message[300] = "", *text = malloc(size + 1);
    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (!st_aws_url_parse(text, &url, message, sizeof message)) {
        assert(strlen(message) > 10);
    } else if (st_aws_place_of(&url, url.region[0] != '\0' ? url.region : "r", &place, message, sizeof message)) {
        assert(url.table[0] != '\0' && place.s3[strspn(place.s3, plain)] == '\0');
        assert(place.objects[strspn(place.objects, plain)] == '\0' && place.objects[0] == '/');
        assert(strncmp(place.objects, place.bucket_path, strlen(place.bucket_path)) == 0);
    }
    free(text);
    return 0;
}
