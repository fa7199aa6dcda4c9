// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import EventLoop
internal import Logging
internal import Primitives

/// Where nodes connect: the listeners of `listen`. What can't be opened once the relay runs is tried again and again: the
/// program that has the port may go, and the interface with the address may come.
final class NodeListeners {
    /// The addresses that are open, each with its port.
    var addresses: [TransportAddress] { open.compactMap { $0.listener.localAddress } }

    private struct Open {
        /// As the settings say it.
        let wanted: TransportAddress
        let listener: TCPListener
    }

    private let loop: EventLoop
    private let logger: Logger
    private var wanted: [TransportAddress] = []
    private var open: [Open] = []
    /// What can't be opened, and why, as it was told.
    private var told: [TransportAddress: UVError] = [:]
    private var isPaused = false

    /// All nodes may come at once, after a restart: who finds the backlog full waits a second before the kernel asks again.
    private static let backlog = 4_096

    init(loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
    }

    /// Opens all of them, or none is enough.
    /// - Parameter fallback: the port that will do where one needs a privilege; nil: none.
    func start(
        at addresses: [TransportAddress], fallback: UInt16?, delegate: any TCPListenerDelegate
    ) throws(StartFailure) {
        wanted = addresses
        var failures: [String] = []
        /// Whether all that has failed is what this host can't have, and has in the other family.
        var areMissing = true
        for address in addresses {
            do throws(UVError) {
                try listen(at: address, for: address, delegate)
            } catch {
                if let fallback, error.isPermissionDenied {
                    logger.notice(
                        "port \(address.port) needs a privilege; listening on \(fallback) instead, which invites must name",
                        metadata: ["address": "\(address.ip)"])
                    let other = TransportAddress(address.ip, port: fallback)
                    do throws(UVError) { try listen(at: other, for: address, delegate) } catch {
                        areMissing = false
                        failures.append("\(other): \(error)")
                    }
                    continue
                }
                // Without IPv6 on this host the default's second address fails, and that is no reason not to start.
                areMissing = areMissing && error.passesOver(address, among: addresses)
                failures.append("\(address): \(error)")
                told[address] = error
            }
        }
        guard failures.isEmpty || areMissing && !open.isEmpty else {
            throw StartFailure(status: .unavailable, message: "can't listen on \(failures.joined(separator: ", "))")
        }
    }

    private func listen(
        at address: TransportAddress, for wanted: TransportAddress, _ delegate: any TCPListenerDelegate
    ) throws(UVError) {
        let listener = try TCPListener(
            loop: loop, address: address, backlog: Self.backlog, readPool: loop.carrierBuffers, delegate: delegate)
        if isPaused { listener.pause() }
        open.append(Open(wanted: wanted, listener: listener))
        told[wanted] = nil
    }

    /// Opens what is new and closes what is gone; what stays is not touched.
    func apply(_ fresh: [TransportAddress], delegate: any TCPListenerDelegate) {
        wanted = fresh
        told = [:]
        openMissing(delegate: delegate)
        open.removeAll { entry in
            guard !fresh.contains(entry.wanted) else { return false }
            let address = entry.listener.localAddress ?? entry.wanted
            entry.listener.close()
            logger.notice("no longer listening for nodes", metadata: ["address": "\(address)"])
            return true
        }
    }

    /// Tries again what could not be opened; each failure is told once.
    func openMissing(delegate: any TCPListenerDelegate) {
        for address in wanted where !open.contains(where: { $0.wanted == address }) {
            do throws(UVError) {
                try listen(at: address, for: address, delegate)
                logger.notice("listening for nodes", metadata: ["address": "\(address)"])
            } catch {
                guard told.updateValue(error, forKey: address) != error else { continue }
                if error.passesOver(address, among: wanted) {
                    logger.notice("this host can't have an address", metadata: ["address": "\(address)"])
                } else {
                    logger.error(
                        "can't listen; it is tried again until it can be done",
                        metadata: ["address": "\(address)", "error": "\(error)"])
                }
            }
        }
    }

    /// Leaves connections in the kernel's backlog, or takes them again.
    func setPaused(_ paused: Bool) {
        isPaused = paused
        for entry in open { if paused { entry.listener.pause() } else { entry.listener.resume() } }
    }

    func close() {
        wanted = []
        for entry in open { entry.listener.close() }
        open = []
    }
}
