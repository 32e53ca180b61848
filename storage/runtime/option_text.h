/* How options are written, on a command line, in a file or in the environment: the same in every program. */
#ifndef ST_OPTION_TEXT_H
#define ST_OPTION_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* A whole number; for bytes a K, M or G may follow. False when it is none or does not fit. */
bool st_option_number(const char *text, bool bytes, int64_t *number);
/* The index of `word` among "a|b|c", whatever its case, or -1. */
int st_option_choice(const char *choices, const char *word);

#endif
