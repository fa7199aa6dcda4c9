// SPDX-License-Identifier: Apache-2.0

/// What the keys that both programs have may be set to.
enum TunnelBounds {
    static let queued = 1 << 20...1 << 36
    static let header = 1_024...65_536
    static let window = 16 << 10...1 << 30
    /// At least one datagram of the largest size.
    static let queue = 64 << 10...1 << 30
    static let wait = Duration.milliseconds(100)...Duration.seconds(600)
    static let idle = Duration.seconds(1)...Duration.seconds(86_400)
    static let drain = Duration.zero...Duration.seconds(86_400)
    static let backoff = Duration.milliseconds(10)...Duration.seconds(3_600)
}

extension TableReader {
    /// `datagram-queue` and `control-queue`.
    mutating func queues(_ datagrams: Int, _ control: Int) -> (datagrams: Int, control: Int) {
        (
            bytes("datagram-queue", TunnelBounds.queue, default: datagrams),
            bytes("control-queue", TunnelBounds.queue, default: control)
        )
    }

    /// `first-window` and `stream-window`; the first cannot be the larger.
    mutating func windows(_ first: Int, _ most: Int) -> (first: Int, most: Int) {
        let line = line(of: "first-window")
        let read = (
            first: bytes("first-window", TunnelBounds.window, default: first),
            most: bytes("stream-window", TunnelBounds.window, default: most)
        )
        if read.first > read.most {
            let most = ByteCountFormat.text(read.most)
            let message = "expected at most stream-window (\(most)), found \(ByteCountFormat.text(read.first))"
            problem("first-window", line: line, message)
        }
        return read
    }
}
