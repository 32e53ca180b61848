/*
 * The order in which a flush is decided, and its bytes lie.
 *
 * Requests come as clients send them, partitions mixed. Those of one partition must take effect in that order (I5);
 * between partitions there is none to keep. Brought together, the batches of a partition have one place in the object
 * or entry: one row of the index instead of one for each, one range to read, and facts of a few bytes (appends.h).
 * Only stretches of plain appends are ordered: what changes topics, or is decided as a whole, stays between those that
 * came before and after it.
 */
#include "storage/log/flush.h"

#include <stdlib.h>

struct place {
    struct st_append_request *append;
    size_t came; /* in the flush */
};

static int place_order(const void *left, const void *right) {
    const struct place *a = left, *b = right;
    int topics = memcmp(a->append->topic_id.bytes, b->append->topic_id.bytes, sizeof a->append->topic_id.bytes);
    if (topics != 0) {
        return topics;
    }
    if (a->append->partition != b->append->partition) {
        return a->append->partition < b->append->partition ? -1 : 1;
    }
    return a->came < b->came ? -1 : 1;
}

static struct st_append_request *plain_append(struct st_request *request) {
    struct st_append_request *append =
        request->kind == ST_REQUEST_APPEND ? ST_OWNER(request, struct st_append_request, request) : NULL;
    return append != NULL && append->keyed == NULL ? append : NULL;
}

/* The stretch that begins at *link. Returns where the rest begins. */
static struct st_request **order_stretch(struct st_request **link, struct place *places) {
    size_t count = 0;
    struct st_request *rest = *link;
    for (struct st_append_request *append; rest != NULL && (append = plain_append(rest)) != NULL; rest = rest->next) {
        places[count] = (struct place){append, count};
        count++;
    }
    qsort(places, count, sizeof *places, place_order);
    for (size_t i = 0; i < count; i++) {
        *link = &places[i].append->request;
        link = &(*link)->next;
    }
    *link = rest;
    return rest != NULL ? &rest->next : link;
}

void st_flush_order(struct st_flush *flush) {
    struct place *places = flush->request_count > 1 ? calloc(flush->request_count, sizeof *places) : NULL;
    struct st_request **link = &flush->first;
    while (places != NULL && *link != NULL) {
        link = order_stretch(link, places);
    }
    if (places != NULL) {
        flush->last = link;
        free(places);
    }
}
