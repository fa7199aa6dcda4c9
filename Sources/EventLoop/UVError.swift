// SPDX-License-Identifier: Apache-2.0

import CUV

/// What the system or the resolver refused, as libuv numbers it.
public struct UVError: Error, Equatable, Hashable, Sendable {
    /// A negative errno, or one of libuv's own negative numbers (the resolver's, the end of a stream).
    public let code: Int32

    public init(code: Int32) { self.code = code }

    /// The symbol: `ECONNREFUSED`.
    public var name: String { UVError.text(uv_err_name_r, code) }
    /// The meaning in words: `connection refused`.
    public var message: String {
        let text = UVError.text(uv_strerror_r, code)
        // By themselves the resolver's words, as "temporary failure", say nothing of names.
        return name.hasPrefix("EAI_") ? "the name can't be looked up: \(text)" : text
    }

    public var isRefused: Bool { self == .connectionRefused }
    /// The peer's RST, or a write after it.
    public var isReset: Bool { self == .connectionReset || self == .brokenPipe }
    public var isTimeout: Bool { self == .timedOut }
    /// No route: the network or the host cannot be reached.
    public var isUnreachable: Bool { code == UV_ENETUNREACH.rawValue || code == UV_EHOSTUNREACH.rawValue }
    public var isAddressInUse: Bool { self == .addressInUse }
    public var isAddressNotAvailable: Bool { code == UV_EADDRNOTAVAIL.rawValue }
    /// This host has no addresses of a family: the kernel knows none of it, or it is switched off.
    public var isFamilyMissing: Bool { isAddressNotAvailable || code == UV_EAFNOSUPPORT.rawValue }
    public var isPermissionDenied: Bool { code == UV_EACCES.rawValue || code == UV_EPERM.rawValue }
    /// The process or the system has too few descriptors or too little memory for one more socket; this passes.
    public var isShortage: Bool {
        code == UV_EMFILE.rawValue || code == UV_ENFILE.rawValue || code == UV_ENOBUFS.rawValue
            || code == UV_ENOMEM.rawValue
    }
    /// The resolver knows no such name.
    public var isUnknownName: Bool { code == UV_EAI_NONAME.rawValue || code == UV_EAI_NODATA.rawValue }

    public static let connectionRefused = UVError(code: UV_ECONNREFUSED.rawValue)
    public static let connectionReset = UVError(code: UV_ECONNRESET.rawValue)
    public static let brokenPipe = UVError(code: UV_EPIPE.rawValue)
    public static let timedOut = UVError(code: UV_ETIMEDOUT.rawValue)
    public static let addressNotAvailable = UVError(code: UV_EADDRNOTAVAIL.rawValue)
    public static let notPermitted = UVError(code: UV_EPERM.rawValue)
    public static let outOfBuffers = UVError(code: UV_ENOBUFS.rawValue)
    public static let addressInUse = UVError(code: UV_EADDRINUSE.rawValue)
    public static let invalidArgument = UVError(code: UV_EINVAL.rawValue)

    /// Throws what a call of libuv or of the shim answered, where it is an error.
    @discardableResult
    static func check(_ status: Int32) throws(UVError) -> Int32 {
        guard status >= 0 else { throw UVError(code: status) }
        return status
    }

    private typealias Describe = (Int32, UnsafeMutablePointer<CChar>?, Int) -> UnsafeMutablePointer<CChar>?

    private static func text(_ describe: Describe, _ code: Int32) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { room in
            guard let base = room.baseAddress, describe(code, base, room.count) != nil else { return "\(code)" }
            return String(cString: base)
        }
    }
}

extension UVError: CustomStringConvertible {
    public var description: String { "\(message) (\(name))" }
}
