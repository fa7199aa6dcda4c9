// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
internal import Identity
internal import Primitives
public import Settings

/// What the command line asks of a running agent, as one line of text. All of them are conversations that last: the first
/// line of the answer is an ``AgentAnswer``.
///
/// What begins with the conversation (a listener, a service) ends with it.
public enum AgentRequest: Equatable, Sendable {
    /// The nodes that there are.
    case nodes(json: Bool)
    /// How far a node is, `count` times: a line each.
    case ping(String, count: Int)
    /// A listener whose connections lead to a service of another node.
    case forward(Forward)
    /// A listener for programs that know proxies.
    case socks(SOCKSListener)
    /// What other nodes may reach here.
    case serve(Serve)
    /// The way for a command's sockets: to other nodes, and with `egress` to everywhere. After the first line comes what
    /// the command's processes need to find it, for their environment.
    case run(egress: Bool)
    /// An interface of this host that leads to the other nodes. The agent answers with ``AdapterPlan``, waits for the
    /// device's descriptor, and says then whether it carries packets.
    case adapter

    /// The way in for the hosts of a network that this host is the gateway of.
    case gateway(GatewaySettings)

    /// How often a node may be pinged in one go.
    public static let mostPings = 1_000_000

    /// Why a text is no request.
    public enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        /// It begins with no word that is known.
        case unknown
        /// The request is known, but not what is said with it.
        case malformed(String)

        public var description: String {
            switch self {
            case .unknown: "unknown request"
            case .malformed(let text): text
            }
        }
    }

    // MARK: Writing

    /// The line, without its end. What can't be written in one line can't be read from it: no value that was parsed is
    /// of that kind.
    public var text: String {
        switch self {
        case .nodes(let json): json ? "nodes --json" : "nodes"
        case .ping(let node, let count): "ping \(node) \(count)"
        case .forward(let forward): "forward \(forward)"
        case .socks(let socks):
            "socks \(ListenText.text(socks.listen))" + (socks.credentials.map { " \($0.encoded)" } ?? "")
        case .run(let egress): egress ? "run egress" : "run nodes"
        case .adapter: "adapter"
        case .gateway(let gateway): "gateway \(gateway.text)"
        case .serve(let serve):
            "serve \(serve.transport.rawValue) \(serve.ports.map(PortText.text).joined(separator: ",")) "
                + "\(serve.to.joined(separator: ",")) \(serve.host)"
        }
    }

    // MARK: Reading

    /// Reads what ``text`` writes. Everything in it is checked as in a file of settings.
    public init(text: String) throws(Failure) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let rest = Array(words.dropFirst())
        switch words.first {
        case "nodes": self = try AgentRequest.nodes(rest)
        case "ping": self = try AgentRequest.ping(rest)
        case "forward": self = try AgentRequest.forward(rest)
        case "socks": self = try AgentRequest.socks(rest)
        case "serve": self = try AgentRequest.serve(rest)
        case "run": self = try AgentRequest.run(rest)
        case "adapter":
            guard rest.isEmpty else { throw .malformed("adapter: expected nothing more") }
            self = .adapter
        case "gateway":
            guard let settings = GatewaySettings(text: rest) else {
                throw .malformed("gateway: expected a port, nodes or egress, and names or no-names")
            }
            self = .gateway(settings)
        default: throw .unknown
        }
    }

    private static func nodes(_ words: [String]) throws(Failure) -> AgentRequest {
        guard words.isEmpty || words == ["--json"] else { throw .malformed("nodes: expected --json or nothing") }
        return .nodes(json: !words.isEmpty)
    }

    private static func run(_ words: [String]) throws(Failure) -> AgentRequest {
        guard words == ["nodes"] || words == ["egress"] else { throw .malformed("run: expected nodes or egress") }
        return .run(egress: words == ["egress"])
    }

    private static func ping(_ words: [String]) throws(Failure) -> AgentRequest {
        guard words.count == 2, let node = NodeText.destination(words[0]) else {
            throw .malformed("ping: expected \(NodeText.expected)")
        }
        guard let count = Int(words[1]), (1...mostPings).contains(count) else {
            throw .malformed("ping: expected how often, from 1 to \(mostPings)")
        }
        return .ping(node, count: count)
    }

    private static func forward(_ words: [String]) throws(Failure) -> AgentRequest {
        guard words.count == 2, let forward = try? Forward(listen: words[0], target: words[1]) else {
            throw .malformed("forward: expected where to listen, and a node and its port, as 15432 home:5432")
        }
        return .forward(forward)
    }

    private static func socks(_ words: [String]) throws(Failure) -> AgentRequest {
        guard (1...2).contains(words.count), let listen = ListenText.parse(words[0]) else {
            throw .malformed("socks: expected \(ListenText.expected)")
        }
        guard words.count == 2 else { return .socks(SOCKSListener(listen: listen)) }
        guard let credentials = SOCKSCredentials(encoded: words[1]) else {
            throw .malformed(
                "socks: expected \(SOCKSCredentials.expectedUser), and \(SOCKSCredentials.expectedPassword)")
        }
        return .socks(SOCKSListener(listen: listen, credentials: credentials))
    }

    private static func serve(_ words: [String]) throws(Failure) -> AgentRequest {
        guard words.count == 4, let transport = PortProtocol(rawValue: words[0]) else {
            throw .malformed("serve: expected tcp or udp, ports, nodes and a host")
        }
        do throws(ServeError) {
            return .serve(
                try Serve(
                    transport: transport, ports: words[1].split(separator: ",").map(String.init),
                    to: words[2].split(separator: ",").map(String.init), host: words[3]))
        } catch { throw .malformed("serve: \(error)") }
    }
}

extension SOCKSCredentials {
    /// `user:password` in base64, as HTTP has it (RFC 7617, 2).
    fileprivate var encoded: String { Base64.encode(Array("\(user):\(password)".utf8)) }

    fileprivate init?(encoded: String) {
        guard let bytes = Base64.decode(encoded), let text = String(validating: bytes, as: UTF8.self),
            let colon = text.utf8.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        self.init(user: String(text[..<colon]), password: String(text[text.utf8.index(after: colon)...]))
    }
}
