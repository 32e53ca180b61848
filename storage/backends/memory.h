/*
 * The memory backend: everything in this process, for tests and for trying things out. It keeps the contract of
 * storage/store.h like any other and runs the same suite (storage/tests/store_contract.h).
 */
#ifndef ST_MEMORY_H
#define ST_MEMORY_H

#include "storage/store.h"

/* One more handle on the same data, as another process would have one, on the same loop; each is closed by itself, and
 * the data goes with the last. NULL: out of memory. */
struct st_store *st_store_memory_share(struct st_store *store);

#endif
