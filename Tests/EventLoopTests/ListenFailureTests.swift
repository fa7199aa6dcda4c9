// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import Testing

@Suite struct ListenFailureTests {
    private static let unavailable = UVError.addressNotAvailable

    private static func places(_ texts: [String]) -> [TransportAddress] { texts.compactMap { TransportAddress($0) } }

    /// What is opened where the system refuses some; nil: nothing, because of the first.
    private static func open(
        _ texts: [String], refusing refused: [String], with error: UVError = unavailable
    ) -> (opened: [TransportAddress], missing: [TransportAddress])? {
        var opened: [TransportAddress] = []
        do throws(ListenFailure) {
            let missing = try ListenFailure.each(of: places(texts)) { place throws(UVError) in
                guard !refused.contains(place.description) else { throw error }
                opened.append(place)
            }
            return (opened, missing)
        } catch {
            #expect(error == ListenFailure(places(refused).first ?? error.address, error.error))
            return nil
        }
    }

    @Test(arguments: [
        (["127.0.0.1:1", "[::1]:1"], "[::1]:1"), (["127.0.0.1:1", "[::1]:1"], "127.0.0.1:1"),
        (["0.0.0.0:1", "[::]:1"], "[::]:1"), (["[::]:1", "192.0.2.1:2", "0.0.0.0:1"], "[::]:1"),
    ])
    func whicheverThereIs(_ texts: [String], missing: String) throws {
        let result = try #require(Self.open(texts, refusing: [missing]))
        #expect(result.missing == Self.places([missing]))
        #expect(result.opened == Self.places(texts.filter { $0 != missing }))
    }

    @Test(arguments: [
        (["[::1]:1"], ["[::1]:1"]), (["127.0.0.1:2", "[::1]:1"], ["[::1]:1"]), (["0.0.0.0:1", "[::1]:1"], ["[::1]:1"]),
        (["192.0.2.1:1", "[::]:1"], ["192.0.2.1:1"]), (["127.0.0.1:1", "[::1]:1"], ["127.0.0.1:1", "[::1]:1"]),
    ])
    func whatWasNamedAlone(_ texts: [String], refused: [String]) {
        #expect(Self.open(texts, refusing: refused) == nil)
    }

    @Test func otherRefusals() {
        #expect(Self.open(["127.0.0.1:1", "[::1]:1"], refusing: ["[::1]:1"], with: .addressInUse) == nil)
        #expect(
            ListenFailure(Self.places(["[::1]:1"])[0], .addressInUse).description.hasPrefix("[::1]:1: address already"))
    }
}
