// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Glibc
import Settings

struct AdapterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adapter", abstract: "On a node: a network interface that leads to the other nodes.",
        discussion: """
            Makes the interface, as root, and hands it to the running agent, until Ctrl-C. For good: [adapter] in its
            settings. Every program of this host then reaches the other nodes' transport IDs by IPv6, and they reach here
            what is served to them, where it listens on [::] or on this node's transport ID. As long as it runs, this host's
            resolver finds the nodes' names: by systemd-resolved where that runs, else by a line in /etc/resolv.conf.
            """)

    @Option(help: "What the interface is called.") var name = AdapterSettings.usualName
    @Flag(name: .customLong("no-dns"), help: "Leave this host's resolver as it is.") var leavesDNS = false
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do throws(StartFailure) {
            guard AdapterSettings.isName(name) else {
                throw StartFailure(status: .usage, message: "--name: expected \(AdapterSettings.expectedName)")
            }
            try LentAdapter(name: name, leavesDNS: leavesDNS).run(agent)
        } catch { throw fail(error) }
    }
}

/// One conversation in which a device is made and handed over.
private final class LentAdapter {
    private let name: String
    private var plan: AdapterPlan?
    private var failure: StartFailure?
    private var isUp = false
    private let leavesDNS: Bool
    private var resolver = HostResolver()

    init(name: String, leavesDNS: Bool) {
        self.name = name
        self.leavesDNS = leavesDNS
    }

    func run(_ agent: AgentSocket) throws(StartFailure) {
        let path = agent.path
        defer { tryDNS { () throws(HostResolver.Failure) in try resolver.remove() } }
        let end: ConversationEnd
        do throws(UVError) {
            end = try AdministrationClient.converse(
                AgentRequest.adapter.text, path: path, signals: [SIGINT, SIGTERM, SIGHUP], passing: { self.device($0) },
                received: { self.received($0) })
        } catch { throw failure ?? agent.failure(of: error, path) }
        if let failure { throw failure }
        guard end == .program else { return }
        throw StartFailure(
            status: .unavailable,
            message: isUp ? "the agent has stopped, and this with it" : "\(path): the agent did not answer")
    }

    /// The descriptor of a device, where the agent asks for one. The device lives as long as the agent has it.
    private func device(_ line: String) -> Int32? {
        guard let plan = AdapterPlan(line: line), self.plan == nil else { return nil }
        self.plan = plan
        do throws(UVError) {
            let file = try PacketDeviceFile.open(named: name)
            try file.configure(address: plan.address, prefix: plan.prefix, mtu: plan.mtu)
            return file.takeDescriptor()
        } catch {
            let advice =
                if error.isPermissionDenied { ": it takes root, or CAP_NET_ADMIN" } else if error.name == "EBUSY" {
                    ": there is an interface of that name already"
                } else { "" }
            failure = StartFailure(status: .unavailable, message: "\(name) can't be made\(advice) (\(error.message))")
            return -1
        }
    }

    private func received(_ line: String) {
        let answer = AgentAnswer(line: line)
        failure = failure ?? answer?.failure
        guard answer == .ok, !isUp, let plan else { return }
        isUp = true
        // Not before: an agent has one adapter, so that what stands there is now of one that was killed, but until now may
        // have been of one that runs.
        tryDNS { () throws(HostResolver.Failure) in
            try HostResolver.clean()
            guard !leavesDNS else { return }
            try resolver.add(plan.nameServer, suffix: plan.suffix, interface: name)
        }
        try? say("\(name) is up with this node's transport ID, \(plan.address); Ctrl-C ends it")
    }

    /// The adapter carries packets without names too.
    private func tryDNS(_ body: () throws(HostResolver.Failure) -> Void) {
        do throws(HostResolver.Failure) { try body() } catch {
            complain("warning: names of nodes are not found by this host's resolver: \(error.message)")
        }
    }
}
