#include "gateway/kafka/cluster.h"

int32_t gw_cluster_nodes(struct gateway *gateway, struct gw_node nodes[GW_NODES_MAX]) {
    nodes[0] = (struct gw_node){.id = gateway->node_id,
                                .host = kp_slice_cstr(gateway->advertised_host),
                                .port = gateway->advertised_port};
    return 1;
}

int32_t *gw_cluster_leader(struct gateway *gateway) {
    return &gateway->node_id;
}
