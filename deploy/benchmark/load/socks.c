// SPDX-License-Identifier: Apache-2.0
// A client of SOCKS5, without authentication.
#define _GNU_SOURCE
#include "socks.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common.h"

static const uint8_t greeting[] = {5, 1, 0};
enum { CHOICE = 2, HEAD = 5 };

struct socks parse_socks(const char *text, const char *option) {
  struct socks socks = {.request = {5, 1, 0, 3}};
  const char *colon = strrchr(text, ':');
  long port = colon ? strtol(colon + 1, NULL, 10) : 0;
  size_t length = colon ? (size_t)(colon - text) : 0;
  if (length == 0 || length > 255 || port < 1 || port > 65535)
    fail("%s: expected a host and a port like home:8080, found \"%s\"", option, text);
  socks.request[4] = (uint8_t)length;
  memcpy(socks.request + HEAD, text, length);
  socks.request[HEAD + length] = (uint8_t)(port >> 8);
  socks.request[HEAD + length + 1] = (uint8_t)port;
  socks.length = HEAD + length + 2;
  return socks;
}

/// A few bytes on a connection that carries nothing else yet: they fit.
static bool say(int descriptor, struct socks_progress *progress, const uint8_t *bytes, size_t count) {
  if (send(descriptor, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)count) return false;
  progress->asked++;
  progress->received = 0;
  return true;
}

/// The length of the reply as far as it can be told: it ends with an address (RFC 1928, 6).
static size_t reply_length(const struct socks_progress *progress) {
  if (progress->received < HEAD) return HEAD;
  size_t address = progress->reply[3] == 1 ? 4 : progress->reply[3] == 4 ? 16 : 1u + progress->reply[4];
  return 4 + address + 2;
}

/// True once all that was asked for is there; not a byte more is taken.
static bool listen_for(int descriptor, struct socks_progress *progress, bool *has_failed) {
  for (;;) {
    size_t wanted = progress->asked == 1 ? CHOICE : reply_length(progress);
    if (progress->received >= wanted) return true;
    ssize_t count = recv(descriptor, progress->reply + progress->received, wanted - progress->received, MSG_DONTWAIT);
    if (count == 0) errno = EPIPE;
    *has_failed = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
    if (count <= 0) return false;
    progress->received = (uint16_t)(progress->received + count);
  }
}

int socks_advance(int descriptor, const struct socks *socks, struct socks_progress *progress) {
  bool has_failed = false;
  if (progress->asked == 0) return say(descriptor, progress, greeting, sizeof greeting) ? 0 : errno == EAGAIN ? 0 : -1;
  if (!listen_for(descriptor, progress, &has_failed)) return has_failed ? -1 : 0;
  if (progress->reply[1] != 0) {
    errno = ECONNREFUSED;
    return -1;
  }
  if (progress->asked == 2) return 1;
  return say(descriptor, progress, socks->request, socks->length) ? 0 : -1;
}

void socks_connect(int descriptor, const struct socks *socks) {
  if (socks->length == 0) return;
  struct socks_progress progress = {.asked = 0};
  for (;;) {
    int result = socks_advance(descriptor, socks, &progress);
    if (result > 0) return;
    if (result < 0) fail_errno("the SOCKS server does not lead there");
    struct pollfd watched = {.fd = descriptor, .events = POLLIN};
    if (poll(&watched, 1, 10000) == 0) fail("the SOCKS server does not answer");
  }
}
