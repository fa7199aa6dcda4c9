// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "packet_device.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
};

static struct question question_for(const struct cl_socket_name *name) {
    struct question question;
    memset(&question, 0, sizeof question);
    question.header.nlmsg_len = sizeof question;
    question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    question.request.sdiag_family = AF_INET6;
    question.request.sdiag_protocol = name->protocol;
    question.request.idiag_states = ~0U;
    struct inet_diag_sockid *id = &question.request.id;
    // What a packet to a UDP socket would say: for UDP the kernel takes them the other way round.
    int is_swapped = name->protocol == IPPROTO_UDP;
    memcpy(is_swapped ? id->idiag_dst : id->idiag_src, name->local, 16);
    memcpy(is_swapped ? id->idiag_src : id->idiag_dst, name->remote, 16);
    id->idiag_sport = htons(is_swapped ? name->remote_port : name->local_port);
    id->idiag_dport = htons(is_swapped ? name->local_port : name->remote_port);
    id->idiag_if = (uint32_t)name->interface;
    id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return question;
}

int cl_socket_owner(const struct cl_socket_name *name, uint32_t *user) {
    struct question question = question_for(name);
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0) return -errno;
    // The kernel answers within send(2): nothing is waited for.
    ssize_t count = send(fd, &question, sizeof question, 0);
    if (count >= 0) count = recv(fd, &answer, sizeof answer, MSG_DONTWAIT);
    int status = count < 0 ? -errno : -ENOENT;
    close(fd);
    if (count < (ssize_t)NLMSG_LENGTH(sizeof(struct inet_diag_msg))) return status;
    if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return status;
    const struct inet_diag_msg *socket = NLMSG_DATA(&answer.header);
    *user = socket->idiag_uid;
    return 0;
}
