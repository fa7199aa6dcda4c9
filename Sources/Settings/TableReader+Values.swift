// SPDX-License-Identifier: Apache-2.0

internal import Primitives

extension TableReader {
    mutating func integer(_ key: String, _ range: ClosedRange<Int>, default: Int) -> Int {
        value(key, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)") { value in
            if case .integer(let number) = value, range.contains(number) { number } else { nil }
        } ?? `default`
    }

    mutating func boolean(_ key: String, default: Bool) -> Bool {
        value(key, expected: "true or false") { value in
            if case .boolean(let flag) = value { flag } else { nil }
        } ?? `default`
    }

    /// A number of bytes: `65536` or `"64 KiB"`.
    mutating func bytes(_ key: String, _ range: ClosedRange<Int>, default: Int) -> Int {
        let bounds = "\(ByteCountFormat.text(range.lowerBound)) to \(ByteCountFormat.text(range.upperBound))"
        return value(key, expected: "a size such as \"16 MiB\" from \(bounds)") { value in
            let number: Int? =
                switch value {
                case .integer(let number): number
                case .string(let text): ByteCountFormat.parse(text)
                default: nil
                }
            return number.flatMap { range.contains($0) ? $0 : nil }
        } ?? `default`
    }

    mutating func duration(_ key: String, _ range: ClosedRange<Duration>, default: Duration) -> Duration {
        let bounds = "\(DurationFormat.text(range.lowerBound)) to \(DurationFormat.text(range.upperBound))"
        return value(key, expected: "a duration such as \"1m30s\" from \(bounds)") {
            TableReader.duration($0, range)
        } ?? `default`
    }

    /// A duration, or nil for `"off"` and `"0s"`.
    mutating func optionalDuration(_ key: String, _ range: ClosedRange<Duration>, default: Duration?) -> Duration? {
        let bounds = "\(DurationFormat.text(range.lowerBound)) to \(DurationFormat.text(range.upperBound))"
        let read: Duration?? = value(key, expected: "\"off\" or a duration such as \"1m30s\" from \(bounds)") { value in
            if case .string(let text) = value, text == "off" || DurationFormat.parse(text) == .zero {
                return .some(nil)
            }
            return TableReader.duration(value, range).map { .some($0) }
        }
        return read ?? `default`
    }

    private static func duration(_ value: TOMLNode.Value, _ range: ClosedRange<Duration>) -> Duration? {
        guard case .string(let text) = value, let duration = DurationFormat.parse(text) else { return nil }
        return range.contains(duration) ? duration : nil
    }

    /// A string that isn't empty; nil where the key is absent or wrong.
    mutating func string(_ key: String, expected: String = "a string") -> String? {
        value(key, expected: expected) { value in
            if case .string(let text) = value, !text.isEmpty { text } else { nil }
        }
    }

    mutating func choice<T: RawRepresentable & CaseIterable>(_ key: String, default: T) -> T
    where T.RawValue == String {
        choice(key, of: T.self) ?? `default`
    }

    mutating func choice<T: RawRepresentable & CaseIterable>(_ key: String, of: T.Type) -> T?
    where T.RawValue == String {
        let names = T.allCases.map { "\"\($0.rawValue)\"" }
        let expected = names.dropLast().joined(separator: ", ") + (names.count > 1 ? " or " : "") + (names.last ?? "")
        return value(key, expected: expected) { value in
            if case .string(let text) = value { T(rawValue: text) } else { nil }
        }
    }

    /// A path; a relative one is meant from the folder of the file that names it.
    mutating func path(_ key: String, default: String) -> String {
        string(key, expected: "a path").map { resolved($0, beside: problems.file) } ?? `default`
    }

    /// The path of a Unix socket: the kernel takes at most 107 bytes (unix(7), sun_path).
    mutating func socketPath(_ key: String, default: String) -> String {
        let file = problems.file
        return value(key, expected: "a path of at most 107 bytes") { value in
            guard case .string(let text) = value, !text.isEmpty else { return nil }
            let path = resolved(text, beside: file)
            return path.utf8.count <= 107 ? path : nil
        } ?? `default`
    }

    /// Hosts and ports; the port is `defaultPort` where it is left out.
    mutating func hosts(_ key: String, mayBeEmpty: Bool = false, defaultPort: UInt16 = 443) -> [HostAndPort]? {
        list(key, of: "a \"host:port\" with a port from 1 to 65535", mayBeEmpty: mayBeEmpty) { value in
            guard case .string(let text) = value, let host = HostAndPort(text, defaultPort: defaultPort), host.port > 0
            else { return nil }
            return host
        }
    }
}

/// `path` as it is where absolute, otherwise from the folder of `file`.
func resolved(_ path: String, beside file: String) -> String {
    guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
    return file[...slash] + path
}
