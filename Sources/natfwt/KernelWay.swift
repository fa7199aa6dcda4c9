// SPDX-License-Identifier: Apache-2.0

import Administration
import Glibc

/// Programs in the kernel that redirect the sockets of a control group, and the group (Sources/KernelWay/way.h). The library
/// is loaded here only, for the sake of the memory of all other programs.
@safe final class KernelWay {
    private typealias Open =
        @convention(c) (UnsafePointer<CChar>, UnsafeMutablePointer<CChar>, Int) -> OpaquePointer?
    private typealias Strings = UnsafePointer<UnsafeMutablePointer<CChar>?>
    private typealias Start =
        @convention(c) (OpaquePointer, UnsafePointer<CChar>, Strings, Strings, UnsafeMutablePointer<pid_t>) -> Int32
    private typealias End = @convention(c) (OpaquePointer) -> Void

    private let startFunction: Start
    private let endFunction: End
    private let closeFunction: End
    private var way: OpaquePointer?

    /// Makes them.
    /// - Parameters:
    ///   - library: its path.
    ///   - surroundings: as the agent gives them.
    /// - Throws: `unavailable`, with what is in the way.
    init(_ library: String, _ surroundings: String) throws(StartFailure) {
        guard let handle = unsafe dlopen(library, RTLD_NOW | RTLD_LOCAL),
            let open = unsafe dlsym(handle, "natfwt_kernel_open"),
            let start = unsafe dlsym(handle, "natfwt_kernel_start"),
            let end = unsafe dlsym(handle, "natfwt_kernel_end"),
            let close = unsafe dlsym(handle, "natfwt_kernel_close")
        else { throw KernelWay.failure(unsafe dlerror().map { unsafe String(cString: $0) } ?? library) }
        unsafe startFunction = unsafe unsafeBitCast(start, to: Start.self)
        unsafe closeFunction = unsafe unsafeBitCast(close, to: End.self)
        unsafe endFunction = unsafe unsafeBitCast(end, to: End.self)
        var why = [CChar](repeating: 0, count: 512)
        let function = unsafe unsafeBitCast(open, to: Open.self)
        unsafe way = unsafe function(surroundings, &why, why.count)
        guard unsafe way != nil else {
            let text = why.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw KernelWay.failure(String(decoding: text, as: UTF8.self))
        }
    }

    private static func failure(_ why: String) -> StartFailure {
        let rights = geteuid() == 0 ? "" : " (it is root's)"
        return StartFailure(status: .unavailable, message: "the kernel's way can't be had\(rights): \(why)")
    }

    /// What the library in the command is told where it has nothing to lead anywhere, only names to find.
    static func onlyNames(_ surroundings: String) -> String {
        var words = surroundings.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: false)
        if words.count == 6 { words[3] = "names" }
        return words.joined(separator: " ")
    }

    /// Starts a command in the group.
    /// - Returns: 0, or an errno.
    func start(
        _ path: String, _ arguments: [UnsafeMutablePointer<CChar>?], _ environment: [UnsafeMutablePointer<CChar>?],
        _ process: inout pid_t
    ) -> Int32 {
        guard let way = unsafe way else { return ESRCH }
        return unsafe startFunction(way, path, arguments, environment, &process)
    }

    /// The agent has gone: what would have been led to it fails from now on.
    func end() {
        if let way = unsafe way { unsafe endFunction(way) }
    }

    /// Takes both away.
    func close() {
        if let way = unsafe way { unsafe closeFunction(way) }
        unsafe way = nil
    }
}
