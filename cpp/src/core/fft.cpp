#include "resolvent/core/fft.hpp"

#include <fftw3.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <tuple>

#include "resolvent/core/error.hpp"

namespace resolvent {
namespace {

/// FFTW has one set of names per precision.
template <class T>
struct Fftw;

template <>
struct Fftw<double> {
  using Plan = fftw_plan;
  using Bin = fftw_complex;
  static constexpr auto plan_forward_real = &fftw_plan_dft_r2c_1d;
  static constexpr auto plan_backward_real = &fftw_plan_dft_c2r_1d;
  static constexpr auto plan_rows = &fftw_plan_many_dft;
  static constexpr auto execute_forward_real = &fftw_execute_dft_r2c;
  static constexpr auto execute_backward_real = &fftw_execute_dft_c2r;
  static constexpr auto execute_complex = &fftw_execute_dft;
  static constexpr auto destroy = &fftw_destroy_plan;
  static constexpr auto allocate = &fftw_malloc;
  static constexpr auto release = &fftw_free;
};

template <>
struct Fftw<float> {
  using Plan = fftwf_plan;
  using Bin = fftwf_complex;
  static constexpr auto plan_forward_real = &fftwf_plan_dft_r2c_1d;
  static constexpr auto plan_backward_real = &fftwf_plan_dft_c2r_1d;
  static constexpr auto plan_rows = &fftwf_plan_many_dft;
  static constexpr auto execute_forward_real = &fftwf_execute_dft_r2c;
  static constexpr auto execute_backward_real = &fftwf_execute_dft_c2r;
  static constexpr auto execute_complex = &fftwf_execute_dft;
  static constexpr auto destroy = &fftwf_destroy_plan;
  static constexpr auto allocate = &fftwf_malloc;
  static constexpr auto release = &fftwf_free;
};

template <class T>
auto bins_of(const std::complex<T>* values) {
  // The layouts agree; FFTW does not write to the input of a plan made with PRESERVE_INPUT.
  return reinterpret_cast<typename Fftw<T>::Bin*>(const_cast<std::complex<T>*>(values));
}

/// The buffers that a plan is made with and does not keep: aligned, as those must be that it is
/// executed on.
template <class T>
struct PlanningBuffer {
  explicit PlanningBuffer(Index bins)
      : data(Fftw<T>::allocate(static_cast<std::size_t>(bins) * sizeof(std::complex<T>))) {
    if (data == nullptr) throw std::bad_alloc();
  }
  PlanningBuffer(const PlanningBuffer&) = delete;
  PlanningBuffer& operator=(const PlanningBuffer&) = delete;
  ~PlanningBuffer() { Fftw<T>::release(data); }

  T* real() const { return static_cast<T*>(data); }
  typename Fftw<T>::Bin* bins() const { return static_cast<typename Fftw<T>::Bin*>(data); }

  void* data;
};

enum class Kind { forward_real, backward_real, forward_complex, backward_complex };

/// What tells two plans apart.
struct Shape {
  Kind kind;
  Index length;
  Index count;

  auto key() const { return std::tie(kind, length, count); }
  bool operator<(const Shape& other) const { return key() < other.key(); }
};

/// FFTW's planner and its tables are shared by all precisions' plans.
std::mutex& planner() {
  static std::mutex mutex;
  return mutex;
}

template <class T>
typename Fftw<T>::Plan make_plan(const Shape& shape) {
  const auto n = static_cast<int>(shape.length);
  const PlanningBuffer<T> in(shape.count * shape.length + 1);
  const PlanningBuffer<T> out(shape.count * shape.length + 1);
  constexpr unsigned kKeep = FFTW_ESTIMATE | FFTW_PRESERVE_INPUT;
  switch (shape.kind) {
    case Kind::forward_real:
      return Fftw<T>::plan_forward_real(n, in.real(), out.bins(), kKeep);
    case Kind::backward_real:
      return Fftw<T>::plan_backward_real(n, in.bins(), out.real(),
                                         FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
    default:
      return Fftw<T>::plan_rows(
          1, &n, static_cast<int>(shape.count), in.bins(), nullptr, 1, n, out.bins(), nullptr, 1, n,
          shape.kind == Kind::forward_complex ? FFTW_FORWARD : FFTW_BACKWARD, kKeep);
  }
}

}  // namespace

template <class T>
struct FftPlan {
  explicit FftPlan(const Shape& shape) : plan(make_plan<T>(shape)) {
    if (plan == nullptr) throw std::bad_alloc();
  }
  FftPlan(const FftPlan&) = delete;
  FftPlan& operator=(const FftPlan&) = delete;
  ~FftPlan() { Fftw<T>::destroy(plan); }

  typename Fftw<T>::Plan plan;
};

namespace {

template <class T>
std::shared_ptr<const FftPlan<T>> plan_for(const Shape& shape) {
  require(1 <= shape.length && shape.length < (Index{1} << 31),
          "length of a transform must be at least 1 and below 2^31, got ", shape.length);
  const std::lock_guard<std::mutex> guard(planner());
  // Never destroyed: at exit other threads may still hold plans.
  static auto& plans = *new std::map<Shape, std::shared_ptr<const FftPlan<T>>>();
  std::shared_ptr<const FftPlan<T>>& kept = plans[shape];
  if (!kept) kept = std::make_shared<const FftPlan<T>>(shape);
  return kept;
}

}  // namespace

std::string fft_library() { return fftw_version; }

Index fast_length(Index size, bool real) {
  Index n = real ? size + size % 2 : size;
  for (;; n += real ? 2 : 1) {
    Index rest = n;
    for (const Index p : {2, 3, 5, 7}) {
      while (rest > 1 && rest % p == 0) rest /= p;
    }
    if (rest <= 1) return std::max<Index>(n, real ? 2 : 1);
  }
}

template <class T>
RealFft<T>::RealFft(Index length)
    : length_(length),
      forward_(plan_for<T>({Kind::forward_real, length, 1})),
      backward_(plan_for<T>({Kind::backward_real, length, 1})) {}

template <class T>
void RealFft<T>::forward(const T* signal, std::complex<T>* spectrum) const {
  Fftw<T>::execute_forward_real(forward_->plan, const_cast<T*>(signal), bins_of(spectrum));
}

template <class T>
void RealFft<T>::backward(std::complex<T>* spectrum, T* signal) const {
  Fftw<T>::execute_backward_real(backward_->plan, bins_of(spectrum), signal);
}

template <class T>
ComplexFft<T>::ComplexFft(Index length, Index count)
    : length_(length),
      forward_(plan_for<T>({Kind::forward_complex, length, count})),
      backward_(plan_for<T>({Kind::backward_complex, length, count})) {}

template <class T>
void ComplexFft<T>::forward(const std::complex<T>* in, std::complex<T>* out) const {
  Fftw<T>::execute_complex(forward_->plan, bins_of(in), bins_of(out));
}

template <class T>
void ComplexFft<T>::backward(const std::complex<T>* in, std::complex<T>* out) const {
  Fftw<T>::execute_complex(backward_->plan, bins_of(in), bins_of(out));
}

template class RealFft<float>;
template class RealFft<double>;
template class ComplexFft<float>;
template class ComplexFft<double>;

}  // namespace resolvent
