/*
 * Times a start, and holds idle connections.
 *
 *   probe start HOST:PORT COMMAND...   runs the command, with its output on standard error, and prints "ms=M pid=P" as
 *                                      soon as HOST:PORT answers ApiVersions; M counts from just before fork. Then
 *                                      waits for the command and all that it started; SIGTERM is passed on to them,
 *                                      and the command's exit code is the probe's
 *   probe idle HOST:PORT COUNT         opens connections, asks each for ApiVersions once, prints "held=COUNT", and
 *                                      closes them when standard input ends
 */
#include "measure.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_SECONDS = 60, ANSWER_MS = 5000, RETRY_NS = 100000 };

static pid_t group;
static int code; /* the command's exit code, once it has ended */
static volatile sig_atomic_t told_to_stop;

static bool receive(int fd, uint8_t *bytes, size_t count) {
    while (count > 0) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, ANSWER_MS) <= 0) {
            return false;
        }
        ssize_t got = recv(fd, bytes, count, 0);
        if (got <= 0) {
            return false;
        }
        bytes += got;
        count -= (size_t)got;
    }
    return true;
}

/* ApiVersions version 0, correlation id 7, no client id: is it answered, with error code 0? */
static bool ask_api_versions(int fd) {
    static const uint8_t request[] = {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff};
    uint8_t answer[10], rest[4096];
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) != (ssize_t)sizeof request) {
        return false;
    }
    if (!receive(fd, answer, sizeof answer) || answer[7] != 7 || answer[8] != 0 || answer[9] != 0) {
        return false;
    }
    size_t length = (size_t)answer[2] << 8 | answer[3];
    return answer[0] == 0 && answer[1] == 0 && length >= 6 && length - 6 <= sizeof rest &&
           receive(fd, rest, length - 6);
}

static void pass_on(int signal_number) {
    told_to_stop = 1;
    kill(-group, signal_number);
}

/* Collects what has ended. False: nothing of what the command started is left. */
static bool collect(int options) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, options);
        if (pid == group) {
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (pid == 0) {
            return true;
        }
        if (pid < 0 && errno != EINTR) {
            return false;
        }
    }
}

static int wait_for_all(void) {
    collect(0);
    return code;
}

static int start(const char *address, char **command) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigset_t stops, before;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, &before); /* until there is somebody to pass them on to */
    uint64_t began = now_ns();
    group = fork();
    if (group < 0) {
        die("fork: %s", strerror(errno));
    }
    if (group == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        setpgid(0, 0);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(command[0], command);
        die("%s: %s", command[0], strerror(errno));
    }
    setpgid(group, group);
    struct sigaction action = {.sa_handler = pass_on};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int fd = -1;
    for (;;) {
        fd = connect_to(address);
        if (fd >= 0 && ask_api_versions(fd)) {
            break;
        }
        if (fd >= 0) {
            close(fd);
        }
        if (now_ns() - began > START_SECONDS * 1000000000ull || told_to_stop || !collect(WNOHANG)) {
            kill(-group, SIGTERM);
            wait_for_all();
            die("%s: no answer at %s", command[0], address);
        }
        sleep_until_ns(now_ns() + RETRY_NS);
    }
    printf("ms=%.3f pid=%d\n", (double)(now_ns() - began) / 1e6, group);
    fflush(stdout);
    close(fd);
    return wait_for_all();
}

static int idle(const char *address, uint64_t count) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    allow_many_files();
    for (uint64_t i = 0; i < count; i++) {
        int fd = connect_to(address);
        if (fd < 0 || !ask_api_versions(fd)) {
            die("connection %llu of %llu: %s", (unsigned long long)i, (unsigned long long)count, strerror(errno));
        }
    }
    printf("held=%llu\n", (unsigned long long)count);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 4 && strcmp(argv[1], "start") == 0) {
        return start(argv[2], argv + 3);
    }
    if (argc == 4 && strcmp(argv[1], "idle") == 0) {
        return idle(argv[2], number(argv[3], 1));
    }
    die("usage: probe start HOST:PORT COMMAND... | probe idle HOST:PORT COUNT");
}
