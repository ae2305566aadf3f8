// SPDX-License-Identifier: BSD-3-Clause
//
// A simulated accelerator for machines without a real one. Its memory and arithmetic are
// the CPU's, and so are its results. What a real accelerator refuses, it refuses:
// operands of two devices, and generators of another device. It counts operators and
// waits, for which the host would stand still until the accelerator has caught up.
//
// It knows no streams, no pinned memory and no fused optimizers.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kType, 0);

std::atomic<int64_t> n_operators{0}, n_waits{0};
// Whether the thread is within an operator, whose own copies are no waits.
thread_local bool is_within = false;

void wait() {
  if (!is_within) n_waits++;
}

struct Within {
  Within() { is_within = true; }
  ~Within() { is_within = false; }
};

// -- one device, one stream --------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr auto static_type = kType;
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

// -- memory: the CPU's, under another name -----------------------------------------

struct Memory final : at::Allocator {
  at::DataPtr allocate(size_t n_bytes) override {
    void* data = n_bytes ? std::malloc(n_bytes) : nullptr;
    return {data, data, &std::free, kDevice};
  }
  at::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* target, const void* source, size_t n_bytes) const override {
    std::memcpy(target, source, n_bytes);
  }
};
Memory memory;
REGISTER_ALLOCATOR(kType, &memory);

at::Tensor empty(
    c10::IntArrayRef size,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>,
    std::optional<at::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_generic(size, &memory, keys, type, format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size,
    c10::IntArrayRef stride,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_strided_generic(size, stride, &memory, keys, type);
}

const at::Tensor& resize_(
    const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  const auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  const auto n_values = c10::multiply_integers(sizes) + self.storage_offset();
  const size_t n_bytes = n_values * self.dtype().itemsize();
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (storage->nbytes() < n_bytes) {
    auto data = memory.allocate(n_bytes);
    if (storage->nbytes()) std::memcpy(data.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(n_bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}

at::Tensor& set_(
    at::Tensor& self,
    at::Storage source,
    c10::SymInt offset,
    c10::SymIntArrayRef size,
    c10::SymIntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_storage_offset(offset.expect_int());
  const auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  if (stride.empty()) impl->set_sizes_contiguous(sizes);
  else impl->set_sizes_and_strides(sizes, C10_AS_INTARRAYREF_SLOW(stride));
  return self;
}

at::Tensor& set_whole_(at::Tensor& self, at::Storage source) {
  const int64_t n_values = source.nbytes() / self.dtype().itemsize();
  return set_(self, std::move(source), 0, {n_values}, {});
}

// Return a tensor of the CPU in the memory of a tensor of the device.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.is_privateuseone()) return tensor;
  const auto& storage = tensor.storage();
  const int64_t n_values = storage.nbytes() / tensor.dtype().itemsize();
  auto options = at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU);
  auto whole = at::from_blob(storage.mutable_data(), {n_values}, options);
  return whole.as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& target, bool is_async) {
  if (self.device() != target.device() && !is_async) wait();
  on_cpu(target).copy_(on_cpu(self));
  return target;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& target) {
  target.resize_(self.sizes());
  return copy_from(self, target, false);
}

at::Scalar item(const at::Tensor& self) {
  wait();
  return on_cpu(self).item();
}

// -- random numbers: those of the CPU from the same seed ---------------------------

struct Generator final : at::CPUGeneratorImpl {
  Generator() {
    device_ = kDevice;
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>();
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const at::Generator generator = at::make_generator<Generator>();
    return generator;
  }
};
const bool has_hooks = (at::RegisterPrivateUse1HooksInterface(new Hooks()), true);

// -- operators: checked, counted, and computed by the CPU --------------------------

// Operators whose results have as many values as the data decide.
const std::set<std::string> of_unknown_size{
    "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::bincount", "aten::repeat_interleave"};
const std::set<std::string> by_mask{
    "aten::index", "aten::index_put_", "aten::_index_put_impl_"};

template <typename See>
void for_each_tensor(const c10::IValue& value, const See& see) {
  if (value.isTensor() && value.toTensor().defined()) see(value.toTensor());
  if (value.isList())
    for (const c10::IValue& item : value.toListRef()) for_each_tensor(item, see);
}

bool makes_wait(const c10::FunctionSchema& schema, bool has_mask) {
  if (of_unknown_size.count(schema.name())) return true;
  if (has_mask && by_mask.count(schema.name())) return true;
  for (const auto& result : schema.returns())  // a number for the host
    if (result.type()->kind() == c10::TypeKind::BoolType) return true;
  return false;
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto n_arguments = schema.arguments().size();
  const auto first = stack->size() - n_arguments;
  bool has_mask = false, of_device = false;
  std::string elsewhere;
  at::Generator given, used;
  for (size_t i = 0; i < n_arguments; i++) {
    const c10::IValue value = (*stack)[first + i];
    for_each_tensor(value, [&](const at::Tensor& tensor) {
      has_mask |= tensor.scalar_type() == at::kBool;
      of_device |= tensor.is_privateuseone();
      // Single numbers of the CPU are arguments of a kernel, as on real devices.
      if (tensor.is_cpu() && tensor.dim()) elsewhere = schema.arguments()[i].name();
    });
    if (value.isGenerator() && value.toGenerator().defined()) {
      given = value.toGenerator();
      TORCH_CHECK(
          given.device() == kDevice, "Expected a generator of the simulated device in ",
          schema.operator_name(), ", got one of ", given.device());
      used = at::make_generator<at::CPUGeneratorImpl>();
      used.set_state(given.get_state());
      (*stack)[first + i] = used;
    }
  }
  TORCH_CHECK(
      elsewhere.empty() || !of_device, "Expected all tensors on the simulated device in ",
      schema.operator_name(), ", got '", elsewhere, "' on the CPU");
  n_operators++;
  if (makes_wait(schema, has_mask)) wait();
  Within within;
  at::native::cpu_fallback(op, stack);
  if (given.defined()) given.set_state(used.get_state());
}

// The fallback computes on copies, and copies back what the schema calls changed. It does
// not say so of the running statistics.
std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm(
    const at::Tensor& input,
    const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias,
    const std::optional<at::Tensor>& mean,
    const std::optional<at::Tensor>& variance,
    bool training,
    double momentum,
    double eps) {
  const auto moved = [](const std::optional<at::Tensor>& tensor) {
    if (!tensor || !tensor->defined()) return tensor;
    TORCH_CHECK(tensor->is_privateuseone(), "Expected all tensors on the simulated device");
    return std::optional<at::Tensor>(on_cpu(*tensor));
  };
  n_operators++;
  Within within;
  const auto [output, batch_mean, inverse] = at::native_batch_norm(
      on_cpu(input), moved(weight), moved(bias), moved(mean), moved(variance), training,
      momentum, eps);
  return {output.to(kDevice), batch_mean.to(kDevice), inverse.to(kDevice)};
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("resize_", &resize_);
  m.impl("set_.source_Storage", &set_whole_);
  m.impl("set_.source_Storage_storage_offset", &set_);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &item);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("native_batch_norm", &batch_norm);
}

}  // namespace

extern "C" int64_t count_operators() { return n_operators; }
extern "C" int64_t count_waits() { return n_waits; }
