// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Providers
internal import Redirection
internal import Settings
internal import Telemetry
internal import Tunneling

// What `natfwt status` shows of an agent.
extension Agent {
    var statusJSON: String {
        var json = JSONWriter()
        json.object { json in
            json.field("program", "agent")
            json.field("key", key.id.description)
            json.field("transport-id", key.id.transportAddress.description)
            json.field("uptime-seconds", (loop.now - startedAt).inSeconds)
            json.key("relay")
            json.object { writeRelay(to: &$0) }
            json.key("sessions")
            json.array { json in
                for instance in platform.instances { write(instance, to: &json) }
            }
            json.key("exposed")
            json.array { json in
                for entry in exposures.entries { write(entry, to: &json) }
            }
            json.key("listeners")
            json.array { json in
                for listener in waysIn.listeners {
                    json.object { json in
                        json.field("listen", listener.addresses.map(\.description).joined(separator: " "))
                        json.field("to", listener.target)
                        json.field("connections", listener.connections)
                        json.field("accepted", listener.counters.accepted)
                        json.field("failed", listener.counters.failed)
                        json.field("turned-away", listener.counters.turnedAway)
                    }
                }
            }
            json.key("not-listening")
            json.array { json in
                for failure in waysIn.failures {
                    json.object { json in
                        json.field("what", failure.what)
                        json.field("error", failure.why)
                    }
                }
            }
            if let adapter = adapter.adapter {
                json.key("adapter")
                json.object { adapter.write(to: &$0) }
            }
            json.field("serve-rules", served.rules.count)
            json.field("serve-refusals", served.refusals)
            json.field("connections", services.connections)
            json.field("flows", services.flows)
            json.field("service-failures", services.failures)
            json.key("terminations")
            json.array { json in
                for record in platform.recentTerminations { json.termination(record, now: loop.now) }
            }
        }
        return json.text + "\n"
    }

    private func write(_ instance: ProviderInstance, to json: inout JSONWriter) {
        json.object { json in
            json.field("provider", instance.name)
            json.field("state", instance.state.description)
            json.field("interface", instance.friendlyName)
            if instance.name == Agent.relayName {
                json.field("relay", relayAddress)
                json.field("name", welcome?.nodeName)
            }
            if let peer = peers.peer(of: instance) {
                json.field("path", peers.way(of: peer).word)
                json.field("address", peer.directAddress?.description)
            }
            if let since = instance.activeSince { json.field("active-seconds", (loop.now - since).inSeconds) }
            json.tunnel(tunnel(of: instance))
        }
    }

    /// Where a session leads, and over what.
    private func place(of instance: ProviderInstance) -> String {
        if instance.name == Agent.relayName { return relayAddress.map { " \($0)" } ?? "" }
        guard let peer = peers.peer(of: instance) else { return "" }
        let address = peer.directAddress.map { " (\($0))" } ?? ""
        return " \(peer.nodeName) through \(peers.way(of: peer))\(address)"
    }

    private func tunnel(of instance: ProviderInstance) -> Tunnel? {
        instance.name == Agent.relayName
            ? exposures.provider?.tunnel : peers.peer(of: instance)?.tunnel
    }

    private func write(_ entry: Exposures.Entry, to json: inout JSONWriter) {
        json.object { json in
            json.field("name", entry.exposure.name)
            json.field("protocol", entry.exposure.transport.rawValue)
            json.field("service", entry.exposure.service.description)
            switch entry.state {
            case .wanted, .asked: json.field("state", "waiting")
            case .exposed(let port):
                json.field("state", "exposed")
                json.field("port", port)
            case .refused(let why, _):
                json.field("state", "refused")
                json.field("refusal", why)
            }
        }
    }

    var statusText: String {
        var lines = ["agent \(key.id)"]
        if let notConnectedLine { lines.append(notConnectedLine) }
        for instance in platform.instances where instance.name != Agent.relayName || relay != nil {
            lines.append("provider \(instance.name)\(place(of: instance)): \(instance.state)")
            if let tunnel = tunnel(of: instance) { lines.append("  \(tunnel.summary)") }
        }
        for entry in exposures.entries {
            let what = "\(entry.exposure.transport.rawValue) \(entry.exposure.service)"
            switch entry.state {
            case .wanted, .asked: lines.append("  \(what): waiting for the relay")
            case .exposed(let port): lines.append("  \(what): exposed on the relay's port \(port)")
            case .refused(let why, _): lines.append("  \(what): refused, \(why)")
            }
        }
        for listener in waysIn.listeners {
            let place = listener.addresses.map(\.description).joined(separator: " ")
            lines.append("  \(place) → \(listener.target): \(listener.connections) connections")
        }
        lines += waysIn.failures.map { "  \($0.what): can't listen, \($0.why)" }
        if let adapter = adapter.adapter { lines += adapter.lines }
        if !served.rules.isEmpty { lines.append("  served to other nodes: \(served.rules.count) rules") }
        lines.append("connections to services: \(services.connections), UDP flows: \(services.flows)")
        lines += platform.recentTerminations.map { $0.line(now: loop.now) }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Adapter {
    /// For programs: the fields of an object.
    func write(to json: inout JSONWriter) {
        json.field("name", name)
        json.field("address", address.description)
        json.field("nodes", nodes)
        json.field("flows", flows)
        json.field("packets-sent", counters.packetsSent)
        json.field("packets-received", counters.packetsReceived)
        json.field("bytes-sent", counters.bytesSent)
        json.field("bytes-received", counters.bytesReceived)
        json.field("refused-by-kernel", refusedByKernel)
        json.key("dropped")
        json.object { json in
            for reason in PacketDrop.allCases { json.field(reason.rawValue, counters.dropped(reason)) }
        }
    }

    /// For people: what it carries, and what it does not let pass, by reason.
    var lines: [String] {
        let reasons = PacketDrop.allCases.filter { counters.dropped($0) > 0 }
        let dropped = reasons.map { "\(counters.dropped($0)) \($0.rawValue)" }.joined(separator: ", ")
        return [
            "  adapter \(name) \(address): \(nodes) nodes, \(flows) flows, "
                + "packets sent \(counters.packetsSent), received \(counters.packetsReceived)"
        ] + (dropped.isEmpty ? [] : ["    dropped: \(dropped)"])
    }
}
