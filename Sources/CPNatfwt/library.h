/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the library's files share. An instance is counted: the table of handles, its thread and every function that is under
   way hold it; the last one frees it. */

#include "cl_patience.h"
#include "cl_ring.h"
#include "cl_session.h"
#include "cpnatfwt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { CHAIN_LIMIT = 64, CHAIN_BYTES = 128 << 10, FRAME_LIMIT = 4096, ID_LIMIT = 256 };

/* A transport ID, copied. */
struct id {
    uint8_t size, bytes[16];
};

enum state { CREATED, REGISTERING, REGISTERED, IN_SESSION, ACTIVE, TERMINATED, DEREGISTERING, DEREGISTERED };

enum frame_state { FRAME_FREE, FRAME_CALLING, FRAME_EARLY, FRAME_PENDED, FRAME_DONE };

/* One call of a callback that may pend: what its arguments point to lives here until it is over. */
struct frame {
    enum frame_state state;
    /* Counted up at each use, so that an old context is told from a new one. */
    uint32_t generation;
    uint32_t index;
    /* A cl_session_call, or 0 for SEND_BUFFERS. */
    uint32_t kind;
    /* The call's number, or the endpoint's LUID. */
    uint64_t number;
    HRESULT early;
    CPNATFWT_TRANSPORT_ID local, remote;
    BYTE local_bytes[16], remote_bytes[16];
    CPNATFWT_BUFFER chain[CHAIN_LIMIT];
    /* SEND_BUFFERS: where the ring's room ends that this holds, and the one behind it. */
    uint64_t end;
    struct frame *next;
};

struct instance {
    atomic_int references;
    CPNATFWT_PROVIDER_INSTANCE handle;
    CPNATFWT_PROVIDER_CALLBACKS callbacks;
    PVOID context;

    /* Guards what follows. Never held while the provider's code runs. */
    pthread_mutex_t lock;
    enum state state;
    /* Whether establish was indicated and terminate was not. */
    bool has_session;
    bool wants_deregister;
    bool thread_started, thread_joined;
    pthread_t thread;
    struct frame **frames;
    uint32_t frame_count, frame_room;
    struct frame *free_frames;
    /* Chains that the provider has not finished with, in the ring's order. */
    struct frame *first_send, *last_send;
    uint32_t pended;
    /* Its transport IDs. */
    struct id ids[ID_LIMIT];
    uint32_t id_count;

    /* The socket to the agent, and an eventfd that wakes the thread; -1 without one. */
    int socket, wake;
    void *mapping;
    uint64_t ring_size;
    struct cl_ring in;
    /* Of the session's thread alone. */
    struct cl_patience patience;
    /* Guards `out`. */
    pthread_mutex_t out_lock;
    struct cl_ring out;
    /* Whether the agent takes references. */
    bool refers;
    /* Nothing goes to the agent any more: set before the memory or the socket go. */
    atomic_bool over;
};

/* table.c */
struct instance *instance_find(CPNATFWT_PROVIDER_INSTANCE handle);
HRESULT instance_add(struct instance *instance);
void instance_remove(struct instance *instance);
void instance_hold(struct instance *instance);
void instance_let_go(struct instance *instance);
bool is_forked(void);

/* text.c */
HRESULT text_from_wide(const WCHAR *wide, size_t most, bool cuts, char *text, size_t room, uint16_t *size);

/* connection.c */
HRESULT connection_open(struct instance *instance, const void *request, size_t size, IF_LUID *luid);
void connection_close(struct instance *instance);
bool connection_send(
    struct instance *instance, uint16_t type, uint32_t value, uint64_t number, const void *body, size_t size);
void connection_ring_bell(struct instance *instance);
void connection_wake(struct instance *instance);

/* session.c */
HRESULT session_start(struct instance *instance);
void session_terminate(struct instance *instance, CPNATFWT_SESSION_TERMINATION_REASON reason);
bool session_is_own_thread(struct instance *instance);
void session_say_deregister(struct instance *instance);

/* calls.c */
void calls_control(struct instance *instance, const struct cl_session_header *header, const void *body, size_t size);
bool calls_send(struct instance *instance);
bool calls_has_id(struct instance *instance, const CPNATFWT_TRANSPORT_ID *id);
bool calls_may_send(struct instance *instance);
void calls_free(struct instance *instance);
HRESULT calls_complete(CPNATFWT_PROVIDER_INSTANCE handle, PVOID context, HRESULT result);
