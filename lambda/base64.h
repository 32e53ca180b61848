/* Base64 (RFC 4648 section 4) to bytes. The other way is rest_writer_base64. */
#ifndef REST_BASE64_H
#define REST_BASE64_H

#include "protocol/bytes/slice.h"

/* `into` has room for text.len / 4 * 3 bytes, and may be where text lies. False for anything but whole groups of the
 * standard alphabet, padded, without blanks, and with no bits set beyond the last byte: one text for the same bytes. */
bool rest_base64_decode(struct kp_slice text, uint8_t *into, size_t *len);

#endif
