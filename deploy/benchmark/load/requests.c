// SPDX-License-Identifier: Apache-2.0
// Requests on connections that stay: each connection sends `size` bytes, awaits as many, and begins again. With one connection this
// is the ping-pong.
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

#define REQUEST_MAX 65536

struct client {
  int descriptor;
  uint64_t sent_at;
  uint64_t received;
  uint64_t sequence;
};

static uint8_t request[REQUEST_MAX], reply[REQUEST_MAX];
static struct histogram latencies;

static void send_request(const struct options *options, struct client *client) {
  struct command command = make_command(OPERATION_ECHO, options->size, 0, ++client->sequence);
  memcpy(request, &command, sizeof command);
  client->received = 0;
  client->sent_at = now_ns();
  // A request is far smaller than a socket's buffer, and there is one at a time: a short send means a broken connection.
  ssize_t sent = send(client->descriptor, request, options->size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != (ssize_t)options->size) fail_errno("a request could not be sent");
}

static void check_reply(const struct options *options, const struct client *client) {
  struct command echoed;
  memcpy(&echoed, reply, sizeof echoed);
  if (echoed.magic != COMMAND_MAGIC || echoed.size != options->size || echoed.sequence != client->sequence)
    fail("a reply is not the echo of its request");
}

/// True when the reply is complete.
static bool read_reply(const struct options *options, struct client *client) {
  ssize_t count = recv(client->descriptor, reply, options->size - client->received, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count < 0) fail_errno("a connection broke");
  if (count == 0) fail("a connection ended early");
  if (client->received == 0 && (size_t)count >= sizeof(struct command)) check_reply(options, client);
  client->received += (uint64_t)count;
  return client->received == options->size;
}

static void open_clients(const struct options *options, int epoll, struct client *clients) {
  for (uint64_t index = 0; index < options->connections; index++) {
    clients[index] = (struct client){.descriptor = connect_blocking(&options->target), .sequence = index << 32};
    socks_connect(clients[index].descriptor, &options->socks);
    watch(epoll, clients[index].descriptor, EPOLLIN, &clients[index]);
    send_request(options, &clients[index]);
  }
}

static void report(const struct window *window) {
  double seconds = window_seconds(window);
  printf("{\"requests\": %lu, \"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
         "\"p999_us\": %.2f, \"max_us\": %.2f}\n",
         latencies.count, seconds, (double)latencies.count / seconds, histogram_us(&latencies, 0.5),
         histogram_us(&latencies, 0.99), histogram_us(&latencies, 0.999), histogram_us(&latencies, 1));
}

int run_requests(const struct options *options) {
  if (options->size < sizeof(struct command) || options->size > REQUEST_MAX)
    fail("--size: expected %zu to %d bytes", sizeof(struct command), REQUEST_MAX);
  int epoll = make_epoll();
  struct client *clients = calloc(options->connections, sizeof *clients);
  if (clients == NULL) fail("out of memory");
  open_clients(options, epoll, clients);
  struct window window = window_plan(options->warm_up, options->seconds);
  struct epoll_event events[256];
  while (window.ended == 0) {
    int count = epoll_wait(epoll, events, 256, window_patience(&window, now_ns()));
    for (int index = 0; index < count; index++) {
      struct client *client = events[index].data.ptr;
      if (!read_reply(options, client)) continue;
      if (window_is_open(&window)) histogram_add(&latencies, now_ns() - client->sent_at);
      send_request(options, client);
    }
    uint64_t now = now_ns();
    window_begins(&window, now);
    window_ends(&window, now);
  }
  report(&window);
  return 0;
}
