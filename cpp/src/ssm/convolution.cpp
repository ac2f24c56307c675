#include <algorithm>
#include <cmath>
#include <type_traits>

#include "resolvent/core/fft.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/ssm/time.hpp"

namespace resolvent::ssm {
namespace {

template <class T>
struct RealOf {
  using type = T;
};

template <class T>
struct RealOf<std::complex<T>> {
  using type = T;
};

/// A transform of whichever type the samples have, with as many bins as it needs.
template <class T>
struct Transform {
  static constexpr bool kReal = std::is_same_v<T, typename RealOf<T>::type>;
  using Real = typename RealOf<T>::type;
  using Bin = std::complex<Real>;
  using Fft = std::conditional_t<kReal, RealFft<Real>, ComplexFft<Real>>;

  explicit Transform(Index length) : fft(length) {}

  Index bins() const { return kReal ? fft.length() / 2 + 1 : fft.length(); }

  Fft fft;
};

/// Operations of a real transform of length n, forwards or backwards.
double transform_cost(Index n) {
  return 2.5 * static_cast<double>(n) * std::log2(static_cast<double>(std::max<Index>(n, 2)));
}

/// How the transforms are cut: each gives `fresh` new samples.
struct Cut {
  Index length;
  Index fresh;
};

Cut cut_of(Index samples, Index taps, bool real) {
  const Cut whole{fast_length(samples + taps - 1, real), samples};
  const Index length = fast_length(std::max<Index>(4 * taps, 4096), real);
  if (2 * length >= whole.length) return whole;
  return {length, length - taps + 1};
}

template <class T>
void direct(const T* u, Index samples, const T* kernel, Index taps, T* out,
            Checkpoint& checkpoint) {
  std::fill_n(out, samples, T(0));
  // Samples in blocks that stay in the cache; within one, a multiple of the input per tap.
  constexpr Index kBlock = 1024;
  for (Index first = 0; first < samples; first += kBlock) {
    checkpoint();
    const Index end = std::min(samples, first + kBlock);
    for (Index j = 0; j < std::min(taps, end); ++j) {
      const T tap = kernel[j];
      const Index start = std::max(first, j);
#pragma omp simd
      for (Index k = start; k < end; ++k) out[k] += tap * u[k - j];
    }
  }
}

/// Buffers of one thread's work on one row.
template <class T>
struct Workspace {
  explicit Workspace(const Transform<T>& transform)
      : signal(transform.fft.length()), spectrum(transform.bins()) {}

  Vector<T> signal;
  Vector<typename Transform<T>::Bin> spectrum;
};

template <class T>
void forward(const Transform<T>& transform, Workspace<T>& w) {
  transform.fft.forward(w.signal.data(), w.spectrum.data());
}

/// The spectrum of the kernel, with the factor 1/n of the inverse in it.
template <class T>
Vector<typename Transform<T>::Bin> kernel_spectrum(const Transform<T>& transform, Workspace<T>& w,
                                                   const T* kernel, Index taps) {
  using Real = typename Transform<T>::Real;
  w.signal.setZero();
  std::copy_n(kernel, taps, w.signal.data());
  forward(transform, w);
  return w.spectrum / static_cast<Real>(transform.fft.length());
}

template <class T>
void multiply(const Vector<std::complex<T>>& factor, Vector<std::complex<T>>& spectrum) {
  // Spelled out: std::complex's product looks after infinities.
  const auto* k = reinterpret_cast<const T*>(factor.data());
  auto* s = reinterpret_cast<T*>(spectrum.data());
#pragma omp simd
  for (Index i = 0; i < factor.size(); ++i) {
    const T re = s[2 * i] * k[2 * i] - s[2 * i + 1] * k[2 * i + 1];
    s[2 * i + 1] = s[2 * i] * k[2 * i + 1] + s[2 * i + 1] * k[2 * i];
    s[2 * i] = re;
  }
}

/// Overlap-save: block b reads the taps − 1 samples before its own and drops what wraps around.
template <class T>
void convolve_row(const Transform<T>& transform, const Cut& cut, Workspace<T>& w,
                  const Vector<typename Transform<T>::Bin>& factor, const T* u, Index samples,
                  Index taps, T* out, Checkpoint& checkpoint) {
  const Index n = transform.fft.length();
  for (Index first = 0; first < samples; first += cut.fresh) {
    checkpoint();
    const Index before = std::min(first, taps - 1);
    const Index fresh = std::min(cut.fresh, samples - first);
    const Index given = before + fresh;
    std::copy_n(u + first - before, given, w.signal.data());
    std::fill(w.signal.data() + given, w.signal.data() + n, T(0));
    forward(transform, w);
    multiply(factor, w.spectrum);
    transform.fft.backward(w.spectrum.data(), w.signal.data());
    std::copy_n(w.signal.data() + before, fresh, out + first);
  }
}

}  // namespace

template <class T>
void convolve(ConstRows<T> u, ConstRows<T> kernel, ConvolutionMethod method, Rows<T> out) {
  const Index samples = u.cols();
  const Index taps = std::min(kernel.cols(), samples);
  if (taps == 0) {
    out.setZero();
    return;
  }
  const Cut cut = cut_of(samples, taps, Transform<T>::kReal);
  const double blocks = std::ceil(static_cast<double>(samples) / static_cast<double>(cut.fresh));
  const double by_fft = 3.0 * blocks * transform_cost(cut.length);
  const double by_sums = 0.5 * static_cast<double>(taps) * static_cast<double>(samples);
  const double per_row = std::min(by_fft, by_sums);
  const double work = (Transform<T>::kReal ? 1.0 : 4.0) * per_row * static_cast<double>(u.rows());
  const bool shared = kernel.rows() == 1;

  if (method == ConvolutionMethod::direct ||
      (method == ConvolutionMethod::automatic && by_sums <= by_fft)) {
    parallel_for(u.rows(), work, [&](Index h, Checkpoint& checkpoint) {
      checkpoint();
      direct(u.row(h).data(), samples, kernel.row(shared ? 0 : h).data(), taps, out.row(h).data(),
             checkpoint);
    });
    return;
  }

  const Transform<T> transform(cut.length);
  Vector<typename Transform<T>::Bin> factor;
  if (shared) {
    Workspace<T> w(transform);
    factor = kernel_spectrum(transform, w, kernel.row(0).data(), taps);
  }
  // Rows in groups, each with buffers of its own.
  const Index group = 4;
  parallel_for((u.rows() + group - 1) / group, work, [&](Index i, Checkpoint& checkpoint) {
    Workspace<T> w(transform);
    for (Index h = i * group; h < std::min(u.rows(), (i + 1) * group); ++h) {
      const Vector<typename Transform<T>::Bin> own =
          shared ? Vector<typename Transform<T>::Bin>()
                 : kernel_spectrum(transform, w, kernel.row(h).data(), taps);
      convolve_row(transform, cut, w, shared ? factor : own, u.row(h).data(), samples, taps,
                   out.row(h).data(), checkpoint);
    }
  });
}

#define RESOLVENT_INSTANTIATE(T) \
  template void convolve<T>(ConstRows<T>, ConstRows<T>, ConvolutionMethod, Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(std::complex<float>)
RESOLVENT_INSTANTIATE(std::complex<double>)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::ssm
