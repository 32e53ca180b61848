/*
 * Output as a list of pieces, never flattened: headers are copied into small blobs, record bytes are referenced.
 */
#ifndef KP_CHAIN_H
#define KP_CHAIN_H

#include "protocol/bytes/blob.h"

struct kp_chain {
    struct kp_piece *pieces; /* each with a blob reference (or none: bytes outlive the chain) */
    size_t count, capacity;
    size_t bytes; /* sum of all pieces */
    struct kp_blob *tail; /* small blob that copied bytes go into; referenced by its pieces */
    size_t tail_used;
    bool failed; /* memory ran out: the chain must not be sent */
};

void kp_chain_init(struct kp_chain *chain);
/* Appends a copy of the bytes (small things: headers, field values). */
void kp_chain_copy(struct kp_chain *chain, const void *bytes, size_t len);
/* Appends `len` contiguous bytes that the caller fills in, at once or when it knows them: they stay where they are
 * until the chain lets go of them. NULL when memory is out. */
uint8_t *kp_chain_reserve(struct kp_chain *chain, size_t len);
/* Appends a reference; takes its own count on piece.blob. */
void kp_chain_piece(struct kp_chain *chain, struct kp_piece piece);
/* Moves all of `from` to the end of `chain`; `from` is left empty. */
void kp_chain_move(struct kp_chain *chain, struct kp_chain *from);
/* Drops `len` bytes from the front (what a socket accepted). */
void kp_chain_consume(struct kp_chain *chain, size_t len);
void kp_chain_release(struct kp_chain *chain);

#endif
