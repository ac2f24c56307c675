#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "resolvent/probmap/maps.hpp"

/// p_i = P[argmax_j(x_j/τ + ε_j) = i] for independent ε of one distribution, by quadrature.
///
/// With F, f the distribution and its density, h = f/F and t = x_i + ε,
///   p_i = ∫ h(t − x_i) Π_j F(t − x_j) dt:
/// all p_i share nodes, O(n) work at each. −∂p_i/∂x_j is ∫ h_i h_j Π F dt for i ≠ j.
namespace resolvent::probmap {

/// A distribution, as the quadrature needs it.
class Noise {
 public:
  virtual ~Noise() = default;

  /// log F(e) and f(e)/F(e) for every e; −∞ and anything where F(e) = 0.
  virtual void evaluate(const Vector<double>& e, Vector<double>& log_cdf,
                        Vector<double>& hazard) const = 0;

  /// A length on which f varies, and a place where it is not small.
  virtual double unit() const { return 1.0; }
  virtual double center() const { return 0.0; }

  /// Where f or a derivative of it jumps.
  virtual std::vector<double> kinks() const { return {}; }

  /// Whether rows may be evaluated by several threads at once.
  virtual bool is_concurrent() const { return true; }
};

/// "gumbel", "normal", "logistic", "laplace", "uniform" (on [0, 1]), "exponential", "cauchy", all
/// in standard form, or "student-t" with `df` > 0 degrees of freedom. Throws `InvalidArgument`
/// else.
std::unique_ptr<Noise> noise_named(const std::string& name, double df);

/// p of every row to 1e−10 absolute, by Gauss–Kronrod rules with 21 nodes on panels between the
/// places where the integrand may jump, halved until both rules agree to 1e−12. Throws
/// `NotConverged` where they do not, or where Σp differs from 1 by more than 1e−9, as it does if
/// the density is not that of the distribution. O(n·nodes), some 300 to 2000 nodes; O(n) memory a
/// row.
void perturb_max(ConstRows<double> x, const Noise& noise, Parameter temperature, Empty empty,
                 Rows<double> p);

/// Jg by the same quadrature, to 1e−10 max|g|; J is symmetric. Empty rows give 0.
void perturb_max_product(ConstRows<double> x, ConstRows<double> g, const Noise& noise,
                         Parameter temperature, Rows<double> out);

/// J itself, n² numbers for every row. O(n²·nodes).
void perturb_max_jacobian(ConstRows<double> x, const Noise& noise, Parameter temperature,
                          double* out);

}  // namespace resolvent::probmap
