// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitor 198.51.100.10 ──▶ relay 203.0.113.10:7000 ═══ agent ──PROXY v2──▶ service
    ///
    /// The service learns who really visits, where it asked to be told.
    @Suite("The visitor's address")
    struct VisitorAddressTests {
        @Test("reaches the service as a PROXY protocol v2 header, over both families")
        func proxyProtocol() async throws {
            let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000, proxyProtocol: true)
            try await Lab.deployed([exposure]) { deployment in
                let lab = deployment.lab
                let server = try await lab.home.serve(port: 7000, "proxy; echo")
                for (from, to) in zip(lab.visitor.addresses, lab.relay.addresses) {
                    let talk = try await lab.visitor.talk(to: to, port: 7000, "send 100; fin; drain")
                    #expect(talk.received == 100, "the header is not part of the answer: \(talk)")
                    try await until("the service tells") { server.output.contains(from) }
                    let proxy = try #require(try Talk.last(in: server.output).proxy)
                    #expect(proxy.version == 2 && proxy.command == 1)
                    #expect(proxy.source == from)
                    // The address that he had connected to is not carried through the tunnel, the port is.
                    #expect(proxy.targetPort == 7000)
                    #expect(talk.local?.last == proxy.sourcePort.map { .port($0) })
                }
            }
        }

        @Test("names the address that was asked, and UDP answers come from there, where the relay has several")
        func severalAddresses() async throws {
            let exposures = [
                Exposure(.tcp, "127.0.0.1:7000", port: 7000, proxyProtocol: true),
                Exposure(.udp, "127.0.0.1:5353", port: 5353),
            ]
            try await Lab.deployed(exposures) { deployment in
                let lab = deployment.lab
                let others = ["203.0.113.11", "2001:db8:113::11"]
                try await lab.relay.check(["ip", "addr", "add", "203.0.113.11/24", "dev", "eth0"])
                try await lab.relay.check(["ip", "addr", "add", "2001:db8:113::11/64", "dev", "eth0", "nodad"])
                let server = try await lab.home.serve(port: 7000, "proxy; echo")
                let echo = try lab.home.start(script: "udp", ["serve", "127.0.0.1", "5353"])
                try await echo.says("ready")
                for to in others + lab.relay.addresses {
                    let talk = try await lab.visitor.talk(to: to, port: 7000, "send 100; fin; drain")
                    #expect(talk.received == 100)
                    try await until("the service tells") { server.output.contains("\"\(to)\"") }
                    let asked = try await lab.visitor.run(script: "udp", ["ask", to, "5353", "20", "1200"])
                    #expect(asked.text.contains("\"answered\": 20"), "\(to): \(asked)")
                }
            }
        }

        @Test("is not put before the bytes of a service that did not ask")
        func withoutHeader() async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:7000", port: 7000)]) { deployment in
                let server = try await deployment.lab.home.serve(port: 7000, "drain; close")
                _ = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 100; fin; drain")
                try await server.says("{")
                #expect(try Talk.last(in: server.output).received == 100)
            }
        }

        @Test("comes before the first byte, also where the service speaks first")
        func serviceFirst() async throws {
            let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000, proxyProtocol: true)
            try await Lab.deployed([exposure]) { deployment in
                let server = try await deployment.lab.home.serve(port: 7000, "proxy; send 100; drain")
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "read 100; fin; drain")
                #expect(talk.received == 100)
                try await server.says("{")
                #expect(try Talk.last(in: server.output).proxy?.source == deployment.lab.visitor.address)
            }
        }
    }
}
