// SPDX-License-Identifier: Apache-2.0

// A program that means harm to the agent, without the library. $CPNATFWT_SOCKET is the agent's socket.
//
//     hostile FAULT           one of those in commit() below; how the session ended is printed
//     hostile fuzz SEED COUNT [FOLDER]
//                             sessions with rubbish made from the seed, in messages and in both rings; what each was made of is
//                             kept in the folder
//     hostile replay FILE...  the same made of what files say (Corpus/agent)

#define _GNU_SOURCE
#include "choices.h"
#include "cl_ring.h"
#include "cl_session.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct session {
    int socket;
    void *mapping;
    uint64_t ring_size;
    struct cl_ring in, out;
};

static int dial(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("CPNATFWT_SOCKET");
    if (path == NULL || strlen(path) >= sizeof address.sun_path) exit(64);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) exit(2);
    return fd;
}

static void tell(int fd, uint16_t type, uint32_t value, uint64_t number, const void *body, size_t size) {
    uint8_t bytes[CL_SESSION_LARGEST];
    struct cl_session_header header = {type, (uint16_t)(sizeof header + size), value, number};
    memcpy(bytes, &header, sizeof header);
    if (size > 0) memcpy(bytes + sizeof header, body, size);
    if (send(fd, bytes, sizeof header + size, MSG_NOSIGNAL) < 0) return;
}

/// Waits for the next message: its type; -1 at the end, -2 after 15 s.
static int hear(int fd, struct cl_session_header *header, int *memory, uint32_t *ring_size) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, 15000) != 1) return -2;
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t bytes[CL_SESSION_LARGEST] = {0};
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    // An agent that closes with something unread resets the connection, which is told before what it said last.
    if (count < 0 && errno == ECONNRESET) count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (count < (ssize_t)sizeof *header) return -1;
    memcpy(header, bytes, sizeof *header);
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    if (memory != NULL && item != NULL) memcpy(memory, CMSG_DATA(item), sizeof *memory);
    if (ring_size != NULL) memcpy(ring_size, bytes + sizeof *header, sizeof *ring_size);
    return header->type;
}

static void enroll(int fd) {
    uint8_t body[sizeof(struct cl_session_register) + 7];
    struct cl_session_register request = {.program_size = 7};
    memcpy(body, &request, sizeof request);
    memcpy(body + sizeof request, "hostile", 7);
    tell(fd, CL_SESSION_REGISTER, CL_SESSION_VERSION, 0, body, sizeof body);
}

/// A session as a good provider would have it, up to the point where it is active.
static struct session begin(void) {
    struct session session = {.socket = dial()};
    enroll(session.socket);
    struct cl_session_header header;
    int memory = -1;
    uint32_t ring_size = 0;
    if (hear(session.socket, &header, &memory, &ring_size) != CL_SESSION_REGISTERED || memory < 0) exit(3);
    session.ring_size = ring_size;
    session.mapping = mmap(NULL, CL_RINGS_DATA + 2 * session.ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    // What the platform has sealed can't be cut short under it.
    if (ftruncate(memory, 4096) == 0) printf("the memory is not sealed\n");
    close(memory);
    session.in = cl_ring_view(session.mapping, ring_size, 0);
    session.out = cl_ring_view(session.mapping, ring_size, 1);
    for (;;) {
        if (hear(session.socket, &header, NULL, NULL) < 0) exit(4);
        if (header.type != CL_SESSION_CALL) continue;
        tell(session.socket, CL_SESSION_RETURN, 0, header.number, NULL, 0);
        if (header.value == CL_CALL_ACTIVE) return session;
    }
}

/// Ends it; prints the reason that the platform gives, or that it gives none.
static void end(struct session *session) {
    struct cl_session_header header;
    int type;
    while ((type = hear(session->socket, &header, NULL, NULL)) > 0 && type != CL_SESSION_TERMINATE) continue;
    if (type == CL_SESSION_TERMINATE) printf("terminated %u\n", header.value);
    else printf(type == -1 ? "closed\n" : "nothing\n");
    close(session->socket);
    if (session->mapping != NULL) munmap(session->mapping, CL_RINGS_DATA + 2 * session->ring_size);
}

static struct cl_record packet(uint32_t length) {
    return (struct cl_record){.length = length, .kind = CL_RECORD_PACKET, .local_size = 16, .remote_size = 16};
}

/// A record whose header is not what its bytes are.
static void put(struct session *session, struct cl_record record) {
    memcpy(session->out.data, &record, sizeof record);
    __atomic_store_n(&session->out.control->head, 4096, __ATOMIC_RELEASE);
    tell(session->socket, CL_SESSION_BELL, 0, 0, NULL, 0);
}

static void commit(const char *fault, struct session *session) {
    int fd = session->socket;
    struct cl_record record = packet(100);
    if (strcmp(fault, "message-type") == 0) tell(fd, 77, 0, 0, NULL, 0);
    else if (strcmp(fault, "message-size") == 0) send(fd, "abcdefghijklmnopq", 17, MSG_NOSIGNAL);
    else if (strcmp(fault, "message-short") == 0) send(fd, "a", 1, MSG_NOSIGNAL);
    else if (strcmp(fault, "message-long") == 0) {
        static char bytes[20000];
        send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    } else if (strcmp(fault, "register-twice") == 0) enroll(fd);
    else if (strcmp(fault, "second-return") == 0) tell(fd, CL_SESSION_RETURN, 0, 1, NULL, 0);
    else if (strcmp(fault, "failed") == 0) tell(fd, CL_SESSION_FAILED, 0x80004005u, 1, NULL, 0);
    else if (strcmp(fault, "ring-length") == 0) record.length = 0xFFFFFFF0u, put(session, record);
    else if (strcmp(fault, "ring-empty") == 0) record.length = 0, put(session, record);
    else if (strcmp(fault, "ring-kind") == 0) record.kind = 9, put(session, record);
    else if (strcmp(fault, "ring-place") == 0) {
        record.kind = CL_RECORD_REFERENCE, record.place = (uint32_t)session->ring_size - 99, put(session, record);
    } else if (strcmp(fault, "ring-id") == 0) record.local_size = 7, put(session, record);
    else if (strcmp(fault, "ring-head") == 0) {
        __atomic_store_n(&session->out.control->head, ~(uint64_t)7, __ATOMIC_RELEASE);
        tell(fd, CL_SESSION_BELL, 0, 0, NULL, 0);
    } else if (strcmp(fault, "cut") == 0) {
        shutdown(fd, SHUT_RDWR);
    } else if (strcmp(fault, "deregister-twice") == 0) {
        tell(fd, CL_SESSION_DEREGISTER, 0, 0, NULL, 0);
        tell(fd, CL_SESSION_DEREGISTER, 0, 0, NULL, 0);
    } else exit(64);
}

static void fuzz_message(int fd) {
    uint8_t bytes[256];
    uint32_t size = one_of(sizeof bytes);
    fill(bytes, size);
    if (one_of(8) != 0 && size >= sizeof(struct cl_session_header)) {
        uint64_t number = one_of(16);
        struct cl_session_header header = {
            (uint16_t)one_of(8), (uint16_t)size, one_of(4) ? one_of(3) : any32(), number};
        memcpy(bytes, &header, sizeof header);
    }
    send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Such as the agent would take, where only one thing is wrong: an answer, a second registration, an end.
static void almost_right(int fd) {
    static const uint16_t types[] = {CL_SESSION_BELL, CL_SESSION_RETURN, CL_SESSION_FAILED, CL_SESSION_DEREGISTER};
    uint32_t kind = one_of(5);
    if (kind == 4) enroll(fd);
    else tell(fd, types[kind], one_of(2) ? 0 : any32(), one_of(4), NULL, 0);
}

static void fuzz_rings(struct session *session) {
    for (uint32_t count = one_of(64); count > 0; count--) {
        static uint8_t bytes[CL_RECORD_LARGEST];
        struct cl_record record = packet(1 + one_of(2000));
        memcpy(record.local, "\x20\x01\x00\x21", 4);
        if (one_of(32) == 0) record.kind = one_of(2) ? CL_RECORD_REFERENCE : any8();
        if (record.kind == CL_RECORD_REFERENCE) record.place = one_of(4) ? one_of((uint32_t)session->ring_size) : any32();
        if (record.kind == CL_RECORD_REFERENCE && one_of(4) == 0) record.given_back = any32();
        if (one_of(32) == 0) record.local_size = any8();
        if (cl_ring_put(&session->out, &record, bytes) != 1) break;
    }
    for (uint32_t count = one_of(8); count > 0; count--) {
        uint32_t place = one_of(one_of(2) ? 2048 : (uint32_t)(CL_RINGS_DATA + 2 * session->ring_size));
        ((uint8_t *)session->mapping)[place] ^= any8();
    }
    tell(session->socket, CL_SESSION_BELL, 0, 0, NULL, 0);
}

/// One session, or a connection that never was one.
static void play(void) {
    struct session session = {.socket = -1};
    if (one_of(4) == 0) session.socket = dial();
    else session = begin();
    if (session.mapping != NULL && one_of(2)) fuzz_rings(&session);
    for (uint32_t count = one_of(8); count > 0; count--) {
        if (one_of(2)) fuzz_message(session.socket); else almost_right(session.socket);
    }
    // What a file says is heard to its end; else the connection is cut at any point.
    struct cl_session_header header;
    if (choices.input != NULL) shutdown(session.socket, SHUT_WR);
    while (choices.input != NULL && hear(session.socket, &header, NULL, NULL) > 0) continue;
    close(session.socket);
    if (session.mapping != NULL) munmap(session.mapping, CL_RINGS_DATA + 2 * session.ring_size);
}

static int fuzz(uint64_t seed, int count, const char *folder) {
    for (int round = 0; round < count; round++) {
        choose_by_seed(seed + (uint64_t)round);
        play();
        char path[512];
        snprintf(path, sizeof path, "%s/%llu", folder != NULL ? folder : "", (unsigned long long)seed + (unsigned)round);
        if (folder != NULL && !keep_choices(path)) return 73;
    }
    printf("done\n");
    return 0;
}

static int replay(char **files) {
    for (; *files != NULL; files++) {
        if (!choose_by_file(*files)) return 66;
        play();
    }
    printf("done\n");
    return 0;
}

int main(int count, char **arguments) {
    if (count >= 4 && strcmp(arguments[1], "fuzz") == 0)
        return fuzz(strtoull(arguments[2], NULL, 10), atoi(arguments[3]), arguments[4]);
    if (count >= 3 && strcmp(arguments[1], "replay") == 0) return replay(arguments + 2);
    if (count != 2) return 64;
    struct session session = {.socket = -1};
    if (strcmp(arguments[1], "silent") == 0) session.socket = dial();
    else {
        session = begin();
        commit(arguments[1], &session);
    }
    end(&session);
    return 0;
}
