/*
 * The Kafka door: what main.c and the tests see of it. Everything else in this folder is behind these three functions.
 *
 *   kafka.c       connections: frames in, answers out in order, limits and deadlines
 *   exchange.c    one request under way, from its frame to its answer
 *   dispatch.c    api key -> handler, from protocol/apis.def
 *   <api>.c       one handler each
 */
#ifndef GW_KAFKA_H
#define GW_KAFKA_H

#include "gateway/gateway.h"

/* For struct gw_listener_options: gives the fresh connection its ops and owner; `gateway` is the struct gateway. The
 * first call makes gateway->kafka. False when memory is out. */
bool gw_kafka_accept(void *gateway, struct gw_conn *conn);
/* No new request is begun; long polls are answered at once; each connection is finished when it owes nothing. */
void gw_kafka_drain(struct gateway *gateway);
/* After the last connection has closed and the engine runs no operation any more. NULL state is accepted. */
void gw_kafka_free(struct gateway *gateway);

#endif
