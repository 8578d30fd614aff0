// floor_relay IP BASEPORT N: what the kernel alone costs a relay of two UDP legs. Socket BASE+2i and BASE+2i+1 are a pair; what comes to one leaves from the other,
// towards whoever spoke to that one last. One socket per leg, epoll, recvfrom and sendto; no crypto, nothing parsed.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int make(const char *ip, int port) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), bytes = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_aton(ip, &a.sin_addr);
  if (bind(fd, (void *)&a, sizeof a)) {
    perror("bind");
    exit(1);
  }
  return fd;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int base = atoi(argv[2]), n = 2 * atoi(argv[3]), ep = epoll_create1(0);
  int *fd = calloc(n, sizeof *fd);
  struct sockaddr_in *peer = calloc(n, sizeof *peer);
  for (int i = 0; i < n; i++) {
    fd[i] = make(argv[1], base + i);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &e);
  }
  static char buffer[2048];
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(ep, events, 256, -1);
    for (int k = 0; k < count; k++) {
      int i = events[k].data.u32;
      socklen_t length = sizeof *peer;
      int bytes = recvfrom(fd[i], buffer, sizeof buffer, 0, (void *)&peer[i], &length);
      if (bytes > 0 && peer[i ^ 1].sin_port) sendto(fd[i ^ 1], buffer, bytes, 0, (void *)&peer[i ^ 1], sizeof *peer);
    }
  }
}
