// SPDX-License-Identifier: Apache-2.0

// A provider that hands every packet back to the node that sent it, as if its only peer had. With a word it misbehaves:
//
//     mirror [well]          reaches every ID, until it is told to stop (SIGTERM) or the session ends
//     mirror never-add       pends ADD_TRANSPORT_ID and forgets it          never-reach, never-active, never-send
//     mirror fail-add        returns E_FAIL from it                         fail-reach, fail-active, fail-send
//     mirror refuse-add      says that a peer holds every ID already; refuse-reach: that no peer holds the one asked for
//     mirror late            completes every call from another thread, twice
//     mirror leave           deregisters as soon as it is active
//     mirror inside          deregisters and destroys from within the terminate indication
//
// It writes a line on its standard output for each thing that happens.

#include "cpnatfwt.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *mode = "well";
static int told[2];
static char context_mark;

static void say(const char *line) {
    char text[200];
    int count = snprintf(text, sizeof text, "%s\n", line);
    if (write(1, text, (size_t)count) != count) _exit(3);
}

struct pended {
    CPNATFWT_PROVIDER_INSTANCE instance;
    PVOID context;
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine;
};

static void *complete_later(void *argument) {
    struct pended call = *(struct pended *)argument;
    free(argument);
    say(call.routine(call.instance, call.context, S_OK) == S_OK ? "completed" : "refused");
    if (call.routine(call.instance, call.context, S_OK) != CPNATFWT_E_NO_CALL) say("second completion taken");
    return NULL;
}

static HRESULT answer(
    const char *call, CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    if (user != &context_mark) say("wrong user context");
    char name[40];
    snprintf(name, sizeof name, "never-%s", call);
    if (strcmp(mode, name) == 0) return CPNATFWT_PENDING;
    snprintf(name, sizeof name, "fail-%s", call);
    if (strcmp(mode, name) == 0) return E_FAIL;
    snprintf(name, sizeof name, "refuse-%s", call);
    if (strcmp(mode, name) == 0) return strcmp(call, "add") == 0 ? CPNATFWT_E_DUPLICATE : CPNATFWT_E_UNREACHABLE;
    if (strcmp(mode, "late") != 0) return S_OK;
    struct pended *pended = malloc(sizeof *pended);
    if (pended == NULL) return E_OUTOFMEMORY;
    *pended = (struct pended){instance, context, routine};
    pthread_t thread;
    if (pthread_create(&thread, NULL, complete_later, pended) != 0) return E_FAIL;
    pthread_detach(thread);
    return CPNATFWT_PENDING;
}

static HRESULT add(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    char line[80] = "add ";
    for (int index = 0; index < id->size; index++) snprintf(line + 4 + 2 * index, 3, "%02x", id->transportId[index]);
    say(line);
    return answer("add", instance, user, context, routine);
}

static HRESULT reach(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)id;
    say("asked");
    return answer("reach", instance, user, context, routine);
}

static HRESULT send_buffers(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote,
    UINT64 endpoint, CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)endpoint;
    static int has_sent;
    if (!has_sent++) say("sent");
    HRESULT result = answer("send", instance, user, context, routine);
    if (result == S_OK) CPNatfwtIndicateReceivedBuffers(instance, local, remote, chain, NULL, NULL);
    return result;
}

static HRESULT active(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    say("active");
    HRESULT result = answer("active", instance, user, context, routine);
    if (strcmp(mode, "leave") == 0 && write(told[1], "l", 1) != 1) return E_FAIL;
    return result;
}

static VOID establish(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) {
    (void)instance, (void)user;
    say("established");
}

static VOID terminated(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    (void)user;
    char line[40];
    snprintf(line, sizeof line, "terminated %d", (int)reason);
    say(line);
    if (strcmp(mode, "inside") == 0) {
        if (CPNatfwtDeregisterProviderInstance(instance) != S_OK) say("deregister failed");
        CPNatfwtDestroyProviderInstance(instance);
        if (CPNatfwtDeregisterProviderInstance(instance) != E_HANDLE) say("handle lives");
    }
    if (write(told[1], "t", 1) != 1) _exit(3);
}

static void stop(int signal) {
    (void)signal;
    if (write(told[1], "s", 1) != 1) _exit(3);
}

int main(int count, char **arguments) {
    if (count > 1) mode = arguments[1];
    if (pipe(told) != 0) return 3;
    signal(SIGTERM, stop);
    const CPNATFWT_PROVIDER_CALLBACKS callbacks = {
        .addTransportId = add, .reachTransportId = reach, .sendBuffers = send_buffers, .transitionActive = active,
        .establishSession = establish, .terminateSession = terminated};
    CPNATFWT_PROVIDER_INSTANCE instance;
    HRESULT result = CPNatfwtCreateProviderInstance(CPNATFWT_VERSION_1, &callbacks, &context_mark, 0, &instance);
    if (FAILED(result)) return 3;
    IF_LUID luid = {0};
    result = CPNatfwtRegisterProviderInstance(instance, count > 2 ? L"Mirror" : NULL, &luid, 0, NULL);
    if (FAILED(result)) {
        printf("register failed: 0x%08x\n", (unsigned)result);
        return 2;
    }
    printf("registered %llu\n", (unsigned long long)luid.Value);
    fflush(stdout);
    char why;
    while (read(told[0], &why, 1) != 1) continue;
    result = CPNatfwtDeregisterProviderInstance(instance);
    say(result == S_OK ? "deregistered" : result == E_HANDLE ? "gone already" : "deregister failed");
    CPNatfwtDestroyProviderInstance(instance);
    CPNatfwtDestroyProviderInstance(instance);
    say("destroyed");
    return 0;
}
