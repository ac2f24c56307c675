#pragma once

#include <span>

#include "resolvent/core/types.hpp"

/// The sums that diagonal state-space models come down to: Cauchy's, over poles, in the frequency
/// domain, and Vandermonde's, over powers, in the time domain.
namespace resolvent::ssm {

/// `single`: the sum as it stands. `conjugate`: with the conjugate of every term, v̄_n and λ̄_n.
enum class Terms { single, conjugate };

/// S sums over the same poles, y_s(z) = Σ_n c_sn/(z − λ_n), or with the conjugate terms.
///
/// Four sums at a time share the reciprocals of their terms, which are never stored: a division and
/// 8 multiplications and additions per sum and term. In double precision whatever T is, in the same
/// order and without fused operations, so with the same bits on every instruction set. Relative
/// error of each term some eps, for differences |z − λ| between 1e-75 and 1e75 (conjugate terms) or
/// 1e-150 and 1e150.
template <class T>
class CauchySums {
 public:
  /// coefficients (S, N), eigenvalues (N).
  CauchySums(ConstRows<std::complex<T>> coefficients, std::span<const Complex> eigenvalues,
             Terms terms);

  Index sums() const { return sums_; }

  /// out (S, points). Any number of threads may call it.
  void evaluate(std::span<const Complex> z, Rows<std::complex<T>> out) const;

 private:
  Terms terms_;
  Index sums_;
  Vector<Complex> eigenvalues_;
  Vector<double> coefficients_;
};

/// out (H, K): row h is Σ_n v_hn/(z_k − λ_hn). `z` and `eigenvalues` have H rows, or one for all.
template <class T>
void cauchy(ConstRows<std::complex<T>> v, ConstRows<Complex> z, ConstRows<Complex> eigenvalues,
            Terms terms, Rows<std::complex<T>> out);

/// The adjoint of `cauchy` at g (H, K): gradients in the convention ∂/∂Re + i∂/∂Im of a real
/// function whose gradient at the sums is g. Outputs (H, N), (H, K), (H, N): a row each, also where
/// `z` or `eigenvalues` have one row for all.
template <class T>
void cauchy_adjoint(ConstRows<std::complex<T>> v, ConstRows<Complex> z,
                    ConstRows<Complex> eigenvalues, ConstRows<std::complex<T>> g, Terms terms,
                    Rows<std::complex<T>> v_out, Rows<std::complex<T>> z_out,
                    Rows<std::complex<T>> eigenvalues_out);

/// out (H, L): row h is Σ_n v_hn λ_hn^k, k < L. `eigenvalues` has H rows, or one for all.
///
/// With k = iB + j the sum is a product of matrices, Σ_n (v_n λ_n^{iB})·λ_n^j: N(L/B + B) powers
/// and NL multiply–adds. Powers are made in double precision by products of powers of half the
/// exponent; their relative error is at most about k·eps, which is also what an error eps of λ
/// makes. Powers below the smallest normal number are taken as 0.
template <class T>
void vandermonde(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues,
                 Rows<std::complex<T>> out);

/// With the conjugate terms, out (H, L) = 2 Re Σ_n v_hn λ_hn^k.
template <class T>
void vandermonde_real(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues, Rows<T> out);

/// The adjoint of `vandermonde` at g (H, L): (H, N) and (H, N), conventions as `cauchy_adjoint`.
/// For the conjugate terms the gradients are twice those at a real g.
template <class T>
void vandermonde_adjoint(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues,
                         ConstRows<std::complex<T>> g, Rows<std::complex<T>> v_out,
                         Rows<std::complex<T>> eigenvalues_out);

extern template class CauchySums<float>;
extern template class CauchySums<double>;

}  // namespace resolvent::ssm
