// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

_Static_assert(sizeof(struct sockaddr_in6) == CL_ADDRESS_SIZE, "an address is a sockaddr_in6 at most");

enum { STREAM_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC };

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

/// Closes the descriptor and answers the error that made it useless.
static int give_up(int fd) {
    int error = errno;
    close(fd);
    return -error;
}

static int family(const void *address) { return ((const struct sockaddr *)address)->sa_family; }

int cl_tcp_listen(const void *address, uint32_t length, int backlog) {
    int fd = socket(family(address), SOCK_STREAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (family(address) == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, address, length) != 0 || listen(fd, backlog) != 0) return give_up(fd);
    return fd;
}

int cl_tcp_socket(int is_v6, const void *from, uint32_t from_length) {
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (from_length == 0) return fd;
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (bind(fd, from, from_length) != 0) return give_up(fd);
    return fd;
}

int cl_tcp_connect_at_once(int fd, const void *address, uint32_t length) {
    if (connect(fd, address, length) == 0) return 0;
    if (errno != EINPROGRESS) return -errno;
    // The answers were waiting for the first call to return; the second one tells what came of them.
    if (connect(fd, address, length) == 0) return 0;
    return errno == EALREADY ? -EINPROGRESS : -errno;
}

/// Fills in the address of a path; answers 0 where the path does not fit.
static socklen_t unix_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0 || length >= sizeof address->sun_path) return 0;
    memcpy(address->sun_path, path, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

int cl_unix_listen(const char *path, uint32_t mode, int backlog) {
    struct sockaddr_un address;
    socklen_t length = unix_address(path, &address);
    if (length == 0) return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    if (bind(fd, (struct sockaddr *)&address, length) != 0) return give_up(fd);
    // Until listen(2) a connection is refused whatever the file's mode is.
    if (chmod(path, mode) != 0 || listen(fd, backlog) != 0) {
        int error = errno;
        unlink(path);
        errno = error;
        return give_up(fd);
    }
    return fd;
}

int cl_unix_connect(const char *path) {
    struct sockaddr_un address;
    socklen_t length = unix_address(path, &address);
    if (length == 0) return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, length) != 0) return give_up(fd);
    return fd;
}

int cl_accept(int fd, void *address) {
    // A Unix peer's name may be longer; it is cut, and nobody reads it.
    socklen_t length = CL_ADDRESS_SIZE;
    int accepted = accept4(fd, address, &length, STREAM_FLAGS);
    return accepted >= 0 ? accepted : -errno;
}

int64_t cl_write_last(int fd, const void *vectors, uint32_t count) {
    // uv_buf_t is laid out as an iovec.
    struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = count};
    ssize_t written;
    do written = sendmsg(fd, &message, MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL);
    while (written < 0 && errno == EINTR);
    if (written >= 0) return written;
    // As libuv has it: no memory for more at present is a socket that is full.
    return errno == ENOBUFS ? -EAGAIN : -errno;
}

int cl_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) == 0 ? 0 : -errno; }

int cl_reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0 ? 0 : -errno;
}

int cl_pipe(int ends[2], int capacity) {
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return -errno;
    // A user who has many pipes gets less, and it does with less.
    fcntl(ends[1], F_SETPIPE_SZ, capacity);
    return 0;
}

int64_t cl_splice(int from, int to, uint32_t count) {
    ssize_t moved = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return moved >= 0 ? moved : -errno;
}

int cl_udp_socket(const void *address, uint32_t length, int connect_to, int tell_local) {
    // The kernel holds it to its own limit (net.core.rmem_max); memory is used only while datagrams wait.
    enum { BUFFER = 1 << 20 };
    int fd = socket(family(address), SOCK_DGRAM | STREAM_FLAGS, 0);
    if (fd < 0) return -errno;
    set(fd, SOL_SOCKET, SO_RCVBUF, BUFFER);
    set(fd, SOL_SOCKET, SO_SNDBUF, BUFFER);
    set(fd, IPPROTO_UDP, UDP_GRO, 1);
    bool is_v6 = family(address) == AF_INET6;
    if (is_v6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (tell_local) set(fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 1);
    if ((connect_to ? connect : bind)(fd, address, length) != 0) return give_up(fd);
    return fd;
}

int cl_take_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    return -error;
}

int cl_set_no_delay(int fd, int on) { return set(fd, IPPROTO_TCP, TCP_NODELAY, on); }

int cl_set_keep_alive(int fd, uint32_t idle) {
    if (idle > 0) {
        int interval = (int)(idle / 3 > 0 ? idle / 3 : 1);
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle);
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    }
    return set(fd, SOL_SOCKET, SO_KEEPALIVE, idle > 0);
}

int cl_set_user_timeout(int fd, uint32_t milliseconds) {
    return set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)milliseconds);
}

int cl_silence(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
    return info.tcpi_last_ack_recv > INT_MAX ? INT_MAX : (int)info.tcpi_last_ack_recv;
}

int cl_is_disconnected(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_CLOSE;
}

int cl_set_not_sent_lowat(int fd, uint32_t bytes) { return set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes); }

/// Room for what goes with a message: the size of its datagrams, and an address of this side.
union control {
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(CL_ADDRESS_SIZE)];
    struct cmsghdr header;
};

/// Notes the address that answers are to come from: the one that the message came to, unless that is a group's.
static void read_local_v4(struct cl_local *local, const void *data) {
    struct in_pktinfo info;
    memcpy(&info, data, sizeof info);
    local->length = sizeof info.ipi_spec_dst;
    local->interface = 0;
    memcpy(local->address, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
}

static void read_local_v6(struct cl_local *local, const void *data) {
    struct in6_pktinfo info;
    memcpy(&info, data, sizeof info);
    if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) return;
    local->length = sizeof info.ipi6_addr;
    local->interface = (uint32_t)info.ipi6_ifindex;
    memcpy(local->address, &info.ipi6_addr, sizeof info.ipi6_addr);
}

/// Reads what came with a message: the size of the datagrams that the kernel has merged into it, and where it came to.
static void read_control(struct cl_incoming *incoming, struct msghdr *message) {
    incoming->segment = 0;
    incoming->local.length = 0;
    memset(incoming->destination, 0, sizeof incoming->destination);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int segment = 0;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            incoming->segment = segment > 0 ? (uint32_t)segment : 0;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            read_local_v4(&incoming->local, CMSG_DATA(c));
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            read_local_v6(&incoming->local, CMSG_DATA(c));
        } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR)
                   || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == CL_IPV6_ORIGDSTADDR)) {
            size_t size = c->cmsg_len - CMSG_LEN(0);
            memcpy(incoming->destination, CMSG_DATA(c), size < CL_ADDRESS_SIZE ? size : CL_ADDRESS_SIZE);
        }
    }
}

int cl_receive(int fd, void *arena, uint32_t slot, struct cl_incoming *messages, uint32_t count) {
    struct mmsghdr headers[CL_BATCH];
    struct iovec vectors[CL_BATCH];
    union control controls[CL_BATCH];
    if (count > CL_BATCH) count = CL_BATCH;
    for (uint32_t i = 0; i < count; i++) {
        vectors[i] = (struct iovec){(char *)arena + (size_t)i * slot, slot};
        headers[i].msg_hdr = (struct msghdr){
            .msg_name = messages[i].address,
            .msg_namelen = CL_ADDRESS_SIZE,
            .msg_iov = &vectors[i],
            .msg_iovlen = 1,
            .msg_control = &controls[i],
            .msg_controllen = sizeof controls[i],
        };
    }
    int received = recvmmsg(fd, headers, count, MSG_DONTWAIT, NULL);
    if (received < 0) return -errno;
    for (int i = 0; i < received; i++) {
        messages[i].length = headers[i].msg_len;
        read_control(&messages[i], &headers[i].msg_hdr);
    }
    return received;
}

/// Adds one control message; there is room for one of each kind.
static void add_control(struct msghdr *message, int level, int type, const void *data, size_t size) {
    struct cmsghdr *c = (struct cmsghdr *)((char *)message->msg_control + message->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), data, size);
    message->msg_controllen += CMSG_SPACE(size);
}

/// Has the message leave from an address of this side.
static void add_local(struct msghdr *message, const struct cl_local *local) {
    if (local->length == sizeof(struct in_addr)) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->address, sizeof info.ipi_spec_dst);
        add_control(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = local->interface};
        memcpy(&info.ipi6_addr, local->address, sizeof info.ipi6_addr);
        add_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

int cl_send(int fd, const void *bytes, const struct cl_outgoing *messages, uint32_t count) {
    struct mmsghdr headers[CL_BATCH];
    struct iovec vectors[CL_BATCH];
    union control controls[CL_BATCH];
    if (count > CL_BATCH) count = CL_BATCH;
    for (uint32_t i = 0; i < count; i++) {
        const struct cl_outgoing *m = &messages[i];
        vectors[i] = (struct iovec){(char *)bytes + m->offset, m->length};
        headers[i].msg_hdr = (struct msghdr){
            .msg_name = m->address_length > 0 ? (void *)m->address : NULL,
            .msg_namelen = m->address_length,
            .msg_iov = &vectors[i],
            .msg_iovlen = 1,
            .msg_control = &controls[i],
        };
        if (m->segment < m->length) {
            // The kernel is to cut it into datagrams of this size.
            uint16_t segment = (uint16_t)m->segment;
            add_control(&headers[i].msg_hdr, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
        }
        if (m->local.length > 0) add_local(&headers[i].msg_hdr, &m->local);
    }
    int sent = sendmmsg(fd, headers, count, MSG_DONTWAIT);
    return sent >= 0 ? sent : -errno;
}
