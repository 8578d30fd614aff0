/*
 * A host with its own epoll loop: any number of calls, each on a socket of its own, each hearing its own words (echo).
 *
 * Signalling is a pipe: on stdin come lines, "OFFER id bytes\n" and then so many bytes of SDP, "GATE id\n", "BYE id\n", "QUIT\n";
 * on stdout go "ANSWER id bytes\n" and the SDP, "READY id\n", "ENDED id reason\n". A program that speaks Graph would do
 * the same with webhooks, pre_accept, accept and terminate.
 *
 *   cc -std=c99 epoll_host.c $(pkg-config --cflags --libs tipring) -o epoll_host && ./epoll_host 127.0.0.1
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tipring.h"

enum { CALLS_MAX = 4096, BATCH = 8, OFFER_MAX = 65536 };

struct host_call {
    tr_call call;
    tr_addr local;
    int fd, ended;
};

static struct host_call calls[CALLS_MAX];
static tr_engine engine;
static int epoll_fd, quitting;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, error < 0 ? tr_strerror(error) : strerror(errno));
    exit(1);
}

static tr_addr addr_of(const struct sockaddr_in *in) {
    tr_addr out;
    memset(&out, 0, sizeof out);
    out.family = 4;
    out.port = ntohs(in->sin_port);
    memcpy(out.ip, &in->sin_addr, 4);
    return out;
}

/* The one rule: send what it gives, hear what it tells. The deadline is asked in the loop. */
static void drain(int id, uint64_t now) {
    struct host_call *c = &calls[id];
    static uint8_t bytes[BATCH][TR_DATAGRAM_MAX];
    tr_datagram batch[BATCH];
    int n, i;
    do {
        memset(batch, 0, sizeof batch);
        for (i = 0; i < BATCH; i++) {
            batch[i].data = bytes[i];
            batch[i].cap = TR_DATAGRAM_MAX;
        }
        n = tr_call_send(c->call, batch, BATCH, now);
        if (n < 0) die("send", n);
        for (i = 0; i < n; i++) {
            struct sockaddr_in to;
            memset(&to, 0, sizeof to);
            to.sin_family = AF_INET;
            to.sin_port = htons(batch[i].remote.port);
            memcpy(&to.sin_addr, batch[i].remote.ip, 4);
            /* A full queue or a route that is gone is weather: the protocols repeat what matters. */
            (void)sendto(c->fd, batch[i].data, batch[i].len, 0, (struct sockaddr *)&to, sizeof to);
        }
    } while (n == BATCH);
    for (;;) {
        tr_event event;
        memset(&event, 0, sizeof event);
        event.size = sizeof event;
        n = tr_call_event(c->call, &event);
        if (n < 0) die("event", n);
        if (n == 0) break;
        if (event.kind == TR_EVENT_MEDIA_READY) printf("READY %d\n", id);
        if (event.kind == TR_EVENT_ENDED) {
            printf("ENDED %d %s\n", id, tr_end_reason(event.value));
            c->ended = 1;
        }
    }
    fflush(stdout);
}

static void offered(int id, const char *sdp, size_t len, const char *address) {
    struct host_call *c = &calls[id];
    struct sockaddr_in at;
    socklen_t at_len = sizeof at;
    struct epoll_event watch;
    tr_call_config config;
    tr_why why;
    char answer[8192];
    size_t answer_len;
    int error;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    inet_pton(AF_INET, address, &at.sin_addr);
    c->fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&at, sizeof at) || getsockname(c->fd, (struct sockaddr *)&at, &at_len)) die("socket", 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->local = addr_of(&at);
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.format = TR_FORMAT_OPUS;
    config.address_count = 1;
    config.addresses = &c->local;
    memset(&why, 0, sizeof why);
    why.size = sizeof why;
    error = tr_call_answer(engine, &config, sdp, len, now_ns(), &c->call, &why);
    if (error) {
        fprintf(stderr, "offer %d, line %u: %s\n", id, (unsigned)why.line, why.text);
        exit(1);
    }
    error = tr_call_local_sdp(c->call, answer, sizeof answer, &answer_len);
    if (error) die("local_sdp", error);
    printf("ANSWER %d %zu\n", id, answer_len);
    fwrite(answer, 1, answer_len, stdout);
    fflush(stdout);
    memset(&watch, 0, sizeof watch);
    watch.events = EPOLLIN;
    watch.data.u32 = (uint32_t)id;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &watch)) die("epoll", 0);
    drain(id, now_ns());
}

static void readable(int id) {
    struct host_call *c = &calls[id];
    uint8_t bytes[TR_DATAGRAM_MAX + 1], packet[1500];
    struct sockaddr_in from;
    size_t len;
    int i;
    for (i = 0; i < BATCH; i++) {
        socklen_t from_len = sizeof from;
        tr_datagram in;
        ssize_t got = recvfrom(c->fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &from_len);
        if (got < 0) break;
        memset(&in, 0, sizeof in);
        in.data = bytes;
        in.cap = sizeof bytes;
        in.len = (size_t)got;
        in.local = c->local;
        in.remote = addr_of(&from);
        tr_call_recv(c->call, &in, 1, now_ns());
    }
    drain(id, now_ns());
    /* Echo: what was heard is said. A bot, a bridge or a recorder would stand here. */
    while (tr_call_read(c->call, packet, sizeof packet, &len) == 1) (void)tr_call_write(c->call, packet, len, NULL);
}

/* Takes whole commands out of what came on stdin; returns how many bytes were used. */
static size_t command(const char *text, size_t len, const char *address) {
    const char *end = memchr(text, '\n', len);
    size_t line = end ? (size_t)(end - text) + 1 : 0, bytes;
    int id, error;
    if (!end) return 0;
    if (!strncmp(text, "QUIT", 4)) return quitting = 1, line;
    if (sscanf(text, "OFFER %d %zu", &id, &bytes) == 2 && id >= 0 && id < CALLS_MAX) {
        if (len < line + bytes) return 0;
        offered(id, text + line, bytes, address);
        return line + bytes;
    }
    if (sscanf(text, "GATE %d", &id) == 1) {
        if ((error = tr_call_gate(calls[id].call, now_ns()))) die("gate", error);
        drain(id, now_ns());
    } else if (sscanf(text, "BYE %d", &id) == 1) {
        if ((error = tr_call_close(calls[id].call, now_ns()))) die("close", error);
        drain(id, now_ns());
    }
    return line;
}

int main(int argc, char **argv) {
    static char in[OFFER_MAX];
    size_t have = 0, used;
    const char *address = argc > 1 ? argv[1] : "127.0.0.1";
    tr_engine_config config;
    struct epoll_event ready[64];
    int error, i, n;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.allow_loopback = !strncmp(address, "127.", 4);
    if (tr_abi_version() >> 16 != TR_ABI_MAJOR) die("this library is of another major version", 0);
    if ((error = tr_engine_new(&config, &engine))) die("engine", error);
    epoll_fd = epoll_create1(0);
    memset(&ready[0], 0, sizeof ready[0]);
    ready[0].events = EPOLLIN;
    ready[0].data.u32 = CALLS_MAX;
    fcntl(0, F_SETFL, O_NONBLOCK);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &ready[0])) die("epoll", 0);
    while (!quitting) {
        uint64_t now = now_ns(), due = now + 100000000u;
        /* A few thousand calls are looked through in microseconds; a heap would do for more. */
        for (i = 0; i < CALLS_MAX; i++) {
            uint64_t at;
            if (!calls[i].call.id || calls[i].ended) continue;
            at = tr_call_deadline(calls[i].call);
            if (at <= now) {
                if ((error = tr_call_timeout(calls[i].call, now))) die("timeout", error);
                drain(i, now);
                at = tr_call_deadline(calls[i].call);
            }
            if (at < due) due = at;
        }
        now = now_ns();
        n = epoll_wait(epoll_fd, ready, 64, due > now ? (int)((due - now + 999999) / 1000000) : 0);
        for (i = 0; i < n; i++) {
            if (ready[i].data.u32 < CALLS_MAX) {
                readable((int)ready[i].data.u32);
                continue;
            }
            ssize_t got = read(0, in + have, sizeof in - have);
            if (got == 0) quitting = 1;
            if (got > 0) have += (size_t)got;
            while ((used = command(in, have, address)) > 0) memmove(in, in + used, have -= used);
        }
    }
    for (i = 0; i < CALLS_MAX; i++) {
        if (!calls[i].call.id) continue;
        if ((error = tr_call_free(calls[i].call))) die("free", error);
        close(calls[i].fd);
    }
    if ((error = tr_engine_free(engine))) die("engine_free", error);
    close(epoll_fd);
    return 0;
}
