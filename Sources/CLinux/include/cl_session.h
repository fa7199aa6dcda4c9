// SPDX-License-Identifier: Apache-2.0
#pragma once

// The control messages between the agent and a provider's process: one a packet of a SOCK_SEQPACKET Unix socket, little
// endian. Documented in Sources/Providers/Providers.docc/ExternalProviders.md. Used by the agent and by libcpnatfwt.

#include <stdint.h>

enum {
    CL_SESSION_VERSION = 1,
    /// Bytes of a message at most.
    CL_SESSION_LARGEST = 8192,
};

/// What a message is. Below 16 from the provider, from 16 on from the agent; the bell goes both ways.
enum cl_session_type {
    CL_SESSION_BELL = 1,
    CL_SESSION_REGISTER = 2,
    CL_SESSION_RETURN = 3,
    CL_SESSION_FAILED = 4,
    CL_SESSION_DEREGISTER = 5,
    CL_SESSION_REGISTERED = 16,
    CL_SESSION_ESTABLISH = 17,
    CL_SESSION_CALL = 18,
    CL_SESSION_TERMINATE = 19,
    CL_SESSION_DEREGISTERED = 20,
};

/// What CALL asks for.
enum cl_session_call {
    CL_CALL_ADD = 1,
    CL_CALL_REMOVE = 2,
    CL_CALL_REACH = 3,
    CL_CALL_ACTIVE = 4,
    CL_CALL_INACTIVE = 5,
};

/// What every message begins with.
struct cl_session_header {
    uint16_t type;
    /// Of the whole message.
    uint16_t size;
    /// REGISTER: the version. RETURN, FAILED, REGISTERED: an HRESULT. CALL: which. TERMINATE: the reason.
    uint32_t value;
    /// RETURN, CALL: the call's number. REGISTER, REGISTERED: the interface's LUID. FAILED: the endpoint's LUID.
    uint64_t number;
};

/// Behind REGISTER's header; the texts follow, in UTF-8: friendly name, sddl, program.
struct cl_session_register {
    uint32_t flags;
    uint16_t name_size, sddl_size, program_size;
    /// 1: there is a name; 2: there is an sddl.
    uint16_t given;
    uint32_t reserved;
};

/// Behind REGISTERED's header where the HRESULT is S_OK; the message brings the memory's descriptor along.
struct cl_session_registered {
    /// Bytes of each ring.
    uint32_t ring_size;
    /// What the agent understands beyond version 1: of `cl_session_feature`.
    uint32_t features;
};

enum cl_session_feature {
    /// References in the ring to the agent.
    CL_FEATURE_REFERENCES = 1,
};

/// Behind CALL's header for those that concern a transport ID.
struct cl_session_id {
    uint8_t size;
    uint8_t reserved[7];
    uint8_t bytes[16];
};
