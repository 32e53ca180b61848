/*
 * What stands in a simulated store, and what each operation does to it at the instant at which it takes effect.
 * Objects lie in an array sorted by name, journals in arrays indexed by slot. Private to the sim backend.
 */
#ifndef ST_SIM_STATE_H
#define ST_SIM_STATE_H

#include "storage/backends/sim.h"

#define SIM_JOURNALS_MAX 16
#define SIM_HOLDERS_MAX 64

struct sim_object {
    char name[ST_OBJECT_NAME_MAX];
    uint8_t *data;
    size_t len;
    bool deleted; /* kept as a tombstone, so that a second life of the name is seen */
};

struct sim_slot {
    uint8_t *data; /* NULL: absent */
    size_t len;
};

struct sim_checkpoint {
    uint64_t slot;
    int64_t made_ms;
    uint64_t size;
    char name[ST_OBJECT_NAME_MAX];
};

struct sim_journal {
    uint32_t number;
    struct sim_slot *slots; /* slots[0] is slot 1 */
    uint64_t room, last, trimmed_below;
    uint64_t revived;                   /* puts that took effect below that */
    struct sim_checkpoint *checkpoints; /* all that ever stood, oldest first */
    size_t checkpoint_count;
};

struct sim_waiting {
    uint32_t journal;
    uint64_t begun;
    struct kp_uuid id;
    int64_t expires_ms; /* kept beyond it, so that a second life under other bytes is seen */
    uint8_t *data;
    size_t len;
};

struct sim_state {
    struct st_sim_options options;
    struct st_sim_watch watch;
    struct st_dice dice;
    int64_t now_ms; /* the store's clock, set before every operation */
    struct sim_object *objects;
    size_t object_count, object_room;
    struct sim_journal *journals[SIM_JOURNALS_MAX]; /* in the order of their first use */
    unsigned journal_count;
    struct st_lease leases[SIM_HOLDERS_MAX];
    size_t lease_count;
    struct sim_waiting *pool; /* sorted by journal, begun, id */
    size_t pool_count, pool_room;
    struct st_identify identity; /* format_version 0: not founded */
};

void sim_state_release(struct sim_state *state);
/* Reports a broken rule when `kept` is false. */
void sim_rule(const struct sim_state *state, bool kept, const char *text);
void *sim_must(void *memory); /* aborts on NULL */
uint8_t *sim_copy(const void *bytes, size_t len);
struct sim_journal *sim_journal(struct sim_state *state, uint32_t number);
uint64_t sim_newest_checkpoint(const struct sim_journal *journal);

/*
 * Each takes the operation as it was sent and writes its plain results into it; the return value is its error.
 * Bytes that the answer carries are malloc'ed into *bytes: they reach the caller's memory only when the answer
 * does.
 */
enum st_error sim_state_object_put(struct sim_state *state, const struct st_object_put *op, struct kp_slice data);
enum st_error sim_state_object_get(struct sim_state *state, const struct st_object_get *op, uint8_t **bytes);
enum st_error sim_state_object_delete(struct sim_state *state, const struct st_object_delete *op);
enum st_error sim_state_object_list(struct sim_state *state, struct st_object_list *op, uint8_t **bytes);
enum st_error sim_state_journal_put(struct sim_state *state, const struct st_journal_put *op, struct kp_slice body);
/* The bodies of *entries lie in *bytes, *len in all. */
enum st_error sim_state_journal_read(struct sim_state *state, struct st_journal_read *op,
                                     struct st_journal_entry **entries, uint8_t **bytes, size_t *len);
/* `halfway`: its answer is an error, so perhaps only the lowest slots go. */
enum st_error sim_state_journal_trim(struct sim_state *state, const struct st_journal_trim *op, bool halfway);
enum st_error sim_state_checkpoint_get(struct sim_state *state, struct st_checkpoint_ref *op);
enum st_error sim_state_checkpoint_advance(struct sim_state *state, struct st_checkpoint_ref *op);
enum st_error sim_state_identify(struct sim_state *state, struct st_identify *op);
enum st_error sim_state_lease_renew(struct sim_state *state, const struct st_lease_renew *op);
enum st_error sim_state_lease_list(struct sim_state *state, struct st_lease_list *op, uint8_t **bytes);
/* sim_pool.c */
enum st_error sim_state_pool_put(struct sim_state *state, const struct st_pool_put *op, struct kp_slice body);
enum st_error sim_state_pool_read(struct sim_state *state, struct st_pool_read *op, struct kp_slice **bodies,
                                  uint8_t **bytes, size_t *len);

#endif
