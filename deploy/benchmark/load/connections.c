// SPDX-License-Identifier: Apache-2.0
// New connections: connect, a request, the reply, the backend's end, close; `concurrency` of them at a time. The backend closes
// first, as an HTTP/1.0 server does, so that the ports that connect are free again at once.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "histogram.h"
#include "modes.h"
#include "window.h"

#define REQUEST_MAX 4096  // goes out in one send on a fresh connection

struct attempt {
  int descriptor;
  bool requested;
  bool led;  // by the SOCKS server, to where it was told to
  struct socks_progress progress;
  uint64_t started;
  uint64_t received;
  uint64_t sequence;
};

struct run {
  const struct options *options;
  int epoll;
  struct window window;
  struct histogram latencies;
  uint64_t sequence, completed, failed;
  int last_error;
};

static uint8_t request[REQUEST_MAX], reply[REQUEST_MAX];

static void try_request(struct run *run, struct attempt *attempt);

static void start(struct run *run, struct attempt *attempt) {
  int error;
  *attempt = (struct attempt){.started = now_ns(), .sequence = run->sequence++};
  attempt->descriptor = start_connect(&run->options->target, &error);
  if (error == EADDRNOTAVAIL) fail("no local port is left to connect from");
  if (error != 0) run->last_error = error;  // counted when epoll tells it
  // On loopback the handshake is over when connect returns: the request can usually go out at once.
  watch(run->epoll, attempt->descriptor, EPOLLOUT, attempt);
  if (error == 0) try_request(run, attempt);
}

static void finish(struct run *run, struct attempt *attempt, bool succeeded, int error) {
  close(attempt->descriptor);
  if (window_is_open(&run->window)) {
    if (succeeded) {
      run->completed++;
      histogram_add(&run->latencies, now_ns() - attempt->started);
    } else {
      run->failed++;
      if (error != 0) run->last_error = error;
    }
  }
  start(run, attempt);
}

/// Asks the SOCKS server for its way, and goes on once that is open.
static void try_to_be_led(struct run *run, struct attempt *attempt) {
  bool is_connecting = attempt->progress.asked == 0;
  int result = socks_advance(attempt->descriptor, &run->options->socks, &attempt->progress);
  if (result < 0 && is_connecting) return;  // epoll will tell the error
  if (result < 0) return finish(run, attempt, false, errno);
  if (is_connecting && attempt->progress.asked > 0) rewatch(run->epoll, attempt->descriptor, EPOLLIN, attempt);
  if (result == 0) return;
  attempt->led = true;
  try_request(run, attempt);
}

static void try_request(struct run *run, struct attempt *attempt) {
  if (run->options->socks.length > 0 && !attempt->led) return try_to_be_led(run, attempt);
  struct command command = make_command(OPERATION_ONCE, run->options->size, 0, attempt->sequence);
  memcpy(request, &command, sizeof command);
  ssize_t sent = send(attempt->descriptor, request, run->options->size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINTR)) return;
  if (sent != (ssize_t)run->options->size) return;  // epoll will tell the error
  attempt->requested = true;
  rewatch(run->epoll, attempt->descriptor, EPOLLIN, attempt);
}

static bool reply_is_right(const struct attempt *attempt) {
  struct command echoed;
  memcpy(&echoed, reply, sizeof echoed);
  return echoed.magic == COMMAND_MAGIC && echoed.sequence == attempt->sequence;
}

static void read_reply(struct run *run, struct attempt *attempt) {
  ssize_t count = recv(attempt->descriptor, reply, sizeof reply, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) return finish(run, attempt, false, errno);
  if (count == 0) return finish(run, attempt, attempt->received == run->options->size, EPIPE);
  bool whole = attempt->received == 0 && (uint64_t)count == run->options->size;
  attempt->received += (uint64_t)count;
  if (whole && !reply_is_right(attempt))
    fail("a reply belongs to another connection");
}

static int socket_error(int descriptor) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

static void advance(struct run *run, struct attempt *attempt, uint32_t events) {
  if (attempt->requested) return read_reply(run, attempt);
  if (events & (EPOLLERR | EPOLLHUP)) return finish(run, attempt, false, socket_error(attempt->descriptor));
  try_request(run, attempt);
}

static void report(const struct run *run) {
  double seconds = window_seconds(&run->window);
  printf("{\"connections\": %lu, \"failed\": %lu, \"last_error\": \"%s\", \"seconds\": %.6f, "
         "\"per_second\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f}\n",
         run->completed, run->failed, run->last_error ? strerror(run->last_error) : "", seconds,
         (double)run->completed / seconds, histogram_us(&run->latencies, 0.5),
         histogram_us(&run->latencies, 0.99), histogram_us(&run->latencies, 0.999));
}

int run_connections(const struct options *options) {
  if (options->size < sizeof(struct command) || options->size > REQUEST_MAX)
    fail("--size: expected %zu to %d bytes", sizeof(struct command), REQUEST_MAX);
  static struct run run;
  run.options = options;
  run.epoll = make_epoll();
  run.window = window_plan(options->warm_up, options->seconds);
  struct attempt *attempts = calloc(options->concurrency, sizeof *attempts);
  if (attempts == NULL) fail("out of memory");
  for (uint64_t index = 0; index < options->concurrency; index++) start(&run, &attempts[index]);
  struct epoll_event events[256];
  while (run.window.ended == 0) {
    int count = epoll_wait(run.epoll, events, 256, window_patience(&run.window, now_ns()));
    for (int index = 0; index < count; index++) advance(&run, events[index].data.ptr, events[index].events);
    uint64_t now = now_ns();
    window_begins(&run.window, now);
    window_ends(&run.window, now);
  }
  report(&run);
  return 0;
}
