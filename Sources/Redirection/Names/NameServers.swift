// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
public import Primitives
internal import Proxying

/// The servers to which names go that are no node's: those that were given, or those of the host's resolver, which are read
/// again when they have changed.
public final class NameServers {
    /// Where the answerer itself is asked: not asked from here, or a question would go round.
    var own: Set<TransportAddress> = []
    private let given: [TransportAddress]?
    private var file: ChangingFile
    private var read: [TransportAddress] = []
    private var looksAgain: Instant?

    /// How long the file is not looked at.
    private static let interval: Duration = .seconds(1)

    /// - Parameters:
    ///   - given: nil for those of the file.
    ///   - file: in the form of resolv.conf(5).
    public init(_ given: [TransportAddress]? = nil, file: String = "/etc/resolv.conf") {
        self.given = given
        self.file = ChangingFile(path: file)
    }

    /// In the order in which they are to be asked. At most once a second the file is looked at.
    func current(now: Instant) -> [TransportAddress] {
        if let given { return given.filter { !own.contains($0) } }
        if looksAgain.map({ $0 <= now }) ?? true {
            looksAgain = now + NameServers.interval
            if let text = file.contentIfChanged() { read = ResolverConfiguration(text).servers }
        }
        return read.filter { !own.contains($0) }
    }
}
