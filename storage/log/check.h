/*
 * What deciding requests against the fold keeps while an entry is built: private to check.c, which decides a flush, and
 * combine.c, which decides requests of the pool.
 */
#ifndef ST_CHECK_H
#define ST_CHECK_H

#include "protocol/bytes/arena.h"
#include "storage/journal/fold.h"

#define ST_FACTS_LIMIT (ST_ENTRY_MAX - 32 * 1024)

struct st_append_request;
struct st_flush;

struct st_build {
    struct st_flush *flush; /* NULL: the requests are not of a flush */
    struct st_fold *fold;
    uint64_t mark;
    struct kp_arena arena; /* windows of this build */
    struct st_fresh_producer *fresh;
    struct st_pack facts; /* in the order of the requests */
    struct st_append_writer appends; /* accepted last, on their way to the facts */
    bool stores_records;
    bool in_object; /* the record bytes lie in an object */
    bool pooled;    /* requests on their way into the pool, or out of it: their positions stand already */
    uint64_t producer_ids;
    int32_t partitions; /* of topics that this entry creates */
    size_t inline_len;  /* of the inline area so far */
    int64_t now_wall_ms;
    int64_t store_ms;  /* the store's clock, as last seen */
    int64_t forget_ms; /* the entry forgets keys of this time and before; INT64_MIN: none */
    struct st_fresh_key *fresh_keys; /* that this entry brings */
};

void st_build_begin(struct st_build *build, struct st_engine *engine, struct st_fold *fold);
void st_build_end(struct st_build *build);
/* The entry is to forget the keys whose time is over. */
void st_build_forget(struct st_build *build, const struct st_engine *engine);
/* Writes a fact behind what was accepted before it; the facts are complete. */
void st_build_fact(struct st_build *build, const struct st_fact *fact);
void st_build_facts_end(struct st_build *build);
/* Decides all requests of build->flush. Those that are to be held leave it. */
void st_build_decide(struct st_build *build);
/* Why an append without a producer cannot be accepted now; ST_OK: it can. */
enum st_error st_build_refusal(struct st_build *build, const struct st_append_request *append);
/* Accepts it: writes its fact. */
void st_build_accept(struct st_build *build, struct st_append_request *append);
/* keyed.c: decides the parts of an append with a key when the last of them is reached. */
void st_build_keyed(struct st_build *build, struct st_append_request *append);
/* Decides one append. False: it is to be held. */
bool st_build_append(struct st_build *build, struct st_append_request *append);

#endif
