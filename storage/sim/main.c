/*
 * sim: runs seeds and says which broke a rule.
 *
 *   sim --seeds 1-500 [--regressions FILE]  runs them: a line with the trace hash of each, then the figures of all
 *   sim --seed 7 --verbose                  one seed with its trace
 *   sim --meta 1-20                         each seed twice: both runs must have the same trace
 * Built with ST_MUTANTS:
 *   sim --mutants 1-500                     each wrong variant must be caught by one of the seeds
 *   sim --mutant NAME --seed 7 --verbose    one wrong variant
 */
#include "storage/mutants.h"
#include "storage/runtime/log.h"
#include "storage/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the seeds have seen together. A simulation that never gets where it hurts proves nothing. */
struct figures {
    uint64_t acks, refusals, unknowns, reads, deaths, freezes, slots, trimmed, revived, checkpoints, events,
        pooled, fates[ST_SIM_FATES];
};

static void count(struct figures *figures, const struct sim_world *world) {
    figures->acks += world->history.acks;
    figures->refusals += world->history.refusals;
    figures->unknowns += world->history.unknowns;
    figures->reads += world->history.reads;
    figures->deaths += world->deaths;
    figures->freezes += world->freezes;
    figures->events += world->events;
    figures->slots += st_sim_last_slot(world->store, 0);
    figures->trimmed += st_sim_trimmed_below(world->store, 0);
    figures->revived += st_sim_revived(world->store, 0);
    figures->pooled += st_sim_pooled(world->store);
    figures->checkpoints += st_sim_checkpoint_slot(world->store, 0) != 0;
    for (unsigned i = 0; i < ST_SIM_FATES; i++) {
        figures->fates[i] += st_sim_fates(world->store)[i];
    }
}

static bool run_seed(uint64_t seed, bool verbose, struct figures *figures, uint64_t *hash, char reason[512]) {
    static struct sim_world world;
    bool held = sim_world_run(&world, seed, verbose);
    *hash = world.clock.trace_hash;
    memcpy(reason, world.reason, 512);
    count(figures, &world);
    sim_world_release(&world);
    return held;
}

/* True: it held. */
static bool show_seed(uint64_t seed, bool verbose, struct figures *figures) {
    uint64_t hash;
    char reason[512];
    bool held = run_seed(seed, verbose, figures, &hash, reason);
    printf("seed %" PRIu64 " trace %016" PRIx64 "%s%s\n", seed, hash, held ? "" : " BROKEN ", held ? "" : reason);
    if (!held) {
        printf("  to see it: sim --seed %" PRIu64 " --verbose\n", seed);
    }
    fflush(stdout);
    return held;
}

static void show_figures(const struct figures *f) {
    printf("%" PRIu64 " appends acknowledged, %" PRIu64 " refused, %" PRIu64 " unknown; %" PRIu64
           " batches read; %" PRIu64 " slots, %" PRIu64 " trimmed, %" PRIu64 " of them revived; %" PRIu64
           " stores with a checkpoint; %" PRIu64 " pooled; %" PRIu64 " deaths, %" PRIu64
           " freezes; %" PRIu64 " events\n",
           f->acks, f->refusals, f->unknowns, f->reads, f->slots, f->trimmed, f->revived, f->checkpoints, f->pooled,
           f->deaths, f->freezes, f->events);
    printf("requests: %" PRIu64 " fine, %" PRIu64 " slow, %" PRIu64 " late, %" PRIu64 " failed, %" PRIu64
           " answers lost, %" PRIu64 " lost, %" PRIu64 " refused\n",
           f->fates[6], f->fates[5], f->fates[4], f->fates[3], f->fates[2], f->fates[1], f->fates[0]);
}

/* True when the seeds together saw everything worth seeing. */
static bool reached(const struct figures *f) {
    bool all = f->acks > 0 && f->refusals > 0 && f->unknowns > 0 && f->reads > 0 && f->deaths > 0 &&
               f->freezes > 0 && f->trimmed > 0 && f->revived > 0 && f->checkpoints > 0 && f->pooled > 0;
    for (unsigned i = 0; i < ST_SIM_FATES; i++) {
        all = all && f->fates[i] > 0;
    }
    if (!all) {
        puts("BROKEN: some of these figures are 0: the seeds do not reach what they should test");
    }
    return all;
}

static int run_regressions(const char *path, struct figures *figures) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "sim: cannot read %s\n", path);
        return 1;
    }
    char line[512];
    int broken = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] != '#' && line[0] != '\n') {
            broken += !show_seed(strtoull(line, NULL, 10), false, figures);
        }
    }
    fclose(file);
    return broken;
}

static int run_meta(uint64_t first, uint64_t last) {
    int broken = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct figures figures = {0};
        uint64_t hashes[2];
        char reason[512];
        run_seed(seed, false, &figures, &hashes[0], reason);
        run_seed(seed, false, &figures, &hashes[1], reason);
        if (hashes[0] != hashes[1]) {
            printf("BROKEN: two runs of seed %" PRIu64 " differ\n", seed);
            broken++;
        }
    }
    return broken;
}

#ifdef ST_MUTANTS
enum st_mutant st_mutant;

static const struct {
    const char *name, *text;
} mutants[] = {
    {"none", "the engine as it is"},
#define MUTANT(name, text) {#name, text},
#include "storage/sim/mutants.def"
#undef MUTANT
};
#define MUTANT_COUNT (sizeof mutants / sizeof mutants[0])

static bool choose_mutant(const char *name) {
    for (size_t i = 0; i < MUTANT_COUNT; i++) {
        if (strcmp(mutants[i].name, name) == 0) {
            st_mutant = (enum st_mutant)i;
            return true;
        }
    }
    return false;
}

/* In a process of its own, since a wrong engine may well crash: exit status 0 means that no seed caught it. */
static void hunt(uint64_t first, uint64_t last) {
    uint64_t hash;
    char reason[512];
    for (uint64_t seed = first; seed <= last; seed++) {
        struct figures figures = {0};
        if (!run_seed(seed, false, &figures, &hash, reason)) {
            printf("%-28s seed %4" PRIu64 "  %s\n", mutants[st_mutant].name, seed, reason);
            fflush(stdout);
            _exit(1);
        }
    }
    _exit(0);
}

static int run_mutants(uint64_t first, uint64_t last) {
    int survivors = 0;
    for (size_t i = 1; i < MUTANT_COUNT; i++) {
        st_mutant = (enum st_mutant)i;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            hunt(first, last);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            perror("sim");
            return 1;
        }
        if (WIFSIGNALED(status)) {
            printf("%-28s crashed, signal %d\n", mutants[i].name, WTERMSIG(status));
        } else if (WEXITSTATUS(status) == 0) {
            printf("%-28s SURVIVED: %s\n", mutants[i].name, mutants[i].text);
            survivors++;
        }
    }
    printf("%zu wrong variants, %d survived\n", MUTANT_COUNT - 1, survivors);
    return survivors;
}
#endif

static int usage(void) {
    fputs("usage: sim --seeds A-B [--regressions FILE] | --seed N [--verbose] | --meta A-B"
#ifdef ST_MUTANTS
          " | --mutants A-B | --mutant NAME --seed N [--verbose]"
#endif
          "\n",
          stderr);
    return 2;
}

struct arguments {
    bool verbose, seeds, meta, mutants;
    uint64_t first, last;
    const char *regressions;
};

static bool parse(int argc, char **argv, struct arguments *out) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--verbose") == 0) {
            out->verbose = true;
            continue;
        }
        if (value == NULL) {
            return false;
        }
        i++;
        if (strcmp(name, "--regressions") == 0) {
            out->regressions = value;
            continue;
        }
#ifdef ST_MUTANTS
        if (strcmp(name, "--mutant") == 0) {
            if (!choose_mutant(value)) {
                return false;
            }
            continue;
        }
        out->mutants = strcmp(name, "--mutants") == 0;
#endif
        out->meta = strcmp(name, "--meta") == 0;
        out->seeds = strcmp(name, "--seeds") == 0 || strcmp(name, "--seed") == 0;
        char *end;
        out->first = out->last = strtoull(value, &end, 10);
        if (*end == '-') {
            out->last = strtoull(end + 1, &end, 10);
        }
        if (*end != '\0' || end == value || !(out->meta || out->seeds || out->mutants)) {
            return false;
        }
    }
    return out->meta || out->seeds || out->mutants;
}

int main(int argc, char **argv) {
    struct arguments arguments = {0};
    if (!parse(argc, argv, &arguments)) {
        return usage();
    }
    st_log_level(arguments.verbose ? ST_INFO : ST_ERROR);
    if (arguments.meta) {
        return run_meta(arguments.first, arguments.last) != 0;
    }
#ifdef ST_MUTANTS
    if (arguments.mutants) {
        return run_mutants(arguments.first, arguments.last) != 0;
    }
#endif
    struct figures figures = {0};
    int broken = arguments.regressions == NULL ? 0 : run_regressions(arguments.regressions, &figures);
    for (uint64_t seed = arguments.first; seed <= arguments.last; seed++) {
        broken += !show_seed(seed, arguments.verbose, &figures);
    }
    show_figures(&figures);
    if (arguments.last - arguments.first >= 200 && !reached(&figures)) {
        broken++;
    }
    return broken != 0;
}
