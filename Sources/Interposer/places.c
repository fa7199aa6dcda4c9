// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "interposer.h"
#include "surroundings.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const struct place *place) { return memcmp(place->ip, mapped_prefix, sizeof mapped_prefix) == 0; }

struct place place_of(const union address *address) {
    struct place place = {.port = 0};
    if (address->any.sa_family == AF_INET) {
        memcpy(place.ip, mapped_prefix, sizeof mapped_prefix);
        memcpy(place.ip + 12, &address->v4.sin_addr, 4);
        place.port = address->v4.sin_port;
    } else if (address->any.sa_family == AF_INET6) {
        memcpy(place.ip, &address->v6.sin6_addr, 16);
        place.port = address->v6.sin6_port;
    }
    return place;
}

socklen_t address_of(const struct place *place, int family, union address *address) {
    memset(address, 0, sizeof address->v6);
    if (family == AF_INET) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = place->port;
        memcpy(&address->v4.sin_addr, place->ip + 12, 4);
        return sizeof address->v4;
    }
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = place->port;
    memcpy(&address->v6.sin6_addr, place->ip, 16);
    return sizeof address->v6;
}

void give_address(const union address *from, socklen_t length, void *address, socklen_t *room) {
    if (!address || !room) return;
    memcpy(address, from, *room < length ? *room : length);
    *room = length;
}

socklen_t loopback_address(int family, const struct place *like, uint16_t port, union address *address) {
    struct place place = {.port = port};
    if (is_v4(like)) {
        memcpy(place.ip, mapped_prefix, sizeof mapped_prefix);
        place.ip[12] = 127;
    }
    place.ip[15] = 1;
    return address_of(&place, family, address);
}

socklen_t agent_address(int family, const struct place *to, union address *address) {
    const struct surroundings *here = surroundings();
    return loopback_address(family, to, htons(is_v4(to) ? here->v4_port : here->v6_port), address);
}

bool is_loopback(const union address *address) {
    struct place place = place_of(address);
    union address loopback;
    loopback_address(AF_INET6, &place, 0, &loopback);
    return memcmp(place.ip, &loopback.v6.sin6_addr, 16) == 0;
}

bool is_agent_address(const union address *address) {
    if (!is_redirecting()) return false;
    struct place place = place_of(address);
    union address agent;
    agent_address(AF_INET6, &place, &agent);
    return place.port == agent.v6.sin6_port && place.port != 0 && is_loopback(address);
}

/// What stays on this host or its network, whatever else goes to the agent.
static bool is_local(const struct place *place) {
    const uint8_t *ip = place->ip;
    if (is_v4(place)) {
        const uint8_t *v4 = ip + 12;
        return v4[0] == 0 || v4[0] == 127 || (v4[0] == 169 && v4[1] == 254) || v4[0] >= 224;
    }
    bool is_low = true;
    for (int index = 0; index < 12; index++) is_low = is_low && ip[index] == 0;
    // ::, ::1; fe80::/10; ff00::/8
    return is_low || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) || ip[0] == 0xff;
}

static bool read_place(const struct sockaddr *address, socklen_t length, struct place *place) {
    union address copy = {.v6 = {0}};
    if (!is_redirecting() || !address) return false;
    if (address->sa_family == AF_INET && length >= sizeof copy.v4) {
        memcpy(&copy.v4, address, sizeof copy.v4);
    } else if (address->sa_family == AF_INET6 && length >= 24) {
        // Programs of old leave the scope away.
        memcpy(&copy.v6, address, 24);
    } else {
        return false;
    }
    *place = place_of(&copy);
    return true;
}

bool is_name_server(const struct sockaddr *address, socklen_t length) {
    struct place place;
    if (!read_place(address, length, &place) || place.port != htons(53)) return false;
    if (is_v4(&place)) return !is_local(&place) || place.ip[12] == 127;
    union address copy;
    address_of(&place, AF_INET6, &copy);
    return !is_local(&place) || is_loopback(&copy);
}

bool is_redirected(const struct sockaddr *address, socklen_t length) {
    const struct surroundings *here = surroundings();
    struct place place;
    if (!read_place(address, length, &place)) return false;
    if (is_v4(&place)) {
        // 198.18.0.0/15
        if (place.ip[12] == 198 && (place.ip[13] & 0xfe) == 18) return true;
    } else if (place.ip[0] == 0x20 && place.ip[1] == 0x01 && place.ip[2] == 0x00 && (place.ip[3] & 0xf0) == 0x20) {
        // ORCHIDv2, 2001:20::/28 (RFC 7343)
        return true;
    }
    return here->egress && !is_local(&place);
}

bool is_redirecting(void) { return surroundings()->is_set && !surroundings()->only_names; }
bool is_naming(void) { return surroundings()->is_set; }
const char *node_suffix(void) { return surroundings()->suffix; }
bool has_v6(void) { return surroundings()->v6_port != 0; }
