// SPDX-License-Identifier: Apache-2.0

import CUV
import Glibc
public import Primitives

/// Turns names into addresses with the system's resolver, on libuv's threads.
public enum Resolver {
    /// Has at least so many names looked up at once in this process, where the environment says nothing else; libuv does
    /// two. Counts before the first lookup.
    public static func widen(to lookups: Int) {
        // Lookups get half of the threads, which are made with the first of them.
        setenv("UV_THREADPOOL_SIZE", "\(lookups * 2)", 0)
    }

    /// Calls `completion` once on the loop, never before this call returns, with the name's addresses in the order of
    /// preference that the system has put them in (RFC 6724), without duplicates. An address as the name answers itself
    /// without a thread. The loop waits for the answer, and cannot be freed before it.
    public static func resolve(
        loop: EventLoop, _ name: HostAndPort, completion: @escaping (Result<[TransportAddress], UVError>) -> Void
    ) {
        if let address = name.address {
            loop.atTurnEnd(Answer(.success([address]), completion))
            return
        }
        let resolution = Resolution(port: name.port, completion)
        let status = resolution.begin(on: loop, host: name.host)
        if status != 0 { loop.atTurnEnd(Answer(.failure(UVError(code: status)), completion)) }
    }
}

/// What is known already, told at the turn's end.
private final class Answer: TurnEndTask {
    private let result: Result<[TransportAddress], UVError>
    private let completion: (Result<[TransportAddress], UVError>) -> Void

    init(
        _ result: Result<[TransportAddress], UVError>,
        _ completion: @escaping (Result<[TransportAddress], UVError>) -> Void
    ) {
        self.result = result
        self.completion = completion
    }

    func turnEnded() { completion(result) }
}

/// One question to the system's resolver, which keeps it until it is answered.
private final class Resolution {
    private let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
    private let port: UInt16
    private let completion: (Result<[TransportAddress], UVError>) -> Void

    init(port: UInt16, _ completion: @escaping (Result<[TransportAddress], UVError>) -> Void) {
        self.port = port
        self.completion = completion
    }

    deinit { request.deallocate() }

    func begin(on loop: EventLoop, host: String) -> Int32 {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        // One answer an address, not one for each kind of socket.
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let kept = Unmanaged.passRetained(self)
        request.pointee.data = kept.toOpaque()
        let status = uv_getaddrinfo(
            loop.uv, request,
            { request, status, list in
                defer { uv_freeaddrinfo(list) }
                guard let data = request?.pointee.data else { return }
                Unmanaged<Resolution>.fromOpaque(data).takeRetainedValue().answered(status, list)
            }, host, nil, &hints)
        if status != 0 { kept.release() }
        return status
    }

    private func answered(_ status: Int32, _ list: UnsafeMutablePointer<addrinfo>?) {
        guard status == 0 else {
            completion(.failure(UVError(code: status)))
            return
        }
        var addresses: [TransportAddress] = []
        var entry = list
        while let current = entry {
            if let bytes = current.pointee.ai_addr, var address = SocketAddress.read(bytes) {
                address.port = port
                if !addresses.contains(address) { addresses.append(address) }
            }
            entry = current.pointee.ai_next
        }
        completion(.success(addresses))
    }
}
