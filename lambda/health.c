#include "lambda/exchange.h"

#include "lambda/response.h"

void rest_health_start(struct rest_exchange *exchange) {
    if (!st_engine_healthy(exchange->rest->engine)) {
        rest_exchange_store_error(exchange, ST_UNREADABLE);
        return;
    }
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, 200);
    kp_chain_copy(&response->body, "{\"status\":\"ok\"}", 15);
    rest_exchange_done(exchange);
}
