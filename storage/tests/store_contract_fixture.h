/*
 * What the tests of the suite share. Every operation lies in a struct of its own on the heap, with a struct call in
 * front, until the test's end: so a callback that comes twice, or inside the call that started it, is seen, and with
 * AddressSanitizer a backend that touches an operation of a closed handle is too.
 */
#ifndef STORE_CONTRACT_FIXTURE_H
#define STORE_CONTRACT_FIXTURE_H

#include "storage/tests/store_contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PATIENCE_S 30

struct call {
    struct call *next;
    unsigned done;
    bool starting, was_inline;
};

struct fixture {
    void *world;
    struct st_store *a, *b; /* two handles on one store */
    unsigned open;          /* handles */
    struct call *calls;
};

/* The backend under test. */
extern const struct store_contract *contract;

int contract_set_up(void **state);
int contract_tear_down(void **state);
#define CONTRACT_TEST(name) cmocka_unit_test_setup_teardown(name, contract_set_up, contract_tear_down)

void contract_finish(struct call *call);
/* Pumps until the call is done; fails the test when that takes too long. */
void contract_wait_for(struct fixture *f, const struct call *call);
time_t contract_now_s(void);

struct st_store *contract_open(struct fixture *f);
void contract_close_start(struct st_store *store, struct call *call);
void contract_close(struct fixture *f, struct st_store *store);
/* Both handles are closed and opened anew, as after a restart of everything. */
void contract_reopen(struct fixture *f);

/* Bytes that differ with every seed and position. */
void contract_fill(uint8_t *bytes, size_t len, uint64_t seed);
bool contract_filled(const uint8_t *bytes, size_t len, uint64_t seed);

/*
 * For an operation of struct st_<name>: <name>_new makes one for the test's length, <name>_start starts it at a handle,
 * <name>_wait waits and gives its error, <name>_run does both.
 */
#define OPERATION(name, member)                                                                                        \
    struct name##_call {                                                                                               \
        struct call call;                                                                                              \
        struct st_##name op;                                                                                           \
    };                                                                                                                 \
    static inline void name##_done(struct st_##name *op) {                                                             \
        contract_finish(&ST_OWNER(op, struct name##_call, op)->call);                                                  \
    }                                                                                                                  \
    static inline struct st_##name *name##_new(struct fixture *f) {                                                    \
        struct name##_call *call = calloc(1, sizeof *call);                                                            \
        assert_non_null(call);                                                                                         \
        call->call.next = f->calls;                                                                                    \
        f->calls = &call->call;                                                                                        \
        call->op.done = name##_done;                                                                                   \
        return &call->op;                                                                                              \
    }                                                                                                                  \
    static inline void name##_start(struct st_store *store, struct st_##name *op) {                                    \
        struct call *call = &ST_OWNER(op, struct name##_call, op)->call;                                               \
        call->starting = true;                                                                                         \
        store->ops->member(store, op);                                                                                 \
        call->starting = false;                                                                                        \
    }                                                                                                                  \
    static inline enum st_error name##_wait(struct fixture *f, struct st_##name *op) {                                 \
        contract_wait_for(f, &ST_OWNER(op, struct name##_call, op)->call);                                             \
        assert_true(op->date_ms > 0);                                                                                  \
        return op->error;                                                                                              \
    }                                                                                                                  \
    static inline enum st_error name##_run(struct fixture *f, struct st_store *store, struct st_##name *op) {          \
        name##_start(store, op);                                                                                       \
        return name##_wait(f, op);                                                                                     \
    }

OPERATION(identify, identify)
OPERATION(object_put, object_put)
OPERATION(object_get, object_get)
OPERATION(object_delete, object_delete)
OPERATION(object_list, object_list)
OPERATION(journal_put, journal_put)
OPERATION(journal_read, journal_read)
OPERATION(journal_trim, journal_trim)
OPERATION(checkpoint_ref, checkpoint_advance)
OPERATION(lease_renew, lease_renew)
OPERATION(lease_list, lease_list)
OPERATION(pool_put, pool_put)
OPERATION(pool_read, pool_read)

/* ---- shared between the files of the suite ---- */

struct st_journal_put *contract_entry_new(struct fixture *f, uint32_t journal, uint64_t slot, const void *body,
                                          size_t len);
enum st_error contract_put_entry(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t slot,
                                 const void *body, size_t len);
/* Puts slots first..last of `len` bytes filled with their slot as the seed. */
void contract_put_entries(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first, uint64_t last,
                          size_t len);
/* Reads the journal page by page and checks that it holds exactly first..last, filled as put_entries does. */
void contract_assert_holds(struct fixture *f, struct st_store *store, uint32_t journal, uint64_t first, uint64_t last,
                           size_t len, size_t max_bytes);
/* An object of `len` bytes filled from `seed`, ready to be put; the buffer is the caller's. */
struct st_object_put *contract_object_new(struct fixture *f, struct st_store *store, enum st_object_kind kind,
                                          size_t len, uint64_t seed);
/* Reads a range and compares it with what fill wrote. */
enum st_error contract_get_range(struct fixture *f, struct st_store *store, const char *name, uint64_t position,
                                 size_t len, uint64_t seed);

int contract_journal_tests(void);
int contract_object_tests(void);
int contract_pool_tests(void);

#endif
