// SPDX-License-Identifier: Apache-2.0
// How long connect() takes: one that blocks until the connection is there, and one that does not and returns at once.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "histogram.h"
#include "modes.h"

#define WARM_UP 50

/// The nanoseconds that connect() took; the connection is there and closed again when it returns.
static uint64_t time_connect(const struct address *target, int flags) {
  int descriptor = socket(target->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (descriptor < 0) fail_errno("cannot make a socket");
  uint64_t begin = now_ns();
  int result = connect(descriptor, (const struct sockaddr *)&target->storage, target->length);
  uint64_t took = now_ns() - begin;
  if (result != 0 && errno != EINPROGRESS) fail_errno("cannot connect");
  struct pollfd watched = {.fd = descriptor, .events = POLLOUT};
  if (poll(&watched, 1, 10000) != 1 || (watched.revents & (POLLERR | POLLHUP))) fail("a connection was not made");
  // A reset: so many ports that wait would be missed.
  struct linger linger = {.l_onoff = 1};
  setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(descriptor);
  return took;
}

int run_connect(const struct options *options) {
  static struct histogram blocking, at_once;
  for (uint64_t index = 0; index < options->connections + WARM_UP; index++) {
    uint64_t waited = time_connect(&options->target, 0);
    uint64_t returned = time_connect(&options->target, SOCK_NONBLOCK);
    if (index < WARM_UP) continue;
    histogram_add(&blocking, waited);
    histogram_add(&at_once, returned);
  }
  printf("{\"connections\": %lu, \"blocking_p50_us\": %.2f, \"at_once_p50_us\": %.2f}\n", blocking.count,
         histogram_us(&blocking, 0.5), histogram_us(&at_once, 0.5));
  return 0;
}
