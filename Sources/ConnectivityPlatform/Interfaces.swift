// SPDX-License-Identifier: Apache-2.0

/// The interfaces of the platform's instances: their names (obligations 2, 3) and who may take them up again (5).
struct Interfaces {
    /// The longest friendly name, in Unicode scalars: CPNATFWT_MAX_INTERFACE_NAME_LENGTH.
    static let longestName = 256

    private struct Record {
        /// The provider's name: only it may take the interface up again.
        let owner: String
        var friendlyName: String
        /// The number in a default name; else nil.
        var number: Int?
    }

    private var records: [InterfaceLUID: Record] = [:]
    private var names: Set<String> = []
    /// Those that nobody uses now, the one unused for longest first.
    private var idle: [InterfaceLUID] = []
    private var lastLUID: UInt64 = 0
    /// Every smaller number of a default name is taken: with ten thousand of them none is looked for from the beginning.
    private var firstFreeNumber = 1
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// The interface for a registration: a new one, or the one that `luid` names.
    mutating func take(
        _ luid: InterfaceLUID?, friendlyName: String?, owner: String
    ) throws(PlatformError) -> (luid: InterfaceLUID, friendlyName: String) {
        if let luid, luid.rawValue != 0 { return try takeUp(luid, friendlyName: friendlyName, owner: owner) }
        try makeRoom()
        lastLUID += 1
        let luid = InterfaceLUID(rawValue: lastLUID)
        let (name, number) = freeName(like: friendlyName)
        records[luid] = Record(owner: owner, friendlyName: name, number: number)
        names.insert(name)
        return (luid, name)
    }

    /// The instance is deregistered; the interface stays.
    mutating func release(_ luid: InterfaceLUID) { idle.append(luid) }

    private mutating func takeUp(
        _ luid: InterfaceLUID, friendlyName: String?, owner: String
    ) throws(PlatformError) -> (luid: InterfaceLUID, friendlyName: String) {
        guard var record = records[luid], record.owner == owner else { throw .unknownInterface(luid) }
        guard let index = idle.firstIndex(of: luid) else { throw .interfaceInUse(luid) }
        idle.remove(at: index)
        if let friendlyName, !friendlyName.isEmpty {
            forgetName(of: record)
            (record.friendlyName, record.number) = freeName(like: friendlyName)
            names.insert(record.friendlyName)
            records[luid] = record
        }
        return (luid, record.friendlyName)
    }

    private mutating func makeRoom() throws(PlatformError) {
        guard records.count >= limit else { return }
        guard let oldest = idle.first else { throw .limitReached("interfaces", limit) }
        idle.removeFirst()
        if let record = records.removeValue(forKey: oldest) { forgetName(of: record) }
    }

    private mutating func forgetName(of record: Record) {
        names.remove(record.friendlyName)
        if let number = record.number { firstFreeNumber = min(firstFreeNumber, number) }
    }

    /// - Returns: also the number in it, where it is a default name.
    private mutating func freeName(like wanted: String?) -> (name: String, number: Int?) {
        // As for a C string, a NUL ends the name; an empty one is as good as none.
        let wanted = Interfaces.cut((wanted ?? "").prefix { $0 != "\0" }, to: Interfaces.longestName)
        if !wanted.isEmpty, !names.contains(wanted) { return (wanted, nil) }
        let stem = wanted.isEmpty ? "Connectivity Platform Adapter" : wanted
        var number = wanted.isEmpty ? firstFreeNumber : 2
        while true {
            let suffix = " #\(number)"
            let name = Interfaces.cut(stem[...], to: Interfaces.longestName - suffix.utf8.count) + suffix
            guard names.contains(name) else {
                guard wanted.isEmpty else { return (name, nil) }
                firstFreeNumber = number + 1
                return (name, number)
            }
            number += 1
        }
    }

    private static func cut(_ text: Substring, to count: Int) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.prefix(count)))
    }
}
