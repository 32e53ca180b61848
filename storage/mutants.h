/*
 * Wrong variants of the engine, to prove that the simulator can fail. In a normal build ST_MUTANT(name) is 0 and
 * leaves nothing behind. With -DST_MUTANTS the program chooses one of storage/sim/mutants.def by setting st_mutant.
 */
#ifndef ST_MUTANTS_H
#define ST_MUTANTS_H

#ifdef ST_MUTANTS
enum st_mutant {
    ST_MUTANT_none,
#define MUTANT(name, text) ST_MUTANT_##name,
#include "storage/sim/mutants.def"
#undef MUTANT
};
extern enum st_mutant st_mutant;
#define ST_MUTANT(name) (st_mutant == ST_MUTANT_##name)
#else
#define ST_MUTANT(name) 0
#endif

#endif
