/* SPDX-License-Identifier: Apache-2.0 */

/* The handles. A handle is a place in the table and how often the place was used: it is looked up, never followed. */

#define _GNU_SOURCE
#include "library.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PLACES = 4096 };

static struct {
    pthread_mutex_t lock;
    struct instance *instances[PLACES];
    uint32_t uses[PLACES];
    /* Where the last one was put: a place is used again as late as can be. */
    uint32_t last;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool forked;

bool is_forked(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }

/* In a child: the parent's instances are none of it. Their sockets are closed, so that the agent sees the parent's end. */
static void forked_child(void) {
    atomic_store(&forked, true);
    for (int place = 0; place < PLACES; place++) {
        struct instance *instance = table.instances[place];
        if (instance == NULL) continue;
        if (instance->socket >= 0) close(instance->socket);
        if (instance->wake >= 0) close(instance->wake);
    }
}

__attribute__((constructor)) static void library_loaded(void) { pthread_atfork(NULL, NULL, forked_child); }

static CPNATFWT_PROVIDER_INSTANCE handle_of(uint32_t place, uint32_t use) {
    return (CPNATFWT_PROVIDER_INSTANCE)(uintptr_t)((uintptr_t)use << 13 | (uintptr_t)place << 1 | 1);
}

static struct instance *find_locked(CPNATFWT_PROVIDER_INSTANCE handle) {
    uint32_t place = (uint32_t)((uintptr_t)handle >> 1) & (PLACES - 1);
    struct instance *instance = table.instances[place];
    return instance != NULL && instance->handle == handle ? instance : NULL;
}

/* The instance, held; NULL for a dead handle. */
struct instance *instance_find(CPNATFWT_PROVIDER_INSTANCE handle) {
    pthread_mutex_lock(&table.lock);
    struct instance *instance = find_locked(handle);
    if (instance != NULL) instance_hold(instance);
    pthread_mutex_unlock(&table.lock);
    return instance;
}

/* Gives it a handle. The table holds it from here on. */
HRESULT instance_add(struct instance *instance) {
    HRESULT result = CPNATFWT_E_QUOTA;
    pthread_mutex_lock(&table.lock);
    for (uint32_t step = 1; step <= PLACES; step++) {
        uint32_t place = (table.last + step) & (PLACES - 1);
        if (table.instances[place] != NULL) continue;
        table.last = place;
        instance->handle = handle_of(place, ++table.uses[place]);
        table.instances[place] = instance;
        result = S_OK;
        break;
    }
    pthread_mutex_unlock(&table.lock);
    return result;
}

/* Its handle is dead from here on. */
void instance_remove(struct instance *instance) {
    pthread_mutex_lock(&table.lock);
    bool is_there = find_locked(instance->handle) == instance;
    if (is_there) table.instances[((uintptr_t)instance->handle >> 1) & (PLACES - 1)] = NULL;
    pthread_mutex_unlock(&table.lock);
    if (is_there) instance_let_go(instance);
}

void instance_hold(struct instance *instance) { atomic_fetch_add(&instance->references, 1); }

void instance_let_go(struct instance *instance) {
    if (atomic_fetch_sub(&instance->references, 1) != 1) return;
    connection_close(instance);
    if (instance->mapping != NULL) munmap(instance->mapping, CL_RINGS_DATA + 2 * instance->ring_size);
    calls_free(instance);
    pthread_mutex_destroy(&instance->lock);
    pthread_mutex_destroy(&instance->out_lock);
    free(instance);
}
