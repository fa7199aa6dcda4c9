// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_MODES_H
#define LOAD_MODES_H

#include "common.h"
#include "socks.h"

/// What the command line says; each mode reads what it needs.
struct options {
  struct address target;   // what is measured: the relay's port, or the backend itself
  struct socks socks;      // where the target leads, if it is a SOCKS5 server
  struct address backend;  // the backend itself, asked for totals
  bool has_target, has_backend;
  uint64_t connections;
  uint64_t streams;
  uint64_t size;
  uint64_t concurrency;
  uint64_t bytes;
  uint64_t window;
  uint64_t sockets;
  uint64_t seed;
  uint64_t rate;
  double seconds;
  double warm_up;
  bool upload;
};

/// Each mode prints one line of JSON on standard output and returns the exit status.
int run_backend(const struct options *options);
int run_bulk(const struct options *options);
int run_connect(const struct options *options);
int run_connections(const struct options *options);
int run_requests(const struct options *options);
int run_idle(const struct options *options);
int run_udp(const struct options *options);
int run_send(const struct options *options);
int run_receive(const struct options *options);
int run_verify(const struct options *options);

#endif
