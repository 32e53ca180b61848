/*
 * Walks the batches in what st_read gave. A batch may begin in one piece and end in another (cache blocks know nothing
 * of batches): then it is copied together, otherwise it is looked at where it lies.
 */
#ifndef REST_BATCHES_H
#define REST_BATCHES_H

#include "protocol/bytes/chain.h"
#include "protocol/record_batch.h"

struct rest_batches {
    const struct kp_chain *chain;
    size_t piece, at;         /* position: byte `at` of that piece */
    size_t left;              /* bytes from there to the end */
    struct kp_blob *gathered; /* the batch given last, when it had to be copied */
};

void rest_batches_init(struct rest_batches *batches, const struct kp_chain *chain);
/* 1: *batch is the next one, good until the next call; 0: none left; <0: damaged, or memory is out. */
int rest_batches_next(struct rest_batches *batches, struct kp_batch *batch);
void rest_batches_release(struct rest_batches *batches);

#endif
