// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

int cl_take_foreign(int fd, int is_v6, int tell) {
    int status = is_v6 ? set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1) : set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
    if (status < 0 || !tell) return status;
    return is_v6 ? set(fd, IPPROTO_IPV6, CL_IPV6_ORIGDSTADDR, 1) : set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
}

/// What comes to it, because it is for this host after all, is dropped: nobody would read it.
static int hear_nothing(int fd) {
    struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = 1, .filter = drop};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

int cl_udp_foreign(const void *from, uint32_t length) {
    bool is_v6 = ((const struct sockaddr *)from)->sa_family == AF_INET6;
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (is_v6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // The port may be one that a program of this host has at every address.
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    int status = cl_take_foreign(fd, is_v6, 0);
    if (status == 0 && (hear_nothing(fd) != 0 || bind(fd, from, length) != 0)) status = -errno;
    if (status == 0) return fd;
    close(fd);
    return status;
}

int cl_udp_send_as(const void *from, const void *to, uint32_t length, const void *bytes, uint32_t count) {
    int fd = cl_udp_foreign(from, length);
    if (fd < 0) return fd;
    int status = sendto(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL, to, length) < 0 ? -errno : 0;
    close(fd);
    return status;
}
