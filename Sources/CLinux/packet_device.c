// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "packet_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// Linux 6.2.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#endif
#ifndef TUN_F_USO6
#define TUN_F_USO6 0x40
#endif

_Static_assert(IFNAMSIZ == CL_INTERFACE_NAME, "an interface's name");

enum { DEVICE_FLAGS = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, LARGE_TCP = 1, LARGE_UDP = 2 };

/// Packets that wait until they are read. With 500, Linux's own, 160,000 datagrams a second overflow it whenever the reader's core is
/// another process's for 3 ms, one slice of the scheduler's: of two busy cores a quarter was lost, and with this a twentieth.
enum { QUEUE_LENGTH = 2000 };

/// Closes the descriptor and answers the error that made it useless.
static int give_up(int fd) {
    int error = errno;
    close(fd);
    return -error;
}

static int request_for(const char *name, struct ifreq *request) {
    memset(request, 0, sizeof *request);
    if (strlen(name) >= IFNAMSIZ) return -ENAMETOOLONG;
    memcpy(request->ifr_name, name, strlen(name));
    return 0;
}

int cl_packet_device_open(const char *name) {
    struct ifreq request;
    int status = request_for(name, &request);
    if (status < 0) return status;
    request.ifr_flags = (short)(DEVICE_FLAGS | IFF_TUN_EXCL);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -errno;
    if (ioctl(fd, TUNSETIFF, &request) != 0) return give_up(fd);
    return fd;
}

/// What the kernel lets us have of segmentation offload: all of it, less and less of it, or nothing.
static uint32_t set_offload(int fd) {
    const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)(tcp | TUN_F_USO4 | TUN_F_USO6)) == 0) return LARGE_TCP | LARGE_UDP;
    if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)tcp) == 0) return LARGE_TCP;
    ioctl(fd, TUNSETOFFLOAD, 0UL);
    return 0;
}

int cl_packet_device_adopt(int fd, char name[CL_INTERFACE_NAME], uint32_t *offload) {
    struct ifreq request = {0};
    if (ioctl(fd, TUNGETIFF, &request) != 0) return -errno;
    const int kind = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if ((request.ifr_flags & kind) != DEVICE_FLAGS) return -EBADFD;
    int size = CL_OFFLOAD_HEADER, little_endian = 1, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return -errno;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) != 0 || ioctl(fd, TUNSETVNETLE, &little_endian) != 0) return -errno;
    *offload = set_offload(fd);
    memcpy(name, request.ifr_name, CL_INTERFACE_NAME);
    name[CL_INTERFACE_NAME - 1] = 0;
    return 0;
}

int cl_packet_device_refuse_offload(int fd) { return ioctl(fd, TUNSETOFFLOAD, 0UL) == 0 ? 0 : -errno; }

/// Best effort: where the folder is read-only the system's own value stays.
static void set_option(const char *name, const char *option, const char *value) {
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, option);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t written = write(fd, value, strlen(value));
    (void)written;
    close(fd);
}

static int configure(int fd, const char *name, const uint8_t address[16], uint32_t prefix, uint32_t mtu) {
    struct ifreq request;
    int status = request_for(name, &request);
    if (status < 0) return status;
    request.ifr_mtu = (int)mtu;
    if (ioctl(fd, SIOCSIFMTU, &request) != 0) return -errno;
    // The kernel may lack the memory: then it stays as it is.
    request.ifr_qlen = QUEUE_LENGTH;
    ioctl(fd, SIOCSIFTXQLEN, &request);
    if (ioctl(fd, SIOCGIFINDEX, &request) != 0) return -errno;
    struct in6_ifreq place = {.ifr6_prefixlen = prefix, .ifr6_ifindex = request.ifr_ifindex};
    memcpy(&place.ifr6_addr, address, 16);
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return -errno;
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) return -errno;
    if (ioctl(fd, SIOCSIFADDR, &place) != 0 && errno != EEXIST) return -errno;
    return 0;
}

int cl_packet_device_configure(const char *name, const uint8_t address[16], uint32_t prefix, uint32_t mtu) {
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    // No link-local address, whose routers' and groups' questions nobody answers.
    set_option(name, "disable_ipv6", "0");
    set_option(name, "addr_gen_mode", "1");
    set_option(name, "accept_ra", "0");
    int status = configure(fd, name, address, prefix, mtu);
    close(fd);
    return status;
}

int cl_packet_device_write(int fd, const void *header, const void *packet, uint32_t length) {
    struct iovec parts[2] = {{(void *)header, CL_OFFLOAD_HEADER}, {(void *)packet, length}};
    ssize_t written = writev(fd, parts, 2);
    return written >= 0 ? (int)written : -errno;
}

/// Room for one descriptor beside a message.
union descriptor_control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr header;
};

int cl_pass_descriptor(int socket, int descriptor) {
    char byte = '\n';
    struct iovec part = {&byte, 1};
    union descriptor_control control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int cl_take_descriptor(int socket) {
    char byte;
    struct iovec part = {&byte, 1};
    union descriptor_control control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0) return -errno;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (count == 0) return -ECONNRESET;
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return -ENOMSG;
    if (header->cmsg_len != CMSG_LEN(sizeof(int))) return -ENOMSG;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}
