// SPDX-License-Identifier: Apache-2.0

/// Reads the keys of one table, each once; what stays unread at the end is an unknown key.
///
/// A wrong value is noted and the default taken instead, so that the reading goes on to the next.
struct TableReader {
    let path: String
    let line: Int
    let problems: Problems
    private var entries: [String: TOMLNode]
    private var known: [String] = []

    init(root: TOMLNode, problems: Problems) {
        self.init(node: root, path: "", problems: problems)
    }

    private init(node: TOMLNode, path: String, problems: Problems) {
        if case .table(let entries) = node.value { self.entries = entries } else { entries = [:] }
        self.path = path
        line = node.line
        self.problems = problems
    }

    // MARK: Any value

    /// The value of `key` as `parse` understands it; where it gives nil, the problem says what was expected.
    mutating func value<T>(_ key: String, expected: String, _ parse: (TOMLNode.Value) -> T?) -> T? {
        known.append(key)
        guard let node = entries.removeValue(forKey: key) else { return nil }
        if let value = parse(node.value) { return value }
        problem(key, line: node.line, "expected \(expected), found \(node.value.shown)")
        return nil
    }

    /// A list whose elements `parse` understands. Equal elements and, unless `mayBeEmpty`, an empty list are problems.
    mutating func list<T: Hashable>(
        _ key: String, of expected: String, mayBeEmpty: Bool = false, _ parse: (TOMLNode.Value) -> T?
    ) -> [T]? {
        let elements: [TOMLNode]? = value(key, expected: "a list of \(expected)") { value in
            guard case .array(let elements) = value, mayBeEmpty || !elements.isEmpty else { return nil }
            return elements
        }
        guard let elements else { return nil }
        var read: [T] = []
        for element in elements {
            guard let value = parse(element.value) else {
                problem(key, line: element.line, "expected \(expected), found \(element.value.shown)")
                continue
            }
            if read.contains(value) {
                problem(key, line: element.line, "\(element.value.shown) stands there twice")
            }
            read.append(value)
        }
        return read
    }

    /// Whether `key` stands there and has not been read yet.
    func has(_ key: String) -> Bool { entries[key] != nil }

    /// The line of a key that has not been read yet, or the table's own.
    func line(of key: String) -> Int { entries[key]?.line ?? line }

    func problem(_ key: String, line: Int, _ message: String) {
        problems.add(line: line, "\(path)\(printable(key)): \(message)")
    }

    // MARK: Tables

    /// The table `key`, or an empty one.
    mutating func table(_ key: String) -> TableReader {
        let node: TOMLNode? = tableNode(key)
        return TableReader(
            node: node ?? TOMLNode(value: .table([:]), line: line), path: "\(path)\(key).", problems: problems)
    }

    /// The table `key`; nil where it is absent or no table.
    mutating func optionalTable(_ key: String) -> TableReader? {
        tableNode(key).map { TableReader(node: $0, path: "\(path)\(key).", problems: problems) }
    }

    private mutating func tableNode(_ key: String) -> TOMLNode? {
        let line = line(of: key)
        return value(key, expected: "a table [\(key)]") { value in
            if case .table = value { TOMLNode(value: value, line: line) } else { nil }
        }
    }

    /// The tables written as `[[key]]`.
    mutating func tables(_ key: String) -> [TableReader] {
        let elements: [TOMLNode]? = value(key, expected: "tables [[\(key)]]") { value in
            guard case .array(let elements) = value, elements.allSatisfy(\.isTable) else { return nil }
            return elements
        }
        return (elements ?? []).enumerated().map { index, node in
            TableReader(node: node, path: "\(path)\(key)[\(index + 1)].", problems: problems)
        }
    }

    /// To be called when all known keys were read.
    func finish() {
        for (key, node) in entries {
            let near = nearest(key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
            problem(key, line: node.line, "unknown key\(near)")
        }
    }
}

extension TOMLNode {
    fileprivate var isTable: Bool { if case .table = value { true } else { false } }
}

/// The one of `names` that a person who wrote `key` most likely meant: its abbreviation, or the fewest edits away, of at
/// most a third of its letters. Among equals the one whose length is nearest.
func nearest(_ key: String, among names: [String]) -> String? {
    guard (1...64).contains(key.utf8.count) else { return nil }
    let folded = key.lowercased().map { $0 == "_" ? "-" : $0 }
    let ranked = names.map { (name: $0, edits: $0.hasPrefix(String(folded)) ? 1 : edits(folded, Array($0))) }
    let best = ranked.min {
        ($0.edits, abs($0.name.count - folded.count)) < ($1.edits, abs($1.name.count - folded.count))
    }
    guard let best else { return nil }
    return best.edits * 3 <= max(folded.count, best.name.count) + 1 ? best.name : nil
}

/// Levenshtein's distance, in which two neighbours that have changed places are one edit.
private func edits(_ a: [Character], _ b: [Character]) -> Int {
    var before: [Int] = []
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        let last = row
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            row[j + 1] = min(last[j] + (x == y ? 0 : 1), row[j] + 1, last[j + 1] + 1)
            if i > 0, j > 0, x == b[j - 1], a[i - 1] == y { row[j + 1] = min(row[j + 1], before[j - 1] + 1) }
        }
        before = last
    }
    return row[b.count]
}
