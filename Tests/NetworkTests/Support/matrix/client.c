// SPDX-License-Identifier: Apache-2.0
// Sends a million bytes to an echo service, ends its half, and reads until the other one's: client HOST PORT
// Linked statically it has no loader that would load anything else into it.
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TOTAL = 1000000 };

static int reach(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int problem = getaddrinfo(host, port, &hints, &found);
  if (problem != 0) {
    fprintf(stderr, "%s: %s\n", host, gai_strerror(problem));
    return -1;
  }
  for (struct addrinfo *next = found; next; next = next->ai_next) {
    int fd = socket(next->ai_family, next->ai_socktype, next->ai_protocol);
    if (connect(fd, next->ai_addr, next->ai_addrlen) == 0) return fd;
    perror("connect");
    close(fd);
  }
  return -1;
}

int main(int count, char **arguments) {
  int fd = count == 3 ? reach(arguments[1], arguments[2]) : -1;
  if (fd < 0) return 1;
  static char bytes[65536];
  long sent = 0, received = 0;
  for (;;) {
    struct pollfd watched = {.fd = fd, .events = POLLIN | (sent < TOTAL ? POLLOUT : 0)};
    if (poll(&watched, 1, 20000) <= 0) return 2;
    if (watched.revents & POLLOUT) {
      long left = TOTAL - sent;
      ssize_t length = send(fd, bytes, left < 65536 ? left : 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (length > 0) sent += length;
      if (sent == TOTAL) shutdown(fd, SHUT_WR);
    }
    if (watched.revents & ~POLLOUT) {
      ssize_t length = recv(fd, bytes, sizeof bytes, 0);
      if (length <= 0) break;
      received += length;
    }
  }
  printf("echoed %ld\n", received);
  return received == TOTAL ? 0 : 3;
}
