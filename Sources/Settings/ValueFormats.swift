// SPDX-License-Identifier: Apache-2.0

/// Durations as people write them: `500ms`, `10s`, `1m30s`, `24h`.
public enum DurationFormat {
    private static let units: [(suffix: String, nanoseconds: Int64)] = [
        ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
        ("ms", 1_000_000), ("us", 1_000),
    ]

    /// Reads whole numbers with units, each unit once and from large to small; nil for anything else.
    public static func parse(_ text: String) -> Duration? {
        var rest = text.utf8[...]
        var total: Int64 = 0
        var next = 0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            guard let number = takeNumber(&rest) else { return nil }
            let name = String(Substring(rest.prefix { !(0x30...0x39).contains($0) }))
            guard let unit = units[next...].firstIndex(where: { $0.suffix == name }) else { return nil }
            rest = rest.dropFirst(name.utf8.count)
            next = unit + 1
            let part = number.multipliedReportingOverflow(by: units[unit].nanoseconds)
            let sum = total.addingReportingOverflow(part.partialValue)
            guard !part.overflow, !sum.overflow else { return nil }
            total = sum.partialValue
        }
        return .nanoseconds(total)
    }

    /// The shortest text that reads back as the same duration, to the microsecond.
    public static func text(_ duration: Duration) -> String {
        var rest = max(0, duration.components.seconds.multipliedReportingOverflow(by: 1_000_000_000).partialValue)
        rest &+= duration.components.attoseconds / 1_000_000_000
        var text = ""
        for unit in units where rest >= unit.nanoseconds {
            text += "\(rest / unit.nanoseconds)\(unit.suffix)"
            rest %= unit.nanoseconds
        }
        return text.isEmpty ? "0s" : text
    }
}

/// Numbers of bytes as people write them: `65536`, `16KiB`, `64 MiB`, `1GB`.
public enum ByteCountFormat {
    private static let units: [(suffix: String, bytes: Int)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1000), ("KB", 1000),
        ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
    ]

    /// Reads a whole number and a unit, with or without a space between them; nil for anything else.
    public static func parse(_ text: String) -> Int? {
        var rest = text.utf8[...]
        guard let number = takeNumber(&rest).flatMap(Int.init(exactly:)) else { return nil }
        let name = String(Substring(rest.first == 0x20 ? rest.dropFirst() : rest))
        guard let unit = name.isEmpty ? ("B", 1) : units.first(where: { $0.suffix == name }) else { return nil }
        let bytes = number.multipliedReportingOverflow(by: unit.1)
        return bytes.overflow ? nil : bytes.partialValue
    }

    /// The text that reads back as the same number, in the largest binary unit that divides it.
    public static func text(_ bytes: Int) -> String {
        let unit = units.prefix(5).last { bytes >= $0.bytes && bytes % $0.bytes == 0 } ?? units[0]
        return "\(bytes / unit.bytes) \(unit.suffix)"
    }
}

/// Takes the digits at the front; nil where there are none or the number needs more than 63 bits.
private func takeNumber(_ text: inout Substring.UTF8View) -> Int64? {
    let digits = text.prefix { (0x30...0x39).contains($0) }
    guard !digits.isEmpty, let number = Int64(Substring(digits)) else { return nil }
    text = text.dropFirst(digits.count)
    return number
}
