#include "measure.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_until_ns(uint64_t when) {
    struct timespec until = {.tv_sec = (time_t)(when / 1000000000u), .tv_nsec = (long)(when % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static unsigned bucket_of(uint64_t ns) {
    if (ns < 128) {
        return (unsigned)ns;
    }
    unsigned power = 63u - (unsigned)__builtin_clzll(ns); /* 7 or more */
    return 64u * (power - 6u) + (unsigned)(ns >> (power - 6u));
}

/* The greatest value that falls into a bucket. */
static uint64_t bucket_end(unsigned bucket) {
    if (bucket < 128) {
        return bucket;
    }
    unsigned power = bucket / 64u + 5u;
    return ((uint64_t)(bucket - 64u * (power - 6u) + 1u) << (power - 6u)) - 1u;
}

void histogram_add(struct histogram *histogram, uint64_t ns) {
    histogram->count++;
    histogram->buckets[bucket_of(ns)]++;
    if (ns > histogram->greatest) {
        histogram->greatest = ns;
    }
}

double histogram_ms(const struct histogram *histogram, double percent) {
    double due = (double)histogram->count * percent / 100;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= due) {
            uint64_t end = bucket_end(i);
            return (double)(end < histogram->greatest ? end : histogram->greatest) / 1e6;
        }
    }
    return 0;
}

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

uint64_t number(const char *text, uint64_t least) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < least) {
        die("%s: a whole number of at least %llu is due", text, (unsigned long long)least);
    }
    return value;
}

int connect_to(const char *address) {
    char host[64];
    const char *colon = strchr(address, ':');
    struct sockaddr_in peer = {.sin_family = AF_INET};
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        die("%s: HOST:PORT is due", address);
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (inet_pton(AF_INET, host, &peer.sin_addr) != 1) {
        die("%s: an IPv4 address is due", host);
    }
    peer.sin_port = htons((uint16_t)number(colon + 1, 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    if (connect(fd, (const struct sockaddr *)&peer, sizeof peer) != 0) {
        close(fd);
        return -1;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void allow_many_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
