/*
 * What an S3 server takes from a bare libcurl uploader: the ceiling for whatever writes to that server.
 *
 *   upload ENDPOINT BUCKET SIZE CONNECTIONS OBJECTS
 *
 * CONNECTIONS threads, each with one easy handle and so one connection, put OBJECTS of SIZE under new names, one after
 * the other, signed by libcurl with the keys of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION).
 * The payload is not signed, which spares hashing it. Prints one line of NAME=VALUE; MB are 10^6 bytes.
 */
#include "measure.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 64, SIZE_MAX_BYTES = 64 << 20 };

struct uploader {
    pthread_t thread;
    const char *endpoint, *bucket, *payload;
    size_t size, at;
    unsigned number;
    uint64_t due, bytes, objects;
};

static size_t give(char *into, size_t one, size_t room, void *arg) {
    struct uploader *uploader = arg;
    size_t left = uploader->size - uploader->at, part = one * room < left ? one * room : left;
    memcpy(into, uploader->payload + uploader->at, part);
    uploader->at += part;
    return part;
}

static size_t take(char *bytes, size_t one, size_t count, void *arg) {
    (void)bytes;
    (void)arg;
    return one * count;
}

static const char *setting(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) {
        die("%s is not set", name);
    }
    return value;
}

static void *upload(void *arg) {
    struct uploader *uploader = arg;
    char keys[512], sigv4[128], url[512];
    snprintf(keys, sizeof keys, "%s:%s", setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"));
    snprintf(sigv4, sizeof sigv4, "aws:amz:%s:s3", setting("AWS_REGION"));
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERPWD, keys);
    curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, sigv4);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(curl, CURLOPT_READDATA, uploader);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 1024L * 1024);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)uploader->size);
    while (uploader->objects < uploader->due) {
        long status = 0;
        uploader->at = 0;
        snprintf(url, sizeof url, "%s/%s/bare/%u/%llu", uploader->endpoint, uploader->bucket, uploader->number,
                 (unsigned long long)uploader->objects);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        CURLcode code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (code != CURLE_OK || status != 200) {
            die("%s: %s, status %ld", url, curl_easy_strerror(code), status);
        }
        uploader->bytes += uploader->size;
        uploader->objects++;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return NULL;
}

int main(int argc, char **argv) {
    static struct uploader uploaders[CONNECTIONS_MAX];
    if (argc != 6) {
        die("usage: upload ENDPOINT BUCKET SIZE CONNECTIONS OBJECTS");
    }
    size_t size = number(argv[3], 1), connections = number(argv[4], 1);
    uint64_t due = number(argv[5], 1), bytes = 0, objects = 0;
    char *payload = size <= SIZE_MAX_BYTES ? malloc(size) : NULL;
    if (payload == NULL || connections > CONNECTIONS_MAX) {
        die("SIZE up to %d and CONNECTIONS up to %d are due", SIZE_MAX_BYTES, CONNECTIONS_MAX);
    }
    memset(payload, 'x', size);
    curl_global_init(CURL_GLOBAL_ALL);
    uint64_t began = now_ns();
    for (unsigned i = 0; i < connections; i++) {
        uploaders[i] = (struct uploader){.endpoint = argv[1], .bucket = argv[2], .payload = payload, .size = size,
                                         .number = i, .due = due};
        if (pthread_create(&uploaders[i].thread, NULL, upload, &uploaders[i]) != 0) {
            die("no thread to be had");
        }
    }
    for (unsigned i = 0; i < connections; i++) {
        pthread_join(uploaders[i].thread, NULL);
        bytes += uploaders[i].bytes;
        objects += uploaders[i].objects;
    }
    double spent = (double)(now_ns() - began) / 1e9;
    printf("objects=%llu seconds=%.3f mb_s=%.1f\n", (unsigned long long)objects, spent, (double)bytes / spent / 1e6);
    curl_global_cleanup();
    free(payload);
    return 0;
}
