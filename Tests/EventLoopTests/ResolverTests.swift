// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import Testing

@Suite struct ResolverTests {
    private func resolve(_ name: HostAndPort) throws -> Result<[TransportAddress], UVError>? {
        let test = try TestLoop()
        defer { test.end() }
        var answers: [Result<[TransportAddress], UVError>] = []
        Resolver.resolve(loop: test.loop, name) { answers.append($0) }
        #expect(answers.isEmpty, "the answer comes later, on the loop")
        test.loop.run()
        #expect(answers.count == 1)
        return answers.first
    }

    @Test(arguments: ["192.0.2.1:443", "[2001:db8::1]:80"]) func answersLiterals(text: String) throws {
        let address = try #require(TransportAddress(text))
        #expect(try resolve(try #require(HostAndPort(text))) == .success([address]))
    }

    @Test func answersLocalhost() throws {
        let addresses = try #require(try resolve(HostAndPort(host: "localhost", port: 22))).get()
        #expect(!addresses.isEmpty && addresses.allSatisfy { $0.ip.isLoopback && $0.port == 22 })
        #expect(Set(addresses).count == addresses.count)
    }

    @Test(arguments: ["no-such-host.invalid", "", "with space", String(repeating: "a.", count: 200)])
    func failsForUnknownNames(host: String) throws {
        let result = try #require(try resolve(HostAndPort(host: host, port: 1)))
        guard case .failure(let error) = result else {
            Issue.record("\(host) has addresses: \(result)")
            return
        }
        #expect(!error.name.isEmpty && !error.message.isEmpty)
        // By themselves the resolver's words do not say that it is about a name.
        #expect(!error.name.hasPrefix("EAI_") || error.message.hasPrefix("the name can't be looked up: "), "\(error)")
    }

    /// A loop that ends has heard the resolver first.
    @Test func loopEndsWhileResolving() throws {
        var answers = 0
        do {
            let loop = try EventLoop()
            Resolver.resolve(loop: loop, HostAndPort(host: "localhost", port: 1)) { _ in answers += 1 }
        }
        #expect(answers == 1)
    }
}
