/*
 * The gateway's life, a chain of steps that each begin when the one before has come back:
 *
 *   start:  options -> store -> engine -> listeners -> "ready"
 *   stop:   listeners stop -> doors drain -> connections are gone (or cut off in the end) -> engine -> store -> exit
 *
 * Whatever goes wrong on the way up turns into the way down, with one sentence on standard error and a status of 1. The
 * watchdog ends the process when the way down takes too long: nothing unanswered has been promised to anybody.
 */
#include "gateway/gateway.h"
#include "gateway/http/http.h"
#include "gateway/kafka/kafka.h"
#include "gateway/net/listener.h"
#include "gateway/net/process.h"
#include "storage/runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_MAX = 512, DESCRIPTORS_KEPT = 256 };
#define DRAIN_LOOK_NS (2 * ST_MS)
#define CLOSE_NS (3 * ST_SECOND) /* for engine and store, after the doors' shutdown.timeout.ms */

extern char **environ;

struct server {
    struct gateway gateway;
    struct gw_config config;
    struct gw_process *process;
    struct st_store *store;
    struct gw_listener *kafka, *http;
    unsigned connections_max;
    bool opening, open, stopping, cut_off; /* open: the engine is */
    int status;
    int64_t drain_until_ns;
    struct st_timer drain, watchdog;
};

static void stop(struct server *server);

static void fail(struct server *server, const char *sentence) {
    fprintf(stderr, "gateway: %s\n", sentence);
    server->status = 1;
    stop(server);
}

/* ---- down ---- */

static void store_closed(void *arg) {
    struct server *server = arg;
    server->store = NULL;
    gw_process_stop(server->process);
}

static void close_store(struct server *server) {
    gw_kafka_free(&server->gateway);
    gw_http_free(&server->gateway);
    if (server->gateway.engine != NULL) {
        st_engine_free(server->gateway.engine);
        server->gateway.engine = NULL;
    }
    gw_listener_free(server->kafka);
    gw_listener_free(server->http);
    server->kafka = server->http = NULL;
    if (server->store != NULL) {
        server->store->ops->close(server->store, store_closed, server);
    } else {
        gw_process_stop(server->process);
    }
}

static void engine_closed(void *arg) {
    close_store(arg);
}

static unsigned connections(const struct server *server) {
    return (server->kafka != NULL ? gw_listener_connections(server->kafka) : 0) +
           (server->http != NULL ? gw_listener_connections(server->http) : 0);
}

static void look_whether_drained(struct st_timer *timer) {
    struct server *server = ST_OWNER(timer, struct server, drain);
    if (connections(server) == 0 && !server->open) {
        close_store(server);
        return;
    }
    if (connections(server) == 0) {
        st_engine_close(server->gateway.engine, engine_closed, server);
        return;
    }
    if (!server->cut_off && st_now_ns(server->gateway.loop) >= server->drain_until_ns) {
        server->cut_off = true;
        if (server->kafka != NULL) {
            gw_listener_close_all(server->kafka);
        }
        if (server->http != NULL) {
            gw_listener_close_all(server->http);
        }
    }
    st_timer_start(server->gateway.loop, timer, DRAIN_LOOK_NS);
}

static void took_too_long(struct st_timer *timer) {
    struct server *server = ST_OWNER(timer, struct server, watchdog);
    fprintf(stderr, "gateway: stopped without waiting any longer for the store\n");
    fflush(NULL);
    _exit(server->status);
}

static void stop(struct server *server) {
    struct st_loop *loop = server->gateway.loop;
    server->stopping = true;
    server->gateway.draining = true;
    int64_t drain_ns = server->config.shutdown_timeout_ms * ST_MS;
    server->drain_until_ns = st_now_ns(loop) + drain_ns;
    st_timer_start(loop, &server->watchdog, drain_ns + CLOSE_NS);
    if (server->opening) {
        return; /* goes on when the engine has opened */
    }
    if (server->kafka != NULL) {
        gw_listener_stop(server->kafka);
        gw_kafka_drain(&server->gateway);
    }
    if (server->http != NULL) {
        gw_listener_stop(server->http);
        gw_http_drain(&server->gateway);
    }
    st_timer_start(loop, &server->drain, 0);
}

static void signalled(void *arg) {
    struct server *server = arg;
    if (server->stopping) {
        _exit(1); /* asked twice */
    }
    ST_LOG(stopping, "connections=%u", connections(server));
    stop(server);
}

/* ---- up ---- */

static struct gw_listener *open_door(struct server *server, const struct gw_address *address,
                                     bool (*accept)(void *arg, struct gw_conn *conn)) {
    char message[MESSAGE_MAX];
    struct gw_listener_options options = {
        .host = address->host,
        .port = address->port,
        .connections_max = server->connections_max,
        .accept = accept,
        .arg = &server->gateway,
    };
    struct gw_listener *listener = gw_listener_new(server->gateway.loop, &options, message, sizeof message);
    if (listener == NULL) {
        fail(server, message);
    }
    return listener;
}

/* Who clients are told to connect to. */
static void name_myself(struct server *server) {
    struct gateway *gateway = &server->gateway;
    const struct gw_config *config = &server->config;
    const struct gw_address *told = gw_address_is_none(&config->advertise) ? &config->kafka : &config->advertise;
    memcpy(gateway->advertised_host, told->host, GW_HOST_MAX);
    gateway->advertised_port = told->port;
    if (told->port == 0 && server->kafka != NULL) {
        gateway->advertised_port = gw_listener_port(server->kafka);
    }
}

static void address_of(const struct gw_address *asked, const struct gw_listener *listener, char *text, size_t size) {
    struct gw_address address = *asked;
    address.port = listener != NULL ? gw_listener_port(listener) : 0;
    gw_address_text(&address, text, size);
}

static void say_ready(struct server *server) {
    char kafka[GW_HOST_MAX + 16], http[GW_HOST_MAX + 16];
    address_of(&server->config.kafka, server->kafka, kafka, sizeof kafka);
    address_of(&server->config.http, server->http, http, sizeof http);
    ST_LOG(started, "store=%s cluster=%s node=%d connections_max=%u",
           st_log_quote(server->config.store, strlen(server->config.store)), server->gateway.cluster_id,
           (int)server->gateway.node_id, server->connections_max);
    printf("ready kafka=%s http=%s pid=%ld\n", kafka, http, (long)getpid());
    fflush(stdout);
}

static void engine_opened(void *arg, enum st_error error) {
    struct server *server = arg;
    const struct gw_config *config = &server->config;
    server->opening = false;
    if (error != ST_OK) {
        char message[MESSAGE_MAX + ST_IDENTIFY_MESSAGE_MAX];
        const char *said = st_engine_open_message(server->gateway.engine);
        snprintf(message, sizeof message, "cannot open the store %.500s: %s", config->store,
                 said[0] != '\0' ? said : st_error_text(error));
        fail(server, message);
        return;
    }
    server->open = true;
    if (server->stopping) {
        stop(server);
        return;
    }
    kp_uuid_text(st_engine_cluster_id(server->gateway.engine), server->gateway.cluster_id);
    if (!gw_address_is_none(&config->kafka)) {
        server->kafka = open_door(server, &config->kafka, gw_kafka_accept);
    }
    if (!server->stopping && !gw_address_is_none(&config->http)) {
        if (gw_http_open(&server->gateway)) {
            server->http = open_door(server, &config->http, gw_http_accept);
        } else {
            fail(server, "out of memory");
        }
    }
    if (!server->stopping) {
        name_myself(server);
        say_ready(server);
    }
}

static void start(struct server *server) {
    const struct gw_config *config = &server->config;
    char message[MESSAGE_MAX];
    server->store = st_store_open(server->gateway.loop, config->store, message, sizeof message);
    if (server->store == NULL) {
        fprintf(stderr, "gateway: %s\n", message);
        server->status = 1;
        return;
    }
    struct st_engine_options options = st_engine_options_default();
    options.cache_bytes = (size_t)config->cache_bytes;
    options.flush_bytes_max = (size_t)config->flush_bytes;
    options.hold_bytes_max = (size_t)config->hold_bytes;
    options.create = config->create_table;
    server->gateway.engine = st_engine_new(server->gateway.loop, server->store, &options);
    if (server->gateway.engine == NULL) {
        fprintf(stderr, "gateway: out of memory\n");
        server->status = 1;
        return;
    }
    server->opening = true;
    st_engine_open(server->gateway.engine, engine_opened, server);
    gw_process_run(server->process);
}

/* Descriptors are kept back for the store. */
static unsigned connections_max(const struct gw_config *config, uint64_t files) {
    uint64_t most = files > 2 * DESCRIPTORS_KEPT ? files - DESCRIPTORS_KEPT : files / 2;
    return (unsigned)((uint64_t)config->max_connections < most ? (uint64_t)config->max_connections : most);
}

int main(int argc, char **argv) {
    struct server server = {.drain = {.fn = look_whether_drained}, .watchdog = {.fn = took_too_long}};
    char *text = NULL, message[GW_CONFIG_MESSAGE_MAX];
    const struct gw_config_input input = {argc, argv, environ, &text, message};
    switch (gw_config_load(&server.config, &input)) {
    case GW_CONFIG_OK:
        break;
    case GW_CONFIG_SHOW:
        fputs(text != NULL ? text : "", stdout);
        free(text);
        gw_config_release(&server.config);
        return 0;
    case GW_CONFIG_BAD:
        fprintf(stderr, "gateway: %s\n", message);
        gw_config_release(&server.config);
        return 2;
    }
    st_log_level((enum st_log_level)server.config.log_level);
    server.connections_max = connections_max(&server.config, gw_process_raise_files());
    server.process = gw_process_new(signalled, &server);
    if (server.process == NULL) {
        fprintf(stderr, "gateway: out of memory\n");
        return 1;
    }
    server.gateway.loop = gw_process_loop(server.process);
    server.gateway.config = &server.config;
    server.gateway.node_id = (int32_t)server.config.node_id;
    start(&server);
    gw_process_free(server.process);
    gw_config_release(&server.config);
    return server.status;
}
