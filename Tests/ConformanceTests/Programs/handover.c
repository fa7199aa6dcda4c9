// SPDX-License-Identifier: Apache-2.0

// A provider of two agents on one host, which carries each one's packets to the other, and holds the platform to obligation 29
// with every one of them:
//
//     handover SOCKET SOCKET
//
// What the platform hands over is pended, compared later, on another thread, with what it was, and overwritten before it is
// completed: the platform has no use for it any more. What is handed to the platform (chain, IDs and bytes) lies in pages of
// its own, which nobody may touch from the completion, or the return, on. Prints how many packets it was, and ends with 1
// where something was not as it was; where the platform touches what it may not, SIGSEGV ends it.

#define _GNU_SOURCE
#include "cpnatfwt.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SIDES = 2, SLOTS = 64, SLOT_SIZE = 128 << 10, MOST_IN_SLOT = 64 };

/// What is handed to the platform, in pages of its own.
struct slot {
    CPNATFWT_TRANSPORT_ID local, remote;
    BYTE local_bytes[16], remote_bytes[16];
    CPNATFWT_BUFFER chain[MOST_IN_SLOT];
    BYTE bytes[];
};

/// A call of SEND_BUFFERS that is pended: its arguments, and copies of what they pointed to.
struct handed {
    struct handed *next;
    int side;
    CPNATFWT_TRANSPORT_ID *local, *remote;
    BYTE local_bytes[16], remote_bytes[16];
    CPNATFWT_BUFFER *chain, links[MOST_IN_SLOT];
    int count;
    PVOID context;
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine;
    BYTE bytes[];
};

static struct side {
    CPNATFWT_PROVIDER_INSTANCE instance;
    BYTE id[16];
} sides[SIDES];

static BYTE *slots;
static unsigned next_slot;
static unsigned long packets, changed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t came = PTHREAD_COND_INITIALIZER;
static struct handed *first, **last = &first;
static int is_over, told[2];

// MARK: What the platform hands over

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote,
    UINT64 endpoint, CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)endpoint;
    size_t size = 0;
    for (CPNATFWT_BUFFER *buffer = chain; buffer != NULL; buffer = buffer->next) size += buffer->size;
    struct handed *call = malloc(sizeof *call + size);
    if (call == NULL) return E_OUTOFMEMORY;
    call->next = NULL;
    call->side = (int)((struct side *)user - sides);
    call->local = local, call->remote = remote, call->chain = chain;
    call->context = context, call->routine = routine;
    memcpy(call->local_bytes, local->transportId, 16);
    memcpy(call->remote_bytes, remote->transportId, 16);
    call->count = 0;
    BYTE *end = call->bytes;
    for (CPNATFWT_BUFFER *buffer = chain; buffer != NULL; buffer = buffer->next) {
        call->links[call->count++] = *buffer;
        end = mempcpy(end, buffer->buffer, buffer->size);
    }
    pthread_mutex_lock(&lock);
    *last = call;
    last = &call->next;
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
    return CPNATFWT_PENDING;
}

/// Whether what a call was given is what it was.
static int is_unchanged(const struct handed *call) {
    if (call->local->size != 16 || memcmp(call->local->transportId, call->local_bytes, 16) != 0) return 0;
    if (call->remote->size != 16 || memcmp(call->remote->transportId, call->remote_bytes, 16) != 0) return 0;
    const CPNATFWT_BUFFER *buffer = call->chain;
    const BYTE *bytes = call->bytes;
    for (int index = 0; index < call->count; index++, buffer = buffer->next) {
        const CPNATFWT_BUFFER *link = &call->links[index];
        if (buffer->size != link->size || buffer->buffer != link->buffer || buffer->next != link->next) return 0;
        if (memcmp(buffer->buffer, bytes, link->size) != 0) return 0;
        bytes += link->size;
    }
    return buffer == NULL;
}

// MARK: What the platform is handed

static VOID protect(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID slot) {
    (void)instance, (void)user;
    if (mprotect(slot, SLOT_SIZE, PROT_NONE) != 0) abort();
}

/// Indicates what a call has brought to the other side: every second time with a completion routine.
static void carry(const struct handed *call) {
    unsigned number = next_slot++;
    struct slot *slot = (struct slot *)(slots + (size_t)(number % SLOTS) * SLOT_SIZE);
    if (mprotect(slot, SLOT_SIZE, PROT_READ | PROT_WRITE) != 0) abort();
    memcpy(slot->local_bytes, call->remote_bytes, 16);
    memcpy(slot->remote_bytes, call->local_bytes, 16);
    slot->local = (CPNATFWT_TRANSPORT_ID){16, slot->local_bytes};
    slot->remote = (CPNATFWT_TRANSPORT_ID){16, slot->remote_bytes};
    const BYTE *from = call->bytes;
    BYTE *to = slot->bytes, *end = (BYTE *)slot + SLOT_SIZE;
    int count = 0;
    for (; count < call->count && call->links[count].size <= end - to; count++) {
        slot->chain[count] = (CPNATFWT_BUFFER){&slot->chain[count + 1], call->links[count].size, to};
        memcpy(to, from, call->links[count].size);
        from += call->links[count].size;
        to += call->links[count].size;
    }
    if (count == 0) abort();
    slot->chain[count - 1].next = NULL;
    packets += (unsigned)count;
    int has_routine = number % 2 == 0;
    HRESULT result = CPNatfwtIndicateReceivedBuffers(
        sides[!call->side].instance, &slot->local, &slot->remote, slot->chain, slot, has_routine ? protect : NULL);
    // An Indicate that fails calls no routine.
    if (!has_routine || FAILED(result)) protect(NULL, NULL, slot);
}

static void finish(struct handed *call) {
    carry(call);
    if (!is_unchanged(call)) changed++;
    for (int index = 0; index < call->count; index++) memset(call->links[index].buffer, 0xEE, call->links[index].size);
    call->routine(sides[call->side].instance, call->context, S_OK);
    free(call);
}

/// Takes what was handed over a moment later, so that the platform goes on meanwhile.
static void *work(void *argument) {
    for (;;) {
        pthread_mutex_lock(&lock);
        while (first == NULL && !is_over) pthread_cond_wait(&came, &lock);
        pthread_mutex_unlock(&lock);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        pthread_mutex_lock(&lock);
        struct handed *call = first;
        first = NULL;
        last = &first;
        int ends = is_over;
        pthread_mutex_unlock(&lock);
        // Past the end of a session there is nothing behind a call any more.
        if (ends) return argument;
        while (call != NULL) {
            struct handed *next = call->next;
            finish(call);
            call = next;
        }
    }
}

// MARK: The other callbacks

static HRESULT add(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)context, (void)routine;
    if (id->size == 16) memcpy(((struct side *)user)->id, id->transportId, 16);
    return S_OK;
}

static HRESULT reach(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)context, (void)routine;
    const struct side *other = &sides[user == (PVOID)&sides[0]];
    return id->size == 16 && memcmp(id->transportId, other->id, 16) == 0 ? S_OK : CPNATFWT_E_UNREACHABLE;
}

static HRESULT active(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return S_OK;
}

static VOID establish(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) { (void)instance, (void)user; }

static VOID terminated(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    (void)instance, (void)user, (void)reason;
}

static void stop(int number) {
    (void)number;
    if (write(told[1], "s", 1) != 1) _exit(3);
}

int main(int count, char **arguments) {
    slots = mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (count != 1 + SIDES || pipe(told) != 0 || slots == MAP_FAILED) return 64;
    signal(SIGTERM, stop);
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
        .addTransportId = add, .reachTransportId = reach, .sendBuffers = send_buffers, .transitionActive = active,
        .establishSession = establish, .terminateSession = terminated};
    for (int side = 0; side < SIDES; side++) {
        setenv("CPNATFWT_SOCKET", arguments[1 + side], 1);
        if (CPNatfwtCreateProviderInstance(CPNATFWT_VERSION_1, &callbacks, &sides[side], 0, &sides[side].instance) != S_OK) return 2;
        if (CPNatfwtRegisterProviderInstance(sides[side].instance, NULL, NULL, 0, NULL) != S_OK) return 2;
    }
    char why;
    while (read(told[0], &why, 1) != 1) continue;
    pthread_mutex_lock(&lock);
    is_over = 1;
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    for (int side = 0; side < SIDES; side++) {
        CPNatfwtDeregisterProviderInstance(sides[side].instance);
        CPNatfwtDestroyProviderInstance(sides[side].instance);
    }
    printf("packets %lu\nchanged %lu\n", packets, changed);
    return changed > 0;
}
