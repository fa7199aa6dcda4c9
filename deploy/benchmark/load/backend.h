// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_BACKEND_H
#define LOAD_BACKEND_H

#include <stdint.h>

#include "common.h"

struct backend {
  int epoll;
  int tcp;
  int udp;
  struct totals totals;
};

struct session;

/// What epoll holds for each descriptor of the backend.
struct watched {
  void (*ready)(struct backend *backend, struct watched *watched, uint32_t events);
  int descriptor;
};

/// Accepts what waits, a bounded number at a time.
void accept_sessions(struct backend *backend, struct watched *listener, uint32_t events);

/// Sends back every datagram that waits, in batches.
void echo_datagrams(struct backend *backend, struct watched *socket, uint32_t events);

#endif
