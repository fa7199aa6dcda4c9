// SPDX-License-Identifier: Apache-2.0

/// The instances of a platform in the order in which they are asked: lower preference first, among equals the older.
///
/// Ten thousand may end in one moment, so that none is searched for: each knows its place, a place that is left stays empty
/// until half of them are.
struct InstanceList: Sequence {
    private var places: [ProviderInstance?] = []
    private(set) var count = 0

    mutating func insert(_ instance: ProviderInstance) {
        if places.count > 16, count < places.count / 2 { renumber(places.filter { $0 != nil }) }
        count += 1
        // Places that are empty at the end are as good as none.
        while case .some(.none) = places.last { places.removeLast() }
        if let last = places.last, let last, last.preference > instance.preference {
            let index = places.lastIndex { ($0?.preference ?? .max) <= instance.preference }.map { $0 + 1 } ?? 0
            places.insert(instance, at: index)
            return renumber(places)
        }
        instance.place = places.count
        places.append(instance)
    }

    mutating func remove(_ instance: ProviderInstance) {
        guard places.indices.contains(instance.place), places[instance.place] === instance else { return }
        places[instance.place] = nil
        instance.place = -1
        count -= 1
        if count == 0 { places = [] }
    }

    private mutating func renumber(_ kept: [ProviderInstance?]) {
        places = kept
        for (index, instance) in places.enumerated() { instance?.place = index }
    }

    func makeIterator() -> AnyIterator<ProviderInstance> {
        var rest = places.makeIterator()
        return AnyIterator {
            while let place = rest.next() {
                if let place { return place }
            }
            return nil
        }
    }
}
