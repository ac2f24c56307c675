#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "resolvent/core/threads.hpp"
#include "resolvent/math/discretize.hpp"
#include "resolvent/ssm/time.hpp"

namespace resolvent::ssm {
namespace {

/// Complex numbers as pairs, whose product is four multiplications and no call.
template <class T>
struct Scalar {
  using type = T;
};

template <class T>
struct Scalar<std::complex<T>> {
  using type = math::ComplexPair<T>;
};

template <class T>
const typename Scalar<T>::type* plain(const T* values) {
  return reinterpret_cast<const typename Scalar<T>::type*>(values);
}

template <class T>
typename Scalar<T>::type* plain(T* values) {
  return reinterpret_cast<typename Scalar<T>::type*>(values);
}

/// One row read forwards or backwards in time.
template <class S>
struct Row {
  const S* a;
  const S* b;
  S* x;
  Index a_stride;  // 0: the same for all k
  Index stride;    // 1 or −1
  Index start;     // 0 or L − 1

  S factor(Index k) const { return a[a_stride == 0 ? 0 : start + k * stride]; }
  S input(Index k) const { return b[start + k * stride]; }
  void put(Index k, S value) const { x[start + k * stride] = value; }
};

/// Lanes that run side by side within a row hide the latency of the recurrence.
constexpr Index kLanes = 8;
constexpr Index kChunk = 4096;  // samples of one lane's chunk of a long row

template <class S>
S run(const Row<S>& row, Index first, Index end, S value) {
  for (Index k = first; k < end; ++k) {
    value = row.factor(k) * value + row.input(k);
    row.put(k, value);
  }
  return value;
}

/// What a chunk does to the value before it: x ↦ product·x + sum.
template <class S>
struct Affine {
  S product;
  S sum;
};

template <class T>
bool in_range(T value) {
  return std::isfinite(value);
}

template <class T>
bool in_range(math::ComplexPair<T> value) {
  return std::isfinite(value.re) && std::isfinite(value.im);
}

template <class T>
T size_of(T value) {
  return std::abs(value);
}

template <class T>
T size_of(math::ComplexPair<T> value) {
  return std::max(std::abs(value.re), std::abs(value.im));
}

/// Whether the map can be applied: neither overflown nor, but for an exact 0, near the smallest
/// normal number, where its digits are lost.
template <class S>
bool in_range(const Affine<S>& map) {
  const auto size = size_of(map.product);
  using T = std::remove_const_t<decltype(size)>;
  const T least = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  return in_range(map.product) && in_range(map.sum) && size > least;
}

/// The value after a chunk, nothing written.
template <class S>
S follow(const Row<S>& row, Index first, Index length, S value) {
  for (Index k = first; k < first + length; ++k) value = row.factor(k) * value + row.input(k);
  return value;
}

/// The affine maps of kLanes chunks of equal length, side by side.
template <class S>
void compose(const Row<S>& row, Index first, Index length, S one, S zero, Affine<S>* maps) {
  S product[kLanes];
  S sum[kLanes];
  for (Index l = 0; l < kLanes; ++l) {
    product[l] = one;
    sum[l] = zero;
  }
  for (Index k = 0; k < length; ++k) {
    for (Index l = 0; l < kLanes; ++l) {
      const S a = row.factor(first + l * length + k);
      product[l] = a * product[l];
      sum[l] = a * sum[l] + row.input(first + l * length + k);
    }
  }
  for (Index l = 0; l < kLanes; ++l) maps[l] = {product[l], sum[l]};
}

template <class S>
void run_lanes(const Row<S>& row, Index first, Index length, const S* starts) {
  S value[kLanes];
  std::copy_n(starts, kLanes, value);
  for (Index k = 0; k < length; ++k) {
    for (Index l = 0; l < kLanes; ++l) {
      const Index at = first + l * length + k;
      value[l] = row.factor(at) * value[l] + row.input(at);
      row.put(at, value[l]);
    }
  }
}

/// A long row: groups of kLanes chunks are independent of each other but for the values before
/// them, which the composed maps give.
template <class S>
void scan_long(const Row<S>& row, Index samples, S x0, S one, S zero) {
  constexpr Index kGroup = kLanes * kChunk;
  const Index groups = samples / kGroup;
  std::vector<Affine<S>> maps(static_cast<std::size_t>(groups * kLanes));
  const double work = 12.0 * static_cast<double>(samples);
  parallel_for(groups, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    compose(row, g * kGroup, kChunk, one, zero, maps.data() + g * kLanes);
  });
  // A chunk whose product left the range of T is run step by step from the value before it.
  std::vector<S> starts(maps.size() + 1);
  starts[0] = x0;
  for (std::size_t i = 0; i < maps.size(); ++i) {
    starts[i + 1] = in_range(maps[i])
                        ? maps[i].product * starts[i] + maps[i].sum
                        : follow(row, static_cast<Index>(i) * kChunk, kChunk, starts[i]);
  }
  parallel_for(groups, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    run_lanes(row, g * kGroup, kChunk, starts.data() + g * kLanes);
  });
  run(row, groups * kGroup, samples, starts.back());
}

}  // namespace

template <class T>
void scan(ConstRows<T> a, ConstRows<T> b, const T* x0, bool reverse, Rows<T> x) {
  using S = typename Scalar<T>::type;
  const Index samples = b.cols();
  if (samples == 0) return;
  const S one = *plain<T>(&static_cast<const T&>(T(1)));
  const S zero = *plain<T>(&static_cast<const T&>(T(0)));
  const Index stride = reverse ? -1 : 1;
  const Index start = reverse ? samples - 1 : 0;
  const auto row_of = [&](Index h) {
    return Row<S>{plain(a.row(h).data()),
                  plain(b.row(h).data()),
                  plain(x.row(h).data()),
                  a.cols() == 1 && samples > 1 ? 0 : 1,
                  stride,
                  start};
  };
  if (samples >= 4 * kLanes * kChunk) {
    for (Index h = 0; h < b.rows(); ++h) {
      scan_long(row_of(h), samples, *plain(x0 + h), one, zero);
    }
    return;
  }
  // Short rows: kLanes of them side by side.
  const double work = 8.0 * static_cast<double>(b.rows()) * static_cast<double>(samples);
  const Index groups = (b.rows() + kLanes - 1) / kLanes;
  parallel_for(groups, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    const Index first = g * kLanes;
    if (b.rows() - first < kLanes) {
      for (Index h = first; h < b.rows(); ++h) run(row_of(h), 0, samples, *plain(x0 + h));
      return;
    }
    S value[kLanes];
    std::copy_n(plain(x0 + first), kLanes, value);
    Row<S> rows[kLanes];
    for (Index l = 0; l < kLanes; ++l) rows[l] = row_of(first + l);
    for (Index k = 0; k < samples; ++k) {
      for (Index l = 0; l < kLanes; ++l) {
        value[l] = rows[l].factor(k) * value[l] + rows[l].input(k);
        rows[l].put(k, value[l]);
      }
    }
  });
}

#define RESOLVENT_INSTANTIATE(T) \
  template void scan<T>(ConstRows<T>, ConstRows<T>, const T*, bool, Rows<T>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(std::complex<float>)
RESOLVENT_INSTANTIATE(std::complex<double>)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::ssm
