/* SPDX-License-Identifier: Apache-2.0 */

/* The five functions. */

#define _GNU_SOURCE
#include "library.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

HRESULT CPNatfwtCreateProviderInstance(
    ULONG version, const CPNATFWT_PROVIDER_CALLBACKS *callbacks, PVOID userContext, ULONG flags,
    CPNATFWT_PROVIDER_INSTANCE *providerInstance) {
    if (providerInstance == NULL) return E_POINTER;
    *providerInstance = NULL;
    if (is_forked()) return CPNATFWT_E_NOT_SUPPORTED;
    if (callbacks == NULL) return E_POINTER;
    if (version != CPNATFWT_VERSION_1) return CPNATFWT_E_VERSION;
    if (flags != 0) return CPNATFWT_E_FLAGS;
    if (callbacks->addTransportId == NULL || callbacks->reachTransportId == NULL || callbacks->sendBuffers == NULL
        || callbacks->transitionActive == NULL || callbacks->establishSession == NULL || callbacks->terminateSession == NULL)
        return E_POINTER;
    struct instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL) return E_OUTOFMEMORY;
    instance->callbacks = *callbacks;
    instance->context = userContext;
    instance->socket = instance->wake = -1;
    pthread_mutex_init(&instance->lock, NULL);
    pthread_mutex_init(&instance->out_lock, NULL);
    atomic_store(&instance->references, 1);
    HRESULT result = instance_add(instance);
    if (FAILED(result)) instance_let_go(instance); else *providerInstance = instance->handle;
    return result;
}

/* Moves on, or tells why not. */
static HRESULT move(struct instance *instance, enum state from, enum state to) {
    pthread_mutex_lock(&instance->lock);
    bool may = instance->state == from;
    if (may) instance->state = to;
    pthread_mutex_unlock(&instance->lock);
    return may ? S_OK : CPNATFWT_E_STATE;
}

/* Puts REGISTER together. */
static HRESULT write_request(const WCHAR *name, const WCHAR *sddl, const IF_LUID *luid, ULONG flags, uint8_t *bytes, size_t room, size_t *size) {
    struct cl_session_header header = {.type = CL_SESSION_REGISTER, .value = CL_SESSION_VERSION};
    struct cl_session_register body = {.flags = flags};
    size_t used = sizeof header + sizeof body;
    HRESULT result = S_OK;
    if (name != NULL) {
        body.given |= 1;
        result = text_from_wide(
            name, CPNATFWT_MAX_INTERFACE_NAME_LENGTH, true, (char *)bytes + used, room - used, &body.name_size);
        used += body.name_size;
    }
    if (SUCCEEDED(result) && sddl != NULL) {
        body.given |= 2;
        result = text_from_wide(sddl, CPNATFWT_MAX_SDDL_LENGTH, false, (char *)bytes + used, room - used, &body.sddl_size);
        used += body.sddl_size;
    }
    if (FAILED(result)) return result;
    size_t program = strnlen(program_invocation_short_name, 64);
    memcpy(bytes + used, program_invocation_short_name, program);
    body.program_size = (uint16_t)program;
    used += program;
    header.size = (uint16_t)used;
    header.number = luid != NULL ? luid->Value : 0;
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + sizeof header, &body, sizeof body);
    *size = used;
    return S_OK;
}

static HRESULT register_instance(struct instance *instance, const WCHAR *name, IF_LUID *luid, ULONG flags, const WCHAR *sddl) {
    uint8_t request[CL_SESSION_LARGEST];
    size_t size = 0;
    HRESULT result = write_request(name, sddl, luid, flags, request, sizeof request, &size);
    if (SUCCEEDED(result)) result = connection_open(instance, request, size, luid);
    if (FAILED(result)) return result;
    move(instance, REGISTERING, REGISTERED);
    return session_start(instance);
}

HRESULT CPNatfwtRegisterProviderInstance(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, WCHAR *interfaceFriendlyName, IF_LUID *interfaceLuid, ULONG flags,
    WCHAR *sddl) {
    if (is_forked()) return CPNATFWT_E_NOT_SUPPORTED;
    struct instance *instance = instance_find(providerInstance);
    if (instance == NULL) return E_HANDLE;
    HRESULT result = move(instance, CREATED, REGISTERING);
    if (SUCCEEDED(result)) {
        result = flags != 0 ? CPNATFWT_E_FLAGS : register_instance(instance, interfaceFriendlyName, interfaceLuid, flags, sddl);
        if (FAILED(result)) {
            connection_close(instance);
            pthread_mutex_lock(&instance->lock);
            instance->state = CREATED;
            pthread_mutex_unlock(&instance->lock);
        }
    }
    instance_let_go(instance);
    return result;
}

/* Waits until the session's thread is over, once. */
static void join(struct instance *instance) {
    pthread_mutex_lock(&instance->lock);
    bool joins = instance->thread_started && !instance->thread_joined;
    instance->thread_joined = true;
    pthread_mutex_unlock(&instance->lock);
    if (!joins) return;
    if (session_is_own_thread(instance)) pthread_detach(pthread_self()); else pthread_join(instance->thread, NULL);
}

static void deregister(struct instance *instance, enum state was) {
    if (session_is_own_thread(instance)) {
        session_terminate(instance, CPNATFWT_SESSION_TERMINATION_PROVIDER_REQUEST);
        if (was != TERMINATED) session_say_deregister(instance);
    } else {
        connection_wake(instance);
        join(instance);
    }
    pthread_mutex_lock(&instance->lock);
    instance->state = DEREGISTERED;
    pthread_mutex_unlock(&instance->lock);
}

HRESULT CPNatfwtDeregisterProviderInstance(CPNATFWT_PROVIDER_INSTANCE providerInstance) {
    if (is_forked()) return CPNATFWT_E_NOT_SUPPORTED;
    struct instance *instance = instance_find(providerInstance);
    if (instance == NULL) return E_HANDLE;
    pthread_mutex_lock(&instance->lock);
    enum state was = instance->state;
    bool may = was >= REGISTERED && was <= TERMINATED;
    if (may) {
        instance->state = DEREGISTERING;
        instance->wants_deregister = true;
    }
    pthread_mutex_unlock(&instance->lock);
    if (may) deregister(instance, was);
    instance_let_go(instance);
    return may ? S_OK : CPNATFWT_E_STATE;
}

VOID CPNatfwtDestroyProviderInstance(CPNATFWT_PROVIDER_INSTANCE providerInstance) {
    if (is_forked()) return;
    struct instance *instance = instance_find(providerInstance);
    if (instance == NULL) return;
    pthread_mutex_lock(&instance->lock);
    bool may = instance->state == CREATED || instance->state == DEREGISTERED;
    if (may) instance->state = DEREGISTERING;
    pthread_mutex_unlock(&instance->lock);
    if (may) {
        join(instance);
        instance_remove(instance);
    }
    instance_let_go(instance);
}

static HRESULT check_id(const CPNATFWT_TRANSPORT_ID *id) {
    if (id == NULL || id->transportId == NULL) return E_POINTER;
    return id->size == 4 || id->size == 16 ? S_OK : E_INVALIDARG;
}

static HRESULT check_chain(const CPNATFWT_BUFFER *chain) {
    if (chain == NULL) return E_POINTER;
    for (; chain != NULL; chain = chain->next) {
        if (chain->buffer == NULL) return E_POINTER;
        if (chain->size == 0 || chain->size > CPNATFWT_MAX_BUFFER_SIZE) return E_INVALIDARG;
    }
    return S_OK;
}

/* Whether the agent has closed the connection. The session's thread would see it, unless it is this one. */
static bool is_hung_up(struct instance *instance) {
    struct pollfd socket = {.fd = instance->socket, .events = 0};
    return poll(&socket, 1, 0) != 0;
}

/* Waits a moment for the agent to make room. False where the session is over. */
static bool wait_for_room(struct instance *instance) {
    struct cl_ring *ring = &instance->out;
    enum { MOMENT_NS = 20000000 };
    connection_ring_bell(instance);
    uint64_t tail = cl_ring_tail(ring);
    __atomic_store_n(&ring->control->waiting, 1, __ATOMIC_SEQ_CST);
    struct timespec moment = {.tv_nsec = MOMENT_NS};
    if (cl_ring_tail(ring) == tail)
        syscall(SYS_futex, &ring->control->tail, FUTEX_WAIT, (uint32_t)tail, &moment, NULL, 0);
    return !atomic_load(&instance->over) && !is_hung_up(instance);
}

/* A packet that the agent has sent, or a part of it, is handed back by its place; the agent looks there before it takes the
   room anew. Short ones are copied: that costs no more. */
static void refer_or_copy(const struct instance *instance, struct cl_record *record, const BYTE *bytes) {
    enum { SMALLEST = 256 };
    uint64_t place = (uint64_t)((uintptr_t)bytes - (uintptr_t)instance->in.data);
    record->kind = CL_RECORD_PACKET;
    record->luid = 0;
    if (!instance->refers || record->length < SMALLEST || place > instance->in.size - record->length) return;
    record->kind = CL_RECORD_REFERENCE;
    record->place = (uint32_t)place;
    record->given_back = (uint32_t)cl_ring_tail(&instance->in);
}

/* Locked by out_lock. */
static HRESULT put_all(struct instance *instance, struct cl_record *record, const CPNATFWT_BUFFER *chain) {
    for (; chain != NULL; chain = chain->next) {
        record->length = chain->size;
        refer_or_copy(instance, record, chain->buffer);
        for (;;) {
            if (atomic_load_explicit(&instance->over, memory_order_relaxed)) return CPNATFWT_E_STATE;
            int status = cl_ring_put(&instance->out, record, chain->buffer);
            if (status == 1) break;
            if (status < 0 || !wait_for_room(instance)) return CPNATFWT_E_STATE;
        }
    }
    return S_OK;
}

static HRESULT indicate(
    struct instance *instance, const CPNATFWT_TRANSPORT_ID *local, struct cl_record *record, const CPNATFWT_BUFFER *chain) {
    pthread_mutex_lock(&instance->lock);
    bool is_active = instance->state == ACTIVE, is_ours = calls_has_id(instance, local);
    pthread_mutex_unlock(&instance->lock);
    if (!is_active) return CPNATFWT_E_STATE;
    if (!is_ours) return E_INVALIDARG;
    pthread_mutex_lock(&instance->out_lock);
    HRESULT result = put_all(instance, record, chain);
    bool rings = SUCCEEDED(result) && cl_ring_takes_bell(&instance->out);
    pthread_mutex_unlock(&instance->out_lock);
    if (rings) connection_ring_bell(instance);
    return result;
}

HRESULT CPNatfwtIndicateReceivedBuffers(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, CPNATFWT_TRANSPORT_ID *localTransportId,
    CPNATFWT_TRANSPORT_ID *remoteTransportId, CPNATFWT_BUFFER *bufferChain, PVOID completionContext,
    CPNATFWT_PROVIDER_COMPLETION_ROUTINE completionRoutine) {
    if (is_forked()) return CPNATFWT_E_NOT_SUPPORTED;
    struct instance *instance = instance_find(providerInstance);
    if (instance == NULL) return E_HANDLE;
    HRESULT result = check_id(localTransportId);
    if (SUCCEEDED(result)) result = check_id(remoteTransportId);
    if (SUCCEEDED(result)) result = check_chain(bufferChain);
    if (SUCCEEDED(result)) {
        struct cl_record record = {
            .kind = CL_RECORD_PACKET, .local_size = (uint8_t)localTransportId->size,
            .remote_size = (uint8_t)remoteTransportId->size};
        memcpy(record.local, localTransportId->transportId, localTransportId->size);
        memcpy(record.remote, remoteTransportId->transportId, remoteTransportId->size);
        result = indicate(instance, localTransportId, &record, bufferChain);
    }
    if (SUCCEEDED(result) && completionRoutine != NULL)
        completionRoutine(providerInstance, instance->context, completionContext);
    instance_let_go(instance);
    return result;
}
