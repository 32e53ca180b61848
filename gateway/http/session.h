/* One connection of the HTTP door, from accept to close. */
#ifndef GW_HTTP_SESSION_H
#define GW_HTTP_SESSION_H

#include "gateway/http/door.h"

/* Gives the connection its ops and owner. False: no memory. */
bool gw_http_session_new(struct gw_http *door, struct gw_conn *conn);
/* Every session: finishes now if no request has begun, else after its answer. */
void gw_http_sessions_drain(struct gw_http *door);

#endif
