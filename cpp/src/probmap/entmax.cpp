#include "compact.hpp"
#include "power.hpp"

namespace resolvent::probmap {
namespace {

/// What α makes of a map: its limits, u^q, or u^{q−1} normalised.
enum class Kind { softmax, argmax, power, slope };

/// One member of the family; distances are c(max − x).
struct Member {
  Kind kind;
  double c;
  double q;

  /// Whether Newton's method on ‖u‖_q = 1 needs no bracket.
  bool is_convex() const { return (kind == Kind::power || kind == Kind::slope) && q >= 1.0; }
};

Member entmax_member(double alpha) {
  if (alpha == 1.0) return {Kind::softmax, 1.0, 1.0};
  if (std::isinf(alpha)) return {Kind::argmax, 1.0, 1.0};
  return {Kind::power, alpha - 1.0, 1.0 / (alpha - 1.0)};
}

Member normmax_member(double alpha) {
  if (alpha == 1.0) return {Kind::argmax, 1.0, 1.0};
  return {Kind::slope, 1.0, std::isinf(alpha) ? 1.0 : alpha / (alpha - 1.0)};
}

/// What one call works on.
template <class T>
struct Job {
  ConstRows<T> x;
  Parameter temperature;
  Empty empty;
  Rows<T> p;
  Census<T>& census;

  Index n() const { return x.cols(); }
  const T* in(Index row) const { return x.row(row).data(); }
  T* out(Index row) { return p.row(row).data(); }
  T scale(Index row, double c) const { return factor<T>(c / temperature[row]); }
};

template <class T>
void normalize_row(T* p, Index n) {
  double sum = 0.0;
  sweep(p, n, [&](const T* block, Index depth) {
    T sums[kLanes<T>] = {};
    for (Index k = 0; k < depth; ++k, block += kLanes<T>) {
#pragma omp simd
      for (Index l = 0; l < kLanes<T>; ++l) sums[l] += math::positive_part(block[l]);
    }
    sum += fold(sums);
  });
  const T factor = static_cast<T>(1.0 / sum);
#pragma omp simd
  for (Index j = 0; j < n; ++j) p[j] *= factor;
}

/// 1/k at the k entries that equal the maximum.
template <class T>
void spread_over_maxima(const T* x, Index n, T max, T* p) {
  Index count = 0;
  for (Index j = 0; j < n; ++j) count += x[j] == max ? 1 : 0;
  const T share = T(1) / static_cast<T>(count);
  for (Index j = 0; j < n; ++j) p[j] = x[j] == max ? share : T(0);
}

/// The result of a long row. Powers are not taken where no entry of a block is near the maximum.
template <Form form, bool slopes, class T>
void write_row(const T* x, Index n, T max, T c, Root root, double q, T* p) {
  constexpr bool powers = form == Form::power || form == Form::near_one;
  const Split<T> at = split<T>(root.value, root.correction);
  const T limit = limit_of<form, T>(root.value);
  sweep_into(x, n, p, [&](const T* block, Index depth, T* out) {
    for (Index k = 0; k < depth; ++k, block += kLanes<T>, out += kLanes<T>) {
      if (powers && !any_near(block, max, c, limit)) {
        std::fill_n(out, kLanes<T>, T(0));
      } else {
        write_powers<form, slopes>(block, 1, Same<T>{max}, Same<T>{c}, Same<T>{at.high},
                                   Same<T>{at.low}, static_cast<T>(q), out);
      }
    }
  });
}

/// A long row. The largest entries of the lanes give a start that is seldom far from the root.
template <Form form, bool slopes, class T>
void solve_row(const T* x, Index n, const Maxima<T>& m, T max, T c, double q, T* p) {
  const auto sums_of = [&](const T* from, Index count, T top, T factor) {
    return [=](double value) {
      return power_sums<form>(from, count, top, factor, split<T>(value, 0.0), static_cast<T>(q));
    };
  };
  const double start = solve<form, T>(kStart<form>, q, sums_of(m.value, kLanes<T>, max, c)).value;
  if constexpr (form == Form::linear || form == Form::square) {
    const Root root = solve<form, T>(start, q, sums_of(x, n, max, c));
    write_row<form, slopes>(x, n, max, c, root, q, p);
  } else {
    // Powers are dear: only the entries that are positive at the start are looked at again.
    const Index count = gather(x, n, max, c, limit_of<form, T>(start), p);
    const Root root = solve<form, T>(start, q, sums_of(p, count, T(0), T(1)));
    write_row<form, slopes>(x, n, max, c, root, q, p);
  }
  if (slopes) normalize_row(p, n);
}

/// The unknowns of a group of short rows, one in each lane.
template <Form form, class T>
struct Unknowns {
  static constexpr bool kRising = form == Form::near_one;

  double value[kLanes<T>];
  double step[kLanes<T>] = {};
  T high[kLanes<T>];
  T low[kLanes<T>];

  Unknowns() { std::fill_n(value, kLanes<T>, kStart<form>); }

  /// Splits the values, with a part of the steps added.
  void split_all(double part) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      high[l] = static_cast<T>(value[l]);
      low[l] = static_cast<T>((value[l] - static_cast<double>(high[l])) + part * step[l]);
    }
  }

  /// Takes the steps that are not down at rounding; whether there were any.
  bool advance(const T* F, const T* S, double q) {
    const double tolerance = kStepRoundings * static_cast<double>(kEpsilon<T>) / std::max(q, 1.0);
    int moving = 0;
#pragma omp simd reduction(| : moving)
    for (Index l = 0; l < kLanes<T>; ++l) {
      const double forward =
          newton_step<form>({static_cast<double>(F[l]), static_cast<double>(S[l])}, q);
      step[l] = kRising ? forward : -forward;
      const bool moves = forward > tolerance * (kRising ? 1.0 - value[l] : value[l]);
      value[l] += moves ? step[l] : 0.0;
      moving |= moves ? 1 : 0;
    }
    return moving != 0;
  }
};

/// Divides every lane by its sum.
template <class T>
void normalize_group(Group<T>& group) {
  T sums[kLanes<T>] = {};
  T* out = group.data();
  for (Index k = 0; k < group.depth() * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) sums[l] += out[k + l];
  }
  for (Index k = 0; k < group.depth() * kLanes<T>; k += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) out[k + l] /= sums[l];
  }
}

/// A group of short rows, in place. A lane that has arrived is not moved by passes for the others.
template <Form form, bool slopes, class T>
void solve_group(Group<T>& group, const Maxima<T>& m, const T* c, double q) {
  using Lanes = PerLane<T>;
  Unknowns<form, T> at;
  const T power = static_cast<T>(q);
  bool moving = true;
  for (int pass = 0; moving && pass < kMostPasses; ++pass) {
    T F[kLanes<T>] = {};
    T S[kLanes<T>] = {};
    at.split_all(0.0);
    add_powers<form, T, Lanes>(group.data(), group.depth(), {m.value}, {c}, {at.high}, {at.low},
                               power, F, S);
    moving = at.advance(F, S, q);
  }
  at.split_all(1.0);
  write_powers<form, slopes, T, Lanes>(group.data(), group.depth(), {m.value}, {c}, {at.high},
                                       {at.low}, power, group.data());
  if (slopes) normalize_group(group);
}

/// Σ_j r_j^q and Σ_j r_j^{q−1}, r_j = 1 − d_j/w; `kept` holds −d_j.
template <class T>
Sums ratio_sums(const T* kept, Index count, double w, double q) {
  Sums sums{0.0, 0.0};
  for (Index j = 0; j < count; ++j) {
    const double d = -static_cast<double>(kept[j]);
    if (d == 0.0) {
      sums.F += 1.0;
      sums.S += 1.0;
    } else if (d < w) {
      const auto term = math::power_term(1.0 - d / w, q);
      sums.F += term.power;
      sums.S += term.slope;
    }
  }
  return sums;
}

/// A value of z = p_max and what goes with it.
struct Top {
  double z;
  double w;    // z^{1/q}
  double sum;  // Σp

  double p(double d, double q) const {
    if (d == 0.0) return z;
    return d < w ? z * math::power_term(1.0 - d / w, q).power : 0.0;
  }
};

/// Two neighbours between which Σp passes 1, and how far between them it is.
struct Between {
  Top low;
  Top high;
  double part;

  double p(double d, double q) const {
    const double below = low.p(d, q);
    return below + part * (high.p(d, q) - below);
  }
};

/// Entmax for α > 2 (q < 1), where u^q rises steeply from 0 and nothing is convex. The unknown is
/// z = p_max, w = z^{1/q}, p_j = z r_j^q with r_j = 1 − d_j/w; the bracket starts as [1/n, 1] and
/// `kept` holds −d_j. Where an entry is about to join the support, no z has Σp = 1 to rounding, and
/// the result lies between two neighbours.
template <class T>
Between solve_steep(const T* kept, Index count, double q) {
  constexpr double kEnough = 2.0 * std::numeric_limits<double>::epsilon();
  // A little below 1/n, so that Newton's step may end there: the root for equal entries.
  Top low{(1.0 - 4.0 * kEnough) / static_cast<double>(count), 0.0, 0.0};
  Top high{1.0, 1.0, 0.0};
  double z = 1.0;
  double width = 1.0;
  for (int pass = 0; pass < kMostPasses; ++pass) {
    const double w = std::exp(std::log(z) / q);
    const Sums sums = ratio_sums(kept, count, w, q);
    const Top here{z, w, z * sums.F};
    const double excess = here.sum - 1.0;
    if (excess >= -kEnough) high = here;
    if (excess <= kEnough) low = here;
    if (std::abs(excess) <= kEnough) break;
    double next = z - excess / sums.S;
    const bool slow = pass % 2 == 1 && high.z - low.z > 0.5 * width;
    if (pass % 2 == 1) width = high.z - low.z;
    if (slow || !(low.z < next && next < high.z)) next = low.z + 0.5 * (high.z - low.z);
    if (!(low.z < next && next < high.z)) break;
    z = next;
  }
  const double gap = high.sum - low.sum;
  return {low, high, gap > 0.0 ? std::clamp((1.0 - low.sum) / gap, 0.0, 1.0) : 0.0};
}

template <class T>
void steep_row(const T* x, Index n, T max, T c, double q, T* p) {
  const Index count = gather(x, n, max, c, T(1), p);
  const Between found = solve_steep(p, count, q);
  for (Index j = 0; j < n; ++j) {
    const T distance = (max - x[j]) * c;
    p[j] = distance < T(1) ? static_cast<T>(found.p(static_cast<double>(distance), q)) : T(0);
  }
}

/// Calls f with the form of q as a constant.
template <class F>
void with_form(double q, F&& f) {
  switch (form_of(q)) {
    case Form::linear:
      return f(std::integral_constant<Form, Form::linear>());
    case Form::square:
      return f(std::integral_constant<Form, Form::square>());
    case Form::power:
      return f(std::integral_constant<Form, Form::power>());
    case Form::near_one:
      return f(std::integral_constant<Form, Form::near_one>());
  }
}

template <class T>
void member_row(Job<T>& job, Index row, const Member& member, const Maxima<T>& m, T max) {
  const T* x = job.in(row);
  T* p = job.out(row);
  const T c = job.scale(row, member.c);
  if (member.kind == Kind::argmax) return spread_over_maxima(x, job.n(), max, p);
  if (member.kind == Kind::softmax) {
    const double temperature = job.temperature[row];
    return softmax<T>({x, 1, job.n()}, Parameter({&temperature, 1}), job.empty, {p, 1, job.n()});
  }
  if (!member.is_convex()) return steep_row(x, job.n(), max, c, member.q, p);
  with_form(member.q, [&](auto form) {
    if (member.kind == Kind::slope) {
      solve_row<form(), true>(x, job.n(), m, max, c, member.q, p);
    } else {
      solve_row<form(), false>(x, job.n(), m, max, c, member.q, p);
    }
  });
}

/// Row by row; `member(row)` says which.
template <class T, class F>
void long_rows(Job<T>& job, F&& member) {
  for_rows(job.x.rows(), job.n(), [&](Index row) {
    const Maxima<T> m = maxima(job.in(row), job.n());
    const T max = m.overall();
    if (!m.is_clean()) return job.census.refuse();
    if (max == -kInfinity<T>) return fill_empty(job.p, row, job.empty);
    member_row(job, row, member(row), m, max);
  });
}

template <class T>
void short_rows(Job<T>& job, const Member& member) {
  for_groups<T>(job.x.rows(), job.n(), [&](Index first) {
    Group<T> group(job.x, first);
    Maxima<T> m;
    m.update(group.data(), group.depth());
    T c[kLanes<T>];
    for (Index l = 0; l < kLanes<T>; ++l) c[l] = job.scale(group.row(l), member.c);
    with_form(member.q, [&](auto form) {
      if (member.kind == Kind::slope) {
        solve_group<form(), true>(group, m, c, member.q);
      } else {
        solve_group<form(), false>(group, m, c, member.q);
      }
    });
    group.store(job.p);
    for (Index l = 0; l < group.count(); ++l) {
      if (!m.is_clean(l)) {
        job.census.refuse();
      } else if (m.value[l] == -kInfinity<T>) {
        fill_empty(job.p, first + l, job.empty);
      }
    }
  });
}

template <class T, class F>
void family(ConstRows<T> x, Parameter alpha, Parameter temperature, Empty empty, Rows<T> p,
            F&& member_of) {
  require_temperature(temperature);
  require_at_least(alpha, "alpha", 1.0);
  Census<T> census(x);
  Job<T> job{x, temperature, empty, p, census};
  if (x.cols() <= kShort && alpha.is_shared() && member_of(alpha[0]).is_convex()) {
    short_rows(job, member_of(alpha[0]));
  } else {
    long_rows(job, [&](Index row) { return member_of(alpha[row]); });
  }
  census.check();
}

}  // namespace

template <class T>
void entmax(ConstRows<T> x, Parameter alpha, Parameter temperature, Empty empty, Rows<T> p) {
  if (alpha.is_shared() && alpha[0] == 1.0) return softmax(x, temperature, empty, p);
  family(x, alpha, temperature, empty, p, &entmax_member);
}

template <class T>
void normmax(ConstRows<T> x, Parameter alpha, Parameter temperature, Empty empty, Rows<T> p) {
  family(x, alpha, temperature, empty, p, &normmax_member);
}

#define RESOLVENT_INSTANTIATE(T)                                               \
  template void entmax<T>(ConstRows<T>, Parameter, Parameter, Empty, Rows<T>); \
  template void normmax<T>(ConstRows<T>, Parameter, Parameter, Empty, Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::probmap
