/*
 * Copied bytes go to the tail blob and extend the last piece when they follow it there, so that a message of hundreds
 * of fields is one piece. The chain has a reference on the tail of its own, besides those of the pieces.
 */
#include "protocol/bytes/chain.h"

#include <stdlib.h>

enum { TAIL_SIZE = 4096, PIECES_FIRST = 8 };

void kp_chain_init(struct kp_chain *chain) {
    *chain = (struct kp_chain){0};
}

static bool pieces_reserve(struct kp_chain *chain, size_t more) {
    if (chain->failed) {
        return false;
    }
    if (more <= chain->capacity - chain->count) {
        return true;
    }
    size_t capacity = chain->capacity == 0 ? PIECES_FIRST : chain->capacity * 2;
    if (capacity < chain->count + more) {
        capacity = chain->count + more;
    }
    struct kp_piece *pieces = reallocarray(chain->pieces, capacity, sizeof *pieces);
    if (pieces == NULL) {
        chain->failed = true;
        return false;
    }
    chain->pieces = pieces;
    chain->capacity = capacity;
    return true;
}

/* Appends a piece whose reference is already counted; room is reserved. */
static void push(struct kp_chain *chain, struct kp_blob *blob, const uint8_t *at, size_t len) {
    chain->pieces[chain->count++] = (struct kp_piece){.blob = blob, .bytes = {at, len}};
    chain->bytes += len;
}

/* Appends `len` bytes of the tail, which has room for them, and returns where they are. */
static uint8_t *tail_take(struct kp_chain *chain, size_t len) {
    uint8_t *at = chain->tail->data + chain->tail_used;
    struct kp_piece *last = chain->count > 0 ? &chain->pieces[chain->count - 1] : NULL;
    if (last != NULL && last->blob == chain->tail && last->bytes.ptr + last->bytes.len == at) {
        last->bytes.len += len;
        chain->bytes += len;
    } else if (pieces_reserve(chain, 1)) {
        push(chain, kp_blob_ref(chain->tail), at, len);
    } else {
        return NULL;
    }
    chain->tail_used += len;
    return at;
}

static bool tail_new(struct kp_chain *chain, size_t len) {
    struct kp_blob *tail = kp_blob_new(len > TAIL_SIZE ? len : TAIL_SIZE);
    if (tail == NULL) {
        chain->failed = true;
        return false;
    }
    kp_blob_unref(chain->tail);
    chain->tail = tail;
    chain->tail_used = 0;
    return true;
}

static size_t tail_room(const struct kp_chain *chain) {
    return chain->tail == NULL ? 0 : chain->tail->size - chain->tail_used;
}

uint8_t *kp_chain_reserve(struct kp_chain *chain, size_t len) {
    if (chain->failed || (tail_room(chain) < len && !tail_new(chain, len))) {
        return NULL;
    }
    return tail_take(chain, len);
}

void kp_chain_copy(struct kp_chain *chain, const void *bytes, size_t len) {
    const uint8_t *from = bytes;
    while (len > 0 && !chain->failed) {
        if (tail_room(chain) == 0 && !tail_new(chain, len)) {
            return;
        }
        size_t room = tail_room(chain);
        size_t part = len < room ? len : room;
        uint8_t *to = tail_take(chain, part);
        if (to == NULL) {
            return;
        }
        memcpy(to, from, part);
        from += part;
        len -= part;
    }
}

void kp_chain_piece(struct kp_chain *chain, struct kp_piece piece) {
    if (piece.bytes.len == 0 || !pieces_reserve(chain, 1)) {
        return;
    }
    if (piece.blob != NULL) {
        kp_blob_ref(piece.blob);
    }
    push(chain, piece.blob, piece.bytes.ptr, piece.bytes.len);
}

void kp_chain_move(struct kp_chain *chain, struct kp_chain *from) {
    if (from->failed) {
        chain->failed = true;
    }
    if (pieces_reserve(chain, from->count)) {
        if (from->count > 0) {
            memcpy(chain->pieces + chain->count, from->pieces, from->count * sizeof *from->pieces);
        }
        chain->count += from->count;
        chain->bytes += from->bytes;
        from->count = 0;
        if (from->tail != NULL) {
            /* What is copied next then goes on where the last moved piece ends. */
            kp_blob_unref(chain->tail);
            chain->tail = from->tail;
            chain->tail_used = from->tail_used;
            from->tail = NULL;
        }
    }
    kp_chain_release(from);
}

void kp_chain_consume(struct kp_chain *chain, size_t len) {
    size_t done = 0;
    chain->bytes -= len;
    while (len > 0) {
        struct kp_piece *piece = &chain->pieces[done];
        if (piece->bytes.len > len) {
            piece->bytes.ptr += len;
            piece->bytes.len -= len;
            break;
        }
        len -= piece->bytes.len;
        kp_blob_unref(piece->blob);
        done++;
    }
    chain->count -= done;
    if (done > 0 && chain->count > 0) {
        memmove(chain->pieces, chain->pieces + done, chain->count * sizeof *chain->pieces);
    }
}

void kp_chain_release(struct kp_chain *chain) {
    for (size_t i = 0; i < chain->count; i++) {
        kp_blob_unref(chain->pieces[i].blob);
    }
    free(chain->pieces);
    kp_blob_unref(chain->tail);
    kp_chain_init(chain);
}
