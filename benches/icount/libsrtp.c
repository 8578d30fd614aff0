// Instructions of libsrtp for one RTP packet with 160 bytes of payload, for icount: stops itself before and behind each part.
// With an argument it tells nanoseconds instead: N packets through protect and unprotect, over M sessions in turn.
#include <signal.h>
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static srtp_t session(int gcm, int outbound) {
  static unsigned char key[64];
  srtp_policy_t p;
  srtp_t s;
  memset(&p, 0, sizeof p);
  memset(key, 0x11, sizeof key);
  if (gcm) {
    srtp_crypto_policy_set_aes_gcm_128_16_auth(&p.rtp);
    srtp_crypto_policy_set_aes_gcm_128_16_auth(&p.rtcp);
  } else {
    srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&p.rtp);
    srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&p.rtcp);
  }
  p.ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound;
  p.key = key;
  p.window_size = 128;
  return srtp_create(&s, &p) ? 0 : s;  // a build without GCM exists
}

static int packet(unsigned char *b, int seq) {
  memset(b, 0x5a, 172);
  b[0] = 0x80;
  b[1] = 111;
  b[2] = seq >> 8;
  b[3] = seq;
  memset(b + 4, 0, 8);
  b[11] = 7;
  return 172;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
  unsigned char b[256];
  if (srtp_init()) return 3;
  if (argc > 2) {
    int turns = atoi(argv[1]), m = atoi(argv[2]);
    for (int gcm = 0; gcm < 2; gcm++) {
      srtp_t *tx = calloc(m, sizeof *tx), *rx = calloc(m, sizeof *rx);
      for (int i = 0; i < m; i++) tx[i] = session(gcm, 1), rx[i] = session(gcm, 0);
      if (!tx[0] || !rx[0]) break;
      double spent = 0;
      for (int seq = 0; seq <= turns; seq++) {
        double t = now();
        for (int i = 0; i < m; i++) {
          int n = packet(b, seq);
          if (srtp_protect(tx[i], b, &n) || srtp_unprotect(rx[i], b, &n)) return 4;
        }
        if (seq) spent += now() - t;  // the first round warms up
      }
      printf("%.1f\n", spent / turns / m);
    }
    return 0;
  }
  raise(SIGSTOP);
  raise(SIGSTOP);
  for (int gcm = 0; gcm < 2; gcm++) {
    srtp_t tx = session(gcm, 1), rx = session(gcm, 0);
    if (!tx || !rx) break;
    for (int seq = 1; seq < 12; seq++) {
      int n = packet(b, seq), last = seq == 11;
      if (last) raise(SIGSTOP);
      if (srtp_protect(tx, b, &n)) return 4;
      if (last) raise(SIGSTOP), raise(SIGSTOP);
      if (srtp_unprotect(rx, b, &n)) return 4;
      if (last) raise(SIGSTOP);
    }
  }
  return 0;
}
