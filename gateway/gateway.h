/*
 * What the two doors (Kafka, HTTP) of one process share: the loop, the engine, the configuration and who this gateway
 * is. main.c fills it before it opens a door and outlives both.
 *
 * A door is two functions: an accept for its listener (gw_kafka_accept, gw_http_accept; `arg` is the struct gateway)
 * that gives a fresh connection its ops and owner, and a drain for the end of the process: from then on no new request
 * is begun, those under way are answered (long polls at once, with what there is), and each connection is
 * gw_conn_finish'ed when it owes nothing. main.c waits until the listeners have no connection left, then closes what
 * remains, the engine and the store.
 */
#ifndef GW_GATEWAY_H
#define GW_GATEWAY_H

#include "gateway/config.h"
#include "gateway/net/conn.h"
#include "storage/engine.h"

struct gw_kafka; /* the state of the Kafka door: gateway/kafka/ */
struct gw_http;  /* the state of the HTTP door: gateway/http/ */

struct gateway {
    struct st_loop *loop;
    struct st_engine *engine; /* open and serving while a door is */
    const struct gw_config *config;
    int32_t node_id;
    char advertised_host[GW_HOST_MAX]; /* what Metadata names; never a wildcard */
    int32_t advertised_port;           /* the port bound, when the one asked for was 0 */
    char cluster_id[KP_UUID_TEXT_MAX];
    bool draining;
    struct gw_kafka *kafka; /* NULL until the door has made it */
    struct gw_http *http;
};

#endif
