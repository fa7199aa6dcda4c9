// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "interposer.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return real()->getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

int transport(int fd) {
    int before = errno;
    int type = option(fd, SOL_SOCKET, SO_TYPE);
    int protocol = option(fd, SOL_SOCKET, SO_PROTOCOL);
    errno = before;
    if (type == SOCK_STREAM && protocol == IPPROTO_TCP) return type;
    return type == SOCK_DGRAM && protocol == IPPROTO_UDP ? type : 0;
}

/// The socket's address on this host, with loopback for "any": that is where it goes out to the agent.
static bool local_place(int fd, const struct place *to, int *family, struct place *local) {
    union address address;
    socklen_t length = sizeof address;
    if (getsockname(fd, &address.any, &length) != 0) return false;
    *family = address.any.sa_family;
    if (*family != AF_INET && *family != AF_INET6) return false;
    static const uint8_t nothing[16];
    bool is_any = *family == AF_INET ? address.v4.sin_addr.s_addr == INADDR_ANY
                                     : memcmp(&address.v6.sin6_addr, nothing, 16) == 0;
    *local = place_of(&address);
    if (!is_any) return true;
    uint16_t port = local->port;
    loopback_address(AF_INET6, to ? to : local, port, &address);
    *local = place_of(&address);
    return true;
}

/// Binds, to a port of the kernel's choice at once: what is announced needs one. A socket with IP_BIND_ADDRESS_NO_PORT
/// would have it with its connect only. Answers an errno, or 0.
static int bind_now(int fd, const union address *address, socklen_t length) {
    int late = option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), off = 0;
    if (late > 0) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof off);
    int error = bind(fd, &address->any, length) == 0 ? 0 : errno;
    if (late > 0) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    return error == EADDRINUSE ? EADDRNOTAVAIL : error;
}

/// To any address, as the kernel itself does it, so that the socket may go elsewhere afterwards.
static int bind_anywhere(int fd, int family) {
    union address any = {.v6 = {.sin6_family = (sa_family_t)family}};
    return bind_now(fd, &any, family == AF_INET ? sizeof any.v4 : sizeof any.v6);
}

/// To the address that it has, which may be any.
static int bind_there(int fd) {
    union address address;
    socklen_t length = sizeof address;
    return getsockname(fd, &address.any, &length) == 0 ? bind_now(fd, &address, length) : errno;
}

int settle(int fd, const struct place *to, int *family, struct place *local) {
    if (!local_place(fd, to, family, local)) return EAFNOSUPPORT;
    if (local->port != 0) return 0;
    int error = bind_there(fd);
    if (error != 0) return error;
    return local_place(fd, to, family, local) ? 0 : EAFNOSUPPORT;
}

/// The kernel's word for a connection that the agent did not make, as what it would have been.
static int with_verdict(int error, const struct place *local) {
    if (error != ECONNRESET && error != ECONNREFUSED && error != ECONNABORTED) return error;
    int verdict = agent_verdict(local);
    return verdict != 0 ? verdict : error;
}

static int fail(int error) {
    errno = error;
    return -1;
}

/// Waits in the kernel for the agent, which makes the connection once the way is open.
static int connect_to_agent(int fd, int family, const struct place *to, const struct place *local) {
    union address agent;
    socklen_t length = agent_address(family, to, &agent);
    if (real()->connect(fd, &agent.any, length) == 0) return 0;
    return fail(with_verdict(errno, local));
}

static bool is_closed(int fd) {
    uint8_t state = TCP_CLOSE;
    socklen_t length = sizeof state;
    return real()->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &length) == 0 && state == TCP_CLOSE;
}

/// Gives a socket that is not connected a port of its own. Answers an errno, or 0.
static int prepare_stream(int fd, const union address *agent, socklen_t length, int family, struct place *local,
                          const struct place *to) {
    if (local->port != 0) {
        // Perhaps it has failed, and the program asks for the reason in this way.
        int verdict = agent_verdict(local);
        if (verdict != 0) {
            real()->connect(fd, &agent->any, length);
            return verdict;
        }
        // The kernel takes a port that it had chosen back when a connect fails, and still names it.
        int error = bind_anywhere(fd, family);
        if (error == EINVAL) return 0;
        if (error != 0) return error;
        return local_place(fd, to, &family, local) ? 0 : EAFNOSUPPORT;
    }
    return settle(fd, to, &family, local);
}

static int connect_stream(int fd, const struct place *to) {
    int family;
    struct place local;
    if (!local_place(fd, to, &family, &local)) return fail(EAFNOSUPPORT);
    union address agent;
    socklen_t length = agent_address(family, to, &agent);
    if (place_of(&agent).port == 0) return fail(ENETUNREACH);
    // A socket that is connecting, or connected, is asked how it stands: there is nothing to announce.
    if (is_closed(fd)) {
        int error = prepare_stream(fd, &agent, length, family, &local, to);
        if (error != 0) return fail(error);
        if (!agent_announce(&local, to)) return fail(ENETUNREACH);
    }
    return connect_to_agent(fd, family, to, &local);
}

/// What asks for MPTCP gets TCP, as it would from a peer that has no other: the agent meets a connection half-way, and there
/// the kernel's MPTCP (6.18) neither says that it is connected, nor keeps the first byte.
INTERPOSED int socket(int family, int type, int protocol) {
    bool is_multipath = protocol == IPPROTO_MPTCP && (family == AF_INET || family == AF_INET6);
    return real()->socket(family, type, is_multipath && is_naming() ? IPPROTO_TCP : protocol);
}

INTERPOSED int connect(int fd, const struct sockaddr *address, socklen_t length) {
    bool is_redirected_always = is_redirected(address, length);
    if (!is_redirected_always && !is_name_server(address, length)) return real()->connect(fd, address, length);
    int type = transport(fd);
    // Not made by the function above: to wait for what does not come would be worse.
    if (type == 0 && is_redirected_always && option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP) return fail(ENETUNREACH);
    if (type == 0 || (type == SOCK_STREAM && !is_redirected_always)) return real()->connect(fd, address, length);
    int before = errno;
    union address copy = {.v6 = {0}};
    memcpy(&copy, address, length < sizeof copy.v6 ? length : sizeof copy.v6);
    struct place to = place_of(&copy);
    int result = type == SOCK_STREAM ? connect_stream(fd, &to) : connect_datagram(fd, &to);
    if (result == 0) errno = before;
    return result;
}

INTERPOSED int getpeername(int fd, struct sockaddr *address, socklen_t *room) {
    if (!is_redirecting()) return real()->getpeername(fd, address, room);
    union address peer;
    socklen_t length = sizeof peer;
    if (real()->getpeername(fd, &peer.any, &length) != 0 || !room || !address) {
        return real()->getpeername(fd, address, room);
    }
    int type = is_loopback(&peer) ? transport(fd) : 0;
    struct place local, to;
    int family;
    if ((type == SOCK_DGRAM || (type == SOCK_STREAM && is_agent_address(&peer)))
        && local_place(fd, NULL, &family, &local)
        && agent_peer(&local, type == SOCK_DGRAM ? place_of(&peer).port : 0, &to)) {
        length = address_of(&to, family, &peer);
    }
    give_address(&peer, length, address, room);
    return 0;
}

INTERPOSED int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    int result = real()->getsockopt(fd, level, name, value, length);
    if (level != SOL_SOCKET || name != SO_ERROR || result != 0 || !is_redirecting()) return result;
    int error;
    if (*length < sizeof error) return result;
    memcpy(&error, value, sizeof error);
    struct place local;
    int family;
    if (error != ECONNRESET || transport(fd) != SOCK_STREAM || !local_place(fd, NULL, &family, &local)) return result;
    error = with_verdict(error, &local);
    memcpy(value, &error, sizeof error);
    return result;
}
