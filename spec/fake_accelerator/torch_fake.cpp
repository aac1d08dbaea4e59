// An accelerator without hardware: a PrivateUse1 backend of one or several devices whose memory is the CPU's.
//
// PyTorch takes its tensors for tensors on a device of another kind than the CPU, and keeps the two apart by its
// own rules. Almost every operator is the CPU's, which is shown the same memory under the name of the CPU.
// What is done is done when a call returns, and random numbers come from the CPU's generator.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using c10::DispatchKeySet;
using c10::Storage;
constexpr auto KIND = c10::DeviceType::PrivateUse1;
constexpr auto KEYS = DispatchKeySet(c10::DispatchKey::PrivateUse1);

thread_local c10::DeviceIndex current = 0;

c10::DeviceIndex count() {
  const char* asked = std::getenv("FAKE_ACCELERATORS");
  return asked ? std::atoi(asked) : 1;
}

// Memory

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::alloc_cpu(size);
    return {data, data, &c10::free_cpu, {KIND, current}};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};
Allocator allocator;
REGISTER_ALLOCATOR(KIND, &allocator);

// Pinned memory is any memory of the CPU; it only has to be told from memory that nobody pinned.
struct Pinned final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::alloc_cpu(size);
    std::lock_guard lock(mutex());
    pointers().insert(data);
    return {data, data, &release, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
  static bool has(const void* data) {
    std::lock_guard lock(mutex());
    return pointers().count(data) > 0;
  }

 private:
  static void release(void* data) {
    std::lock_guard lock(mutex());
    pointers().erase(data);
    c10::free_cpu(data);
  }
  // never destroyed: memory may be given back after everything static is gone
  static std::mutex& mutex() { static auto* one = new std::mutex; return *one; }
  static std::set<const void*>& pointers() { static auto* all = new std::set<const void*>; return *all; }
};
Pinned pinned;

// Devices and streams

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return KIND; }
  c10::Device getDevice() const override { return {KIND, current}; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() < count(), "there is no ", device, ": FAKE_ACCELERATORS asks for ", int(count()));
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index()) current = device.index();
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    auto before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return count(); }
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const { return true; } // since PyTorch 2.7, therefore no `override`
  bool isAvailable() const { return count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return count(); }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(c10::DeviceIndex index) const override { Guard().setDevice({KIND, index}); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    return Guard().exchangeDevice({KIND, index}).index();
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return exchangeDevice(index); }
  bool isPinnedPtr(const void* data) const override { return Pinned::has(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned; }
  void resizePrivateUse1Bytes(const Storage& storage, size_t size) const override {
    auto data = allocator.allocate(size);
    std::memcpy(data.get(), storage.data(), std::min(size, storage.nbytes()));
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
    storage.unsafeGetStorageImpl()->set_nbytes(size);
  }
};

// One call of an operator of the CPU, in the place of one of ours

Tensor tensor_of(Storage storage, DispatchKeySet keys, const Tensor& like) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  if (like.is_conj()) tensor._set_conj(true);
  if (like.is_neg()) tensor._set_neg(true);
  return tensor;
}

class Call {
 public:
  // Indexing takes indices of the CPU, as it does on CUDA, and copies are made between devices.
  explicit Call(std::string name)
      : name(std::move(name)),
        may_mix(this->name == "aten::_copy_from" || this->name == "aten::index" || this->name == "aten::_index_put_impl_") {}

  // Where results belong, if no argument says so
  void on(c10::Device device) { home = device; }

  // The same memory as a tensor of the CPU. Tensors that share memory share it there, too.
  Tensor show(const Tensor& ours) {
    if (!ours.defined()) return ours;
    refuse_another_device(ours);
    if (ours.is_cpu()) return ours;
    for (auto& [mine, shown] : tensors)
      if (mine.is_same(ours)) return shown;
    auto shown = tensor_of(show(ours.storage()), DispatchKeySet(c10::DispatchKey::CPU), ours);
    tensors.emplace_back(ours, shown);
    return shown;
  }

  // A result, on our device: one of the arguments, a view of one, or new memory, which is taken over as it is
  Tensor take(const Tensor& result) {
    if (!result.defined()) return result;
    for (auto& [mine, shown] : tensors)
      if (shown.is_same(result)) return mine;
    return tensor_of(take(result.storage()), KEYS, result);
  }

  // What the operator did to the memory and to the shape of its arguments, done to ours
  void finish() {
    for (auto& [mine, theirs] : storages) {
      if (mine.data() == theirs.data() && mine.nbytes() == theirs.nbytes()) continue;
      mine.unsafeGetStorageImpl()->set_data_ptr_noswap(taken_over(theirs));
      mine.unsafeGetStorageImpl()->set_nbytes(theirs.nbytes());
    }
    for (auto& [mine, shown] : tensors) {
      auto storage = take(shown.storage());
      if (!storage.is_alias_of(mine.storage())) mine.unsafeGetTensorImpl()->set_storage_keep_dtype(storage);
      if (mine.sizes() != shown.sizes() || mine.strides() != shown.strides() ||
          mine.storage_offset() != shown.storage_offset())
        mine.unsafeGetTensorImpl()->set_sizes_and_strides(shown.sizes(), shown.strides(), shown.storage_offset());
    }
  }

 private:
  std::string name;
  bool may_mix;
  std::optional<c10::Device> first;
  c10::Device home{KIND, current};
  std::vector<std::pair<Tensor, Tensor>> tensors; // ours, and as the CPU sees it
  std::vector<std::pair<Storage, Storage>> storages;

  void refuse_another_device(const Tensor& tensor) {
    if (!tensor.is_cpu()) home = tensor.device();
    if (may_mix || (tensor.is_cpu() && tensor.dim() == 0)) return; // a number is at home anywhere
    if (!first) first = tensor.device();
    TORCH_CHECK(
        tensor.device() == *first, "Expected all tensors to be on the same device, but found at least two devices, ",
        *first, " and ", tensor.device(), "! (in ", name, ")");
  }

  Storage show(const Storage& ours) {
    for (auto& [mine, shown] : storages)
      if (mine.is_alias_of(ours)) return shown;
    c10::DataPtr data(ours.mutable_data(), c10::kCPU);
    Storage shown(Storage::use_byte_size_t(), ours.nbytes(), std::move(data), c10::GetCPUAllocator(), true);
    storages.emplace_back(ours, shown);
    return shown;
  }

  Storage take(const Storage& theirs) {
    for (auto& [mine, shown] : storages)
      if (shown.is_alias_of(theirs)) return mine;
    Storage taken(Storage::use_byte_size_t(), theirs.nbytes(), taken_over(theirs), &allocator, true);
    storages.emplace_back(taken, theirs);
    return taken;
  }

  c10::DataPtr taken_over(const Storage& theirs) {
    auto* owner = new Storage(theirs);
    return {owner->mutable_data(), owner, [](void* storage) { delete static_cast<Storage*>(storage); }, home};
  }
};

template <typename Replace>
void replace_tensors(c10::IValue& value, const Replace& replaced) {
  if (value.isTensor()) {
    value = replaced(value.toTensor());
  } else if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor& tensor : value.toTensorList()) list.push_back(replaced(tensor));
    value = list;
  } else if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (std::optional<Tensor> tensor : value.toOptionalTensorList())
      list.push_back(tensor ? std::optional(replaced(*tensor)) : tensor);
    value = list;
  }
}

void on_cpu(const c10::OperatorHandle& op, DispatchKeySet, torch::jit::Stack* stack) {
  Call call(op.schema().name());
  for (auto i = stack->size() - op.schema().arguments().size(); i < stack->size(); i++) {
    auto& argument = (*stack)[i];
    if (argument.isDevice()) {
      call.on(argument.toDevice());
      argument = c10::Device(c10::kCPU);
    }
    replace_tensors(argument, [&](const Tensor& tensor) { return call.show(tensor); });
  }
  op.redispatchBoxed(DispatchKeySet(c10::DispatchKey::CPU), stack);
  call.finish();
  for (auto i = stack->size() - op.schema().returns().size(); i < stack->size(); i++)
    replace_tensors((*stack)[i], [&](const Tensor& tensor) { return call.take(tensor); });
}

// The operators that need more than that

Tensor empty(
    at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, &allocator, KEYS, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(
    at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(size, stride, &allocator, KEYS, c10::dtype_or_default(dtype));
}

// The one place where devices meet
Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  Call call("aten::_copy_from");
  call.show(to).copy_(call.show(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

Tensor& set_storage(
    Tensor& self, Storage source, c10::SymInt offset, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::cpu::set_(
      self, source, offset.expect_int(), C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}

Tensor& set_whole_storage(Tensor& self, Storage source) {
  int64_t size = source.nbytes() / self.itemsize(), stride = 1;
  return at::cpu::set_(self, source, 0, size, stride);
}

// PyTorch asks a backend of this kind for its convolutions under names that the CPU does not answer to.
Tensor convolution(
    const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups) {
  Call call("aten::convolution");
  auto shown_bias = bias ? std::optional(call.show(*bias)) : bias;
  return call.take(at::convolution_symint(
      call.show(input), call.show(weight), shown_bias, stride, padding, dilation, transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& grad, const Tensor& input, const Tensor& weight, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups, std::array<bool, 3> mask) {
  Call call("aten::convolution_backward");
  c10::SymInt channels = transposed ? weight.sym_size(1) * groups : weight.sym_size(0);
  auto [a, b, c] = at::convolution_backward_symint(
      call.show(grad), call.show(input), call.show(weight), c10::SymIntArrayRef(&channels, 1), stride, padding,
      dilation, transposed, output_padding, groups, mask);
  return {call.take(a), call.take(b), call.take(c)};
}

// PyTorch asks an accelerator for a step of an LSTM as a whole, which the CPU does one operator after the other. So
// does this, and autograd sees each of them.
std::tuple<Tensor, Tensor, Tensor> lstm_step(
    const Tensor& from_input, const Tensor& from_hidden, const Tensor& before, const std::optional<Tensor>& input_bias,
    const std::optional<Tensor>& hidden_bias) {
  auto gates = from_input + from_hidden;
  if (input_bias && input_bias->defined()) gates = gates + *input_bias + *hidden_bias;
  auto parts = gates.chunk(4, 1);
  auto after = parts[1].sigmoid() * before + parts[0].sigmoid() * parts[2].tanh();
  return {parts[3].sigmoid() * after.tanh(), after, gates};
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("set_.source_Storage", set_whole_storage);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  // the way that leads from here to the out= of the CPU would warn of a result that is resized
  m.impl("mse_loss", torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
  m.impl("_thnn_fused_lstm_cell", lstm_step);
}

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, m) {
  m.impl("_thnn_fused_lstm_cell", lstm_step);
}

bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

} // namespace
