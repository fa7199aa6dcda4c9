// SPDX-License-Identifier: Apache-2.0

// A provider that carries between hosts over plain UDP, with a list of peers:
//
//     cc udp-provider.c $(pkg-config --cflags --libs cpnatfwt) -o udp-provider
//     ./udp-provider 4500 peers
//
// The first argument is this host's port, the second a file with a line for each peer: its transport ID (natfwt status
// --json on that host tells it), its address and its port.
//
//     2001:21:4411:c21:de4c:c4bb:2688:3b82  192.0.2.7  4500
//
// A datagram is the sender's and the receiver's transport ID, 16 bytes each, and one packet. What comes from another address
// than the sender's in the list is dropped. Nothing is encrypted here: the platform seals what it sends from node to node.
//
// Behind a NAT: the list has the address and the port that the NAT gives this host's port. Each peer is sent an empty datagram
// now and then, so that both NATs let the other's in. That takes a NAT that gives the same port whoever it is sent to (RFC
// 4787, 4.1: endpoint-independent mapping, as most homes have); a host behind another kind can't be reached like this.

#include <cpnatfwt.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/// Seconds between two datagrams that keep a NAT open: a mapping is kept for 120 at least (RFC 4787, 4.3), by many for 30.
enum { MOST_PEERS = 256, ID_SIZE = 16, KEEPALIVE = 15 };

static struct peer {
    BYTE id[ID_SIZE];
    struct sockaddr_in address;
} peers[MOST_PEERS];
static int peer_count;
static int udp;
/// The instance that is registered now: another one after each restart of the agent.
static _Atomic(CPNATFWT_PROVIDER_INSTANCE) current;
/// What ends the session: written to by the terminate indication and by signals.
static int end[2];
static volatile sig_atomic_t is_stopping;

/// The one peer with an ID; NULL where there is none, or more than one.
static struct peer *find(const CPNATFWT_TRANSPORT_ID *id) {
    struct peer *found = NULL;
    for (int index = 0; index < peer_count; index++) {
        if (id->size != ID_SIZE || memcmp(peers[index].id, id->transportId, ID_SIZE) != 0) continue;
        if (found != NULL) return NULL;
        found = &peers[index];
    }
    return found;
}

static HRESULT add_transport_id(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return find(id) == NULL ? S_OK : CPNATFWT_E_DUPLICATE;
}

static HRESULT reach_transport_id(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return find(id) != NULL ? S_OK : CPNATFWT_E_UNREACHABLE;
}

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote,
    UINT64 endpoint, CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)endpoint, (void)context, (void)routine;
    struct peer *peer = find(remote);
    for (; peer != NULL && chain != NULL; chain = chain->next) {
        struct iovec parts[] = {
            {local->transportId, ID_SIZE}, {remote->transportId, ID_SIZE}, {chain->buffer, chain->size}};
        struct msghdr message = {
            .msg_name = &peer->address, .msg_namelen = sizeof peer->address, .msg_iov = parts, .msg_iovlen = 3};
        // A datagram that the kernel does not take is lost, as on any network.
        if (sendmsg(udp, &message, 0) < 0) continue;
    }
    return S_OK;
}

static HRESULT transition_active(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return S_OK;
}

static VOID establish_session(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) { (void)instance, (void)user; }

static VOID terminate_session(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    (void)instance, (void)user;
    if (reason != CPNATFWT_SESSION_TERMINATION_PROVIDER_REQUEST && write(end[1], "t", 1) != 1) _exit(1);
}

static void stop(int number) {
    (void)number;
    is_stopping = 1;
    if (write(end[1], "s", 1) != 1) _exit(1);
}

/// Hands what peers send to the platform, for ever.
static void *receive(void *argument) {
    static BYTE bytes[65536];
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t count = recvfrom(udp, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
        if (count <= 2 * ID_SIZE) continue;
        CPNATFWT_TRANSPORT_ID remote = {ID_SIZE, bytes}, local = {ID_SIZE, bytes + ID_SIZE};
        struct peer *peer = find(&remote);
        if (peer == NULL || peer->address.sin_addr.s_addr != from.sin_addr.s_addr || peer->address.sin_port != from.sin_port)
            continue;
        CPNATFWT_BUFFER packet = {NULL, (ULONG)(count - 2 * ID_SIZE), bytes + 2 * ID_SIZE};
        // Before the session is active, and after it has ended, this fails: the packet is lost.
        CPNatfwtIndicateReceivedBuffers(current, &local, &remote, &packet, NULL, NULL);
    }
    return argument;
}

/// Keeps the NATs on the way to the peers open, for ever.
static void *keep_open(void *argument) {
    for (;; sleep(KEEPALIVE)) {
        for (struct peer *peer = peers; peer < peers + peer_count; peer++)
            if (sendto(udp, "", 0, 0, (struct sockaddr *)&peer->address, sizeof peer->address) < 0) continue;
    }
    return argument;
}

static int read_peers(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    char id[64], address[64];
    int port;
    while (peer_count < MOST_PEERS && fscanf(file, "%63s %63s %d", id, address, &port) == 3) {
        struct peer *peer = &peers[peer_count];
        peer->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        if (inet_pton(AF_INET6, id, peer->id) != 1 || inet_pton(AF_INET, address, &peer->address.sin_addr) != 1) break;
        peer_count++;
    }
    int is_whole = feof(file);
    fclose(file);
    return is_whole;
}

static int open_socket(int port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int size = 4 << 20;
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(udp, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return bind(udp, (struct sockaddr *)&any, sizeof any) == 0;
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: udp-provider PORT PEERS\n"), 64;
    if (!read_peers(arguments[2])) return fprintf(stderr, "%s: expected transport ID, address and port\n", arguments[2]), 78;
    if (!open_socket(atoi(arguments[1])) || pipe(end) != 0) return perror("udp-provider"), 71;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);

    const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
        .addTransportId = add_transport_id,
        .reachTransportId = reach_transport_id,
        .sendBuffers = send_buffers,
        .transitionActive = transition_active,
        .establishSession = establish_session,
        .terminateSession = terminate_session,
    };
    pthread_t thread;
    if (pthread_create(&thread, NULL, keep_open, NULL) != 0 || pthread_create(&thread, NULL, receive, NULL) != 0) return 71;
    IF_LUID interface = {.Value = 0};
    while (!is_stopping) {
        CPNATFWT_PROVIDER_INSTANCE instance = NULL;
        HRESULT result = CPNatfwtCreateProviderInstance(CPNATFWT_VERSION_1, &callbacks, NULL, 0, &instance);
        if (SUCCEEDED(result)) result = CPNatfwtRegisterProviderInstance(instance, L"UDP", &interface, 0, NULL);
        if (result == CPNATFWT_E_NO_INTERFACE) interface.Value = 0;
        if (SUCCEEDED(result)) {
            current = instance;
            char why;
            while (read(end[0], &why, 1) != 1) continue;
            CPNatfwtDeregisterProviderInstance(instance);
        } else {
            fprintf(stderr, "udp-provider: not registered: 0x%08x\n", (unsigned)result);
        }
        CPNatfwtDestroyProviderInstance(instance);
        // The agent has stopped, or is not there yet.
        if (!is_stopping) sleep(1);
    }
    return 0;
}
