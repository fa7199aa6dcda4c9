// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { FLAGS = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC };

/// Closes the descriptor and answers the error that made it useless.
static int give_up(int fd) {
    int error = errno;
    close(fd);
    return -error;
}

/// A socket, and the address of a path for it.
static int make_socket(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0 || length >= sizeof address->sun_path) return -ENAMETOOLONG;
    memcpy(address->sun_path, path, length);
    int fd = socket(AF_UNIX, FLAGS, 0);
    return fd >= 0 ? fd : -errno;
}

int cl_session_listen(const char *path, uint32_t mode, int backlog) {
    struct sockaddr_un address;
    int fd = make_socket(path, &address);
    if (fd < 0) return fd;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) return give_up(fd);
    if (chmod(path, mode) == 0 && listen(fd, backlog) == 0) return fd;
    int error = errno;
    unlink(path);
    errno = error;
    return give_up(fd);
}

int cl_session_connect(const char *path) {
    struct sockaddr_un address;
    int fd = make_socket(path, &address);
    if (fd < 0) return fd;
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : give_up(fd);
}

int cl_peer(int fd, struct cl_peer *peer) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -errno;
    *peer = (struct cl_peer){credentials.pid, credentials.uid, credentials.gid};
    return 0;
}

int cl_peer_groups(int fd, uint32_t *groups, uint32_t room) {
#ifdef SO_PEERGROUPS
    socklen_t length = room * (socklen_t)sizeof *groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0) return -errno;
    return (int)(length / sizeof *groups);
#else
    (void)fd, (void)groups, (void)room;
    return 0;
#endif
}

int cl_session_send(int fd, const void *bytes, uint32_t count, int descriptor) {
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec place = {(void *)(uintptr_t)bytes, count};
    struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(item), &descriptor, sizeof descriptor);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : -errno;
}

int cl_session_receive(int fd, void *bytes, uint32_t room) {
    // Without room for control messages the kernel closes the descriptors that come along.
    ssize_t count = recv(fd, bytes, room, MSG_DONTWAIT | MSG_TRUNC);
    // A peer that closes with something unread resets the connection. That is told once, and before what it said last.
    if (count < 0 && errno == ECONNRESET) count = recv(fd, bytes, room, MSG_DONTWAIT | MSG_TRUNC);
    if (count < 0) return -errno;
    return count <= (ssize_t)room ? (int)count : -EMSGSIZE;
}

int cl_rings_create(uint64_t ring_size, void **mapping) {
    uint64_t size = CL_RINGS_DATA + 2 * ring_size;
    int fd = memfd_create("natfwt-provider", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    // A memory that its other user could cut short would end this process with SIGBUS.
    if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return give_up(fd);
    *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return *mapping != MAP_FAILED ? fd : give_up(fd);
}

void cl_rings_unmap(void *mapping, uint64_t ring_size) { munmap(mapping, CL_RINGS_DATA + 2 * ring_size); }

void cl_ring_wake_writer(struct cl_ring *ring) {
    syscall(SYS_futex, &ring->control->tail, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int cl_processors(void) {
    cpu_set_t processors;
    return sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
}
