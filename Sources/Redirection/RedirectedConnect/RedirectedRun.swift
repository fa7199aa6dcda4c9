// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// The bounds of a run.
public struct RunLimits: Sendable {
    /// Connections at once, with those that wait for their way.
    public var connections: Int
    /// Flows of datagrams at once.
    public var flows: Int
    /// A flow ends after this long without a datagram either way.
    public var flowTimeout: Duration
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?
    /// How long a connection waits for its way. The application's kernel gives up after about two minutes.
    public var routing: Duration = .seconds(120)

    public init(connections: Int, flows: Int, flowTimeout: Duration, halfClosed: Duration? = nil) {
        self.connections = connections
        self.flows = flows
        self.flowTimeout = flowTimeout
        self.halfClosed = halfClosed
    }
}

/// The sockets of one command and its children, redirected: what goes to other nodes comes here, to ports on loopback.
///
///     application ── announce: "from 127.0.0.1:40001 to home:22" ──▶ Unix socket ──▶ router ──▶ endpoint
///          │                                                                                      │ the far side is
///          └── connect(2) to a port where it waits in the kernel ◀── met once there is a way ─────┘ connected
///
/// So connect(2) lasts as long as on a real network, for sockets that block and for those that don't, and fails where the
/// far side can't be reached. Only announced sockets are ever connected, and only processes of one user can announce.
/// Owned by the loop.
public final class RedirectedRun {
    /// Whose processes are served.
    public let user: UInt32
    public private(set) var counters = WayInCounters()
    public var connections: Int { streams.count }
    /// Where its processes' connections come to.
    public var addresses: [TransportAddress] { [v4, v6].compactMap { $0?.address } }

    let loop: EventLoop
    let router: any Router
    let limits: RunLimits
    private let egress: Bool
    private let names: NameAnswerer
    private let log: LogSampler
    private var questions: UnixDatagramSocket?
    private let path: String
    private var v4: HeldTCPPort?
    private var v6: HeldTCPPort?
    private var streams: [TransportAddress: RedirectedStream] = [:]
    private var past = PastConnections()
    private lazy var flows = RedirectedFlows(run: self)
    private var timer: LoopTimer?

    private static let interval: Duration = .seconds(5)

    /// - Parameters:
    ///   - path: the socket for the user's processes, in a folder that is there.
    ///   - egress: whether all that leads out of this host comes here; otherwise what leads to nodes.
    public init(
        loop: EventLoop, path: String, user: UInt32, egress: Bool, router: any Router, names: NameAnswerer,
        limits: RunLimits, log: LogSampler
    ) throws(UVError) {
        self.loop = loop
        self.path = path
        self.user = user
        self.router = router
        self.egress = egress
        self.names = names
        self.limits = limits
        self.log = log
        v4 = try HeldTCPPort(loop: loop, address: TransportAddress(.loopbackV4, port: 0))
        // A host may have no IPv6.
        v6 = try? HeldTCPPort(loop: loop, address: TransportAddress(.loopbackV6, port: 0))
        let listener = Questions()
        questions = try UnixDatagramSocket(loop: loop, path: path, owner: user, delegate: listener)
        listener.run = self
        timer = LoopTimer(loop: loop, delegate: self)
        timer?.arm(after: Self.interval)
    }

    /// What the library is told, in NATFWT_RUN (Sources/Interposer/surroundings.h).
    public var environment: String {
        "1 \(v4?.address.port ?? 0) \(v6?.address.port ?? 0) \(egress ? "egress" : "nodes") \(names.suffix) \(path)"
    }

    /// Serves nobody any more. Connections that are made go on until they end.
    public func close() {
        questions?.close()
        questions = nil
        for stream in streams.values { stream.cancel(refuses: true) }
        flows.close()
        v4?.close()
        v6?.close()
        timer?.close()
        timer = nil
    }

    // MARK: Questions

    fileprivate func received(_ message: RawSpan, from sender: UnixSender) {
        guard sender.user == user, let question = RunQuestion(message) else { return }
        switch question {
        case .announce(let local, let to): announced(local, to, asker: nil)
        case .verdict(let local): answer(RunQuestion.answer(past.takeFailure(of: local)), to: sender)
        case .peer(let local, let target): answer(peer(local, target).map(RunQuestion.answer) ?? [], to: sender)
        case .flow(_, let to): answer(flowPort(for: to), to: sender)
        case .name(let name): find(name, for: sender)
        case .connection(let local, let to, let number):
            announced(local, to, asker: ConnectionAsker(sender: sender, number: number))
        case .stock(let family, let count): answer(RunQuestion.answer(flows.stock(count, family), family), to: sender)
        case .bind(let port, let to): flows.bind(port, to: to)
        case .free(let family, let port):
            answer(RunQuestion.answer(flows.free(port, family) ? [port] : [], family), to: sender)
        }
    }

    private func answer(_ bytes: [UInt8], to sender: UnixSender) { questions?.answer(bytes, to: sender) }

    private func announced(_ local: TransportAddress, _ destination: TransportAddress, asker: ConnectionAsker?) {
        // Who tells of a connection before it is begun may have an older one there that waits still.
        streams[local]?.cancel(refuses: asker == nil)
        past.forget(local)
        counters.accepted += 1
        let stream = RedirectedStream(from: local, to: destination, asker: asker, run: self)
        streams[local] = stream
        guard streams.count <= limits.connections else {
            counters.turnedAway += 1
            return stream.fail(.limit, "the run has \(limits.connections) connections, as many as it may")
        }
        guard let target = target(destination) else { return stream.fail(.unreachable, "nobody has that address") }
        stream.start(target)
    }

    private func peer(_ local: TransportAddress, _ target: UInt16) -> TransportAddress? {
        if target != 0 { return flows.destination(of: target, local.ip.family) }
        return streams[local]?.destination ?? past.destination(of: local)
    }

    private func flowPort(for destination: TransportAddress) -> [UInt8] {
        guard target(destination) != nil else { return RunQuestion.answer(ErrorNumber.unreachable, target: 0) }
        do throws(UVError) {
            return RunQuestion.answer(0, target: try flows.port(for: destination))
        } catch { return RunQuestion.answer(-error.code, target: 0) }
    }

    private func find(_ name: String, for sender: UnixSender) {
        names.finder.find(nodeNamed: name) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let node):
                answer(
                    RunQuestion.answer(.found, v6: node, v4: names.addresses.mappedAddress(of: node) ?? .anyV4),
                    to: sender)
            case .failure(let failure):
                answer(RunQuestion.answer(failure.isTemporary ? .later : .unknown), to: sender)
            }
        }
    }

    // MARK: For the streams and flows

    func port(for local: TransportAddress) -> HeldTCPPort? { local.ip.family == .v4 ? v4 : v6 }

    /// What the router is asked for; nil for a mapped address that stands for nothing.
    func target(_ destination: TransportAddress) -> HostAndPort? {
        switch names.addresses.meaning(of: destination.ip) {
        case .node(let node): HostAndPort(host: node.description, port: destination.port)
        case .host: HostAndPort(host: destination.ip.description, port: destination.port)
        case .nobody: nil
        }
    }

    /// Whether a datagram is a question to a name server that is no node's. What can be asked through the relay is, but for
    /// the names that nobody there knows.
    func isForNames(_ datagram: RawSpan, to destination: TransportAddress) -> Bool {
        guard destination.port == Self.namePort, names.addresses.meaning(of: destination.ip) == .host else {
            return false
        }
        return !egress || !destination.ip.isGlobal || names.answersItself(datagram)
    }

    /// Answers it, or asks the server on.
    func answer(_ datagram: RawSpan, meantFor server: TransportAddress, _ reply: @escaping ([UInt8]) -> Void) {
        names.answer(datagram, meantFor: server, reply)
    }

    private static let namePort: UInt16 = 53

    func failed(_ stream: RedirectedStream, _ code: EndpointResetCode, _ why: String) {
        counters.failed += 1
        past.keep(stream.local, stream.destination, failure: ErrorNumber(code).value, at: loop.now)
        log.log(
            .info, kind: "run", now: loop.now, "a command's connection can't be made",
            metadata: ["to": "\(stream.destination)", "why": "\(why)"])
    }

    /// Leaves a refusal to the one who has asked.
    /// - Returns: false where it can't be told now.
    func tell(_ asker: ConnectionAsker, _ stream: RedirectedStream, _ code: EndpointResetCode) -> Bool {
        let refusal = RunQuestion.refusal(ErrorNumber(code).value, of: stream.local, number: asker.number)
        return questions?.answer(refusal, to: asker.sender) ?? true
    }

    func failed(datagramsTo destination: TransportAddress, _ why: String) {
        counters.failed += 1
        log.log(
            .info, kind: "run", now: loop.now, "a command's datagrams can't be sent",
            metadata: ["to": "\(destination)", "why": "\(why)"])
    }

    func ended(_ stream: RedirectedStream) {
        guard streams[stream.local] === stream else { return }
        streams[stream.local] = nil
        past.keep(stream.local, stream.destination, at: loop.now)
    }
}

extension RedirectedRun: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        for stream in streams.values { stream.expire(after: limits.routing) }
        past.sweep(now: loop.now)
        flows.sweep()
        timer.arm(after: Self.interval)
    }
}

/// Who refuses a connection by himself when he is told that it can't be made.
struct ConnectionAsker {
    let sender: UnixSender
    let number: UInt32
}

/// Stands between the socket, which keeps its delegate, and the run.
private final class Questions: UnixDatagramDelegate {
    weak var run: RedirectedRun?

    func unixDatagramSocket(_ socket: UnixDatagramSocket, received message: RawSpan, from sender: UnixSender) {
        run?.received(message, from: sender)
    }
}
