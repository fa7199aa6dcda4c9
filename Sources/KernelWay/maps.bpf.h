// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

extern const volatile struct settings settings;
extern volatile struct state state;

/// What a socket is connected to, as its program has it.
struct peer {
    struct place to;
    /// Its SYN has not left yet.
    __u32 is_new;
    /// The agent's port for it, where it is a UDP socket; otherwise 0.
    __u32 target;
    /// It was made to time out; what its program had for TCP_USER_TIMEOUT comes back with the next connection.
    __u32 is_expired;
    __u32 user_timeout;
};

struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct peer);
} peers SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, RING_BYTES);
} events SEC(".maps");

/// Connections that can't be made because nobody has answered in time: the number of their SYN, by their place.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, MOST_EXPIRED);
    __type(key, struct place);
    __type(value, __u32);
} expired SEC(".maps");

/// Ports of the agent that no destination has yet.
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, MOST_DESTINATIONS);
    __uint(value_size, sizeof(__u32));
} v4_stock SEC(".maps"), v6_stock SEC(".maps");

/// The agent's port for a destination's datagrams.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, MOST_DESTINATIONS);
    __type(key, struct place);
    __type(value, __u32);
} targets SEC(".maps");

/// What one of the agent's ports stands for: its place on loopback is the key.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, MOST_DESTINATIONS);
    __type(key, struct place);
    __type(value, struct destination);
} destinations SEC(".maps");
