// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/// Seen from outside; everything else is hidden.
#define INTERPOSED __attribute__((visibility("default")))

/// A sockaddr of one of the families that are led anywhere.
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/// An address and a port as the agent is told of them: IPv4 as ::ffff:0:0/96.
struct place {
    uint8_t ip[16];
    /// As on the wire.
    uint16_t port;
};

/// libc's own, where this library stands in for it.
#define REAL(result, name, parameters) result(*name) parameters
struct real {
    REAL(int, socket, (int, int, int));
    REAL(int, connect, (int, const struct sockaddr *, socklen_t));
    REAL(int, getpeername, (int, struct sockaddr *, socklen_t *));
    REAL(int, getsockopt, (int, int, int, void *, socklen_t *));
    REAL(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t));
    REAL(ssize_t, sendmsg, (int, const struct msghdr *, int));
    REAL(int, sendmmsg, (int, struct mmsghdr *, unsigned, int));
    REAL(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *));
    REAL(ssize_t, recvmsg, (int, struct msghdr *, int));
    REAL(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *));
    REAL(int, getaddrinfo, (const char *, const char *, const void *, void *));
    REAL(void *, gethostbyname, (const char *));
    REAL(void *, gethostbyname2, (const char *, int));
    REAL(int, gethostbyname_r, (const char *, void *, char *, size_t, void *, int *));
    REAL(int, gethostbyname2_r, (const char *, int, void *, char *, size_t, void *, int *));
};

/// libc's functions, found when they are first asked for.
const struct real *real(void);

// MARK: What goes where

/// Whether there is an agent to which this library leads anything.
bool is_redirecting(void);
/// Whether there is one that knows names.
bool is_naming(void);
/// Whether what goes to `address` goes to the agent.
bool is_redirected(const struct sockaddr *address, socklen_t length);
/// Whether datagrams to `address` are questions for names, which the agent answers or asks on: also on this host, but not on
/// a link, whose name the agent does not hear.
bool is_name_server(const struct sockaddr *address, socklen_t length);
/// Whether it is this host's 127.0.0.1 or ::1, where the agent is.
bool is_loopback(const union address *address);

struct place place_of(const union address *address);
/// Writes a place as a socket of `family` has it.
socklen_t address_of(const struct place *place, int family, union address *address);
/// Writes as much of an address as there is room for, as accept(2) and others do.
void give_address(const union address *from, socklen_t length, void *address, socklen_t *room);

/// The agent's port for the connections of a socket of `family` whose way leads to `to`.
socklen_t agent_address(int family, const struct place *to, union address *address);
/// Whether a connection of this host that leads there leads to the agent.
bool is_agent_address(const union address *address);
/// `address` on loopback, with the port.
socklen_t loopback_address(int family, const struct place *like, uint16_t port, union address *address);

/// The suffix of the names of nodes, without the dot before it.
const char *node_suffix(void);
bool has_v6(void);

// MARK: What the agent is told and asked. Each answers false where there is no agent any more.

/// The connection that comes from `local` is for `to`.
bool agent_announce(const struct place *local, const struct place *to);
/// Why the last connection from `local` failed, as an errno; 0 where the agent knows of no failure. It says so once.
int agent_verdict(const struct place *local);
/// What `local` is connected to, with the agent's port for datagrams, where it is a UDP socket, or 0.
bool agent_peer(const struct place *local, uint16_t target, struct place *to);
/// Has the datagrams that come from `local` to a port of the agent's go `to`. Gives an errno in place of a port's 0.
bool agent_flow(const struct place *local, const struct place *to, uint16_t *target, int *error);

enum name_answer { NAME_FOUND, NAME_UNKNOWN, NAME_LATER };
/// The addresses of a node.
enum name_answer agent_name(const char *name, struct in6_addr *v6, struct in_addr *v4);

// MARK: Sockets

/// SOCK_STREAM for TCP, SOCK_DGRAM for UDP, or 0.
int transport(int fd);
/// Where the socket is, once it has a port: gives it one. `to` says on which side of loopback its way leaves.
/// Answers an errno, or 0.
int settle(int fd, const struct place *to, int *family, struct place *local);
/// connect() of a UDP socket.
int connect_datagram(int fd, const struct place *to);
