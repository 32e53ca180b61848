/*
 * GET /openapi.json -> openapi.json as it lies beside this file: the description of this API (OpenAPI 3.1), which a
 * schema-driven tester of compat-tests/http holds against the running gateway. The assembler puts it into the program.
 */
#include "lambda/exchange.h"

#include "lambda/response.h"

__asm__(".pushsection .rodata\n"
        ".type rest_openapi_json, %object\n"
        "rest_openapi_json: .incbin \"" REST_OPENAPI_FILE "\"\n"
        "rest_openapi_json_end: .byte 0\n"
        ".size rest_openapi_json, . - rest_openapi_json\n"
        ".popsection\n");
extern const uint8_t rest_openapi_json[], rest_openapi_json_end[];

void rest_openapi_start(struct rest_exchange *exchange) {
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, 200);
    size_t len = (size_t)(rest_openapi_json_end - rest_openapi_json);
    kp_chain_piece(&response->body, (struct kp_piece){NULL, kp_slice_of(rest_openapi_json, len)});
    rest_exchange_done(exchange);
}
