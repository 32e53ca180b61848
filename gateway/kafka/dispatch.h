/*
 * From a frame to its handler: header, version check, body, call. What each API is called, which versions are served
 * and how it waits comes from protocol/apis.def; an API in that table without a gw_handle_<name> does not link.
 */
#ifndef GW_KAFKA_DISPATCH_H
#define GW_KAFKA_DISPATCH_H

#include "gateway/kafka/exchange.h"

/* Reads header and body of the exchange's frame (`size` bytes). A NULL result means that x may begin; otherwise why
 * the connection must be closed. */
const char *gw_dispatch_decode(struct gw_exchange *x, size_t size);
/* Calls the handler, at most once. */
void gw_dispatch_begin(struct gw_exchange *x);
/* All but Produce begin only when they are first in their connection's queue: an answer that waits its turn behind
 * others would hold its bytes meanwhile, and a hundred requests for everything would all be answered in one pass. */
bool gw_dispatch_waits_turn(const struct gw_exchange *x);

#define API(key, name, ...) void gw_handle_##name(struct gw_exchange *x);
#include "protocol/apis.def"
#undef API

#endif
