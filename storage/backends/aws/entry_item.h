/*
 * The bytes of an entry in its item: the attribute `b`, as they are, or `z`, compressed, when that is shorter.
 *
 * An item is charged for by the kilobyte when it is written, and by four whenever it is read; and who waits in the pool
 * reads the entries of all others (journal/pool.h). What several wrote into one entry is alike, in its batch headers at
 * least, so it shrinks to a half or a third. Nobody above the store knows: ST_ENTRY_MAX and pages count bytes as they
 * were before.
 *
 *   z: a zstd frame (RFC 8878); n, beside it: how many bytes it becomes
 */
#ifndef ST_AWS_ENTRY_ITEM_H
#define ST_AWS_ENTRY_ITEM_H

#include "storage/backends/aws/dynamodb_json.h"
#include "storage/error.h"

/* The attributes, with their names. The same bytes give the same text, so that a retry is identical. Needs the room of
 * the body as base64, and 40 bytes. */
void st_entry_item_write(struct st_json *json, struct kp_slice body);
/* How many bytes st_entry_item_read gives, at most ST_ENTRY_MAX; SIZE_MAX: the item has neither attribute, or damaged
 * ones. */
size_t st_entry_item_len(const cJSON *item);
/* `into` has room for that many. ST_DAMAGED: the item is not what it says; ST_REFUSED: no memory. */
enum st_error st_entry_item_read(const cJSON *item, uint8_t *into);

#endif
