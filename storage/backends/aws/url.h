/*
 * Where an aws store is: one URL, all that a user types.
 *
 *   s3://bucket[/prefix]?table=name[&region=][&endpoint=][&endpoint_s3=][&endpoint_dynamodb=][&pacing_ms=]
 *
 * Endpoints are "http[s]://host[:port]" without a path. The URL goes before the environment: for each service
 * endpoint_s3 (endpoint_dynamodb), then endpoint, AWS_ENDPOINT_URL_S3 (AWS_ENDPOINT_URL_DYNAMODB), AWS_ENDPOINT_URL,
 * AWS's own (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html). The region is that of the
 * URL, or what st_aws_region_configured finds.
 *
 * A bucket is named by the host (bucket.s3.region.amazonaws.com) at AWS, unless there is a dot in its name, which no
 * wildcard certificate covers; everywhere else, and then, by the first part of the path.
 *
 * The parser is strict: what it does not know it does not guess. Nothing is percent-decoded, because nothing that may
 * stand in a URL needs it.
 */
#ifndef ST_AWS_URL_H
#define ST_AWS_URL_H

#include "storage/backends/aws/credentials.h"

#define ST_AWS_BUCKET_MAX 64    /* with the NUL */
#define ST_AWS_PREFIX_MAX 129
#define ST_AWS_TABLE_MAX 256
#define ST_AWS_ENDPOINT_MAX 320
#define ST_AWS_PACING_UNSET UINT32_MAX

struct st_aws_url {
    char bucket[ST_AWS_BUCKET_MAX];
    char prefix[ST_AWS_PREFIX_MAX]; /* "" or "a/b", without slashes at its ends */
    char table[ST_AWS_TABLE_MAX];
    char region[ST_AWS_REGION_MAX]; /* "": not given */
    char endpoint[ST_AWS_ENDPOINT_MAX];
    char endpoint_s3[ST_AWS_ENDPOINT_MAX];
    char endpoint_dynamodb[ST_AWS_ENDPOINT_MAX];
    uint32_t pacing_ms;
};

#define ST_AWS_URL_SCHEME "s3:"

/* False: one sentence in message. */
bool st_aws_url_parse(const char *text, struct st_aws_url *url, char *message, size_t size);

/* Where requests go: endpoints without a path, and what stands before an object's name in a path. */
struct st_aws_place {
    char s3[ST_AWS_ENDPOINT_MAX], dynamodb[ST_AWS_ENDPOINT_MAX];
    bool s3_private; /* nobody on the way can change what is sent: TLS, or an address of this machine */
    char bucket_path[ST_AWS_BUCKET_MAX + 1];                   /* "/bucket", or "" when the host names it */
    char objects[ST_AWS_BUCKET_MAX + ST_AWS_PREFIX_MAX + 3];   /* "/bucket/prefix/": an object's name follows */
};
/* With the region known, and the environment's endpoints. False: one sentence in message. */
bool st_aws_place_of(const struct st_aws_url *url, const char *region, struct st_aws_place *place, char *message,
                     size_t size);

#endif
