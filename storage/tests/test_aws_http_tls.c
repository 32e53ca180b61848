/* The HTTP client over TLS, against a server whose certificate a CA of the test's own has signed. */
#include <signal.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "storage/tests/http_server.h"

/* ---- certificates ---- */

struct certificate {
    EVP_PKEY *key;
    X509 *x509;
};

/* Signed by `issuer`; NULL: by itself, as a CA. */
static struct certificate certificate_make(const char *name, const char *alternative,
                                            const struct certificate *issuer) {
    struct certificate made = {.key = EVP_EC_gen("P-256"), .x509 = X509_new()};
    static long serial;
    X509V3_CTX context;
    X509_set_version(made.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(made.x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.x509), 3600);
    X509_set_pubkey(made.x509, made.key);
    X509_NAME *subject = X509_get_subject_name(made.x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(made.x509, X509_get_subject_name(issuer != NULL ? issuer->x509 : made.x509));
    X509V3_set_ctx(&context, issuer != NULL ? issuer->x509 : made.x509, made.x509, NULL, NULL, 0);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, &context, issuer != NULL ? NID_subject_alt_name : NID_basic_constraints,
                            issuer != NULL ? alternative : "critical,CA:TRUE");
    assert_non_null(extension);
    X509_add_ext(made.x509, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(made.x509, issuer != NULL ? issuer->key : made.key, EVP_sha256()) > 0);
    return made;
}

static void certificate_free(struct certificate *certificate) {
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
}

/* ---- the server's side of TLS ---- */

static ssize_t tls_read(struct peer *peer, void *bytes, size_t len) {
    return SSL_read(peer->tls, bytes, (int)len);
}

static ssize_t tls_write(struct peer *peer, const void *bytes, size_t len) {
    return SSL_write(peer->tls, bytes, (int)len);
}

static atomic_uint resumed;

static bool tls_greet(struct peer *peer) {
    peer->tls = SSL_new(peer->server->arg);
    SSL_set_fd(peer->tls, peer->fd);
    peer->read = tls_read;
    peer->write = tls_write;
    if (SSL_accept(peer->tls) != 1) {
        return false;
    }
    resumed += SSL_session_reused(peer->tls) == 1;
    return true;
}

static void tls_leave(struct peer *peer) {
    SSL_free(peer->tls);
}

struct tls_world {
    struct world world; /* first: world_tear_down frees it */
    struct certificate ca;
    SSL_CTX *context;
    char ca_file[64];
};

static int set_up(void **state) {
    struct tls_world *tls = calloc(1, sizeof *tls);
    struct st_http_options options = st_http_options_default();
    tls->ca = certificate_make("CA of a test", NULL, NULL);
    snprintf(tls->ca_file, sizeof tls->ca_file, "/tmp/test_aws_http_tls.XXXXXX");
    const int fd = mkstemp(tls->ca_file);
    FILE *file = fdopen(fd, "w");
    PEM_write_X509(file, tls->ca.x509);
    fclose(file);
    options.ca_file = tls->ca_file;
    world_loop_new(&tls->world);
    tls->world.client = st_http_client_new(tls->world.loop, &options);
    resumed = 0;
    *state = tls;
    return 0;
}

static int tear_down(void **state) {
    struct tls_world *tls = *state;
    struct certificate ca = tls->ca;
    SSL_CTX *context = tls->context;
    unlink(tls->ca_file);
    const int failed = world_tear_down(state); /* its threads end before the context goes */
    SSL_CTX_free(context);
    certificate_free(&ca);
    return failed;
}

/* Serves with a certificate for `alternative`. */
static void tls_serve(struct tls_world *tls, const char *alternative, const struct certificate *issuer,
                      void (*serve)(struct peer *peer)) {
    struct certificate own = certificate_make("server", alternative, issuer);
    tls->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(tls->context, own.x509);
    SSL_CTX_use_PrivateKey(tls->context, own.key);
    certificate_free(&own);
    tls->world.server = server_start(serve);
    tls->world.server->greet = tls_greet;
    tls->world.server->leave = tls_leave;
    tls->world.server->arg = tls->context;
    server_accept(tls->world.server);
}

static void call_tls(struct call *call, struct tls_world *tls, const char *method, const char *host) {
    call_init(call, &tls->world, method, "/");
    snprintf(call->url, sizeof call->url, "https://%s:%u/", host, tls->world.server->port);
}

/* ---- tests ---- */

static void bodies_go_up_and_down_and_connections_are_used_again(void **state) {
    enum { LARGE = 8 * 1024 * 1024 };
    struct tls_world *tls = *state;
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, echo_body);
    uint8_t *up = malloc(LARGE), *down = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++) {
        up[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    static const size_t sizes[] = {3, 60000, 70000, LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct call call;
        call_tls(&call, tls, "PUT", "127.0.0.1");
        call.request.body = kp_slice_of(up, sizes[i]);
        call.request.into = down;
        call.request.into_size = sizes[i];
        call_run(&call);
        if (call.request.end != ST_HTTP_ANSWERED) {
            fail_msg("%zu bytes ended %d: %s", sizes[i], (int)call.request.end, call.request.reason);
        }
        assert_int_equal(call.request.into_len, sizes[i]);
        assert_memory_equal(up, down, sizes[i]);
        assert_int_equal(call.request.reused, i > 0);
        call_release(&call);
    }
    assert_int_equal(tls->world.server->connections, 1);
    free(up);
    free(down);
}

/* The second connection's answer waits. */
static void hold_the_second(struct peer *peer) {
    while (peer_read_request(peer)) {
        if (peer->number == 2) {
            peer_wait_for_go(peer);
        }
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

/* Not only one that was made with the same handle of libcurl: the third request has a new one. */
static void a_new_connection_resumes_the_session_of_an_earlier_one(void **state) {
    struct tls_world *tls = *state;
    tls_serve(tls, "DNS:localhost", &tls->ca, hold_the_second);
    struct call calls[3];
    for (unsigned i = 0; i < 3; i++) {
        call_tls(&calls[i], tls, "GET", "localhost");
        calls[i].request.fresh = true;
        call_start(&calls[i]);
        while (tls->world.server->requests <= i || (i != 1 && calls[i].done == 0)) {
            world_step(&tls->world);
        }
        assert_int_equal(resumed, i);
    }
    tls->world.server->go = true;
    world_run(&tls->world);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(calls[i].request.end, ST_HTTP_ANSWERED);
        call_release(&calls[i]);
    }
}

static void refused(struct tls_world *tls, const char *host) {
    struct call call;
    call_tls(&call, tls, "POST", host);
    call.request.body = KP_SLICE_LIT("secret");
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_NOT_SENT);
    assert_non_null(strstr(call.request.reason, "SSL"));
    assert_int_equal(tls->world.server->requests, 0);
    call_release(&call);
}

static void a_certificate_of_an_unknown_ca_is_refused(void **state) {
    struct tls_world *tls = *state;
    struct certificate stranger = certificate_make("CA of nobody", NULL, NULL);
    tls_serve(tls, "IP:127.0.0.1", &stranger, echo_body);
    certificate_free(&stranger);
    refused(tls, "127.0.0.1");
}

static void a_certificate_for_another_name_is_refused(void **state) {
    struct tls_world *tls = *state;
    tls_serve(tls, "DNS:elsewhere.test", &tls->ca, echo_body);
    refused(tls, "localhost");
}

static void the_system_does_not_know_our_ca(void **state) {
    struct tls_world *tls = *state;
    const struct st_http_options options = st_http_options_default();
    world_open_client(&tls->world, &options);
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, echo_body);
    refused(tls, "127.0.0.1");
}

/* To parse the system's takes tens of milliseconds of the loop's time. */
static void the_ca_file_is_read_once(void **state) {
    struct tls_world *tls = *state;
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, echo_body);
    for (unsigned i = 0; i < 2; i++) {
        struct call calls[2];
        for (unsigned k = 0; k < 2; k++) {
            call_tls(&calls[k], tls, "GET", "127.0.0.1");
            calls[k].request.fresh = true;
            call_start(&calls[k]);
        }
        world_run(&tls->world);
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(calls[k].request.end, ST_HTTP_ANSWERED);
            call_release(&calls[k]);
        }
        unlink(tls->ca_file);
    }
}

static void a_missing_ca_file_is_told_at_the_first_request_over_tls(void **state) {
    struct tls_world *tls = *state;
    unlink(tls->ca_file);
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, echo_body);
    struct call call;
    call_tls(&call, tls, "GET", "127.0.0.1");
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_NOT_SENT);
    assert_non_null(strstr(call.request.reason, "certificate"));
    call_release(&call);
}

/* Without TLS's own end of data an answer that runs until the connection ends may be cut short. */
static void cut_off(struct peer *peer) {
    if (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it");
        SSL_set_quiet_shutdown(peer->tls, 1);
    }
}

static void a_connection_that_ends_without_tls_ending_is_lost(void **state) {
    struct tls_world *tls = *state;
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, cut_off);
    struct call call;
    call_tls(&call, tls, "GET", "127.0.0.1");
    call_run(&call);
    assert_int_equal(call.request.end, ST_HTTP_LOST);
    call_release(&call);
}

static void answer_then_close(struct peer *peer) {
    if (peer_read_request(peer)) {
        peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        SSL_shutdown(peer->tls);
    }
}

static void an_idle_connection_that_the_peer_closed_fails_nobody(void **state) {
    struct tls_world *tls = *state;
    tls_serve(tls, "IP:127.0.0.1", &tls->ca, answer_then_close);
    unsigned lost = 0;
    for (unsigned i = 1; i <= 5; i++) {
        struct call call;
        call_tls(&call, tls, "GET", "127.0.0.1");
        call_run(&call);
        assert_true(call.request.end == ST_HTTP_ANSWERED || call.request.end == ST_HTTP_LOST);
        lost += call.request.end == ST_HTTP_LOST;
        call_release(&call);
        while (tls->world.server->fds[tls->world.server->connections - 1] >= 0) {
            usleep(100);
        }
    }
    assert_int_equal(lost, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* the server's side writes without a flag */
    const struct CMUnitTest tests[] = {
        TEST(bodies_go_up_and_down_and_connections_are_used_again),
        TEST(a_new_connection_resumes_the_session_of_an_earlier_one),
        TEST(a_certificate_of_an_unknown_ca_is_refused),
        TEST(a_certificate_for_another_name_is_refused),
        TEST(the_system_does_not_know_our_ca),
        TEST(the_ca_file_is_read_once),
        TEST(a_missing_ca_file_is_told_at_the_first_request_over_tls),
        TEST(a_connection_that_ends_without_tls_ending_is_lost),
        TEST(an_idle_connection_that_the_peer_closed_fails_nobody),
    };
    return RUN_ON_BOTH_DRIVERS(tests);
}
