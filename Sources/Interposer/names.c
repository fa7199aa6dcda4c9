// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "interposer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Names with the suffix are the agent's to answer; all others are libc's. What libc makes of addresses it makes of these
// too: it is asked for the address in digits, so that results are of its own making, and its own to free.

static bool is_node(const char *name) {
    if (!is_naming() || !name) return false;
    size_t length = strlen(name), suffix = strlen(node_suffix());
    if (length > 0 && name[length - 1] == '.') length--;
    if (length <= suffix + 1 || length > 253 || name[length - suffix - 1] != '.') return false;
    return strncasecmp(name + length - suffix, node_suffix(), suffix) == 0;
}

/// The address in the family that is wanted, as text; AF_UNSPEC takes IPv6 where this host has it.
static enum name_answer find(const char *name, int wanted, int *family, void *address, char *text) {
    struct in6_addr v6;
    struct in_addr v4;
    enum name_answer answer = agent_name(name, &v6, &v4);
    if (answer != NAME_FOUND) return answer;
    *family = wanted == AF_UNSPEC ? (has_v6() ? AF_INET6 : AF_INET) : wanted;
    if (*family == AF_INET && v4.s_addr == INADDR_ANY) return NAME_LATER;
    memcpy(address, *family == AF_INET ? (void *)&v4 : (void *)&v6, *family == AF_INET ? sizeof v4 : sizeof v6);
    inet_ntop(*family, address, text, INET6_ADDRSTRLEN);
    return NAME_FOUND;
}

INTERPOSED int getaddrinfo(
    const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **results) {
    if (!is_node(name) || (hints && (hints->ai_flags & AI_NUMERICHOST))) {
        return real()->getaddrinfo(name, service, hints, results);
    }
    // As libc has it where nothing is said.
    struct addrinfo asked = {.ai_family = AF_UNSPEC};
    if (hints) asked = *hints;
    if (asked.ai_family != AF_UNSPEC && asked.ai_family != AF_INET && asked.ai_family != AF_INET6) return EAI_FAMILY;
    struct in6_addr address;
    char text[INET6_ADDRSTRLEN];
    switch (find(name, asked.ai_family, &asked.ai_family, &address, text)) {
    case NAME_FOUND: break;
    case NAME_UNKNOWN: return EAI_NONAME;
    case NAME_LATER: return EAI_AGAIN;
    }
    // Whether the host has addresses of the family outside does not matter, nor are there others to choose from.
    asked.ai_flags = (asked.ai_flags | AI_NUMERICHOST) & ~(AI_ADDRCONFIG | AI_V4MAPPED | AI_ALL);
    int status = real()->getaddrinfo(text, service, &asked, results);
    if (status != 0 || !(asked.ai_flags & AI_CANONNAME) || !*results) return status;
    char *canonical = strdup(name);
    if (!canonical) return 0;
    size_t length = strlen(canonical);
    if (canonical[length - 1] == '.') canonical[length - 1] = '\0';
    free((*results)->ai_canonname);
    (*results)->ai_canonname = canonical;
    return 0;
}

// MARK: The older functions

/// What a hostent points to: in the caller's buffer, or in a thread's own.
struct host_room {
    char address[16];
    char *addresses[2];
    char *aliases[1];
    char name[254];
};

static void fill(struct hostent *host, struct host_room *room, const char *name, int family, const void *address) {
    size_t length = strnlen(name, sizeof room->name - 1);
    memcpy(room->name, name, length);
    room->name[length] = '\0';
    memcpy(room->address, address, sizeof room->address);
    room->addresses[0] = room->address;
    room->addresses[1] = NULL;
    room->aliases[0] = NULL;
    *host = (struct hostent){
        .h_name = room->name,
        .h_aliases = room->aliases,
        .h_addrtype = family,
        .h_length = family == AF_INET ? 4 : 16,
        .h_addr_list = room->addresses,
    };
}

/// Answers 0, or an errno with *problem set.
static int find_host(
    const char *name, int family, struct hostent *host, struct host_room *room, struct hostent **result, int *problem) {
    struct in6_addr address = {{{0}}};
    char text[INET6_ADDRSTRLEN];
    *result = NULL;
    switch (find(name, family, &family, &address, text)) {
    case NAME_FOUND: break;
    case NAME_UNKNOWN: *problem = HOST_NOT_FOUND; return 0;
    case NAME_LATER: *problem = TRY_AGAIN; return EAGAIN;
    }
    fill(host, room, name, family, &address);
    *result = host;
    *problem = NETDB_SUCCESS;
    return 0;
}

INTERPOSED int gethostbyname2_r(
    const char *name, int family, struct hostent *host, char *buffer, size_t length, struct hostent **result,
    int *problem) {
    if (!is_node(name) || (family != AF_INET && family != AF_INET6)) {
        return real()->gethostbyname2_r(name, family, host, buffer, length, result, problem);
    }
    size_t skipped = -(uintptr_t)buffer % _Alignof(struct host_room);
    if (length < skipped + sizeof(struct host_room)) {
        *result = NULL;
        *problem = NETDB_INTERNAL;
        return ERANGE;
    }
    return find_host(name, family, host, (struct host_room *)(void *)(buffer + skipped), result, problem);
}

INTERPOSED int gethostbyname_r(
    const char *name, struct hostent *host, char *buffer, size_t length, struct hostent **result, int *problem) {
    if (!is_node(name)) return real()->gethostbyname_r(name, host, buffer, length, result, problem);
    return gethostbyname2_r(name, AF_INET, host, buffer, length, result, problem);
}

INTERPOSED struct hostent *gethostbyname2(const char *name, int family) {
    static __thread struct host_room *room;
    static __thread struct hostent host;
    if (!is_node(name) || (family != AF_INET && family != AF_INET6)) return real()->gethostbyname2(name, family);
    if (!room) room = malloc(sizeof *room);
    struct hostent *result = NULL;
    int problem = NETDB_INTERNAL;
    if (room) find_host(name, family, &host, room, &result, &problem);
    h_errno = problem;
    return result;
}

INTERPOSED struct hostent *gethostbyname(const char *name) {
    return is_node(name) ? gethostbyname2(name, AF_INET) : real()->gethostbyname(name);
}
