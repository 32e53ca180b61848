/*
 * The aws store: objects in S3, journals, checkpoints and leases in one DynamoDB table. README.md has the layout.
 *
 * What it does beyond and short of storage/store.h: a trimmed slot may be put again (a put knows nothing but its own
 * slot), which the journal copes with; nobody is told of others' commits, who waits polls.
 */
#ifndef ST_AWS_H
#define ST_AWS_H

#include "storage/store.h"

/* `url` as in storage/backends/aws/url.h. Nothing is asked of the network here, that is identify's; on failure NULL and
 * one sentence. */
struct st_store *st_store_aws_open(struct st_loop *loop, const char *url, char *message, size_t message_size);

#endif
