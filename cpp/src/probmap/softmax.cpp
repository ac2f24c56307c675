#include "softmax.hpp"

namespace resolvent::probmap {
namespace {

/// Σ e^{c(x − max)} as ties + rest: the entries that equal the maximum, and the others.
struct Total {
  double ties = 0.0;
  double rest = 0.0;

  /// log Σ; keeps the digits of a rest that is much smaller than 1.
  double log() const { return std::log(ties) + std::log1p(rest / ties); }
};

template <class T, class P>
void add_total(const T* x, Index depth, P max, P c, T* ties, T* rest) {
  for (Index k = 0; k < depth; ++k, x += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T e = math::exp_nonpositive((x[l] - max[l]) * c[l]);
      ties[l] += x[l] < max[l] ? T(0) : T(1);
      rest[l] += x[l] < max[l] ? e : T(0);
    }
  }
}

template <class T>
Total total_of(const T* x, Index n, T max, T c) {
  Total total;
  sweep(x, n, [&](const T* block, Index depth) {
    T ties[kLanes<T>] = {};
    T rest[kLanes<T>] = {};
    add_total(block, depth, Same<T>{max}, Same<T>{c}, ties, rest);
    total.ties += fold(ties);
    total.rest += fold(rest);
  });
  return total;
}

/// What a row or lane is, before anything is divided by its sum.
enum class State { good, empty, refused };

template <class T>
State state_of(T max, bool clean) {
  if (!clean) return State::refused;
  return max == -kInfinity<T> ? State::empty : State::good;
}

/// Softmax of a group of short rows, in place; empty rows come out as NaN.
template <class T>
void softmax_group(Group<T>& group, const Maxima<T>& m, const T* c) {
  T sums[kLanes<T>] = {};
  exponentials<T, PerLane<T>>(group.data(), group.depth(), {m.value}, {c}, group.data(), sums);
#pragma omp simd
  for (Index l = 0; l < kLanes<T>; ++l) sums[l] = T(1) / sums[l];
  T* out = group.data();
  for (Index k = 0; k < group.depth(); ++k, out += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) out[l] *= sums[l];
  }
}

template <class T>
void softmax_short(ConstRows<T> x, Parameter temperature, Empty empty, Rows<T> p,
                   Census<T>& census) {
  for_groups<T>(x.rows(), x.cols(), [&](Index first) {
    Group<T> group(x, first);
    Maxima<T> m;
    m.update(group.data(), group.depth());
    T c[kLanes<T>];
    for (Index l = 0; l < kLanes<T>; ++l) c[l] = inverse<T>(temperature[group.row(l)]);
    softmax_group(group, m, c);
    group.store(p);
    for (Index l = 0; l < group.count(); ++l) {
      const State state = state_of(m.value[l], m.is_clean(l));
      if (state == State::refused) census.refuse();
      if (state == State::empty) fill_empty(p, first + l, empty);
    }
  });
}

/// What log_softmax and logsumexp share: calls body(row, max, c, log Σ e^{c(x − max)}) for every
/// row with entries, empty(row) for the others.
template <class T, class Body, class Empty>
void for_log_sums(ConstRows<T> x, Parameter temperature, Body&& body, Empty&& empty) {
  require_temperature(temperature);
  Census<T> census(x);
  const auto settle = [&](Index row, T max, bool clean, T c, double log_sum) {
    const State state = state_of(max, clean);
    if (state == State::refused) return census.refuse();
    if (state == State::empty) return empty(row);
    body(row, max, c, log_sum);
  };
  if (x.cols() > kShort) {
    for_rows(x.rows(), x.cols(), [&](Index row) {
      const T* from = x.row(row).data();
      const Maxima<T> m = maxima(from, x.cols());
      const T max = m.overall();
      const T c = inverse<T>(temperature[row]);
      settle(row, max, m.is_clean(), c, total_of(from, x.cols(), max, c).log());
    });
  } else {
    for_groups<T>(x.rows(), x.cols(), [&](Index first) {
      Group<T> group(x, first);
      Maxima<T> m;
      m.update(group.data(), group.depth());
      T c[kLanes<T>];
      for (Index l = 0; l < kLanes<T>; ++l) c[l] = inverse<T>(temperature[group.row(l)]);
      T ties[kLanes<T>] = {};
      T rest[kLanes<T>] = {};
      add_total<T, PerLane<T>>(group.data(), group.depth(), {m.value}, {c}, ties, rest);
      for (Index l = 0; l < group.count(); ++l) {
        const Total total{static_cast<double>(ties[l]), static_cast<double>(rest[l])};
        settle(first + l, m.value[l], m.is_clean(l), c[l], total.log());
      }
    });
  }
  census.check();
}

}  // namespace

template <class T>
void softmax(ConstRows<T> x, Parameter temperature, Empty empty, Rows<T> p) {
  require_temperature(temperature);
  Census<T> census(x);
  if (x.cols() <= kShort) {
    softmax_short(x, temperature, empty, p, census);
  } else {
    for_rows(x.rows(), x.cols(), [&](Index row) {
      const Maxima<T> m = maxima(x.row(row).data(), x.cols());
      const T max = m.overall();
      const State state = state_of(max, m.is_clean());
      if (state == State::refused) return census.refuse();
      if (state == State::empty) return fill_empty(p, row, empty);
      softmax_row(x.row(row).data(), x.cols(), max, inverse<T>(temperature[row]),
                  p.row(row).data());
    });
  }
  census.check();
}

template <class T>
void log_softmax(ConstRows<T> x, Parameter temperature, Empty empty, Rows<T> out) {
  const Index n = x.cols();
  const auto write = [&](Index row, T max, T c, double log_sum) {
    const T shift = static_cast<T>(log_sum);
    const T* from = x.row(row).data();
    T* to = out.row(row).data();
#pragma omp simd
    for (Index j = 0; j < n; ++j) to[j] = (from[j] - max) * c - shift;
  };
  for_log_sums(x, temperature, write, [&](Index row) {
    fill_empty(out, row, empty);
    out.row(row).setConstant(-std::log(static_cast<T>(n)));
  });
}

template <class T>
void logsumexp(ConstRows<T> x, Parameter temperature, Vector<T>& out) {
  out.resize(x.rows());
  const auto write = [&](Index row, T max, T, double log_sum) {
    out[row] = static_cast<T>(static_cast<double>(max) / temperature[row] + log_sum);
  };
  for_log_sums(x, temperature, write, [&](Index row) { out[row] = -kInfinity<T>; });
}

#define RESOLVENT_INSTANTIATE(T)                                         \
  template void softmax<T>(ConstRows<T>, Parameter, Empty, Rows<T>);     \
  template void log_softmax<T>(ConstRows<T>, Parameter, Empty, Rows<T>); \
  template void logsumexp<T>(ConstRows<T>, Parameter, Vector<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
