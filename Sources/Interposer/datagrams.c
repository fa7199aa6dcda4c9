// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
// With it <sys/socket.h> has a recvfrom of its own, where ours is to be.
#undef _FORTIFY_SOURCE
#include "interposer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

// The agent has a port for each destination. Which one is asked for once in a while and kept here for the process: not by
// descriptor, so that it is right whatever becomes of those. The thread that finds the cache in use asks the agent.

struct entry {
    struct place to;
    uint16_t target;
    bool is_v6;
    uint32_t until;
};

enum { ENTRIES = 64, KEEPS_SECONDS = 20, FORGETS_SECONDS = 2 };
static struct entry entries[ENTRIES];
static unsigned next_entry;
static atomic_flag is_used = ATOMIC_FLAG_INIT;

static uint32_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (uint32_t)time.tv_sec;
}

static bool same(const struct place *one, const struct place *other) { return memcmp(one, other, sizeof *one) == 0; }

static bool cached_target(const struct place *to, uint16_t *target) {
    bool is_found = false;
    if (atomic_flag_test_and_set_explicit(&is_used, memory_order_acquire)) return false;
    uint32_t time = now();
    for (int index = 0; index < ENTRIES && !is_found; index++) {
        if (entries[index].until <= time || entries[index].to.port == 0 || !same(&entries[index].to, to)) continue;
        *target = entries[index].target;
        is_found = true;
    }
    atomic_flag_clear_explicit(&is_used, memory_order_release);
    return is_found;
}

/// Also what is no port of the agent's is remembered, for a short time, as a place with port 0.
static bool cached_place(uint16_t target, bool is_v6, struct place *to) {
    bool is_found = false;
    if (atomic_flag_test_and_set_explicit(&is_used, memory_order_acquire)) return false;
    uint32_t time = now();
    for (int index = 0; index < ENTRIES && !is_found; index++) {
        if (entries[index].until <= time || entries[index].target != target || entries[index].is_v6 != is_v6) continue;
        *to = entries[index].to;
        is_found = true;
    }
    atomic_flag_clear_explicit(&is_used, memory_order_release);
    return is_found;
}

static void remember(const struct place *to, uint16_t target, bool is_v6, uint32_t seconds) {
    if (atomic_flag_test_and_set_explicit(&is_used, memory_order_acquire)) return;
    struct entry *entry = &entries[next_entry++ % ENTRIES];
    *entry = (struct entry){.to = *to, .target = target, .is_v6 = is_v6, .until = now() + seconds};
    atomic_flag_clear_explicit(&is_used, memory_order_release);
}

static bool is_v6(const struct place *place) {
    union address address;
    loopback_address(AF_INET6, place, 0, &address);
    return !IN6_IS_ADDR_V4MAPPED(&address.v6.sin6_addr);
}

/// The agent's port for a destination, or an errno.
static int find_target(const struct place *local, const struct place *to, uint16_t *target) {
    if (cached_target(to, target)) return 0;
    int error = 0;
    if (!agent_flow(local, to, target, &error)) return ENETUNREACH;
    if (error != 0) return error;
    remember(to, *target, is_v6(to), KEEPS_SECONDS);
    return 0;
}

/// Where a datagram for `to` goes instead. Answers an errno, or 0.
static int lead(int fd, const struct place *to, union address *agent, socklen_t *length) {
    int family;
    struct place local;
    int error = settle(fd, to, &family, &local);
    if (error != 0) return error;
    uint16_t target;
    error = find_target(&local, to, &target);
    if (error != 0) return error;
    *length = loopback_address(family, to, target, agent);
    return 0;
}

int connect_datagram(int fd, const struct place *to) {
    union address agent;
    socklen_t length;
    int error = lead(fd, to, &agent, &length);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return real()->connect(fd, &agent.any, length);
}

// MARK: Sending

/// Whether a message to `address` goes to the agent instead, and where there. Answers 1, 0, or -1 with errno.
static int divert(int fd, const void *address, socklen_t length, union address *agent, socklen_t *agent_length) {
    if (!is_redirected(address, length) && !is_name_server(address, length)) return 0;
    int before = errno;
    if (transport(fd) != SOCK_DGRAM) return 0;
    union address copy = {.v6 = {0}};
    memcpy(&copy, address, length < sizeof copy.v6 ? length : sizeof copy.v6);
    struct place to = place_of(&copy);
    int error = lead(fd, &to, agent, agent_length);
    errno = error != 0 ? error : before;
    return error != 0 ? -1 : 1;
}

INTERPOSED ssize_t sendto(
    int fd, const void *bytes, size_t count, int flags, const struct sockaddr *address, socklen_t length) {
    union address agent;
    socklen_t agent_length;
    // A stream's first bytes with its connect (TCP_FASTOPEN): one after the other.
    if ((flags & MSG_FASTOPEN) && is_redirected(address, length) && transport(fd) == SOCK_STREAM) {
        if (connect(fd, address, length) != 0) return -1;
        return real()->sendto(fd, bytes, count, flags & ~MSG_FASTOPEN, NULL, 0);
    }
    switch (divert(fd, address, length, &agent, &agent_length)) {
    case 0: return real()->sendto(fd, bytes, count, flags, address, length);
    case 1: return real()->sendto(fd, bytes, count, flags, &agent.any, agent_length);
    default: return -1;
    }
}

INTERPOSED ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    union address agent;
    socklen_t agent_length;
    if (!message || !message->msg_name) return real()->sendmsg(fd, message, flags);
    switch (divert(fd, message->msg_name, message->msg_namelen, &agent, &agent_length)) {
    case 0: return real()->sendmsg(fd, message, flags);
    case 1: break;
    default: return -1;
    }
    struct msghdr diverted = *message;
    diverted.msg_name = &agent;
    diverted.msg_namelen = agent_length;
    return real()->sendmsg(fd, &diverted, flags);
}

INTERPOSED int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    unsigned first = 0;
    while (first < count && !is_redirected(messages[first].msg_hdr.msg_name, messages[first].msg_hdr.msg_namelen)) first++;
    if (first == count) return real()->sendmmsg(fd, messages, count, flags);
    // One by one: each may go elsewhere.
    unsigned sent = 0;
    for (; sent < count; sent++) {
        ssize_t length = sendmsg(fd, &messages[sent].msg_hdr, flags);
        if (length < 0) break;
        messages[sent].msg_len = (unsigned)length;
    }
    return sent > 0 ? (int)sent : -1;
}

// MARK: Receiving

/// Writes the destination that a message from one of the agent's ports comes from over the agent's address.
static void restore_source(void *name, socklen_t room, socklen_t *length) {
    union address source;
    if (!is_redirecting() || !name || *length < sizeof source.v4 || *length > sizeof source.v6 || room < *length) return;
    memcpy(&source, name, *length);
    if (source.any.sa_family != AF_INET && source.any.sa_family != AF_INET6) return;
    if (!is_loopback(&source)) return;
    struct place from = place_of(&source), to;
    if (!cached_place(from.port, is_v6(&from), &to)) {
        struct place loopback = from;
        if (!agent_peer(&loopback, from.port, &to)) to = (struct place){.port = 0};
        remember(&to, from.port, is_v6(&from), to.port != 0 ? KEEPS_SECONDS : FORGETS_SECONDS);
    }
    if (to.port == 0) return;
    *length = address_of(&to, source.any.sa_family, &source);
    memcpy(name, &source, *length);
}

INTERPOSED ssize_t recvfrom(
    int fd, void *bytes, size_t count, int flags, struct sockaddr *address, socklen_t *length) {
    socklen_t room = address && length ? *length : 0;
    ssize_t result = real()->recvfrom(fd, bytes, count, flags, address, length);
    if (result >= 0 && address && length) restore_source(address, room, length);
    return result;
}

/// What a program that was built with _FORTIFY_SOURCE calls.
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
extern void __chk_fail(void) __attribute__((noreturn));

INTERPOSED ssize_t __recvfrom_chk(
    int fd, void *bytes, size_t count, size_t room, int flags, struct sockaddr *address, socklen_t *length) {
    if (count > room) __chk_fail();
    return recvfrom(fd, bytes, count, flags, address, length);
}

INTERPOSED ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    socklen_t room = message ? message->msg_namelen : 0;
    ssize_t result = real()->recvmsg(fd, message, flags);
    if (result >= 0 && message->msg_name) restore_source(message->msg_name, room, &message->msg_namelen);
    return result;
}

INTERPOSED int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    // The room for names; the kernel writes their lengths over it. All that matters is whether an address fits.
    int result = real()->recvmmsg(fd, messages, count, flags, timeout);
    for (int index = 0; index < result; index++) {
        struct msghdr *message = &messages[index].msg_hdr;
        if (message->msg_name) restore_source(message->msg_name, message->msg_namelen, &message->msg_namelen);
    }
    return result;
}
