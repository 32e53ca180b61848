/*
 * Options of the gateway: one table (config.def) gives the fields below, --help, `--name value` and `--name=value` on
 * the command line, environment variables (STREAMS_ and the name in capitals with '_' for '.') and the keys of a
 * Java-style properties file (--config FILE). Precedence: command line, environment, file, default. Options that
 * Kafka's broker has too keep Kafka's name and meaning.
 */
#ifndef GW_CONFIG_H
#define GW_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_HOST_MAX 256 /* with the NUL: 255 bytes is the longest name DNS has */
#define GW_CONFIG_MESSAGE_MAX 512 /* one sentence */

/* "HOST:PORT", "[IPv6]:PORT", or "none". */
struct gw_address {
    char host[GW_HOST_MAX]; /* without brackets; "": none */
    uint16_t port;
};

struct gw_config {
#define GW_FIELD_ADDRESS struct gw_address
#define GW_FIELD_TEXT char *
#define GW_FIELD_NUMBER int64_t
#define GW_FIELD_BYTES int64_t
#define GW_FIELD_BOOL bool
#define GW_FIELD_CHOICE int
#define OPTION(TYPE, field, name, value, least, most, metavar, help) GW_FIELD_##TYPE field;
#include "gateway/config.def"
#undef OPTION
};

enum gw_config_outcome {
    GW_CONFIG_OK,   /* config is filled and checked */
    GW_CONFIG_SHOW, /* --help or --version: text, malloc'ed, is to be printed and the process to end well */
    GW_CONFIG_BAD,  /* message holds one sentence */
};

struct gw_config_input {
    int argc;
    char *const *argv;
    char *const *environment; /* as environ; may be NULL */
    char **text;              /* out: GW_CONFIG_SHOW */
    char *message;            /* out: GW_CONFIG_BAD, GW_CONFIG_MESSAGE_MAX bytes */
};

/* config is valid for gw_config_release whatever is returned. */
enum gw_config_outcome gw_config_load(struct gw_config *config, const struct gw_config_input *input);
/* The defaults alone, for tests. */
void gw_config_default(struct gw_config *config);
void gw_config_release(struct gw_config *config);

/* False unless text is HOST:PORT, [HOST]:PORT or none. */
bool gw_address_parse(const char *text, struct gw_address *address);
/* "none", "127.0.0.1:9092", "[::1]:9092". */
void gw_address_text(const struct gw_address *address, char *text, size_t size);
static inline bool gw_address_is_none(const struct gw_address *address) {
    return address->host[0] == '\0';
}

#endif
