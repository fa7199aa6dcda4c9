// swift-tools-version: 6.1
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// A provider in Swift, in a package of its own: it needs nothing of natfwt's but the installed libcpnatfwt.
let package = Package(
    name: "SSHProvider",
    targets: [
        .systemLibrary(name: "CPNatfwt", pkgConfig: "cpnatfwt"),
        .executableTarget(name: "ssh-provider", dependencies: ["CPNatfwt"]),
    ]
)
