/* Which backend a URL names. */
#include "storage/store.h"

#include <stdio.h>
#include <string.h>

#include "storage/backends/aws/aws.h"
#include "storage/backends/aws/url.h"
#include "storage/backends/local/local.h"

struct st_store *st_store_open(struct st_loop *loop, const char *url, char *message, size_t message_size) {
    if (message_size > 0) {
        message[0] = '\0';
    }
    if (strcmp(url, "memory:") == 0) {
        struct st_store *store = st_store_memory_new(loop);
        if (store == NULL) {
            snprintf(message, message_size, "There is no memory for the store.");
        }
        return store;
    }
    if (strncmp(url, ST_AWS_URL_SCHEME, strlen(ST_AWS_URL_SCHEME)) == 0) {
        return st_store_aws_open(loop, url, message, message_size);
    }
    const char *dir = strncmp(url, "file:", 5) == 0 ? url + 5 : url;
    size_t scheme = strspn(dir, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (dir == url && scheme > 0 && dir[scheme] == ':') {
        snprintf(message, message_size,
                 "The store \"%s\" is of no kind known here: use file:DIR, a path, s3://BUCKET?table=NAME, or memory:.",
                 url);
        return NULL;
    }
    if (dir[0] == '\0') {
        snprintf(message, message_size, "The store needs a directory: file:DIR or a path.");
        return NULL;
    }
    return st_store_local_open(loop, dir, message, message_size);
}
