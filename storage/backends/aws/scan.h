/*
 * One text out of a small answer: a member of a JSON object, an element of an XML document. What errors and keys need,
 * and no more: nothing is allocated, and what is found is copied to one place only, which for a secret is its last.
 *
 * False and "" when it is not there, is no text, does not fit, or the answer is malformed before it. A NUL inside a
 * text counts as malformed.
 */
#ifndef ST_AWS_SCAN_H
#define ST_AWS_SCAN_H

#include "protocol/bytes/slice.h"

/* The string that is the value of `name` in the outermost object, unescaped. The first one, if there are several. */
bool st_scan_json(struct kp_slice json, const char *name, char *out, size_t size);
/* The text of the first element `name` at any depth, entities resolved; an element that holds others has none. */
bool st_scan_xml(struct kp_slice xml, const char *name, char *out, size_t size);
/* Whether the document's outermost element is `name`. */
bool st_scan_xml_root(struct kp_slice xml, const char *name);

#endif
