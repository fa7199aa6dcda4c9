// SPDX-License-Identifier: Apache-2.0
#pragma once

// What Swift cannot call by itself: control messages, batches of datagrams, and sockets made with all their options in
// one go. Nothing here keeps state. Each function answers a negative errno on failure. An address is a sockaddr_in or
// sockaddr_in6 as raw bytes with its length.

#include "packet_device.h"
#include <malloc.h>
#include <stdint.h>

#include "foreign.h"

/// Bytes that hold any sockaddr that the functions below take or give.
#define CL_ADDRESS_SIZE 28
/// Datagrams that one call sends or receives at most.
#define CL_BATCH 64

/// A listening TCP socket: close-on-exec, non-blocking, SO_REUSEADDR, TCP_NODELAY (which accepted sockets inherit) and,
/// for IPv6, IPV6_V6ONLY.
int cl_tcp_listen(const void *address, uint32_t length, int backlog);

/// A TCP socket that is not connected yet, with TCP_NODELAY. Where `from_length` is not 0 it is bound to `from`; a port
/// of 0 is then chosen by connect(2) (IP_BIND_ADDRESS_NO_PORT), so that a source port serves many destinations.
int cl_tcp_socket(int is_v6, const void *from, uint32_t from_length);

/// Connects such a socket to an address of the loopback interface, where the handshake is over before connect(2) returns.
/// 0; -EINPROGRESS where it is not, because nobody accepts there at present; or why it failed.
int cl_tcp_connect_at_once(int fd, const void *address, uint32_t length);

/// A listening Unix stream socket whose file has `mode` before anyone can connect to it.
int cl_unix_listen(const char *path, uint32_t mode, int backlog);

/// A connected Unix stream socket.
int cl_unix_connect(const char *path);

/// A TCP socket that listens and has no room: what wants to connect waits in the kernel, neither taken nor refused,
/// until cl_tcp_held_socket meets it or cl_tcp_held_refuse ends it.
int cl_tcp_held_listen(const void *address, uint32_t length);

/// A socket at the address of a held listener. Connecting it to somebody who waits there makes the connection (RFC 9293,
/// 3.5, "simultaneous open").
int cl_tcp_held_socket(const void *from, uint32_t length);

/// Has the connect(2) fail of the one at `to` who waits at the held listener at `from`: with a RST, from within the
/// handshake, so that it is never connected. 0; -ECONNREFUSED where nobody waits; -EAGAIN where it is to be done again in a
/// while, with `is_again`.
int cl_tcp_held_refuse(const void *from, const void *to, uint32_t length, int is_again);

/// A Unix datagram socket whose file has `mode` and, where it is not this process's user, `owner`. Each message tells who
/// has sent it.
int cl_unix_datagram(const char *path, uint32_t mode, uint32_t owner);

/// Bytes of a sender's name that are kept: more than the kernel's own choice of one needs.
#define CL_NAME_SIZE 15

/// Who has sent a message, and where an answer goes.
struct cl_sender {
    uint32_t uid;
    int32_t pid;
    uint8_t name_length;
    uint8_t name[CL_NAME_SIZE];
};

/// Receives a message of at most `room` bytes; what is longer is cut. Answers its length.
int cl_unix_receive(int fd, void *bytes, uint32_t room, struct cl_sender *sender);

/// Sends an answer, if it can be sent at once.
int cl_unix_answer(int fd, const void *bytes, uint32_t length, const struct cl_sender *to);

/// The user that a Unix stream socket was connected by, or -errno.
int64_t cl_unix_peer_user(int fd);

/// The user whose UDP socket of this host is at `address`, which has sent something to `peer`, an address of the same
/// family; -ENOENT where there is none.
int64_t cl_udp_user(const void *address, const void *peer);

/// The next connection: close-on-exec and non-blocking. `address` has room for CL_ADDRESS_SIZE bytes.
int cl_accept(int fd, void *address);

/// Writes the last bytes of a direction, from `count` places of memory: what the kernel takes it sends together with the end
/// that is said next (MSG_MORE). How many bytes it has taken, or the error.
int64_t cl_write_last(int fd, const void *vectors, uint32_t count);

/// Says the end in this direction behind everything written so far: SHUT_WR.
int cl_shutdown_write(int fd);

/// From now on close(2) resets the connection: the peer sees an error, and what waits is lost.
int cl_reset_on_close(int fd);

/// A pipe, close-on-exec and non-blocking: ends[0] to read from, ends[1] to write to. It holds `capacity` bytes, or what the
/// system gives.
int cl_pipe(int ends[2], int capacity);

/// Moves up to `count` bytes between a pipe and a socket, without copying them. Bytes moved, 0 at the end, or a negative
/// errno.
int64_t cl_splice(int from, int to, uint32_t count);

/// A UDP socket: with `connect_to` 0 bound to the address, otherwise connected to it. UDP_GRO is on where the kernel has
/// it. With `tell_local` each message says which address it came to (IP_PKTINFO, IPV6_RECVPKTINFO).
int cl_udp_socket(const void *address, uint32_t length, int connect_to, int tell_local);

/// Reads and clears SO_ERROR: 0, or a negative errno.
int cl_take_error(int fd);

int cl_set_no_delay(int fd, int on);
/// Probes after `idle` seconds of silence, 3 of them, each after a third of that; 0 turns them off.
int cl_set_keep_alive(int fd, uint32_t idle);
/// Milliseconds that what was sent may stay unacknowledged (RFC 5482); 0 is the system's default.
int cl_set_user_timeout(int fd, uint32_t milliseconds);
/// Milliseconds since the peer's kernel has last confirmed anything.
int cl_silence(int fd);
/// Whether the kernel has given the connection up, by a RST most often: 1, or 0 while it has not. A FIN is no such end.
int cl_is_disconnected(int fd);
/// Bytes that may wait unsent in the kernel before the socket stops being writable.
int cl_set_not_sent_lowat(int fd, uint32_t bytes);

/// The address on this side that a message came to or goes out from.
struct cl_local {
    /// Bytes of the address: 4 or 16; 0 for none.
    uint32_t length;
    /// The interface's index, with IPv6; 0 for any. Link-local addresses need it.
    uint32_t interface;
    uint8_t address[16];
};

/// One received message: what the kernel has merged (UDP_GRO) is several datagrams of `segment` bytes, the last of them
/// perhaps shorter.
struct cl_incoming {
    uint32_t length;
    uint32_t segment;
    uint8_t address[CL_ADDRESS_SIZE];
    struct cl_local local;
    /// Where it was meant to go, where the socket tells (cl_take_foreign); all zero otherwise.
    uint8_t destination[CL_ADDRESS_SIZE];
};

/// Receives up to `count` messages, message i at `arena + i * slot`. Answers how many.
int cl_receive(int fd, void *arena, uint32_t slot, struct cl_incoming *messages, uint32_t count);

/// One message to send. Where `segment` is less than `length` the kernel cuts it into datagrams of `segment` bytes.
struct cl_outgoing {
    uint32_t offset;
    uint32_t length;
    uint32_t segment;
    uint32_t address_length;
    uint8_t address[CL_ADDRESS_SIZE];
    struct cl_local local;
};

/// Sends messages whose bytes begin at `bytes + offset`. Answers how many the kernel took.
int cl_send(int fd, const void *bytes, const struct cl_outgoing *messages, uint32_t count);

/// Lets go of the pages of the program's and its libraries' code and constants; what is still used comes back from the
/// page cache at its next use. After a start they are mostly what only the start has needed.
void cl_forget_code_pages(void);

// Sessions with other processes: a SOCK_SEQPACKET Unix socket, and memory shared through it.

#include "cl_patience.h"
#include "cl_ring.h"
#include "cl_session.h"

/// A listening SOCK_SEQPACKET Unix socket whose file has `mode` before anyone can connect to it.
int cl_session_listen(const char *path, uint32_t mode, int backlog);

/// A connected one.
int cl_session_connect(const char *path);

/// Who is on the other side of a Unix socket, as of its connect(2).
struct cl_peer {
    int32_t process;
    uint32_t user, group;
};
int cl_peer(int fd, struct cl_peer *peer);
/// The other side's supplementary groups: how many, of which `room` are written at most.
int cl_peer_groups(int fd, uint32_t *groups, uint32_t room);

/// Sends one packet, with the descriptor where it is not negative: 0, or a negative errno. Never blocks, raises no signal.
int cl_session_send(int fd, const void *bytes, uint32_t count, int descriptor);
/// Receives one packet: its bytes; 0 at the end. One that is longer than `room` is -EMSGSIZE. Descriptors in it are closed.
int cl_session_receive(int fd, void *bytes, uint32_t room);

/// Memory for two rings, of a size that nobody can change any more: its descriptor, and where it is mapped.
int cl_rings_create(uint64_t ring_size, void **mapping);
void cl_rings_unmap(void *mapping, uint64_t ring_size);
/// Wakes a writer that waits for room.
void cl_ring_wake_writer(struct cl_ring *ring);

/// How many processors this process may run on; 1 where that can't be told.
int cl_processors(void);
