// SPDX-License-Identifier: Apache-2.0
// Idle connections: standard input says how many shall be open (a number a line); each new one exchanges 64 bytes once, so that the
// way to the backend exists, and then keeps still. End of input closes them all.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "modes.h"

#define EXCHANGE 64
#define PATIENCE_SECONDS 10
#define BATCH 64
#define FAILED_MAX 64

static struct command command_for(uint64_t sequence) { return make_command(OPERATION_ECHO, EXCHANGE, 0, sequence); }

/// A connection with its request sent, or -1.
static int begin_idle(const struct options *options, uint64_t sequence) {
  const struct address *target = &options->target;
  int descriptor = socket(target->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  uint8_t request[EXCHANGE] = {0};
  struct command command = command_for(sequence);
  memcpy(request, &command, sizeof command);
  if (connect(descriptor, (const struct sockaddr *)&target->storage, target->length) == 0) {
    socks_connect(descriptor, &options->socks);
    if (send(descriptor, request, sizeof request, MSG_NOSIGNAL) == EXCHANGE) return descriptor;
  }
  close(descriptor);
  return -1;
}

static bool has_echo(int descriptor, uint64_t sequence) {
  uint8_t reply[EXCHANGE];
  struct command command = command_for(sequence);
  return receive_all(descriptor, reply, sizeof reply) && memcmp(&command, reply, sizeof command) == 0;
}

/// Opens up to a batch at a time, which a relay that walks all its connections on every event bears better, and returns how many
/// came to stay; they are added behind the `open` ones.
static uint64_t open_batch(const struct options *options, int *descriptors, uint64_t open, uint64_t wanted) {
  int batch[BATCH];
  uint64_t count = wanted - open < BATCH ? wanted - open : BATCH, added = 0;
  for (uint64_t index = 0; index < count; index++) batch[index] = begin_idle(options, open + index);
  for (uint64_t index = 0; index < count; index++) {
    if (batch[index] < 0) continue;
    if (has_echo(batch[index], open + index)) descriptors[open + added++] = batch[index];
    else close(batch[index]);
  }
  return added;
}

static uint64_t count_alive(const int *descriptors, uint64_t count) {
  uint64_t alive = 0;
  for (uint64_t index = 0; index < count; index++) {
    struct pollfd poller = {.fd = descriptors[index], .events = POLLIN};
    if (poll(&poller, 1, 0) == 0) alive++;
  }
  return alive;
}

int run_idle(const struct options *options) {
  uint64_t limit = raise_descriptor_limit();
  int *descriptors = calloc(limit, sizeof *descriptors);
  if (descriptors == NULL) fail("out of memory");
  uint64_t open = 0;
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    uint64_t wanted = strtoull(line, NULL, 10), failed = 0;
    if (wanted + 16 > limit) fail("%lu connections need more descriptors than the limit of %lu", wanted, limit);
    while (open < wanted && failed < FAILED_MAX) {
      uint64_t room = wanted - open < BATCH ? wanted - open : BATCH;
      uint64_t added = open_batch(options, descriptors, open, wanted);
      open += added;
      failed += room - added;
    }
    printf("{\"open\": %lu, \"alive\": %lu, \"failed\": %lu}\n", open, count_alive(descriptors, open), failed);
    fflush(stdout);
  }
  for (uint64_t index = 0; index < open; index++) close(descriptors[index]);
  return 0;
}
