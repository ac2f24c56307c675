#include "resolvent/probmap/products.hpp"

#include <type_traits>

#include "lanes.hpp"
#include "resolvent/math/probmap.hpp"

namespace resolvent::probmap {
namespace {

/// s as a function of p.
enum class Weight { p, support, interior, root, power, inverse_power };

template <Weight weight, class T>
T weight_of(T p, T exponent) {
  if constexpr (weight == Weight::p) return p;
  if constexpr (weight == Weight::support) return p > T(0) ? T(1) : T(0);
  if constexpr (weight == Weight::interior) return p > T(0) && p < T(1) ? T(1) : T(0);
  if constexpr (weight == Weight::root) return std::sqrt(p);
  if constexpr (weight == Weight::power) return math::power_term(p, exponent).power;
  if constexpr (weight == Weight::inverse_power) {
    return p > T(0) ? T(1) / math::power_term(p, -exponent).power : T(0);
  }
}

/// Walks over p, g and out block by block; f(p, g, out, depth). Missing entries are 0.
template <class T, class F>
void sweep_pairs(const T* p, const T* g, T* out, Index n, F&& f) {
  constexpr Index lanes = kLanes<T>;
  const Index full = n / lanes * lanes;
  for (Index i = 0; i < full; i += kDepth * lanes) {
    f(p + i, g + i, out + i, std::min(kDepth, (full - i) / lanes));
  }
  if (full == n) return;
  T last[3][lanes] = {};
  std::copy(p + full, p + n, last[0]);
  std::copy(g + full, g + n, last[1]);
  std::copy(out + full, out + n, last[2]);
  f(static_cast<const T*>(last[0]), static_cast<const T*>(last[1]), last[2], Index(1));
  std::copy_n(last[2], n - full, out + full);
}

struct Moments {
  double s = 0.0;   // Σ s
  double sg = 0.0;  // Σ s g
};

/// Σs and Σsg of every lane; s goes to `out`.
template <Weight weight, class T>
void add_moments(const T* p, const T* g, T* out, Index depth, T exponent, T* s_sums, T* sg_sums) {
  for (Index k = 0; k < depth * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T s = weight_of<weight>(p[k + l], exponent);
      out[k + l] = s;
      s_sums[l] += s;
      sg_sums[l] += s * g[k + l];
    }
  }
}

template <Weight weight, class T>
void product_row(const T* p, const T* g, Index n, T exponent, T c, T* out) {
  Moments total;
  sweep_pairs(p, g, out, n, [&](const T* pb, const T* gb, T* ob, Index depth) {
    T s[kLanes<T>] = {};
    T sg[kLanes<T>] = {};
    add_moments<weight>(pb, gb, ob, depth, exponent, s, sg);
    total.s += fold(s);
    total.sg += fold(sg);
  });
  const T mean = total.s > 0.0 ? static_cast<T>(total.sg / total.s) : T(0);
#pragma omp simd
  for (Index j = 0; j < n; ++j) out[j] = out[j] * (g[j] - mean) * c + T(0);  // no −0
}

template <Weight weight, class T>
void product_group(Group<T>& p, Group<T>& g, T exponent, const T* c) {
  T out[kShort * kLanes<T>];
  T s[kLanes<T>] = {};
  T mean[kLanes<T>] = {};
  add_moments<weight>(p.data(), g.data(), out, p.depth(), exponent, s, mean);
#pragma omp simd
  for (Index l = 0; l < kLanes<T>; ++l) mean[l] = s[l] > T(0) ? mean[l] / s[l] : T(0);
  T* into = g.data();
  for (Index k = 0; k < p.depth() * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      into[k + l] = out[k + l] * (into[k + l] - mean[l]) * c[l] + T(0);
    }
  }
}

template <Weight weight, class T>
void product(ConstRows<T> p, ConstRows<T> g, double exponent, Parameter temperature, Rows<T> out) {
  const T power = static_cast<T>(exponent);
  if (p.cols() > kShort) {
    return for_rows(p.rows(), p.cols(), [&](Index row) {
      product_row<weight>(p.row(row).data(), g.row(row).data(), p.cols(), power,
                          inverse<T>(temperature[row]), out.row(row).data());
    });
  }
  for_groups<T>(p.rows(), p.cols(), [&](Index first) {
    Group<T> values(p, first);
    Group<T> vectors(g, first);
    T c[kLanes<T>];
    for (Index l = 0; l < kLanes<T>; ++l) c[l] = inverse<T>(temperature[values.row(l)]);
    product_group<weight>(values, vectors, power, c);
    vectors.store(out);
  });
}

/// α > 2: with j the entry of the largest s and h = g − g_j, out_i = s_i h_i − (s_i/Σs) Σ s h.
template <class T>
void steep_row(const T* p, const T* g, Index n, double alpha, double temperature, T* out) {
  Index smallest = -1;
  for (Index j = 0; j < n; ++j) {
    if (p[j] > T(0) && (smallest < 0 || p[j] < p[smallest])) smallest = j;
  }
  std::fill_n(out, n, T(0));
  if (smallest < 0) return;
  const double least = static_cast<double>(p[smallest]);
  // Where s overflows it is taken relative to the largest, and the result is ±∞ or 0.
  const double largest = std::pow(least, 2.0 - alpha);
  const double unit = std::isinf(largest) ? least : 1.0;
  const auto weight = [=](T value, double relative_to) {
    return std::pow(static_cast<double>(value) / relative_to, 2.0 - alpha);
  };
  double ratios = 0.0;
  double sum = 0.0;
  for (Index j = 0; j < n; ++j) {
    if (!(p[j] > T(0))) continue;
    const double h = static_cast<double>(g[j]) - static_cast<double>(g[smallest]);
    ratios += weight(p[j], least);
    if (h != 0.0) sum += weight(p[j], unit) * h;
  }
  for (Index j = 0; j < n; ++j) {
    if (!(p[j] > T(0))) continue;
    const double h = static_cast<double>(g[j]) - static_cast<double>(g[smallest]);
    const double own = h == 0.0 ? 0.0 : weight(p[j], unit) * h;
    const double entry = own - weight(p[j], least) / ratios * sum;
    if (entry == 0.0) continue;
    out[j] = static_cast<T>((std::isinf(largest) ? largest * entry : entry) / temperature);
  }
}

/// Calls f with the weight p^{2−α} as a constant, for α from 1 to 2.
template <class F>
void with_weight(double alpha, F&& f) {
  if (alpha == 1.0) return f(std::integral_constant<Weight, Weight::p>());
  if (alpha == 1.5) return f(std::integral_constant<Weight, Weight::root>());
  if (alpha == 2.0) return f(std::integral_constant<Weight, Weight::support>());
  return f(std::integral_constant<Weight, Weight::power>());
}

/// One row of entmax, whatever its α.
template <class T>
void entmax_row(const T* p, const T* g, Index n, double alpha, double temperature, T* out) {
  if (std::isinf(alpha)) {
    std::fill_n(out, n, T(0));
  } else if (alpha > 2.0) {
    steep_row(p, g, n, alpha, temperature, out);
  } else {
    with_weight(alpha, [&](auto weight) {
      product_row<weight()>(p, g, n, static_cast<T>(2.0 - alpha), inverse<T>(temperature), out);
    });
  }
}

/// Σ s, Σ s g, Σ p g and Σ r^α of normmax in every lane, with r = p/max p and s = r^{2−α}, which
/// goes to `out`: relative to the largest p no power leaves the range of numbers for large α.
template <class T>
struct NormMoments {
  T s[kLanes<T>] = {};
  T sg[kLanes<T>] = {};
  T pg[kLanes<T>] = {};
  T powers[kLanes<T>] = {};

  /// r^α is r²/s.
  template <Weight weight, class P>
  void add(const T* p, const T* g, T* out, Index depth, P inverse_max, T exponent) {
    for (Index k = 0; k < depth * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
      for (Index l = 0; l < kLanes<T>; ++l) {
        const T r = p[k + l] * inverse_max[l];
        const T own = weight_of<weight>(r, exponent);
        out[k + l] = own;
        s[l] += own;
        sg[l] += own * g[k + l];
        pg[l] += p[k + l] * g[k + l];
        powers[l] += r > T(0) ? r * (r / own) : T(0);
      }
    }
  }
};

/// κ of the s above: (Σr^α)^{(α−1)/α} max p/(α−1).
double kappa(double powers, double largest, double alpha) {
  return std::pow(powers, (alpha - 1.0) / alpha) * largest / (alpha - 1.0);
}

/// One row of normmax: κ[s(g − ⟨p, g⟩) − p Σ s(g − ⟨p, g⟩)].
template <Weight weight, class T>
void normmax_row(const T* p, const T* g, Index n, double alpha, double temperature, T* out) {
  const T largest = maxima(p, n).overall();
  double s = 0.0, sg = 0.0, pg = 0.0, powers = 0.0;
  sweep_pairs(p, g, out, n, [&](const T* pb, const T* gb, T* ob, Index depth) {
    NormMoments<T> part;
    part.template add<weight>(pb, gb, ob, depth, Same<T>{T(1) / largest},
                              static_cast<T>(2.0 - alpha));
    s += fold(part.s);
    sg += fold(part.sg);
    pg += fold(part.pg);
    powers += fold(part.powers);
  });
  const T mean = static_cast<T>(pg);
  const T excess = static_cast<T>(sg - pg * s);
  const T scale = static_cast<T>(kappa(powers, static_cast<double>(largest), alpha) / temperature);
#pragma omp simd
  for (Index j = 0; j < n; ++j) out[j] = scale * (out[j] * (g[j] - mean) - p[j] * excess) + T(0);
}

/// The same for a group of short rows, into g.
template <Weight weight, class T>
void normmax_group(Group<T>& p, Group<T>& g, double alpha, Parameter temperature) {
  T out[kShort * kLanes<T>];
  Maxima<T> largest;
  largest.update(p.data(), p.depth());
  T inverse_max[kLanes<T>];
  for (Index l = 0; l < kLanes<T>; ++l) inverse_max[l] = T(1) / largest.value[l];
  NormMoments<T> sums;
  sums.template add<weight>(p.data(), g.data(), out, p.depth(), PerLane<T>{inverse_max},
                            static_cast<T>(2.0 - alpha));
  T scale[kLanes<T>];
  for (Index l = 0; l < kLanes<T>; ++l) {
    scale[l] = static_cast<T>(
        kappa(static_cast<double>(sums.powers[l]), static_cast<double>(largest.value[l]), alpha) /
        temperature[p.row(l)]);
    sums.sg[l] -= sums.pg[l] * sums.s[l];
  }
  const T* from = p.data();
  T* into = g.data();
  for (Index k = 0; k < p.depth() * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T own = out[k + l] * (into[k + l] - sums.pg[l]);
      into[k + l] = scale[l] * (own - from[k + l] * sums.sg[l]) + T(0);
    }
  }
}

template <Weight weight, class T>
void normmax_groups(ConstRows<T> p, ConstRows<T> g, double alpha, Parameter temperature,
                    Rows<T> out) {
  for_groups<T>(p.rows(), p.cols(), [&](Index first) {
    Group<T> values(p, first);
    Group<T> vectors(g, first);
    normmax_group<weight>(values, vectors, alpha, temperature);
    vectors.store(out);
  });
}

/// Whether normmax does not vary with x, but for jumps.
bool is_flat(double alpha) { return alpha == 1.0 || std::isinf(alpha); }

}  // namespace

template <class T>
void softmax_product(ConstRows<T> p, ConstRows<T> g, Parameter temperature, Rows<T> out) {
  product<Weight::p>(p, g, 1.0, temperature, out);
}

template <class T>
void budget_product(ConstRows<T> p, ConstRows<T> g, Parameter temperature, Rows<T> out) {
  product<Weight::interior>(p, g, 1.0, temperature, out);
}

template <class T>
void entmax_product(ConstRows<T> p, ConstRows<T> g, Parameter alpha, Parameter temperature,
                    Rows<T> out) {
  if (alpha.is_shared() && alpha[0] <= 2.0) {
    return with_weight(
        alpha[0], [&](auto weight) { product<weight()>(p, g, 2.0 - alpha[0], temperature, out); });
  }
  for_rows(p.rows(), p.cols(), [&](Index row) {
    entmax_row(p.row(row).data(), g.row(row).data(), p.cols(), alpha[row], temperature[row],
               out.row(row).data());
  });
}

template <class T>
void normmax_product(ConstRows<T> p, ConstRows<T> g, Parameter alpha, Parameter temperature,
                     Rows<T> out) {
  if (p.cols() <= kShort && alpha.is_shared() && !is_flat(alpha[0])) {
    if (alpha[0] == 2.0) return normmax_groups<Weight::support>(p, g, 2.0, temperature, out);
    if (alpha[0] > 2.0) {
      return normmax_groups<Weight::inverse_power>(p, g, alpha[0], temperature, out);
    }
    return normmax_groups<Weight::power>(p, g, alpha[0], temperature, out);
  }
  for_rows(p.rows(), p.cols(), [&](Index row) {
    const T* value = p.row(row).data();
    const T* vector = g.row(row).data();
    T* into = out.row(row).data();
    if (is_flat(alpha[row])) {
      std::fill_n(into, p.cols(), T(0));
    } else if (alpha[row] == 2.0) {
      normmax_row<Weight::support>(value, vector, p.cols(), 2.0, temperature[row], into);
    } else if (alpha[row] > 2.0) {
      normmax_row<Weight::inverse_power>(value, vector, p.cols(), alpha[row], temperature[row],
                                         into);
    } else {
      normmax_row<Weight::power>(value, vector, p.cols(), alpha[row], temperature[row], into);
    }
  });
}

#define RESOLVENT_INSTANTIATE(T)                                                              \
  template void softmax_product<T>(ConstRows<T>, ConstRows<T>, Parameter, Rows<T>);           \
  template void budget_product<T>(ConstRows<T>, ConstRows<T>, Parameter, Rows<T>);            \
  template void entmax_product<T>(ConstRows<T>, ConstRows<T>, Parameter, Parameter, Rows<T>); \
  template void normmax_product<T>(ConstRows<T>, ConstRows<T>, Parameter, Parameter, Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
