// SPDX-License-Identifier: Apache-2.0

// What the functions of cpnatfwt.h promise, looked at from a provider's side against a running agent. One line for each
// thing looked at: "ok NUMBER text" or "broken NUMBER text", by the number of the obligation.

#include "cpnatfwt.h"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int broken;

static void check(int number, int is_kept, const char *text) {
    if (!is_kept) broken++;
    printf("%s %d %s\n", is_kept ? "ok" : "broken", number, text);
    fflush(stdout);
}

/// What happened to one instance, in order: e established, a added, r reach asked, t transition, s sent, x terminated.
struct life {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char events[64];
    int count;
    CPNATFWT_PROVIDER_INSTANCE instance, seen;
    int wrong_context, callbacks_running, most_running;
    CPNATFWT_SESSION_TERMINATION_REASON reason;
    BYTE id[16];
    USHORT id_size;
    /// What the next callbacks do.
    int pends_add, destroys_inside, leaves_in_active;
    PVOID context;
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine;
    HRESULT inside_deregister, after_destroy, inside_indicate;
};

static void note(struct life *life, CPNATFWT_PROVIDER_INSTANCE instance, char event) {
    pthread_mutex_lock(&life->lock);
    life->seen = instance;
    if (life->count < 63) life->events[life->count++] = event;
    pthread_cond_broadcast(&life->changed);
    pthread_mutex_unlock(&life->lock);
}

/// Waits up to 10 s for an event.
static int saw(struct life *life, char event) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&life->lock);
    int status = 0;
    while (strchr(life->events, event) == NULL && status == 0) status = pthread_cond_timedwait(&life->changed, &life->lock, &until);
    int found = strchr(life->events, event) != NULL;
    pthread_mutex_unlock(&life->lock);
    return found;
}

static HRESULT add(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    struct life *life = user;
    memcpy(life->id, id->transportId, id->size <= 16 ? id->size : 0);
    life->id_size = id->size;
    life->context = context;
    life->routine = routine;
    note(life, instance, 'a');
    return life->pends_add ? CPNATFWT_PENDING : S_OK;
}

static HRESULT reach(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)id, (void)context, (void)routine;
    note(user, instance, 'r');
    return CPNATFWT_E_UNREACHABLE;
}

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote, UINT64 luid,
    CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)local, (void)remote, (void)luid, (void)chain, (void)context, (void)routine;
    note(user, instance, 's');
    return S_OK;
}

static HRESULT active(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)context, (void)routine;
    struct life *life = user;
    if (life->leaves_in_active) life->inside_deregister = CPNatfwtDeregisterProviderInstance(instance);
    note(life, instance, 't');
    return S_OK;
}

static VOID establish(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) { note(user, instance, 'e'); }

static VOID terminated(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    struct life *life = user;
    life->reason = reason;
    if (life->destroys_inside) {
        life->inside_deregister = CPNatfwtDeregisterProviderInstance(instance);
        CPNatfwtDestroyProviderInstance(instance);
        life->after_destroy = CPNatfwtDeregisterProviderInstance(instance);
    }
    note(life, instance, 'x');
}

static const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
    .addTransportId = add, .reachTransportId = reach, .sendBuffers = send_buffers, .transitionActive = active,
    .establishSession = establish, .terminateSession = terminated};

static struct life *create(void) {
    static struct life lives[16];
    static int used;
    struct life *life = &lives[used++];
    pthread_mutex_init(&life->lock, NULL);
    pthread_cond_init(&life->changed, NULL);
    CPNatfwtCreateProviderInstance(CPNATFWT_VERSION_1, &callbacks, life, 0, &life->instance);
    return life;
}

static HRESULT enroll(struct life *life, WCHAR *name, IF_LUID *luid, WCHAR *sddl) {
    return CPNatfwtRegisterProviderInstance(life->instance, name, luid, 0, sddl);
}

static void finish(struct life *life) {
    CPNatfwtDeregisterProviderInstance(life->instance);
    CPNatfwtDestroyProviderInstance(life->instance);
}

static VOID count_completion(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context) {
    (void)instance, (void)user;
    ++*(int *)context;
}

static void creation(void) {
    CPNATFWT_PROVIDER_INSTANCE instance = (CPNATFWT_PROVIDER_INSTANCE)1;
    CPNATFWT_PROVIDER_CALLBACKS lacking = callbacks;
    lacking.sendBuffers = NULL;
    check(31, CPNatfwtCreateProviderInstance(1, &callbacks, NULL, 0, NULL) == E_POINTER, "Create without a place for the handle");
    check(31, CPNatfwtCreateProviderInstance(1, NULL, NULL, 0, &instance) == E_POINTER && instance == NULL, "Create without callbacks");
    check(31, CPNatfwtCreateProviderInstance(1, &lacking, NULL, 0, &instance) == E_POINTER, "Create without SEND_BUFFERS");
    check(31, CPNatfwtCreateProviderInstance(2, &callbacks, NULL, 0, &instance) == CPNATFWT_E_VERSION, "Create with another version");
    check(31, CPNatfwtCreateProviderInstance(1, &callbacks, NULL, 1, &instance) == CPNATFWT_E_FLAGS, "Create with flags");
    CPNATFWT_PROVIDER_INSTANCE dead = (CPNATFWT_PROVIDER_INSTANCE)0xDEADBEEF;
    check(31, CPNatfwtRegisterProviderInstance(dead, NULL, NULL, 0, NULL) == E_HANDLE, "Register with a dead handle");
    check(31, CPNatfwtDeregisterProviderInstance(NULL) == E_HANDLE, "Deregister with NULL");
    check(31, CPNatfwtIndicateReceivedBuffers(dead, NULL, NULL, NULL, NULL, NULL) == E_HANDLE, "Indicate with a dead handle");
    CPNatfwtDestroyProviderInstance(dead);
    CPNatfwtDestroyProviderInstance(NULL);
    check(15, 1, "Destroy with a dead handle does nothing");
}

static void registration(void) {
    struct life *life = create();
    check(14, CPNatfwtDeregisterProviderInstance(life->instance) == CPNATFWT_E_STATE, "Deregister before Register");
    check(31, CPNatfwtRegisterProviderInstance(life->instance, NULL, NULL, 5, NULL) == CPNATFWT_E_FLAGS, "Register with flags");
    check(31, enroll(life, NULL, NULL, L"no-such-user-here") == CPNATFWT_E_NO_ACCOUNT, "Register for a user that there is not");
    check(31, enroll(life, NULL, NULL, L"root,,root") == E_INVALIDARG, "Register with an empty name in the sddl");
    WCHAR wrong[] = {0xD800, 0};
    check(31, enroll(life, wrong, NULL, NULL) == E_INVALIDARG, "Register with a name that is no text");
    IF_LUID unknown = {.Value = 999999};
    check(5, enroll(life, NULL, &unknown, NULL) == CPNATFWT_E_NO_INTERFACE, "Register with somebody else's LUID");
    check(7, life->count == 0, "nothing is indicated while Register fails");
    check(8, strchr(life->events, 'x') == NULL, "nor is an end, where there was no session");
    HRESULT again = enroll(life, NULL, NULL, NULL);
    check(4, again == S_OK, "Register with NULL for name, LUID and sddl");
    check(6, again == S_OK, "Register again after failures");
    check(31, enroll(life, NULL, NULL, NULL) == CPNATFWT_E_STATE, "Register twice");
    check(7, saw(life, 't') && strcmp(life->events, "eat") == 0, "establish, then ADD_TRANSPORT_ID, then TRANSITION_ACTIVE");
    check(1, life->seen == life->instance, "callbacks give the handle");
    check(20, life->id_size == 16 || life->id_size == 4, "the transport ID is an address");
    CPNatfwtDestroyProviderInstance(life->instance);
    check(14, CPNatfwtDeregisterProviderInstance(life->instance) == S_OK, "Destroy before Deregister does nothing");
    check(9, saw(life, 'x') && life->reason == CPNATFWT_SESSION_TERMINATION_PROVIDER_REQUEST, "Deregister gives PROVIDER_REQUEST");
    check(26, strcmp(life->events, "eatx") == 0, "one establish, one terminate");
    check(31, CPNatfwtDeregisterProviderInstance(life->instance) == CPNATFWT_E_STATE, "Deregister twice");
    CPNatfwtDestroyProviderInstance(life->instance);
    CPNatfwtDestroyProviderInstance(life->instance);
    check(15, CPNatfwtDeregisterProviderInstance(life->instance) == E_HANDLE, "the handle is dead after Destroy");
    struct life *unregistered = create();
    CPNatfwtDestroyProviderInstance(unregistered->instance);
    check(6, CPNatfwtDeregisterProviderInstance(unregistered->instance) == E_HANDLE, "Destroy without Register");
}

static void interfaces(void) {
    struct life *first = create(), *second = create(), *third = create();
    IF_LUID luid = {0}, other = {0}, busy;
    WCHAR name[301];
    wmemset(name, L'n', 300);
    name[300] = 0;
    check(3, enroll(first, name, &luid, NULL) == S_OK && luid.Value != 0, "a name of 300 characters is cut");
    check(3, enroll(second, name, &other, NULL) == S_OK && other.Value != luid.Value, "a name that is taken gets a number");
    busy = luid;
    check(5, enroll(third, NULL, &busy, NULL) == CPNATFWT_E_BUSY, "an interface in use");
    finish(first);
    check(5, enroll(third, NULL, &luid, NULL) == S_OK && luid.Value == busy.Value, "a LUID takes the interface up again at once");
    check(4, saw(third, 't'), "and its session is active");
    finish(second);
    finish(third);
}

static void indication(void) {
    struct life *life = create();
    BYTE remote_bytes[16] = {0x20, 1, 0, 0x21, 9}, packet[1500] = {0x60};
    CPNATFWT_TRANSPORT_ID remote = {16, remote_bytes}, local = {16, remote_bytes};
    CPNATFWT_BUFFER second = {NULL, 40, packet}, chain = {&second, 1500, packet};
    check(22, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, NULL, NULL) == CPNATFWT_E_STATE, "Indicate before Register");
    enroll(life, NULL, NULL, NULL);
    saw(life, 't');
    BYTE own[16];
    memcpy(own, life->id, 16);
    local.transportId = own;
    HRESULT result;
    for (int tries = 0; tries < 1000; tries++) {
        result = CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, NULL, NULL);
        if (result != CPNATFWT_E_STATE) break;
        poll(NULL, 0, 1);
    }
    check(22, result == S_OK, "Indicate without a completion routine");
    int completions = 0;
    result = CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, &completions, count_completion);
    check(30, result == S_OK && completions == 1, "with one it is called once");
    local.transportId = remote_bytes;
    check(21, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, &completions, count_completion) == E_INVALIDARG, "local must be an ID of the instance");
    local.transportId = own;
    check(31, CPNatfwtIndicateReceivedBuffers(life->instance, NULL, &remote, &chain, NULL, NULL) == E_POINTER, "Indicate without a local ID");
    check(31, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, NULL, NULL, NULL) == E_POINTER, "Indicate without a chain");
    second.buffer = NULL;
    check(31, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, NULL, NULL) == E_POINTER, "a buffer without bytes");
    second.buffer = packet;
    second.size = 65537;
    check(31, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, NULL, NULL) == E_INVALIDARG, "a buffer that is too long");
    remote.size = 5;
    second.size = 40;
    check(20, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, &completions, count_completion) == E_INVALIDARG && completions == 1, "an ID of 5 bytes");
    remote.size = 16;
    CPNatfwtDeregisterProviderInstance(life->instance);
    check(22, CPNatfwtIndicateReceivedBuffers(life->instance, &local, &remote, &chain, NULL, NULL) == CPNATFWT_E_STATE, "Indicate after Deregister");
    CPNatfwtDestroyProviderInstance(life->instance);
}

static void pending(void) {
    struct life *life = create();
    life->pends_add = 1;
    enroll(life, NULL, NULL, NULL);
    saw(life, 'a');
    check(24, life->routine(life->instance, life->context, CPNATFWT_PENDING) == E_INVALIDARG, "a completion can't be pending");
    check(31, life->routine((CPNATFWT_PROVIDER_INSTANCE)0x1234, life->context, S_OK) == E_HANDLE, "a completion with a dead handle");
    check(31, life->routine(life->instance, (PVOID)0x7777777, S_OK) == CPNATFWT_E_NO_CALL, "a completion with a context of one's own");
    HRESULT first = S_OK;
    for (int tries = 0; tries < 2; tries++) {
        first = life->routine(life->instance, life->context, S_OK);
        if (first == S_OK) break;
    }
    check(19, first == S_OK && saw(life, 't'), "a pended call goes on with its completion");
    check(24, life->routine(life->instance, life->context, S_OK) == CPNATFWT_E_NO_CALL, "a second completion is refused");
    finish(life);
    check(24, life->routine(life->instance, life->context, S_OK) == E_HANDLE, "a completion after Destroy");
    struct life *late = create();
    late->pends_add = 1;
    enroll(late, NULL, NULL, NULL);
    check(25, saw(late, 'x') && late->reason == CPNATFWT_SESSION_TERMINATION_PROVIDER_TIMEOUT, "a call that is never completed: PROVIDER_TIMEOUT");
    check(24, late->routine(late->instance, late->context, S_OK) == CPNATFWT_E_NO_CALL, "a completion behind the deadline");
    check(14, CPNatfwtDeregisterProviderInstance(late->instance) == S_OK, "Deregister after the platform's end");
    CPNatfwtDestroyProviderInstance(late->instance);
}

static void inside(void) {
    struct life *life = create();
    life->pends_add = life->destroys_inside = 1;
    enroll(life, NULL, NULL, NULL);
    check(27, saw(life, 'x') && life->inside_deregister == S_OK && life->after_destroy == E_HANDLE, "Deregister and Destroy within the terminate indication");
    struct life *active = create();
    active->leaves_in_active = 1;
    enroll(active, NULL, NULL, NULL);
    check(27, saw(active, 't') && active->inside_deregister == S_OK && strcmp(active->events, "eaxt") == 0, "Deregister within another callback");
    CPNatfwtDestroyProviderInstance(active->instance);
    check(26, strcmp(active->events, "eaxt") == 0, "no callback after it");
}

static void forks(void) {
    struct life *life = create();
    enroll(life, NULL, NULL, NULL);
    saw(life, 't');
    pid_t child = fork();
    if (child == 0) _exit(CPNatfwtDeregisterProviderInstance(life->instance) == CPNATFWT_E_NOT_SUPPORTED ? 0 : 1);
    int status = 1;
    waitpid(child, &status, 0);
    check(31, status == 0, "a child of fork can't use the instance");
    check(31, CPNatfwtDeregisterProviderInstance(life->instance) == S_OK, "the parent still can");
    CPNatfwtDestroyProviderInstance(life->instance);
}

int main(void) {
    creation();
    registration();
    interfaces();
    indication();
    pending();
    inside();
    forks();
    return broken > 0;
}
