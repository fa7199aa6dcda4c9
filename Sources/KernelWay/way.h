// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "shared.h"

// The library libnatfwt-kernel.so: `natfwt run` loads it, and with it programs into the kernel that redirect the sockets of
// a control group. Its four functions are found by dlsym (Sources/natfwt/KernelWay.swift).

#define OFFERED __attribute__((visibility("default")))

struct kernel_way;

/// Makes the control group and attaches the programs. From now on a thread tells the agent what they tell.
/// - surroundings: as for the Interposer: VERSION V4-PORT V6-PORT nodes|egress SUFFIX PATH.
/// - why: what is in the way, as a sentence's part, where NULL is answered.
OFFERED struct kernel_way *natfwt_kernel_open(const char *surroundings, char *why, size_t room);
/// Starts a command in the group. Answers 0, or an errno.
OFFERED int natfwt_kernel_start(
    struct kernel_way *way, const char *path, char *const *arguments, char *const *environment, pid_t *process);
/// The agent has gone: what would have been led to it fails from now on (ENETUNREACH).
OFFERED void natfwt_kernel_end(struct kernel_way *way);
/// Takes the programs and the group away. What still runs goes on as if it had been started without natfwt.
OFFERED void natfwt_kernel_close(struct kernel_way *way);

static inline bool is_v6(const struct place *place) {
    return place->ip[0] != 0 || place->ip[1] != 0 || place->ip[2] != htonl(0xffff);
}

/// Milliseconds of a clock that only goes forward.
static inline int64_t milliseconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/// Room for a reason.
struct reason {
    char *text;
    size_t room;
};

/// Gives the reason, with the errno if there is one, and answers false.
static inline __attribute__((format(printf, 3, 4))) bool fail(struct reason why, int error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(why.text, why.room, format, arguments);
    va_end(arguments);
    if (error != 0 && length >= 0 && (size_t)length < why.room) {
        errno = error;
        snprintf(why.text + length, why.room - (size_t)length, ": %m");
    }
    return false;
}

// MARK: The control group

struct group {
    /// The group that this process is in, and the one beneath it for the command.
    int parent;
    int own;
    char name[32];
};

/// Removes also what processes have left that were killed.
bool group_make(struct group *group, struct reason why);
/// Moves what still runs there up, and removes the group.
void group_remove(struct group *group);

// MARK: The programs in the kernel

struct programs;

struct programs *programs_load(const struct settings *settings, int group, struct reason why);
/// Calls `told` for each event from now on, when programs_read() is called. The descriptor becomes readable then.
bool programs_listen(
    struct programs *programs, void (*told)(const struct event *event, void *context), void *context);
int programs_descriptor(const struct programs *programs);
void programs_read(struct programs *programs);
/// Ports of the agent, as on the wire, for destinations to come.
void programs_stock(struct programs *programs, bool is_v6, const uint16_t *ports, size_t count);
/// Has a connection that comes from `local` fail as timed out when its SYN, which had that number, would be sent again.
void programs_expire(struct programs *programs, const struct place *local, uint32_t sequence);
/// Whether a port of the agent's stands for a destination that no socket is connected to.
bool programs_is_unused(const struct programs *programs, const struct place *here);
/// Has no socket come to the destination's port any more that is not connected to it already.
void programs_hide(const struct programs *programs, const struct event *event);
/// The port stands for nothing any more.
void programs_forget(struct programs *programs, const struct event *event);
/// What would be redirected fails from now on.
void programs_halt(struct programs *programs);
void programs_unload(struct programs *programs);

// MARK: The agent

struct agent {
    int descriptor;
};

/// What the agent says.
struct answer {
    enum { REFUSAL, PORTS } kind;
    // REFUSAL
    int error;
    struct place local;
    uint32_t sequence;
    // PORTS
    bool is_v6;
    size_t count;
    uint16_t ports[STOCKED_PORTS];
};

bool agent_open(struct agent *agent, const char *path, struct reason why);
/// The connection that comes from `local` is for `to`. False where there is no agent any more.
bool agent_announce(const struct agent *agent, const struct event *event);
/// What comes to a port is for a destination.
bool agent_bind(const struct agent *agent, const struct event *event);
/// Asks for ports, at most STOCKED_PORTS.
bool agent_want(const struct agent *agent, bool is_v6, size_t count);
/// A port stands for nothing any more. The agent gives it anew.
bool agent_free(const struct agent *agent, const struct event *event);
/// Takes what the agent has said, if it has, and waits for that at most so long.
bool agent_hear(const struct agent *agent, struct answer *answer, int milliseconds);
void agent_close(struct agent *agent);

// MARK: Connections that can't be made

enum { MOST_REFUSALS = 1024 };

struct refusal {
    int error;
    struct place local;
    uint32_t sequence;
    int64_t due;
    int repeats;
};

struct refusals {
    int v4;
    int v6;
    const struct settings *settings;
    size_t count;
    struct refusal waiting[MOST_REFUSALS];
};

bool refusals_open(struct refusals *refusals, const struct settings *settings, struct reason why);
/// Has the connect(2) fail that comes from `local`, and whose SYN had that number.
void refuse(struct refusals *refusals, int error, const struct place *local, uint32_t sequence);
/// Says again what may not have been heard. Answers how many milliseconds there are until it is to be called again; -1 for
/// no need.
int refusals_repeat(struct refusals *refusals);
void refusals_close(struct refusals *refusals);

// MARK: Ports for datagrams that are used no more

struct unused {
    struct event event;
    int64_t due;
    bool is_hidden;
};

struct recycling {
    size_t count;
    struct unused waiting[MOST_DESTINATIONS];
};

/// No socket is connected to the event's destination.
void recycling_add(struct recycling *recycling, const struct event *event);
/// Gives back what nobody has come to meanwhile. Answers as refusals_repeat().
int recycling_go_on(struct recycling *recycling, struct programs *programs, const struct agent *agent);
