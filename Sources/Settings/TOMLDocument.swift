// SPDX-License-Identifier: Apache-2.0

internal import Synchronization
internal import TOMLKit

/// A value of a TOML document, with the line it stands on.
struct TOMLNode: Sendable {
    enum Value: Sendable {
        case string(String)
        case integer(Int)
        case float(Double)
        case boolean(Bool)
        case date
        case array([TOMLNode])
        case table([String: TOMLNode])
    }

    let value: Value
    let line: Int
}

/// A TOML file as a tree of plain values.
enum TOMLDocument {
    /// How many documents are remembered.
    static let maximumRemembered = 4

    /// The documents that were parsed last. The library never frees what it parsed, so a reload of what is known already
    /// must not parse it again: a program that is told to reload every minute would grow for ever.
    private static let remembered = Mutex<[(text: String, root: TOMLNode)]>([])

    static var rememberedCount: Int { remembered.withLock { $0.count } }

    /// Parses `text`; wrong scalars and duplicate keys come from the TOML library with their line.
    static func parse(_ text: String, file: String) throws(SettingsError) -> TOMLNode {
        if let known = remembered.withLock({ all in all.first { $0.text.utf8.elementsEqual(text.utf8) }?.root }) {
            return known
        }
        let root = try parseAnew(text, file: file)
        remembered.withLock { all in
            if all.count == maximumRemembered { all.removeFirst() }
            all.append((text, root))
        }
        return root
    }

    private static func parseAnew(_ text: String, file: String) throws(SettingsError) -> TOMLNode {
        let lines: KeyLines
        do throws(KeyLines.Failure) {
            lines = try KeyLines(text)
        } catch {
            throw SettingsError(file: file, line: error.line, error.message)
        }
        do {
            return node(try TOMLTable(string: text), path: [], line: 1, lines: lines)
        } catch let error as TOMLParseError {
            throw SettingsError(file: file, line: error.source.begin.line, printable(error.description))
        } catch {
            throw SettingsError(file: file, printable("\(error)"))
        }
    }

    /// Copies what the library holds. The depth was bounded before.
    private static func node(_ table: TOMLTable, path: [String], line: Int, lines: KeyLines) -> TOMLNode {
        var entries: [String: TOMLNode] = [:]
        for key in table.keys {
            guard let value = table[key] else { continue }
            entries[key] = node(value, path: path + [KeyLines.key(key)], line: line, lines: lines)
        }
        return TOMLNode(value: .table(entries), line: line)
    }

    private static func node(_ value: any TOMLValueConvertible, path: [String], line parent: Int, lines: KeyLines)
        -> TOMLNode
    {
        let line = lines.lines[path] ?? parent
        if let table = value.table { return node(table, path: path, line: line, lines: lines) }
        if let array = value.array {
            let elements = (0..<array.count).map { index in
                node(array[index], path: path + [KeyLines.element(index)], line: line, lines: lines)
            }
            return TOMLNode(value: .array(elements), line: line)
        }
        return TOMLNode(value: scalar(value), line: line)
    }

    private static func scalar(_ value: any TOMLValueConvertible) -> TOMLNode.Value {
        if let string = value.string { return .string(string) }
        if let boolean = value.bool { return .boolean(boolean) }
        if let integer = value.int { return .integer(integer) }
        if let float = value.double { return .float(float) }
        return .date
    }
}

extension TOMLNode.Value {
    /// The value as an error shows it: short, on one line, without control characters.
    var shown: String {
        switch self {
        case .string(let text): "\"\(printable(text))\""
        case .integer(let number): "\(number)"
        case .float(let number): "\(number)"
        case .boolean(let value): "\(value)"
        case .date: "a date or time"
        case .array(let elements): elements.isEmpty ? "an empty list" : "a list"
        case .table: "a table"
        }
    }
}

/// `text` with control characters written as escapes, cut at 80 characters.
func printable(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars.prefix(80) {
        let isControl = scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format
        shown += isControl ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
    return text.unicodeScalars.count > 80 ? shown + "…" : shown
}
