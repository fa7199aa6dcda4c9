// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Telemetry

@Suite struct JSONWriterTests {
    @Test func nestedValue() {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("name", "a")
            writer.field("absent", nil as String?)
            writer.field("count", 3)
            writer.field("big", UInt64.max)
            writer.field("ratio", 0.5)
            writer.field("nothing", Double.nan)
            writer.field("on", true)
            writer.key("list")
            writer.array { writer in
                writer.integer(1)
                writer.array { _ in }
                writer.object { _ in }
                writer.null()
                writer.string("é"[...])
            }
            writer.field("last", -1)
        }
        #expect(
            writer.text == #"{"name":"a","count":3,"big":18446744073709551615,"ratio":0.5,"nothing":null,"on":true,"#
                + #""list":[1,[],{},null,"é"],"last":-1}"#)
    }

    /// Every scalar of the lower planes, and some above, reads back through another parser.
    @Test func everyScalarReadsBack() throws {
        let values = [UInt32](0...0x2FFF) + [0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFF, 0x1F600, 0xE0001, 0x10FFFF]
        let all = values.compactMap(Unicode.Scalar.init)
        var writer = JSONWriter()
        writer.array { writer in for scalar in all { writer.string(String(scalar)) } }
        let read = try JSONSerialization.jsonObject(with: Data(writer.bytes)) as? [String]
        #expect(read?.flatMap(\.unicodeScalars) == all)
        #expect(!writer.bytes.contains { $0 < 0x20 })
    }

    @Test(arguments: [0.1, 1e-7, Double.leastNonzeroMagnitude, Double.greatestFiniteMagnitude, -0.0, 1e16])
    func numberReadsBack(value: Double) throws {
        var writer = JSONWriter()
        writer.array { $0.number(value) }
        #expect(try JSONSerialization.jsonObject(with: Data(writer.bytes)) as? [Double] == [value])
    }
}

@Suite struct PrometheusTextTests {
    @Test func metricsWithLabels() {
        var page = PrometheusText()
        page.metric("natfwt_streams_open", .gauge, help: "Open streams,\nby node \\ port.")
        page.sample(3, labels: ["node": "a\"b\\c\nd", "0port": "1"])
        page.sample(4)
        page.metric("9 natfwt-bytes", .counter, help: "Bytes \"moved\".")
        page.sample(0.5)
        page.sample(-Double.infinity)
        page.sample(Double.nan)
        #expect(
            page.text == #"""
                # HELP natfwt_streams_open Open streams,\nby node \\ port.
                # TYPE natfwt_streams_open gauge
                natfwt_streams_open{node="a\"b\\c\nd",_0port="1"} 3
                natfwt_streams_open 4
                # HELP _9_natfwt_bytes Bytes "moved".
                # TYPE _9_natfwt_bytes counter
                _9_natfwt_bytes 0.5
                _9_natfwt_bytes -Inf
                _9_natfwt_bytes NaN

                """#)
    }
}

@Suite struct CounterTests {
    @Test func counterGrows() {
        var counter = Counter()
        counter.add()
        counter.add(41)
        #expect(counter.value == 42)
    }

    @Test func gaugeKeepsItsHighest() {
        var gauge = Gauge()
        gauge.add(5)
        gauge.subtract(2)
        gauge.set(4)
        #expect(gauge.value == 4 && gauge.highest == 5)
    }
}
