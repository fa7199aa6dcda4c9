// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { STREAM_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC };
/// TCP_ESTABLISHED, as TCP_INFO tells it.
enum { ESTABLISHED = 1 };

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

static int give_up(int fd) {
    int error = errno;
    close(fd);
    return -error;
}

/// Has the kernel drop what comes to the socket, without a word to who sent it: for packets that have come over no router
/// but did not set out with the longest life either. (A filter would do it for all, but takes CAP_NET_ADMIN on TCP in
/// newer kernels.)
static int hear_nothing(int fd, bool is_v6) {
    return is_v6 ? set(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 255) : set(fd, IPPROTO_IP, IP_MINTTL, 255);
}

static bool is_established(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == ESTABLISHED;
}

/// Takes the one place that a backlog of 0 has, by a connection that is gone at once and stays there for ever: from then
/// on the kernel drops every SYN. Somebody else who was faster is sent away.
static int fill_backlog(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return -errno;
    for (int tries = 0; tries < 100; tries++) {
        int filler = socket(address.ss_family, SOCK_STREAM | STREAM_FLAGS, 0);
        if (filler < 0) return -errno;
        struct linger at_once = {.l_onoff = 1};
        setsockopt(filler, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        int error = connect(filler, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS ? 0 : -errno;
        bool is_there = is_established(filler);
        close(filler);
        if (error != 0 || is_there) return error;
        int other = accept4(fd, NULL, NULL, STREAM_FLAGS);
        if (other >= 0) close(other);
    }
    return -EADDRINUSE;
}

int cl_tcp_held_socket(const void *from, uint32_t length) {
    bool is_v6 = ((const struct sockaddr *)from)->sa_family == AF_INET6;
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (is_v6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Many sockets at one address, all of this user.
    if (set(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0 || bind(fd, from, length) != 0) return give_up(fd);
    return fd;
}

int cl_tcp_held_listen(const void *address, uint32_t length) {
    int fd = cl_tcp_held_socket(address, length);
    if (fd < 0) return fd;
    if (listen(fd, 0) != 0) return give_up(fd);
    int status = fill_backlog(fd);
    if (status == 0) return fd;
    close(fd);
    return status;
}

/// Whether anything has come to the socket, or a negative errno that has.
static int heard(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    if (error != 0) return -error;
    struct tcp_info info = {0};
    length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
    return info.tcpi_segs_in > 0;
}

/// Sends one SYN from a socket that is gone afterwards; what comes back on loopback has come by then. As heard().
static int send_syn(const void *from, const void *to, uint32_t length, bool is_deaf) {
    int fd = cl_tcp_held_socket(from, length);
    if (fd < 0) return fd;
    bool is_v6 = ((const struct sockaddr *)from)->sa_family == AF_INET6;
    int answer = is_deaf ? hear_nothing(fd, is_v6) : 0;
    if (answer == 0) answer = connect(fd, to, length) == 0 || errno == EINPROGRESS ? heard(fd) : -errno;
    close(fd);
    return answer;
}

int cl_tcp_held_refuse(const void *from, const void *to, uint32_t length, int is_again) {
    // A first SYN takes the waiting socket out of SYN-SENT; its answer is not heard, and the socket that sent it goes.
    if (!is_again) {
        int status = send_syn(from, to, length, true);
        if (status < 0) return status;
    }
    // A second one has another sequence number: it is answered with what the first would have been told (RFC 5961, 4),
    // and to that the kernel's answer is a RST (RFC 9293, 3.10.7.3). A socket says so twice a second at most.
    int answer = send_syn(from, to, length, false);
    return answer < 0 ? answer : answer > 0 ? 0 : -EAGAIN;
}

int cl_unix_datagram(const char *path, uint32_t mode, uint32_t owner) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    if (set(fd, SOL_SOCKET, SO_PASSCRED, 1) != 0) return give_up(fd);
    if (bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1)) != 0) {
        return give_up(fd);
    }
    // Root may send whatever the mode is. Where the file can't be given away everyone may: what says who sends is the
    // kernel's word in each message.
    if (owner != geteuid() && owner != 0 && chown(path, owner, (gid_t)-1) != 0) mode |= 0666;
    if (chmod(path, mode) != 0) {
        int error = errno;
        unlink(path);
        errno = error;
        return give_up(fd);
    }
    return fd;
}

int cl_unix_receive(int fd, void *bytes, uint32_t room, struct cl_sender *sender) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct sockaddr_un name;
    struct iovec vector = {.iov_base = bytes, .iov_len = room};
    struct msghdr message = {
        .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &vector, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof control,
    };
    ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (length < 0) return -errno;
    *sender = (struct cl_sender){.uid = UINT32_MAX};
    size_t named = message.msg_namelen > offsetof(struct sockaddr_un, sun_path)
        ? message.msg_namelen - offsetof(struct sockaddr_un, sun_path) : 0;
    if (named <= CL_NAME_SIZE) {
        sender->name_length = (uint8_t)named;
        memcpy(sender->name, name.sun_path, named);
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
        struct ucred who;
        memcpy(&who, CMSG_DATA(header), sizeof who);
        sender->uid = who.uid;
        sender->pid = who.pid;
    }
    return (int)length;
}

int cl_unix_answer(int fd, const void *bytes, uint32_t length, const struct cl_sender *to) {
    if (to->name_length == 0) return -EDESTADDRREQ;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, to->name, to->name_length);
    socklen_t named = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + to->name_length);
    ssize_t sent = sendto(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&name, named);
    return sent < 0 ? -errno : 0;
}

int64_t cl_unix_peer_user(int fd) {
    struct ucred who;
    socklen_t length = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return -errno;
    return who.uid;
}

/// Asks the kernel about one socket: it finds the one that a datagram from `from` to `to` comes to.
static int64_t ask_for_user(int fd, const struct sockaddr *to, const struct sockaddr *from) {
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 question;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .question = {.sdiag_family = (uint8_t)to->sa_family, .sdiag_protocol = IPPROTO_UDP, .idiag_states = ~0u},
    };
    struct inet_diag_sockid *id = &request.question.id;
    id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    // The question's source is the datagram's.
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *here = (const void *)to, *there = (const void *)from;
        id->idiag_dst[0] = here->sin_addr.s_addr;
        id->idiag_src[0] = there->sin_addr.s_addr;
        id->idiag_dport = here->sin_port;
        id->idiag_sport = there->sin_port;
    } else {
        const struct sockaddr_in6 *here = (const void *)to, *there = (const void *)from;
        memcpy(id->idiag_dst, &here->sin6_addr, 16);
        memcpy(id->idiag_src, &there->sin6_addr, 16);
        id->idiag_dport = here->sin6_port;
        id->idiag_sport = there->sin6_port;
    }
    if (send(fd, &request, sizeof request, 0) < 0) return -errno;
    _Alignas(struct nlmsghdr) char answer[2048];
    ssize_t length = recv(fd, answer, sizeof answer, 0);
    if (length < 0) return -errno;
    const struct nlmsghdr *header = (const void *)answer;
    if (!NLMSG_OK(header, (size_t)length)) return -EBADMSG;
    if (header->nlmsg_type == NLMSG_ERROR && header->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
        return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
    }
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
        return -EBADMSG;
    }
    return ((const struct inet_diag_msg *)NLMSG_DATA(header))->idiag_uid;
}

/// The user in a table's line for the port, or -ENOENT. Two users can't have one port of one address, and who has it of
/// one address only is told of first.
static int64_t user_in(const char *table, uint16_t port) {
    FILE *file = fopen(table, "re");
    if (!file) return -errno;
    int64_t answer = -ENOENT;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        unsigned found, user;
        // sl local:port remote:port st tx:rx tr:when retransmits uid
        int fields = sscanf(line, "%*d: %*[0-9A-F]:%x %*s %*x %*s %*s %*x %u", &found, &user);
        if (fields != 2 || found != port) continue;
        if (answer >= 0 && answer != user) {
            answer = -EADDRINUSE;
            break;
        }
        answer = user;
    }
    fclose(file);
    return answer;
}

int64_t cl_udp_user(const void *address, const void *peer) {
    const struct sockaddr *to = address, *from = peer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int64_t answer = fd < 0 ? -errno : ask_for_user(fd, to, from);
    if (fd >= 0) close(fd);
    if (answer >= 0 || answer == -ENOENT) return answer;
    // A kernel without that, or one that does not let us ask. Of /proc a unit may see processes only.
    bool is_v6 = to->sa_family == AF_INET6;
    uint16_t port = ntohs(is_v6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                : ((const struct sockaddr_in *)address)->sin_port);
    answer = is_v6 ? -ENOENT : user_in("/proc/self/net/udp", port);
    // A socket of both families is in the other table.
    return answer == -ENOENT ? user_in("/proc/self/net/udp6", port) : answer;
}
