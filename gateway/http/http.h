/* The HTTP door: what main.c and the tests see of it. */
#ifndef GW_HTTP_H
#define GW_HTTP_H

#include "gateway/gateway.h"

/* Makes gateway->http. False: out of memory. */
bool gw_http_open(struct gateway *gateway);
/* For struct gw_listener_options: gives the fresh connection its ops and owner; `gateway` is the struct gateway. */
bool gw_http_accept(void *gateway, struct gw_conn *conn);
/* No new request is begun; each connection is finished when it owes nothing. */
void gw_http_drain(struct gateway *gateway);
/* After the last connection has closed and the engine runs no operation any more. NULL state is accepted. */
void gw_http_free(struct gateway *gateway);

#endif
