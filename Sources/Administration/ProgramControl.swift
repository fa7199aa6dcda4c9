// SPDX-License-Identifier: Apache-2.0

public import EventLoop
internal import Glibc
public import Logging

/// A running program, as the host sees it.
public protocol ProgramControlDelegate: AdministrationDelegate {
    /// SIGHUP: the settings are to be read anew.
    func programReloads()
    /// SIGTERM or SIGINT, each time one comes: the first asks for a good end, the second for a quick one.
    func programStops()
}

/// How a running program is told things from outside: its signals, and the admin socket with its questions.
///
/// A socket that can't be opened does not keep the program from running: it is tried again, and told of once.
public final class ProgramControl {
    private let loop: EventLoop
    private let path: String
    private weak var delegate: (any ProgramControlDelegate)?
    private let logger: Logger
    private var server: AdministrationServer?
    private var isClosed = false
    private var hasWarned = false
    private var signals: [SignalWatcher] = []

    /// - Parameter path: the admin socket's. The folder that it lies in is made where it is missing.
    public init(loop: EventLoop, path: String, delegate: any ProgramControlDelegate, logger: Logger) {
        self.loop = loop
        self.path = path
        self.delegate = delegate
        self.logger = logger
    }

    /// Listens to signals and opens the socket.
    public func start() {
        openSocket()
        do throws(UVError) {
            for signal in [SIGTERM, SIGINT, SIGHUP] {
                signals.append(try SignalWatcher(loop: loop, signal: signal, delegate: self))
            }
        } catch {
            logger.error("signals are not handled", metadata: ["error": "\(error)"])
        }
    }

    /// Opens the socket, unless it is open or was closed for good. To be called about once a second: a program that is
    /// still draining may have held it.
    public func openSocket() {
        guard server == nil, !isClosed, let delegate else { return }
        do throws(UVError) {
            try? StateDirectory.prepareParent(of: path)
            server = try AdministrationServer(loop: loop, path: path, delegate: delegate, logger: logger)
        } catch {
            guard !hasWarned else { return }
            hasWarned = true
            logger.warning(
                "natfwt status does not work until the admin socket can be opened",
                metadata: ["path": "\(path)", "error": "\(error)"])
        }
    }

    /// Closes the socket for good, so that the next program may have it while this one drains.
    public func closeSocket() {
        isClosed = true
        server?.close()
        server = nil
    }
}

extension ProgramControl: SignalWatcherDelegate {
    public func signalReceived(_ watcher: SignalWatcher) {
        if watcher.signal == SIGHUP { delegate?.programReloads() } else { delegate?.programStops() }
    }
}
