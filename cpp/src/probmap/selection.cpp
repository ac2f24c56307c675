#include <functional>
#include <utility>
#include <vector>

#include "compact.hpp"
#include "resolvent/math/probmap.hpp"
#include "softmax.hpp"

/// The maps that look for an order statistic first: sparse softmax and the budget map.
namespace resolvent::probmap {
namespace {

/// The count-th largest of the values, which are rearranged. O(n).
template <class T>
T nth_largest(T* values, Index n, Index count) {
  std::nth_element(values, values + (count - 1), values + n, std::greater<T>());
  return values[count - 1];
}

/// The same for a row, where few entries are moved if the count is small: the count-th largest of
/// the lanes' maxima is a lower bound. `scratch` has room for the row.
template <class T>
T nth_largest(const T* x, Index n, const Maxima<T>& m, Index count, T* scratch) {
  T bound = -kInfinity<T>;
  if (count <= kLanes<T>) {
    T lanes[kLanes<T>];
    std::copy_n(m.value, kLanes<T>, lanes);
    bound = nth_largest(lanes, kLanes<T>, count);
  }
  return nth_largest(scratch, collect(x, n, bound, scratch), count);
}

/// The last of the fewest largest entries whose share of Σ e^{c(x − max)} is at least `mass`. The
/// values are rearranged. O(n + kept·log n).
template <class T>
T last_of_mass(T* values, Index n, T max, double c, double mass) {
  if (mass >= 1.0) return *std::min_element(values, values + n);
  const auto weight = [=](T x) {
    return math::exp_nonpositive((static_cast<double>(x) - static_cast<double>(max)) * c);
  };
  double total = 0.0;
  for (Index j = 0; j < n; ++j) total += weight(values[j]);
  std::make_heap(values, values + n);
  double sum = 0.0;
  Index left = n;
  for (;;) {
    const T largest = values[0];
    sum += weight(largest);
    if (sum >= mass * total || left == 1) return largest;
    std::pop_heap(values, values + left);
    --left;
  }
}

void check(Kept kept, Parameter temperature, Index n) {
  require_temperature(temperature);
  require(kept.count >= 0 && kept.count <= n, "count must be at most ", n, ", got ", kept.count);
  require(kept.count > 0 || (kept.mass > 0.0 && kept.mass <= 1.0), "mass must be in (0, 1], got ",
          kept.mass);
}

/// The smallest entry that is kept; `scratch` has room for the row. Where fewer than `count` are
/// not masked, the smallest of those.
template <class T>
T last_kept(const T* x, Index n, const Maxima<T>& m, Kept kept, double temperature, T* scratch) {
  T last = -kInfinity<T>;
  if (kept.count > 0) {
    last = nth_largest(x, n, m, kept.count, scratch);
  } else {
    std::copy_n(x, n, scratch);
    last = last_of_mass(scratch, n, m.overall(), 1.0 / temperature, kept.mass);
  }
  if (last > -kInfinity<T>) return last;
  last = m.overall();
  for (Index j = 0; j < n; ++j) {
    if (x[j] > -kInfinity<T> && x[j] < last) last = x[j];
  }
  return last;
}

/// F = Σ clip(u, 0, 1) and how many u lie strictly between, u = c(x − pivot) − λ.
struct Filled {
  double F = 0.0;
  double interior = 0.0;
};

template <class T>
Filled filled(const T* x, Index n, T pivot, T c, double lambda) {
  const T high = static_cast<T>(lambda);
  const T low = static_cast<T>(lambda - static_cast<double>(high));
  Filled total;
  sweep(x, n, [&](const T* block, Index depth) {
    T F[kLanes<T>] = {};
    T interior[kLanes<T>] = {};
    for (Index k = 0; k < depth; ++k, block += kLanes<T>) {
#pragma omp simd
      for (Index l = 0; l < kLanes<T>; ++l) {
        const T u = ((block[l] - pivot) * c - high) - low;
        F[l] += u > T(1) ? T(1) : math::positive_part(u);
        interior[l] += u > T(0) && u < T(1) ? T(1) : T(0);
      }
    }
    total.F += fold(F);
    total.interior += fold(interior);
  });
  return total;
}

/// λ − c·pivot in two parts. It lies in [−1, 0], as the entries from the pivot on fill the total at
/// −1, and those above it do not exceed the total at 0.
template <class T>
std::pair<double, double> solve_budget(const T* x, Index n, T pivot, T c, double total) {
  constexpr int kMostPasses = 200;
  const double tolerance = 4.0 * static_cast<double>(kEpsilon<T>);
  double low = -1.0;
  double high = 0.0;
  double lambda = low;
  double step = 0.0;
  for (int pass = 0; pass < kMostPasses; ++pass) {
    const Filled at = filled(x, n, pivot, c, lambda);
    const double excess = at.F - total;
    step = at.interior > 0.0 ? excess / at.interior : 0.0;
    if (excess == 0.0 || (step != 0.0 && std::abs(step) <= tolerance)) break;
    (excess > 0.0 ? low : high) = lambda;
    double next = lambda + step;
    if (!(low < next && next < high)) next = low + 0.5 * (high - low);
    if (!(low < next && next < high)) break;
    lambda = next;
  }
  return {lambda, step};
}

template <class T>
void budget_row(const T* x, Index n, const Maxima<T>& m, Index entries, double total, T c, T* p) {
  const auto count = std::clamp<Index>(static_cast<Index>(std::ceil(total)), 1, entries);
  const T pivot = nth_largest(x, n, m, count, p);
  const auto [lambda, step] = solve_budget(x, n, pivot, c, total);
  const T high = static_cast<T>(lambda);
  const T low = static_cast<T>((lambda - static_cast<double>(high)) + step);
#pragma omp simd
  for (Index j = 0; j < n; ++j) {
    const T u = ((x[j] - pivot) * c - high) - low;
    p[j] = u > T(1) ? T(1) : math::positive_part(u);
  }
}

}  // namespace

template <class T>
void budget(ConstRows<T> x, Parameter total, Parameter temperature, Empty empty, Rows<T> p) {
  require_temperature(temperature);
  for (const double wanted : total.values()) {
    require(wanted > 0.0, "total must be positive, got ", wanted);
  }
  Census<T> census(x);
  const Index n = x.cols();
  for_rows(x.rows(), n, [&](Index row) {
    const T* from = x.row(row).data();
    const Maxima<T> m = maxima(from, n);
    if (!m.is_clean()) return census.refuse();
    const Index entries = n - std::count(from, from + n, -kInfinity<T>);
    if (entries == 0) return fill_empty(p, row, empty);
    require(total[row] <= static_cast<double>(entries), "total must be at most ", entries,
            ", the number of entries in row ", row, ", got ", total[row]);
    budget_row(from, n, m, entries, total[row], inverse<T>(temperature[row]), p.row(row).data());
  });
  census.check();
}

template <class T>
void sparse_softmax(ConstRows<T> x, Kept kept, Parameter temperature, Empty empty, Rows<T> p) {
  check(kept, temperature, x.cols());
  Census<T> census(x);
  const Index n = x.cols();
  for_rows(x.rows(), n, [&](Index row) {
    const T* from = x.row(row).data();
    T* to = p.row(row).data();
    const Maxima<T> m = maxima(from, n);
    if (!m.is_clean()) return census.refuse();
    const T max = m.overall();
    if (max == -kInfinity<T>) return fill_empty(p, row, empty);
    const T last = last_kept(from, n, m, kept, temperature[row], to);
#pragma omp simd
    for (Index j = 0; j < n; ++j) to[j] = from[j] >= last ? from[j] : -kInfinity<T>;
    softmax_row(to, n, max, inverse<T>(temperature[row]), to);
  });
  census.check();
}

template <class T>
void sparse_softmax_last(ConstRows<T> x, Kept kept, Parameter temperature, Vector<T>& last) {
  check(kept, temperature, x.cols());
  Census<T> census(x);
  const Index n = x.cols();
  last.resize(x.rows());
  for_rows(x.rows(), n, [&](Index row) {
    const T* from = x.row(row).data();
    const Maxima<T> m = maxima(from, n);
    last[row] = -kInfinity<T>;
    if (!m.is_clean()) return census.refuse();
    if (m.overall() == -kInfinity<T>) return;
    std::vector<T> scratch(static_cast<std::size_t>(n));
    last[row] = last_kept(from, n, m, kept, temperature[row], scratch.data());
  });
  census.check();
}

#define RESOLVENT_INSTANTIATE(T)                                                  \
  template void budget<T>(ConstRows<T>, Parameter, Parameter, Empty, Rows<T>);    \
  template void sparse_softmax<T>(ConstRows<T>, Kept, Parameter, Empty, Rows<T>); \
  template void sparse_softmax_last<T>(ConstRows<T>, Kept, Parameter, Vector<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
