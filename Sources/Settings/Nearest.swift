// SPDX-License-Identifier: Apache-2.0

/// The one of `names` that a person who wrote `key` most likely meant: its abbreviation, or the fewest edits away, of at
/// most a third of its letters. Among equals the one whose length is nearest.
public func nearest(_ key: String, among names: [String]) -> String? {
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
