// SPDX-License-Identifier: Apache-2.0
// A program that is linked statically: what it does with sockets no library sees. It says nothing where all is as on a real
// network.
//
//     plain ADDRESS ECHO-PORT CLOSED-PORT

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static void check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static union address place(const char *text, int port, socklen_t *length) {
    union address address = {.v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
    *length = sizeof address.v4;
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) return address;
    address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    *length = sizeof address.v6;
    check(inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1, "address");
    return address;
}

static void connections(union address *echo, union address *closed, socklen_t length) {
    int end = socket(echo->any.sa_family, SOCK_STREAM, 0);
    check(connect(end, &echo->any, length) == 0, "connect");
    union address peer = {.v6 = {0}};
    socklen_t room = sizeof peer;
    check(getpeername(end, &peer.any, &room) == 0 && memcmp(&peer, echo, length) == 0, "getpeername");
    char answer[8] = {0};
    check(write(end, "payload", 7) == 7 && shutdown(end, SHUT_WR) == 0, "write");
    check(recv(end, answer, 7, MSG_WAITALL) == 7 && memcmp(answer, "payload", 7) == 0, "read");
    check(read(end, answer, 1) == 0, "end");
    close(end);
    end = socket(echo->any.sa_family, SOCK_STREAM, 0);
    check(connect(end, &closed->any, length) != 0 && errno == ECONNREFUSED, "refused");
    close(end);
    // Not waiting for it.
    end = socket(echo->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(connect(end, &closed->any, length) != 0 && errno == EINPROGRESS, "in progress");
    struct pollfd event = {.fd = end, .events = POLLOUT};
    int error = 0;
    room = sizeof error;
    check(poll(&event, 1, 10000) == 1 && getsockopt(end, SOL_SOCKET, SO_ERROR, &error, &room) == 0, "poll");
    check(error == ECONNREFUSED, "SO_ERROR");
    close(end);
}

static void datagrams(union address *echo, socklen_t length) {
    struct timeval patience = {.tv_sec = 10};
    for (int connected = 0; connected < 2; connected++) {
        int end = socket(echo->any.sa_family, SOCK_DGRAM, 0);
        setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connected) {
            check(connect(end, &echo->any, length) == 0 && send(end, "d", 1, 0) == 1, "send");
        } else {
            check(sendto(end, "d", 1, 0, &echo->any, length) == 1, "sendto");
        }
        union address source = {.v6 = {0}};
        socklen_t room = sizeof source;
        char answer[2];
        check(recvfrom(end, answer, 2, 0, &source.any, &room) == 1 && answer[0] == 'd', "recvfrom");
        check(memcmp(&source, echo, length) == 0, "its source");
        close(end);
    }
}

/// connect(2) through a ring (io_uring(7)), where the kernel has that: as a system call, but made by no libc.
static void ring(union address *echo, union address *closed, socklen_t length) {
    struct io_uring_params parameters = {.flags = 0};
    int fd = (int)syscall(SYS_io_uring_setup, 1, &parameters);
    if (fd < 0) return;
    size_t size = parameters.sq_off.array + sizeof(unsigned), answers = parameters.cq_off.cqes + 2 * sizeof(struct io_uring_cqe);
    char *queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    char *results = mmap(NULL, answers, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
    check(queue != MAP_FAILED && results != MAP_FAILED && entry != MAP_FAILED, "ring");
    for (unsigned index = 0; index < 2; index++) {
        int end = socket(echo->any.sa_family, SOCK_STREAM, 0);
        union address *to = index == 0 ? echo : closed;
        *entry = (struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = end, .addr = (uint64_t)(uintptr_t)to, .off = length};
        *(unsigned *)(void *)(queue + parameters.sq_off.array) = 0;
        __atomic_store_n((unsigned *)(void *)(queue + parameters.sq_off.tail), index + 1, __ATOMIC_RELEASE);
        check(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "ring entered");
        unsigned head = __atomic_load_n((unsigned *)(void *)(results + parameters.cq_off.head), __ATOMIC_ACQUIRE);
        struct io_uring_cqe *result = (void *)(results + parameters.cq_off.cqes);
        unsigned mask = *(unsigned *)(void *)(results + parameters.cq_off.ring_mask);
        errno = -result[head & mask].res;
        check(errno == (index == 0 ? 0 : ECONNREFUSED), "connected through a ring");
        __atomic_store_n((unsigned *)(void *)(results + parameters.cq_off.head), head + 1, __ATOMIC_RELEASE);
        close(end);
    }
    close(fd);
}

int main(int count, char **words) {
    if (count != 4) return 64;
    socklen_t length;
    union address echo = place(words[1], atoi(words[2]), &length), closed = place(words[1], atoi(words[3]), &length);
    connections(&echo, &closed, length);
    datagrams(&echo, length);
    ring(&echo, &closed, length);
    return 0;
}
