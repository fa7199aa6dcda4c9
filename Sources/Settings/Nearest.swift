// SPDX-License-Identifier: Apache-2.0

/// The one of `names` that a person who wrote `key` most likely meant: its abbreviation, or the fewest edits away, of at
/// most a third of its letters.
public func nearest(_ key: String, among names: [String]) -> String? {
    guard (1...64).contains(key.utf8.count) else { return nil }
    let folded = key.lowercased().map { $0 == "_" ? "-" : $0 }
    let ranked = names.map { (name: $0, edits: $0.hasPrefix(String(folded)) ? 1 : edits(folded, Array($0))) }
    guard let best = ranked.min(by: { $0.edits < $1.edits }) else { return nil }
    return best.edits * 3 <= max(folded.count, best.name.count) + 1 ? best.name : nil
}

/// Levenshtein's distance.
private func edits(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let replaced = diagonal + (x == y ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[b.count]
}
