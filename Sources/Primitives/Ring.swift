// SPDX-License-Identifier: Apache-2.0

/// A queue that grows by doubling. Its elements may be non-copyable.
///
/// While it is empty it holds no more memory than it was told to keep: next to none for the many, some for those that fill
/// and empty again all the time.
public struct Ring<Element: ~Copyable>: ~Copyable {
    private var storage: UnsafeMutablePointer<Element>?
    private var capacity = 0
    private var head = 0
    public private(set) var count = 0
    private let kept: Int

    /// - Parameter kept: elements for which memory is kept while it is empty.
    public init(keeping kept: Int = 4) { self.kept = kept }

    deinit {
        guard let storage else { return }
        for offset in 0..<count { (storage + (head + offset) & (capacity - 1)).deinitialize(count: 1) }
        storage.deallocate()
    }

    public var isEmpty: Bool { count == 0 }

    public mutating func append(_ element: consuming Element) {
        if count == capacity { grow() }
        guard let storage else { return }
        (storage + (head + count) & (capacity - 1)).initialize(to: element)
        count += 1
    }

    /// Takes the oldest element out. The memory goes with the last one.
    public mutating func popFirst() -> Element? {
        guard let storage, count > 0 else { return nil }
        let element = (storage + head).move()
        head = (head + 1) & (capacity - 1)
        count -= 1
        if count == 0, capacity > kept { release() }
        return element
    }

    /// Drops everything and its memory.
    public mutating func removeAll() {
        while popFirst() != nil {}
        release()
    }

    /// Gives the memory back where nothing is in it.
    public mutating func releaseIfEmpty() {
        if count == 0 { release() }
    }

    /// Reads the element `offset` places behind the oldest.
    public func withElement<R>(_ offset: Int, _ body: (borrowing Element) -> R) -> R {
        body(pointer(offset).pointee)
    }

    /// Changes the element `offset` places behind the oldest.
    public mutating func withMutableElement<R>(_ offset: Int, _ body: (inout Element) -> R) -> R {
        body(&pointer(offset).pointee)
    }

    private func pointer(_ offset: Int) -> UnsafeMutablePointer<Element> {
        guard let storage, offset >= 0, offset < count else { preconditionFailure("no element \(offset) of \(count)") }
        return storage + (head + offset) & (capacity - 1)
    }

    private mutating func grow() {
        let wider = UnsafeMutablePointer<Element>.allocate(capacity: max(4, capacity * 2))
        if let storage {
            for offset in 0..<count {
                (wider + offset).moveInitialize(from: storage + (head + offset) & (capacity - 1), count: 1)
            }
            storage.deallocate()
        }
        storage = wider
        capacity = max(4, capacity * 2)
        head = 0
    }

    private mutating func release() {
        storage?.deallocate()
        storage = nil
        capacity = 0
        head = 0
    }
}
