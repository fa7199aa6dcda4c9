// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     office: real client ─▶ a way in ─▶ agent ══ NAT ══ relay ══ NAT ══ agent ─▶ real server at home
    ///
    /// Each program of `MatrixPrograms` on each way of `MatrixWays`. A lab a way, for all programs. What the machine
    /// lacks is told in the table; NATFWT_MATRIX=iperf3 leaves only the programs whose name has that in it.
    @Suite("Real programs, and the ways in", .serialized)
    struct MatrixTests {
        private static let table = Mutex(MatrixTable())

        private static let programs: [MatrixProgram] = {
            let wanted = ProcessInfo.processInfo.environment["NATFWT_MATRIX"]
            return MatrixProgram.all.filter { wanted.map($0.name.contains) ?? true }
        }()

        @Test("every program passes", arguments: MatrixWay.all)
        func passes(_ way: MatrixWay) async throws {
            let cells = try await cells(way)
            for (program, cell) in cells.sorted(by: { $0.key < $1.key }) {
                if case .failed(let why) = cell { Issue.record("\(program), \(way.name): \(why)") }
            }
            let text = Self.table.withLock { table in
                table.add(cells, way: way.name)
                return table.ways.count == MatrixWay.all.count ? table.text(Self.programs.map(\.name)) : nil
            }
            if let text { print("\n\(text)\n") }
        }

        private func cells(_ way: MatrixWay) async throws -> [String: MatrixCell] {
            var cells: [String: MatrixCell] = [:]
            for program in Self.programs { cells[program.name] = excuse(program, way) }
            let left = Self.programs.filter { cells[$0.name] == nil }
            guard !left.isEmpty else { return cells }
            try await Lab.run(neighbour: true) { lab in
                let servers = Dictionary(grouping: left, by: \.server.name).compactMap { $1.first?.server }
                let site = try await MatrixSite.build(lab, way, for: left)
                try await site.start(servers)
                for program in left where !program.prepares.isEmpty {
                    try await site.office.check(site.shell(program.prepares), within: .seconds(60))
                }
                let passage = try await way.open(site)
                for program in left { cells[program.name] = try await cell(program, way, passage, site) }
            }
            return cells
        }

        /// Why a program is not even tried.
        private func excuse(_ program: MatrixProgram, _ way: MatrixWay) -> MatrixCell? {
            if let lacking = (way.needs + program.needs + program.server.needs).firstMissing {
                return .skipped(lacking)
            }
            if !way.carries.contains(program.transport) {
                return .impossible("\(way.name) carries no \(program.transport.rawValue.uppercased())")
            }
            return nil
        }

        private func cell(
            _ program: MatrixProgram, _ way: MatrixWay, _ passage: MatrixPassage, _ site: MatrixSite
        ) async throws -> MatrixCell {
            var variables = ["HOST": passage.host, "PORT": "\(program.port + passage.portOffset)"]
            var text: String? = program.client
            if let proxy = passage.proxy {
                variables["PROXY"] = proxy
                text = program.throughProxy
            }
            guard let text else { return .impossible("it knows no SOCKS proxy") }
            let command = passage.prefix + site.shell("rm -f \"$FOLDER/got\"; \(text)", variables)
            let result = try await passage.machine.run(command, within: .seconds(40))
            let isRight = result.code == 0 && result.output.contains(program.proof)
            guard let reason = program.impossible[way.name] else {
                return isRight ? .passed(result.took) : .failed("\(result)")
            }
            return isRight ? .failed("it passes, which “\(reason)” says it can't") : .impossible(reason)
        }
    }
}
