// SPDX-License-Identifier: Apache-2.0

import Glibc
public import Primitives

/// The addresses that this host itself has.
public enum HostAddresses {
    /// Those of every interface now, without scopes. Asks the kernel each time: keep the answer for a while.
    public static func current() throws(UVError) -> Set<IPAddress> {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { throw UVError(code: -errno) }
        defer { freeifaddrs(list) }
        var addresses: Set<IPAddress> = []
        var entry = list
        while let current = entry {
            if let bytes = current.pointee.ifa_addr, let found = SocketAddress.read(bytes)?.ip {
                addresses.insert(found.family == .v4 ? found : IPAddress(v6: found.value))
            }
            entry = current.pointee.ifa_next
        }
        return addresses
    }
}
