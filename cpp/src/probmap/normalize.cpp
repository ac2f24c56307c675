#include "lanes.hpp"
#include "resolvent/math/probmap.hpp"
#include "resolvent/probmap/products.hpp"

/// f(x_i)/Σ f(x_j), in double precision. f is scaled by what its largest value in the row may be,
/// so that neither large nor very negative logits leave the range of numbers.
namespace resolvent::probmap {
namespace {

/// Powers of the inverse of the scale, for Taylor's polynomial; order 170 is the last whose
/// factorial is a number.
constexpr int kMostOrder = 170;

/// The entries of a row that f is scaled by.
struct Range {
  double largest = -kInfinity<double>;
  double size = 0.0;  // max |x| of what is not masked
};

template <class T>
Range range_of(const T* x, Index n, double c) {
  Range range;
  for (Index j = 0; j < n; ++j) {
    const double z = static_cast<double>(x[j]) * c;
    if (z == -kInfinity<double>) continue;
    range.largest = std::max(range.largest, z);
    range.size = std::max(range.size, std::abs(z));
  }
  return range;
}

/// f and f' at z, both in the row's scale.
class Function {
 public:
  Function(Normalizer f, const Range& range) : f_(f) {
    switch (f.function) {
      case Elementwise::square:
        unit_ = range.size > 0.0 ? range.size : 1.0;
        break;
      case Elementwise::relu:
        unit_ = range.largest > 0.0 ? range.largest : 1.0;
        break;
      case Elementwise::taylor:
        unit_ = std::max(1.0, range.size);
        powers_[0] = 1.0;
        for (int m = 1; m <= f.order; ++m) powers_[m] = powers_[m - 1] / unit_;
        break;
      case Elementwise::softplus:
        unit_ = std::max(1.0, range.largest);
        [[fallthrough]];
      case Elementwise::sigmoid:
        shift_ = std::min(range.largest, 0.0);
    }
  }

  math::ValueSlope<double> operator()(double z) const {
    if (z == -kInfinity<double>) return {0.0, 0.0};
    switch (f_.function) {
      case Elementwise::square:
        return {(z / unit_) * (z / unit_), 2.0 * (z / unit_) / unit_};
      case Elementwise::relu:
        return {math::positive_part(z / unit_), z > 0.0 ? 1.0 / unit_ : 0.0};
      case Elementwise::sigmoid:
        return math::scaled_sigmoid(z, shift_);
      case Elementwise::softplus: {
        const auto at = math::scaled_softplus(z, shift_);
        return {at.value / unit_, at.slope / unit_};
      }
      case Elementwise::taylor:
        return math::scaled_taylor(z / unit_, f_.order, powers_);
    }
    return {0.0, 0.0};
  }

 private:
  Normalizer f_;
  double unit_ = 1.0;
  double shift_ = 0.0;
  double powers_[kMostOrder + 1];
};

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

void check(Normalizer f) {
  if (f.function != Elementwise::taylor) return;
  require(f.order >= 2 && f.order % 2 == 0 && f.order <= kMostOrder,
          "order must be even, at least 2 and at most ", kMostOrder, ", got ", f.order);
}

template <class T>
void normalize_row(const T* x, Index n, Normalizer f, double c, Index row, Empty empty,
                   Rows<T>& p) {
  const Function function(f, range_of(x, n, c));
  CarefulSum total;
  for (Index j = 0; j < n; ++j) total.add(function(static_cast<double>(x[j]) * c).value);
  const double sum = total.value();
  if (sum == 0.0) return fill_zero_row(x, p, row, empty);
  for (Index j = 0; j < n; ++j) {
    p(row, j) = static_cast<T>(function(static_cast<double>(x[j]) * c).value / sum);
  }
}

template <class T>
void product_row(const T* x, const T* g, Index n, Normalizer f, bool transposed, double c, T* out) {
  const Function function(f, range_of(x, n, c));
  CarefulSum total;
  CarefulSum weighted;  // Σ f g of the transpose, Σ f' g else
  for (Index j = 0; j < n; ++j) {
    const auto at = function(static_cast<double>(x[j]) * c);
    total.add(at.value);
    weighted.add((transposed ? at.value : at.slope) * static_cast<double>(g[j]));
  }
  const double sum = total.value();
  const double moment = weighted.value();
  for (Index j = 0; j < n; ++j) {
    const auto at = function(static_cast<double>(x[j]) * c);
    const double v = static_cast<double>(g[j]);
    const double entry =
        transposed ? at.slope * (v - moment / sum) : at.slope * v - at.value * (moment / sum);
    out[j] = static_cast<T>(sum == 0.0 ? 0.0 : entry / sum * c);
  }
}

}  // namespace

template <class T>
void normalize(ConstRows<T> x, Normalizer f, Parameter temperature, Empty empty, Rows<T> p) {
  check(f);
  Census<T> census(x);
  for_rows(x.rows(), x.cols(), [&](Index row) {
    const T* from = x.row(row).data();
    if (!maxima(from, x.cols()).is_clean()) return census.refuse();
    normalize_row(from, x.cols(), f, 1.0 / temperature[row], row, empty, p);
  });
  census.check();
}

template <class T>
void normalize_product(ConstRows<T> x, ConstRows<T> g, Normalizer f, bool transposed,
                       Parameter temperature, Rows<T> out) {
  check(f);
  for_rows(x.rows(), x.cols(), [&](Index row) {
    product_row(x.row(row).data(), g.row(row).data(), x.cols(), f, transposed,
                1.0 / temperature[row], out.row(row).data());
  });
}

#define RESOLVENT_INSTANTIATE(T)                                                              \
  template void normalize<T>(ConstRows<T>, Normalizer, Parameter, Empty, Rows<T>);            \
  template void normalize_product<T>(ConstRows<T>, ConstRows<T>, Normalizer, bool, Parameter, \
                                     Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
