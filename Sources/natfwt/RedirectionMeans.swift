// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser

/// How the sockets of a command are redirected.
enum RedirectionWay: String, ExpressibleByArgument {
    /// By programs in the kernel, on a control group of the command.
    case kernel
    /// By a library that is loaded into it.
    case preload
}

/// The libraries that `natfwt run` needs, as far as they are here.
struct RedirectionMeans {
    /// Is loaded into commands.
    let interposer: Result<String, StartFailure>
    /// Is loaded into this program.
    let kernel: Result<String, StartFailure>

    init() {
        interposer = RedirectionMeans.find("libnatfwt-run.so").flatMap { path in
            // The loader takes both for the end of a path.
            guard path.contains(" ") || path.contains(":") else { return .success(path) }
            return .failure(
                StartFailure(
                    status: .unavailable,
                    message: "\(path): the loader takes no library whose path has a space or a colon"))
        }
        kernel = RedirectionMeans.find("libnatfwt-kernel.so")
    }

    /// Beside this program, or where it is installed.
    private static func find(_ name: String) -> Result<String, StartFailure> {
        let folder = ProgramFile.folder(of: "/proc/self/exe")
        let places = folder.map { ["\($0)/\(name)", "\($0)/../lib/natfwt/\(name)"] } ?? []
        let all = places + ["/usr/local/lib/natfwt/\(name)", "/usr/lib/natfwt/\(name)"]
        if let path = all.first(where: DefaultPlace.exists) { return .success(path) }
        return .failure(
            StartFailure(
                status: .unavailable,
                message: "\(name) is missing: it belongs beside natfwt, or into /usr/local/lib/natfwt (deploy/install)")
        )
    }
}

extension Result where Success == String {
    /// Nil where it is not here.
    var path: String? { try? get() }
}
