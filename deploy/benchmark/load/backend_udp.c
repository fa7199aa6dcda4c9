// SPDX-License-Identifier: Apache-2.0
// The backend's UDP echo: batches in, the same batches out.
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/uio.h>

#include "backend.h"

#define BATCH 64
#define DATAGRAM_MAX 2048

static uint8_t payload[BATCH][DATAGRAM_MAX];
static struct sockaddr_storage sources[BATCH];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void prepare(void) {
  for (int index = 0; index < BATCH; index++) {
    parts[index] = (struct iovec){.iov_base = payload[index], .iov_len = DATAGRAM_MAX};
    messages[index].msg_hdr = (struct msghdr){.msg_name = &sources[index],
                                              .msg_namelen = sizeof sources[index],
                                              .msg_iov = &parts[index],
                                              .msg_iovlen = 1};
  }
}

static void send_batch(int descriptor, int count) {
  for (int index = 0; index < count; index++) parts[index].iov_len = messages[index].msg_len;
  int sent = 0;
  while (sent < count) {
    int result = sendmmsg(descriptor, messages + sent, (unsigned)(count - sent), 0);
    // A datagram that cannot be sent is lost, as on a network; the client counts it.
    sent += result > 0 ? result : 1;
  }
}

void echo_datagrams(struct backend *backend, struct watched *socket, uint32_t events) {
  (void)backend, (void)events;
  for (int turn = 0; turn < 4; turn++) {
    prepare();
    int count = recvmmsg(socket->descriptor, messages, BATCH, MSG_DONTWAIT, NULL);
    if (count <= 0) return;
    send_batch(socket->descriptor, count);
    if (count < BATCH) return;
  }
}
