// SPDX-License-Identifier: Apache-2.0

// The smallest provider in C++: an instance that is an object. It registers with the running agent, waits until its session is
// active, and goes.

#include <cpnatfwt.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>

namespace {

class Instance {
public:
    Instance() {
        CPNATFWT_PROVIDER_CALLBACKS callbacks{};
        callbacks.addTransportId = add;
        callbacks.reachTransportId = reach;
        callbacks.sendBuffers = send;
        callbacks.transitionActive = active;
        callbacks.establishSession = [](CPNATFWT_PROVIDER_INSTANCE, PVOID) {};
        callbacks.terminateSession = [](CPNATFWT_PROVIDER_INSTANCE, PVOID, CPNATFWT_SESSION_TERMINATION_REASON) {};
        result = CPNatfwtCreateProviderInstance(CPNATFWT_VERSION_1, &callbacks, this, 0, &handle);
        if (SUCCEEDED(result)) result = CPNatfwtRegisterProviderInstance(handle, nullptr, nullptr, 0, nullptr);
    }

    ~Instance() {
        if (SUCCEEDED(result)) CPNatfwtDeregisterProviderInstance(handle);
        CPNatfwtDestroyProviderInstance(handle);
    }

    Instance(const Instance &) = delete;
    Instance &operator=(const Instance &) = delete;

    HRESULT waitUntilActive() {
        std::unique_lock<std::mutex> locked(lock);
        if (SUCCEEDED(result)) changed.wait(locked, [this] { return isActive; });
        return result;
    }

private:
    static HRESULT add(
        CPNATFWT_PROVIDER_INSTANCE, PVOID, CPNATFWT_TRANSPORT_ID *, PVOID, CPNATFWT_PLATFORM_COMPLETION_ROUTINE) {
        return S_OK;
    }

    static HRESULT reach(
        CPNATFWT_PROVIDER_INSTANCE, PVOID, CPNATFWT_TRANSPORT_ID *, PVOID, CPNATFWT_PLATFORM_COMPLETION_ROUTINE) {
        return CPNATFWT_E_UNREACHABLE;
    }

    static HRESULT send(
        CPNATFWT_PROVIDER_INSTANCE, PVOID, CPNATFWT_TRANSPORT_ID *, CPNATFWT_TRANSPORT_ID *, UINT64, CPNATFWT_BUFFER *, PVOID,
        CPNATFWT_PLATFORM_COMPLETION_ROUTINE) {
        return S_OK;
    }

    static HRESULT active(CPNATFWT_PROVIDER_INSTANCE, PVOID user, PVOID, CPNATFWT_PLATFORM_COMPLETION_ROUTINE) {
        auto *self = static_cast<Instance *>(user);
        std::lock_guard<std::mutex> locked(self->lock);
        self->isActive = true;
        self->changed.notify_all();
        return S_OK;
    }

    CPNATFWT_PROVIDER_INSTANCE handle = nullptr;
    HRESULT result = E_FAIL;
    std::mutex lock;
    std::condition_variable changed;
    bool isActive = false;
};

} // namespace

int main() {
    Instance instance;
    HRESULT result = instance.waitUntilActive();
    std::printf("%s\n", SUCCEEDED(result) ? "active" : "not registered");
    return SUCCEEDED(result) ? 0 : 1;
}
