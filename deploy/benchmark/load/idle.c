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

static bool exchange(int descriptor, uint64_t sequence) {
  uint8_t request[EXCHANGE] = {0}, reply[EXCHANGE];
  struct command command = make_command(OPERATION_ECHO, EXCHANGE, 0, sequence);
  struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
  memcpy(request, &command, sizeof command);
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (send(descriptor, request, sizeof request, MSG_NOSIGNAL) != EXCHANGE) return false;
  return receive_all(descriptor, reply, sizeof reply) && memcmp(request, reply, EXCHANGE) == 0;
}

static int open_idle(const struct options *options, uint64_t sequence) {
  const struct address *target = &options->target;
  int descriptor = socket(target->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  if (connect(descriptor, (const struct sockaddr *)&target->storage, target->length) == 0 &&
      exchange(descriptor, sequence))
    return descriptor;
  close(descriptor);
  return -1;
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
    while (open < wanted && failed < 10) {
      int descriptor = open_idle(options, open);
      if (descriptor < 0) failed++;
      else descriptors[open++] = descriptor;
    }
    printf("{\"open\": %lu, \"alive\": %lu, \"failed\": %lu}\n", open, count_alive(descriptors, open), failed);
    fflush(stdout);
  }
  for (uint64_t index = 0; index < open; index++) close(descriptors[index]);
  return 0;
}
