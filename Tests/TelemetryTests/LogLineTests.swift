// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import Testing

@testable import Telemetry

@Suite struct LogLineTests {
    private func text(_ message: String, _ metadata: [(String, Logger.MetadataValue)] = [], _ format: LogFormat = .text)
        -> String
    {
        let line = LogLine(
            time: WallTime(seconds: 0), level: .info, label: "relay", message: message,
            metadata: metadata.map { (key: $0.0, value: $0.1) })
        return String(decoding: line.bytes(format), as: UTF8.self)
    }

    @Test func textLine() {
        let line = text(
            "node connected", [("node", "home"), ("from", "192.0.2.1:5"), ("reason", "a b"), ("n", "\(7)")])
        #expect(line == "1970-01-01T00:00:00.000Z info node connected node=home from=192.0.2.1:5 reason=\"a b\" n=7\n")
    }

    /// What a peer may bring, and how it looks in a line.
    @Test(arguments: [
        ("", "\"\""), ("plain", "plain"), ("a=b", "\"a=b\""), ("a\"b", #""a\"b""#), ("a\\b", #""a\\b""#),
        ("x\n2026-01-01T00:00:00.000Z critical forged", #""x\n2026-01-01T00:00:00.000Z critical forged""#),
        ("\r\u{1B}[2J", #""\r\u{1b}[2J""#), ("\u{0}\u{7F}\u{9B}", #""\u{0}\u{7f}\u{9b}""#),
        ("\u{2028}\u{202E}\u{200B}\u{FEFF}", #""\u{2028}\u{202e}\u{200b}\u{feff}""#), ("é", "\"é\""),
        ("\u{E000}", #""\u{e000}""#),
    ])
    func valueIsEscaped(value: String, shown: String) {
        #expect(text("m", [("k", .string(value))]) == "1970-01-01T00:00:00.000Z info m k=\(shown)\n")
    }

    @Test func messageAndKeyAreEscaped() {
        #expect(text("a\nb\u{1B}") == "1970-01-01T00:00:00.000Z info a\\nb\\u{1b}\n")
        #expect(text("m", [("a b=\nc", "1")]).hasSuffix(" m a_b__c=1\n"))
    }

    @Test func nestedValues() {
        let value: Logger.MetadataValue = ["ports": ["22", "80"], "name": "a\nb"]
        #expect(text("m", [("k", value)]).hasSuffix(#"k="{name: a\nb, ports: [22, 80]}""# + "\n"))
    }

    @Test(arguments: [LogFormat.text, .json], ["x", "\u{0}", "\"", "\u{E0001}", "é", "\u{2028}"])
    func lineStaysOneShortLine(format: LogFormat, unit: String) throws {
        let long = String(repeating: unit, count: 10_000)
        let pairs = (0..<100).map { ("key-\($0)-\(long)", Logger.MetadataValue.array([.string(long), .string(long)])) }
        let line = text(long, pairs, format)
        #expect(line.utf8.count <= LogLine.maximumBytes)
        #expect(line.utf8.filter { $0 == 10 }.count == 1 && line.hasSuffix("\n"))
        #expect(line.contains("truncated"))
        if format == .json { _ = try JSONSerialization.jsonObject(with: Data(line.utf8)) }
    }

    @Test func jsonLine() throws {
        let line = text("a \"b\"\n", [("k", "v\u{1}"), ("list", ["1"])], .json)
        #expect(
            line == #"{"time":"1970-01-01T00:00:00.000Z","level":"info","logger":"relay","message":"a \"b\"\n","#
                + #""metadata":{"k":"v\u0001","list":"[1]"}}"# + "\n")
    }

    @Test(arguments: [
        (0, "1970-01-01T00:00:00"), (951_782_400, "2000-02-29T00:00:00"), (951_868_799, "2000-02-29T23:59:59"),
        (1_795_247_282, "2026-11-21T07:48:02"), (4_107_542_400, "2100-03-01T00:00:00"), (-1, "1969-12-31T23:59:59"),
        (253_402_300_799, "9999-12-31T23:59:59"), (-62_135_596_800, "0001-01-01T00:00:00"),
    ])
    func wallTime(seconds: Int64, text: String) {
        #expect(WallTime(seconds: seconds, milliseconds: 7).description == text + ".007Z")
    }

    /// Against the C library, over 400 years and more.
    @Test func wallTimeAgreesWithTheCLibrary() {
        for day in stride(from: -100_000, through: 200_000, by: 7) {
            var time = time_t(day * 86_400 + 12_345)
            var parts = tm()
            gmtime_r(&time, &parts)
            let expected = String(
                format: "%04d-%02d-%02dT%02d:%02d:%02d.000Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                parts.tm_hour, parts.tm_min, parts.tm_sec)
            #expect(WallTime(seconds: Int64(time)).description == expected)
        }
    }
}
