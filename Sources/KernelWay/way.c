// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

#include "process.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct kernel_way {
    struct settings settings;
    struct group group;
    struct programs *programs;
    struct agent agent;
    struct refusals refusals;
    struct recycling recycling;
    /// Ports that have been taken, and not been asked for anew.
    size_t v4_taken;
    size_t v6_taken;
    pthread_t thread;
    bool is_running;
    int stop;
};

// MARK: What the kernel tells, and the agent

static void told(const struct event *event, void *context) {
    struct kernel_way *way = context;
    if (event->kind == CONNECTING) {
        if (!agent_announce(&way->agent, event)) refuse(&way->refusals, ENETUNREACH, &event->local, event->sequence);
    } else if (event->kind == NEW_DESTINATION) {
        agent_bind(&way->agent, event);
        ++*(is_v6(&event->to) ? &way->v6_taken : &way->v4_taken);
    } else if (event->kind == UNUSED_DESTINATION) {
        recycling_add(&way->recycling, event);
    }
}

static void restock(struct kernel_way *way, bool is_v6, size_t *taken) {
    if (*taken == 0) return;
    size_t count = *taken < STOCKED_PORTS ? *taken : STOCKED_PORTS;
    agent_want(&way->agent, is_v6, count);
    *taken -= count;
}

static void hear(struct kernel_way *way) {
    for (struct answer answer; agent_hear(&way->agent, &answer, 0);) {
        if (answer.kind == PORTS) {
            programs_stock(way->programs, answer.is_v6, answer.ports, answer.count);
        } else if (answer.error == ETIMEDOUT) {
            programs_expire(way->programs, &answer.local, answer.sequence);
        } else {
            refuse(&way->refusals, answer.error, &answer.local, answer.sequence);
        }
    }
}

/// The sooner of two times to wait, of which each may be -1, for ever.
static int sooner(int one, int other) { return one < 0 || (other >= 0 && other < one) ? other : one; }

static void *serve(void *context) {
    struct kernel_way *way = context;
    struct pollfd events[] = {
        {.fd = programs_descriptor(way->programs), .events = POLLIN},
        {.fd = way->agent.descriptor, .events = POLLIN},
        {.fd = way->stop, .events = POLLIN},
    };
    int patience = -1;
    while (events[2].revents == 0) {
        if (poll(events, 3, patience) < 0 && errno != EINTR) break;
        programs_read(way->programs);
        restock(way, false, &way->v4_taken);
        restock(way, true, &way->v6_taken);
        hear(way);
        patience = sooner(refusals_repeat(&way->refusals), recycling_go_on(&way->recycling, way->programs, &way->agent));
    }
    return NULL;
}

// MARK: Beginning

static bool parse(const char *surroundings, struct settings *settings, const char **path) {
    uint16_t v4, v6;
    char mode[8];
    int end = 0;
    if (sscanf(surroundings, "1 %hu %hu %7[a-z] %*253s %n", &v4, &v6, mode, &end) != 3 || end == 0) return false;
    *path = surroundings + end;
    settings->v4_port = htons(v4);
    settings->v6_port = htons(v6);
    settings->egress = strcmp(mode, "egress") == 0;
    settings->user = geteuid();
    return true;
}

/// The network that this process is in, as the kernel calls it.
static bool find_network(struct settings *settings) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    socklen_t length = sizeof settings->network;
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
    bool is_found = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &settings->network, &length) == 0;
    close(fd);
    return is_found;
}

/// Has the agent open ports before the first datagram.
static bool stock(struct kernel_way *way, bool is_v6, struct reason why) {
    struct answer answer;
    enum { PATIENCE = 5000 };
    if (!agent_want(&way->agent, is_v6, STOCKED_PORTS) || !agent_hear(&way->agent, &answer, PATIENCE)
        || answer.kind != PORTS) {
        return fail(why, 0, "the agent that runs here does not know of it");
    }
    programs_stock(way->programs, answer.is_v6, answer.ports, answer.count);
    return true;
}

static bool begin(struct kernel_way *way, struct reason why) {
    if (!programs_listen(way->programs, told, way)) return fail(why, errno, "the programs can't be listened to");
    if (!stock(way, false, why) || (way->settings.v6_port != 0 && !stock(way, true, why))) return false;
    way->stop = eventfd(0, EFD_CLOEXEC);
    if (way->stop < 0) return fail(why, errno, "no descriptor is left");
    // Signals are for the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&way->thread, NULL, serve, way);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    way->is_running = error == 0;
    return error == 0 || fail(why, error, "no thread can be started");
}

static bool prepare(struct kernel_way *way, const char *surroundings, struct reason why) {
    const char *path;
    if (!parse(surroundings, &way->settings, &path)) return fail(why, 0, "the agent's word is not understood");
    if (!find_network(&way->settings)) return fail(why, errno, "the kernel is too old");
    if (!refusals_open(&way->refusals, &way->settings, why) || !group_make(&way->group, why)) return false;
    way->programs = programs_load(&way->settings, way->group.own, why);
    return way->programs && agent_open(&way->agent, path, why) && begin(way, why);
}

struct kernel_way *natfwt_kernel_open(const char *surroundings, char *why, size_t room) {
    struct kernel_way *way = calloc(1, sizeof *way);
    struct reason reason = {.text = why, .room = room};
    if (!way) {
        fail(reason, ENOMEM, "no memory");
        return NULL;
    }
    way->group = (struct group){.parent = -1, .own = -1};
    way->agent.descriptor = way->refusals.v4 = way->refusals.v6 = way->stop = -1;
    if (prepare(way, surroundings, reason)) return way;
    natfwt_kernel_close(way);
    return NULL;
}

int natfwt_kernel_start(
    struct kernel_way *way, const char *path, char *const *arguments, char *const *environment, pid_t *process) {
    return start_in_group(way->group.own, path, arguments, environment, process);
}

void natfwt_kernel_end(struct kernel_way *way) { programs_halt(way->programs); }

void natfwt_kernel_close(struct kernel_way *way) {
    if (!way) return;
    if (way->is_running) {
        eventfd_write(way->stop, 1);
        pthread_join(way->thread, NULL);
    }
    if (way->stop >= 0) close(way->stop);
    programs_unload(way->programs);
    agent_close(&way->agent);
    refusals_close(&way->refusals);
    group_remove(&way->group);
    free(way);
}
