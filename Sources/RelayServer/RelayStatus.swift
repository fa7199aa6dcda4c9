// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Redirection
internal import Telemetry

// What `natfwt status` shows of a relay.
extension RelayServer {
    var statusJSON: String {
        var json = JSONWriter()
        json.object { json in
            json.field("program", "relay")
            json.field("key", key.id.description)
            json.field("uptime-seconds", (loop.now - startedAt).inSeconds)
            json.key("listen")
            json.array { json in
                for address in listeners.addresses { json.string(address.description) }
            }
            json.key("joined")
            json.object { json in
                json.field("connections", nodes.joins.count)
                json.field("bytes", nodes.joins.byteCount)
            }
            json.key("egress")
            json.object { json in
                json.field("allowed", nodes.egress.policy != nil)
                json.field("connections", nodes.egress.connections)
                json.field("flows", nodes.egress.flows)
                json.field("refused", nodes.egress.refusals)
                json.field("failed", nodes.egress.failures)
            }
            json.key("nodes")
            json.array { json in
                for node in sortedNodes { write(node, to: &json) }
            }
            json.key("terminations")
            json.array { json in
                for record in platform.recentTerminations { json.termination(record, now: loop.now) }
            }
        }
        return json.text + "\n"
    }

    private var sortedNodes: [NodeTable.Node] {
        nodes.nodes.values.sorted { $0.record.name.text < $1.record.name.text }
    }

    private func write(_ node: NodeTable.Node, to json: inout JSONWriter) {
        json.object { json in
            json.field("node", node.record.name.text)
            json.field("key", node.record.id.description)
            json.field("transport-id", node.provider.remote.description)
            json.field("address", node.address?.description)
            json.field("state", node.provider.instance?.state.description)
            json.field("connected-seconds", (loop.now - node.since).inSeconds)
            json.tunnel(node.provider.tunnel)
            json.key("exposed")
            json.array { json in
                for entry in ports.ports(of: node.record.id) { write(entry, to: &json) }
            }
        }
    }

    private func write(_ entry: PortTable.Entry, to json: inout JSONWriter) {
        json.object { json in
            json.field("protocol", entry.key.transport.rawValue)
            json.field("port", entry.key.port)
            json.field("visitors", entry.port.visitors)
            json.field("accepted", entry.port.counters.accepted)
            json.field("turned-away", entry.port.counters.turnedAway)
        }
    }

    var statusText: String {
        var lines = ["relay \(key.id)"]
        lines.append("listening on \(listeners.addresses.map(\.description).joined(separator: ", "))")
        let count = nodes.nodes.count
        lines.append(count == 0 ? "no node is connected" : "\(count) \(count == 1 ? "node" : "nodes") connected:")
        for node in sortedNodes {
            let seconds = Int((loop.now - node.since).inSeconds)
            lines.append("  \(node.record.name)  from \(node.address?.description ?? "?")  for \(seconds) s")
            if let tunnel = node.provider.tunnel { lines.append("    \(tunnel.summary)") }
            for entry in ports.ports(of: node.record.id) {
                lines.append(
                    "    \(entry.key.transport.rawValue) port \(entry.key.port)  visitors: \(entry.port.visitors) now, "
                        + "\(entry.port.counters.accepted) so far")
            }
        }
        if nodes.joins.byteCount > 0 {
            lines.append(
                "joined connections of two nodes: \(nodes.joins.count) now, \(nodes.joins.byteCount) bytes so far")
        }
        if nodes.egress.policy != nil {
            lines.append(
                "out to other hosts: \(nodes.egress.connections) connections, \(nodes.egress.flows) UDP flows, "
                    + "\(nodes.egress.refusals) refused and \(nodes.egress.failures) failed so far")
        }
        lines += platform.recentTerminations.map { $0.line(now: loop.now) }
        return lines.joined(separator: "\n") + "\n"
    }
}
