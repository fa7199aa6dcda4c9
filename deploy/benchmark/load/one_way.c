// SPDX-License-Identifier: Apache-2.0
// UDP one way: a sender that offers so many datagrams a second, and a receiver that counts what comes. Each datagram is one of its
// own, as a program sends it; both ends hand the kernel several in a call, so that the CPU is left to what is measured.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "modes.h"

#define BATCH 32
#define DATAGRAM_MAX 2048
#define BUFFER_BYTES (4 << 20)
#define MARK 0x5944574f454e4f31u
#define GOODBYES 10  // any of them may be lost
#define GOODBYE_EVERY_NS 50000000u
#define BEHIND_MAX_S 0.02  // a sender that is so late does not make up for it
#define PATIENCE_S 30      // of the receiver, with a sender that says nothing

struct datagram {
  uint64_t mark;
  uint64_t sequence;  // from 1 on
  uint64_t total;     // 0, or after the last: how many were sent
};

static uint8_t buffers[BATCH][DATAGRAM_MAX];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void prepare(size_t size) {
  for (int index = 0; index < BATCH; index++) {
    parts[index] = (struct iovec){.iov_base = buffers[index], .iov_len = size};
    messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
  }
}

static void set_option(int descriptor, int option, const void *value, socklen_t size) {
  if (setsockopt(descriptor, SOL_SOCKET, option, value, size) != 0) fail_errno("cannot set an option of the socket");
}

static void sleep_ns(uint64_t time) {
  struct timespec rest = {.tv_sec = (time_t)(time / 1000000000u), .tv_nsec = (long)(time % 1000000000u)};
  nanosleep(&rest, NULL);
}

static uint64_t send_batch(int descriptor, uint64_t sent) {
  for (int index = 0; index < BATCH; index++) {
    struct datagram head = {.mark = MARK, .sequence = sent + (uint64_t)index + 1};
    memcpy(buffers[index], &head, sizeof head);
  }
  int count = sendmmsg(descriptor, messages, BATCH, 0);
  if (count < 0 && errno != ENOBUFS && errno != ECONNREFUSED) fail_errno("cannot send a datagram");
  return count > 0 ? (uint64_t)count : 0;
}

static void say_goodbye(int descriptor, uint64_t sent) {
  struct datagram end = {.mark = MARK, .total = sent};
  for (int count = 0; count < GOODBYES; count++) {
    sleep_ns(GOODBYE_EVERY_NS);
    (void)!send(descriptor, &end, sizeof end, 0);
  }
}

int run_send(const struct options *options) {
  if (options->size < sizeof(struct datagram) || options->size > DATAGRAM_MAX)
    fail("--size: expected %zu to %d bytes", sizeof(struct datagram), DATAGRAM_MAX);
  int descriptor = socket(options->target.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0 || connect(descriptor, (const struct sockaddr *)&options->target.storage, options->target.length) != 0)
    fail_errno("cannot make a UDP socket");
  set_option(descriptor, SO_SNDBUF, &(int){BUFFER_BYTES}, sizeof(int));
  prepare(options->size);
  double rate = (double)options->rate;
  uint64_t began = now_ns(), sent = 0, skipped = 0;
  for (;;) {
    double elapsed = (double)(now_ns() - began) / 1e9;
    if (elapsed >= options->seconds) break;
    double due = elapsed * rate - (double)(sent + skipped);
    if (due > BEHIND_MAX_S * rate + BATCH) skipped += (uint64_t)(due - BEHIND_MAX_S * rate);
    if (due >= BATCH) sent += send_batch(descriptor, sent);
    else sleep_ns((uint64_t)((BATCH - due) / rate * 1e9));
  }
  double seconds = (double)(now_ns() - began) / 1e9;
  say_goodbye(descriptor, sent);
  printf("{\"sent\": %lu, \"seconds\": %.6f, \"per_second\": %.1f}\n", sent, seconds, (double)sent / seconds);
  return 0;
}

struct arrivals {
  uint64_t received, strange, last_sequence;
  uint64_t total;         // as the sender says, 0 before
  uint64_t first, latest;  // when
};

static void take(struct arrivals *arrivals, const struct datagram *head, size_t length, size_t size, uint64_t now) {
  if (head->mark == MARK && head->total != 0 && length == sizeof *head) {
    arrivals->total = head->total;
  } else if (head->mark == MARK && length == size && head->sequence > arrivals->last_sequence) {
    arrivals->last_sequence = head->sequence;
    arrivals->latest = now;
    if (arrivals->received++ == 0) arrivals->first = now;
  } else {
    arrivals->strange++;  // came twice, out of order, or is damaged
  }
}

static void receive_batch(int descriptor, struct arrivals *arrivals, size_t size) {
  prepare(DATAGRAM_MAX);
  int count = recvmmsg(descriptor, messages, BATCH, MSG_WAITFORONE, NULL);
  if (count < 0 && errno == EINTR) return;
  if (count < 0) fail_errno("no datagram came");
  uint64_t now = now_ns();
  for (int index = 0; index < count; index++) {
    struct datagram head = {0};
    if (messages[index].msg_len >= sizeof head) memcpy(&head, buffers[index], sizeof head);
    take(arrivals, &head, messages[index].msg_len, size, now);
  }
}

int run_receive(const struct options *options) {
  int descriptor = socket(options->target.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail_errno("cannot make a UDP socket");
  set_option(descriptor, SO_RCVBUF, &(int){BUFFER_BYTES}, sizeof(int));
  set_option(descriptor, SO_RCVTIMEO, &(struct timeval){.tv_sec = PATIENCE_S}, sizeof(struct timeval));
  if (bind(descriptor, (const struct sockaddr *)&options->target.storage, options->target.length) != 0)
    fail_errno("cannot bind the UDP socket");
  puts("ready");
  fflush(stdout);
  struct arrivals arrivals = {0};
  while (arrivals.total == 0) receive_batch(descriptor, &arrivals, options->size);
  double seconds = (double)(arrivals.latest - arrivals.first) / 1e9;
  printf("{\"received\": %lu, \"strange\": %lu, \"loss\": %.6f, \"seconds\": %.6f, \"per_second\": %.1f}\n", arrivals.received,
         arrivals.strange, 1 - (double)arrivals.received / (double)arrivals.total, seconds,
         seconds > 0 ? (double)arrivals.received / seconds : 0);
  return arrivals.received > 0 ? 0 : 1;
}
