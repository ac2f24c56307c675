#include "resolvent/probmap/perturb.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "lanes.hpp"
#include "resolvent/math/noise.hpp"

namespace resolvent::probmap {
namespace {

/// A distribution whose formulas are `formula(e)`.
template <class Formula>
class Standard : public Noise {
 public:
  Standard(Formula formula, std::vector<double> kinks)
      : formula_(formula), kinks_(std::move(kinks)) {}

  void evaluate(const Vector<double>& e, Vector<double>& log_cdf,
                Vector<double>& hazard) const override {
    const double* in = e.data();
    double* logs = log_cdf.data();
    double* rates = hazard.data();
#pragma omp simd
    for (Index j = 0; j < e.size(); ++j) {
      const math::LogCdf at = formula_(in[j]);
      logs[j] = at.log_cdf;
      rates[j] = at.hazard;
    }
  }

  std::vector<double> kinks() const override { return kinks_; }

 private:
  Formula formula_;
  std::vector<double> kinks_;
};

template <class Formula>
std::unique_ptr<Noise> standard(Formula formula, std::vector<double> kinks = {}) {
  return std::make_unique<Standard<Formula>>(formula, std::move(kinks));
}

// ---- the rule -----------------------------------------------------------------------------------

/// Kronrod's 15 nodes on [−1, 1] from the middle outwards, and the weights; every second node, from
/// the middle on, is one of Gauss's 7 (Piessens et al. 1983).
struct Kronrod {
  static constexpr std::array<double, 8> nodes{0.0,
                                               0.20778495500789846760,
                                               0.40584515137739716691,
                                               0.58608723546769113029,
                                               0.74153118559939443986,
                                               0.86486442335976907279,
                                               0.94910791234275852453,
                                               0.99145537112081263921};
  static constexpr std::array<double, 8> weights{0.20948214108472782801, 0.20443294007529889241,
                                                 0.19035057806478540991, 0.16900472663926790283,
                                                 0.14065325971552591875, 0.10479001032225018384,
                                                 0.06309209262997855329, 0.02293532201052922496};
  static constexpr std::array<double, 8> gauss{
      0.41795918367346938776, 0.0, 0.38183005050511894495, 0.0,
      0.27970539148927666790, 0.0, 0.12948496616886969327, 0.0};
};

constexpr double kTolerance = 1e-12;  // of a panel
constexpr double kMassTolerance = 1e-9;
constexpr double kLogNothing = -40.0;  // log of a probability that is left out
constexpr double kMissing = 1e-15;     // the same on the right, where it is 1 − ΠF
constexpr int kMostHalvings = 48;
constexpr double kGrowth = 4.0;   // of the panels away from the logits
constexpr double kNearby = 16.0;  // units; logits further apart than this are separate clusters
constexpr double kWidest = 4.0;   // units; panels among the logits

/// One row: its logits relative to the largest, masked ones left out, and scratch space.
class Row {
 public:
  Row(const double* x, Index n, double temperature, const Noise& noise)
      : noise_(noise), largest_(*std::max_element(x, x + n)) {
    for (Index j = 0; j < n; ++j) {
      if (x[j] == -kInfinity<double>) continue;
      places_.push_back(j);
      logits_.push_back((x[j] - largest_) / temperature);
    }
    const auto entries = static_cast<Index>(places_.size());
    for (Vector<double>* v : {&e_, &log_cdf_, &hazard_}) v->resize(entries);
  }

  bool is_empty() const { return largest_ == -kInfinity<double>; }
  Index size() const { return e_.size(); }
  const std::vector<Index>& places() const { return places_; }

  /// log Π_j F(t − x_j); the hazards are kept.
  double log_product(double t) {
    for (Index j = 0; j < size(); ++j) e_[j] = t - logits_[static_cast<std::size_t>(j)];
    noise_.evaluate(e_, log_cdf_, hazard_);
    double sum = 0.0;
    for (Index j = 0; j < size(); ++j) sum += log_cdf_[j];
    return sum;
  }

  const Vector<double>& hazard() const { return hazard_; }

  /// Edges of the panels to start with, ascending: the ends, places where the integrand is not
  /// smooth, and places around every cluster of logits whose distances from it grow geometrically,
  /// so that neither a far logit's narrow peak nor a long tail falls between the nodes.
  std::vector<double> edges() {
    const double unit = noise_.unit();
    const auto [low, high] = range();
    std::vector<double> found{low, high};
    const auto add = [&, low = low, high = high](double t) {
      if (low < t && t < high) found.push_back(t);
    };
    for (const double kink : noise_.kinks()) {
      for (const double x : logits_) add(x + kink);
    }
    std::vector<double> sorted = logits_;
    std::sort(sorted.begin(), sorted.end());
    const double center = noise_.center();
    for (std::size_t first = 0; first < sorted.size();) {
      std::size_t last = first;
      while (last + 1 < sorted.size() && sorted[last + 1] - sorted[last] <= kNearby * unit) ++last;
      const double left = sorted[first] + center;
      const double right = sorted[last] + center;
      for (double t = left; t < right && t < high; t += kWidest * unit) add(t);
      const double before = first > 0 ? sorted[first - 1] + center : low;
      const double after = last + 1 < sorted.size() ? sorted[last + 1] + center : high;
      for (double d = unit; left - d > before; d *= kGrowth) add(left - d);
      for (double d = unit; right + d < after; d *= kGrowth) add(right + d);
      add(left);
      add(right);
      first = last + 1;
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

 private:
  /// Where the distribution of the maximum lies, but for some 1e−15 of it.
  std::pair<double, double> range() {
    const double center = noise_.center();
    double low = noise_.unit();
    while (log_product(center - low) > kLogNothing) low *= kGrowth;
    double high = noise_.unit();
    while (-std::expm1(log_product(center + high)) > kMissing && high < 1e300) high *= kGrowth;
    return {center - low, center + high};
  }

  const Noise& noise_;
  double largest_;
  std::vector<Index> places_;
  std::vector<double> logits_;
  Vector<double> e_;
  Vector<double> log_cdf_;
  Vector<double> hazard_;
};

/// ∫ over all t of `integrand(ΠF, h, value)`, which writes `size` numbers.
template <class Integrand>
class Integral {
 public:
  Integral(Row& row, Index size, Integrand integrand, double scale, Checkpoint& checkpoint)
      : row_(row), integrand_(integrand), scale_(scale), checkpoint_(checkpoint) {
    for (Vector<double>* v : {&total_, &value_, &kronrod_, &gauss_}) {
      *v = Vector<double>::Zero(size);
    }
  }

  const Vector<double>& evaluate() {
    const std::vector<double> edges = row_.edges();
    for (std::size_t i = 0; i + 1 < edges.size(); ++i) add(edges[i], edges[i + 1]);
    return total_;
  }

 private:
  /// Adds the integral over one panel, halved where the rules differ.
  void add(double left, double right) {
    std::vector<std::array<double, 2>> open{{left, right}};
    const double narrowest = std::ldexp(right - left, -kMostHalvings);
    while (!open.empty()) {
      const auto [a, b] = open.back();
      open.pop_back();
      checkpoint_();
      const double error = apply_rules(a, b);
      const double middle = a + 0.5 * (b - a);
      if (error <= kTolerance * scale_ || !(a < middle && middle < b)) {
        total_ += kronrod_;
        continue;
      }
      require<NotConverged>(b - a > narrowest,
                            "the quadrature of perturb_max did not converge: ", error,
                            " is left near ", a, ", wanted ", kTolerance * scale_);
      open.push_back({middle, b});
      open.push_back({a, middle});
    }
  }

  double apply_rules(double a, double b) {
    const double half = 0.5 * (b - a);
    const double middle = a + half;
    kronrod_.setZero();
    gauss_.setZero();
    for (std::size_t k = 0; k < Kronrod::nodes.size(); ++k) {
      add_node(middle + half * Kronrod::nodes[k], half, k);
      if (k > 0) add_node(middle - half * Kronrod::nodes[k], half, k);
    }
    return (kronrod_ - gauss_).cwiseAbs().maxCoeff();
  }

  void add_node(double t, double half, std::size_t k) {
    const double log_product = row_.log_product(t);
    if (!(log_product > 2.0 * kLogNothing)) return;
    integrand_(std::exp(log_product), row_.hazard(), value_);
    kronrod_ += (half * Kronrod::weights[k]) * value_;
    if (k % 2 == 0) gauss_ += (half * Kronrod::gauss[k]) * value_;
  }

  Row& row_;
  Integrand integrand_;
  double scale_;
  Checkpoint& checkpoint_;
  Vector<double> total_;
  Vector<double> value_;
  Vector<double> kronrod_;
  Vector<double> gauss_;
};

/// Rows, spread over threads where the noise allows it. A node costs some 30 operations an entry.
template <class Body>
void for_noisy_rows(ConstRows<double> x, const Noise& noise, Body&& body) {
  constexpr double kNodes = 500.0;
  constexpr double kWorkPerNode = 30.0;
  const double work =
      noise.is_concurrent() ? kNodes * kWorkPerNode * static_cast<double>(x.size()) : 0.0;
  parallel_for(x.rows(), work, [&](Index index, Checkpoint& checkpoint) {
    checkpoint();
    body(index, checkpoint);
  });
}

void integrate_row(Row& row, Index index, Rows<double>& p, Checkpoint& checkpoint) {
  p.row(index).setZero();
  const auto density = [](double product, const Vector<double>& hazard, Vector<double>& value) {
    value = product * hazard;
  };
  const Vector<double> found = Integral(row, row.size(), density, 1.0, checkpoint).evaluate();
  double mass = 0.0;
  for (const double p_j : found) mass += p_j;
  require<NotConverged>(std::abs(mass - 1.0) <= kMassTolerance, "the probabilities of row ", index,
                        " add up to ", mass,
                        ": noise must have a density that is the derivative of its distribution");
  for (Index j = 0; j < row.size(); ++j) {
    p(index, row.places()[static_cast<std::size_t>(j)]) = found[j] / mass;
  }
}

void multiply_row(Row& row, const double* g, double temperature, double* out,
                  Checkpoint& checkpoint) {
  Vector<double> vector(row.size());
  for (Index j = 0; j < row.size(); ++j) vector[j] = g[row.places()[static_cast<std::size_t>(j)]];
  // J1 = 0: relative to one of them the entries are as small as they can be.
  vector.array() -= vector[0];
  const double scale = vector.cwiseAbs().maxCoeff();
  if (scale == 0.0) return;
  const auto integrand = [&](double product, const Vector<double>& hazard, Vector<double>& value) {
    double sum = 0.0;
    double moment = 0.0;
    for (Index j = 0; j < hazard.size(); ++j) {
      sum += hazard[j];
      moment += hazard[j] * vector[j];
    }
    value = (product * hazard.array() * (sum * vector.array() - moment)).matrix();
  };
  const Vector<double> found = Integral(row, row.size(), integrand, scale, checkpoint).evaluate();
  for (Index j = 0; j < row.size(); ++j) {
    out[row.places()[static_cast<std::size_t>(j)]] = found[j] / temperature;
  }
}

/// −∂p_i/∂x_j = ∫ h_i h_j ΠF dt for i < j; rows add up to 0.
void differentiate_row(Row& row, double temperature, double* jacobian, Index n,
                       Checkpoint& checkpoint) {
  const Index size = row.size();
  const auto integrand = [size](double product, const Vector<double>& hazard,
                                Vector<double>& value) {
    for (Index i = 0; i < size; ++i) {
      value.segment(i * size, size) = (product * hazard[i]) * hazard;
      value[i * size + i] = 0.0;
    }
  };
  const Vector<double> found = Integral(row, size * size, integrand, 1.0, checkpoint).evaluate();
  for (Index i = 0; i < size; ++i) {
    const Index to = row.places()[static_cast<std::size_t>(i)];
    double sum = 0.0;
    for (Index j = 0; j < size; ++j) {
      const double slope = found[i * size + j] / temperature;
      jacobian[to * n + row.places()[static_cast<std::size_t>(j)]] = -slope;
      sum += slope;
    }
    jacobian[to * n + to] = sum;
  }
}

}  // namespace

std::unique_ptr<Noise> noise_named(const std::string& name, double df) {
  if (name == "gumbel") return standard([](double e) { return math::gumbel(e); });
  if (name == "normal") return standard([](double e) { return math::normal(e); });
  if (name == "logistic") return standard([](double e) { return math::logistic(e); });
  if (name == "laplace") return standard([](double e) { return math::laplace(e); }, {0.0});
  if (name == "uniform") return standard([](double e) { return math::uniform(e); }, {0.0, 1.0});
  if (name == "exponential") return standard([](double e) { return math::exponential(e); }, {0.0});
  if (name == "cauchy") return standard([](double e) { return math::cauchy(e); });
  require(name == "student-t", "noise must be 'gumbel', 'normal', 'logistic', 'laplace', ",
          "'uniform', 'exponential', 'student-t' or 'cauchy', got '", name, "'");
  require(df > 0.0 && std::isfinite(df), "df must be positive and finite, got ", df);
  const double log_beta = std::lgamma(0.5 * df) + std::lgamma(0.5) - std::lgamma(0.5 * df + 0.5);
  return standard([df, log_beta](double e) { return math::student_t(e, df, log_beta); });
}

void perturb_max(ConstRows<double> x, const Noise& noise, Parameter temperature, Empty empty,
                 Rows<double> p) {
  Census<double> census(x);
  for_noisy_rows(x, noise, [&](Index index, Checkpoint& checkpoint) {
    if (!maxima(x.row(index).data(), x.cols()).is_clean()) return census.refuse();
    Row row(x.row(index).data(), x.cols(), temperature[index], noise);
    if (row.is_empty()) return fill_empty(p, index, empty);
    integrate_row(row, index, p, checkpoint);
  });
  census.check();
}

void perturb_max_product(ConstRows<double> x, ConstRows<double> g, const Noise& noise,
                         Parameter temperature, Rows<double> out) {
  for_noisy_rows(x, noise, [&](Index index, Checkpoint& checkpoint) {
    out.row(index).setZero();
    Row row(x.row(index).data(), x.cols(), temperature[index], noise);
    if (row.is_empty()) return;
    multiply_row(row, g.row(index).data(), temperature[index], out.row(index).data(), checkpoint);
  });
}

void perturb_max_jacobian(ConstRows<double> x, const Noise& noise, Parameter temperature,
                          double* out) {
  const Index n = x.cols();
  for_noisy_rows(x, noise, [&](Index index, Checkpoint& checkpoint) {
    double* jacobian = out + index * n * n;
    std::fill_n(jacobian, n * n, 0.0);
    Row row(x.row(index).data(), n, temperature[index], noise);
    if (!row.is_empty()) differentiate_row(row, temperature[index], jacobian, n, checkpoint);
  });
}

}  // namespace resolvent::probmap
