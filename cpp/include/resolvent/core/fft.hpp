#pragma once

#include <memory>
#include <string>

#include "resolvent/core/types.hpp"

/// Fast Fourier transforms by FFTW, planned once per length and precision.
///
/// Plans are made by FFTW's estimate, not by timing, so that the same length has the same plan, and
/// the same bits, in every run. Plans are kept for the life of the process; making one is
/// serialised, executing one is not, so transforms may run on any number of threads.
///
/// All pointers must be aligned as memory of Eigen is (`Vector<T>`): unaligned transforms are
/// slower by a third.
namespace resolvent {

/// The smallest n ≥ size of the form 2^a 3^b 5^c 7^d: lengths whose transforms are fast. For real
/// transforms n is even.
Index fast_length(Index size, bool real);

/// The library's name and version.
std::string fft_library();

template <class T>
struct FftPlan;

/// X_k = Σ_j x_j e^{−2πijk/n} of real x for k = 0 … n/2, and back.
template <class T>
class RealFft {
 public:
  /// Throws `InvalidArgument` unless 1 ≤ length < 2³¹.
  explicit RealFft(Index length);

  Index length() const { return length_; }
  Index bins() const { return length_ / 2 + 1; }

  /// `spectrum` has bins() entries. `signal` is kept.
  void forward(const T* signal, std::complex<T>* spectrum) const;

  /// length() times the inverse. `spectrum` is overwritten.
  void backward(std::complex<T>* spectrum, T* signal) const;

 private:
  Index length_;
  std::shared_ptr<const FftPlan<T>> forward_;
  std::shared_ptr<const FftPlan<T>> backward_;
};

/// X_k = Σ_j x_j e^{−2πijk/n} of `count` rows of complex x, and back, without the factor 1/n.
template <class T>
class ComplexFft {
 public:
  /// Rows lie one after the other. Throws `InvalidArgument` unless 1 ≤ length < 2³¹.
  explicit ComplexFft(Index length, Index count = 1);

  Index length() const { return length_; }

  /// `in` is kept and differs from `out`.
  void forward(const std::complex<T>* in, std::complex<T>* out) const;
  void backward(const std::complex<T>* in, std::complex<T>* out) const;

 private:
  Index length_;
  std::shared_ptr<const FftPlan<T>> forward_;
  std::shared_ptr<const FftPlan<T>> backward_;
};

extern template class RealFft<float>;
extern template class RealFft<double>;
extern template class ComplexFft<float>;
extern template class ComplexFft<double>;

}  // namespace resolvent
