/*
 * The sim backend: a store that is slow, loses answers, answers 5xx with and without effect, and above all applies
 * requests late. One shared state, one handle (struct st_store) per simulated process.
 *
 * A request is copied when it is sent. It takes effect at one drawn instant and is answered at another; a lost
 * connection, an answer of "unknown", or the death of its sender cancels nothing. Reads see the state of one
 * instant between sending and answer. What the state looks like is settled by the seed alone: there are no threads,
 * no wall time and no tables ordered by addresses.
 *
 * The store also watches its users: a slot that is put out of order, a name given to other bytes, a trim that
 * nothing permits are reported as broken rules, because the history that clients see shows them only much later.
 */
#ifndef ST_SIM_H
#define ST_SIM_H

#include "storage/backends/sim_clock.h"
#include "storage/store.h"

struct st_sim;

enum st_sim_class {
    ST_SIM_OBJECT_PUT,
    ST_SIM_OBJECT_GET,
    ST_SIM_JOURNAL_PUT,
    ST_SIM_JOURNAL_READ,
    ST_SIM_OTHER, /* checkpoints, trims, deletes, lists, leases, identity */
    ST_SIM_POOL,
    ST_SIM_CLASSES
};

/* Chances are per million requests; at most one befalls a request, in this order. */
struct st_sim_faults {
    uint32_t refused;      /* throttled: ST_REFUSED, surely no effect */
    uint32_t lost_request; /* no effect, ST_UNKNOWN after the timeout */
    uint32_t lost_answer;  /* effect in time, ST_UNKNOWN after the timeout */
    uint32_t failed;       /* 5xx: ST_UNKNOWN at once; half of them with effect, perhaps after the answer */
    uint32_t late;         /* ST_UNKNOWN after the timeout, effect at any time until late_most_ns */
    uint32_t slow;         /* takes up to slow_most_ns */
    int64_t latency_least_ns, latency_most_ns; /* each way */
    int64_t timeout_ns, late_most_ns, slow_most_ns;
};

struct st_sim_options {
    struct st_store_profile profile;
    struct st_sim_faults faults[ST_SIM_CLASSES];
    bool guarded;      /* a slot at or below the newest checkpoint is refused as gone (as an SQL store can do); else
                          a put looks only at its own slot (one conditional item), and may revive a trimmed one */
    bool gone_first;   /* guarded: gone is said even of a slot that still holds an entry */
    bool watched;      /* report broken rules, end pages of reads anywhere */
    bool hints;        /* `changed` is called when others append */
    uint32_t nameless; /* chance that no object name can be had */
    int64_t epoch_ms;  /* the store's clock at virtual time 0 */
    int64_t trim_grace_ms; /* what users were told to keep to */
};
/* Fast, faultless, small limits. */
struct st_sim_options st_sim_options_quiet(void);

struct st_sim_watch {
    void (*sent)(void *arg, unsigned node, enum st_sim_class class); /* a request left a process */
    void (*broken)(void *arg, const char *rule);                     /* a user broke the store's rules */
    void *arg;
};

/* The clock must outlive it. */
struct st_sim *st_sim_new(struct st_sim_clock *clock, uint64_t seed, const struct st_sim_options *options,
                          const struct st_sim_watch *watch);
/* All handles are gone; effects still on their way are dropped. */
void st_sim_free(struct st_sim *sim);
/* May be changed at any time: holds for requests sent from then on. */
struct st_sim_options *st_sim_options(struct st_sim *sim);
int64_t st_sim_date_ms(const struct st_sim *sim);
/* How often faults came true, by their order in struct st_sim_faults; for the summary. */
#define ST_SIM_FATES 7
const uint64_t *st_sim_fates(const struct st_sim *sim);
/* What stands in the store, for the checker: 0 when there is none. */
uint64_t st_sim_last_slot(struct st_sim *sim, uint32_t journal);
uint64_t st_sim_trimmed_below(struct st_sim *sim, uint32_t journal);
uint64_t st_sim_revived(struct st_sim *sim, uint32_t journal); /* trimmed slots that a late put brought back */
uint64_t st_sim_checkpoint_slot(struct st_sim *sim, uint32_t journal);
uint64_t st_sim_pooled(const struct st_sim *sim); /* requests that ever came into a pool */

/* A handle for the process `node`; it has a loop of its own. NULL: out of memory. */
struct st_store *st_sim_store_new(struct st_sim *sim, struct st_loop *loop, unsigned node);
/* The process died (its engine is freed already): its requests stay on their way, their answers go nowhere, and the
 * handle is freed. */
void st_sim_store_kill(struct st_store *store);

#endif
