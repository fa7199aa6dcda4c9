// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// Whether the load of ``NetworkTests/Programs/LeakTests`` is the long one.
let longLoad = ProcessInfo.processInfo.environment["NATFWT_LONG"] != nil

/// Everything that needs network namespaces. One test at a time: they measure times, and two cores are few.
@Suite("Network", .serialized, .enabled(if: Lab.isAvailable, "needs root, ip, nft, prlimit and python3"))
struct NetworkTests {
    /// The real programs across a real NAT, in the topology that `Lab` draws.
    @Suite(
        "Programs", .serialized, .enabled(if: Natfwt.isBuilt, "needs the natfwt program"),
        .timeLimit(.minutes(longLoad ? 30 : 5)))
    struct Programs {}

    /// Without it the tests of the programs would be skipped, and nobody would know.
    @Test("the program is built beside the tests, or NATFWT_BINARY names it")
    func program() { #expect(Natfwt.isBuilt, "\(Natfwt.binary)") }
}
