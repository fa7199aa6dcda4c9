// SPDX-License-Identifier: Apache-2.0

import Identity
import Primitives
import Settings
import TestSupport
import Testing

@testable import Administration

@Suite struct AgentRequestTests {
    private static let fingerprint = "SHA256:" + String(repeating: "A", count: 43)

    private static func forward(_ listen: String, _ target: String) -> AgentRequest? {
        (try? Forward(listen: listen, target: target)).map { .forward($0) }
    }

    private static func socks(_ listen: String, _ user: String? = nil, _ password: String = "") -> AgentRequest {
        let credentials = user.flatMap { SOCKSCredentials(user: $0, password: password) }
        return .socks(SOCKSListener(listen: ListenText.parse(listen) ?? [], credentials: credentials))
    }

    private static let requests: [(AgentRequest?, String)] = [
        (.nodes(json: false), "nodes"), (.nodes(json: true), "nodes --json"),
        (.run(egress: false), "run nodes"), (.run(egress: true), "run egress"), (.adapter, "adapter"),
        (.gateway(GatewaySettings()), "gateway 4080 nodes names"),
        (.gateway(GatewaySettings(port: 1, egress: true, names: false)), "gateway 1 egress no-names"),
        (.ping("home", count: 4), "ping home 4"), (.ping("2001:21::1", count: 1_000_000), "ping 2001:21::1 1000000"),
        (.ping(fingerprint, count: 1), "ping \(fingerprint) 1"),
        (forward("15432", "home:5432"), "forward 15432 home:5432"),
        (forward("*:1", "[2001:21::1]:2"), "forward *:1 [2001:21::1]:2"),
        (forward("[::1]:1", "\(fingerprint):2"), "forward [::1]:1 [\(fingerprint)]:2"),
        (socks("1080"), "socks 1080"), (socks("127.0.0.1:1080,10.0.0.1:1"), "socks 127.0.0.1:1080,10.0.0.1:1"),
        (socks("1080", "me", "se:cr et\n"), "socks 1080 bWU6c2U6Y3IgZXQK"),
        (socks("*:1", "é", "\u{1F600}"), "socks *:1 w6k68J+YgA=="),
        (
            .serve(Serve(transport: .tcp, ports: [22...22, 8000...8010], to: ["laptop", "*"])),
            "serve tcp 22,8000-8010 laptop,* 127.0.0.1"
        ),
        (
            .serve(Serve(transport: .udp, ports: [1...65_535], to: [fingerprint, "2001:21::1"], host: "::1")),
            "serve udp 1-65535 \(fingerprint),2001:21::1 ::1"
        ),
    ]

    @Test(arguments: requests) func roundTrip(request: AgentRequest?, text: String) throws {
        let request = try #require(request)
        #expect(request.text == text)
        #expect(try AgentRequest(text: text) == request)
    }

    @Test func anAdaptersPlanIsReadBack() throws {
        let address = try #require(IPAddress("2001:21:2456:78e9:392d:94c3:1436:7d46"))
        let server = try #require(IPAddress("2001:20::53"))
        let plan = AdapterPlan(
            address: address, prefix: 28, mtu: 1_280, nameServer: server, suffix: "natfwt.internal")
        #expect(plan.line == "device \(address) 28 1280 2001:20::53 natfwt.internal")
        #expect(AdapterPlan(line: plan.line) == plan)
        for line in [
            "ok", "device", "device \(address) 28 1280", "device 192.0.2.1 28 1280 2001:20::53 a",
            "device \(address) 129 1280 2001:20::53 a", "device \(address) 28 1279 2001:20::53 a",
            "device \(address) 28 1280 x a", "device \(address) 28 1280 2001:20::53 ", plan.line + " ",
        ] {
            #expect(AdapterPlan(line: line) == nil, "\(line)")
        }
    }

    @Test func longestCredentialsAreNoTooLongRequest() throws {
        let long = String(repeating: "x", count: 255)
        let request = Self.socks("*:1080", long, long)
        #expect(request.text.utf8.count < AdministrationServer.longestRequest)
        #expect(try AgentRequest(text: request.text) == request)
    }

    @Test(arguments: ["", " ", "status", "nodes2", " nodes", "PING home 1", "forward\t1 home:1", "nodes\n"])
    func unknown(text: String) {
        #expect(throws: AgentRequest.Failure.unknown) { try AgentRequest(text: text) }
    }

    @Test(arguments: [
        "nodes -j", "nodes ", "nodes --json --json", "ping", "ping home", "ping home 0", "ping home -1", "ping home x",
        "ping home 1000001", "ping home 99999999999999999999", "ping * 1", "ping ho me 1", "ping 10.0.0.1 1", "ping  1",
        "forward", "forward 1", "forward 1 home", "forward 0 home:1", "forward 1 home:1 x", "forward 1  home:1",
        "gateway", "gateway 0 nodes names", "gateway 65536 nodes names", "gateway 1 nodes", "gateway 1 names nodes",
        "gateway 1 egress names x", "socks",
        "socks 0", "socks 1080 x y", "socks 1080 !", "socks 1080 bWU=", "socks 1080 Og==", "socks 1080 bWU6",
        "socks 1080 OmE=", "socks 1080 gDqA", "serve", "serve tcp 22 a", "serve sctp 22 a h", "serve tcp 0 a h",
        "serve tcp , a h", "serve tcp 22 , h", "serve tcp 22 A h", "serve tcp 22 a h:1", "serve tcp 22 a ",
        "serve tcp 22 a h x",
    ])
    func malformed(text: String) {
        let error = #expect(throws: AgentRequest.Failure.self) { try AgentRequest(text: text) }
        #expect(error != .unknown)
        #expect(error?.description.hasPrefix(text.split(separator: " ").first ?? "?") == true)
    }

    /// Nothing that another process sends ends this one.
    @Test(arguments: 0..<200 as Range<UInt64>) func anyText(seed: UInt64) {
        var random = SeededRandom(seed)
        let words = [
            "ping", "forward", "socks", "serve", "tcp", "*", "[", "]", ":", ",", "1", "-", "SHA256:", "é", "\u{0}",
        ]
        let text = (0..<Int.random(in: 1...9, using: &random)).map { _ in
            (words.randomElement(using: &random) ?? "") + (Bool.random(using: &random) ? " " : "")
        }.joined()
        guard let request = try? AgentRequest(text: text) else { return }
        #expect((try? AgentRequest(text: request.text)) == request, "seed \(seed): \(text)")
    }

    @Test(arguments: [
        (AgentAnswer.ok, "ok"), (.unavailable("no relay"), "error: no relay"),
        (.refused("not you"), "error: refused: not you"), (.unavailable(""), "error: "),
    ])
    func answers(answer: AgentAnswer, line: String) {
        #expect(answer.line == line)
        #expect(AgentAnswer(line: line) == answer)
    }

    @Test(arguments: ["", "ok ", "OK", "error", "error:", "home  2001:21::1"])
    func otherLines(line: String) { #expect(AgentAnswer(line: line) == nil) }
}
