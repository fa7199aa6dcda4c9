// SPDX-License-Identifier: Apache-2.0
// Many short connections, each of which must get exactly its own bytes back and then the end.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "pattern.h"
#include "verify.h"

#define PAYLOAD_MAX 8192
#define COMMAND_BYTES sizeof(struct command)

struct visit {
  int descriptor;
  uint64_t sequence, size, sent, received;
  bool busy;
  uint8_t payload[PAYLOAD_MAX];
};

struct run {
  const struct options *options;
  int epoll;
  uint64_t started, busy;
  struct finding finding;
};

static void prepare_payload(const struct run *run, struct visit *visit) {
  uint64_t seed = run->options->seed + visit->sequence;
  uint64_t chance;
  pattern_fill(~seed, 0, (uint8_t *)&chance, sizeof chance);
  // Most are small as requests are, one in eight is larger than a packet.
  visit->size = COMMAND_BYTES + chance % (chance >> 61 == 0 ? PAYLOAD_MAX - COMMAND_BYTES : 480);
  struct command command = make_command(OPERATION_ONCE, visit->size, seed, visit->sequence);
  memcpy(visit->payload, &command, COMMAND_BYTES);
  pattern_fill(seed, 0, visit->payload + COMMAND_BYTES, visit->size - COMMAND_BYTES);
}

static void begin(struct run *run, struct visit *visit) {
  int error;
  *visit = (struct visit){.sequence = run->started++, .busy = true};
  prepare_payload(run, visit);
  visit->descriptor = start_connect(&run->options->target, &error);
  watch(run->epoll, visit->descriptor, EPOLLOUT, visit);
  run->busy++;
}

static void finish(struct run *run, struct visit *visit, const char *problem) {
  close(visit->descriptor);
  visit->busy = false;
  run->busy--;
  run->finding.done++;
  run->finding.bytes_up += visit->sent;
  run->finding.bytes_down += visit->received;
  if (problem != NULL && ++run->finding.failed <= VERIFY_TOLD)
    fprintf(stderr, "load: connection %lu: %s (%lu of %lu bytes sent, %lu came back)\n", visit->sequence, problem,
            visit->sent, visit->size, visit->received);
  if (run->started < run->options->connections) begin(run, visit);
}

static void send_payload(struct run *run, struct visit *visit) {
  ssize_t count = send(visit->descriptor, visit->payload + visit->sent, visit->size - visit->sent, MSG_NOSIGNAL);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) return finish(run, visit, strerror(errno));
  visit->sent += (uint64_t)count;
  if (visit->sent == visit->size) rewatch(run->epoll, visit->descriptor, EPOLLIN, visit);
}

static void receive_payload(struct run *run, struct visit *visit) {
  uint8_t bytes[PAYLOAD_MAX];
  ssize_t count = recv(visit->descriptor, bytes, sizeof bytes, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) return finish(run, visit, strerror(errno));
  if (count == 0) return finish(run, visit, visit->received == visit->size ? NULL : "ended early");
  if ((uint64_t)count > visit->size - visit->received) return finish(run, visit, "more came back than was sent");
  if (memcmp(bytes, visit->payload + visit->received, (size_t)count) != 0)
    return finish(run, visit, "other bytes came back");
  visit->received += (uint64_t)count;
}

static void advance(struct run *run, struct visit *visit) {
  if (visit->sent < visit->size) send_payload(run, visit);
  else receive_payload(run, visit);
}

static void give_up(struct run *run, struct visit *visits) {
  for (uint64_t index = 0; index < run->options->concurrency; index++)
    if (visits[index].busy) fprintf(stderr, "load: connection %lu: nothing moves\n", visits[index].sequence);
  run->finding.failed += run->busy + (run->options->connections - run->started);
}

struct finding verify_connections(const struct options *options) {
  struct run run = {.options = options, .epoll = make_epoll()};
  struct visit *visits = calloc(options->concurrency, sizeof *visits);
  if (visits == NULL) fail("out of memory");
  for (uint64_t index = 0; index < options->concurrency && run.started < options->connections; index++)
    begin(&run, &visits[index]);
  struct epoll_event events[256];
  while (run.busy > 0) {
    int count = epoll_wait(run.epoll, events, 256, VERIFY_PATIENCE_MS);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) {
      give_up(&run, visits);
      break;
    }
    for (int index = 0; index < count; index++) advance(&run, events[index].data.ptr);
  }
  free(visits);
  close(run.epoll);
  return run.finding;
}
