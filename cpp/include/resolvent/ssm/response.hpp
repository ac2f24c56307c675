#pragma once

#include <functional>
#include <span>

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"
#include "resolvent/ssm/sums.hpp"

/// Models in the frequency domain: resolvents, and kernels as inverse transforms of them.
namespace resolvent::ssm {

/// out (R, K) = C(ζ_k I − A)⁻¹B for dense A (N, N), C (R, N).
///
/// A is reduced once to Hessenberg form H with B = βe_1 (O(N³)). Then Hyman's method: with x_N = 1
/// the rows below the first give x_{N−1} … x_1, whose multiple by β/(first row·x) is the solution:
/// N²/2 complex multiply–adds per point, in a fixed order that vectorises over points, no pivoting.
/// The triangular solve and the products are backward stable (Higham 2002, §14.6.1), so the result
/// is that of a nearby A, B, C. An entry 0 below the diagonal cuts off what B does not reach.
/// Infinite or NaN at an eigenvalue.
template <class T>
void frequency_response(ConstRows<T> A, ConstVectorView<T> B, ConstRows<T> C,
                        std::span<const Complex> zeta, Rows<Complex> out);

/// out (R, K) = C(s_k I − A)⁻¹B by the all-pass product form (math::response_section), for a
/// cascade whose drive is all ones and C in its coordinates. O(N(R + 1)) per point, relative error
/// of each state about N eps: no eigenvalue and no condition number enters.
void cascade_response(const hippo::Cascade& cascade, ConstRows<double> C,
                      std::span<const Complex> s, Rows<Complex> out);

/// The same for some hundred points on this thread alone.
void cascade_points(const hippo::Cascade& cascade, ConstRows<double> C, std::span<const Complex> s,
                    Rows<Complex> out);

/// diag(λ) − PQ* with B and C, of one channel.
struct DplrModel {
  Vector<Complex> eigenvalues;  ///< M
  Vector<Complex> B;            ///< M
  Vector<Complex> C;            ///< M
  Matrix<Complex> P;            ///< r × M: one low-rank vector per row
  Matrix<Complex> Q;            ///< r × M, not conjugated
  Vector<double> weight;        ///< M: how many eigenvalues each stands for (real models)
  bool real;                    ///< one of each conjugate pair is kept, y = Re Σ weight·C·x
};

/// C(sI − A)⁻¹B by Woodbury's formula: with the (1 + r)² Cauchy sums S_XY = X(s − Λ)⁻¹Y over
/// X ∈ {C, Q*}, Y ∈ {B, P} it is S_CB − S_CP (I + S_QP)⁻¹ S_QB.
///
/// Near a λ_m, which need not be an eigenvalue of A, both terms are large and nearly the same, and
/// for r > 1 the matrix is ill-conditioned. There the λ_m near the point are moved away by ρ, and
/// ρ·e_m e_m* joins the low-rank part. Entries that no input reaches count for nothing, so that the
/// response is finite at their λ.
class DplrResponse {
 public:
  explicit DplrResponse(const DplrModel& model);

  /// O(M(1 + r)²) per point.
  void evaluate(std::span<const Complex> s, std::span<Complex> out) const;

 private:
  struct Minimal {};
  DplrResponse(const DplrModel& model, Minimal);

  Complex near_poles(Complex s) const;

  Index rank_;
  CauchySums<double> sums_;
  // With the conjugates that are not kept: eigenvalues, C and Q*, B and P.
  Vector<Complex> eigenvalues_;
  Matrix<Complex> left_;
  Matrix<Complex> right_;
};

/// The points z = e^{−2πil/L}, l = 0 … L/2 (real kernels) or L − 1, as nodes of the rule with
/// weight α: C(I − zĀ)⁻¹B̄ = weight·C(σ − εA)⁻¹(εB).
class CircleNodes {
 public:
  CircleNodes(Index length, double alpha, bool real);

  Index length() const { return length_; }
  Index size() const { return sigma_.size(); }
  bool real() const { return real_; }
  std::span<const Complex> sigma() const {
    return {sigma_.data(), static_cast<std::size_t>(sigma_.size())};
  }
  const Vector<Complex>& weight() const { return weight_; }
  /// Where weight and σ are infinite (bilinear, z = −1), or −1. There the response is εCB/2.
  Index infinite() const { return infinite_; }

 private:
  Index length_;
  bool real_;
  Index infinite_ = -1;
  Vector<Complex> sigma_;
  Vector<Complex> weight_;
};

/// A channel's C(sI − A)⁻¹B at the points s.
using Response =
    std::function<void(Index channel, std::span<const Complex> s, std::span<Complex> out)>;

/// out (H, L), complex or its real part: for every channel the inverse transform of G(z_l) over the
/// circle, which is Σ_j C Ā^{k + jL} B̄: the L-periodic kernel of C, or the kernel itself where C is
/// truncated, C(I − Āᴸ). steps (H); gains (H) = CB. `work`: operations of one response. Extra
/// memory: spectra of at most 2¹⁸ entries in all, or one if it is longer, and a signal per thread.
template <class T>
void circle_kernels(const CircleNodes& nodes, std::span<const double> steps,
                    std::span<const Complex> gains, double work, const Response& response,
                    Rows<T> out);

extern template void circle_kernels<double>(const CircleNodes&, std::span<const double>,
                                            std::span<const Complex>, double, const Response&,
                                            Rows<double>);
extern template void circle_kernels<Complex>(const CircleNodes&, std::span<const double>,
                                             std::span<const Complex>, double, const Response&,
                                             Rows<Complex>);

}  // namespace resolvent::ssm
