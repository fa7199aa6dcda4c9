// SPDX-License-Identifier: Apache-2.0

// The library with an agent that has gone mad: rubbish in messages and in the ring, made from a seed or from a file's bytes.
// Each round is one registration, whose session must come to an end.
//
//     fuzz_library SEED COUNT
//     fuzz_library replay FILE...
//     fuzz_library last-word       an agent that ends the session and closes, with what the provider said unread: its reason
//                                  must be heard all the same
//     fuzz_library by-place        what the agent has sent is handed back by its place, where the agent understands that
//
// With libFuzzer, which makes the files (in Corpus/library):
//
//     clang -g -O1 -fsanitize=fuzzer,address -DWITH_LIBFUZZER -I Sources/CPNatfwt/include -I Sources/CLinux/include
//         Tests/ConformanceTests/Programs/fuzz_library.c Sources/CPNatfwt/*.c -ldl -pthread -o fuzz && ./fuzz -max_len=1024 FOLDER

#define _GNU_SOURCE
#include "choices.h"
#include "cl_ring.h"
#include "cl_session.h"
#include "cpnatfwt.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RING = 128 << 10 };

static int listener, says_last_word, last_reason = -1;
static int goes_by_place, takes_references, is_checked;
static char path[64];
static sem_t has_closed;
static atomic_ulong touched;

// MARK: The agent

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
    struct cl_session_id id = {.size = 16};
    switch (one_of(8)) {
    case 0: {
        size_t size = one_of(sizeof bytes);
        fill(bytes, size);
        send(fd, bytes, size, MSG_NOSIGNAL);
        break;
    }
    case 1: {
        size_t size = one_of(64);
        fill(bytes, size);
        tell(fd, (uint16_t)(16 + one_of(6)), one_of(8), any8(), bytes, size, -1);
        break;
    }
    case 2: tell(fd, CL_SESSION_TERMINATE, one_of(7), 0, NULL, 0, -1); break;
    case 3: tell(fd, CL_SESSION_CALL, CL_CALL_ACTIVE + one_of(2), any8(), NULL, 0, -1); break;
    case 4: tell(fd, CL_SESSION_ESTABLISH, 0, 0, NULL, 0, -1); break;
    default:
        if (one_of(3) == 0) id.size = any8();
        id.bytes[0] = any8();
        tell(fd, CL_SESSION_CALL, 1 + one_of(3), any8(), &id, sizeof id, -1);
    }
}

static void fill_ring(int fd, void *mapping) {
    struct cl_ring ring = cl_ring_view(mapping, RING, 0);
    static uint8_t bytes[2000];
    for (uint32_t count = one_of(40); count > 0; count--) {
        struct cl_record record = {
            .length = 1 + one_of(1999), .kind = CL_RECORD_PACKET, .luid = one_of(3), .local_size = 16, .remote_size = 16};
        if (one_of(50) == 0) record.local_size = any8();
        if (one_of(50) == 0) record.kind = CL_RECORD_REFERENCE;
        bytes[0] = any8();
        if (cl_ring_put(&ring, &record, bytes) != 1) break;
    }
    if (one_of(2)) ((uint8_t *)mapping)[one_of(one_of(2) ? 1024 : 60000)] ^= any8();
    tell(fd, CL_SESSION_BELL, 0, 0, NULL, 0, -1);
}

/// Registers it, for once as it should be where `is_right`.
static void *begin(int fd, int is_right) {
    int memory = memfd_create("fuzz", MFD_CLOEXEC);
    size_t size = CL_RINGS_DATA + 2 * RING;
    if (ftruncate(memory, (off_t)size) != 0) exit(3);
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    struct cl_session_registered body = {.ring_size = is_right || one_of(16) ? RING : any32()};
    body.features = !goes_by_place || takes_references ? CL_FEATURE_REFERENCES : 0;
    uint32_t result = is_right || one_of(32) ? 0 : any32();
    tell(fd, CL_SESSION_REGISTERED, result, 1, &body, is_right || one_of(32) ? sizeof body : 3, memory);
    close(memory);
    tell(fd, CL_SESSION_ESTABLISH, 0, 0, NULL, 0, -1);
    return mapping;
}

static void go_mad(int fd, void *mapping) {
    struct cl_session_id id = {.size = 16};
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 1, &id, sizeof id, -1);
    tell(fd, CL_SESSION_CALL, CL_CALL_ACTIVE, 2, NULL, 0, -1);
    for (uint32_t count = one_of(12); count > 0; count--) {
        if (one_of(2)) fill_ring(fd, mapping); else tell_anything(fd);
    }
}

/// The second ADD is answered when this side has closed, so that the library looks at the socket only then.
static void say_last_word(int fd) {
    struct cl_session_id id = {.size = 16};
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 1, &id, sizeof id, -1);
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 2, &id, sizeof id, -1);
    struct pollfd answered = {.fd = fd, .events = POLLIN};
    poll(&answered, 1, 10000);
    tell(fd, CL_SESSION_TERMINATE, CPNATFWT_SESSION_TERMINATION_PLATFORM_SHUTDOWN, 0, NULL, 0, -1);
}

/// Four packets are to come back for one: the whole by its place, a part of it too, a short part and what is not the
/// agent's as they are.
static void check_places(int fd, void *mapping) {
    struct cl_session_id id = {.size = 16};
    tell(fd, CL_SESSION_CALL, CL_CALL_ADD, 1, &id, sizeof id, -1);
    tell(fd, CL_SESSION_CALL, CL_CALL_ACTIVE, 2, NULL, 0, -1);
    uint8_t answer[64], sent[1000];
    for (int answers = 0; answers < 2; answers++) if (recv(fd, answer, sizeof answer, 0) <= 0) return;
    struct cl_ring out = cl_ring_view(mapping, RING, 0), in = cl_ring_view(mapping, RING, 1);
    struct cl_record record = {.length = sizeof sent, .kind = CL_RECORD_PACKET, .local_size = 16, .remote_size = 16};
    for (size_t index = 0; index < sizeof sent; index++) sent[index] = (uint8_t)(7 * index);
    cl_ring_put(&out, &record, sent);
    tell(fd, CL_SESSION_BELL, 0, 0, NULL, 0, -1);
    while (cl_ring_tail(&out) != out.position) if (recv(fd, answer, sizeof answer, MSG_DONTWAIT) == 0) return;
    if (takes_references) in.referred = out.data;
    static const struct {
        uint32_t from, length, is_place;
    } wanted[] = {{0, 1000, 1}, {100, 500, 1}, {200, 100, 0}, {0, 1000, 0}};
    for (size_t index = 0; index < 4; index++) {
        const uint8_t *bytes;
        if (cl_ring_next(&in, &record, &bytes) != 1 || record.length != wanted[index].length) return;
        int is_place = record.kind == CL_RECORD_REFERENCE;
        if (is_place != (takes_references && wanted[index].is_place)) return;
        if (is_place && bytes != out.data + sizeof record + wanted[index].from) return;
        if (memcmp(bytes, sent + wanted[index].from, record.length) != 0) return;
    }
    is_checked++;
}

static void *agent(void *argument) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return argument;
        uint8_t request[CL_SESSION_LARGEST];
        if (recv(fd, request, sizeof request, 0) > 0) {
            void *mapping = begin(fd, says_last_word || goes_by_place);
            if (says_last_word) say_last_word(fd);
            else if (goes_by_place) check_places(fd, mapping);
            else go_mad(fd, mapping);
            munmap(mapping, CL_RINGS_DATA + 2 * RING);
        }
        close(fd);
        sem_post(&has_closed);
    }
}

// MARK: The provider

static HRESULT with_id(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)user;
    if (says_last_word) {
        if (says_last_word++ > 1) sem_wait(&has_closed);
        return S_OK;
    }
    if (goes_by_place) return S_OK;
    touched += id->transportId[0] + id->transportId[id->size - 1];
    if (id->size != 4 && id->size != 16) abort();
    if (touched % 5 == 1) routine(instance, context, S_OK);
    return touched % 3 != 1 ? S_OK : CPNATFWT_PENDING;
}

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote, UINT64 luid,
    CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)user, (void)luid;
    if (goes_by_place) {
        static BYTE own[1000];
        memcpy(own, chain->buffer, sizeof own);
        CPNATFWT_BUFFER last = {NULL, 1000, own}, third = {&last, 100, chain->buffer + 200};
        CPNATFWT_BUFFER second = {&third, 500, chain->buffer + 100}, first = {&second, 1000, chain->buffer};
        return CPNatfwtIndicateReceivedBuffers(instance, local, remote, &first, NULL, NULL);
    }
    for (CPNATFWT_BUFFER *buffer = chain; buffer != NULL; buffer = buffer->next)
        for (ULONG index = 0; index < buffer->size; index += 64) touched += buffer->buffer[index];
    if (touched % 4 == 3) return CPNATFWT_PENDING;
    if (touched % 4 == 1) routine(instance, context, S_OK);
    // Not with whole rings: nobody reads what is indicated here. A long packet goes by its place.
    CPNATFWT_BUFFER answer = {NULL, chain->size < 256 ? 1 : chain->size, chain->buffer};
    if (touched % 16 == 2) CPNatfwtIndicateReceivedBuffers(instance, local, remote, &answer, NULL, NULL);
    return touched % 64 != 12 ? S_OK : E_FAIL;
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

/// One registration. `waits`: what the agent says is heard before the end; else this side may be the one to end it.
static void play(int waits) {
    static const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
        with_id, with_id, with_id, send_buffers, without_id, without_id, establish, terminated};
    int sessions = 0;
    touched = 0;
    last_reason = -1;
    CPNATFWT_PROVIDER_INSTANCE instance;
    if (CPNatfwtCreateProviderInstance(1, &callbacks, &sessions, 0, &instance) != S_OK) abort();
    if (CPNatfwtRegisterProviderInstance(instance, L"fuzz", NULL, 0, NULL) == S_OK) {
        while ((says_last_word || goes_by_place) && last_reason < 0) poll(NULL, 0, 1);
        if (waits) usleep(300);
        if (CPNatfwtDeregisterProviderInstance(instance) != S_OK) abort();
    }
    CPNatfwtDestroyProviderInstance(instance);
    if (sessions != 0) abort();
    // The agent decides for the next one when it is done with this one.
    if (!says_last_word) sem_wait(&has_closed);
}

// MARK: Rounds

static void set_up(pthread_t *thread) {
    sem_init(&has_closed, 0, 0);
    snprintf(path, sizeof path, "/tmp/cpnatfwt-fuzz-%d.sock", (int)getpid());
    setenv("CPNATFWT_SOCKET", path, 1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) exit(2);
    pthread_create(thread, NULL, agent, NULL);
}

#ifdef WITH_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    static pthread_t thread;
    if (listener == 0) set_up(&thread);
    choose_by_input(input, size);
    play(1);
    return 0;
}

#else

int main(int count, char **arguments) {
    says_last_word = count == 2 && strcmp(arguments[1], "last-word") == 0;
    goes_by_place = count == 2 && strcmp(arguments[1], "by-place") == 0;
    int replays = count > 2 && strcmp(arguments[1], "replay") == 0;
    if (!says_last_word && !goes_by_place && !replays && count != 3) return 64;
    pthread_t thread;
    set_up(&thread);
    int rounds = says_last_word ? 1 : goes_by_place ? 2 : replays ? count - 2 : atoi(arguments[2]);
    for (int round = 0; round < rounds; round++) {
        takes_references = round == 0;
        if (!replays) choose_by_seed(count == 2 ? 1 : strtoull(arguments[1], NULL, 10) + (uint64_t)round);
        else if (!choose_by_file(arguments[2 + round])) return 66;
        play(replays || round % 4);
    }
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    unlink(path);
    printf("done\n");
    if (goes_by_place) return is_checked != 2;
    return says_last_word && last_reason != CPNATFWT_SESSION_TERMINATION_PLATFORM_SHUTDOWN;
}

#endif
