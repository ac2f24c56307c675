#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "resolvent/core/types.hpp"

/// HiPPO: online approximation of a signal by orthogonal functions (Gu et al. 2020,
/// arXiv:2008.07669). Coefficients c of the past follow c' = A c + B u, or (A c + B u)/t.
namespace resolvent::hippo {

enum class Measure { legs, legt, lagt, glagt, fout, fous, malmquist, derived };

/// Which basis the coefficients multiply. All are diagonal scalings of one another, but for
/// `complex`, the unitary map from cosines and sines to exponentials.
enum class Normalization { probability, lebesgue, legendre, lmu, laguerre, complex };

/// What FouT takes for the value that leaves the window, which the coefficients do not hold:
/// the series' own value there (`left`, κ = 1), or, since a Fourier series has the mean of both
/// ends at a jump, twice that minus the newest value (`average`, κ = 2).
enum class Closure { left, average };

/// `window`: c' = A c + B u over the last `window` units. `scaled`: c' = (A c + B u)/t over the
/// whole past. `invariant`: c' = A c + B u over an infinite past that fades.
enum class Clock { window, scaled, invariant };

/// What a system is; fields that a measure does not use are ignored.
struct Config {
  Measure measure = Measure::legs;
  Index order = 1;
  double window = 1.0;  ///< length of the window, or the unit of time of a fading memory
  Normalization normalization = Normalization::probability;
  Closure closure = Closure::average;  ///< fout
  Vector<double> poles{};              ///< malmquist, all positive
  double alpha = 0.0;                  ///< glagt, −1 < α < 1
  double beta = 0.01;                  ///< glagt, β > 0
  bool frozen = false;                 ///< read the matrices of the scaled clock as invariant
};

/// A triangular system in the coordinates where A_nn = −diagonal_n, A_nk = −coupling_n (k < n) and
/// B_n = coupling_n · drive_n.
struct Cascade {
  Vector<double> diagonal;
  Vector<double> coupling;
  Vector<double> drive;  ///< all ones but for GLagT
};

/// A HiPPO system: its matrices, and their action without the matrices.
///
/// Structure, in the inner coordinates ξ = x/scale():
///  - legs, lagt, glagt, malmquist: triangular semiseparable (`Cascade`).
///  - legt: A_nk = −(2n+1)(1 if k ≤ n else (−1)^{n−k})/w; the inverse is tridiagonal,
///    A⁻¹ = −(w/2) Tri diag(2n+1)⁻¹ with Tri = −1 below, +1 above the diagonal and +1 added at
///    both ends of the diagonal (from (2n+1) P_n = P'_{n+1} − P'_{n−1}).
///  - fout: A = (Ω − κbbᵀ)/w, Ω block diagonal with blocks [[0, ω], [−ω, 0]].
///  - fous, derived: dense.
class System {
 public:
  /// Checks the configuration; costs nothing else. Throws `InvalidArgument`.
  explicit System(Config config);

  /// A system given by its matrices.
  System(Matrix<double> A, Vector<double> B, Clock clock, double window);

  const Config& config() const { return config_; }
  Measure measure() const { return config_.measure; }
  Index order() const { return config_.order; }
  Clock clock() const { return clock_; }

  /// What A and B are divided by: the window, or 1 on the scaled clock.
  double unit() const { return clock_ == Clock::scaled ? 1.0 : config_.window; }

  bool is_cascade() const;
  bool is_dense() const;
  bool is_complex() const { return config_.normalization == Normalization::complex; }

  /// The same system in another normalisation.
  System with(Normalization normalization) const;

  /// The triangular form, not divided by `unit()`. Only if `is_cascade()`.
  Cascade cascade() const;

  /// κ of the closure (fout).
  double kappa() const { return config_.closure == Closure::left ? 1.0 : 2.0; }

  /// Angular frequency of each coefficient of fout, fous (0 for the constant, and for a last
  /// cosine whose sine is beyond the order).
  Vector<double> frequencies() const;

  /// x = scale ⊙ ξ: from the inner coordinates to the normalisation's.
  Vector<double> scale() const;

  /// The matrices, O(N²) and O(N). Complex normalisation: `complex_A`, `complex_B`.
  Matrix<double> A() const;
  Vector<double> B() const;
  Matrix<Complex> complex_A() const;
  Vector<Complex> complex_B() const;

  /// The coefficients −A⁻¹B that a constant signal 1 settles at.
  Vector<double> steady() const;

  /// out = A x for every row x. O(N) per row, O(N²) for dense systems. Real normalisations.
  template <class T>
  void apply(ConstRows<T> x, Rows<T> out) const;

  /// out = (I − λA)⁻¹ v for every row v. O(N) per row; dense systems, and fout with λ closer than
  /// 10⁻⁸ to a resonance 1/λ = ±iω, take one LU factorisation. Throws `InvalidArgument` where
  /// I − λA is singular. Real normalisations.
  template <class T>
  void solve(T lambda, ConstRows<T> v, Rows<T> out) const;

 private:
  /// out = scale ⊙ map(in / scale), row by row, rows spread over threads.
  template <class T, class Map>
  void map_rows(ConstRows<T> in, Rows<T> out, Map&& map) const;

  Config config_;
  Clock clock_;
  Matrix<double> A_;  // dense systems only
  Vector<double> B_;
};

Measure measure_from_name(std::string_view name);
Normalization normalization_from_name(std::string_view name);
Closure closure_from_name(std::string_view name);
Clock clock_from_name(std::string_view name);
std::string_view name_of(Measure measure);
std::string_view name_of(Normalization normalization);
std::string_view name_of(Closure closure);
std::string_view name_of(Clock clock);

/// The normalisations that a measure has, its default first.
std::vector<Normalization> normalizations_of(Measure measure);

extern template void System::apply<double>(ConstRows<double>, Rows<double>) const;
extern template void System::apply<Complex>(ConstRows<Complex>, Rows<Complex>) const;
extern template void System::solve<double>(double, ConstRows<double>, Rows<double>) const;
extern template void System::solve<Complex>(Complex, ConstRows<Complex>, Rows<Complex>) const;

}  // namespace resolvent::hippo
