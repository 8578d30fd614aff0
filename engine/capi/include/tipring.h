/*
 * tipring.h - calls of the WhatsApp Business Calling API in your own event loop.
 *
 * You own sockets, clock and threads. The library owns ICE, DTLS, SRTP, RTP, the jitter
 * buffer and Opus. It opens nothing, starts no thread, and reads no clock but once, in
 * tr_engine_new(), and only if you let it.
 *
 *      your sockets                                         your program
 *   datagrams  --> tr_call_recv()                      tr_call_read()  --> audio in
 *   datagrams  <-- tr_call_send()        tr_call       tr_call_write() <-- audio out
 *   your timer --> tr_call_timeout()                   tr_call_event() --> what happened
 *
 * ONE RULE. After every tr_call_* function that is given the time, do three things:
 *   1. tr_call_send() until it returns less than you asked for, and send what it gave;
 *   2. tr_call_event() until it returns 0;
 *   3. tr_call_deadline(), and call tr_call_timeout() at that time at the latest.
 *
 * A CALL THAT META OFFERS
 *   bind a UDP socket                                     one port per call
 *   tr_call_answer(engine, &config, offer, ...)           the SDP of the `connect` webhook
 *   tr_call_local_sdp(call, ...)                          send it with `pre_accept`
 *   ... TR_EVENT_MEDIA_READY                              send `accept`
 *   on its 200: tr_call_gate(call, now)                   nothing was sent before; now we are heard
 *   ... TR_EVENT_ENDED, or tr_call_close() when the `terminate` webhook comes
 *   tr_call_free(call)
 *
 * A CALL THAT YOU MAKE: tr_call_offer(), tr_call_local_sdp(), send it; tr_call_remote_answer().
 *
 * TIME is nanoseconds of a monotonic clock of yours (CLOCK_MONOTONIC), the same for all calls
 * of an engine; it must not run backwards within a call.
 *
 * THREADS. An engine may be used by any number of threads at once. A call is used by one
 * thread at a time, which need not always be the same; a second one gets TR_ERR_BUSY.
 *
 * HANDLES are numbers, not pointers. 0 is no handle. A handle that was freed, or never was,
 * gets TR_ERR_HANDLE, for ever: numbers are not used twice.
 *
 * MEMORY. Every buffer is yours, and is not kept behind the end of a function. Text is a
 * pointer and a length; only what tr_strerror() and tr_end_reason() return ends in NUL, lives
 * for ever and is not freed. No function calls back. No function blocks.
 *
 * STRUCTS begin with `size`: set it to sizeof before the call. A library that knows more
 * members than you leaves the rest alone; one that knows fewer reads its part. Set
 * everything you do not use to zero. tr_addr and tr_datagram come in arrays and are fixed
 * for a major version.
 *
 * ERRORS are negative and never change their meaning. An error changes nothing, but for
 * TR_ERR_FAULT: our bug; that call is over and can only be freed. Datagrams are never an
 * error: what is not ours is dropped and counted (tr_stats).
 *
 * VERSIONS. tr_abi_version() is major << 16 | minor. Same major: programs go on working.
 */
#ifndef TIPRING_H
#define TIPRING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_ABI_MAJOR 1
#define TR_ABI_MINOR 0

/* ---- Errors ------------------------------------------------------------------------- */

enum {
    TR_OK = 0,
    TR_ERR_NULL = -1,      /* a pointer that is needed is NULL */
    TR_ERR_HANDLE = -2,    /* no such engine or call: freed, or never made */
    TR_ERR_BUSY = -3,      /* another thread is inside this call */
    TR_ERR_ARGUMENT = -4,  /* a value is out of range; `size` too small, text that is not UTF-8 ... */
    TR_ERR_STATE = -5,     /* not now: the wrong order, or the call is over */
    TR_ERR_SDP = -6,       /* the description cannot be used; tr_why says which line and why */
    TR_ERR_PEER = -7,      /* the description is good, but this peer cannot work with us */
    TR_ERR_ROOM = -8,      /* your buffer is too short; *len says what is needed */
    TR_ERR_FULL = -9,      /* a queue of the call is full; some or nothing was taken */
    TR_ERR_LIBRARY = -10,  /* the TLS library or the system refused: no memory, no randomness */
    TR_ERR_FAULT = -11     /* a bug of ours was caught; please report it */
};

/* A sentence for an error; for any other number too. Never NULL. */
const char *tr_strerror(int error);

/* Version of the library that is linked: major << 16 | minor. */
uint32_t tr_abi_version(void);

/* More about an error of a description: the line (from 1; 0: none) and a sentence, cut to fit, ending in NUL. */
typedef struct tr_why {
    uint32_t size;
    uint32_t line;
    char text[248];
} tr_why;

/* ---- Addresses and datagrams --------------------------------------------------------- */

/* family is 4 or 6; IPv4 uses the first four bytes of ip. Bytes in network order, port in host order. */
typedef struct tr_addr {
    uint8_t family;
    uint8_t zero;
    uint16_t port;
    uint8_t ip[16];
} tr_addr;

/*
 * local: the address of your socket, as given in tr_call_config. remote: the peer's.
 * recv: data and len are what came in; it is decrypted in place, so it must be writable.
 * send: data and cap are your buffer (TR_DATAGRAM_MAX bytes are always enough); len is set.
 */
typedef struct tr_datagram {
    uint8_t *data;
    size_t cap;
    size_t len;
    tr_addr local;
    tr_addr remote;
} tr_datagram;

/* No datagram of ours is longer, and none longer is taken. */
#define TR_DATAGRAM_MAX 1500

/* ---- Engine -------------------------------------------------------------------------- */

typedef struct tr_engine { uint64_t id; } tr_engine;

typedef struct tr_engine_config {
    uint32_t size;
    uint32_t complexity;      /* of the Opus encoder, 1 to 10; 0: 5 */
    uint32_t allow_loopback;  /* 1: loopback addresses may be used. Tests only */
    uint32_t delay_ms_max;    /* play-out delay at most, 20 to 200; 0: 200 */
    uint64_t unix_ns_at_zero; /* wall clock, in ns since 1970, at time 0 of your clock, for sender reports; 0: the
                                 system's clock is read once and taken for time 0 */
} tr_engine_config;

/* Makes a certificate and what calls have in common. config may be NULL. */
int tr_engine_new(const tr_engine_config *config, tr_engine *out);

/* Calls of the engine go on; what it shares with them is freed with the last one. */
int tr_engine_free(tr_engine engine);

/* ---- Calls --------------------------------------------------------------------------- */

typedef struct tr_call { uint64_t id; } tr_call;

/* What tr_call_read gives and tr_call_write takes. PCM is 16 bit, native byte order, mono. */
enum {
    TR_FORMAT_PCM_8000 = 1,
    TR_FORMAT_PCM_16000 = 2,
    TR_FORMAT_PCM_24000 = 3,
    TR_FORMAT_PCM_48000 = 4,
    TR_FORMAT_ULAW = 5, /* G.711 mu-law, 8 kHz */
    TR_FORMAT_ALAW = 6, /* G.711 A-law, 8 kHz */
    TR_FORMAT_OPUS = 7  /* whole Opus packets, never decoded nor encoded by us */
};

typedef struct tr_call_config {
    uint32_t size;
    uint32_t format;           /* TR_FORMAT_* */
    uint32_t queue_ms;         /* audio that may wait to be sent, 640 to 600000; 0: 60000. Opus: always 160 ms */
    uint32_t address_count;    /* 1 to 4 */
    const tr_addr *addresses;  /* of your bound sockets: at most one per family is of use */
    const tr_addr *advertised; /* what a 1:1 NAT makes of each of them, address_count entries; NULL: the same */
} tr_call_config;

/* Takes an offer. The answer is ready at once: tr_call_local_sdp(). why may be NULL. */
int tr_call_answer(tr_engine engine, const tr_call_config *config, const char *offer, size_t len, uint64_t now_ns,
                   tr_call *out, tr_why *why);

/* Makes an offer: tr_call_local_sdp(). */
int tr_call_offer(tr_engine engine, const tr_call_config *config, uint64_t now_ns, tr_call *out);

/* Our description, without NUL. TR_ERR_ROOM: nothing was written; *len is its length in any case. */
int tr_call_local_sdp(tr_call call, char *out, size_t cap, size_t *len);

/* Takes the answer to our offer. Once. */
int tr_call_remote_answer(tr_call call, const char *answer, size_t len, uint64_t now_ns, tr_why *why);

/* Takes n datagrams, in order. Returns n: none is ever refused. */
int tr_call_recv(tr_call call, tr_datagram *batch, size_t n, uint64_t now_ns);

/* Fills up to n datagrams to send; returns how many. Fewer than n: there is nothing more for now. */
int tr_call_send(tr_call call, tr_datagram *batch, size_t n, uint64_t now_ns);

/* When tr_call_timeout() is due; TR_NEVER if there is nothing to wait for, or no such call. */
#define TR_NEVER UINT64_MAX
uint64_t tr_call_deadline(tr_call call);

/* Lets time pass: repetitions, play-out, our own packets every 20 ms. Early is harmless. */
int tr_call_timeout(tr_call call, uint64_t now_ns);

/* Lets us be heard: `accept` was answered 200. Before media is ready it is remembered. */
int tr_call_gate(tr_call call, uint64_t now_ns);

/*
 * Takes audio to be heard behind all that was written before: PCM and G.711 of any length, one Opus packet (2.5 to
 * 120 ms, no frames above 20 ms). *taken (may be NULL) is how many bytes; TR_ERR_FULL if not all.
 * Nothing written: the peer hears silence, and the stream goes on.
 */
int tr_call_write(tr_call call, const void *audio, size_t bytes, size_t *taken);

/* Fills a begun frame of 20 ms up with silence, for nothing follows soon. */
int tr_call_flush(tr_call call);

/* Throws away what was written and has not left: the peer interrupted us. */
int tr_call_clear(tr_call call);

/* Milliseconds that wait to be sent. Negative: an error. */
int tr_call_waiting_ms(tr_call call);

/*
 * Gives the next 20 ms of what the peer says (960, 480, 320 or 160 samples), or one Opus packet. Returns 1; 0 if
 * there is none for now; TR_ERR_ROOM if cap is too short. One frame comes per 20 ms once the peer is heard, silence
 * and repaired loss included; 640 ms are kept for you, then the newest is lost. Opus: what was lost is not there.
 */
int tr_call_read(tr_call call, void *out, size_t cap, size_t *len);

/* Sends digits (0-9 * # A-D, ! for a flash), tone_ms each (40 to 60000; 0: 100). All of them or none. */
int tr_call_dtmf(tr_call call, const char *digits, size_t len, uint32_t tone_ms, uint64_t now_ns);

/* What happened. Numbers are never used for anything else; skip those that you do not know. */
enum {
    TR_EVENT_ICE_CONNECTED = 1,
    TR_EVENT_DTLS_CONNECTED = 2,
    TR_EVENT_MEDIA_READY = 3, /* time to send `accept` */
    TR_EVENT_GATE_OPENED = 4,
    TR_EVENT_FIRST_RTP_IN = 5,
    TR_EVENT_FIRST_RTP_OUT = 6,
    TR_EVENT_DIGIT = 7,       /* value: the key, as ASCII */
    TR_EVENT_DIGITS_SENT = 8,
    TR_EVENT_NO_EGRESS = 9,
    TR_EVENT_NO_INGRESS = 10, /* nothing came for 30 s; the path may be well */
    TR_EVENT_MEDIA_BACK = 11,
    TR_EVENT_ENDED = 12,      /* the last one. value: a reason for tr_end_reason() */
    TR_EVENT_OTHER = 255      /* something that this version has no number for */
};

typedef struct tr_event {
    uint32_t size;
    uint32_t kind;  /* TR_EVENT_* */
    uint32_t value;
    uint32_t zero;
} tr_event;

/* Fills out and returns 1, or returns 0. */
int tr_call_event(tr_call call, tr_event *out);

/* Why a call ended, as a stable upper-case word: "HANG_UP", "ICE_TIMEOUT", "DTLS_TIMEOUT" ... Never NULL. */
const char *tr_end_reason(uint32_t value);

typedef struct tr_stats {
    uint32_t size;
    uint32_t zero;
    uint64_t datagrams_in, datagrams_out;
    uint64_t rtp_in, rtp_out;
    uint64_t silence_out; /* of rtp_out: frames of silence, for you had written nothing */
    uint64_t dropped;     /* datagrams that went nowhere, for any reason */
    uint64_t digits_in, digits_out;
    uint64_t setup_ns;    /* from the start of the checks to MEDIA_READY; 0: not yet */
} tr_stats;

int tr_call_stats(tr_call call, tr_stats *out);

/* Hangs up: the last datagrams wait in tr_call_send(), TR_EVENT_ENDED in tr_call_event(). Twice is fine. */
int tr_call_close(tr_call call, uint64_t now_ns);

/* Frees it, in any state. Its port should rest for ten seconds: the peer may still send. */
int tr_call_free(tr_call call);

#ifdef __cplusplus
}
#endif

#endif /* TIPRING_H */
