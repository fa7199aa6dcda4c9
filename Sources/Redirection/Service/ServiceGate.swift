// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Primitives

/// Watches over one endpoint's way to a service, where not every address may be reached.
protocol ServiceGate: AnyObject {
    /// Whether the address may be reached. Asked with the very address that is then connected to, right before.
    func permits(_ address: TransportAddress) -> Bool
    /// Whether one more address may be tried beside others; if so, ``anotherEnded()`` follows for it.
    func takesAnother() -> Bool
    /// One less is being tried beside others.
    func anotherEnded()
    /// No address was taken, or none took it; the endpoint ends with the code.
    func failed(_ reason: String, _ code: EndpointResetCode)
    /// Nothing is looked up or connected for it any more: it is joined, or given up. Called once.
    func settled()
    /// A flow is over. Called once, perhaps before it is settled; not for a stream.
    func flowEnded()
}
