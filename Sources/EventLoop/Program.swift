// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A program that this one has started, with its standard streams.
public final class Program {
    /// Its process.
    public let process: Int32
    private var status: Int32?

    /// Starts `arguments[0]`, which is looked for in PATH where it has no slash.
    /// - Parameter environment: `NAME=value`, before what this program's own environment says.
    public init(_ arguments: [String], environment: [String]) throws(UVError) {
        guard let path = arguments.first else { throw .invalidArgument }
        let words = arguments.map { strdup($0) } + [nil]
        var variables = environment.map { strdup($0) }
        var own = environ
        while let variable = own.pointee {
            variables.append(strdup(variable))
            own += 1
        }
        variables.append(nil)
        defer { for text in words + variables { free(text) } }
        var pid: pid_t = 0
        let failure = posix_spawnp(&pid, path, nil, nil, words, variables)
        guard failure == 0 else { throw UVError(code: -failure) }
        process = pid
    }

    /// Nil while it runs; its exit status, or 128 and the signal that has ended it.
    public var exitStatus: Int32? {
        if let status { return status }
        var word: Int32 = 0
        guard waitpid(process, &word, WNOHANG) == process else { return nil }
        status = word & 0x7F == 0 ? word >> 8 & 0xFF : 128 + word & 0x7F
        return status
    }

    /// Processor time that this program has used, and another process where one is named.
    public static func processorTime(with process: Int32?) -> Duration {
        var total = Duration.zero
        for pid in [0, process].compactMap(\.self) {
            var clock = clockid_t()
            var time = timespec()
            guard clock_getcpuclockid(pid, &clock) == 0, clock_gettime(clock, &time) == 0 else { continue }
            total += .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
        }
        return total
    }

    /// Sends it a signal, unless it has ended.
    public func signal(_ number: Int32) {
        if exitStatus == nil { kill(process, number) }
    }
}
