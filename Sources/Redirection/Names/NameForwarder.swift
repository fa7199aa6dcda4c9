// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives
internal import Proxying

/// Questions on their way to other servers: each attempt from a socket of its own with a number of its own, so that nobody
/// off the path can answer (RFC 5452, 9.2). Bounded in number and in time.
final class NameForwarder {
    typealias Completion = ([UInt8]?) -> Void

    let loop: EventLoop
    private var questions: [ObjectIdentifier: ForwardedQuestion] = [:]
    private var timer: LoopTimer?

    /// Questions at once.
    static let most = 256
    /// How long a server is waited for, and how many are tried: in all less than the 5 s that resolvers wait.
    static let patience: Duration = .milliseconds(1_500)
    static let attempts = 3
    private static let interval: Duration = .milliseconds(250)

    init(loop: EventLoop) { self.loop = loop }

    var count: Int { questions.count }

    /// - Parameter completion: called once: the answer, or nil where there is none in time. Not called after ``close()``.
    func forward(
        _ query: DNSQuery, _ message: [UInt8], to servers: [TransportAddress], _ completion: @escaping Completion
    ) {
        guard !servers.isEmpty, questions.count < NameForwarder.most else { return completion(nil) }
        let question = ForwardedQuestion(query, message, servers, self, completion)
        questions[ObjectIdentifier(question)] = question
        question.attempt()
        if timer?.isArmed != true { arm() }
    }

    func close() {
        let all = questions.values
        questions = [:]
        for question in all { question.close() }
        timer?.close()
        timer = nil
    }

    fileprivate func ended(_ question: ForwardedQuestion, _ answer: [UInt8]?) {
        guard questions.removeValue(forKey: ObjectIdentifier(question)) != nil else { return }
        question.close()
        question.completion(answer)
    }

    private func arm() {
        let timer = self.timer ?? LoopTimer(loop: loop, delegate: self)
        timer.arm(after: NameForwarder.interval)
        self.timer = timer
    }
}

extension NameForwarder: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        for question in questions.values where question.deadline <= loop.now { question.attempt() }
        if !questions.isEmpty { arm() }
    }
}

/// One question.
private final class ForwardedQuestion: UDPSocketDelegate {
    let completion: NameForwarder.Completion
    private(set) var deadline = Instant.distantFuture
    private let query: DNSQuery
    private let message: [UInt8]
    private let servers: [TransportAddress]
    private unowned let forwarder: NameForwarder
    private var attempts = 0
    private var forwarding: DNSForwarding?
    private var socket: UDPSocket?

    init(
        _ query: DNSQuery, _ message: [UInt8], _ servers: [TransportAddress], _ forwarder: NameForwarder,
        _ completion: @escaping NameForwarder.Completion
    ) {
        self.query = query
        self.message = message
        self.servers = servers
        self.forwarder = forwarder
        self.completion = completion
    }

    /// Asks the next server, or the same again where there is but one.
    func attempt() {
        close()
        while attempts < NameForwarder.attempts {
            let server = servers[attempts % servers.count]
            attempts += 1
            guard let socket = try? UDPSocket(loop: forwarder.loop, connectedTo: server, delegate: self) else {
                continue
            }
            let forwarding = DNSForwarding(query, message, id: .random(in: .min ... .max))
            socket.send(forwarding.message.rawSpan)
            self.socket = socket
            self.forwarding = forwarding
            deadline = forwarder.loop.now + NameForwarder.patience
            return
        }
        forwarder.ended(self, nil)
    }

    func close() {
        socket?.close()
        socket = nil
    }

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        guard let answer = forwarding?.answer(datagram) else { return }
        forwarder.ended(self, answer)
    }

    /// Nobody listens there.
    func udpSocket(_ socket: UDPSocket, failed error: UVError) { attempt() }
}
