// SPDX-License-Identifier: Apache-2.0
// Bulk TCP: `streams` connections that move bytes in one direction as fast as they go. What counts is what the receiver got
// between the edges of the window.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "modes.h"
#include "window.h"

#define CHUNK (256u << 10)
#define DISCARD (4u << 20)
#define STREAMS_MAX 1024

static uint8_t chunk[CHUNK];

static void open_streams(const struct options *options, int *descriptors) {
  enum operation operation = options->upload ? OPERATION_SINK : OPERATION_SOURCE;
  struct command command = make_command(operation, 0, 0, 0);
  for (uint64_t index = 0; index < options->streams; index++) {
    descriptors[index] = connect_blocking(&options->target);
    socks_connect(descriptors[index], &options->socks);
    send_all(descriptors[index], &command, sizeof command);
  }
}

static ssize_t move(const struct options *options, int descriptor) {
  // MSG_TRUNC: the kernel drops the bytes without a copy, which leaves the processor to what is measured.
  ssize_t count = options->upload ? send(descriptor, chunk, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : recv(descriptor, NULL, DISCARD, MSG_DONTWAIT | MSG_TRUNC);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
  if (count < 0) fail_errno("a bulk stream broke");
  if (count == 0) fail("a bulk stream ended early");
  return count;
}

static uint64_t received_so_far(const struct options *options, uint64_t moved) {
  return options->upload ? query_totals(&options->backend).sunk_bytes : moved;
}

/// What this process has used so far, its threads and the kernel's work for it included.
static double own_cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int run_bulk(const struct options *options) {
  if (options->streams < 1 || options->streams > STREAMS_MAX) fail("--streams: expected 1 to %d", STREAMS_MAX);
  int descriptors[STREAMS_MAX];
  open_streams(options, descriptors);
  int epoll = make_epoll();
  for (uint64_t index = 0; index < options->streams; index++)
    watch(epoll, descriptors[index], options->upload ? EPOLLOUT : EPOLLIN, (void *)(intptr_t)descriptors[index]);

  struct window window = window_plan(options->warm_up, options->seconds);
  uint64_t moved = 0, at_begin = 0, at_end = 0;
  double cpu = 0;
  struct epoll_event events[64];
  while (window.ended == 0) {
    int count = epoll_wait(epoll, events, 64, window_patience(&window, now_ns()));
    for (int index = 0; index < count; index++)
      moved += (uint64_t)move(options, (int)(intptr_t)events[index].data.ptr);
    uint64_t now = now_ns();
    if (window_begins(&window, now)) {
      at_begin = received_so_far(options, moved);
      cpu = own_cpu_seconds();
    }
    if (window_ends(&window, now)) {
      cpu = own_cpu_seconds() - cpu;
      at_end = received_so_far(options, moved);
    }
  }
  double seconds = window_seconds(&window);
  printf("{\"bytes\": %lu, \"seconds\": %.6f, \"gigabytes_per_second\": %.6f, \"own_cpu_seconds\": %.6f}\n",
         at_end - at_begin, seconds, (double)(at_end - at_begin) / seconds / 1e9, cpu);
  return 0;
}
