// SPDX-License-Identifier: Apache-2.0
// Bulk both ways at once, every byte compared at both ends.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"
#include "verify.h"

#define CHUNK (256u << 10)

struct stream {
  int descriptor;
  uint64_t number, seed, size, sent, received;
  uint32_t command_bytes, verdict_bytes;
  struct command command;
  struct verdict verdict;
  bool finished;  // our FIN is sent
};

struct run {
  int epoll;
  uint64_t open;
  struct finding finding;
};

static uint8_t scratch[CHUNK];

static void finish(struct run *run, struct stream *stream, const char *problem, uint64_t at) {
  close(stream->descriptor);
  run->open--;
  run->finding.done++;
  run->finding.bytes_up += stream->sent;
  run->finding.bytes_down += stream->received;
  if (problem == NULL || ++run->finding.failed > VERIFY_TOLD) return;
  fprintf(stderr, "load: stream %lu: %s at byte %lu (sent %lu, received %lu, of %lu)\n", stream->number, problem, at,
          stream->sent, stream->received, stream->size);
}

static bool again(ssize_t count) { return count < 0 && (errno == EAGAIN || errno == EINTR); }

static void send_command(struct run *run, struct stream *stream) {
  const uint8_t *bytes = (const uint8_t *)&stream->command + stream->command_bytes;
  ssize_t count = send(stream->descriptor, bytes, sizeof stream->command - stream->command_bytes, MSG_NOSIGNAL);
  if (again(count)) return;
  if (count < 0) return finish(run, stream, strerror(errno), 0);
  stream->command_bytes += (uint32_t)count;
}

static void send_payload(struct run *run, struct stream *stream) {
  uint64_t left = stream->size - stream->sent;
  size_t part = left < CHUNK ? (size_t)left : CHUNK;
  pattern_fill(stream->seed, stream->sent, scratch, part);
  ssize_t count = part == 0 ? 0 : send(stream->descriptor, scratch, part, MSG_NOSIGNAL);
  if (again(count)) return;
  if (count < 0) return finish(run, stream, strerror(errno), stream->sent);
  stream->sent += (uint64_t)count;
  if (stream->sent < stream->size) return;
  shutdown(stream->descriptor, SHUT_WR);
  stream->finished = true;
  rewatch(run->epoll, stream->descriptor, EPOLLIN, stream);
}

static void conclude(struct run *run, struct stream *stream) {
  if (stream->verdict_bytes < sizeof stream->verdict) return finish(run, stream, "download ended early", stream->received);
  if (!stream->finished) return finish(run, stream, "the other end finished before us", stream->sent);
  if (stream->verdict.first_bad != UINT64_MAX)
    return finish(run, stream, "the backend received other bytes", stream->verdict.first_bad);
  if (stream->verdict.received != stream->size)
    return finish(run, stream, "the backend received another number of bytes", stream->verdict.received);
  finish(run, stream, NULL, 0);
}

static void receive_payload(struct run *run, struct stream *stream) {
  uint64_t left = stream->size - stream->received;
  bool tail = left == 0;
  uint8_t *into = tail ? (uint8_t *)&stream->verdict + stream->verdict_bytes : scratch;
  size_t room = tail ? sizeof stream->verdict - stream->verdict_bytes : left < CHUNK ? (size_t)left : CHUNK;
  if (room == 0) into = scratch, room = 1;  // only the end may follow
  ssize_t count = recv(stream->descriptor, into, room, 0);
  if (again(count)) return;
  if (count < 0) return finish(run, stream, strerror(errno), stream->received);
  if (count == 0) return conclude(run, stream);
  if (into == scratch && tail) return finish(run, stream, "more came than was asked for", stream->received);
  if (tail) {
    stream->verdict_bytes += (uint32_t)count;
    return;
  }
  uint64_t bad = pattern_check(~stream->seed, stream->received, scratch, (size_t)count);
  stream->received += (uint64_t)count;
  if (bad != UINT64_MAX) finish(run, stream, "other bytes came", bad);
}

static void advance(struct run *run, struct stream *stream, uint32_t events) {
  uint64_t open = run->open;
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive_payload(run, stream);
  if (run->open < open || !(events & EPOLLOUT) || stream->finished) return;
  if (stream->command_bytes < sizeof stream->command) send_command(run, stream);
  else send_payload(run, stream);
}

static void open_stream(struct run *run, const struct options *options, struct stream *stream, uint64_t number) {
  int error;
  uint64_t share = options->bytes / options->streams;
  // The first stream takes what does not divide.
  *stream = (struct stream){.number = number,
                            .seed = options->seed ^ (number << 48),
                            .size = share + (number == 0 ? options->bytes % options->streams : 0)};
  stream->command = make_command(OPERATION_VERIFY, stream->size, stream->seed, number);
  stream->descriptor = start_connect(&options->target, &error);
  watch(run->epoll, stream->descriptor, EPOLLIN | EPOLLOUT, stream);
  run->open++;
}

struct finding verify_streams(const struct options *options) {
  struct run run = {.epoll = make_epoll()};
  struct stream *streams = calloc(options->streams + 1, sizeof *streams);
  if (streams == NULL) fail("out of memory");
  for (uint64_t number = 0; options->bytes > 0 && number < options->streams; number++)
    open_stream(&run, options, &streams[number], number);
  struct epoll_event events[64];
  while (run.open > 0) {
    int count = epoll_wait(run.epoll, events, 64, VERIFY_PATIENCE_MS);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) {
      fprintf(stderr, "load: nothing moves on %lu streams\n", run.open);
      run.finding.failed += run.open;
      break;
    }
    for (int index = 0; index < count; index++) advance(&run, events[index].data.ptr, events[index].events);
  }
  free(streams);
  close(run.epoll);
  return run.finding;
}
