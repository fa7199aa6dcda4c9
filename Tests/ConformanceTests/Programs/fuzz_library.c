// SPDX-License-Identifier: Apache-2.0

// The library with an agent that has gone mad: rubbish made from a seed, in messages and in the ring. Each round is one
// registration, whose session must come to an end.
//
//     fuzz_library SEED COUNT
//     fuzz_library last-word       an agent that ends the session and closes, with what the provider said unread: its reason
//                                  must be heard all the same

#define _GNU_SOURCE
#include "cl_ring.h"
#include "cl_session.h"
#include "cpnatfwt.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RING = 128 << 10 };

static uint64_t state;
static int listener;
static atomic_ulong touched;

static uint32_t random32(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void tell(int fd, uint16_t type, uint32_t value, uint64_t number, const void *body, size_t size, int memory) {
    struct cl_session_header header = {type, (uint16_t)(sizeof header + size), value, number};
    struct iovec places[2] = {{&header, sizeof header}, {(void *)(uintptr_t)body, size}};
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = places, .msg_iovlen = size > 0 ? 2 : 1};
    if (memory >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET, item->cmsg_type = SCM_RIGHTS, item->cmsg_len = CMSG_LEN(sizeof memory);
        memcpy(CMSG_DATA(item), &memory, sizeof memory);
    }
    sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void tell_anything(int fd) {
    uint8_t bytes[128];
    for (size_t index = 0; index < sizeof bytes; index++) bytes[index] = (uint8_t)random32();
    struct cl_session_id id = {.size = random32() % 3 ? 16 : (uint8_t)random32()};
    switch (random32() % 8) {
    case 0: send(fd, bytes, random32() % sizeof bytes, MSG_NOSIGNAL); break;
    case 1: tell(fd, (uint16_t)(16 + random32() % 6), random32() % 8, random32(), bytes, random32() % 64, -1); break;
    case 2: tell(fd, CL_SESSION_TERMINATE, random32() % 7, 0, NULL, 0, -1); break;
    case 3: tell(fd, CL_SESSION_CALL, CL_CALL_ACTIVE + random32() % 2, random32(), NULL, 0, -1); break;
    case 4: tell(fd, CL_SESSION_ESTABLISH, 0, 0, NULL, 0, -1); break;
    default: tell(fd, CL_SESSION_CALL, 1 + random32() % 3, random32(), &id, sizeof id, -1);
    }
}

static void fill_ring(int fd, void *mapping) {
    struct cl_ring ring = cl_ring_view(mapping, RING, 0);
    static uint8_t bytes[2000];
    for (uint32_t count = random32() % 40; count > 0; count--) {
        struct cl_record record = {
            .length = 1 + random32() % 1999, .kind = CL_RECORD_PACKET, .luid = random32() % 3,
            .local_size = random32() % 50 ? 16 : (uint8_t)random32(), .remote_size = 16};
        if (cl_ring_put(&ring, &record, bytes) != 1) break;
    }
    if (random32() % 2) ((uint8_t *)mapping)[random32() % (random32() % 2 ? 1024 : 60000)] ^= (uint8_t)random32();
    tell(fd, CL_SESSION_BELL, 0, 0, NULL, 0, -1);
}

static sem_t has_closed;
static int says_last_word, last_reason = -1;

/// The second ADD is answered when this side has closed, so that the library looks at the socket only then.
static void serve_last_word(int fd) {
    struct cl_session_id id = {.size = 16};
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 1, &id, sizeof id, -1);
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 2, &id, sizeof id, -1);
    struct pollfd answered = {.fd = fd, .events = POLLIN};
    poll(&answered, 1, 10000);
    tell(fd, CL_SESSION_TERMINATE, CPNATFWT_SESSION_TERMINATION_PLATFORM_SHUTDOWN, 0, NULL, 0, -1);
}

/// One session with one registration.
static void serve(int fd) {
    uint8_t request[CL_SESSION_LARGEST];
    if (recv(fd, request, sizeof request, 0) <= 0) return;
    int memory = memfd_create("fuzz", MFD_CLOEXEC);
    size_t size = CL_RINGS_DATA + 2 * RING;
    if (ftruncate(memory, (off_t)size) != 0) exit(3);
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    struct cl_session_registered body = {.ring_size = random32() % 16 ? RING : random32()};
    if (says_last_word) body.ring_size = RING, tell(fd, CL_SESSION_REGISTERED, 0, 1, &body, sizeof body, memory);
    else tell(fd, CL_SESSION_REGISTERED, random32() % 32 ? 0 : random32(), random32(), &body, random32() % 32 ? sizeof body : 3, memory);
    close(memory);
    tell(fd, CL_SESSION_ESTABLISH, 0, 0, NULL, 0, -1);
    if (says_last_word) {
        munmap(mapping, size);
        return serve_last_word(fd);
    }
    struct cl_session_id id = {.size = 16};
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 1, &id, sizeof id, -1);
    tell(fd, CL_SESSION_CALL, CL_CALL_ACTIVE, 2, NULL, 0, -1);
    for (uint32_t count = random32() % 12; count > 0; count--) {
        if (random32() % 2) fill_ring(fd, mapping); else tell_anything(fd);
    }
    munmap(mapping, size);
}

static void *agent(void *argument) {
    (void)argument;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return NULL;
        serve(fd);
        close(fd);
        sem_post(&has_closed);
    }
}

static HRESULT with_id(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)user;
    if (says_last_word) {
        if (says_last_word++ > 1) sem_wait(&has_closed);
        return S_OK;
    }
    touched += id->transportId[0] + id->transportId[id->size - 1];
    if (id->size != 4 && id->size != 16) abort();
    if (touched % 5 == 0) routine(instance, context, S_OK);
    return touched % 3 ? S_OK : CPNATFWT_PENDING;
}

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote, UINT64 luid,
    CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)user, (void)luid;
    for (CPNATFWT_BUFFER *buffer = chain; buffer != NULL; buffer = buffer->next)
        for (ULONG index = 0; index < buffer->size; index += 64) touched += buffer->buffer[index];
    if (touched % 4 == 0) return CPNATFWT_PENDING;
    if (touched % 4 == 1) routine(instance, context, S_OK);
    // Not with whole rings: nobody reads what is indicated here.
    if (touched % 16 == 2) CPNatfwtIndicateReceivedBuffers(instance, local, remote, &(CPNATFWT_BUFFER){NULL, 1, chain->buffer}, NULL, NULL);
    return touched % 64 ? S_OK : E_FAIL;
}

static HRESULT without_id(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return S_OK;
}

static VOID establish(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) { (void)instance, ++*(int *)user; }

static VOID terminated(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    (void)instance;
    last_reason = (int)reason;
    if ((unsigned)reason > 4 || --*(int *)user != 0) abort();
}

int main(int count, char **arguments) {
    says_last_word = count == 2 && strcmp(arguments[1], "last-word") == 0;
    if (count != 3 && !says_last_word) return 64;
    sem_init(&has_closed, 0, 0);
    char path[64];
    snprintf(path, sizeof path, "/tmp/cpnatfwt-fuzz-%d.sock", (int)getpid());
    setenv("CPNATFWT_SOCKET", path, 1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) return 2;
    if (!says_last_word) state = strtoull(arguments[1], NULL, 10) * 0x9E3779B97F4A7C15u | 1;
    pthread_t thread;
    pthread_create(&thread, NULL, agent, NULL);
    const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
        with_id, with_id, with_id, send_buffers, without_id, without_id, establish, terminated};
    for (int round = 0; round < (says_last_word ? 1 : atoi(arguments[2])); round++) {
        int sessions = 0;
        CPNATFWT_PROVIDER_INSTANCE instance;
        if (CPNatfwtCreateProviderInstance(1, &callbacks, &sessions, 0, &instance) != S_OK) return 4;
        if (CPNatfwtRegisterProviderInstance(instance, L"fuzz", NULL, 0, NULL) == S_OK) {
            // What was said is heard before the end; sometimes this side is the one to end it.
            while (says_last_word && last_reason < 0) poll(NULL, 0, 1);
            if (round % 4) usleep(300);
            if (CPNatfwtDeregisterProviderInstance(instance) != S_OK) return 5;
        }
        CPNatfwtDestroyProviderInstance(instance);
        if (sessions != 0) return 6;
    }
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    unlink(path);
    printf("done\n");
    return says_last_word && last_reason != CPNATFWT_SESSION_TERMINATION_PLATFORM_SHUTDOWN;
}
