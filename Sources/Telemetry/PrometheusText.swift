// SPDX-License-Identifier: Apache-2.0

/// Metrics in the text format that Prometheus scrapes (its "Exposition formats", version 0.0.4).
public struct PrometheusText {
    /// What a metric is: only growing, or going up and down.
    public enum Kind: String, Sendable { case counter, gauge }

    /// What a scrape answers as Content-Type.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"
    /// The page so far.
    public private(set) var text = ""
    private var name = ""

    /// An empty page.
    public init() {}

    /// Begins the metric `name`; its samples follow. Characters that a name can't have become `_`.
    public mutating func metric(_ name: String, _ kind: Kind, help: String) {
        self.name = PrometheusText.name(name)
        text += "# HELP \(self.name) \(PrometheusText.escaped(help, quotes: false))\n"
        text += "# TYPE \(self.name) \(kind.rawValue)\n"
    }

    /// One sample of the metric that was begun last. Label values may be anything.
    public mutating func sample(_ value: some FixedWidthInteger, labels: KeyValuePairs<String, String> = [:]) {
        append(value.description, labels)
    }

    /// The same for a number that is not whole, or not finite.
    public mutating func sample(_ value: Double, labels: KeyValuePairs<String, String> = [:]) {
        let special = value.isNaN ? "NaN" : value > 0 ? "+Inf" : "-Inf"
        append(value.isFinite ? value.description : special, labels)
    }

    private mutating func append(_ value: String, _ labels: KeyValuePairs<String, String>) {
        let pairs = labels.map {
            "\(PrometheusText.name($0.key))=\"\(PrometheusText.escaped($0.value, quotes: true))\""
        }
        text += name + (pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}") + " \(value)\n"
    }

    private static func name(_ text: String) -> String {
        let name = String(decoding: text.utf8.map { isNameByte($0) ? $0 : UInt8(ascii: "_") }, as: UTF8.self)
        return name.first?.isNumber ?? true ? "_" + name : name
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\\": result += #"\\"#
            case "\n": result += #"\n"#
            case "\"" where quotes: result += #"\""#
            default: result.unicodeScalars.append(scalar)
            }
        }
    }
}
