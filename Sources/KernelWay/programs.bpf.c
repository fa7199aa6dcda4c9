// SPDX-License-Identifier: Apache-2.0
// What the kernel does with the sockets of a command: they are pointed at the agent's ports on loopback, and whoever asks
// hears of the place that the program has named.
//
//     connect ──▶ connect4/6: the destination is kept with the socket, the agent's port put in its stead
//                     └─ TCP: on_socket: the SYN is written: the process is told, and tells the agent
//     sendto  ──▶ sendmsg4/6: each destination has a port of the agent's
//     recvfrom ◀─ recvmsg4/6, getpeername ◀─ getpeername4/6: the place that is meant

#include "connections.bpf.h"
#include "datagrams.bpf.h"

#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define EPROTONOSUPPORT 93
#define ENOBUFS 105
#define ENETUNREACH 101

const volatile struct settings settings;
volatile struct state state;

enum { REFUSED = 0, LET_THROUGH = 1 };

static inline int refuse(int error) {
    bpf_set_retval(-error);
    return REFUSED;
}

/// Sockets of other users (a program with more rights than its caller's) and in other networks stay as they are.
static inline bool is_ours(void *context) {
    return (__u32)bpf_get_current_uid_gid() == settings.user && bpf_get_netns_cookie(context) == settings.network;
}

// MARK: Where a socket goes

static inline struct peer *peer_of(struct bpf_sock_addr *context) {
    struct bpf_sock *socket = context->sk;
    return socket ? bpf_sk_storage_get(&peers, socket, 0, 0) : NULL;
}

static inline void forget_peer(struct bpf_sock_addr *context) {
    struct peer *peer = peer_of(context);
    if (!peer) return;
    if (peer->target != 0) count_down(&peer->to, peer->target);
    struct bpf_sock *socket = context->sk;
    if (socket) bpf_sk_storage_delete(&peers, socket);
}

/// - target: the agent's port for datagrams, or 0.
static inline bool keep_peer(struct bpf_sock_addr *context, const struct place *to, __u32 target) {
    struct bpf_sock *socket = context->sk;
    if (!socket) return false;
    struct peer *peer = bpf_sk_storage_get(&peers, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!peer) return false;
    // The new one first: a socket may be connected twice to the same place.
    if (target != 0) count_up(to, target);
    if (peer->target != 0) count_down(&peer->to, peer->target);
    peer->to = *to;
    peer->is_new = 1;
    peer->target = target;
    return true;
}

/// Has `to` be what connect(2) goes to in place of what it was. Answers what a program answers; with the port 0 in it
/// nothing changes.
static inline int lead_connection(struct bpf_sock_addr *context, struct place *to) {
    __u32 protocol = context->protocol;
    bool is_stream = protocol == IPPROTO_TCP;
    __u32 target;
    bool is_meant = is_redirected(to) || (!is_stream && is_name_server(to));
    if ((!is_stream && protocol != IPPROTO_UDP) || !is_ours(context) || !is_meant) {
        forget_peer(context);
        to->port = 0;
        return LET_THROUGH;
    }
    if (state.is_over) return refuse(ENETUNREACH);
    if (is_stream) {
        target = is_v4(to) ? settings.v4_port : settings.v6_port;
        if (target == 0) return refuse(ENETUNREACH);
    } else {
        target = target_of(to);
        if (target == 0) return refuse(ENOBUFS);
    }
    if (!keep_peer(context, to, is_stream ? 0 : target)) return refuse(ENOBUFS);
    *to = loopback(to, target);
    return LET_THROUGH;
}

/// As lead_connection(), for one message.
static inline int lead_message(struct bpf_sock_addr *context, struct place *to) {
    // UDP-Lite comes here, too.
    if (context->protocol != IPPROTO_UDP || !is_ours(context) || (!is_redirected(to) && !is_name_server(to))) {
        to->port = 0;
        return LET_THROUGH;
    }
    if (state.is_over) return refuse(ENETUNREACH);
    __u32 target = target_of(to);
    if (target == 0) return refuse(ENOBUFS);
    mark_sent_to(to, target);
    *to = loopback(to, target);
    return LET_THROUGH;
}

// MARK: The programs

static inline struct place v4_place(struct bpf_sock_addr *context) {
    return place_of_v4(context->user_ip4, context->user_port);
}

static inline struct place v6_place(struct bpf_sock_addr *context) {
    return (struct place){
        .ip = {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2], context->user_ip6[3]},
        .port = context->user_port,
    };
}

static inline void set_v4(struct bpf_sock_addr *context, const struct place *place) {
    context->user_ip4 = place->ip[3];
    context->user_port = place->port;
}

static inline void set_v6(struct bpf_sock_addr *context, const struct place *place) {
    context->user_ip6[0] = place->ip[0];
    context->user_ip6[1] = place->ip[1];
    context->user_ip6[2] = place->ip[2];
    context->user_ip6[3] = place->ip[3];
    context->user_port = place->port;
}

/// As in a kernel without MPTCP, whose programs then take TCP: the agent meets a connection half-way, which the kernel's MPTCP
/// does not bear. (The library gives what asks for it TCP; this is for programs without it.)
SEC("cgroup/sock_create") int on_create(struct bpf_sock *socket) {
    return socket->protocol == IPPROTO_MPTCP && is_ours(socket) ? refuse(EPROTONOSUPPORT) : LET_THROUGH;
}

SEC("cgroup/connect4") int on_connect4(struct bpf_sock_addr *context) {
    struct place to = v4_place(context);
    int answer = lead_connection(context, &to);
    if (to.port != 0) set_v4(context, &to);
    return answer;
}

SEC("cgroup/connect6") int on_connect6(struct bpf_sock_addr *context) {
    struct place to = v6_place(context);
    int answer = lead_connection(context, &to);
    if (to.port != 0) set_v6(context, &to);
    return answer;
}

SEC("cgroup/sendmsg4") int on_sendmsg4(struct bpf_sock_addr *context) {
    struct place to = v4_place(context);
    int answer = lead_message(context, &to);
    if (to.port != 0) set_v4(context, &to);
    return answer;
}

SEC("cgroup/sendmsg6") int on_sendmsg6(struct bpf_sock_addr *context) {
    struct place to = v6_place(context);
    int answer = lead_message(context, &to);
    if (to.port != 0) set_v6(context, &to);
    return answer;
}

SEC("cgroup/recvmsg4") int on_recvmsg4(struct bpf_sock_addr *context) {
    struct place from = v4_place(context);
    struct destination *meant = bpf_map_lookup_elem(&destinations, &from);
    if (meant) set_v4(context, &meant->place);
    return LET_THROUGH;
}

SEC("cgroup/recvmsg6") int on_recvmsg6(struct bpf_sock_addr *context) {
    struct place from = v6_place(context);
    struct destination *meant = bpf_map_lookup_elem(&destinations, &from);
    if (meant) set_v6(context, &meant->place);
    return LET_THROUGH;
}

SEC("cgroup/sock_release") int on_release(struct bpf_sock *socket) {
    struct peer *peer = bpf_sk_storage_get(&peers, socket, 0, 0);
    if (peer && peer->target != 0) count_down(&peer->to, peer->target);
    return LET_THROUGH;
}

SEC("cgroup/getpeername4") int on_getpeername4(struct bpf_sock_addr *context) {
    struct peer *peer = peer_of(context);
    if (peer) set_v4(context, &peer->to);
    return LET_THROUGH;
}

SEC("cgroup/getpeername6") int on_getpeername6(struct bpf_sock_addr *context) {
    struct peer *peer = peer_of(context);
    if (peer) set_v6(context, &peer->to);
    return LET_THROUGH;
}

SEC("sockops") int on_socket(struct bpf_sock_ops *context) { return connection_event(context); }

// The kernel asks for it. Nothing that it keeps for programs under its own licence is used.
char program_license[] SEC("license") = "Apache-2.0";
