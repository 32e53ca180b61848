/*
 * What DynamoDB would charge on demand, computed from requests and answers: servers that stand in for it are not to be
 * trusted with that. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
 *
 *   write: a unit for each KiB of the item begun, of the larger one when another stood there; deleting costs what the
 *          item was; a condition that failed costs what the item that stood there is. At least one each.
 *   read:  a unit for each 4 KiB begun of all items of the answer together, half of it without ConsistentRead; at least
 *          one.
 *
 * An item's size is the bytes of its attribute names and values. Sizes of items put earlier are remembered for deletes.
 */
#ifndef PROXY_UNITS_H
#define PROXY_UNITS_H

#include "kinds.h"
#include <stddef.h>
#include <stdint.h>

struct units {
    unsigned write, read_halves;
    unsigned puts, deletes; /* items */
    char place[16];         /* where the item lies: its pk up to the '#': "journal"; "" unknown */
};

/* `answer` NULL: not known; the request is taken to have had its effect. Thread-safe. */
struct units units_count(enum kind kind, const char *request, size_t request_len, const char *answer,
                         size_t answer_len);

#endif
