/*
 * The four codecs of Kafka record batches: gzip (RFC 1952), snappy (xerial blocks or raw), lz4 (frame format) and
 * zstd (RFC 8878). Output is bounded by the caller: what is claimed in the input decides nothing.
 */
#ifndef KP_COMPRESS_H
#define KP_COMPRESS_H

#include "protocol/record_batch.h"

/* Inflates into the arena, at most `limit` bytes. KP_ERROR_MESSAGE_TOO_LARGE beyond it or beyond what the arena has,
 * KP_ERROR_CORRUPT_MESSAGE for bytes that are not of this codec, KP_ERROR_UNSUPPORTED_COMPRESSION_TYPE for an unknown
 * one. */
enum kp_error kp_inflate(enum kp_codec codec, struct kp_slice in, struct kp_arena *arena, size_t limit,
                         struct kp_slice *out);
/* Deflates into the arena; used by tests and by compaction. */
enum kp_error kp_deflate(enum kp_codec codec, struct kp_slice in, struct kp_arena *arena, struct kp_slice *out);

#endif
