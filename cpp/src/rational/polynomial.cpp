#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/math/rational.hpp"
#include "resolvent/rational/transfer.hpp"

namespace resolvent::rational {

template <class T>
void step_down(ConstRows<T> a, Rows<T> reflection) {
  using std::abs;
  reflection = a;
  for (Index h = 0; h < a.rows(); ++h) {
    T* row = reflection.row(h).data();
    for (Index m = a.cols(); m >= 1; --m) {
      const auto size = abs(row[m - 1]);
      if (size == 1.0) {
        std::fill_n(row, m - 1, T(std::numeric_limits<double>::quiet_NaN()));
        break;
      }
      math::lower_degree(row, m, size);
    }
  }
}

template <class T>
void step_up(ConstRows<T> reflection, Rows<T> a) {
  for (Index h = 0; h < reflection.rows(); ++h) {
    T* row = a.row(h).data();
    for (Index m = 1; m <= a.cols(); ++m) math::raise_degree(row, m, reflection(h, m - 1));
  }
}

template <class T>
void power_remainder(ConstRows<T> a, Index exponent, Rows<T> out) {
  const Index order = a.cols();
  if (order == 0) return;
  Checkpoint checkpoint;
  std::vector<T> product(static_cast<std::size_t>(2 * order));
  for (Index h = 0; h < a.rows(); ++h) {
    T* r = out.row(h).data();
    // ζ^i ← −Σ_j a_j ζ^{i−j}, from the highest power down.
    const auto reduce = [&](Index degree) {
      for (Index i = degree; i >= order; --i) {
        const T top = product[i];
        for (Index j = 1; j <= order; ++j) product[i - j] -= top * a(h, j - 1);
        product[i] = T(0);
      }
      std::copy_n(product.begin(), order, r);
    };
    std::fill_n(r, order, T(0));
    r[0] = T(1);
    for (int bit = 62; bit >= 0; --bit) {
      if ((exponent >> bit) == 0) continue;
      checkpoint();
      std::fill(product.begin(), product.end(), T(0));
      for (Index i = 0; i < order; ++i) {
        for (Index j = 0; j < order; ++j) product[i + j] += r[i] * r[j];
      }
      reduce(2 * order - 2);
      if (((exponent >> bit) & 1) == 0) continue;
      product[0] = T(0);
      std::copy_n(r, order, product.begin() + 1);
      reduce(order);
    }
  }
}

#define RESOLVENT_INSTANTIATE(T)                     \
  template void step_down<T>(ConstRows<T>, Rows<T>); \
  template void step_up<T>(ConstRows<T>, Rows<T>);   \
  template void power_remainder<T>(ConstRows<T>, Index, Rows<T>);
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(Complex)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::rational
