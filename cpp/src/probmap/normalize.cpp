#include <array>

#include "lanes.hpp"
#include "resolvent/math/probmap.hpp"
#include "resolvent/probmap/products.hpp"

/// f(x_i)/Σ f(x_j), in double precision. f is scaled by what its largest value in the row may be,
/// so that neither large nor very negative logits leave the range of numbers.
namespace resolvent::probmap {
namespace {

/// The last order whose factorial is a number.
constexpr int kMostOrder = 170;

using At = math::ValueSlope<double>;

/// The entries of a row that f is scaled by.
struct Range {
  double largest = -kInfinity<double>;
  double size = 0.0;  // max |x| of what is not masked
};

/// x/τ; −∞ where x is, a number elsewhere.
template <class T>
double logit(T x, double c) {
  constexpr double kMost = std::numeric_limits<double>::max();
  const double z = static_cast<double>(x) * c;
  return x == -kInfinity<T> ? -kInfinity<double> : std::min(std::max(z, -kMost), kMost);
}

template <class T>
Range range_of(const T* x, Index n, double c) {
  Range range;
  for (Index j = 0; j < n; ++j) {
    const double z = logit(x[j], c);
    range.largest = std::max(range.largest, z);
    range.size = std::max(range.size, z == -kInfinity<double> ? 0.0 : std::abs(z));
  }
  return range;
}

/// Each function gives f and f' at z, both in the row's scale; z is not −∞.
struct Square {
  double unit;
  Square(const Range& range, int) : unit(range.size > 0.0 ? range.size : 1.0) {}
  At operator()(double z) const { return {(z / unit) * (z / unit), 2.0 * (z / unit) / unit}; }
};

struct Relu {
  double unit;
  Relu(const Range& range, int) : unit(range.largest > 0.0 ? range.largest : 1.0) {}
  At operator()(double z) const {
    return {math::positive_part(z / unit), z > 0.0 ? 1.0 / unit : 0.0};
  }
};

struct Sigmoid {
  double shift;
  Sigmoid(const Range& range, int) : shift(std::min(range.largest, 0.0)) {}
  At operator()(double z) const { return math::scaled_sigmoid(z, shift); }
};

struct Softplus {
  double shift;
  double unit;
  Softplus(const Range& range, int)
      : shift(std::min(range.largest, 0.0)), unit(std::max(1.0, range.largest)) {}
  At operator()(double z) const {
    const At at = math::scaled_softplus(z, shift);
    return {at.value / unit, at.slope / unit};
  }
};

struct Taylor {
  double unit;
  int order;
  std::array<double, kMostOrder + 1> powers;
  Taylor(const Range& range, int order_) : unit(std::max(1.0, range.size)), order(order_) {
    powers[0] = 1.0;
    for (std::size_t m = 1; m <= static_cast<std::size_t>(order); ++m) {
      powers[m] = powers[m - 1] / unit;
    }
  }
  At operator()(double z) const { return math::scaled_taylor(z / unit, order, powers.data()); }
};

/// f and f' of a row, kBlock entries at a time: visit(first, count, values, slopes).
constexpr Index kBlock = 64;

template <class F, class T, class Visit>
void evaluate(const F& f, const T* x, Index n, double c, Visit&& visit) {
  double values[kBlock];
  double slopes[kBlock];
  for (Index first = 0; first < n; first += kBlock) {
    const Index count = std::min(kBlock, n - first);
#pragma omp simd
    for (Index j = 0; j < count; ++j) {
      const double z = logit(x[first + j], c);
      const bool masked = z == -kInfinity<double>;
      const At at = f(masked ? 0.0 : z);
      values[j] = masked ? 0.0 : at.value;
      slopes[j] = masked ? 0.0 : at.slope;
    }
    visit(first, count, values, slopes);
  }
}

/// Uniform over what is not masked, for a row whose f are all 0.
template <class T>
void fill_zero_row(const T* x, Rows<T>& p, Index row, Empty empty) {
  const Index n = p.cols();
  const Index entries = n - std::count(x, x + n, -kInfinity<T>);
  if (entries == 0) return fill_empty(p, row, empty);
  require(empty == Empty::uniform, "x has no entry left in row ", row,
          ": f is 0 at all of them (empty='uniform' spreads over those that are not masked)");
  for (Index j = 0; j < n; ++j) {
    p(row, j) = x[j] == -kInfinity<T> ? T(0) : T(1) / static_cast<T>(entries);
  }
}

template <class F, class T>
void normalize_row(const T* x, int order, double c, Index row, Empty empty, Rows<T>& p) {
  const Index n = p.cols();
  const F f(range_of(x, n, c), order);
  CarefulSum total;
  evaluate(f, x, n, c, [&](Index, Index count, const double* values, const double*) {
    for (Index j = 0; j < count; ++j) total.add(values[j]);
  });
  const double sum = total.value();
  if (sum == 0.0) return fill_zero_row(x, p, row, empty);
  T* out = p.row(row).data();
  evaluate(f, x, n, c, [&](Index first, Index count, const double* values, const double*) {
    for (Index j = 0; j < count; ++j) out[first + j] = static_cast<T>(values[j] / sum);
  });
}

/// Jᵀg = d(g − ⟨p, g⟩) or Jg = d g − p⟨d, g⟩, d = f'/Σf.
template <class F, class T>
void product_row(const T* x, const T* g, Index n, int order, bool transposed, double c, T* out) {
  const F f(range_of(x, n, c), order);
  CarefulSum total;
  CarefulSum weighted;  // Σ f g of the transpose, Σ f' g else
  evaluate(f, x, n, c, [&](Index first, Index count, const double* values, const double* slopes) {
    for (Index j = 0; j < count; ++j) {
      total.add(values[j]);
      weighted.add((transposed ? values[j] : slopes[j]) * static_cast<double>(g[first + j]));
    }
  });
  const double sum = total.value();
  if (sum == 0.0) {
    std::fill_n(out, n, T(0));
    return;
  }
  const double mean = weighted.value() / sum;
  evaluate(f, x, n, c, [&](Index first, Index count, const double* values, const double* slopes) {
    for (Index j = 0; j < count; ++j) {
      const double v = static_cast<double>(g[first + j]);
      const double entry = transposed ? slopes[j] * (v - mean) : slopes[j] * v - values[j] * mean;
      out[first + j] = static_cast<T>(entry / sum * c);
    }
  });
}

template <class F>
struct Tag {
  using type = F;
};

/// Calls body with the type of the function.
template <class Body>
void with_function(Normalizer f, Body&& body) {
  switch (f.function) {
    case Elementwise::square:
      return body(Tag<Square>());
    case Elementwise::relu:
      return body(Tag<Relu>());
    case Elementwise::sigmoid:
      return body(Tag<Sigmoid>());
    case Elementwise::softplus:
      return body(Tag<Softplus>());
    case Elementwise::taylor:
      require(f.order >= 2 && f.order % 2 == 0 && f.order <= kMostOrder,
              "order must be even, at least 2 and at most ", kMostOrder, ", got ", f.order);
      return body(Tag<Taylor>());
  }
}

}  // namespace

template <class T>
void normalize(ConstRows<T> x, Normalizer f, Parameter temperature, Empty empty, Rows<T> p) {
  require_temperature(temperature);
  Census<T> census(x);
  with_function(f, [&](auto tag) {
    for_rows(x.rows(), x.cols(), [&](Index row) {
      const T* from = x.row(row).data();
      if (!maxima(from, x.cols()).is_clean()) return census.refuse();
      normalize_row<typename decltype(tag)::type>(from, f.order, 1.0 / temperature[row], row, empty,
                                                  p);
    });
  });
  census.check();
}

template <class T>
void normalize_product(ConstRows<T> x, ConstRows<T> g, Normalizer f, bool transposed,
                       Parameter temperature, Rows<T> out) {
  require_temperature(temperature);
  Census<T> census(x);
  with_function(f, [&](auto tag) {
    for_rows(x.rows(), x.cols(), [&](Index row) {
      const T* from = x.row(row).data();
      if (!maxima(from, x.cols()).is_clean()) return census.refuse();
      product_row<typename decltype(tag)::type>(from, g.row(row).data(), x.cols(), f.order,
                                                transposed, 1.0 / temperature[row],
                                                out.row(row).data());
    });
  });
  census.check();
}

#define RESOLVENT_INSTANTIATE(T)                                                              \
  template void normalize<T>(ConstRows<T>, Normalizer, Parameter, Empty, Rows<T>);            \
  template void normalize_product<T>(ConstRows<T>, ConstRows<T>, Normalizer, bool, Parameter, \
                                     Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
