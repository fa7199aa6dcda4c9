// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "interposer.h"
#include "surroundings.h"

#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// A question is a datagram to the agent's Unix socket; the kernel tells the agent who asks. Its first byte is the
// version, its second the kind; then places of 18 bytes, ports and names.

enum { VERSION = 1 };
enum kind { ANNOUNCE = 1, VERDICT = 2, PEER = 3, FLOW = 4, NAME = 5 };
enum { LONGEST = 320 };

struct question {
    uint8_t bytes[LONGEST];
    size_t count;
};

static void add(struct question *question, const void *bytes, size_t count) {
    if (count > sizeof question->bytes - question->count) return;
    memcpy(question->bytes + question->count, bytes, count);
    question->count += count;
}

static void add_place(struct question *question, const struct place *place) {
    add(question, place->ip, sizeof place->ip);
    add(question, &place->port, sizeof place->port);
}

static struct question begin(enum kind kind) {
    struct question question = {.bytes = {VERSION, (uint8_t)kind}, .count = 2};
    return question;
}

/// Opens a descriptor for the length of one question: one that stayed would be the program's to close.
static int open_channel(bool with_answer, int seconds) {
    const struct surroundings *here = surroundings();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, here->path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct timeval patience = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    // For an answer the socket needs a name; without one in it the kernel makes one up.
    struct sockaddr_un nameless = {.sun_family = AF_UNIX};
    if (with_answer) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (bind(fd, (struct sockaddr *)&nameless, sizeof(sa_family_t)) != 0) goto failed;
    }
    if (real()->connect(fd, (struct sockaddr *)&address, sizeof address) != 0) goto failed;
    return fd;
failed:
    close(fd);
    return -1;
}

static bool tell_through(int fd, const struct question *question) {
    for (;;) {
        ssize_t sent = send(fd, question->bytes, question->count, MSG_NOSIGNAL);
        if (sent >= 0) return true;
        if (errno != EINTR) return false;
    }
}

/// Tells, or asks where there is room for an answer. Answers the answer's length, 0 without one, or -1.
static ssize_t ask(const struct question *question, uint8_t *answer, size_t room, int seconds) {
    int before = errno;
    ssize_t length = -1;
    int fd = open_channel(answer != NULL, seconds);
    if (fd < 0) goto end;
    if (tell_through(fd, question)) {
        length = 0;
        if (answer) do {
                length = recv(fd, answer, room, 0);
            } while (length < 0 && errno == EINTR);
    }
    close(fd);
end:
    errno = before;
    return length;
}

enum { SHORT = 5, LONG = 20 };

bool agent_announce(const struct place *local, const struct place *to) {
    struct question question = begin(ANNOUNCE);
    add_place(&question, local);
    add_place(&question, to);
    return ask(&question, NULL, 0, SHORT) == 0;
}

int agent_verdict(const struct place *local) {
    struct question question = begin(VERDICT);
    add_place(&question, local);
    uint8_t answer[1] = {0};
    return ask(&question, answer, sizeof answer, SHORT) == 1 ? answer[0] : 0;
}

bool agent_peer(const struct place *local, uint16_t target, struct place *to) {
    struct question question = begin(PEER);
    add_place(&question, local);
    add(&question, &target, sizeof target);
    uint8_t answer[18];
    if (ask(&question, answer, sizeof answer, SHORT) != sizeof answer) return false;
    memcpy(to->ip, answer, 16);
    memcpy(&to->port, answer + 16, 2);
    return true;
}

bool agent_flow(const struct place *local, const struct place *to, uint16_t *target, int *error) {
    struct question question = begin(FLOW);
    add_place(&question, local);
    add_place(&question, to);
    uint8_t answer[3];
    if (ask(&question, answer, sizeof answer, SHORT) != sizeof answer) return false;
    *error = answer[0];
    memcpy(target, answer + 1, 2);
    return true;
}

enum name_answer agent_name(const char *name, struct in6_addr *v6, struct in_addr *v4) {
    struct question question = begin(NAME);
    add(&question, name, strlen(name));
    uint8_t answer[21];
    if (ask(&question, answer, sizeof answer, LONG) != sizeof answer) return NAME_LATER;
    memcpy(v6, answer + 1, 16);
    memcpy(v4, answer + 17, 4);
    return answer[0] == 0 ? NAME_FOUND : answer[0] == 1 ? NAME_UNKNOWN : NAME_LATER;
}
