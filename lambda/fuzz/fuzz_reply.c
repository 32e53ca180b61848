/* Any bytes as an answer of the runtime API, whole and in small pieces: the result must be the same. */
#include "lambda/runtime/reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static enum rest_reply_step feed(struct rest_reply *reply, const uint8_t *data, size_t size, size_t piece) {
    enum rest_reply_step step = REST_REPLY_MORE;
    size_t used = 0;
    rest_reply_init(reply, 4096);
    while (step == REST_REPLY_MORE && used < size) {
        size_t taken, some = size - used < piece ? size - used : piece;
        step = rest_reply_feed(reply, data + used, some, &taken);
        must(taken <= some && (taken == some || step != REST_REPLY_MORE));
        used += taken;
    }
    return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct rest_reply whole, cut;
    enum rest_reply_step step = feed(&whole, data, size, size > 0 ? size : 1);
    must(feed(&cut, data, size, 1 + size % 7) == step);
    must(whole.status == cut.status && strcmp(whole.request_id, cut.request_id) == 0);
    must(whole.deadline_ms == cut.deadline_ms && whole.deadline_ms >= 0);
    if (step == REST_REPLY_DONE) {
        must(whole.body_len == cut.body_len);
        must(whole.body_len == 0 || memcmp(whole.body->data, cut.body->data, whole.body_len) == 0);
    }
    rest_reply_release(&whole);
    rest_reply_release(&cut);
    return 0;
}
