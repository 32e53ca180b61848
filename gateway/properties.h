/*
 * Properties files as java.util.Properties reads them: a comment begins with # or !; key and value are separated by
 * '=', ':' or blanks; a backslash at the end of a line joins the next one without its indent; \t \n \r \f and \uXXXX
 * stand for a character (of ASCII here; other text is written as it is, in UTF-8), a backslash before any other
 * character for that character.
 */
#ifndef GW_PROPERTIES_H
#define GW_PROPERTIES_H

#include <stdbool.h>

#define GW_PROPERTIES_MESSAGE_MAX 512

struct gw_property {
    const char *path; /* of the file */
    unsigned line;    /* where the property begins */
    const char *key, *value;
};

/* Calls `take` for each property in order. False with one sentence in message (GW_PROPERTIES_MESSAGE_MAX bytes) when
 * the file cannot be read or is malformed, or when `take` returns false (it has written the message then). */
bool gw_properties_read(const char *path,
                        bool (*take)(void *arg, const struct gw_property *property, char *message), void *arg,
                        char *message);

#endif
