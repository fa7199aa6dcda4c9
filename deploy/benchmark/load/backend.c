// SPDX-License-Identifier: Apache-2.0
// The service behind the relay: one thread, TCP and UDP on one port, told by each connection what to do.
#define _GNU_SOURCE
#include "backend.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "modes.h"

static int listen_on(const struct address *address, int type) {
  int descriptor = socket(address->storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail_errno("cannot make a socket");
  int on = 1;
  if (type == SOCK_STREAM) setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(descriptor, (const struct sockaddr *)&address->storage, address->length) != 0)
    fail_errno("backend: cannot bind its address");
  if (type == SOCK_STREAM && listen(descriptor, 4096) != 0) fail_errno("backend: cannot listen");
  return descriptor;
}

static int open_udp(const struct address *address) {
  int descriptor = listen_on(address, SOCK_DGRAM);
  int size = 4 << 20;  // the kernel cuts it to its own limit
  setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return descriptor;
}

int run_backend(const struct options *options) {
  signal(SIGPIPE, SIG_IGN);
  struct backend backend = {.epoll = make_epoll(),
                            .tcp = listen_on(&options->target, SOCK_STREAM),
                            .udp = open_udp(&options->target)};
  struct watched listener = {.ready = accept_sessions, .descriptor = backend.tcp};
  struct watched datagrams = {.ready = echo_datagrams, .descriptor = backend.udp};
  watch(backend.epoll, backend.tcp, EPOLLIN, &listener);
  watch(backend.epoll, backend.udp, EPOLLIN, &datagrams);
  puts("ready");
  fflush(stdout);
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(backend.epoll, events, 256, -1);
    if (count < 0 && errno != EINTR) fail_errno("backend: cannot wait");
    for (int index = 0; index < count; index++) {
      struct watched *watched = events[index].data.ptr;
      watched->ready(&backend, watched, events[index].events);
    }
  }
}
