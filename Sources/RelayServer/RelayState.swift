// SPDX-License-Identifier: Apache-2.0

public import Administration
public import Identity
public import Registry

/// What a relay must not lose: its key, which every node has pinned, and its registry.
public struct RelayState {
    public let key: NodeKey
    public let registry: SQLiteRegistry

    /// Opens both in a folder, and makes what is missing there. A registry with nodes whose relay has lost its key is refused:
    /// with a new one none of them would come back.
    public init(directory: String) throws(StartFailure) {
        let state = try StartFailure.configuration { try StateDirectory.prepare(directory) }
        let path = "\(state)/\(RelayServer.keyFile)"
        let old = try StartFailure.configuration { () throws(NodeKeyError) in try NodeKey.loadIfThere(path) }
        let registryPath = "\(state)/\(SQLiteRegistry.fileName)"
        let registry = try StartFailure.unavailable { try SQLiteRegistry(path: registryPath) }
        self.registry = registry
        if let old {
            key = old
            return
        }
        let nodes = try StartFailure.unavailable { try registry.nodes().count }
        guard nodes == 0 else {
            throw StartFailure(
                status: .configuration,
                message: "\(path): there is no such file, but \(registryPath) knows \(nodes) "
                    + "\(nodes == 1 ? "node" : "nodes"), and nodes come back to that key alone: put it back from a backup, or "
                    + "move the registry away and invite every node anew")
        }
        key = try StartFailure.configuration { try NodeKey.loadOrCreate(path) }
    }
}
