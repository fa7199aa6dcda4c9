/* SPDX-License-Identifier: Apache-2.0 */

/* The thread of an instance: it reads what the agent says, and calls the provider. It begins at Register and ends with the
   session, or with Deregister. */

#define _GNU_SOURCE
#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHAINS_A_TURN = 64, FAREWELL_MS = 2000 };

/* What keeps the library in memory while one of its threads runs, given back by the C library itself when the thread is
   over: the last instance may be destroyed from within a callback, and the library unloaded before that has returned. */
static pthread_key_t pin;
static bool has_pin;

__attribute__((constructor)) static void make_pin(void) {
    union {
        int (*close)(void *);
        void (*give_back)(void *);
    } function = {.close = dlclose};
    has_pin = pthread_key_create(&pin, function.give_back) == 0;
}

__attribute__((destructor)) static void drop_pin(void) {
    if (has_pin) pthread_key_delete(pin);
}

static void pin_library(void) {
    Dl_info place;
    union {
        void (*function)(void);
        void *address;
    } here = {.function = pin_library};
    if (!has_pin || dladdr(here.address, &place) == 0 || place.dli_fname == NULL) return;
    /* Nothing to pin where the library is a part of the program. */
    pthread_setspecific(pin, dlopen(place.dli_fname, RTLD_LAZY | RTLD_NOLOAD));
}

bool session_is_own_thread(struct instance *instance) {
    return instance->thread_started && pthread_equal(instance->thread, pthread_self()) != 0;
}

/* Indicates the end of the session, if there is one. On the session's thread. */
void session_terminate(struct instance *instance, CPNATFWT_SESSION_TERMINATION_REASON reason) {
    pthread_mutex_lock(&instance->lock);
    bool had_session = instance->has_session;
    instance->has_session = false;
    bool was_registered = instance->state == REGISTERED || instance->state == IN_SESSION || instance->state == ACTIVE;
    if (was_registered) instance->state = TERMINATED;
    pthread_mutex_unlock(&instance->lock);
    atomic_store(&instance->over, true);
    if (had_session) instance->callbacks.terminateSession(instance->handle, instance->context, reason);
}

static void establish(struct instance *instance) {
    pthread_mutex_lock(&instance->lock);
    bool begins = instance->state == REGISTERED && !instance->has_session;
    if (begins) {
        instance->state = IN_SESSION;
        instance->has_session = true;
    }
    pthread_mutex_unlock(&instance->lock);
    if (begins) instance->callbacks.establishSession(instance->handle, instance->context);
}

static void handle(struct instance *instance, const struct cl_session_header *header, const void *body, size_t size) {
    switch (header->type) {
    case CL_SESSION_BELL: return;
    case CL_SESSION_ESTABLISH: return establish(instance);
    case CL_SESSION_CALL:
        if (instance->has_session) calls_control(instance, header, body, size);
        return;
    case CL_SESSION_TERMINATE:
        /* A reason that is not known is none of ours to pass on. */
        return session_terminate(
            instance, header->value <= CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR
                ? (CPNATFWT_SESSION_TERMINATION_REASON)header->value
                : CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR);
    default: return session_terminate(instance, CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR);
    }
}

/* Reads one message: 1, 0 where there is none now, -1 where the agent is gone or sends rubbish. */
static int read_message(struct instance *instance, struct cl_session_header *header, uint8_t *body, size_t *size) {
    uint8_t bytes[CL_SESSION_LARGEST];
    ssize_t count = recv(instance->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    /* An agent that closes with something unread resets the connection. That is told once, and before what it said last. */
    if (count < 0 && errno == ECONNRESET) count = recv(instance->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if ((size_t)count < sizeof *header) return -1;
    memcpy(header, bytes, sizeof *header);
    if (header->size != count) return -1;
    *size = (size_t)count - sizeof *header;
    memcpy(body, bytes + sizeof *header, *size);
    return 1;
}

static bool is_over(struct instance *instance) {
    return atomic_load(&instance->over);
}

/* One message, if there is one: the next poll tells of more. */
static void hear(struct instance *instance) {
    struct cl_session_header header;
    uint8_t body[CL_SESSION_LARGEST];
    size_t size;
    int status = read_message(instance, &header, body, &size);
    if (status < 0) session_terminate(instance, CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR);
    if (status > 0) handle(instance, &header, body, size);
}

/* Hands chains over. Whether there may be more at once. */
static bool read_ring(struct instance *instance) {
    for (int count = 0; count < CHAINS_A_TURN; count++) {
        if (is_over(instance) || instance->state != ACTIVE || !calls_may_send(instance)) return false;
        if (!calls_send(instance)) return false;
    }
    return true;
}

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Lets the core rest for some cycles. */
static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Looks into the ring for a moment, where that has paid. Whether there is a record. */
static bool look(struct instance *instance, uint64_t began) {
    enum { LOOKS_A_TIME = 16 };
    uint64_t time = cl_patience_look(&instance->patience);
    if (time == 0) return false;
    do {
        for (int count = 0; count < LOOKS_A_TIME; count++) {
            if (cl_ring_has_more(&instance->in)) {
                cl_patience_learn(&instance->patience, 0);
                return true;
            }
            relax();
        }
    } while (nanoseconds() - began < time);
    cl_patience_in_vain(&instance->patience);
    return false;
}

static void sleep_until_something(struct instance *instance) {
    struct pollfd both[2] = {{.fd = instance->socket, .events = POLLIN}, {.fd = instance->wake, .events = POLLIN}};
    bool reads_ring = instance->state == ACTIVE && calls_may_send(instance);
    uint64_t began = nanoseconds();
    if (reads_ring && (look(instance, began) || !cl_ring_sleep(&instance->in))) return;
    poll(both, 2, -1);
    if (reads_ring) {
        cl_ring_awake(&instance->in);
        if (cl_ring_has_more(&instance->in)) cl_patience_learn(&instance->patience, nanoseconds() - began);
    }
    uint64_t count;
    if (both[1].revents != 0 && read(instance->wake, &count, sizeof count) < 0) return;
}

/* Tells the agent that this instance is deregistered, and waits for its word: the interface is free then. */
void session_say_deregister(struct instance *instance) {
    if (!connection_send(instance, CL_SESSION_DEREGISTER, 0, 0, NULL, 0)) return;
    struct pollfd socket = {.fd = instance->socket, .events = POLLIN};
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    struct cl_session_header header;
    uint8_t body[CL_SESSION_LARGEST];
    size_t size;
    for (;;) {
        int status = read_message(instance, &header, body, &size);
        if (status < 0 || (status > 0 && header.type == CL_SESSION_DEREGISTERED)) break;
        if (status > 0) continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long left = FAREWELL_MS - ((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000);
        if (left <= 0 || (poll(&socket, 1, (int)left) <= 0 && errno != EINTR)) break;
    }
}

static bool is_wanted_to_end(struct instance *instance) {
    pthread_mutex_lock(&instance->lock);
    bool wants = instance->wants_deregister;
    pthread_mutex_unlock(&instance->lock);
    return wants;
}

/* How many this thread may run on; 1 where that can't be told. */
static int processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static void *run(void *argument) {
    struct instance *instance = argument;
    pin_library();
    instance->patience = cl_patience_for(processors());
    while (!is_over(instance)) {
        hear(instance);
        bool has_more = !is_over(instance) && read_ring(instance);
        if (is_over(instance)) break;
        if (is_wanted_to_end(instance)) {
            session_terminate(instance, CPNATFWT_SESSION_TERMINATION_PROVIDER_REQUEST);
            session_say_deregister(instance);
            break;
        }
        if (!has_more) sleep_until_something(instance);
    }
    /* The descriptor stays until nobody can use it any more; the agent sees the end now. */
    shutdown(instance->socket, SHUT_RDWR);
    instance_let_go(instance);
    return NULL;
}

/* Starts the thread, with all signals blocked. */
HRESULT session_start(struct instance *instance) {
    sigset_t all, before;
    sigfillset(&all);
    instance_hold(instance);
    pthread_mutex_lock(&instance->lock);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&instance->thread, NULL, run, instance) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    instance->thread_started = started;
    pthread_mutex_unlock(&instance->lock);
    if (!started) instance_let_go(instance);
    return started ? S_OK : E_OUTOFMEMORY;
}
