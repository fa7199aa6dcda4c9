// SPDX-License-Identifier: Apache-2.0

// Loads the library, has an instance destroyed from within its terminate indication, and unloads the library at once: again
// and again. Obligation 16: nothing of it runs then.
//
//     unload LIBRARY TIMES

#include "cpnatfwt.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static HRESULT (*deregister)(CPNATFWT_PROVIDER_INSTANCE);
static VOID (*destroy)(CPNATFWT_PROVIDER_INSTANCE);
static int told[2];
static int is_inside;

static HRESULT fail_add(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *id, PVOID context,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)id, (void)context, (void)routine;
    return E_FAIL;
}

static HRESULT send_nothing(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_TRANSPORT_ID *local, CPNATFWT_TRANSPORT_ID *remote, UINT64 luid,
    CPNATFWT_BUFFER *chain, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)local, (void)remote, (void)luid, (void)chain, (void)context, (void)routine;
    return S_OK;
}

static HRESULT active(
    CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, PVOID context, CPNATFWT_PLATFORM_COMPLETION_ROUTINE routine) {
    (void)instance, (void)user, (void)context, (void)routine;
    return S_OK;
}

static VOID establish(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user) { (void)instance, (void)user; }

static VOID terminated(CPNATFWT_PROVIDER_INSTANCE instance, PVOID user, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    (void)user;
    if (is_inside) {
        deregister(instance);
        destroy(instance);
    }
    BYTE why = (BYTE)reason;
    if (write(told[1], &why, 1) != 1) _exit(3);
    // Long enough for the other thread to unload the library meanwhile.
    poll(NULL, 0, 5);
}

static int is_loaded(const char *library) {
    void *again = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (again != NULL) dlclose(again);
    return again != NULL;
}

int main(int count, char **arguments) {
    if (count != 3 || pipe(told) != 0) return 64;
    for (int round = 0; round < atoi(arguments[2]); round++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 2;
        HRESULT (*create)(ULONG, const CPNATFWT_PROVIDER_CALLBACKS *, PVOID, ULONG, CPNATFWT_PROVIDER_INSTANCE *);
        HRESULT (*enroll)(CPNATFWT_PROVIDER_INSTANCE, WCHAR *, IF_LUID *, ULONG, WCHAR *);
        *(void **)&create = dlsym(library, "CPNatfwtCreateProviderInstance");
        *(void **)&enroll = dlsym(library, "CPNatfwtRegisterProviderInstance");
        *(void **)&deregister = dlsym(library, "CPNatfwtDeregisterProviderInstance");
        *(void **)&destroy = dlsym(library, "CPNatfwtDestroyProviderInstance");
        CPNATFWT_PROVIDER_CALLBACKS callbacks = {fail_add, NULL, fail_add, send_nothing, active, NULL, establish, terminated};
        CPNATFWT_PROVIDER_INSTANCE instance;
        is_inside = round % 2;
        if (create(1, &callbacks, NULL, 0, &instance) != S_OK || enroll(instance, NULL, NULL, 0, NULL) != S_OK) return 4;
        BYTE why;
        if (read(told[0], &why, 1) != 1 || why != CPNATFWT_SESSION_TERMINATION_PROVIDER_OTHER_FAILURE) return 5;
        if (!is_inside) {
            deregister(instance);
            destroy(instance);
        }
        dlclose(library);
        for (int tries = 0; tries < 2000 && is_loaded(arguments[1]); tries++) poll(NULL, 0, 1);
        if (is_loaded(arguments[1])) return 6;
    }
    return 0;
}
