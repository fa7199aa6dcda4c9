// SPDX-License-Identifier: Apache-2.0
// UDP echo, closed loop: each of `sockets` keeps its share of `window` datagrams on the way. A datagram without an answer for a
// fifth of a second is lost, and another takes its place.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "histogram.h"
#include "modes.h"
#include "window.h"

#define RING 4096  // sequence numbers remembered a socket
#define BATCH 64
#define DATAGRAM_MAX 2048
#define LOST_AFTER_NS 200000000u
#define MARK 0x5544504543484f31u

struct datagram {
  uint64_t mark;
  uint64_t flow;
  uint64_t sequence;
};

struct flow {
  int descriptor;
  uint64_t number;
  uint64_t next;              // sequence number of the next datagram
  uint64_t oldest;            // every sequence number before it is settled
  uint64_t outstanding;
  uint64_t sent_at[RING];     // 0: settled
};

struct run {
  const struct options *options;
  uint64_t share;  // of the window, a flow
  struct window window;
  struct histogram latencies;
  uint64_t sent, received, lost, strange;
};

static uint8_t buffers[BATCH][DATAGRAM_MAX];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void send_some(struct run *run, struct flow *flow) {
  uint64_t room = run->share - flow->outstanding;
  uint64_t ahead = RING - (flow->next - flow->oldest);
  if (room > ahead) room = ahead;
  if (room > BATCH) room = BATCH;
  if (room == 0) return;
  uint64_t now = now_ns();
  for (uint64_t index = 0; index < room; index++) {
    struct datagram head = {.mark = MARK, .flow = flow->number, .sequence = flow->next + index};
    memcpy(buffers[index], &head, sizeof head);
    parts[index] = (struct iovec){.iov_base = buffers[index], .iov_len = run->options->size};
    messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
  }
  int sent = sendmmsg(flow->descriptor, messages, (unsigned)room, MSG_DONTWAIT);
  if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) fail_errno("cannot send a datagram");
  for (int index = 0; index < sent; index++) flow->sent_at[(flow->next + (uint64_t)index) % RING] = now;
  if (sent > 0) {
    flow->next += (uint64_t)sent;
    flow->outstanding += (uint64_t)sent;
    if (window_is_open(&run->window)) run->sent += (uint64_t)sent;
  }
}

static void settle(struct run *run, struct flow *flow, const struct datagram *head, size_t size, uint64_t now) {
  uint64_t *sent_at = &flow->sent_at[head->sequence % RING];
  bool known = head->mark == MARK && head->flow == flow->number && size == run->options->size &&
               head->sequence >= flow->oldest && head->sequence < flow->next && *sent_at != 0;
  if (!known) {
    run->strange++;  // came twice, too late, or is damaged
    return;
  }
  if (window_is_open(&run->window)) {
    run->received++;
    histogram_add(&run->latencies, now - *sent_at);
  }
  *sent_at = 0;
  flow->outstanding--;
}

static void skip_settled(struct flow *flow) {
  while (flow->oldest < flow->next && flow->sent_at[flow->oldest % RING] == 0) flow->oldest++;
}

static void receive_some(struct run *run, struct flow *flow) {
  for (int index = 0; index < BATCH; index++) {
    parts[index] = (struct iovec){.iov_base = buffers[index], .iov_len = DATAGRAM_MAX};
    messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
  }
  int count = recvmmsg(flow->descriptor, messages, BATCH, MSG_DONTWAIT, NULL);
  uint64_t now = now_ns();
  for (int index = 0; index < count; index++) {
    struct datagram head = {0};
    if (messages[index].msg_len >= sizeof head) memcpy(&head, buffers[index], sizeof head);
    settle(run, flow, &head, messages[index].msg_len, now);
  }
  skip_settled(flow);
}

static void give_up_lost(struct run *run, struct flow *flow, uint64_t now) {
  for (uint64_t sequence = flow->oldest; sequence < flow->next; sequence++) {
    uint64_t *sent_at = &flow->sent_at[sequence % RING];
    if (*sent_at == 0) continue;
    if (now - *sent_at < LOST_AFTER_NS) break;
    *sent_at = 0;
    flow->outstanding--;
    if (window_is_open(&run->window)) run->lost++;
  }
  skip_settled(flow);
  send_some(run, flow);
}

static struct flow *open_flows(const struct options *options, int epoll) {
  struct flow *flows = calloc(options->sockets, sizeof *flows);
  if (flows == NULL) fail("out of memory");
  for (uint64_t index = 0; index < options->sockets; index++) {
    int descriptor = socket(options->target.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0 ||
        connect(descriptor, (const struct sockaddr *)&options->target.storage, options->target.length) != 0)
      fail_errno("cannot make a UDP socket");
    flows[index].descriptor = descriptor;
    flows[index].number = index;
    watch(epoll, descriptor, EPOLLIN, &flows[index]);
  }
  return flows;
}

static int report(const struct run *run) {
  double seconds = window_seconds(&run->window);
  uint64_t settled = run->received + run->lost;
  printf("{\"received\": %lu, \"lost\": %lu, \"strange\": %lu, \"loss\": %.6f, \"seconds\": %.6f, "
         "\"per_second\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
         run->received, run->lost, run->strange, settled ? (double)run->lost / (double)settled : 1.0, seconds,
         (double)run->received / seconds, histogram_us(&run->latencies, 0.5), histogram_us(&run->latencies, 0.99));
  return run->received > 0 ? 0 : 1;
}

int run_udp(const struct options *options) {
  if (options->size < sizeof(struct datagram) || options->size > DATAGRAM_MAX)
    fail("--size: expected %zu to %d bytes", sizeof(struct datagram), DATAGRAM_MAX);
  static struct run run;
  int epoll = make_epoll();
  struct flow *flows = open_flows(options, epoll);
  run.options = options;
  run.share = (options->window + options->sockets - 1) / options->sockets;
  run.window = window_plan(options->warm_up, options->seconds);
  for (uint64_t index = 0; index < options->sockets; index++) send_some(&run, &flows[index]);
  uint64_t checked = now_ns();
  struct epoll_event events[64];
  while (run.window.ended == 0) {
    int patience = window_patience(&run.window, now_ns());
    int count = epoll_wait(epoll, events, 64, patience > 20 ? 20 : patience);
    for (int index = 0; index < count; index++) {
      struct flow *flow = events[index].data.ptr;
      receive_some(&run, flow);
      send_some(&run, flow);
    }
    uint64_t now = now_ns();
    if (now - checked > 20000000u) {
      checked = now;
      for (uint64_t index = 0; index < options->sockets; index++) give_up_lost(&run, &flows[index], now);
    }
    window_begins(&run.window, now);
    window_ends(&run.window, now);
  }
  return report(&run);
}
