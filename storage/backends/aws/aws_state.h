/* What the parts of the aws backend share: the handle, and one request on its way. */
#ifndef ST_AWS_STATE_H
#define ST_AWS_STATE_H

#include "storage/backends/aws/aws.h"
#include "storage/backends/aws/dynamodb_json.h"
#include "storage/backends/aws/request.h"
#include "storage/backends/aws/url.h"

#define ST_AWS_WRITER_MAX 17

/* Tries and times of one request; the layers above repeat it by their own rules. */
#define ST_AWS_TRIES 3
#define ST_AWS_TABLE_TRY_MS 2000
#define ST_AWS_OBJECT_TRY_MS 2000        /* and a millisecond for each ST_AWS_OBJECT_BYTES_A_MS */
#define ST_AWS_OBJECT_BYTES_A_MS 2000    /* 2 MB/s: what is slower is tried over another connection */
#define ST_AWS_ERROR_ANSWER_MAX (64 * 1024)

struct st_aws {
    struct st_store store;
    struct st_loop *loop;
    struct st_aws_url url;
    struct st_aws_place place;
    bool connected;                   /* the region is known: place, client and services are set */
    struct st_http_client *http;
    struct st_aws_client client;
    struct st_aws_service s3, dynamodb;
    struct st_aws_hedge hedge;        /* of object PUTs */
    char writer[ST_AWS_WRITER_MAX];   /* random, in the names of this handle's objects */
    uint64_t names_given;
    int64_t date_ms, date_mono_ns;    /* the newest Date, and when it came */
    struct st_aws_call *deletes;      /* to be sent together, by delete_soon */
    struct st_task delete_soon;
    unsigned under_way;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct st_task teardown;
};

static inline struct st_aws *st_aws_of(struct st_store *store) {
    return ST_OWNER(store, struct st_aws, store);
}

/* An operation on its way: one request, or several one after the other. */
struct st_aws_call {
    struct st_aws_request request;
    struct st_aws *aws;
    struct st_aws_call *next; /* of those that share a request */
    void *op;
    void (*answered)(struct st_aws_call *call);
    void (*next_step)(struct st_aws_call *call), (*after)(struct st_aws_call *call); /* st_aws_with_time's */
    struct st_json json;      /* the body, when it is ours; blob NULL: none */
    char headers[3][128];     /* those that are made up */
    unsigned turn;            /* of an operation of several requests: what it is at, how often it tried */
    struct {                  /* what such an operation remembers */
        uint64_t number;
        bool flag;
    } memory;
};

/* ---- aws.c ---- */

/* The call of an operation; `answered` runs, from the loop, after each st_aws_call_send. */
struct st_aws_call *st_aws_call_new(struct st_aws *aws, void *op, void (*answered)(struct st_aws_call *call));
/* The request is to be made anew in it; the answer before is gone. */
struct st_aws_request *st_aws_call_renew(struct st_aws_call *call);
void st_aws_call_send(struct st_aws_call *call);
/* Runs `answered` from the loop without a request: as if it had been refused, with this reason. */
void st_aws_call_refuse(struct st_aws_call *call, const char *reason);
/* The operation is over: its callback may run now, and the call is gone. */
void st_aws_call_end(struct st_aws_call *call);
/* A header with a value that lives in the call. */
void st_aws_call_header(struct st_aws_call *call, unsigned which, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The services' time of this answer; without one the newest known; 0: none. */
int64_t st_aws_call_date(const struct st_aws_call *call);
/* What a request came to that has no answer of its own meaning: logged; ST_REFUSED or ST_UNKNOWN. */
enum st_error st_aws_call_failed(const struct st_aws_call *call);
/* The services' time now: not later than it is, in whole seconds as they tell it. 0: no answer came yet. */
int64_t st_aws_date_now(const struct st_aws *aws);
/* The region is known. False: one sentence in message. */
bool st_aws_connect(struct st_aws *aws, const char *region, char *message, size_t size);

/* ---- start.c ---- */
void st_aws_identify(struct st_store *store, struct st_identify *op);

/* ---- s3.c ---- */
bool st_aws_object_name(struct st_store *store, enum st_object_kind kind, uint32_t journal, uint64_t begun, size_t len,
                        char name[ST_OBJECT_NAME_MAX]);
void st_aws_object_put(struct st_store *store, struct st_object_put *op);
void st_aws_object_get(struct st_store *store, struct st_object_get *op);
void st_aws_object_delete(struct st_store *store, struct st_object_delete *op);
void st_aws_object_list(struct st_store *store, struct st_object_list *op);
void st_aws_deletes_start(struct st_aws *aws);
/* A request for the object of this name; the caller adds method, headers and body. */
struct st_aws_request *st_aws_object_request(struct st_aws_call *call, const char *method, const char *name,
                                             size_t bytes);

/* ---- dynamodb.c ---- */
void st_aws_journal_put(struct st_store *store, struct st_journal_put *op);
void st_aws_journal_read(struct st_store *store, struct st_journal_read *op);
void st_aws_journal_trim(struct st_store *store, struct st_journal_trim *op);
void st_aws_checkpoint_get(struct st_store *store, struct st_checkpoint_ref *op);
void st_aws_checkpoint_advance(struct st_store *store, struct st_checkpoint_ref *op);
void st_aws_lease_renew(struct st_store *store, struct st_lease_renew *op);
void st_aws_lease_list(struct st_store *store, struct st_lease_list *op);
/* ---- dynamodb_pool.c ---- */
void st_aws_pool_put(struct st_store *store, struct st_pool_put *op);
void st_aws_pool_read(struct st_store *store, struct st_pool_read *op);

/* ---- of dynamodb.c and s3.c, for the others ---- */
/* A request of this action, whose body begins in call->json with room for `text` bytes of JSON and `bytes` of base64.
 * False: no memory. */
bool st_aws_table_begin(struct st_aws_call *call, const char *action, size_t text, size_t bytes);
/* Sends it, or refuses it if the body did not fit. */
void st_aws_table_send(struct st_aws_call *call);
/* Goes on with `next` when the services' time is known: nobody may have asked them anything yet. */
void st_aws_with_time(struct st_aws_call *call, void (*next)(struct st_aws_call *call));
/* The answer of a table, parsed, its units counted; NULL: it is none. */
cJSON *st_aws_table_answer(const struct st_aws_call *call);
bool st_aws_call_is_error(const struct st_aws_call *call, const char *code);
bool st_aws_call_is_ok(const struct st_aws_call *call);

#endif
