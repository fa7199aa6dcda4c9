// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Logging
internal import Primitives

/// Tries somebody's provider: plays the platform for it, asks of it what a platform may ask, and tells what it keeps and what
/// it breaks, with the number of the obligation (ExternalProviders.md).
public final class ProviderTrial {
    /// What was looked at, and how it went.
    public struct Finding: Sendable {
        public var obligation: Int
        public var text: String
        public var isKept: Bool

        /// `ok 17 …` or `BROKEN 17 …`.
        public var line: String { "\(isKept ? "ok" : "BROKEN") \(obligation) \(text)" }
    }

    public private(set) var findings: [Finding] = []
    /// How many times shorter than usual ``measure(_:application:)`` takes, and less sure: 1 to 16.
    public var haste = 1
    let loop: EventLoop
    let platform: Platform
    private let door: ProviderDoor
    private let told: (Finding) -> Void
    private let path: String
    private var ticker: LoopTimer?
    private var records: [TerminationRecord] = []
    /// How the program ended that was started last, where that is why it has no session.
    private var ending: String?
    /// This node's ID, and one that no peer has.
    let local = TransportID(IPAddress(v6: 0x2001_0021_4411_0C21_DE4C_C4BB_2688_3B82))
    private let other = TransportID(IPAddress(v6: 0x2001_0021_0000_0000_0000_0000_0000_0001))

    static let patience = Duration.seconds(10)

    /// - Parameters:
    ///   - path: of the Unix socket that is made for the provider.
    ///   - told: is called with each finding.
    public init(path: String, logger: Logger, told: @escaping (Finding) -> Void) throws(UVError) {
        self.path = path
        self.told = told
        loop = try EventLoop()
        platform = Platform(random: SystemRandomNumberGenerator())
        door = try ProviderDoor(
            loop: loop, platform: platform, transportIDs: [local],
            settings: ProviderDoorSettings(path: path, deadline: ProviderTrial.patience), logger: logger)
        ticker = LoopTimer(loop: loop, delegate: self)
        platform.observer = self
    }

    /// Closes the socket and removes its file. Nothing can be tried after that.
    public func end() { loop.closeAll() }

    // MARK: Running

    func runs(until condition: () -> Bool, within limit: Duration = .seconds(15)) -> Bool {
        let end = ContinuousClock.now + limit
        while !condition() {
            guard ContinuousClock.now < end else { return false }
            ticker?.arm(after: .milliseconds(1))
            loop.run()
            platform.handleTimeout(now: loop.now)
        }
        return true
    }

    @discardableResult
    private func find(_ obligation: Int, _ text: String, _ isKept: Bool) -> Bool {
        let finding = Finding(obligation: obligation, text: text, isKept: isKept)
        findings.append(finding)
        told(finding)
        return isKept
    }

    /// The registered instance of the program.
    var instance: ProviderInstance? { platform.instances.first { $0.state == .inSession || $0.state == .active } }

    /// Starts the program and waits until its session is active; nil where that does not happen.
    func start(_ arguments: [String]) throws(UVError) -> (Program, ProviderInstance)? {
        let program = try Program(arguments, environment: ["CPNATFWT_SOCKET=\(path)"])
        let isActive = runs { instance?.state == .active || program.exitStatus != nil || !records.isEmpty }
        guard isActive, let instance, instance.state == .active else {
            ending = program.exitStatus.map(ProviderTrial.words(forStatus:))
            end(program)
            return nil
        }
        return (program, instance)
    }

    private static func words(forStatus status: Int32) -> String {
        status > 128 ? "signal \(status - 128) has ended it" : "it has ended, with status \(status)"
    }

    func end(_ program: Program) {
        program.signal(9)
        _ = runs { program.exitStatus != nil }
    }

    func provider(of instance: ProviderInstance) -> ExternalProvider? { door.provider(of: instance) }

    // MARK: The trial

    /// Runs the program twice.
    /// - Returns: whether it keeps all that was looked at.
    public func run(_ arguments: [String]) throws(UVError) -> Bool {
        guard let (program, instance) = try start(arguments) else {
            let why = records.last.map { "\($0.reason): \($0.message)" } ?? ending ?? "it has not registered"
            find(25, "registers, adds a transport ID and becomes active in time (\(why))", false)
            return false
        }
        find(7, "registers, and takes the session", true)
        find(17, "adds the platform's transport ID", instance.transportIDs.contains(local))
        tryCalls(instance)
        tryPackets(instance)
        find(8, "keeps its session through all that (\(records.last?.message ?? ""))", records.isEmpty)
        tryLeaving(program)
        try tryShutdown(arguments)
        return findings.allSatisfy(\.isKept)
    }

    private func tryCalls(_ instance: ProviderInstance) {
        let reached = answer(other)
        find(18, "says of an ID that no peer has that it is not reachable, in time", reached == false)
        find(28, "answers the same question the same way again", answer(other) == reached)
        let more = TransportID(IPAddress(v4: 0xC000_0207))
        try? instance.addTransportID(more, now: loop.now)
        let isAdded = runs { instance.pendedCalls == 0 || instance.state != .active }
        find(20, "adds an IPv4 transport ID, or refuses it, in time", isAdded && instance.state == .active)
        if let id = instance.transportIDs.first(where: { $0 != local }) {
            try? instance.removeTransportID(id, now: loop.now)
            _ = runs { instance.pendedCalls == 0 || instance.state != .active }
        }
        try? instance.deactivate(now: loop.now)
        _ = runs { instance.pendedCalls == 0 || !records.isEmpty }
        try? instance.activate(now: loop.now)
        find(
            19, "becomes inactive and active again",
            runs { instance.state == .active || !records.isEmpty } && records.isEmpty)
    }

    /// Whether the provider reaches an ID; nil where it does not say in time.
    private func answer(_ id: TransportID) -> Bool? {
        var reached: Bool?
        let isAnswered = runs {
            switch platform.reach(id, now: loop.now) {
            case .asking: return !records.isEmpty
            case .reachable: reached = true
            case .unreachable: reached = false
            }
            return true
        }
        instance?.reachabilityChanged(id, now: loop.now)
        return isAnswered && records.isEmpty ? reached : nil
    }

    /// A thousand packets for whoever there is: a provider without that peer drops them.
    private func tryPackets(_ instance: ProviderInstance) {
        guard let provider = door.provider(of: instance) else { return }
        for count in 0..<1_000 {
            let packet = [UInt8](repeating: 0x60, count: 40 + count % 1_200)
            provider.send(packet.rawSpan, luid: 1, from: local, to: other)
        }
        let isTaken = runs { provider.hasTakenAll || !records.isEmpty }
        find(29, "takes a thousand packets", isTaken && records.isEmpty)
    }

    private func tryLeaving(_ program: Program) {
        program.signal(15)
        let hasLeft = runs { !records.isEmpty }
        find(9, "deregisters when it gets SIGTERM", hasLeft && records.last?.reason == .providerRequest)
        let hasEnded = runs { program.exitStatus != nil }
        find(14, "then ends with status 0 (\(program.exitStatus ?? -1))", hasEnded && program.exitStatus == 0)
        end(program)
        records = []
    }

    private func tryShutdown(_ arguments: [String]) throws(UVError) {
        guard let (program, instance) = try start(arguments) else {
            find(14, "registers a second time (\(ending ?? "it has not registered"))", false)
            return
        }
        find(5, "registers a second time", true)
        platform.drop(instance, message: "the trial ends", now: loop.now)
        program.signal(15)
        let hasEnded = runs { program.exitStatus != nil }
        find(10, "outlives the platform's end, and ends with SIGTERM", hasEnded && (program.exitStatus ?? 255) < 128)
        end(program)
    }
}

extension ProviderTrial: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) { loop.stop() }
}

extension ProviderTrial: PlatformObserver {
    public func platform(_ platform: Platform, instance: ProviderInstance, terminated record: TerminationRecord) {
        records.append(record)
    }
}
