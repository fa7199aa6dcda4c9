// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>

/// What `natfwt run` has said, in the environment variable NATFWT_RUN:
/// VERSION V4-PORT V6-PORT nodes|egress|names SUFFIX PATH, with a space between each.
struct surroundings {
    bool is_set;
    bool egress;
    /// The kernel leads sockets by itself: nothing but names is asked for here.
    bool only_names;
    /// The agent's ports on 127.0.0.1 and ::1 for connections; 0 where it has none.
    uint16_t v4_port;
    uint16_t v6_port;
    char suffix[254];
    /// The agent's socket.
    char path[108];
};

/// Read once, and the same from then on whatever the program does to its environment.
const struct surroundings *surroundings(void);
