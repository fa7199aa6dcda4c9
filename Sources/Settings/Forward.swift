// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Connections to a port of this host are carried to a service of another node: one `[[forward]]`, as `ssh -L` does it.
public struct Forward: Hashable, Sendable {
    /// Where it listens on this host.
    public var listen: [TransportAddress]
    /// The node, by its name, its key's fingerprint or its transport ID, and the port there.
    public var target: HostAndPort

    public init(listen: [TransportAddress], target: HostAndPort) {
        self.listen = listen
        self.target = target
    }

    /// Reads the two arguments of `natfwt forward 15432 home:5432`.
    public init(listen: String, target: String) throws(ForwardError) {
        guard let addresses = ListenText.parse(listen) else { throw .listen(listen) }
        guard let target = NodeText.service(target) else { throw .target(target) }
        self.init(listen: addresses, target: target)
    }

    /// Reads `[bind:]port:node:port`, as `ssh -L` takes it: a bind address of IPv6 and a transport ID stand in brackets,
    /// `*` or nothing before the first colon means every address.
    public init(sshStyle text: String) throws(ForwardError) {
        guard var fields = Forward.fields(text), (3...4).contains(fields.count) else { throw .form(text) }
        if fields.count == 4 {
            let bind = fields.removeFirst()
            fields[0] = "\(bind.isEmpty ? "*" : bind):\(fields[0])"
        } else if PortText.one(fields[0]) == nil {
            throw .listen(fields[0])
        }
        try self.init(listen: fields[0], target: "\(fields[1]):\(fields[2])")
    }

    /// What stands between the colons; what is in brackets is one field, and so is a fingerprint.
    private static func fields(_ text: String) -> [String]? {
        var fields = [""]
        var isInBrackets = false
        for character in text {
            if character == ":" && !isInBrackets && fields.last != "SHA256" {
                fields.append("")
                continue
            }
            if character == "[" || character == "]" {
                guard isInBrackets == (character == "]") else { return nil }
                isInBrackets.toggle()
            }
            fields[fields.count - 1].append(character)
        }
        return isInBrackets ? nil : fields
    }
}

/// What is wrong with the arguments of `natfwt forward`.
public enum ForwardError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Where to listen.
    case listen(String)
    /// The node and its port.
    case target(String)
    /// The text as a whole.
    case form(String)

    public var description: String {
        switch self {
        case .listen(let text): "where to listen, \"\(printable(text))\": expected \(ListenText.expected)"
        case .target(let text):
            "where it leads, \"\(printable(text))\": expected a node and its port from 1 to 65535, such as \"home:5432\""
        case .form(let text):
            "\(printable(text)): expected [BIND:]PORT NODE:PORT, for example 15432 home:5432, or 15432:home:5432"
        }
    }
}

extension Forward: CustomStringConvertible {
    /// `15432 home:5432`: the two arguments of `natfwt forward`.
    public var description: String { "\(ListenText.text(listen)) \(target)" }
}

extension TableReader {
    /// One `[[forward]]`.
    mutating func forward(_ places: inout ListeningPlaces) -> Forward? {
        let listenLine = line(of: "listen")
        let listen = listening()
        let expected = "a node and a port, such as \"home:5432\""
        let target = required("to") { table in
            table.value("to", expected: expected) { value in
                if case .string(let text) = value { NodeText.service(text) } else { nil }
            }
        }
        finish()
        if let listen { places.take(listen, line: line, listenLine: listenLine, of: self) }
        guard let listen, let target else { return nil }
        return Forward(listen: listen, target: target)
    }
}
