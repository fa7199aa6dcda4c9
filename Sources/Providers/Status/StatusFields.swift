// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Primitives
public import Telemetry
public import Tunneling

extension JSONWriter {
    /// What a tunnel carries now and has carried, as fields of the object that is being written.
    public mutating func tunnel(_ tunnel: Tunnel?) {
        let counters = tunnel?.counters ?? TunnelCounters()
        field("streams", tunnel?.streamCount ?? 0)
        field("streams-total", counters.streamsOpened + counters.streamsAccepted)
        field("bytes-sent", counters.streamBytesSent)
        field("bytes-received", counters.streamBytesReceived)
        field("datagrams-sent", counters.datagramsSent)
        field("datagrams-received", counters.datagramsReceived)
        field("datagrams-dropped", tunnel?.droppedDatagrams ?? 0)
        if let roundTrip = tunnel?.roundTripTime { field("round-trip-ms", roundTrip.inSeconds * 1_000) }
    }

    /// How a session ended, as an object.
    public mutating func termination(_ record: TerminationRecord, now: Instant) {
        object { json in
            json.field("name", record.name)
            json.field("reason", record.reason.identifier)
            json.field("message", record.message)
            json.field("advice", record.reason.advice)
            json.field("seconds-ago", (now - record.at).inSeconds)
            if let active = record.activeFor { json.field("active-seconds", active.inSeconds) }
        }
    }
}

extension TerminationRecord {
    /// How a session ended, for people.
    public func line(now: Instant) -> String {
        "\(Int((now - at).inSeconds)) s ago: the session of \(name) ended, \(reason): \(message)"
    }
}

extension SessionTerminationReason {
    /// The reason's name as programs read it.
    public var identifier: String {
        switch self {
        case .providerRequest: "providerRequest"
        case .platformShutdown: "platformShutdown"
        case .providerTimeout: "providerTimeout"
        case .providerOtherFailure: "providerOtherFailure"
        case .otherCommunicationError: "otherCommunicationError"
        }
    }
}

extension Tunnel {
    /// What it carries and has carried, in a line for people.
    public var summary: String {
        var parts = ["\(streamCount) \(streamCount == 1 ? "stream" : "streams")"]
        parts.append("sent \(byteCount(counters.streamBytesSent)), received \(byteCount(counters.streamBytesReceived))")
        let datagrams = counters.datagramsSent + counters.datagramsReceived
        if datagrams > 0 { parts.append("\(datagrams) datagrams") }
        if droppedDatagrams > 0 { parts.append("\(droppedDatagrams) dropped") }
        if let roundTripTime { parts.append("round trip \((roundTripTime.inSeconds * 10_000).rounded() / 10) ms") }
        return parts.joined(separator: ", ")
    }
}

/// Bytes in the unit that leaves three digits or fewer before the point.
private func byteCount(_ bytes: UInt64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1_000, unit < units.count - 1 {
        value /= 1_000
        unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(units[unit])"
}
