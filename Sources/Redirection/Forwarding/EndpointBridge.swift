// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
internal import Primitives

/// Joins two endpoints: what comes on one goes out on the other, with each end and each reset passed on as what it is.
///
/// Nothing is queued past the credit: bytes count as consumed on one side only while the other has room, so that at most
/// the sender's window waits here. Kept by the endpoints; gone when both are.
public final class EndpointBridge {
    private let near = EndpointBridgeSide()
    private let far = EndpointBridgeSide()

    /// Called once, when both are over.
    private let ended: () -> Void

    private init(ended: @escaping () -> Void) {
        self.ended = ended
        near.other = far
        far.other = near
        near.bridge = self
        far.bridge = self
    }

    deinit { ended() }

    /// Whether the endpoint is one of two that are joined.
    public static func holds(_ endpoint: Endpoint) -> Bool { endpoint.application is EndpointBridgeSide }

    /// Breaks the endpoint off, and with it the one that it is joined to; both far sides hear the code.
    public static func cut(_ endpoint: Endpoint, _ code: EndpointResetCode) {
        if holds(endpoint) { endpoint.reset(code) }
    }

    /// Takes an endpoint that the platform offers to an acceptor, and opens another one for it.
    /// - Parameters:
    ///   - ended: called once, when neither has anything to do with the other any more.
    ///   - open: opens it, with the argument as its application.
    /// - Returns: the refusal for the first one; nil where both are joined.
    public static func join(
        _ offered: Endpoint, ended: @escaping () -> Void,
        open: (any EndpointApplication) throws(PlatformError) -> Endpoint
    ) -> EndpointResetCode? {
        let bridge = EndpointBridge(ended: ended)
        // The far side's word is what the near side is to hear.
        offered.confirmsLater = true
        offered.application = bridge.near
        bridge.near.endpoint = offered
        do throws(PlatformError) {
            let opened = try open(bridge.far)
            if !opened.hasEnded { bridge.far.endpoint = opened }
            return nil
        } catch {
            bridge.near.part()
            bridge.far.part()
            return EndpointResetCode(error)
        }
    }
}

/// One endpoint of a bridge.
private final class EndpointBridgeSide: EndpointApplication {
    var endpoint: Endpoint?
    /// Kept until this side's endpoint ends.
    var other: EndpointBridgeSide?
    var bridge: EndpointBridge?
    /// Bytes that came from this side's endpoint and wait for the other's room to be called consumed.
    private var owed = 0

    func endpointOpened(_ endpoint: Endpoint) { other?.endpoint?.confirm() }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        let count = bytes.count
        guard let target = other?.endpoint else { return }
        target.send(bytes)
        if target.sendRoom > 0 { endpoint.consumed(count) } else { owed += count }
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) { other?.endpoint?.finishSending() }

    /// There is room here again: the other side's sender may go on.
    func endpointSendRoom(_ endpoint: Endpoint) { other?.settle() }

    private func settle() {
        guard owed > 0 else { return }
        let count = owed
        owed = 0
        endpoint?.consumed(count)
    }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        let target = other?.endpoint
        part()
        switch end {
        case .finished: break
        case .reset(let code): target?.reset(code)
        case .sessionTerminated: target?.reset(.sessionEnded)
        }
    }

    func part() {
        endpoint = nil
        other = nil
        bridge = nil
    }
}

extension EndpointResetCode {
    /// What a far side is told of an endpoint that could not be opened.
    public init(_ error: PlatformError) {
        switch error {
        case .unreachable: self = .unreachable
        case .limitReached: self = .limit
        case .stopped, .destroyed, .invalidState: self = .sessionEnded
        default: self = .internalError
        }
    }
}
