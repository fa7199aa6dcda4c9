// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Testing

/// When it is worth to look for packets before sleeping: only where there is another processor for who sends them.
@Suite(.enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1)) struct SharedRingsTests {
    @Test func looksOnceWaitsHaveBeenShort() throws {
        let rings = try SharedRings(ringSize: 128 << 10)
        #expect(rings.patience == .zero)
        for _ in 0..<3 { rings.waited(.microseconds(60)) }
        // A long wait: all begins anew.
        rings.waited(.milliseconds(1))
        for _ in 0..<3 { rings.waited(.microseconds(60)) }
        #expect(rings.patience == .zero)
        rings.waited(.microseconds(60))
        #expect(rings.patience == .microseconds(50))
        rings.waited(.microseconds(2))
        #expect(rings.patience == .microseconds(50))
    }

    @Test("looks more seldom the more often it was in vain", arguments: [(1, 8), (2, 16), (8, 1_024), (40, 1_024)])
    func looksMoreSeldom(times: Int, wanted: Int) throws {
        let rings = try SharedRings(ringSize: 128 << 10)
        for _ in 0..<times { rings.lookedInVain() }
        for _ in 0..<wanted - 1 { rings.waited(.microseconds(60)) }
        #expect(rings.patience == .zero)
        rings.waited(.microseconds(60))
        #expect(rings.patience > .zero)
    }
}
