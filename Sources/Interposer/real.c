// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "interposer.h"

#include <dlfcn.h>
#include <stdatomic.h>

static struct real found;
static atomic_bool is_found;

/// Every thread that comes first finds the same.
static void find(void) {
#define FIND(name) *(void **)&found.name = dlsym(RTLD_NEXT, #name)
    FIND(socket);
    FIND(connect);
    FIND(getpeername);
    FIND(getsockopt);
    FIND(sendto);
    FIND(sendmsg);
    FIND(sendmmsg);
    FIND(recvfrom);
    FIND(recvmsg);
    FIND(recvmmsg);
    FIND(getaddrinfo);
    FIND(gethostbyname);
    FIND(gethostbyname2);
    FIND(gethostbyname_r);
    FIND(gethostbyname2_r);
    atomic_store_explicit(&is_found, true, memory_order_release);
}

/// Before main, so that nothing is looked up in a signal handler; a library that is loaded earlier looks up by itself.
__attribute__((constructor)) static void loaded(void) { real(); }

const struct real *real(void) {
    if (!atomic_load_explicit(&is_found, memory_order_acquire)) find();
    return &found;
}
