/*
 * When a PUT of an object is sent a second time, and how many are.
 *
 * Flushes are committed in order, so one slow PUT holds up all those behind it; and some PUTs of S3 take five times as
 * long as most. Objects have names of their own and a PUT has no condition, so sending one twice does no harm and costs
 * a PUT. One is sent again when it takes longer than 95 of 100 do, which is learned as they are seen, and never more
 * than one in twenty, however slow the service becomes: hedging must not double the load of a service in trouble.
 *
 * Who has asked for flushes without pacing pays for latency: there, small bodies are sent twice from the start, and
 * outside that budget. Large bodies take what they take for their size; a second one would only share the line.
 */
#ifndef ST_AWS_HEDGE_H
#define ST_AWS_HEDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST_AWS_HEDGE_ALWAYS_BYTES_MAX (128 * 1024) /* most that is sent twice at once */
#define ST_AWS_HEDGE_BYTES_MAX (1024 * 1024)       /* most that is sent twice at all */

/* Of one kind of request. Its members are this module's. */
struct st_aws_hedge {
    int64_t after_us; /* what 95 of 100 requests take, as far as is known */
    unsigned earned;  /* in twentieths of a second request */
    bool always;
};

/* always: small bodies are sent twice at once. */
void st_aws_hedge_init(struct st_aws_hedge *hedge, bool always);
/* A PUT with a body of so many bytes begins. How long to wait for its answer before it is sent again, in milliseconds;
 * 0: both at once; -1: it is not sent again. */
int64_t st_aws_hedge_begin(struct st_aws_hedge *hedge, size_t bytes);
/* It has had no answer for as long as `begin` said. Whether it may be sent again now; if so, that is counted. */
bool st_aws_hedge_late(struct st_aws_hedge *hedge, int64_t after_ms);
/* It succeeded in less than `begin` said, so was not late. */
void st_aws_hedge_in_time(struct st_aws_hedge *hedge, int64_t after_ms);

#endif
