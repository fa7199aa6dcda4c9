// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// Questions as the Interposer's (Sources/Redirection/RedirectedConnect/RunQuestion.swift), over a socket that stays open.

enum { VERSION = 1 };
enum kind { CONNECTION = 6, STOCK = 7, BIND = 8, FREE = 9 };
enum { LONGEST = 160 };
_Static_assert(LONGEST >= 3 + 2 * STOCKED_PORTS, "an answer with all ports has room");

struct message {
    uint8_t bytes[LONGEST];
    size_t count;
};

static void add(struct message *message, const void *bytes, size_t count) {
    if (count > sizeof message->bytes - message->count) return;
    memcpy(message->bytes + message->count, bytes, count);
    message->count += count;
}

static void add_place(struct message *message, const struct place *place) {
    uint16_t port = (uint16_t)place->port;
    add(message, place->ip, sizeof place->ip);
    add(message, &port, sizeof port);
}

static struct message begin(enum kind kind) {
    struct message message = {.bytes = {VERSION, (uint8_t)kind}, .count = 2};
    return message;
}

static bool tell(const struct agent *agent, const struct message *message) {
    for (;;) {
        if (send(agent->descriptor, message->bytes, message->count, MSG_NOSIGNAL) >= 0) return true;
        if (errno != EINTR) return false;
    }
}

bool agent_open(struct agent *agent, const char *path, struct reason why) {
    struct sockaddr_un address = {.sun_family = AF_UNIX}, nameless = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return fail(why, ENAMETOOLONG, "%s", path);
    strcpy(address.sun_path, path);
    agent->descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 5};
    if (agent->descriptor >= 0
        && setsockopt(agent->descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0
        // For answers it needs a name; without one in the address the kernel makes one up.
        && bind(agent->descriptor, (struct sockaddr *)&nameless, sizeof(sa_family_t)) == 0
        && connect(agent->descriptor, (struct sockaddr *)&address, sizeof address) == 0) {
        return true;
    }
    int error = errno;
    agent_close(agent);
    return fail(why, error, "the agent can't be asked at %s", path);
}

bool agent_announce(const struct agent *agent, const struct event *event) {
    struct message message = begin(CONNECTION);
    add_place(&message, &event->local);
    add_place(&message, &event->to);
    add(&message, &event->sequence, sizeof event->sequence);
    return tell(agent, &message);
}

bool agent_bind(const struct agent *agent, const struct event *event) {
    struct message message = begin(BIND);
    uint16_t target = (uint16_t)event->target;
    add(&message, &target, sizeof target);
    add_place(&message, &event->to);
    return tell(agent, &message);
}

bool agent_want(const struct agent *agent, bool is_v6, size_t count) {
    struct message message = begin(STOCK);
    uint8_t what[2] = {is_v6 ? 6 : 4, (uint8_t)count};
    add(&message, what, sizeof what);
    return tell(agent, &message);
}

bool agent_free(const struct agent *agent, const struct event *event) {
    struct message message = begin(FREE);
    uint8_t family = is_v6(&event->to) ? 6 : 4;
    uint16_t target = (uint16_t)event->target;
    add(&message, &family, sizeof family);
    add(&message, &target, sizeof target);
    return tell(agent, &message);
}

/// REFUSAL: kind 1 | errno 1 | place 18 | number 4; PORTS: kind 1 | family 1 | ports of 2
static bool read_answer(const uint8_t *bytes, size_t count, struct answer *answer) {
    *answer = (struct answer){.kind = PORTS};
    if (count == 24 && bytes[0] == CONNECTION) {
        answer->kind = REFUSAL;
        answer->error = bytes[1];
        uint16_t port;
        memcpy(answer->local.ip, bytes + 2, 16);
        memcpy(&port, bytes + 18, 2);
        answer->local.port = port;
        memcpy(&answer->sequence, bytes + 20, 4);
        return true;
    }
    if (count < 2 || bytes[0] != STOCK || (bytes[1] != 4 && bytes[1] != 6)) return false;
    answer->is_v6 = bytes[1] == 6;
    answer->count = (count - 2) / 2;
    if (answer->count > STOCKED_PORTS) return false;
    memcpy(answer->ports, bytes + 2, answer->count * 2);
    return true;
}

bool agent_hear(const struct agent *agent, struct answer *answer, int milliseconds) {
    struct pollfd event = {.fd = agent->descriptor, .events = POLLIN};
    if (milliseconds > 0 && poll(&event, 1, milliseconds) <= 0) return false;
    uint8_t bytes[LONGEST];
    ssize_t count = recv(agent->descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    return count >= 0 && read_answer(bytes, (size_t)count, answer);
}

void agent_close(struct agent *agent) {
    if (agent->descriptor >= 0) close(agent->descriptor);
    agent->descriptor = -1;
}
