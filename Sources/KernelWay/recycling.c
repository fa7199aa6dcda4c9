// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

// The agent has only so many ports for destinations. Programs that look names up connect a socket to each address and close it
// at once: such ports are taken back. In two steps with time between them, for another processor may be about to connect a
// socket there: first nobody finds the port any more, then it is looked whether anybody has.

enum { BEFORE_HIDING = 5000, BEFORE_TAKING = 1000 };

void recycling_add(struct recycling *recycling, const struct event *event) {
    for (size_t index = 0; index < recycling->count; index++) {
        if (recycling->waiting[index].event.target == event->target) return;
    }
    if (recycling->count == MOST_DESTINATIONS) return;
    recycling->waiting[recycling->count++] =
        (struct unused){.event = *event, .due = milliseconds_now() + BEFORE_HIDING};
}

/// Answers whether there is another step.
static bool go_on(struct unused *unused, struct programs *programs, const struct agent *agent) {
    // In use again: there will be another event when that ends.
    if (!programs_is_unused(programs, &unused->event.local)) return false;
    if (unused->is_hidden) {
        programs_forget(programs, &unused->event);
        agent_free(agent, &unused->event);
        return false;
    }
    programs_hide(programs, &unused->event);
    unused->is_hidden = true;
    return true;
}

int recycling_go_on(struct recycling *recycling, struct programs *programs, const struct agent *agent) {
    int64_t time = milliseconds_now(), next = INT64_MAX;
    size_t kept = 0;
    for (size_t index = 0; index < recycling->count; index++) {
        struct unused unused = recycling->waiting[index];
        if (unused.due <= time) {
            if (!go_on(&unused, programs, agent)) continue;
            unused.due = time + BEFORE_TAKING;
        }
        if (unused.due < next) next = unused.due;
        recycling->waiting[kept++] = unused;
    }
    recycling->count = kept;
    return kept == 0 ? -1 : (int)(next - time);
}
