// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// One way from the programs of the office to the servers at home.
struct MatrixWay: Sendable, CustomTestStringConvertible {
    let name: String
    let carries: Set<Transport>
    /// Programs without which the whole way is skipped, in a way that says so.
    var needs: [String] = []
    /// Where the node is that the way begins at.
    var node: @Sendable (Lab) -> Namespace? = { $0.office }
    /// More for its settings.
    var settings = ""
    /// Where the servers at home listen.
    var bind = "127.0.0.1"
    /// Makes the way ready, once for all programs.
    let open: @Sendable (MatrixSite) async throws -> MatrixPassage

    var testDescription: String { name }
}

/// How a client program takes a way that is open.
struct MatrixPassage: Sendable {
    /// Where the client runs.
    let machine: Namespace
    /// What stands before it on its command line.
    var prefix: [String] = []
    /// What it calls the server: any host, and the server's port and this much.
    var host = "home.natfwt.internal"
    var portOffset = 0
    /// Host and port of the proxy that the client must know of.
    var proxy: String?
}

extension MatrixWay {
    /// The columns of the matrix.
    static let all = [runKernel, runPreload, forward, socks, adapter, gateway]

    private static let runKernel = MatrixWay(
        name: "run, kernel", carries: [.tcp, .udp], needs: ["/usr/include/bpf/bpf_helpers.h", "/sys/fs/bpf"]
    ) { site in
        try await site.build("kernel-way")
        return site.run("kernel")
    }

    private static let runPreload = MatrixWay(name: "run, preload", carries: [.tcp, .udp], needs: ["cc"]) { site in
        try await site.build("interposer")
        return site.run("preload")
    }

    private static let forward = MatrixWay(name: "forward", carries: [.tcp]) { site in
        let offset = 20_000
        let ports = Set(MatrixProgram.all.flatMap(\.server.tcp))
        for port in ports {
            try site.startNatfwt("forward", "\(port + offset)", "home:\(port)")
        }
        for port in ports { try await site.agent.opens(port + offset) }
        return MatrixPassage(machine: site.office, host: "localhost", portOffset: offset)
    }

    /// SOCKS5, and HTTP CONNECT on the same port.
    private static let socks = MatrixWay(name: "SOCKS", carries: [.tcp, .udp]) { site in
        try site.startNatfwt("socks", "1080")
        try await site.agent.opens(1080)
        return MatrixPassage(machine: site.office, proxy: "127.0.0.1:1080")
    }

    private static let adapter = MatrixWay(
        name: "adapter", carries: [.tcp, .udp], needs: ["/dev/net/tun"], bind: "::"
    ) { site in
        for (machine, socket) in [(site.deployment.lab.home, site.deployment.agentSocket()), (site.node, site.socket)] {
            let adapter = try machine.start([Natfwt.binary, "adapter", "--socket", socket], as: "adapter")
            try await adapter.says("is up")
        }
        return MatrixPassage(machine: site.office)
    }

    /// The node is the office's router, and there is nothing at the office.
    private static let gateway = MatrixWay(
        name: "gateway", carries: [.tcp, .udp], needs: ["nft"], node: { $0.gate }, settings: "[gateway]"
    ) { site in
        // A name server outside, whose answers for nodes the gateway gives in its place.
        let names = site.deployment.lab.visitor
        try site.office.etc("resolv.conf", "nameserver \(names.address)\noptions timeout:2 attempts:1\n")
        try await names.start(script: "dns", [names.address, "53"]).says("ready")
        try await site.node.check(["\(site.repository)/deploy/gateway", "up", "lan"])
        return MatrixPassage(machine: site.office)
    }
}

/// A relay, home that serves everything to the laptop, and the laptop at the office, each behind a NAT of its own.
struct MatrixSite: Sendable {
    let deployment: Deployment
    /// Where the clients are, and where the laptop's agent is.
    let office: Namespace
    let node: Namespace
    let agent: Child
    let socket: String
    /// Shared by servers and clients: who would copy a file over reads it where it lies.
    let folder: String
    let bind: String
    let repository = URL(fileURLWithPath: Lab.scripts + "/../../..").standardized.path

    static func build(_ lab: Lab, _ way: MatrixWay, for programs: [MatrixProgram]) async throws -> MatrixSite {
        guard let office = lab.office, let node = way.node(lab) else { throw LabError("a lab without an office") }
        let deployment = try Deployment(lab)
        try await deployment.start([], more: rule(.tcp, programs) + rule(.udp, programs))
        let directory = "\(lab.directory)/office"
        let agent = try await deployment.addNode("laptop", on: node, directory: directory, more: way.settings)
        let folder = "\(lab.directory)/shared"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let site = MatrixSite(
            deployment: deployment, office: office, node: node, agent: agent,
            socket: deployment.agentSocket(directory), folder: folder, bind: way.bind)
        try await lab.home.check(site.shell("head -c 3000000 /dev/urandom > \"$FOLDER/file\""))
        return site
    }

    private static func rule(_ transport: Transport, _ programs: [MatrixProgram]) -> String {
        let servers = programs.flatMap { transport == .tcp ? $0.server.tcp : $0.server.udp }
        let ports = Set(servers + programs.filter { $0.transport == transport }.map(\.port))
        guard !ports.isEmpty else { return "" }
        return "\n[[serve]]\nprotocol = \"\(transport)\"\nports = \(ports.sorted())\nto = [\"laptop\"]\n"
    }

    func startNatfwt(_ arguments: String...) throws {
        try node.start([Natfwt.binary] + arguments + ["--socket", socket])
    }

    /// One of the libraries of `natfwt run`, beside the program, where it is looked for.
    func build(_ library: String) async throws {
        let folder = URL(fileURLWithPath: Natfwt.binary).deletingLastPathComponent().path
        try await office.check(["\(repository)/deploy/\(library)", folder])
    }

    func run(_ way: String) -> MatrixPassage {
        MatrixPassage(
            machine: office, prefix: [Natfwt.binary, "run", "--way", way, "--socket", socket, "--"])
    }

    /// A text for the shell, with what the texts of the matrix may use.
    func shell(_ text: String, _ variables: [String: String] = [:]) -> [String] {
        // Not those of version managers: they take longer to start than the program.
        let common = [
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FOLDER": folder, "SCRIPTS": Lab.scripts, "LC_ALL": "C",
            "HOME": folder, "BIND": bind,
        ]
        let settings = common.merging(variables) { $1 }.map { "\($0)=\($1)" }.sorted()
        return ["env", "-u", "http_proxy", "-u", "https_proxy"] + settings + ["sh", "-euc", text]
    }

    /// Starts servers, and waits until all of them answer.
    func start(_ servers: [MatrixServer]) async throws {
        let home = deployment.lab.home
        for server in servers where !server.prepares.isEmpty {
            try await home.check(shell(server.prepares), within: .seconds(60))
        }
        let running = try servers.map { (server: $0, child: try home.start(shell($0.script), as: $0.name)) }
        for (server, child) in running {
            for port in server.tcp { try await child.opens(port, within: .seconds(30)) }
            for port in server.udp { try await child.opens(port, .udp, within: .seconds(30)) }
        }
    }
}
