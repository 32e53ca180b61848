/*
 * A store on the S3 server and the DynamoDB that `infra/aws-parts run` names in the environment: a table and a prefix
 * of its own for each test, in the bucket that the parts come with. Without them a test is skipped, with status 77.
 */
#ifndef AWS_PARTS_FIXTURE_H
#define AWS_PARTS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <event2/event.h>

#include "storage/backends/aws/aws_state.h"
#include "storage/runtime/loop_libevent.h"

#define AWS_SKIPPED 77

struct aws_world {
    struct event_base *base;
    struct st_loop *loop;
    char name[40];  /* of table and prefix */
    char url[200];
    bool done;
};

/* False, with a line that says so: there is nothing to test against. */
static inline bool aws_is_there(void) {
    static const char *const needed[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PARTS_BUCKET"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (getenv(needed[i]) == NULL) {
            printf("skipped: %s is not set; run it by infra/aws-parts run DIR\n", needed[i]);
            return false;
        }
    }
    return true;
}

static inline void aws_pump(void *arg) {
    struct aws_world *world = arg;
    struct timeval soon = {.tv_usec = 1000};
    event_base_loopexit(world->base, &soon);
    event_base_loop(world->base, EVLOOP_ONCE);
}

static inline struct st_store *aws_open_url(struct aws_world *world, const char *url) {
    char message[300];
    struct st_store *store = st_store_aws_open(world->loop, url, message, sizeof message);
    if (store == NULL) {
        fail_msg("%s: %s", url, message);
    }
    return store;
}

static inline struct st_store *aws_open(void *arg) {
    struct aws_world *world = arg;
    return aws_open_url(world, world->url);
}

static inline void aws_is_done(void *arg) {
    ((struct aws_world *)arg)->done = true;
}

static inline void aws_wait(struct aws_world *world) {
    while (!world->done) {
        aws_pump(world);
    }
}

static inline void aws_close(struct aws_world *world, struct st_store *store) {
    world->done = false;
    store->ops->close(store, aws_is_done, world);
    aws_wait(world);
}

/* ---- requests of the test's own ---- */

static inline void aws_call_done(struct st_aws_call *call) {
    aws_is_done(call->op);
}

/* Sends `body` (JSON, the table's name in front) as an action and expects status 200. */
static inline void aws_table_action(struct aws_world *world, const char *action, const char *body) {
    struct st_store *store = aws_open(world);
    struct st_aws_call *call = st_aws_call_new(st_aws_of(store), world, aws_call_done);
    world->done = false;
    assert_true(st_aws_table_begin(call, action, 1000, 0));
    if (body[0] == '\0') {
        call->json.len--;
    }
    st_json_add(&call->json, "%s}", body);
    st_aws_table_send(call);
    aws_wait(world);
    if (call->request.status != 200) {
        fail_msg("%s: %s", action, call->request.reason);
    }
    st_aws_call_end(call);
    aws_close(world, store);
}

#define AWS_TABLE \
    "\"KeySchema\":[{\"AttributeName\":\"pk\",\"KeyType\":\"HASH\"},{\"AttributeName\":\"sk\"," \
    "\"KeyType\":\"RANGE\"}],\"AttributeDefinitions\":[{\"AttributeName\":\"pk\",\"AttributeType\":\"S\"}," \
    "{\"AttributeName\":\"sk\",\"AttributeType\":\"N\"}],\"BillingMode\":\"PAY_PER_REQUEST\""

/* A world without a table. */
static inline struct aws_world *aws_world_new(void) {
    struct aws_world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->base = event_base_new();
    world->loop = st_loop_libevent_new(world->base);
    snprintf(world->name, sizeof world->name, "test-%016llx", (unsigned long long)st_random_u64(world->loop));
    snprintf(world->url, sizeof world->url, "s3://%s/%s?table=%s", getenv("AWS_PARTS_BUCKET"), world->name,
             world->name);
    return world;
}

static inline void aws_world_free(struct aws_world *world) {
    st_loop_libevent_free(world->loop);
    event_base_free(world->base);
    free(world);
}

static inline void *aws_make(void) {
    struct aws_world *world = aws_world_new();
    aws_table_action(world, "CreateTable", AWS_TABLE);
    return world;
}

static inline void aws_destroy(void *arg) {
    aws_table_action(arg, "DeleteTable", "");
    aws_world_free(arg);
}

#endif
