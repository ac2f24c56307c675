#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/fft.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"
#include "resolvent/rational/transfer.hpp"

namespace resolvent::rational {
namespace {

/// The smallest divisor of `length` that is at least `least`.
Index divisor_above(Index length, Index least) {
  Index best = length;
  for (Index d = 1; d * d <= length; ++d) {
    if (length % d != 0) continue;
    for (const Index divisor : {d, length / d}) {
      if (divisor >= least) best = std::min(best, divisor);
    }
  }
  return best;
}

/// e^{−2πik/L} for all k.
template <class T>
Vector<std::complex<T>> circle(Index length) {
  Vector<std::complex<T>> roots(length);
  for (Index k = 0; k < length; ++k) {
    const auto z = math::root_of_unity<double>(k, length);
    roots[k] = {static_cast<T>(z.re), static_cast<T>(z.im)};
  }
  return roots;
}

/// Transforms of length L = D·M of inputs of which only the first D entries are not 0: entry k =
/// Ma + r is entry a of the D-point transform of x_n e^{−2πinr/L}. They are left in rows r, so that
/// every transform reads and writes neighbours.
template <class T>
class PrunedFft {
 public:
  using Pair = math::ComplexPair<T>;

  PrunedFft(Index length, Index least)
      : inputs_(divisor_above(length, least)),
        rows_(length / inputs_),
        fft_(inputs_, rows_),
        twiddles_(rows_, inputs_),
        points_(rows_, inputs_) {
    const Vector<std::complex<T>> roots = circle<T>(length);
    for (Index r = 0; r < rows_; ++r) {
      for (Index n = 0; n < inputs_; ++n) {
        twiddles_(r, n) = roots[n * r];
        points_(r, n) = roots[rows_ * n + r];
      }
    }
  }

  Index inputs() const { return inputs_; }
  Index rows() const { return rows_; }

  /// z = e^{−2πik/L} of row r.
  const Pair* points(Index r) const { return reinterpret_cast<const Pair*>(points_.row(r).data()); }

  /// `scratch` and `out` have L entries.
  void operator()(const Vector<std::complex<T>>& x, Vector<std::complex<T>>& scratch,
                  Vector<std::complex<T>>& out) const {
    const auto* in = reinterpret_cast<const Pair*>(x.data());
    for (Index r = 0; r < rows_; ++r) {
      const auto* turn = reinterpret_cast<const Pair*>(twiddles_.row(r).data());
      auto* target = reinterpret_cast<Pair*>(scratch.data() + r * inputs_);
#pragma omp simd
      for (Index n = 0; n < inputs_; ++n) target[n] = in[n] * turn[n];
    }
    fft_.forward(scratch.data(), out.data());
  }

 private:
  Index inputs_;
  Index rows_;
  ComplexFft<T> fft_;
  Matrix<std::complex<T>> twiddles_;
  Matrix<std::complex<T>> points_;
};

/// The power of two that brings the larger of |b| to the size of (1, a), so that neither drowns in
/// the rounding errors of the other where they are transformed together; 1 for b = 0.
template <class T>
T common_scale(const Eigen::Ref<const Eigen::Matrix<T, 1, Eigen::Dynamic>>& b,
               const Eigen::Ref<const Eigen::Matrix<T, 1, Eigen::Dynamic>>& a) {
  const T size = b.size() > 0 ? b.cwiseAbs().maxCoeff() : T(0);
  if (!(size > T(0)) || !std::isfinite(size)) return T(1);
  const T other = std::max(T(1), a.cwiseAbs().maxCoeff());
  constexpr int kMost = std::numeric_limits<T>::max_exponent - 2;
  return std::ldexp(T(1), std::clamp(std::ilogb(other) - std::ilogb(size), -kMost, kMost));
}

/// b/(1 + za) at z from the transforms of b + i·a at z and at 1/z.
template <class T>
math::ComplexPair<T> quotient(math::ComplexPair<T> here, math::ComplexPair<T> there,
                              math::ComplexPair<T> z) {
  const math::ComplexPair<T> mirrored{there.re, -there.im};
  const math::ComplexPair<T> sum = here + mirrored;         // 2b
  const math::ComplexPair<T> difference = here - mirrored;  // 2i·a
  const math::ComplexPair<T> shifted = z * math::ComplexPair<T>{difference.im, -difference.re};
  return sum * math::reciprocal(T(2) + shifted.re, shifted.im);
}

/// The quotients of every row at the points of the upper half circle, in rows as `both`.
template <class T>
void quotients(const PrunedFft<T>& fft, const Vector<std::complex<T>>& both,
               Vector<std::complex<T>>& out) {
  using Pair = math::ComplexPair<T>;
  const Index size = fft.inputs();
  const Index half = size / 2 + 1;
  const auto* x = reinterpret_cast<const Pair*>(both.data());
  auto* q = reinterpret_cast<Pair*>(out.data());
  q[0] = quotient(x[0], x[0], fft.points(0)[0]);
  for (Index a = 1; a < half; ++a) q[a] = quotient(x[a], x[size - a], fft.points(0)[a]);
  for (Index r = 1; r < fft.rows(); ++r) {
    // L − (Ma + r) = M(D − 1 − a) + (M − r).
    const Pair* here = x + r * size;
    const Pair* there = x + (fft.rows() - r) * size;
    const Pair* z = fft.points(r);
    Pair* target = q + r * size;
#pragma omp simd
    for (Index a = 0; a < half; ++a) target[a] = quotient(here[a], there[size - 1 - a], z[a]);
  }
}

/// From rows r of entries a to entries k = Ma + r ≤ L/2, in blocks that stay in the cache.
template <class T>
void gather(const PrunedFft<T>& fft, const Vector<std::complex<T>>& rows,
            Vector<std::complex<T>>& spectrum) {
  constexpr Index kBlock = 8;
  const Index turns = fft.rows();
  const Index size = fft.inputs();
  for (Index r = 0; r < turns; r += kBlock) {
    const Index end = std::min(turns, r + kBlock);
    for (Index a = 0; a < size / 2 + 1; ++a) {
      const Index last = std::min(end, spectrum.size() - turns * a);
      for (Index s = r; s < last; ++s) spectrum[turns * a + s] = rows[s * size + a];
    }
  }
}

template <class T>
void require_finite(const Vector<std::complex<T>>& spectrum, Index length, Index channel) {
  if (spectrum.allFinite()) return;
  for (Index k = 0; k < spectrum.size(); ++k) {
    require(std::isfinite(spectrum[k].real()) && std::isfinite(spectrum[k].imag()),
            "a must have no pole at a sample point of the circle: channel ", channel,
            " has one at z = exp(-2 pi i ", k, "/", length, ")");
  }
}

}  // namespace

template <class T>
void periodic_kernel(ConstRows<T> b, ConstRows<T> a, Rows<T> out) {
  const Index length = out.cols();
  const Index order = b.cols();
  require(order <= length, "length must be at least d = ", order,
          " for the transform to hold the coefficients, got ", length);
  const PrunedFft<T> pruned(length, std::max<Index>(order, 1));
  const RealFft<T> inverse(length);
  const T share = T(1) / static_cast<T>(length);
  const double work = 60.0 * static_cast<double>(b.rows()) * static_cast<double>(length);
  constexpr Index kGroup = 8;  // channels that share their buffers
  parallel_for((b.rows() + kGroup - 1) / kGroup, work, [&](Index g, Checkpoint& checkpoint) {
    Vector<std::complex<T>> packed = Vector<std::complex<T>>::Zero(pruned.inputs());
    Vector<std::complex<T>> scratch(length);
    Vector<std::complex<T>> both(length);
    Vector<std::complex<T>> spectrum(inverse.bins());
    Vector<T> signal(length);
    for (Index h = g * kGroup; h < std::min(b.rows(), (g + 1) * kGroup); ++h) {
      checkpoint();
      const T scale = common_scale<T>(b.row(h), a.row(h));
      for (Index n = 0; n < order; ++n) packed[n] = {scale * b(h, n), a(h, n)};
      pruned(packed, scratch, both);
      quotients(pruned, both, scratch);
      gather(pruned, scratch, spectrum);
      require_finite(spectrum, length, h);
      if ((b.row(h).array() == T(0)).all()) {  // not the rounding errors of a
        out.row(h).setZero();
        continue;
      }
      inverse.backward(spectrum.data(), signal.data());
      for (Index k = 0; k < length; ++k) out(h, k) = (share * signal[k]) / scale;
    }
  });
}

// ---- recurrences --------------------------------------------------------------------------------

namespace {

/// Channels side by side. Values of all of them at one instant, or one coefficient of all of them,
/// are kLanes neighbours; complex ones are their real parts, then their imaginary parts.
constexpr Index kLanes = 8;

template <class T>
struct Lanes {
  static constexpr Index kParts = 1;
  using Real = T;
};

template <class T>
struct Lanes<std::complex<T>> {
  static constexpr Index kParts = 2;
  using Real = T;
};

template <class T>
constexpr Index kWidth = kLanes * Lanes<T>::kParts;

template <class T>
void put(typename Lanes<T>::Real* at, Index lane, T value) {
  if constexpr (Lanes<T>::kParts == 1) {
    at[lane] = value;
  } else {
    at[lane] = value.real();
    at[kLanes + lane] = value.imag();
  }
}

template <class T>
T get(const typename Lanes<T>::Real* at, Index lane) {
  if constexpr (Lanes<T>::kParts == 1) {
    return at[lane];
  } else {
    return {at[lane], at[kLanes + lane]};
  }
}

/// sum ± = Σ_{i<d} c_i·w_{−i}, c and w of all lanes; w runs backwards in time from `newest`.
template <class T>
void accumulate(const typename Lanes<T>::Real* coefficients, Index order,
                const typename Lanes<T>::Real* newest, typename Lanes<T>::Real sign,
                typename Lanes<T>::Real* sum) {
  using Real = typename Lanes<T>::Real;
  // Two partial sums: half the latency of one.
  Real even[kWidth<T>] = {};
  Real odd[kWidth<T>] = {};
  const auto add = [](const Real* c, const Real* w, Real* total) {
#pragma omp simd
    for (Index l = 0; l < kLanes; ++l) {
      if constexpr (Lanes<T>::kParts == 1) {
        total[l] += c[l] * w[l];
      } else {
        total[l] += c[l] * w[l] - c[kLanes + l] * w[kLanes + l];
        total[kLanes + l] += c[l] * w[kLanes + l] + c[kLanes + l] * w[l];
      }
    }
  };
  Index i = 0;
  for (; i + 2 <= order; i += 2) {
    add(coefficients + i * kWidth<T>, newest - i * kWidth<T>, even);
    add(coefficients + (i + 1) * kWidth<T>, newest - (i + 1) * kWidth<T>, odd);
  }
  if (i < order) add(coefficients + i * kWidth<T>, newest - i * kWidth<T>, even);
  for (Index l = 0; l < kWidth<T>; ++l) sum[l] += sign * (even[l] + odd[l]);
}

template <class T>
std::vector<typename Lanes<T>::Real> interleaved(ConstRows<T> rows, Index first, Index lanes) {
  std::vector<typename Lanes<T>::Real> out(static_cast<std::size_t>(rows.cols() * kWidth<T>));
  for (Index l = 0; l < lanes; ++l) {
    for (Index i = 0; i < rows.cols(); ++i)
      put<T>(out.data() + i * kWidth<T>, l, rows(first + l, i));
  }
  return out;
}

/// Calls body(first channel, channels) for every group of lanes.
template <class Body>
void for_lanes(Index channels, Index samples, Index order, Body&& body) {
  const double work = 4.0 * static_cast<double>(channels) * static_cast<double>(samples) *
                      static_cast<double>(order + 4);
  parallel_for((channels + kLanes - 1) / kLanes, work, [&](Index g, Checkpoint& checkpoint) {
    body(g * kLanes, std::min(kLanes, channels - g * kLanes), checkpoint);
  });
}

}  // namespace

template <class T>
void run_companion(ConstRows<T> b, ConstRows<T> a, ConstRows<T> u, Rows<T> y, Rows<T> state) {
  using Real = typename Lanes<T>::Real;
  const Index order = a.cols();
  const Index samples = u.cols();
  const Index block = std::max<Index>(1024, order);
  for_lanes(u.rows(), samples, 2 * order, [&](Index first, Index lanes, Checkpoint& checkpoint) {
    const auto from = interleaved<T>(a, first, lanes);
    const auto read = interleaved<T>(b, first, lanes);
    // w of the last d instants, then of a block of new ones.
    std::vector<Real> history(static_cast<std::size_t>((order + block) * kWidth<T>), Real(0));
    for (Index l = 0; l < lanes; ++l) {
      for (Index i = 0; i < order; ++i) {
        put<T>(history.data() + (order - 1 - i) * kWidth<T>, l, state(first + l, i));
      }
    }
    for (Index start = 0; start < samples; start += block) {
      checkpoint();
      const Index count = std::min(block, samples - start);
      for (Index k = 0; k < count; ++k) {
        Real* w = history.data() + (order + k) * kWidth<T>;
        for (Index l = 0; l < lanes; ++l) put<T>(w, l, u(first + l, start + k));
        accumulate<T>(from.data(), order, w - kWidth<T>, Real(-1), w);
        Real sum[kWidth<T>] = {};
        accumulate<T>(read.data(), order, w, Real(1), sum);
        for (Index l = 0; l < lanes; ++l) y(first + l, start + k) = get<T>(sum, l);
      }
      std::copy(history.begin() + count * kWidth<T>, history.begin() + (count + order) * kWidth<T>,
                history.begin());
    }
    for (Index l = 0; l < lanes; ++l) {
      for (Index i = 0; i < order; ++i) {
        state(first + l, i) = get<T>(history.data() + (order - 1 - i) * kWidth<T>, l);
      }
    }
  });
}

template <class T>
void series_kernel(ConstRows<T> b, ConstRows<T> a, Rows<T> out) {
  using Real = typename Lanes<T>::Real;
  const Index order = a.cols();
  const Index samples = out.cols();
  const Index block = std::max<Index>(1024, order);
  for_lanes(b.rows(), samples, order, [&](Index first, Index lanes, Checkpoint& checkpoint) {
    const auto from = interleaved<T>(a, first, lanes);
    std::vector<Real> history(static_cast<std::size_t>((order + block) * kWidth<T>), Real(0));
    for (Index start = 0; start < samples; start += block) {
      checkpoint();
      const Index count = std::min(block, samples - start);
      for (Index k = 0; k < count; ++k) {
        Real* value = history.data() + (order + k) * kWidth<T>;
        for (Index l = 0; l < lanes; ++l) {
          put<T>(value, l, start + k < order ? b(first + l, start + k) : T(0));
        }
        accumulate<T>(from.data(), order, value - kWidth<T>, Real(-1), value);
        for (Index l = 0; l < lanes; ++l) out(first + l, start + k) = get<T>(value, l);
      }
      std::copy(history.begin() + count * kWidth<T>, history.begin() + (count + order) * kWidth<T>,
                history.begin());
    }
  });
}

template void periodic_kernel<float>(ConstRows<float>, ConstRows<float>, Rows<float>);
template void periodic_kernel<double>(ConstRows<double>, ConstRows<double>, Rows<double>);

#define RESOLVENT_INSTANTIATE(T)                                       \
  template void series_kernel<T>(ConstRows<T>, ConstRows<T>, Rows<T>); \
  template void run_companion<T>(ConstRows<T>, ConstRows<T>, ConstRows<T>, Rows<T>, Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(Complex)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::rational
