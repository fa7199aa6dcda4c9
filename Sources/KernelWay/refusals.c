// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <linux/icmp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// A connect(2) that waits for the agent fails when it is told, as by a router on its way, that its SYN does not arrive (RFC
// 792, RFC 4443, 3.1). The message quotes the SYN's addresses, ports and number: nobody else hears it, and a later
// connection from the same port does not either. For IPv4 there is no message that gives EACCES: what a router would say is
// EHOSTUNREACH there.

static uint8_t v4_code(int error) {
    switch (error) {
    case ECONNREFUSED: return ICMP_PORT_UNREACH;
    case ENETUNREACH: return ICMP_NET_UNREACH;
    case EACCES: return ICMP_PKT_FILTERED;
    default: return ICMP_HOST_UNREACH;
    }
}

static uint8_t v6_code(int error) {
    switch (error) {
    case ECONNREFUSED: return ICMP6_DST_UNREACH_NOPORT;
    case ENETUNREACH: return ICMP6_DST_UNREACH_NOROUTE;
    case EACCES: return ICMP6_DST_UNREACH_ADMIN;
    default: return ICMP6_DST_UNREACH_ADDR;
    }
}

/// What is quoted of TCP: the ports and the number.
struct quoted_tcp {
    uint16_t source;
    uint16_t destination;
    uint32_t sequence;
};

static struct quoted_tcp quote(const struct refusal *refusal, uint32_t port) {
    return (struct quoted_tcp){
        .source = (uint16_t)refusal->local.port,
        .destination = (uint16_t)port,
        .sequence = htonl(refusal->sequence),
    };
}

static uint16_t checksum(const void *bytes, size_t count) {
    uint32_t sum = 0;
    uint16_t word;
    for (size_t index = 0; index + 1 < count; index += 2) {
        memcpy(&word, (const uint8_t *)bytes + index, 2);
        sum += word;
    }
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void refuse_v4(const struct refusals *refusals, const struct refusal *refusal) {
    struct {
        struct icmphdr icmp;
        struct iphdr ip;
        struct quoted_tcp tcp;
    } message = {
        .icmp = {.type = ICMP_DEST_UNREACH, .code = v4_code(refusal->error)},
        .ip = {
            .version = 4, .ihl = 5, .tot_len = htons(60), .ttl = 64, .protocol = IPPROTO_TCP,
            .saddr = refusal->local.ip[3], .daddr = htonl(INADDR_LOOPBACK),
        },
        .tcp = quote(refusal, refusals->settings->v4_port),
    };
    message.ip.check = checksum(&message.ip, sizeof message.ip);
    message.icmp.checksum = checksum(&message, sizeof message);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = refusal->local.ip[3]};
    sendto(refusals->v4, &message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
}

static void refuse_v6(const struct refusals *refusals, const struct refusal *refusal) {
    struct {
        struct icmp6_hdr icmp;
        struct ip6_hdr ip;
        struct quoted_tcp tcp;
    } message = {
        // The kernel adds the checksum.
        .icmp = {.icmp6_type = ICMP6_DST_UNREACH, .icmp6_code = v6_code(refusal->error)},
        .tcp = quote(refusal, refusals->settings->v6_port),
    };
    message.ip.ip6_flow = htonl(6u << 28);
    message.ip.ip6_plen = htons(40);
    message.ip.ip6_nxt = IPPROTO_TCP;
    message.ip.ip6_hlim = 64;
    memcpy(&message.ip.ip6_src, refusal->local.ip, 16);
    message.ip.ip6_dst = in6addr_loopback;
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    memcpy(&to.sin6_addr, refusal->local.ip, 16);
    sendto(refusals->v6, &message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
}

static void say(const struct refusals *refusals, const struct refusal *refusal) {
    if (is_v6(&refusal->local)) {
        refuse_v6(refusals, refusal);
    } else {
        refuse_v4(refusals, refusal);
    }
}

// MARK: Again

// While a system call has the socket in its hands the kernel only takes a note of the message. So it is said again.

static const int delays[] = {2, 50, 500};
enum { REPEATS = sizeof delays / sizeof delays[0] };

void refuse(struct refusals *refusals, int error, const struct place *local, uint32_t sequence) {
    struct refusal refusal = {.error = error, .local = *local, .sequence = sequence, .due = milliseconds_now() + delays[0]};
    say(refusals, &refusal);
    if (refusals->count < MOST_REFUSALS) refusals->waiting[refusals->count++] = refusal;
}

int refusals_repeat(struct refusals *refusals) {
    int64_t time = milliseconds_now(), next = INT64_MAX;
    size_t kept = 0;
    for (size_t index = 0; index < refusals->count; index++) {
        struct refusal refusal = refusals->waiting[index];
        if (refusal.due <= time) {
            say(refusals, &refusal);
            if (++refusal.repeats == REPEATS) continue;
            refusal.due = time + delays[refusal.repeats];
        }
        if (refusal.due < next) next = refusal.due;
        refusals->waiting[kept++] = refusal;
    }
    refusals->count = kept;
    return kept == 0 ? -1 : (int)(next - time);
}

bool refusals_open(struct refusals *refusals, const struct settings *settings, struct reason why) {
    refusals->settings = settings;
    refusals->count = 0;
    refusals->v4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    int error = errno;
    refusals->v6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    if (refusals->v4 < 0 || (refusals->v6 < 0 && settings->v6_port != 0)) {
        if (refusals->v4 >= 0) error = errno;
        refusals_close(refusals);
        return fail(why, error, "no ICMP can be sent");
    }
    // They only speak.
    struct icmp_filter v4_nothing = {.data = ~0u};
    setsockopt(refusals->v4, SOL_RAW, ICMP_FILTER, &v4_nothing, sizeof v4_nothing);
    struct icmp6_filter v6_nothing;
    ICMP6_FILTER_SETBLOCKALL(&v6_nothing);
    if (refusals->v6 >= 0) setsockopt(refusals->v6, IPPROTO_ICMPV6, ICMP6_FILTER, &v6_nothing, sizeof v6_nothing);
    return true;
}

void refusals_close(struct refusals *refusals) {
    if (refusals->v4 >= 0) close(refusals->v4);
    if (refusals->v6 >= 0) close(refusals->v6);
    refusals->v4 = refusals->v6 = -1;
}
