/*
 * Text of an answer, gathered in one growing blob with a hard cap. After a failure (cap or memory) further appends do
 * nothing; the owner looks at `failed` once, at the end.
 */
#ifndef REST_WRITER_H
#define REST_WRITER_H

#include "protocol/bytes/chain.h"

struct rest_writer {
    struct kp_blob *blob; /* NULL until the first append */
    size_t used, limit;
    bool failed;
    bool over; /* ... because of the limit */
};

void rest_writer_init(struct rest_writer *writer, size_t limit);
void rest_writer_bytes(struct rest_writer *writer, struct kp_slice bytes);
void rest_writer_number(struct rest_writer *writer, int64_t number);
/* A JSON string, quotes included, of valid UTF-8. */
void rest_writer_string(struct rest_writer *writer, struct kp_slice text);
/* A JSON string of the bytes in base64 (RFC 4648 section 4, with padding). */
void rest_writer_base64(struct rest_writer *writer, struct kp_slice bytes);
/* Checked JSON on one line: a line break between its tokens becomes a blank. */
void rest_writer_line(struct rest_writer *writer, struct kp_slice json);
/* Moves what was written to the end of the chain; the writer is left empty. */
void rest_writer_finish(struct rest_writer *writer, struct kp_chain *chain);
void rest_writer_release(struct rest_writer *writer);

#endif
