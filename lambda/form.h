/*
 * The three forms in which a consume answers, chosen by the Accept field:
 *
 *   application/json       {"messages":[M,M,...],"next_offset":N}          the default, and for every other type
 *   application/x-ndjson   M LF M LF ... {"next_offset":N} LF
 *   text/event-stream      "id: " N LF "data: " M LF LF ...                (WHATWG HTML, server-sent events)
 *
 * M is a message (message.h), N the offset to go on from, which as an event's id comes back in Last-Event-ID. Lines and
 * events may be sent while they grow; then an error is their last words: {"error":...,"code":...} as the last line, or
 * as an event named error. What ends without next_offset, in lines, is not whole.
 */
#ifndef REST_FORM_H
#define REST_FORM_H

#include "lambda/message.h"

enum rest_form { REST_FORM_JSON, REST_FORM_LINES, REST_FORM_EVENTS };

/* The first of the types in the request's Accept fields that is one of the three; weights are not compared. */
enum rest_form rest_form_accepted(const struct rest_request *request);
/* Fills status, content type and headers of an answer in this form. */
void rest_form_begin(enum rest_form form, struct rest_response *response);

/* What stands before the first message. */
void rest_form_open(enum rest_form form, struct rest_writer *writer);
/* One message; `first` of those written since rest_form_open. */
void rest_form_message(enum rest_form form, struct rest_writer *writer, const struct kp_record *record, bool first,
                       const struct rest_message_form *how);
/* What stands behind the last one. `none`: there was no message. */
void rest_form_close(enum rest_form form, struct rest_writer *writer, int64_t next_offset, bool none);
/* Events: says that the stream lives, and where it stands. */
void rest_form_ping(struct rest_writer *writer, int64_t next_offset);
void rest_form_error(enum rest_form form, struct kp_chain *json, struct kp_chain *out);

#endif
