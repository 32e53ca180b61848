/* DescribeCluster: the nodes, as Metadata lists them. There are no controllers to ask for, and no fenced nodes. */
#include "gateway/kafka/cluster.h"
#include "gateway/kafka/dispatch.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

static void refuse(struct gw_exchange *x, struct kp_describe_cluster_response *response, enum kp_error error) {
    response->error_code = (int16_t)error;
    response->error_message = kp_slice_cstr(kp_error_text(error));
    gw_exchange_answer(x, response);
}

void gw_handle_describe_cluster(struct gw_exchange *x) {
    const struct kp_describe_cluster_request *request = x->request;
    struct kp_describe_cluster_response response;
    kp_init(kp_describe_cluster_response_type(), &response);
    if (request->endpoint_type != ENDPOINT_BROKERS) {
        refuse(x, &response,
               request->endpoint_type == ENDPOINT_CONTROLLERS ? KP_ERROR_MISMATCHED_ENDPOINT_TYPE
                                                              : KP_ERROR_UNSUPPORTED_ENDPOINT_TYPE);
        return;
    }
    struct gw_node nodes[GW_NODES_MAX];
    int32_t count = gw_cluster_nodes(x->gateway, nodes);
    response.brokers.items = gw_exchange_items(x, kp_describe_cluster_response_broker_type(), count);
    if (response.brokers.items == NULL) {
        return;
    }
    response.brokers.count = count;
    for (int32_t i = 0; i < count; i++) {
        response.brokers.items[i] = (struct kp_describe_cluster_response_broker){
            .broker_id = nodes[i].id, .host = nodes[i].host, .port = nodes[i].port, .rack = nodes[i].rack};
    }
    response.cluster_id = kp_slice_cstr(x->gateway->cluster_id);
    response.controller_id = nodes[0].id;
    if (request->include_cluster_authorized_operations) {
        response.cluster_authorized_operations = GW_CLUSTER_OPERATIONS;
    }
    gw_exchange_answer(x, &response);
}
