#include "resolvent/probmap/perturb.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

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

/// Kronrod's 21 nodes on [−1, 1] from the middle outwards, and the weights; every second one, from
/// the first pair on, is one of Gauss's 10 (Piessens et al. 1983).
struct Kronrod {
  static constexpr std::array<double, 11> nodes{0.0,
                                                0.14887433898163121088,
                                                0.29439286270146019813,
                                                0.43339539412924719080,
                                                0.56275713466860468334,
                                                0.67940956829902440623,
                                                0.78081772658641689706,
                                                0.86506336668898451073,
                                                0.93015749135570822600,
                                                0.97390652851717172008,
                                                0.99565716302580808074};
  static constexpr std::array<double, 11> weights{
      0.14944555400291690566,  0.14773910490133849137,  0.14277593857706008080,
      0.13470921731147332593,  0.12349197626206585108,  0.10938715880229764190,
      0.093125454583697605535, 0.075039674810919952767, 0.054755896574351996031,
      0.032558162307964727479, 0.011694638867371874278};
  static constexpr std::array<double, 11> gauss{
      0.0, 0.29552422471475287017, 0.0, 0.26926671930999635509,  0.0, 0.21908636251598204400,
      0.0, 0.14945134915058059315, 0.0, 0.066671344308688137594, 0.0};
};

constexpr double kTolerance = 1e-12;  // of a panel
constexpr double kMassTolerance = 1e-9;
constexpr double kLogNothing = -40.0;  // log of a probability that is left out
constexpr double kMissing = 1e-15;     // the same on the right, where it is 1 − ΠF
constexpr int kMostHalvings = 48;
constexpr double kFarthest = 1e150;  // units; no distribution in use reaches as far
constexpr double kGrowth = 4.0;      // of the panels away from the logits
constexpr double kNearby = 16.0;     // units; logits further apart than this are separate clusters
constexpr double kWidest = 4.0;      // units; panels among the logits

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
  }

  bool is_empty() const { return largest_ == -kInfinity<double>; }
  Index size() const { return static_cast<Index>(places_.size()); }
  const std::vector<Index>& places() const { return places_; }

  /// Looks at F(t − x_j) and f(t − x_j)/F(t − x_j) for several t at once.
  void visit(std::span<const double> times) {
    const Index entries = size();
    const Index count = static_cast<Index>(times.size()) * entries;
    for (Vector<double>* v : {&e_, &log_cdf_, &hazard_}) v->resize(count);
    Index place = 0;
    for (const double t : times) {
      for (const double x : logits_) e_[place++] = t - x;
    }
    noise_.evaluate(e_, log_cdf_, hazard_);
  }

  /// log Π_j F(t − x_j) at the k-th t of the visit.
  double log_product(Index k) const {
    double sum = 0.0;
    for (Index j = k * size(); j < (k + 1) * size(); ++j) sum += log_cdf_[j];
    return sum;
  }

  ConstVectorView<double> hazard(Index k) const { return {hazard_.data() + k * size(), size()}; }

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
      const double before = first > 0 ? sorted[first - 1] + center : low;
      const double after = last + 1 < sorted.size() ? sorted[last + 1] + center : high;
      first = last + 1;
      if (right < low || left > high) continue;
      const double from = std::max(left, low);
      const auto parts = static_cast<int>((std::min(right, high) - from) / (kWidest * unit));
      for (int k = 0; k <= parts; ++k) add(from + k * (kWidest * unit));
      for (double d = unit; left - d > before; d *= kGrowth) add(left - d);
      for (double d = unit; right + d < after; d *= kGrowth) add(right + d);
      add(right);
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
    while (log_product_at(center - low) > kLogNothing) {
      require_near(low, center - low);
      low *= kGrowth;
    }
    double high = noise_.unit();
    while (-std::expm1(log_product_at(center + high)) > kMissing) {
      require_near(high, center + high);
      high *= kGrowth;
    }
    return {center - low, center + high};
  }

  double log_product_at(double t) {
    visit({&t, 1});
    return log_product(0);
  }

  void require_near(double distance, double t) {
    require<NotConverged>(distance < kFarthest, "the cdf of noise must come near 0 and 1 within ",
                          kFarthest, " units of its middle; it is e^", log_product_at(t), " at ", t,
                          " for the maximum");
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
    constexpr std::size_t kNodes = Kronrod::nodes.size();
    const double half = 0.5 * (b - a);
    const double middle = a + half;
    std::array<double, 2 * kNodes - 1> times;
    for (std::size_t k = 0; k < kNodes; ++k) {
      times[kNodes - 1 + k] = middle + half * Kronrod::nodes[k];
      times[kNodes - 1 - k] = middle - half * Kronrod::nodes[k];
    }
    row_.visit(times);
    kronrod_.setZero();
    gauss_.setZero();
    for (std::size_t i = 0; i < times.size(); ++i) {
      const std::size_t k = i < kNodes ? kNodes - 1 - i : i - (kNodes - 1);
      add_node(static_cast<Index>(i), half * Kronrod::weights[k], half * Kronrod::gauss[k]);
    }
    return (kronrod_ - gauss_).cwiseAbs().maxCoeff();
  }

  void add_node(Index i, double weight, double gauss_weight) {
    const double log_product = row_.log_product(i);
    if (!(log_product > 2.0 * kLogNothing)) return;
    integrand_(std::exp(log_product), row_.hazard(i), value_);
    kronrod_ += weight * value_;
    if (gauss_weight > 0.0) gauss_ += gauss_weight * value_;
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
void for_noisy_rows(ConstRows<double> x, const Noise& noise, Parameter temperature, Body&& body) {
  constexpr double kNodes = 500.0;
  constexpr double kWorkPerNode = 30.0;
  const double work =
      noise.is_concurrent() ? kNodes * kWorkPerNode * static_cast<double>(x.size()) : 0.0;
  require_temperature(temperature);
  Census<double> census(x);
  parallel_for(x.rows(), work, [&](Index index, Checkpoint& checkpoint) {
    checkpoint();
    if (!maxima(x.row(index).data(), x.cols()).is_clean()) return census.refuse();
    body(index, checkpoint);
  });
  census.check();
}

void integrate_row(Row& row, Index index, Rows<double>& p, Checkpoint& checkpoint) {
  p.row(index).setZero();
  const auto density = [](double product, ConstVectorView<double> hazard, Vector<double>& value) {
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
  const auto integrand = [&](double product, ConstVectorView<double> hazard,
                             Vector<double>& value) {
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
  const auto integrand = [size](double product, ConstVectorView<double> hazard,
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
      jacobian[to * n + row.places()[static_cast<std::size_t>(j)]] = 0.0 - slope;
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
  const double log_beta = math::log_beta_half(0.5 * df);
  return standard([df, log_beta](double e) { return math::student_t(e, df, log_beta); });
}

void perturb_max(ConstRows<double> x, const Noise& noise, Parameter temperature, Empty empty,
                 Rows<double> p) {
  for_noisy_rows(x, noise, temperature, [&](Index index, Checkpoint& checkpoint) {
    Row row(x.row(index).data(), x.cols(), temperature[index], noise);
    if (row.is_empty()) return fill_empty(p, index, empty);
    integrate_row(row, index, p, checkpoint);
  });
}

void perturb_max_product(ConstRows<double> x, ConstRows<double> g, const Noise& noise,
                         Parameter temperature, Rows<double> out) {
  for_noisy_rows(x, noise, temperature, [&](Index index, Checkpoint& checkpoint) {
    out.row(index).setZero();
    Row row(x.row(index).data(), x.cols(), temperature[index], noise);
    if (row.is_empty()) return;
    multiply_row(row, g.row(index).data(), temperature[index], out.row(index).data(), checkpoint);
  });
}

void perturb_max_jacobian(ConstRows<double> x, const Noise& noise, Parameter temperature,
                          double* out) {
  const Index n = x.cols();
  for_noisy_rows(x, noise, temperature, [&](Index index, Checkpoint& checkpoint) {
    double* jacobian = out + index * n * n;
    std::fill_n(jacobian, n * n, 0.0);
    Row row(x.row(index).data(), n, temperature[index], noise);
    if (!row.is_empty()) differentiate_row(row, temperature[index], jacobian, n, checkpoint);
  });
}

}  // namespace resolvent::probmap
