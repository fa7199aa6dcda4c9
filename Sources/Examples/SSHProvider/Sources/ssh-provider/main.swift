// SPDX-License-Identifier: Apache-2.0

// A provider that carries between two hosts over an SSH connection:
//
//     ssh-provider ssh alice@host ssh-provider -
//
// The words are a command whose standard streams lead to the same program on the other host, which there is started with
// "-" and speaks through its own. The two tell each other their transport IDs; nothing is to be configured.

import CPNatfwt
import Glibc

/// Starts a command; where its standard streams are.
func start(_ command: [String]) -> (input: Int32, output: Int32)? {
    var (up, down): ([Int32], [Int32]) = ([0, 0], [0, 0])
    guard pipe(&up) == 0, pipe(&down) == 0 else { return nil }
    for end in up + down { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, up[0], 0)
    posix_spawn_file_actions_adddup2(&actions, down[1], 1)
    let words = command.map { strdup($0) } + [nil]
    defer { words.forEach { free($0) } }
    var pid: pid_t = 0
    guard posix_spawnp(&pid, command[0], &actions, nil, words, environ) == 0 else { return nil }
    close(up[0])
    close(down[1])
    return (down[0], up[1])
}

func complain(_ text: String) { _ = write(2, text + "\n", text.utf8.count + 1) }

func link(_ context: PVOID?) -> Link? { context.map { Unmanaged<Link>.fromOpaque($0).takeUnretainedValue() } }

func bytes(_ id: UnsafeMutablePointer<CPNATFWT_TRANSPORT_ID>?) -> [UInt8] {
    guard let id = id?.pointee else { return [] }
    return Array(UnsafeBufferPointer(start: id.transportId, count: Int(id.size)))
}

let arguments = Array(CommandLine.arguments.dropFirst())
guard !arguments.isEmpty else {
    complain("usage: ssh-provider COMMAND...   or, at the command's other end: ssh-provider -")
    exit(64)
}
signal(SIGPIPE, SIG_IGN)
guard let streams = arguments == ["-"] ? (0, 1) : start(arguments) else {
    perror("ssh-provider")
    exit(71)
}
let carrier = Link(input: streams.0, output: streams.1)

var callbacks = CPNATFWT_PROVIDER_CALLBACKS()
callbacks.addTransportId = { _, context, id, _, _ in link(context)?.add(bytes(id)) == true ? 0 : cpnatfwt_duplicate() }
callbacks.reachTransportId = { _, context, id, _, _ in
    link(context)?.reaches(bytes(id)) == true ? 0 : cpnatfwt_unreachable()
}
callbacks.sendBuffers = { _, context, local, remote, _, chain, _, _ in
    guard let link = link(context) else { return cpnatfwt_fail() }
    var next = chain
    while let buffer = next?.pointee {
        let packet = UnsafeRawBufferPointer(start: buffer.buffer, count: Int(buffer.size))
        guard link.send(from: bytes(local), to: bytes(remote), packet) else { return cpnatfwt_fail() }
        next = buffer.next
    }
    return 0
}
callbacks.transitionActive = { _, _, _, _ in 0 }
callbacks.establishSession = { _, _ in }
// The agent is gone, or does not want this provider: there is nothing left to carry.
callbacks.terminateSession = { _, _, reason in if reason.rawValue != 0 { exit(75) } }

var instance: CPNATFWT_PROVIDER_INSTANCE?
var result = CPNatfwtCreateProviderInstance(
    CPNATFWT_VERSION_1, &callbacks, Unmanaged.passUnretained(carrier).toOpaque(), 0, &instance)
carrier.instance = instance
if result == 0 { result = CPNatfwtRegisterProviderInstance(instance, nil, nil, 0, nil) }
guard result == 0 else {
    complain("ssh-provider: not registered: 0x\(String(UInt32(bitPattern: result), radix: 16))")
    exit(69)
}
carrier.run()
_ = CPNatfwtDeregisterProviderInstance(instance)
CPNatfwtDestroyProviderInstance(instance)
