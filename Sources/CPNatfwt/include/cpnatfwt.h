/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CPNATFWT_H
#define CPNATFWT_H

/*
 * The provider API of the Connectivity Platform (the CPNATFWT family, preliminary pages of February 2009), on Linux.
 *
 * A provider carries other programs' traffic through NATs and firewalls. It links this library and registers with the
 * running agent (natfwt agent), which is the platform. Names, types and arguments are the published ones. What the pages
 * leave open is marked "ours" here and is this project's decision.
 *
 *     cc provider.c $(pkg-config --cflags --libs cpnatfwt) -o provider
 *
 * LIFE
 *     Create ─▶ CREATED ─ Register ─▶ REGISTERED ─ establish ─▶ IN SESSION ─ TRANSITION_ACTIVE ─▶ ACTIVE
 *     any of the last three ─ terminate ─▶ TERMINATED ─ Deregister ─▶ DEREGISTERED ─ Destroy
 *     A Register that fails leaves the instance CREATED: try again with other arguments or later, or destroy it. An
 *     instance has one session in its life. When it was terminated: deregister it, destroy it, and create another.
 *
 * PACKETS (ours)
 *     Each buffer of a chain, in both directions, is one whole IP packet of at most CPNATFWT_MTU bytes from the local to the
 *     remote transport ID. Packets may be lost, doubled and reordered, as on any network: the platform carries its streams
 *     over them. A provider moves them between two hosts and never has to look inside.
 *
 * THREADS (ours)
 *     The functions may be called from any thread and from within any callback. The callbacks of an instance come one at a
 *     time, on one thread that the library makes for it at Register and in which all signals are blocked; the first may come
 *     before Register has returned. A callback that takes long holds up those behind it: pend it instead. A function that is
 *     called within a callback may call another callback before it returns: Deregister the terminate indication, and
 *     nothing else does. A child of fork(2) can't use the instances of its parent: every function fails there with
 *     CPNATFWT_E_NOT_SUPPORTED until exec(2).
 *
 * PENDING
 *     A callback that can't finish at once returns CPNATFWT_PENDING and later calls the completion routine that it was given
 *     with the context that it was given, once, from any thread, even before it has returned. One that finishes at once
 *     ignores both. The code has the shape of a failure: test for it before any test for failure. What is not completed
 *     within the platform's time (10 s, if the agent's settings do not say otherwise) ends the session with PROVIDER_TIMEOUT.
 *
 * RESULTS
 *     A callback's S_OK is success. CPNATFWT_E_DUPLICATE from ADD_TRANSPORT_ID says that a peer has the ID already: the
 *     platform tries another. Any failure of REACH_TRANSPORT_ID but E_FAIL says that the ID is not, or not unambiguously,
 *     reachable; CPNATFWT_E_UNREACHABLE is the one to use. Every other failure ends the session with PROVIDER_OTHER_FAILURE.
 *     What the functions return stands with each of them. No misuse harms the platform or this process: handles are looked
 *     up, never followed.
 */

#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The basic types. Define CPNATFWT_NO_BASIC_TYPES where another header has them already, with the same sizes. */
#ifndef CPNATFWT_NO_BASIC_TYPES
typedef int32_t HRESULT;
typedef uint32_t ULONG;
typedef uint16_t USHORT;
typedef uint8_t BYTE;
typedef uint64_t UINT64;
typedef wchar_t WCHAR;
typedef void *PVOID;
#ifndef VOID
#define VOID void
#endif
/* The name of a network interface, which outlives the session. 0 is none. */
typedef union _NET_LUID {
    UINT64 Value;
} NET_LUID, IF_LUID;
#endif

#ifndef S_OK
#define S_OK ((HRESULT)0)
#endif
#ifndef SUCCEEDED
#define SUCCEEDED(hr) ((HRESULT)(hr) >= 0)
#endif
#ifndef FAILED
#define FAILED(hr) ((HRESULT)(hr) < 0)
#endif
#ifndef HRESULT_FROM_WIN32
#define HRESULT_FROM_WIN32(code) ((HRESULT)((code) > 0 ? (((uint32_t)(code)&0xFFFFu) | 0x80070000u) : (uint32_t)(code)))
#endif
#ifndef ERROR_IO_PENDING
#define ERROR_IO_PENDING 997
#endif
#ifndef E_FAIL
#define E_FAIL ((HRESULT)0x80004005u)
#endif
#ifndef E_POINTER
#define E_POINTER ((HRESULT)0x80004003u)
#endif
#ifndef E_HANDLE
#define E_HANDLE ((HRESULT)0x80070006u)
#endif
#ifndef E_INVALIDARG
#define E_INVALIDARG ((HRESULT)0x80070057u)
#endif
#ifndef E_OUTOFMEMORY
#define E_OUTOFMEMORY ((HRESULT)0x8007000Eu)
#endif
#ifndef E_ACCESSDENIED
#define E_ACCESSDENIED ((HRESULT)0x80070005u)
#endif

/* Not a failure: the call goes on, and its completion routine will tell. */
#define CPNATFWT_PENDING HRESULT_FROM_WIN32(ERROR_IO_PENDING) /* 0x800703E5 */
/* To ADD_TRANSPORT_ID: a peer has this ID. ERROR_OBJECT_ALREADY_EXISTS */
#define CPNATFWT_E_DUPLICATE HRESULT_FROM_WIN32(5010)
/* To REACH_TRANSPORT_ID: not, or not unambiguously, reachable. ERROR_HOST_UNREACHABLE */
#define CPNATFWT_E_UNREACHABLE HRESULT_FROM_WIN32(1232)
/* The function is not allowed in the instance's state. ERROR_INVALID_STATE */
#define CPNATFWT_E_STATE HRESULT_FROM_WIN32(5023)
/* flags are not 0. ERROR_INVALID_FLAGS */
#define CPNATFWT_E_FLAGS HRESULT_FROM_WIN32(1004)
/* The version is none that this library has, or the agent's is another. ERROR_REVISION_MISMATCH */
#define CPNATFWT_E_VERSION HRESULT_FROM_WIN32(1306)
/* No such pended call: completed already, or overtaken by the session's end. ERROR_NOT_FOUND */
#define CPNATFWT_E_NO_CALL HRESULT_FROM_WIN32(1168)
/* No agent runs here. ERROR_SERVICE_NOT_ACTIVE */
#define CPNATFWT_E_NO_PLATFORM HRESULT_FROM_WIN32(1062)
/* The agent is stopping. ERROR_SHUTDOWN_IN_PROGRESS */
#define CPNATFWT_E_STOPPING HRESULT_FROM_WIN32(1115)
/* The agent does not answer. ERROR_TIMEOUT */
#define CPNATFWT_E_TIMEOUT HRESULT_FROM_WIN32(1460)
/* The LUID names no interface that this provider had. ERROR_FILE_NOT_FOUND */
#define CPNATFWT_E_NO_INTERFACE HRESULT_FROM_WIN32(2)
/* Another instance uses the interface. ERROR_BUSY */
#define CPNATFWT_E_BUSY HRESULT_FROM_WIN32(170)
/* sddl names a user or a group that this host does not have. ERROR_NONE_MAPPED */
#define CPNATFWT_E_NO_ACCOUNT HRESULT_FROM_WIN32(1332)
/* A bound of the agent or of this library is reached. ERROR_NOT_ENOUGH_QUOTA */
#define CPNATFWT_E_QUOTA HRESULT_FROM_WIN32(1816)
/* The process is a child of the one that made the instance. ERROR_NOT_SUPPORTED */
#define CPNATFWT_E_NOT_SUPPORTED HRESULT_FROM_WIN32(50)

/* The version for CPNatfwtCreateProviderInstance. */
#define CPNATFWT_VERSION_1 1u
/* Characters of a friendly name, the NUL not counted; a longer one is cut. */
#define CPNATFWT_MAX_INTERFACE_NAME_LENGTH 256
/* Ours: characters of an sddl at most. */
#define CPNATFWT_MAX_SDDL_LENGTH 1024
/* Ours: the largest packet that the platform sends, in bytes (RFC 8200, 5). */
#define CPNATFWT_MTU 1280
/* Ours: the largest buffer that CPNatfwtIndicateReceivedBuffers takes, in bytes. */
#define CPNATFWT_MAX_BUFFER_SIZE 65536

/* The opaque handle of a provider instance. */
typedef struct _CPNATFWT_PROVIDER_INSTANCE *CPNATFWT_PROVIDER_INSTANCE;

/* A binary object that stands for an IPv4 or IPv6 address, in network order: `size` is 4 or 16. The platform alone makes
   them; a provider compares them byte by byte and may copy the bytes and send them to its peers. */
typedef struct _CPNATFWT_TRANSPORT_ID {
    USHORT size;
    BYTE *transportId;
} CPNATFWT_TRANSPORT_ID;

/* One buffer of a chain, which is followed through `next` to NULL. */
typedef struct _CPNATFWT_BUFFER {
    struct _CPNATFWT_BUFFER *next;
    ULONG size;
    BYTE *buffer;
} CPNATFWT_BUFFER;

typedef enum {
    /* The provider deregistered. */
    CPNATFWT_SESSION_TERMINATION_PROVIDER_REQUEST,
    /* The agent stops, or is not configured to have this provider. */
    CPNATFWT_SESSION_TERMINATION_PLATFORM_SHUTDOWN,
    /* A pended call was not completed in time, or packets were not taken in time. */
    CPNATFWT_SESSION_TERMINATION_PROVIDER_TIMEOUT,
    /* A callback failed, or the provider broke this API. */
    CPNATFWT_SESSION_TERMINATION_PROVIDER_OTHER_FAILURE,
    /* The connection between the agent and this process broke. */
    CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR
} CPNATFWT_SESSION_TERMINATION_REASON;

/* Completes a call that the provider pended. `completionContext` is the one that came with the call; `result` is what the
   callback would have returned. Returns (ours) S_OK; CPNATFWT_E_NO_CALL for a call that is not pended any more, which does no
   harm; E_INVALIDARG where `result` is CPNATFWT_PENDING; E_HANDLE for a dead instance. */
typedef HRESULT (*CPNATFWT_PLATFORM_COMPLETION_ROUTINE)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID completionContext, HRESULT result);

/* Tells that the platform is done with indicated buffers (ours: the arguments). */
typedef VOID (*CPNATFWT_PROVIDER_COMPLETION_ROUTINE)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, PVOID completionContext);

/* Each callback is given the handle that Create returned and the userContext that was given to Create. What the other
   arguments point to is the provider's to read until the callback's final return, or its completion, and never after. */

/* Associates an ID with this instance. The place to make sure that no peer has it: S_OK, CPNATFWT_E_DUPLICATE, pended, or a
   failure. */
typedef HRESULT (*CPNATFWT_PROVIDER_ADD_TRANSPORT_ID)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, CPNATFWT_TRANSPORT_ID *transportId,
    PVOID completionContext, CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* Ours: takes the association back. */
typedef HRESULT (*CPNATFWT_PROVIDER_REMOVE_TRANSPORT_ID)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, CPNATFWT_TRANSPORT_ID *transportId,
    PVOID completionContext, CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* Whether exactly one peer of this provider has the ID: S_OK, CPNATFWT_E_UNREACHABLE, or pended. */
typedef HRESULT (*CPNATFWT_PROVIDER_REACH_TRANSPORT_ID)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, CPNATFWT_TRANSPORT_ID *transportId,
    PVOID completionContext, CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* Carries packets from the local to the remote ID. One that is lost on the way is no failure. A chain that is pended keeps
   its room in the memory shared with the agent, and what comes behind it may be dropped while there is none left. The bytes
   are the platform's, to be read: what is handed back of them with CPNatfwtIndicateReceivedBuffers is not always copied. */
typedef HRESULT (*CPNATFWT_PROVIDER_SEND_BUFFERS)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, CPNATFWT_TRANSPORT_ID *localTransportId,
    CPNATFWT_TRANSPORT_ID *remoteTransportId, UINT64 endpointLuid, CPNATFWT_BUFFER *bufferChain, PVOID completionContext,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* Packets may come and go from the success of this on. */
typedef HRESULT (*CPNATFWT_PROVIDER_TRANSITION_ACTIVE)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, PVOID completionContext,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* Ours: no packet comes or goes until the next TRANSITION_ACTIVE. */
typedef HRESULT (*CPNATFWT_PROVIDER_TRANSITION_INACTIVE)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, PVOID completionContext,
    CPNATFWT_PLATFORM_COMPLETION_ROUTINE completionRoutine);

/* There is a session. It can't be refused. */
typedef VOID (*CPNATFWT_PROVIDER_ESTABLISH_SESSION_INDICATION)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext);

/* The session is over, once. Deregister and Destroy may be called in here. */
typedef VOID (*CPNATFWT_PROVIDER_TERMINATE_SESSION_INDICATION)(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, PVOID userContext, CPNATFWT_SESSION_TERMINATION_REASON reason);

/* Ours: the table for Create, which copies it. removeTransportId and transitionInactive may be NULL, which is as if they
   returned S_OK; the others may not. */
typedef struct _CPNATFWT_PROVIDER_CALLBACKS {
    CPNATFWT_PROVIDER_ADD_TRANSPORT_ID addTransportId;
    CPNATFWT_PROVIDER_REMOVE_TRANSPORT_ID removeTransportId;
    CPNATFWT_PROVIDER_REACH_TRANSPORT_ID reachTransportId;
    CPNATFWT_PROVIDER_SEND_BUFFERS sendBuffers;
    CPNATFWT_PROVIDER_TRANSITION_ACTIVE transitionActive;
    CPNATFWT_PROVIDER_TRANSITION_INACTIVE transitionInactive;
    CPNATFWT_PROVIDER_ESTABLISH_SESSION_INDICATION establishSession;
    CPNATFWT_PROVIDER_TERMINATE_SESSION_INDICATION terminateSession;
} CPNATFWT_PROVIDER_CALLBACKS;

#if defined(__GNUC__)
#define CPNATFWT_API __attribute__((visibility("default")))
#else
#define CPNATFWT_API
#endif

/* Makes an instance; nothing outside this process learns of it. The arguments are ours.
     version    CPNATFWT_VERSION_1
     callbacks  copied
     userContext  handed to every callback unchanged; may be NULL
     flags      0
     providerInstance  receives the handle; NULL where the function fails
   Returns S_OK; E_POINTER (callbacks, one of those in it that may not be NULL, or providerInstance is NULL);
   CPNATFWT_E_VERSION; CPNATFWT_E_FLAGS; CPNATFWT_E_QUOTA (4,096 instances); E_OUTOFMEMORY; CPNATFWT_E_NOT_SUPPORTED. */
CPNATFWT_API HRESULT CPNatfwtCreateProviderInstance(
    ULONG version, const CPNATFWT_PROVIDER_CALLBACKS *callbacks, PVOID userContext, ULONG flags,
    CPNATFWT_PROVIDER_INSTANCE *providerInstance);

/* Registers a CREATED instance with the agent of this host, which gives it a network interface. It waits for the agent's
   answer, 10 s at most.
     interfaceFriendlyName  NULL for "Connectivity Platform Adapter #N"; one that is taken gets a number behind it
     interfaceLuid  NULL, or 0 in it, for a new interface; else that of an earlier registration of this user's program of the
                    same name, which is taken up again. Receives the LUID.
     flags          0
     sddl           whose sockets may use the instance: names of users, and of groups with % before them, separated by commas;
                    * for everybody (ours); NULL for the user that registers
   The agent's socket is $CPNATFWT_SOCKET, or else /run/natfwt/providers.sock.
   Returns S_OK; E_HANDLE; CPNATFWT_E_STATE; CPNATFWT_E_FLAGS; E_INVALIDARG (a name or an sddl is no text or too long, an empty
   name in the sddl); CPNATFWT_E_NO_ACCOUNT; CPNATFWT_E_NO_PLATFORM; CPNATFWT_E_TIMEOUT; E_ACCESSDENIED (the agent's settings do
   not allow this user); CPNATFWT_E_NO_INTERFACE; CPNATFWT_E_BUSY; CPNATFWT_E_QUOTA; CPNATFWT_E_STOPPING; CPNATFWT_E_VERSION; E_OUTOFMEMORY;
   E_FAIL (the agent's answer is not to be understood); CPNATFWT_E_NOT_SUPPORTED. After any failure the instance is CREATED. */
CPNATFWT_API HRESULT CPNatfwtRegisterProviderInstance(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, WCHAR *interfaceFriendlyName, IF_LUID *interfaceLuid, ULONG flags,
    WCHAR *sddl);

/* Ends the registration. A session that there is is terminated first: the terminate indication comes, with PROVIDER_REQUEST,
   before this returns. It waits until no callback runs, except for those that it is called in; none begins once it has
   returned. Owed after every successful Register, also where the platform ended the session.
   Returns S_OK; E_HANDLE; CPNATFWT_E_STATE; CPNATFWT_E_NOT_SUPPORTED. */
CPNATFWT_API HRESULT CPNatfwtDeregisterProviderInstance(CPNATFWT_PROVIDER_INSTANCE providerInstance);

/* Frees all that is held for a CREATED or DEREGISTERED instance. The handle is dead from here on, and calling this with a
   dead one, or in any other state, does nothing. Once the last instance is destroyed, and the calls that were under way have
   returned, the library may be unloaded (dlclose): where that was from within a callback it stays loaded until the callback
   has returned. */
CPNATFWT_API VOID CPNatfwtDestroyProviderInstance(CPNATFWT_PROVIDER_INSTANCE providerInstance);

/* Hands received packets to the platform. The instance must be ACTIVE.
     localTransportId   the destination: an ID of this instance
     remoteTransportId  the source: the peer
     bufferChain        one packet a buffer, of 1 to CPNATFWT_MAX_BUFFER_SIZE bytes
     completionRoutine  called once with completionContext when the platform is done with the buffers: before this returns
                        (ours), and only where it returns S_OK. Without one the platform is done when this returns.
                        Buffers of a chain that SEND_BUFFERS was given, or parts of them, may be handed back until that is
                        over; they stay the platform's, and must not be written to, before or after.
   Where the agent is busy this waits for it.
   Returns S_OK; E_HANDLE; CPNATFWT_E_STATE (also where the session ends meanwhile); E_POINTER (an ID, its bytes, the chain or a
   buffer of it is NULL); E_INVALIDARG (the size of an ID or of a buffer, or a local ID that is none of
   this instance; none of the buffers was taken then);
   CPNATFWT_E_NOT_SUPPORTED. */
CPNATFWT_API HRESULT CPNatfwtIndicateReceivedBuffers(
    CPNATFWT_PROVIDER_INSTANCE providerInstance, CPNATFWT_TRANSPORT_ID *localTransportId,
    CPNATFWT_TRANSPORT_ID *remoteTransportId, CPNATFWT_BUFFER *bufferChain, PVOID completionContext,
    CPNATFWT_PROVIDER_COMPLETION_ROUTINE completionRoutine);

#ifdef __cplusplus
}
#endif

#endif
