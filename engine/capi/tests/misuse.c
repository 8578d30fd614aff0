/* Everything that a host may do wrong gets a code and nothing else: no crash, no leak, nothing changed. Exits with the line that failed. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tipring.h"

#define IS(what, wanted)                                                                                       \
    do {                                                                                                       \
        long long got_ = (long long)(what), wanted_ = (long long)(wanted);                                     \
        if (got_ != wanted_) {                                                                                 \
            fprintf(stderr, "line %d: %s is %lld, not %lld\n", __LINE__, #what, got_, wanted_);                \
            exit(1);                                                                                           \
        }                                                                                                      \
    } while (0)

static const char OFFER[] =
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\nm=audio 3480 UDP/TLS/RTP/SAVPF 111 126\r\n"
    "c=IN IP4 127.0.0.1\r\na=rtcp-mux\r\na=mid:audio\r\na=ice-lite\r\na=sendrecv\r\na=ice-ufrag:abcdefgh\r\n"
    "a=ice-pwd:abcdefghabcdefghabcdefgh\r\na=setup:actpass\r\na=fingerprint:sha-256 "
    "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n"
    "a=candidate:1 1 udp 2130706431 127.0.0.1 3480 typ host\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
    "a=rtpmap:126 telephone-event/8000\r\na=ssrc:1 cname:a\r\n";

static tr_call shared;
static int stop;
/* Of the main thread, and of the other one. */
static long busy, busy_other, fine;

static void *other_thread(void *unused) {
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        int error = tr_call_timeout(shared, 2000000000u);
        if (error == TR_ERR_BUSY) busy_other++;
        else if (error == TR_OK) __atomic_fetch_add(&fine, 1, __ATOMIC_RELAXED);
        else exit(2);
    }
    return NULL;
}

int main(void) {
    tr_engine engine = {0}, none = {0};
    tr_call call = {0}, second = {0}, nobody = {0};
    tr_addr address;
    tr_call_config config;
    tr_engine_config bad_engine;
    tr_why why;
    tr_event event;
    tr_stats stats;
    tr_datagram datagram;
    uint8_t bytes[TR_DATAGRAM_MAX];
    char sdp[8192];
    size_t len = 7;
    pthread_t thread;
    int i;

    memset(&address, 0, sizeof address);
    address.family = 4;
    address.port = 40000;
    address.ip[0] = 127;
    address.ip[3] = 1;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.format = TR_FORMAT_PCM_16000;
    config.address_count = 1;
    config.addresses = &address;
    memset(&why, 0, sizeof why);
    why.size = sizeof why;

    /* Engines. */
    IS(tr_engine_new(NULL, NULL), TR_ERR_NULL);
    memset(&bad_engine, 0, sizeof bad_engine);
    IS(tr_engine_new(&bad_engine, &engine), TR_ERR_ARGUMENT);
    bad_engine.size = sizeof bad_engine;
    bad_engine.complexity = 11;
    IS(tr_engine_new(&bad_engine, &engine), TR_ERR_ARGUMENT);
    IS(engine.id, 0);
    bad_engine.complexity = 0;
    bad_engine.allow_loopback = 1;
    bad_engine.size = 12; /* an older header: what it does not have is zero */
    IS(tr_engine_new(&bad_engine, &engine), TR_OK);
    IS(tr_engine_free(none), TR_ERR_HANDLE);

    /* Opening. */
    IS(tr_call_offer(engine, NULL, 1, &call), TR_ERR_NULL);
    IS(tr_call_offer(engine, &config, 1, NULL), TR_ERR_NULL);
    IS(tr_call_offer(none, &config, 1, &call), TR_ERR_HANDLE);
    config.format = 99;
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_ARGUMENT);
    config.format = TR_FORMAT_PCM_16000;
    config.address_count = 5;
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_ARGUMENT);
    config.address_count = 1;
    config.addresses = NULL;
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_NULL);
    config.addresses = &address;
    address.family = 7;
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_ARGUMENT);
    address.family = 4;
    config.queue_ms = 1;
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_ARGUMENT);
    config.queue_ms = 0;
    IS(tr_call_answer(engine, &config, NULL, 5, 1, &call, &why), TR_ERR_NULL);
    IS(tr_call_answer(engine, &config, "nonsense", 8, 1, &call, &why), TR_ERR_SDP);
    IS(why.line >= 1 && strlen(why.text) > 10 && strlen(why.text) < sizeof why.text, 1);
    IS(tr_call_answer(engine, &config, "\xff\xff", 2, 1, &call, NULL), TR_ERR_ARGUMENT);
    IS(call.id, 0);
    IS(tr_call_answer(engine, &config, OFFER, sizeof OFFER - 1, 1, &call, &why), TR_OK);
    IS(tr_call_offer(engine, &config, 1, &second), TR_OK);

    /* A handle of nobody, and every pointer NULL. */
    memset(&event, 0, sizeof event);
    memset(&stats, 0, sizeof stats);
    IS(tr_call_event(nobody, &event), TR_ERR_HANDLE);
    IS(tr_call_deadline(nobody) == TR_NEVER, 1);
    IS(tr_call_event(call, NULL), TR_ERR_NULL);
    IS(tr_call_event(call, &event), TR_ERR_ARGUMENT);
    IS(tr_call_stats(call, NULL), TR_ERR_NULL);
    IS(tr_call_stats(call, &stats), TR_ERR_ARGUMENT);
    stats.size = 16; /* an older header */
    stats.rtp_in = 77;
    IS(tr_call_stats(call, &stats), TR_OK);
    IS(stats.rtp_in, 77);
    IS(tr_call_local_sdp(call, sdp, 3, &len), TR_ERR_ROOM);
    IS(len > 300, 1);
    IS(tr_call_local_sdp(call, NULL, 8192, &len), TR_ERR_NULL);
    IS(tr_call_local_sdp(call, sdp, sizeof sdp, NULL), TR_ERR_NULL);
    IS(tr_call_local_sdp(call, sdp, sizeof sdp, &len), TR_OK);
    IS(tr_call_write(call, NULL, 4, NULL), TR_ERR_NULL);
    IS(tr_call_write(call, sdp, 3, NULL), TR_ERR_ARGUMENT); /* half a sample */
    IS(tr_call_read(call, NULL, 640, &len), TR_ERR_NULL);
    IS(tr_call_read(call, sdp, 1, &len), 0);
    IS(tr_call_read(call, sdp, sizeof sdp, NULL), TR_ERR_NULL);
    IS(tr_call_recv(call, NULL, 1, 1), TR_ERR_NULL);
    IS(tr_call_send(call, NULL, 1, 1), TR_ERR_NULL);
    memset(&datagram, 0, sizeof datagram);
    IS(tr_call_send(call, &datagram, 1, 1), TR_ERR_ROOM);
    datagram.cap = sizeof bytes;
    IS(tr_call_send(call, &datagram, 1, 1), TR_ERR_NULL);
    datagram.len = 5;
    IS(tr_call_recv(call, &datagram, 1, 1), TR_ERR_NULL);
    datagram.data = bytes;
    memset(bytes, 0xaa, sizeof bytes);
    IS(tr_call_recv(call, &datagram, 1, 1), 1); /* noise is never an error */
    IS(tr_call_dtmf(call, "12x", 3, 0, 1), TR_ERR_ARGUMENT);
    IS(tr_call_dtmf(call, NULL, 3, 0, 1), TR_ERR_NULL);

    /* The wrong order. */
    IS(tr_call_remote_answer(call, OFFER, sizeof OFFER - 1, 1, &why) != TR_OK, 1);
    IS(tr_call_dtmf(second, "1", 1, 0, 1), TR_ERR_STATE);
    IS(tr_call_gate(call, 1), TR_OK); /* early: remembered */
    IS(tr_call_close(second, 1), TR_OK);
    IS(tr_call_close(second, 1), TR_OK);
    IS(tr_call_gate(second, 1), TR_ERR_STATE);
    IS(tr_call_write(second, sdp, 4, NULL), TR_ERR_STATE);

    /* Two threads in one call: each is served or told, never both inside. */
    shared = call;
    IS(pthread_create(&thread, NULL, other_thread, NULL), 0);
    /* A busy machine, or valgrind, may take its time before the other one has a turn. */
    for (i = 0; i < 20000 || __atomic_load_n(&fine, __ATOMIC_RELAXED) == 0; i++) {
        int error = tr_call_timeout(call, 2000000000u);
        if (error == TR_ERR_BUSY) busy++;
        else IS(error, TR_OK);
        if (i >= 20000) sched_yield();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    IS(fine > 0, 1);

    /* Freed is freed. */
    IS(tr_call_free(call), TR_OK);
    IS(tr_call_free(call), TR_ERR_HANDLE);
    IS(tr_call_timeout(call, 1), TR_ERR_HANDLE);
    IS(tr_engine_free(engine), TR_OK);
    IS(tr_engine_free(engine), TR_ERR_HANDLE);
    IS(tr_call_offer(engine, &config, 1, &call), TR_ERR_HANDLE);
    IS(tr_call_deadline(second) == TR_NEVER, 1); /* closed, and its engine is gone: still a call */
    IS(tr_call_free(second), TR_OK);
    for (i = -20; i < 20; i++) IS(strlen(tr_strerror(i)) > 5, 1);
    for (i = 0; i < 40; i++) IS(strlen(tr_end_reason((uint32_t)i)) > 5, 1);
    IS(strcmp(tr_end_reason(1), "HANG_UP"), 0);
    printf("misuse: every code as it should be; %ld times busy\n", busy + busy_other);
    return 0;
}
