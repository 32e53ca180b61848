/*
 * InitProducerId for idempotent producers: a fresh id with epoch 0, from any gateway. A producer that asks to keep its
 * id (KIP-360) gets a new one too, as from Apache Kafka.
 *
 * Transactional ids are refused with UNSUPPORTED_VERSION, which every client treats as fatal and shows: a retriable
 * answer would let it try for ever. When no id can be had now the answer is COORDINATOR_LOAD_IN_PROGRESS, as Apache
 * Kafka gives it then: every client asks again without looking for another coordinator.
 */
#include "gateway/kafka/dispatch.h"

struct wait {
    struct st_producer_id op;
    struct gw_exchange *x;
};

static void answer(struct gw_exchange *x, enum kp_error error, int64_t id) {
    struct kp_init_producer_id_response response;
    kp_init(kp_init_producer_id_response_type(), &response);
    response.error_code = (int16_t)error;
    response.producer_id = error == KP_ERROR_NONE ? id : -1;
    response.producer_epoch = error == KP_ERROR_NONE ? 0 : -1;
    gw_exchange_answer(x, &response);
}

static void id_given(struct st_producer_id *op) {
    struct gw_exchange *x = ST_OWNER(op, struct wait, op)->x;
    answer(x, op->error == ST_OK ? KP_ERROR_NONE : KP_ERROR_COORDINATOR_LOAD_IN_PROGRESS, op->id);
}

void gw_handle_init_producer_id(struct gw_exchange *x) {
    const struct kp_init_producer_id_request *request = x->request;
    if ((request->producer_id == -1) != (request->producer_epoch == -1) ||
        (request->transactional_id.ptr != NULL && request->transactional_id.len == 0)) {
        answer(x, KP_ERROR_INVALID_REQUEST, -1);
        return;
    }
    if (request->transactional_id.ptr != NULL) {
        answer(x, KP_ERROR_UNSUPPORTED_VERSION, -1);
        return;
    }
    struct wait *wait = gw_exchange_room(x, 1, sizeof *wait);
    if (wait != NULL) {
        *wait = (struct wait){.op = {.done = id_given}, .x = x};
        st_producer_id(x->gateway->engine, &wait->op);
    }
}
