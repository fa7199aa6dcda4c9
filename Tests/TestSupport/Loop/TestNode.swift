// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Foundation
import Identity
import Primitives
import Providers
import TLS
import Tunneling

/// A key with what TLS makes of it.
public struct TestNode: Sendable {
    public let key: NodeKey

    public init() { key = .generate() }
    public init(_ key: NodeKey) { self.key = key }

    public var id: NodeID { key.id }

    public func context(_ role: TLSContext.Role) throws -> TLSContext {
        try TLSContext(
            role: role, certificateDER: NodeCertificate(key).der, privateKeyDER: key.privateKey.pkcs8DER,
            alpn: ["natfwt/1"])
    }
}

/// Drives a platform's deadlines from a loop, and writes down how its sessions end.
public final class PlatformClock: PlatformObserver, LoopTimerDelegate {
    public private(set) var terminations: [TerminationRecord] = []
    private let loop: EventLoop
    private unowned let platform: Platform
    private var timer: LoopTimer?

    public init(_ loop: EventLoop, _ platform: Platform) {
        self.loop = loop
        self.platform = platform
        timer = LoopTimer(loop: loop, delegate: self)
        platform.observer = self
    }

    public func platform(_ platform: Platform, instance: ProviderInstance, terminated record: TerminationRecord) {
        terminations.append(record)
    }

    public func platformDeadlineMoved(_ platform: Platform) {
        if let deadline = platform.nextDeadline { timer?.arm(at: deadline) }
    }

    public func timerFired(_ timer: LoopTimer) {
        platform.handleTimeout(now: loop.now)
        platformDeadlineMoved(platform)
    }
}

/// An agent's end of a tunnel, without an agent: a platform with one relay provider.
public final class TestAgent: RelayProviderDelegate {
    public let node: TestNode
    public let platform: Platform
    public let clock: PlatformClock
    public let provider: RelayProvider
    public private(set) var instance: ProviderInstance?
    public private(set) var welcome: Welcome?
    public private(set) var answers: [ExposeAnswer] = []
    public private(set) var reached: [ReachAnswer] = []
    private let loop: EventLoop

    public init(_ loop: EventLoop, _ node: TestNode, _ configuration: RelayConfiguration) {
        self.loop = loop
        self.node = node
        platform = Platform(random: SeededRandom(1))
        clock = PlatformClock(loop, platform)
        provider = RelayProvider(loop: loop, configuration: configuration, logger: MemoryLog().logger)
        provider.delegate = self
    }

    /// What an agent needs to reach a relay on this host.
    public static func configuration(
        _ node: TestNode, relay: NodeID, at addresses: [HostAndPort], name: String = "home", token: [UInt8] = []
    ) throws -> RelayConfiguration {
        RelayConfiguration(
            addresses: addresses, relay: relay, node: node.id, nodeName: name, inviteToken: token,
            context: try node.context(.client), limits: TunnelLimits(), connectTimeout: .seconds(30),
            handshakeTimeout: .seconds(30))
    }

    public func start() throws {
        let instance = try platform.createInstance(provider: provider, name: "relay")
        self.instance = instance
        try instance.register(now: loop.now)
        try instance.begin(transportIDs: [provider.local], now: loop.now)
    }

    public var isActive: Bool { instance?.state == .active }
    public var termination: TerminationRecord? { clock.terminations.first }

    public func relayProvider(_ provider: RelayProvider, welcomed welcome: Welcome, by address: TransportAddress?) {
        self.welcome = welcome
    }

    public func relayProvider(_ provider: RelayProvider, received answer: ExposeAnswer) { answers.append(answer) }

    public func relayProvider(_ provider: RelayProvider, received answer: ReachAnswer) { reached.append(answer) }

    public func relayProviderIsStopping(_ provider: RelayProvider) {}
}

/// A folder that is gone afterwards.
public final class TemporaryFolder {
    public let path = FileManager.default.temporaryDirectory.appending(path: "natfwt-test-\(UUID())").path

    public init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    public subscript(_ name: String) -> String { path + "/" + name }
}
