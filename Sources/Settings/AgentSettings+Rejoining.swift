// SPDX-License-Identifier: Apache-2.0

extension AgentSettings {
    /// What belongs to one invite: the relay, this node's name there, and the invite itself.
    private static let joined: Set<Substring> = ["relay", "relay-key", "name", "invite"]

    /// The text of an `agent.toml` with the relay, the name and the invite of these settings, and everything else as it
    /// stands in the file at `path`, comments too.
    public func rejoining(path: String) throws(SettingsError) -> String {
        let old = try SettingsFile(path: path).text
        // Where something is wrong with it nobody can tell where a statement ends.
        _ = try AgentSettings.parse(old, file: path)
        let text = rejoining(old)
        _ = try AgentSettings.parse(text, file: path)
        return text
    }

    func rejoining(_ text: String) -> String {
        var statements = "relay = [\(relay.map { TOMLText.quoted($0.description) }.joined(separator: ", "))]\n"
        if let relayKey { statements += "relay-key = \(TOMLText.quoted(relayKey))\n" }
        if let name { statements += "name = \(TOMLText.quoted(name))\n" }
        if let invite { statements += "invite = \(TOMLText.quoted(invite))\n" }
        var kept = ""
        var isTop = true
        // Brackets of a list that goes on over several lines.
        var depth = 0
        var isReplaced = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLastEmpty {
            if depth == 0 {
                let statement = line.drop(while: \.isWhitespace)
                isTop = isTop && statement.first != "["
                let key = statement.prefix { $0 != "=" && !$0.isWhitespace }
                isReplaced = isTop && Self.joined.contains(key)
            }
            depth = max(0, depth + Self.openBrackets(line))
            guard isReplaced else {
                kept += line + "\n"
                continue
            }
            kept += statements
            statements = ""
        }
        return statements + kept
    }

    /// Brackets that a line opens less those that it closes, but for what stands in strings and comments.
    private static func openBrackets(_ line: Substring) -> Int {
        var count = 0
        var quote: Character?
        var isEscaped = false
        for character in line {
            if let open = quote {
                if isEscaped {
                    isEscaped = false
                } else if character == "\\", open == "\"" {
                    isEscaped = true
                } else if character == open {
                    quote = nil
                }
                continue
            }
            switch character {
            case "\"", "'": quote = character
            case "#": return count
            case "[": count += 1
            case "]": count -= 1
            default: break
            }
        }
        return count
    }
}

extension [Substring] {
    /// Without the empty piece behind the last line's end.
    fileprivate var dropLastEmpty: ArraySlice<Substring> { last?.isEmpty == true ? dropLast() : self[...] }
}
