// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Settings
internal import Tunneling

/// The session in which a relay is asked for ports.
protocol ExposingSession: AnyObject {
    var tunnel: Tunnel? { get }
    /// Asks for a port.
    func expose(_ request: ExposeRequest)
    /// Gives a port back.
    func unexpose(_ id: UInt32)
}

extension RelayProvider: ExposingSession, ReachingSession {}

/// What this node wants exposed, what the relay has given, and how the one becomes the other.
final class Exposures {
    enum State: Equatable {
        /// No session, or not asked yet.
        case wanted
        case asked
        /// The relay's port.
        case exposed(UInt16)
        case refused(String, retryAt: Instant)
    }

    struct Entry {
        let id: UInt32
        let exposure: Exposure
        var state = State.wanted
        /// The port that the relay chose last: asked for again, so that it comes back.
        var lastPort: UInt16?
        var retryAfter = Exposures.firstRetry
    }

    private(set) var entries: [Entry] = []
    private(set) weak var provider: (any ExposingSession)?
    private let services: ServiceDirectory
    private let logger: Logger
    private var lastID: UInt32 = 0

    /// How long after a refusal the relay is asked again: soon at first, since the port may be another session's that is
    /// just ending.
    fileprivate static let firstRetry: Duration = .seconds(1)
    private static let lastRetry: Duration = .seconds(30)

    init(services: ServiceDirectory, logger: Logger) {
        self.services = services
        self.logger = logger
    }

    /// What is to be exposed from now on: what is new is asked for, what is gone is given back, the rest is not touched.
    func apply(_ wanted: [Exposure]) {
        for entry in entries where !wanted.contains(entry.exposure) {
            provider?.unexpose(entry.id)
            guard case .exposed(let port) = entry.state else { continue }
            services.remove(entry.exposure.key(port))
            logger.notice("no longer exposed", metadata: ["service": "\(entry.exposure.what)", "port": "\(port)"])
        }
        entries.removeAll { !wanted.contains($0.exposure) }
        for exposure in wanted where !entries.contains(where: { $0.exposure == exposure }) {
            lastID += 1
            entries.append(Entry(id: lastID, exposure: exposure))
        }
        askForWanted()
    }

    /// The relay let this node in.
    func sessionActive(_ provider: any ExposingSession) {
        self.provider = provider
        for index in entries.indices {
            entries[index].state = .wanted
            entries[index].retryAfter = Self.firstRetry
        }
        askForWanted()
    }

    /// The relay's ports are gone until the next session.
    func sessionEnded() {
        provider = nil
        for index in entries.indices { entries[index].state = .wanted }
    }

    /// Asks again for what was refused a while ago.
    func retry(now: Instant) {
        for index in entries.indices {
            if case .refused(_, let retryAt) = entries[index].state, now >= retryAt { entries[index].state = .wanted }
        }
        askForWanted()
    }

    private func askForWanted() {
        guard let provider else { return }
        for index in entries.indices where entries[index].state == .wanted {
            let entry = entries[index]
            entries[index].state = .asked
            provider.expose(
                ExposeRequest(
                    id: entry.id, transport: entry.exposure.transport == .tcp ? .tcp : .udp,
                    port: entry.lastPort ?? entry.exposure.port, name: entry.exposure.label))
        }
    }

    func received(_ answer: ExposeAnswer, from provider: any ExposingSession, at now: Instant) {
        guard provider === self.provider, let index = entries.firstIndex(where: { $0.id == answer.id }) else { return }
        let exposure = entries[index].exposure
        let what = exposure.what
        guard answer.port != 0 else {
            let isNew = entries[index].retryAfter == Self.firstRetry
            if case .exposed(let port) = entries[index].state { services.remove(exposure.key(port)) }
            entries[index].state = .refused(answer.refusal, retryAt: now + entries[index].retryAfter)
            entries[index].retryAfter = min(entries[index].retryAfter * 2, Self.lastRetry)
            // A port that the relay had chosen and that another has now is not asked for again.
            entries[index].lastPort = nil
            return logger.log(
                level: isNew ? .error : .debug, "the relay refuses to expose",
                metadata: ["service": "\(what)", "why": "\(answer.refusal)"])
        }
        entries[index].state = .exposed(answer.port)
        entries[index].retryAfter = Self.firstRetry
        if exposure.port == 0 { entries[index].lastPort = answer.port }
        services.set(
            ServiceDescription(
                target: exposure.service, sendsProxyHeader: exposure.proxyProtocol, name: exposure.name),
            for: exposure.key(answer.port))
        logger.notice("exposed", metadata: ["service": "\(what)", "port": "\(answer.port)"])
    }
}

extension Exposure {
    /// What the relay knows it by, so that it gets the same port again.
    var label: String { name.isEmpty ? service.description : name }

    /// For the log: `tcp 127.0.0.1:22`.
    fileprivate var what: String { "\(transport.rawValue) \(service)" }

    func key(_ port: UInt16) -> ServiceDirectory.Port {
        ServiceDirectory.Port(kind: transport == .tcp ? .stream : .datagram, port: port)
    }
}
