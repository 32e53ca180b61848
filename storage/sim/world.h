/*
 * A simulated world: some processes, each with a loop, a store handle and the real engine; one store; clients.
 *
 * Everything happens in one thread on one virtual clock. A process runs when its loop wants to; it may be killed
 * between any two runs, frozen for a while, restarted with an empty memory and other clocks. A client talks to the
 * engine of one process directly: an operation whose process dies is a lost connection.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "storage/sim/history.h"

enum sim_node_state { SIM_DOWN, SIM_OPENING, SIM_UP, SIM_CLOSING };

struct sim_node {
    struct sim_world *world;
    unsigned number;
    enum sim_node_state state;
    bool frozen;
    int64_t thawed_ns;
    bool drowsy;   /* to be frozen for the night as soon as it has sent something */
    uint64_t life; /* counts restarts */
    struct st_loop *loop;
    struct st_store *store;
    struct st_engine *engine;
    struct sim_call *calls; /* operations of clients under way */

    int64_t mono_base_ns, world_base_ns, drift_ppm; /* monotonic clock */
    bool mono_stands;                               /* while frozen */
    int64_t wall_off_ms;
    struct st_dice random, dice;

    struct st_sim_event death, start, thaw, finish;
    int64_t ends[SIM_NAMES_MAX * 8]
                [SIM_PARTITIONS_MAX]; /* greatest end seen in this life, by topic in the history */
};

/* An operation at a node. Embedded; `lost` is called, from outside the node's loop, when the node dies first. */
struct sim_call {
    struct sim_node *node;
    struct sim_call *next, **link;
    void (*lost)(struct sim_call *call);
};

/* Busy periods with nights between them; then the faults end, the clients finish, and an audit reads everything. */
enum sim_phase { SIM_BUSY, SIM_NIGHT, SIM_HEALING, SIM_AUDIT, SIM_DONE };

struct sim_world {
    uint64_t seed;
    struct st_sim_clock clock;
    struct sim_plan plan;
    struct st_sim *store;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_history history;
    struct st_dice dice; /* of the schedule */
    enum sim_phase phase;
    unsigned period;
    struct st_sim_event turn, nightfall, outage;
    int64_t turned_ns; /* when this phase began */
    bool outage_on;
    unsigned outages_left;
    struct sim_client *clients;
    uint64_t sources, groups; /* given out */
    unsigned sends_open;      /* appends without an answer, whoever still waits for it */
    struct sim_node *woken;   /* thawed last */
    int64_t woken_ns;
    uint64_t events, deaths, freezes;
    bool broken;
    char reason[512];
};

/* Runs a seed. False: a rule was broken, world->reason says which. To be released in any case. */
bool sim_world_run(struct sim_world *world, uint64_t seed, bool verbose);
void sim_world_release(struct sim_world *world);

/* Notes the first broken rule; the run stops soon. */
void sim_broken(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline int64_t sim_now(const struct sim_world *world) {
    return world->clock.now_ns;
}

/* A node that answers now, any of them; NULL: none does. */
struct sim_node *sim_node_any(struct sim_world *world, struct st_dice *dice);
static inline bool sim_node_ready(const struct sim_node *node, uint64_t life) {
    return node != NULL && node->state == SIM_UP && !node->frozen && node->life == life;
}
void sim_call_begin(struct sim_call *call, struct sim_node *node, void (*lost)(struct sim_call *call));
void sim_call_end(struct sim_call *call);
/* Ends of partitions as a node shows them may not run backwards. */
void sim_node_view(struct sim_node *node, const struct sim_topic *topic, int32_t partition,
                   const struct st_partition_view *view);

/*
 * A client: something with a tick. It ticks while the world is busy, until it says so no more.
 */
struct sim_client {
    struct sim_world *world;
    struct sim_client *next;
    struct st_sim_event tick;
    struct st_dice dice;
    const char *name;
    unsigned number;
    void (*morning)(struct sim_client *client);    /* a busy period begins */
    bool (*idle)(const struct sim_client *client); /* nothing left to do, nothing under way */
    void (*free)(struct sim_client *client);
};
void sim_client_start(struct sim_world *world, struct sim_client *client, const char *name, unsigned number);
void sim_client_tick(struct sim_client *client, int64_t delay_ns);

void sim_producer_new(struct sim_world *world, unsigned number);
void sim_lambda_new(struct sim_world *world, unsigned number);
void sim_keyed_new(struct sim_world *world, unsigned number);
void sim_reader_new(struct sim_world *world, unsigned number);
void sim_admin_new(struct sim_world *world);
/* After the heal: writes through every node, reads everything back through every node, compares. Sets phase
 * SIM_DONE. */
void sim_audit_start(struct sim_world *world);

#endif
