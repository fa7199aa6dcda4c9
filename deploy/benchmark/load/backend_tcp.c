// SPDX-License-Identifier: Apache-2.0
// The backend's TCP connections: each begins with a command and then does that one thing.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "backend.h"
#include "pattern.h"

#define CHUNK (256u << 10)
#define SINK_CHUNK (4u << 20)

struct session {
  struct watched watched;
  struct command command;
  uint32_t command_bytes;   // of the command, received so far
  bool ended;               // the client's FIN has come
  uint64_t received, sent;  // ECHO and VERIFY: payload so far
  uint64_t first_bad;       // VERIFY
  uint8_t *unsent;          // ECHO: what the kernel refused
  size_t unsent_bytes;
  uint32_t verdict_bytes;   // VERIFY: of the verdict, sent so far
};

// One thread: what is read or sent at the moment needs no buffer of its own.
static uint8_t scratch[CHUNK];

static void session_close(struct backend *backend, struct session *session) {
  close(session->watched.descriptor);
  free(session->unsent);
  free(session);
  backend->totals.open_connections--;
}

static bool would_block(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static void keep_unsent(struct session *session, const uint8_t *bytes, size_t count) {
  uint8_t *grown = realloc(session->unsent, session->unsent_bytes + count);
  if (grown == NULL) fail("backend: out of memory");
  memcpy(grown + session->unsent_bytes, bytes, count);
  session->unsent = grown;
  session->unsent_bytes += count;
}

/// Sends, and keeps what the kernel refuses; while something is kept, nothing is read.
static bool echo_send(struct backend *backend, struct session *session, const uint8_t *bytes, size_t count) {
  ssize_t sent = send(session->watched.descriptor, bytes, count, MSG_NOSIGNAL);
  if (sent < 0 && !would_block(sent)) return false;
  if (sent < 0) sent = 0;
  session->received += (uint64_t)sent;
  if ((size_t)sent == count) return true;
  keep_unsent(session, bytes + sent, count - (size_t)sent);
  rewatch(backend->epoll, session->watched.descriptor, EPOLLOUT, session);
  return true;
}

static bool echo_flush(struct backend *backend, struct session *session) {
  uint8_t *bytes = session->unsent;
  size_t count = session->unsent_bytes;
  session->unsent = NULL;
  session->unsent_bytes = 0;
  rewatch(backend->epoll, session->watched.descriptor, EPOLLIN, session);
  bool alive = echo_send(backend, session, bytes, count);
  free(bytes);
  return alive;
}

/// ECHO and ONCE. False: the session is to be closed.
static bool echo_ready(struct backend *backend, struct session *session, uint32_t events) {
  if (session->unsent != NULL) {
    if (!(events & EPOLLOUT)) return !(events & (EPOLLERR | EPOLLHUP));
    if (!echo_flush(backend, session) || session->unsent != NULL) return session->unsent != NULL;
  } else {
    ssize_t count = recv(session->watched.descriptor, scratch, sizeof scratch, 0);
    if (count <= 0) return would_block(count);
    if (!echo_send(backend, session, scratch, (size_t)count)) return false;
  }
  return session->command.operation == OPERATION_ECHO || session->received < session->command.size;
}

static bool source_ready(struct session *session) {
  for (int turn = 0; turn < 4; turn++) {
    ssize_t sent = send(session->watched.descriptor, scratch, sizeof scratch, MSG_NOSIGNAL);
    if (sent < 0) return would_block(sent);
    if ((size_t)sent < sizeof scratch) return true;
  }
  return true;
}

/// MSG_TRUNC: the kernel drops the bytes without a copy, which leaves the processor to what is measured.
static bool sink_ready(struct backend *backend, struct session *session) {
  ssize_t count = recv(session->watched.descriptor, NULL, SINK_CHUNK, MSG_TRUNC);
  if (count <= 0) return would_block(count);
  backend->totals.sunk_bytes += (uint64_t)count;
  return true;
}

static void note_received(struct session *session, const uint8_t *bytes, size_t count) {
  uint64_t bad = pattern_check(session->command.seed, session->received, bytes, count);
  if (bad < session->first_bad) session->first_bad = bad;
  session->received += count;
}

static bool verify_receive(struct session *session) {
  ssize_t count = recv(session->watched.descriptor, scratch, sizeof scratch, 0);
  if (count < 0) return would_block(count);
  if (count == 0) session->ended = true;
  note_received(session, scratch, (size_t)count);
  return true;
}

static bool verify_send(struct session *session) {
  uint64_t left = session->command.size - session->sent;
  if (left == 0) return true;
  size_t count = left < sizeof scratch ? (size_t)left : sizeof scratch;
  pattern_fill(~session->command.seed, session->sent, scratch, count);
  ssize_t sent = send(session->watched.descriptor, scratch, count, MSG_NOSIGNAL);
  if (sent < 0) return would_block(sent);
  session->sent += (uint64_t)sent;
  return true;
}

/// The verdict follows the payload once the client has finished. False: it is sent, or cannot be.
static bool verify_conclude(struct session *session) {
  struct verdict verdict = {.received = session->received, .first_bad = session->first_bad};
  const uint8_t *bytes = (const uint8_t *)&verdict + session->verdict_bytes;
  ssize_t sent = send(session->watched.descriptor, bytes, sizeof verdict - session->verdict_bytes, MSG_NOSIGNAL);
  if (sent < 0) return would_block(sent);
  session->verdict_bytes += (uint32_t)sent;
  return session->verdict_bytes < sizeof verdict;
}

static bool verify_ready(struct backend *backend, struct session *session, uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !session->ended && !verify_receive(session)) return false;
  if ((events & EPOLLOUT) && !verify_send(session)) return false;
  bool sent_all = session->sent == session->command.size;
  if (sent_all && session->ended) {
    rewatch(backend->epoll, session->watched.descriptor, EPOLLOUT, session);
    return verify_conclude(session);
  }
  uint32_t wanted = (session->ended ? 0 : EPOLLIN) | (sent_all ? 0 : EPOLLOUT);
  rewatch(backend->epoll, session->watched.descriptor, wanted, session);
  return true;
}

static uint64_t count_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return 0;
  uint64_t count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count - 3;  // ".", ".." and the directory's own
}

static void totals_answer(struct backend *backend, struct session *session) {
  struct totals totals = backend->totals;
  totals.open_connections--;
  totals.open_descriptors = count_descriptors() - 1;
  send(session->watched.descriptor, &totals, sizeof totals, MSG_NOSIGNAL);
}

/// What came with the command or is due without waiting for more. False: the session is to be closed.
static bool session_begin(struct backend *backend, struct session *session, const uint8_t *rest, size_t count) {
  switch (session->command.operation) {
    case OPERATION_ECHO:
    case OPERATION_ONCE:
      if (!echo_send(backend, session, (const uint8_t *)&session->command, sizeof session->command)) return false;
      if (count > 0 && !echo_send(backend, session, rest, count)) return false;
      return session->command.operation == OPERATION_ECHO || session->received < session->command.size;
    case OPERATION_SOURCE:
      rewatch(backend->epoll, session->watched.descriptor, EPOLLOUT, session);
      return true;
    case OPERATION_SINK:
      backend->totals.sunk_bytes += count;
      return true;
    case OPERATION_VERIFY:
      note_received(session, rest, count);
      rewatch(backend->epoll, session->watched.descriptor, EPOLLIN | EPOLLOUT, session);
      return true;
    default:
      totals_answer(backend, session);
      return false;
  }
}

/// The usual case, a whole request in one read, is answered with one send.
static bool echo_whole(struct backend *backend, struct session *session, size_t count) {
  if (session->command_bytes != 0 || count < sizeof session->command) return false;
  memcpy(&session->command, scratch, sizeof session->command);
  if (session->command.operation > OPERATION_ONCE) return false;
  session->command_bytes = sizeof session->command;
  return echo_send(backend, session, scratch, count);
}

static bool command_ready(struct backend *backend, struct session *session) {
  ssize_t count = recv(session->watched.descriptor, scratch, sizeof scratch, 0);
  if (count <= 0) return would_block(count);
  if (echo_whole(backend, session, (size_t)count))
    return session->command.operation == OPERATION_ECHO || session->received < session->command.size;
  size_t missing = sizeof session->command - session->command_bytes;
  size_t part = (size_t)count < missing ? (size_t)count : missing;
  memcpy((uint8_t *)&session->command + session->command_bytes, scratch, part);
  session->command_bytes += (uint32_t)part;
  if (session->command_bytes < sizeof session->command) return true;
  if (session->command.magic != COMMAND_MAGIC) return false;
  // What followed is copied aside: the session may fill the scratch buffer itself.
  size_t rest_bytes = (size_t)count - part;
  uint8_t *rest = malloc(rest_bytes + 1);
  if (rest == NULL) fail("backend: out of memory");
  memcpy(rest, scratch + part, rest_bytes);
  bool alive = session_begin(backend, session, rest, rest_bytes);
  free(rest);
  return alive;
}

static bool session_advance(struct backend *backend, struct session *session, uint32_t events) {
  if (session->command_bytes < sizeof session->command) return command_ready(backend, session);
  switch (session->command.operation) {
    case OPERATION_ECHO:
    case OPERATION_ONCE: return echo_ready(backend, session, events);
    case OPERATION_SOURCE: return !(events & (EPOLLERR | EPOLLHUP)) && source_ready(session);
    case OPERATION_SINK: return sink_ready(backend, session);
    case OPERATION_VERIFY: return verify_ready(backend, session, events);
    default: return false;
  }
}

static void session_ready(struct backend *backend, struct watched *watched, uint32_t events) {
  struct session *session = (struct session *)watched;
  if (!session_advance(backend, session, events)) session_close(backend, session);
}

void accept_sessions(struct backend *backend, struct watched *listener, uint32_t events) {
  (void)events;
  for (int turn = 0; turn < 64; turn++) {
    int descriptor = accept4(listener->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return;
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) fail("backend: out of memory");
    session->watched = (struct watched){.ready = session_ready, .descriptor = descriptor};
    session->first_bad = UINT64_MAX;
    watch(backend->epoll, descriptor, EPOLLIN, session);
    backend->totals.connections++;
    backend->totals.open_connections++;
    session_ready(backend, &session->watched, EPOLLIN);
  }
}
