// SPDX-License-Identifier: Apache-2.0
#pragma once

// How long one side of a ring looks for the next record before it sleeps. A wake-up costs both sides more than a short look
// does, tens of microseconds where a core has gone idle; so one that waits looks first, as KVM's halt_poll_ns does, but
// only as long as looking has paid: where it was in vain it sleeps at once, and has to see more and more short waits before
// it tries again. Used by the agent and by libcpnatfwt.

#include <stdint.h>

enum {
    /// Nanoseconds that a look takes at most: about what it saves where it finds something.
    CL_LOOK_NS = 50000,
    /// A wait of a side that slept counts as short up to this: a look would have found its end, were the other side awake.
    CL_SHORT_WAIT_NS = 150000,
    /// Short waits, one after the other, before it looks: at first, and where looking was in vain again and again.
    CL_FEWEST_SHORT_WAITS = 4,
    CL_MOST_SHORT_WAITS = 1024,
};

struct cl_patience {
    /// Whether it looks before it sleeps.
    uint8_t looks;
    /// Short waits that it has seen, and how many it wants to see; 0: it never looks.
    uint32_t seen, wanted;
};

/// - Parameter processors: that this process may run on. With a single one looking would only keep the other side from it.
static inline struct cl_patience cl_patience_for(int processors) {
    struct cl_patience patience = {0, 0, processors > 1 ? CL_FEWEST_SHORT_WAITS : 0};
    return patience;
}

/// How many nanoseconds to look before sleeping.
static inline uint64_t cl_patience_look(const struct cl_patience *patience) { return patience->looks != 0 ? CL_LOOK_NS : 0; }

/// Looking was in vain: it will sleep, for who knows how long.
static inline void cl_patience_in_vain(struct cl_patience *patience) {
    patience->looks = 0;
    patience->seen = 0;
    patience->wanted = 2 * patience->wanted < CL_MOST_SHORT_WAITS ? 2 * patience->wanted : CL_MOST_SHORT_WAITS;
}

/// A record has come after so many nanoseconds of waiting, looking or asleep.
static inline void cl_patience_learn(struct cl_patience *patience, uint64_t waited) {
    if (patience->wanted == 0) return;
    if (patience->looks != 0) {
        if (patience->wanted > CL_FEWEST_SHORT_WAITS) patience->wanted--;
    } else if (waited > CL_SHORT_WAIT_NS) {
        patience->seen = 0;
    } else if (++patience->seen >= patience->wanted) {
        patience->looks = 1;
    }
}
