// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "places.bpf.h"

#define IPPROTO_TCP 6
#define TCP_USER_TIMEOUT 18

static inline struct place local_place(struct bpf_sock_ops *context, const struct peer *peer) {
    __u32 port = bpf_htons((__u16)context->local_port);
    if (is_v4(&peer->to)) {
        struct place place = place_of_v4(context->local_ip4, port);
        // Or the compiler makes one access to the context of the two, which the kernel does not follow.
        barrier();
        return place;
    }
    return (struct place){
        .ip = {context->local_ip6[0], context->local_ip6[1], context->local_ip6[2], context->local_ip6[3]},
        .port = port,
    };
}

/// Has us see the SYN of a connection that is about to be made. Its number is the kernel's to choose, and is there
/// when the header is written.
static inline void watch(struct bpf_sock_ops *context, struct peer *peer) {
    if (peer->is_expired) {
        int before = (int)peer->user_timeout;
        bpf_setsockopt(context, IPPROTO_TCP, TCP_USER_TIMEOUT, &before, sizeof before);
        peer->is_expired = 0;
    }
    if (peer->is_new) bpf_sock_ops_cb_flags_set(context, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/// The SYN is being written.
static inline void tell(struct bpf_sock_ops *context, struct peer *peer) {
    // From now on only what becomes of it.
    bpf_sock_ops_cb_flags_set(context, BPF_SOCK_OPS_RTO_CB_FLAG);
    if (!peer->is_new) return;
    peer->is_new = 0;
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) return;
    event->kind = CONNECTING;
    event->sequence = context->snd_nxt;
    event->to = peer->to;
    event->local = local_place(context, peer);
    bpf_ringbuf_submit(event, 0);
}

/// A SYN is about to be sent again. No message makes connect(2) fail as timed out, but the kernel itself does, right after
/// this, where its patience has no length.
static inline void expire(struct bpf_sock_ops *context, struct peer *peer) {
    if (context->state != BPF_TCP_SYN_SENT) return;
    struct place local = local_place(context, peer);
    __u32 *sequence = bpf_map_lookup_elem(&expired, &local);
    if (!sequence || *sequence != context->snd_una) return;
    int before = 0, none = 1;
    bpf_getsockopt(context, IPPROTO_TCP, TCP_USER_TIMEOUT, &before, sizeof before);
    peer->user_timeout = (__u32)before;
    peer->is_expired = 1;
    bpf_setsockopt(context, IPPROTO_TCP, TCP_USER_TIMEOUT, &none, sizeof none);
    bpf_map_delete_elem(&expired, &local);
}

/// Of a socket of the group, whichever it is.
static inline int connection_event(struct bpf_sock_ops *context) {
    __u32 what = context->op;
    struct bpf_sock *socket = context->sk;
    if (!socket || (what != BPF_SOCK_OPS_TCP_CONNECT_CB && what != BPF_SOCK_OPS_HDR_OPT_LEN_CB
        && what != BPF_SOCK_OPS_RTO_CB)) return 1;
    struct peer *peer = bpf_sk_storage_get(&peers, socket, 0, 0);
    if (!peer) return 1;
    switch (what) {
    case BPF_SOCK_OPS_TCP_CONNECT_CB: watch(context, peer); break;
    case BPF_SOCK_OPS_HDR_OPT_LEN_CB: tell(context, peer); break;
    default: expire(context, peer);
    }
    return 1;
}
