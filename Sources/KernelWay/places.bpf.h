// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "maps.bpf.h"

// What goes where: as Sources/Interposer/places.c has it.

static inline struct place place_of_v4(__u32 ip, __u32 port) {
    return (struct place){.ip = {0, 0, bpf_htonl(0xffff), ip}, .port = port};
}

static inline bool is_v4(const struct place *place) {
    return place->ip[0] == 0 && place->ip[1] == 0 && place->ip[2] == bpf_htonl(0xffff);
}

/// 127.0.0.1 or ::1, whichever `like` is nearer to, with a port.
static inline struct place loopback(const struct place *like, __u32 port) {
    if (is_v4(like)) return place_of_v4(bpf_htonl(0x7f000001), port);
    return (struct place){.ip = {0, 0, 0, bpf_htonl(1)}, .port = port};
}

static inline bool is_node(const struct place *place) {
    // 198.18.0.0/15
    if (is_v4(place)) return (bpf_ntohl(place->ip[3]) & 0xfffe0000) == 0xc6120000;
    // ORCHIDv2, 2001:20::/28 (RFC 7343)
    return (bpf_ntohl(place->ip[0]) & 0xfffffff0) == 0x20010020;
}

/// What stays on this host or its network, whatever else goes to the agent.
static inline bool is_local(const struct place *place) {
    if (is_v4(place)) {
        __u32 ip = bpf_ntohl(place->ip[3]);
        return ip >> 24 == 0 || ip >> 24 == 127 || ip >> 16 == 0xa9fe || ip >> 24 >= 224;
    }
    __u32 first = bpf_ntohl(place->ip[0]);
    bool is_low = place->ip[0] == 0 && place->ip[1] == 0 && place->ip[2] == 0;
    // ::, ::1; fe80::/10; ff00::/8
    return is_low || first >> 22 == 0xfe80 >> 6 || first >> 24 == 0xff;
}

static inline bool is_redirected(const struct place *to) {
    return is_node(to) || (settings.egress && !is_local(to));
}

/// Whether what comes there is a question for names, which the agent answers or asks on: also on this host, but not on a link,
/// whose name the agent does not hear.
static inline bool is_name_server(const struct place *to) {
    if (to->port != bpf_htons(53)) return false;
    if (is_v4(to)) return !is_local(to) || bpf_ntohl(to->ip[3]) >> 24 == 127;
    bool is_own = to->ip[0] == 0 && to->ip[1] == 0 && to->ip[2] == 0 && to->ip[3] == bpf_htonl(1);
    return is_own || !is_local(to);
}
