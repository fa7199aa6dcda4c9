// SPDX-License-Identifier: Apache-2.0

import Logging
import Primitives
import Testing

@testable import Telemetry

@Suite struct LogSamplerTests {
    let sink = KeepingSink()
    let sampler: LogSampler

    init() {
        let output = LogOutput(sink: sink, clock: { WallTime(seconds: 0) })
        sampler = LogSampler(output.logger("t"), linesPerSecond: 2)
    }

    private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }
    private var lines: [String] { sink.lines.map { String($0.dropFirst(25)) } }

    @Test func moreThanTheRateIsCounted() {
        for index in 0..<314 { sampler.log(.info, kind: "refused", now: at(1 + Double(index) / 1000), "refused") }
        #expect(lines == ["info refused", "info refused"])
        #expect(sampler.nextFlush == at(2))
        sampler.flush(now: at(1.9))
        #expect(lines.count == 2)
        sampler.flush(now: at(2))
        #expect(lines.last == "info … and 312 more kind=refused")
        #expect(sampler.nextFlush == nil)
    }

    @Test func nextSecondTellsFirst() {
        for _ in 0..<3 { sampler.log(.info, kind: "a", now: at(1), "m") }
        sampler.log(.info, kind: "a", now: at(2.5), "n")
        #expect(lines == ["info m", "info m", "info … and 1 more kind=a", "info n"])
    }

    @Test func kindsAreApart() {
        for _ in 0..<3 {
            sampler.log(.info, kind: "a", now: at(1), "a")
            sampler.log(.warning, kind: "b", now: at(1), "b")
        }
        #expect(lines.filter { $0 == "info a" }.count == 2 && lines.filter { $0 == "warning b" }.count == 2)
        sampler.flush(now: at(9))
        #expect(lines.contains("warning … and 1 more kind=b"))
    }

    @Test func levelsBelowAreNotCounted() {
        for _ in 0..<9 { sampler.log(.debug, kind: "a", now: at(1), "a") }
        #expect(sampler.nextFlush == nil && lines.isEmpty)
    }

    @Test func kindsAreBounded() {
        for kind in 0..<10_000 { sampler.log(.info, kind: "k\(kind)", now: at(1), "m") }
        #expect(lines.count == LogSampler.maximumKinds + 2)
        sampler.flush(now: at(2))
        #expect(lines.last == "info … and \(10_000 - LogSampler.maximumKinds - 2) more kind=other")
    }

    @Test func spansMayBeLonger() {
        let output = LogOutput(sink: sink, clock: { WallTime(seconds: 0) })
        let slow = LogSampler(output.logger("t"), lines: 1, per: .seconds(30), maximumKinds: 2)
        for second in 0..<30 { slow.log(.info, kind: "a", now: at(1 + Double(second)), "m") }
        #expect(lines == ["info m"])
        #expect(slow.nextFlush == at(31))
        slow.flush(now: at(31))
        #expect(lines == ["info m", "info … and 29 more kind=a"])
        for kind in ["b", "c", "d", "e"] { slow.log(.info, kind: kind, now: at(40), "\(kind)") }
        #expect(Array(lines.dropFirst(2)) == ["info b", "info c", "info d"])
    }
}
