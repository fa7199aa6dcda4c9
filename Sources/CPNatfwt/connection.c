/* SPDX-License-Identifier: Apache-2.0 */

/* The socket to the agent, and the memory that is shared with it. */

#define _GNU_SOURCE
#include "library.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

static const char *const DEFAULT_PATH = "/run/natfwt/providers.sock";

static HRESULT from_errno(int error) {
    switch (error) {
    case EACCES:
    case EPERM: return E_ACCESSDENIED;
    case ENOENT:
    case ECONNREFUSED:
    case ENOTDIR: return CPNATFWT_E_NO_PLATFORM;
    case EAGAIN: return CPNATFWT_E_TIMEOUT;
    case ENAMETOOLONG:
    case EPROTOTYPE: return CPNATFWT_E_NO_PLATFORM;
    default: return E_OUTOFMEMORY;
    }
}

static HRESULT dial(int *out) {
    const char *path = secure_getenv("CPNATFWT_SOCKET");
    if (path == NULL || *path == 0) path = DEFAULT_PATH;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path) return CPNATFWT_E_NO_PLATFORM;
    memcpy(address.sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return E_OUTOFMEMORY;
    /* A connect waits where the agent's queue is full. */
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int status;
    do status = connect(fd, (struct sockaddr *)&address, sizeof address);
    while (status != 0 && errno == EINTR);
    if (status != 0) {
        HRESULT result = from_errno(errno);
        close(fd);
        return result;
    }
    *out = fd;
    return S_OK;
}

/* Takes the descriptor out of a message; whatever else came with it is closed. */
static int take_descriptor(struct msghdr *message) {
    int taken = -1;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < count; index++) {
            int fd;
            memcpy(&fd, CMSG_DATA(item) + index * sizeof fd, sizeof fd);
            if (taken < 0) taken = fd; else close(fd);
        }
    }
    return taken;
}

/* Waits for the answer to REGISTER. */
static HRESULT receive_answer(int socket, struct cl_session_header *header, struct cl_session_registered *body, int *memory) {
    struct pollfd waiting = {.fd = socket, .events = POLLIN};
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int left = PATIENCE_MS;;) {
        int status = poll(&waiting, 1, left);
        if (status > 0) break;
        if (status == 0) return CPNATFWT_E_TIMEOUT;
        if (errno != EINTR) return E_OUTOFMEMORY;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = PATIENCE_MS - (int)((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000);
        if (left <= 0) return CPNATFWT_E_TIMEOUT;
    }
    struct {
        struct cl_session_header header;
        struct cl_session_registered body;
    } bytes;
    memset(&bytes, 0, sizeof bytes);
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec place = {.iov_base = &bytes, .iov_len = sizeof bytes};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0) return CPNATFWT_E_NO_PLATFORM;
    *memory = take_descriptor(&message);
    /* The agent closes without a word where it has no room for one more. */
    if (count == 0) return CPNATFWT_E_NO_PLATFORM;
    if ((size_t)count < sizeof bytes.header || bytes.header.type != CL_SESSION_REGISTERED || bytes.header.size != count) return E_FAIL;
    *header = bytes.header;
    if (FAILED((HRESULT)bytes.header.value)) return (HRESULT)bytes.header.value;
    if ((size_t)count != sizeof bytes || *memory < 0) return E_FAIL;
    *body = bytes.body;
    return S_OK;
}

static HRESULT map(struct instance *instance, int memory, uint32_t ring_size, uint32_t features) {
    if (ring_size < 2 * CL_RECORD_LARGEST || ring_size > 1u << 28 || (ring_size & (ring_size - 1)) != 0) return E_FAIL;
    size_t size = CL_RINGS_DATA + 2 * (size_t)ring_size;
    struct stat status;
    if (fstat(memory, &status) != 0 || (uint64_t)status.st_size < size) return E_FAIL;
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (mapping == MAP_FAILED) return E_OUTOFMEMORY;
    madvise(mapping, size, MADV_DONTFORK);
    instance->mapping = mapping;
    instance->ring_size = ring_size;
    instance->in = cl_ring_view(mapping, ring_size, 0);
    instance->out = cl_ring_view(mapping, ring_size, 1);
    instance->refers = (features & CL_FEATURE_REFERENCES) != 0;
    return S_OK;
}

/* Connects, asks for the registration with `request`, and takes over what the agent gives. After a failure all is as before. */
HRESULT connection_open(struct instance *instance, const void *request, size_t size, IF_LUID *luid) {
    int fd = -1, memory = -1;
    HRESULT result = dial(&fd);
    if (FAILED(result)) return result;
    struct cl_session_header header;
    struct cl_session_registered body;
    ssize_t sent;
    do sent = send(fd, request, size, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    /* An agent that refuses at once has perhaps closed already; what it said is there to be read. */
    result = receive_answer(fd, &header, &body, &memory);
    if (result == CPNATFWT_E_NO_PLATFORM && sent < 0 && errno == EAGAIN) result = CPNATFWT_E_TIMEOUT;
    if (SUCCEEDED(result)) result = map(instance, memory, body.ring_size, body.features);
    if (memory >= 0) close(memory);
    int wake = -1;
    if (SUCCEEDED(result) && (wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) result = E_OUTOFMEMORY;
    if (FAILED(result)) {
        close(fd);
        if (instance->mapping != NULL) munmap(instance->mapping, CL_RINGS_DATA + 2 * instance->ring_size);
        instance->mapping = NULL;
        return result;
    }
    instance->socket = fd;
    instance->wake = wake;
    if (luid != NULL) luid->Value = header.number;
    return S_OK;
}

/* Not while a thread may use them: when the session's thread has ended, or never began. */
void connection_close(struct instance *instance) {
    if (instance->socket >= 0) close(instance->socket);
    if (instance->wake >= 0) close(instance->wake);
    instance->socket = instance->wake = -1;
}

/* Sends a message; false where the agent is gone. */
bool connection_send(
    struct instance *instance, uint16_t type, uint32_t value, uint64_t number, const void *body, size_t size) {
    struct cl_session_header header = {
        .type = type, .size = (uint16_t)(sizeof header + size), .value = value, .number = number};
    struct iovec places[2] = {{&header, sizeof header}, {(void *)(uintptr_t)body, size}};
    struct msghdr message = {.msg_iov = places, .msg_iovlen = size > 0 ? 2 : 1};
    ssize_t sent;
    do sent = sendmsg(instance->socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

/* There is something in the ring for an agent that sleeps. Where its socket is full it will look anyway. */
void connection_ring_bell(struct instance *instance) {
    struct cl_session_header bell = {.type = CL_SESSION_BELL, .size = sizeof bell};
    send(instance->socket, &bell, sizeof bell, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Has the session's thread look around. */
void connection_wake(struct instance *instance) {
    uint64_t one = 1;
    ssize_t written = write(instance->wake, &one, sizeof one);
    (void)written;
}
