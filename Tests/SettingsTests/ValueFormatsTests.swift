// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Settings

@Suite struct ValueFormatsTests {
    @Test(arguments: [
        ("10s", Duration.seconds(10)), ("1m30s", .seconds(90)), ("500ms", .milliseconds(500)), ("0s", .zero),
        ("24h", .seconds(86_400)), ("1d2h3m4s5ms6us", .seconds(93_784) + .microseconds(5_006)),
        ("90m", .seconds(5_400)),
    ])
    func durationIsRead(text: String, duration: Duration) {
        #expect(DurationFormat.parse(text) == duration)
        #expect(DurationFormat.parse(DurationFormat.text(duration)) == duration)
    }

    @Test(arguments: [
        "", "10", "s", "-1s", "1.5s", "10 s", " 10s", "10s ", "1s1m", "1s1s", "10S", "1w", "99999999999999999999s",
        "9223372036854775807s", "106751d24h", "٣s", "1s\0",
    ])
    func wrongDurationIsRefused(text: String) { #expect(DurationFormat.parse(text) == nil) }

    @Test(arguments: [
        ("0", 0), ("65536", 65_536), ("64 MiB", 64 << 20), ("16KiB", 16_384), ("1 GiB", 1 << 30), ("1kB", 1_000),
        ("2MB", 2_000_000), ("12 B", 12),
    ])
    func sizeIsRead(text: String, bytes: Int) {
        #expect(ByteCountFormat.parse(text) == bytes)
        #expect(ByteCountFormat.parse(ByteCountFormat.text(bytes)) == bytes)
    }

    @Test(
        arguments: [
            "", "MiB", "-1", "1.5 MiB", "1  MiB", "1 mib", "1 M", "9223372036854775807 KiB", "99999999999999999999",
            "1 ",
        ].dropLast() + ["1 MiB "])
    func wrongSizeIsRefused(text: String) { #expect(ByteCountFormat.parse(text) == nil) }

    @Test(arguments: [("stream-per-node", "streams-per-node"), ("NODES", "nodes"), ("headerbytes", "header-bytes")])
    func nearestKeyIsFound(key: String, name: String) {
        #expect(nearest(key, among: ["nodes", "streams-per-node", "header-bytes"]) == name)
    }

    @Test(arguments: ["", "x", "completely-else", String(repeating: "n", count: 100_000)])
    func farKeyIsNot(key: String) { #expect(nearest(key, among: ["nodes", "streams-per-node"]) == nil) }
}
