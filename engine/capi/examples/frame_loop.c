/*
 * How a channel driver of FreeSWITCH or Asterisk would sit on the library: the switch calls read() and write() once per 20 ms
 * on the thread of the channel, and hangs up when it likes. One call, G.711 at 8 kHz, a thread of its own for the socket is
 * not needed: each read() first serves it.
 *
 *   channel_read(): 160 bytes for the switch, silence if there is nothing       channel_write(): 160 bytes of the switch
 *
 * main() is a switch that says a tone; there is no peer, so the call ends with ICE_TIMEOUT after a while, which is what a
 * channel driver has to handle as well. `frame_loop 3` runs three seconds.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tipring.h"

struct channel {
    tr_engine engine;
    tr_call call;
    tr_addr local;
    int fd;
    int is_up, is_over;
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Everything that is due: datagrams in, time, datagrams out, events. */
static void serve(struct channel *c) {
    uint8_t bytes[TR_DATAGRAM_MAX];
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    tr_datagram d;
    tr_event event;
    ssize_t got;
    while ((got = recvfrom(c->fd, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &len)) >= 0) {
        memset(&d, 0, sizeof d);
        d.data = bytes;
        d.len = (size_t)got;
        d.local = d.remote = c->local;
        d.remote.port = ntohs(peer.sin_port);
        memcpy(d.remote.ip, &peer.sin_addr, 4);
        tr_call_recv(c->call, &d, 1, now_ns());
    }
    if (tr_call_deadline(c->call) <= now_ns()) tr_call_timeout(c->call, now_ns());
    memset(&d, 0, sizeof d);
    d.data = bytes;
    d.cap = sizeof bytes;
    while (tr_call_send(c->call, &d, 1, now_ns()) == 1) {
        memset(&peer, 0, sizeof peer);
        peer.sin_family = AF_INET;
        peer.sin_port = htons(d.remote.port);
        memcpy(&peer.sin_addr, d.remote.ip, 4);
        (void)sendto(c->fd, d.data, d.len, 0, (struct sockaddr *)&peer, sizeof peer);
    }
    memset(&event, 0, sizeof event);
    event.size = sizeof event;
    while (tr_call_event(c->call, &event) == 1) {
        if (event.kind == TR_EVENT_MEDIA_READY) c->is_up = 1; /* the driver tells its core: answered */
        if (event.kind == TR_EVENT_DIGIT) printf("digit %c\n", (int)event.value);
        if (event.kind == TR_EVENT_ENDED) {
            printf("ended: %s\n", tr_end_reason(event.value));
            c->is_over = 1;
        }
    }
}

/* The switch wants a frame. Returns 160, or -1 when the channel is over. */
static int channel_read(struct channel *c, uint8_t frame[160]) {
    size_t len = 0;
    serve(c);
    if (c->is_over) return -1;
    if (tr_call_read(c->call, frame, 160, &len) != 1) memset(frame, 0xff, 160);
    return 160;
}

/* The switch has a frame. */
static int channel_write(struct channel *c, const uint8_t frame[160]) {
    int error = tr_call_write(c->call, frame, 160, NULL);
    /* Nobody listens yet and a minute waits already: what a driver does with a full queue is drop the frame. */
    return error == TR_ERR_FULL ? 0 : error;
}

int main(int argc, char **argv) {
    struct channel c;
    struct sockaddr_in at;
    socklen_t at_len = sizeof at;
    struct timespec tick;
    tr_engine_config engine;
    tr_call_config config;
    uint8_t said[160], heard[160];
    char sdp[8192];
    size_t len;
    long frames = (argc > 1 ? atol(argv[1]) : 3) * 50;
    int error, i;
    memset(&c, 0, sizeof c);
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c.fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (c.fd < 0 || bind(c.fd, (struct sockaddr *)&at, sizeof at) || getsockname(c.fd, (struct sockaddr *)&at, &at_len)) return 1;
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    c.local.family = 4;
    c.local.port = ntohs(at.sin_port);
    memcpy(c.local.ip, &at.sin_addr, 4);
    memset(&engine, 0, sizeof engine);
    engine.size = sizeof engine;
    engine.allow_loopback = 1;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.format = TR_FORMAT_ULAW;
    config.address_count = 1;
    config.addresses = &c.local;
    if ((error = tr_engine_new(&engine, &c.engine)) || (error = tr_call_offer(c.engine, &config, now_ns(), &c.call)) ||
        (error = tr_call_local_sdp(c.call, sdp, sizeof sdp, &len)) || (error = tr_call_gate(c.call, now_ns()))) {
        fprintf(stderr, "%s\n", tr_strerror(error));
        return 1;
    }
    printf("our offer has %zu bytes; the driver would send it\n", len);
    for (i = 0; i < 160; i++) said[i] = i % 20 < 10 ? 0x90 : 0x10;
    tick.tv_sec = 0;
    tick.tv_nsec = 20000000;
    while (frames-- > 0 && channel_read(&c, heard) > 0) {
        if ((error = channel_write(&c, said))) break;
        nanosleep(&tick, NULL);
    }
    printf("%d ms wait to be heard\n", tr_call_waiting_ms(c.call));
    tr_call_close(c.call, now_ns());
    serve(&c);
    tr_call_free(c.call);
    tr_engine_free(c.engine);
    close(c.fd);
    return error ? 1 : 0;
}
