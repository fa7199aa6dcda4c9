// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the programs in the kernel and the process that loads them have in common. Addresses and ports are as on the wire,
// IPv4 as ::ffff:0:0/96.

#include <linux/types.h>

struct place {
    __u32 ip[4];
    __u32 port;
};

/// What does not change while the programs run.
struct settings {
    /// The network in which the agent's ports are: a process that is in another one is left alone.
    __u64 network;
    __u32 user;
    __u32 egress;
    /// The agent's ports for connections, on 127.0.0.1 and ::1; 0 where it has none.
    __u32 v4_port;
    __u32 v6_port;
};

/// What does.
struct state {
    /// There is no agent any more: what would go to it goes nowhere.
    __u32 is_over;
};

enum { CONNECTING = 1, NEW_DESTINATION = 2, UNUSED_DESTINATION = 3 };

/// What the process is told of.
struct event {
    /// CONNECTING: a SYN with the sequence number `sequence` is about to leave from `local`, for `to`.
    /// NEW_DESTINATION: what comes to the agent's port `target` is for `to`.
    /// UNUSED_DESTINATION: no socket is connected to it any more.
    __u32 kind;
    union {
        __u32 sequence;
        __u32 target;
    };
    struct place local;
    struct place to;
};

/// What one of the agent's ports for datagrams stands for.
struct destination {
    struct place place;
    /// Sockets that are connected to it.
    __u32 connected;
    /// Datagrams have been sent there by sockets that are not: nobody can tell when that is over.
    __u32 is_sent_to;
};

enum { STOCKED_PORTS = 64, MOST_DESTINATIONS = 1024, MOST_EXPIRED = 4096, RING_BYTES = 1 << 20 };
