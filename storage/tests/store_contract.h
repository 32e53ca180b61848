/*
 * One suite for every backend: what storage/store.h promises, shown. A backend's test program is
 *
 *     static const struct store_contract contract = {.name = "memory", .make = ..., ...};
 *     int main(void) { return store_contract_run(&contract); }
 *
 * Every test makes a new store, opens two handles on it (as two processes have them), and closes all handles at its
 * end. Operations run against a healthy store: a backend that can fail is to be set so that it does not.
 */
#ifndef STORE_CONTRACT_H
#define STORE_CONTRACT_H

#include "storage/store.h"

struct store_contract {
    const char *name;
    /* A new, empty store and the loop or loops that its handles run on. Never NULL: fail the test instead. */
    void *(*make)(void);
    /* All handles are closed; removes the store. */
    void (*destroy)(void *world);
    /* One more handle on the same data, as another process would have it; also after all others were closed. */
    struct st_store *(*open)(void *world);
    /* Lets the loops run a little: what is due at once, or waiting a few milliseconds. Virtual time: one event. */
    void (*pump)(void *world);
    /* What the backend does beyond, or short of, the common contract: */
    bool hints;   /* `changed` of a handle is called when another handle has appended */
    bool revives; /* a trimmed slot may be put again (its table has one condition, on the slot itself) */
};

/* Runs all tests and prints them as CMocka does; the number that failed. */
int store_contract_run(const struct store_contract *contract);

#endif
