// SPDX-License-Identifier: Apache-2.0

/// How the last sessions of each instance name ended. Bounded in names and in records a name; the name that was heard
/// of longest ago goes first.
struct TerminationHistory {
    private struct Entry {
        let name: String
        var records: [TerminationRecord]
    }

    private var entries: [Entry] = []
    private let names: Int
    private let recordsPerName: Int

    init(limits: PlatformConfiguration.Limits) {
        names = limits.historyNames
        recordsPerName = limits.historyRecordsPerName
    }

    /// Oldest first.
    func records(of name: String) -> [TerminationRecord] { entries.first { $0.name == name }?.records ?? [] }

    /// Of all names, the latest first.
    func latest(_ count: Int) -> [TerminationRecord] {
        Array(entries.flatMap(\.records).sorted { $0.at > $1.at }.prefix(count))
    }

    mutating func append(_ record: TerminationRecord) {
        let index = entries.firstIndex { $0.name == record.name }
        var entry = index.map { entries.remove(at: $0) } ?? Entry(name: record.name, records: [])
        entry.records.append(record)
        if entry.records.count > recordsPerName { entry.records.removeFirst() }
        entries.append(entry)
        if entries.count > names { entries.removeFirst() }
    }
}
