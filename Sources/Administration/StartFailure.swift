// SPDX-License-Identifier: Apache-2.0

/// How a program ends, as sysexits.h numbers it.
public enum ExitStatus: Int32, Sendable {
    case success = 0
    /// The command line can't be understood.
    case usage = 64
    /// Something that is needed is not there: an address, a socket, a running program.
    case unavailable = 69
    /// The relay refuses this node.
    case refused = 77
    /// A file of settings, a key or a registry is wrong.
    case configuration = 78
}

/// Why a program does not start.
public struct StartFailure: Error, CustomStringConvertible {
    public var status: ExitStatus
    /// What is wrong, where, and what would be right.
    public var message: String

    public init(status: ExitStatus, message: String) {
        self.status = status
        self.message = message
    }

    public var description: String { message }

    /// Turns any error of `body` into a failure of the configuration.
    public static func configuration<R, E: Error>(_ body: () throws(E) -> R) throws(StartFailure) -> R {
        do { return try body() } catch { throw StartFailure(status: .configuration, message: "\(error)") }
    }

    /// Turns any error of `body` into a failure of something that is not there.
    public static func unavailable<R, E: Error>(_ body: () throws(E) -> R) throws(StartFailure) -> R {
        do { return try body() } catch { throw StartFailure(status: .unavailable, message: "\(error)") }
    }
}
