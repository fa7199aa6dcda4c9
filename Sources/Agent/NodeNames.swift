// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Redirection
internal import Tunneling

/// The relay, as far as it is asked about nodes.
protocol ReachingSession: AnyObject {
    func reach(_ request: ReachRequest)
}

/// Who is meant by a node's name. The relay knows; what it says of a name is held against what it said the first time.
final class NodeNames {
    /// A node that the relay knows.
    struct Node: Equatable {
        var node: NodeID
        var name: String
        var isHere: Bool
        /// Whether the relay lets this node make tunnels to it, and it make them to this node.
        var mayBeReached = true
        var mayReach = true
    }

    /// What the relay says of a node.
    enum Standing: Equatable {
        /// Known and connected.
        case here(Node)
        /// Known and not connected.
        case away(Node)
        case unknown
    }

    /// What names end with where they stand for a node: `.natfwt.internal`.
    var suffix: String
    weak var relay: (any ReachingSession)?
    /// Is told when what the relay says of nodes may have changed.
    var onChange: () -> Void = {}
    /// Whether a node may be reached without the relay: by another provider, or directly.
    var hasOtherWays: (TransportID) -> Bool = { _ in false }
    private let loop: EventLoop
    private let logger: Logger
    private var known: KnownNodes

    private struct Question {
        var found: [Node] = []
        let askedAt: Instant
        let completion: (Result<[Node], RouteFailure>) -> Void
    }
    private var questions: [UInt32: Question] = [:]
    private var lastID: UInt32 = 0
    private var recent: [String: (node: NodeID, until: Instant)] = [:]

    /// Whom the relay was asked about because packets came from him, and when.
    private var learned: [TransportID: Instant] = [:]

    private static let patience: Duration = .seconds(5)
    private static let keeps: Duration = .seconds(60)
    private static let mostQuestions = 1_024

    init(loop: EventLoop, known: KnownNodes, suffix: String, logger: Logger) {
        self.loop = loop
        self.known = known
        self.suffix = suffix
        self.logger = logger
    }

    // MARK: Asking

    /// Who is meant by a name, with or without the suffix, by a transport ID or by a fingerprint.
    func find(_ text: String, _ completion: @escaping (Result<TransportID, RouteFailure>) -> Void) {
        if let address = IPAddress(text) {
            guard address.isORCHID else {
                return completion(.failure(RouteFailure(.notAllowed, "\(text) is not a node's transport ID")))
            }
            return completion(.success(TransportID(address)))
        }
        if let node = NodeID(text) { return completion(.success(TransportID(node.transportAddress))) }
        guard let name = name(in: text) else {
            return completion(
                .failure(RouteFailure(.notAllowed, "\(text) is not a node's name, with or without .\(suffix)")))
        }
        if let entry = recent[name.text], loop.now < entry.until {
            return completion(.success(TransportID(entry.node.transportAddress)))
        }
        ask(.host(HostAndPort(host: name.text, port: 0))) { [weak self] result in
            guard let self else { return }
            completion(remembered(name, or: result.flatMap { self.believe(name, $0) }))
        }
    }

    /// Whether this is how a node is called, known or not: a transport ID, a fingerprint, a name below the suffix, or a
    /// word without dots. Everything else is some other host.
    func meansNode(_ text: String) -> Bool {
        if let address = IPAddress(text) { return address.isORCHID }
        if NodeID(text) != nil { return true }
        var text = text.lowercased()
        if text.hasSuffix(".") { text.removeLast() }
        return !text.utf8.contains(UInt8(ascii: ".")) || text.hasSuffix(".\(suffix)") || text == suffix
    }

    /// The name of a node that has proven its key; nil where the relay does not know it, or lies.
    func name(of node: NodeID, _ completion: @escaping (String?) -> Void) {
        ask(.address(TransportAddress(node.transportAddress, port: 0))) { [weak self] result in
            guard let self else { return completion(nil) }
            guard case .success(let nodes) = result else { return completion(known.name(of: node)?.text) }
            guard let found = nodes.first(where: { $0.node == node }),
                let name = try? NodeName(found.name), case .success = believe(name, [found])
            else { return completion(nil) }
            completion(name.text)
        }
    }

    /// A node that the relay can't be asked about, or that is not connected to it, may be reached without it: it is the one
    /// that it was when it was seen first.
    private func remembered(
        _ name: NodeName, or answer: Result<TransportID, RouteFailure>
    ) -> Result<TransportID, RouteFailure> {
        guard case .failure(let failure) = answer, failure.code != .notAllowed, let node = known[name]
        else { return answer }
        let id = TransportID(node.transportAddress)
        return hasOtherWays(id) ? .success(id) : answer
    }

    /// The name of the node with a transport ID, whose key the relay knows.
    func name(of id: TransportID, _ completion: @escaping (Result<String, RouteFailure>) -> Void) {
        ask(.address(TransportAddress(id.address, port: 0))) { [weak self] result in
            guard let self else { return }
            completion(result.flatMap { self.believe($0, of: id) })
        }
    }

    /// What the relay says of the node with a transport ID; nil where it does not answer.
    func standing(of id: TransportID, _ completion: @escaping (Standing?) -> Void) {
        ask(.address(TransportAddress(id.address, port: 0))) { result in
            guard case .success(let nodes) = result else { return completion(nil) }
            let node = nodes.first { $0.node.transportAddress == id.address }
            completion(node.map { $0.isHere ? .here($0) : .away($0) } ?? .unknown)
        }
    }

    /// A key can't be made for a transport ID; but what a key is called is the relay's word, held against what it was.
    private func believe(_ nodes: [Node], of id: TransportID) -> Result<String, RouteFailure> {
        guard let found = nodes.first(where: { $0.node.transportAddress == id.address }),
            let name = try? NodeName(found.name)
        else { return .failure(RouteFailure(.unreachable, "the relay knows no node with the transport ID \(id)")) }
        return believe(name, [found]).map { _ in name.text }
    }

    /// The transport IDs of the nodes that were seen before.
    var knownIDs: [TransportID] { known.transportAddresses.map { TransportID($0) } }

    /// All by which a node is known without a tunnel to it, the name last. Of one that is not known the relay is asked, so that
    /// it may be known the next time.
    func names(of id: TransportID) -> [String] {
        guard let node = known.node(at: id.address) else {
            learn(id)
            return [id.description]
        }
        return [id.description, node.description] + [known.name(of: node)?.text].compactMap(\.self)
    }

    /// What the node with a transport ID was called when it was seen first.
    func knownName(of id: TransportID) -> String? {
        known.node(at: id.address).flatMap { known.name(of: $0)?.text }
    }

    private func learn(_ id: TransportID) {
        guard relay != nil, learned.count < Self.mostQuestions else { return }
        if let before = learned[id], loop.now - before < Self.keeps { return }
        learned[id] = loop.now
        name(of: id) { _ in }
    }

    /// All nodes that the relay tells of.
    func list(_ completion: @escaping (Result<[Node], RouteFailure>) -> Void) { ask(.none, completion) }

    /// A name of a node, however it is written.
    func name(in text: String) -> NodeName? {
        var text = text.lowercased()
        if text.hasSuffix(".") { text.removeLast() }
        if text.hasSuffix(".\(suffix)") { text.removeLast(suffix.count + 1) }
        return try? NodeName(text)
    }

    private func ask(_ target: TunnelAddress, _ completion: @escaping (Result<[Node], RouteFailure>) -> Void) {
        guard let relay else { return completion(.failure(.noRelay)) }
        guard questions.count < Self.mostQuestions else {
            return completion(.failure(RouteFailure(.limit, "too many names are asked for at once")))
        }
        lastID = lastID == .max ? ReachAnswer.noticeID + 1 : lastID + 1
        questions[lastID] = Question(askedAt: loop.now, completion: completion)
        relay.reach(ReachRequest(id: lastID, target: target))
    }

    /// Takes the relay's word for a name, where it is the word that it has always given.
    private func believe(_ name: NodeName, _ nodes: [Node]) -> Result<TransportID, RouteFailure> {
        guard let found = nodes.first(where: { $0.name == name.text }) else {
            return .failure(RouteFailure(.unreachable, "the relay knows no node that is called \(name)"))
        }
        do throws(KnownNodes.Failure) {
            switch try known.check(name, is: found.node) {
            case .isKnown: break
            case .isNew:
                logger.notice(
                    "a node was seen for the first time", metadata: ["node": "\(name)", "key": "\(found.node)"])
            case .wasAnother(let before):
                let text =
                    "the relay says that \(name) has the key \(found.node), but it was \(before): the node was made anew, "
                    + "or somebody stands in for it; if that is right, remove it from known-nodes and restart"
                logger.error("\(text)")
                return .failure(RouteFailure(.notAllowed, text))
            }
        } catch {
            logger.warning("a node's key is not remembered", metadata: ["node": "\(name)", "error": "\(error)"])
        }
        guard found.isHere else {
            return .failure(RouteFailure(.unreachable, "\(name) is not connected to the relay"))
        }
        recent[name.text] = (found.node, loop.now + Self.keeps)
        return .success(TransportID(found.node.transportAddress))
    }

    // MARK: Answers

    func received(_ answer: ReachAnswer) {
        guard answer.id != ReachAnswer.noticeID else {
            logger.debug("what the relay says of nodes may have changed")
            recent = [:]
            return onChange()
        }
        guard var question = questions[answer.id] else { return }
        if answer.state != .unknown, let node = NodeID(bytes: answer.key) {
            question.found.append(
                Node(
                    node: node, name: answer.name, isHere: answer.state == .here, mayBeReached: answer.mayBeReached,
                    mayReach: answer.mayReach))
        }
        questions[answer.id] = answer.isFollowed ? question : nil
        if !answer.isFollowed { question.completion(.success(question.found)) }
    }

    /// The relay is gone: nobody answers any more.
    func sessionEnded() {
        recent = [:]
        relay = nil
        end(questions.keys.map { $0 }, .noRelay)
    }

    /// A node does not answer where it was: it is asked for anew.
    func forget(_ id: TransportID) {
        recent = recent.filter { TransportID($0.value.node.transportAddress) != id }
    }

    /// Gives up what was asked long ago.
    func sweep() {
        let old = questions.filter { loop.now - $0.value.askedAt >= Self.patience }
        end(Array(old.keys), RouteFailure(.timedOut, "the relay does not answer"))
        learned = learned.filter { loop.now - $0.value < Self.keeps }
    }

    private func end(_ ids: [UInt32], _ failure: RouteFailure) {
        for id in ids { questions.removeValue(forKey: id)?.completion(.failure(failure)) }
    }
}
