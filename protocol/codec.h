/*
 * Decoding, encoding, comparing and printing of messages by their tables: the only parser of untrusted messages.
 *
 * Decoding trusts nothing: every length is checked against the bytes that are left, array counts also against the
 * least size of an element, memory comes from a capped arena, and the depth is that of the schema. Strings, bytes and
 * records of a decoded message are slices of the input.
 */
#ifndef KP_CODEC_H
#define KP_CODEC_H

#include "protocol/bytes/arena.h"
#include "protocol/bytes/chain.h"
#include "protocol/messages.h"

struct kp_decode_error {
    const char *what; /* static text */
    size_t offset;    /* of the byte that could not be read, from the start of the input */
    char path[120];   /* "topic_data[2].partition_data[0].records" */
};

/* Reads one message from the front of *in and moves *in behind it; what is left is the caller's to judge. False when
 * the bytes are not such a message or the arena is exhausted; then *error says where (error may be NULL). */
bool kp_decode(const struct kp_struct *type, struct kp_wire wire, struct kp_slice *in, struct kp_arena *arena,
               void *message, struct kp_decode_error *error);

/* Appends the message to the chain. Record pieces are referenced, everything else is copied. Null in a field that is
 * not nullable in this version is written as empty. False when a string is too long for its length field or memory is
 * out: the chain then holds half a message and must not be sent. */
bool kp_encode(const struct kp_struct *type, struct kp_wire wire, const void *message, struct kp_chain *out);

/* Sets every field of the struct to its default. */
void kp_init(const struct kp_struct *type, void *message);
/* `count` elements with their defaults for an array of structs, NULL when the arena is exhausted:
 *     response.topics.items = kp_array_new(kp_metadata_response_topic_type(), arena, n);
 *     response.topics.count = n; */
void *kp_array_new(const struct kp_struct *type, struct kp_arena *arena, int32_t count);

/* Equal in all fields of this version; records are compared byte by byte. */
bool kp_equal(const struct kp_struct *type, struct kp_wire wire, const void *a, const void *b);

/* The fields of this version as indented text, one a line; bytes as length and CRC-32C. Returns the length the text
 * has (without NUL), as snprintf does; it is cut to `size`. For logs of a bad request, and for tests. */
size_t kp_dump(const struct kp_struct *type, struct kp_wire wire, const void *message, char *text, size_t size);

#endif
