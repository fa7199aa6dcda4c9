// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// The architecture as data: a module, and what it may know. A module stands above everything it names;
/// nothing lower ever names something higher. `TidyTests` holds the imports in Sources/ against this table.
let modules: [(name: String, knows: [String])] = [
    // Ground
    ("Primitives", []),
    ("Cryptography", ["COpenSSL", "Primitives"]),
    // Mechanisms
    ("EventLoop", ["CUV", "CLinux", "Primitives"]),
    ("TLS", ["CIPsecMB", "COpenSSL", "Cryptography", "Primitives"]),
    ("Identity", ["Cryptography", "Primitives"]),
    ("Telemetry", ["Logging", "Primitives"]),
    // Protocols: no I/O
    ("Tunneling", ["Primitives"]),
    ("Proxying", ["Primitives"]),
    // The platform
    ("ConnectivityPlatform", ["Primitives"]),
    // Who may do what, and what was asked for
    ("Registry", ["CSQLite", "Cryptography", "Identity", "Primitives"]),
    ("Settings", ["TOMLKit", "Identity", "Primitives"]),
    // Ways in and ways out
    (
        "Providers",
        [
            "ConnectivityPlatform", "EventLoop", "Identity", "Logging", "Primitives", "TLS", "Telemetry",
            "Tunneling",
        ]
    ),
    (
        "Redirection",
        ["ConnectivityPlatform", "EventLoop", "Logging", "Primitives", "Proxying", "Telemetry"]
    ),
    // What the programs have in common: how a running one is asked about itself, how one fails to start
    ("Administration", ["Cryptography", "EventLoop", "Identity", "Logging", "Primitives", "Settings", "Telemetry"]),
    // Programs
    (
        "Agent",
        [
            "Administration", "ConnectivityPlatform", "Cryptography", "EventLoop", "Identity", "Logging", "Primitives",
            "Providers", "Proxying", "Redirection", "Settings", "TLS", "Telemetry", "Tunneling",
        ]
    ),
    (
        "RelayServer",
        [
            "Administration", "ConnectivityPlatform", "Cryptography", "EventLoop", "Identity", "Logging", "Primitives",
            "Providers",
            "Redirection", "Registry", "Settings", "TLS", "Telemetry", "Tunneling",
        ]
    ),
]

/// The modules in which pointers and C calls may appear; everywhere else the compiler forbids them.
let mayBeUnsafe: Set<String> = ["Primitives", "Cryptography", "EventLoop", "TLS", "Registry"]

/// What a name in the table stands for: a product of a package, or a target of this one.
func dependency(_ name: String) -> Target.Dependency {
    switch name {
    case "Logging": .product(name: "Logging", package: "swift-log")
    case "TOMLKit": .product(name: "TOMLKit", package: "TOMLKit")
    case "ArgumentParser": .product(name: "ArgumentParser", package: "swift-argument-parser")
    default: .byName(name: name)
    }
}

/// Warnings are errors. Exclusivity is proven by the debug build and the tests; the release build does not check it
/// again at every access, which halves the instructions of a small request. Bounds and overflow checks stay on.
func settings(for module: String) -> [SwiftSetting] {
    var settings: [SwiftSetting] = [
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("ExistentialAny"),
        .enableExperimentalFeature("Lifetimes"),
        .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
    ]
    if !mayBeUnsafe.contains(module) { settings.append(.strictMemorySafety()) }
    return settings
}

let testSettings: [SwiftSetting] = [.treatAllWarnings(as: .error), .enableExperimentalFeature("Lifetimes")]

let package = Package(
    name: "natfwt",
    products: [
        .executable(name: "natfwt", targets: ["natfwt"]),
        .library(name: "ConnectivityPlatform", targets: ["ConnectivityPlatform"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CUV", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "CLinux"),
        .target(name: "CIPsecMB"),
        .executableTarget(
            name: "natfwt",
            dependencies: [
                "Administration", "Agent", "Cryptography", "EventLoop", "Identity", "Primitives", "Providers",
                "Registry",
                "RelayServer", "Settings", "Telemetry",
            ].map(
                dependency)
                + [dependency("ArgumentParser"), dependency("Logging")],
            swiftSettings: settings(for: "natfwt")
        ),
        .target(
            name: "TestSupport",
            dependencies: [
                "ConnectivityPlatform", "EventLoop", "Identity", "Logging", "Primitives", "Providers", "TLS",
                "Telemetry",
                "Tunneling",
            ].map(dependency),
            path: "Tests/TestSupport",
            swiftSettings: testSettings
        ),
    ]
        + modules.map { module in
            .target(
                name: module.name, dependencies: module.knows.map(dependency), swiftSettings: settings(for: module.name)
            )
        }
        + modules.map { module in
            .testTarget(
                name: "\(module.name)Tests",
                dependencies: [.byName(name: module.name), "TestSupport"] + module.knows.map(dependency),
                swiftSettings: testSettings
            )
        }
        + [
            // The real programs in network namespaces, with real NATs between them.
            .testTarget(
                name: "NetworkTests", dependencies: ["TestSupport"], exclude: ["Support"], swiftSettings: testSettings),
            // The real programs on loopback, with all that was found to break others.
            .testTarget(
                name: "HazardTests", dependencies: ["TestSupport"], exclude: ["Support"], swiftSettings: testSettings),
            // Programs that are providers, each obligation, and faults of each kind, against the real agent.
            .testTarget(
                name: "ConformanceTests", dependencies: ["TestSupport"], exclude: ["Corpus", "Programs"],
                swiftSettings: testSettings),
            // Architecture and style as assertions.
            .testTarget(name: "TidyTests", dependencies: ["TestSupport"], swiftSettings: testSettings),
        ],
    swiftLanguageModes: [.v6]
)
