// SPDX-License-Identifier: Apache-2.0

internal import Logging

/// How log lines look.
public enum LogFormat: UInt8, Sendable {
    /// `2026-11-21T07:48:02.123Z info message key=value key="a value"`.
    case text
    /// One JSON object a line: time, level, logger, message, metadata.
    case json
}

/// One event as one line. Whatever bytes a peer brought into it, it stays one line and stays below `maximumBytes`, so
/// that a pipe takes it whole (POSIX: writes up to PIPE_BUF are atomic).
struct LogLine {
    static let maximumBytes = 4_096
    /// The longest message and the longest value; what is longer ends in "…".
    static let maximumMessage = 1_024
    static let maximumValue = 512
    /// Room for what closes the line.
    private static let reserve = 64

    let time: WallTime
    let level: Logger.Level
    let label: String
    let message: String
    let metadata: [(key: String, value: Logger.MetadataValue)]

    func bytes(_ format: LogFormat) -> [UInt8] {
        switch format {
        case .text: text
        case .json: json
        }
    }

    private var text: [UInt8] {
        var line = Array("\(time) \(level.rawValue) ".utf8)
        line.append(contentsOf: LogText.escaped(message, limit: LogLine.maximumMessage).utf8)
        for (key, value) in metadata {
            let pair = " \(LogText.key(key))=\(LogText.value(value, limit: LogLine.maximumValue))".utf8
            guard line.count + pair.count < LogLine.maximumBytes - LogLine.reserve else {
                line.append(contentsOf: " truncated=true".utf8)
                break
            }
            line.append(contentsOf: pair)
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    private var json: [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("time", time.description)
            writer.field("level", level.rawValue)
            writer.field("logger", LogText.cutForJSON(label, limit: 64))
            writer.field("message", LogText.cutForJSON(message, limit: LogLine.maximumMessage))
            if !metadata.isEmpty {
                writer.key("metadata")
                writer.object(writeMetadata)
            }
        }
        return writer.bytes + [UInt8(ascii: "\n")]
    }

    private func writeMetadata(_ writer: inout JSONWriter) {
        for (key, value) in metadata {
            var longer = writer
            let text = LogText.plain(value, limit: LogLine.maximumValue)
            longer.field(LogText.key(key), LogText.cutForJSON(text, limit: LogLine.maximumValue))
            guard longer.bytes.count < LogLine.maximumBytes - LogLine.reserve else {
                writer.field("truncated", true)
                return
            }
            writer = longer
        }
    }
}

/// Text that may hold anything, made fit for a line.
enum LogText {
    /// `text` without what would break the line, cut to `limit` bytes.
    static func escaped(_ text: String, limit: Int, quoting: Bool = false) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            let piece = escaped(scalar, quoting: quoting)
            guard result.utf8.count + piece.utf8.count <= limit else { return result + "…" }
            result += piece
        }
        return result
    }

    private static func escaped(_ scalar: Unicode.Scalar, quoting: Bool) -> String {
        switch scalar {
        case "\n": #"\n"#
        case "\r": #"\r"#
        case "\t": #"\t"#
        case "\\" where quoting: #"\\"#
        case "\"" where quoting: #"\""#
        case _ where scalar.isUnprintable: #"\u{"# + String(scalar.value, radix: 16) + "}"
        default: String(scalar)
        }
    }

    /// A metadata key with everything but letters, digits, `_`, `.` and `-` made `_`.
    static func key(_ key: String) -> String {
        let allowed = key.utf8.prefix(64).map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
                byte
            default: UInt8(ascii: "_")
            }
        }
        return String(decoding: allowed, as: UTF8.self)
    }

    /// A metadata value: bare where that is unambiguous, quoted otherwise.
    static func value(_ value: Logger.MetadataValue, limit: Int) -> String {
        let text = plain(value, limit: limit)
        if !text.isEmpty && text.utf8.allSatisfy(isBare) { return text }
        return "\"\(escaped(text, limit: limit, quoting: true))\""
    }

    private static func isBare(_ byte: UInt8) -> Bool {
        (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
            && byte != UInt8(ascii: "=")
    }

    /// A metadata value as text, lists and dictionaries in brackets, cut to `limit` bytes.
    static func plain(_ value: Logger.MetadataValue, limit: Int, depth: Int = 0) -> String {
        guard depth < 4 else { return "…" }
        switch value {
        case .string(let text): return cut(text, limit: limit)
        case .stringConvertible(let value): return cut(value.description, limit: limit)
        case .array(let values):
            let parts = values.prefix(64).map { plain($0, limit: limit, depth: depth + 1) }
            return cut("[\(parts.joined(separator: ", "))]", limit: limit)
        case .dictionary(let values):
            let parts = values.sorted { $0.key < $1.key }.prefix(64)
                .map { "\($0.key): \(plain($0.value, limit: limit, depth: depth + 1))" }
            return cut("{\(parts.joined(separator: ", "))}", limit: limit)
        }
    }

    /// The scalars of `text` that fit into `limit` bytes, with "…" where some did not.
    static func cut(_ text: String, limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: limit)
        while end > text.startIndex && end.samePosition(in: text.unicodeScalars) == nil {
            end = text.utf8.index(before: end)
        }
        return text[..<end] + "…"
    }

    /// The scalars of `text` whose JSON escapes fit into `limit` bytes, with "…" where some did not.
    static func cutForJSON(_ text: String, limit: Int) -> String {
        var size = 0
        for index in text.unicodeScalars.indices {
            let scalar = text.unicodeScalars[index]
            size +=
                scalar.isUnprintable ? 6 * scalar.utf16.count : scalar == "\"" || scalar == "\\" ? 2 : scalar.utf8.count
            if size > limit { return text[..<index] + "…" }
        }
        return text
    }
}
