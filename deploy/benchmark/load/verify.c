// SPDX-License-Identifier: Apache-2.0
// The verify mode: nothing lost, nothing changed, nothing left open. The exit status says so: 0, or 1.
#define _GNU_SOURCE
#include "verify.h"

#include <stdio.h>
#include <unistd.h>

#define SETTLE_MS 10000

/// The backend's connections are back at `before`, within a time in which a relay passes on what was closed.
static struct totals settled_totals(const struct options *options, uint64_t before) {
  struct totals totals = query_totals(&options->backend);
  for (int waited = 0; waited < SETTLE_MS && totals.open_connections > before; waited += 50) {
    usleep(50000);
    totals = query_totals(&options->backend);
  }
  return totals;
}

static double rate(uint64_t bytes, uint64_t nanoseconds) {
  return nanoseconds ? (double)bytes / (double)nanoseconds : 0;
}

int run_verify(const struct options *options) {
  raise_descriptor_limit();
  struct totals before = {0}, after = {0};
  if (options->has_backend) before = query_totals(&options->backend);
  uint64_t started = now_ns();
  struct finding connections = verify_connections(options);
  uint64_t middle = now_ns();
  struct finding streams = verify_streams(options);
  uint64_t ended = now_ns();
  if (options->has_backend) after = settled_totals(options, before.open_connections);
  uint64_t left_open = after.open_connections > before.open_connections
                           ? after.open_connections - before.open_connections : 0;
  bool right = connections.failed == 0 && streams.failed == 0 && left_open == 0;
  printf("{\"right\": %s, \"connections\": %lu, \"connections_failed\": %lu, \"connection_bytes\": %lu, "
         "\"connections_seconds\": %.3f, \"streams\": %lu, \"streams_failed\": %lu, \"bytes_up\": %lu, "
         "\"bytes_down\": %lu, \"streams_seconds\": %.3f, \"gigabytes_per_second_each_way\": %.3f, "
         "\"left_open\": %lu, \"backend_descriptors_before\": %lu, \"backend_descriptors_after\": %lu}\n",
         right ? "true" : "false", connections.done, connections.failed, connections.bytes_up,
         (double)(middle - started) / 1e9, streams.done, streams.failed, streams.bytes_up, streams.bytes_down,
         (double)(ended - middle) / 1e9, rate(streams.bytes_down, ended - middle), left_open,
         before.open_descriptors, after.open_descriptors);
  return right ? 0 : 1;
}
