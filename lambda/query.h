/* The parts of a request target: percent-encoding (RFC 3986) and the parameters of a query. */
#ifndef REST_QUERY_H
#define REST_QUERY_H

#include "protocol/bytes/slice.h"

/* Decodes %XX into `into`. False when a % is not followed by two hexadecimal digits or the result is longer than
 * capacity. '+' stays '+': it means a blank only in forms. */
bool rest_percent_decode(struct kp_slice text, uint8_t *into, size_t capacity, size_t *len);

/* Takes the next parameter off *query, undecoded; value is empty when there is no '='. False at the end. */
bool rest_query_next(struct kp_slice *query, struct kp_slice *name, struct kp_slice *value);

/* The last parameter of this (ASCII) name, undecoded. False when there is none. Names are compared decoded. */
bool rest_query_last(struct kp_slice query, struct kp_slice name, struct kp_slice *value);

/* A whole number of decimal digits only (percent-encoded or not). False when it is none; above INT64_MAX *overflow is
 * set and *number is INT64_MAX. */
bool rest_whole_number(struct kp_slice text, int64_t *number, bool *overflow);

#endif
