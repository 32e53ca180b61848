/*
 * What clients are told about the cluster: its nodes, who leads a partition, and what the caller may do. Every gateway
 * serves every partition, so "leader" is only where a client should go, and every gateway may name itself.
 */
#ifndef GW_KAFKA_CLUSTER_H
#define GW_KAFKA_CLUSTER_H

#include "gateway/gateway.h"

struct gw_node {
    int32_t id;
    struct kp_slice host;
    int32_t port;
    struct kp_slice rack; /* ptr NULL: unknown */
};

#define GW_NODES_MAX 1

/* Fills nodes and returns how many there are, at least one. */
int32_t gw_cluster_nodes(struct gateway *gateway, struct gw_node nodes[GW_NODES_MAX]);
/* A list of one node, the leader, good as long as the gateway: for leader, replicas and in-sync replicas. */
int32_t *gw_cluster_leader(struct gateway *gateway);

/* Bits by AclOperation: what a cluster or a topic knows of. Without authorization everybody may do all of it. */
#define GW_CLUSTER_OPERATIONS 0x1FA0 /* create alter describe cluster_action describe/alter_configs idempotent_write */
#define GW_TOPIC_OPERATIONS 0x0DF8   /* read write create delete alter describe describe/alter_configs */

#endif
