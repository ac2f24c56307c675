#include <cmath>
#include <limits>

#include "chunks.hpp"
#include "resolvent/attention/diagonal.hpp"
#include "resolvent/math/decay.hpp"

namespace resolvent::attention {
namespace {

template <class T>
constexpr Index kWidth = kLanes<T>;

template <class T>
constexpr T kEmpty = -std::numeric_limits<T>::infinity();

/// A pair of sums (p, q) over e^m, and m: one row of lanes each. Forwards the numerator and the
/// denominator of the past, backwards the gradients by them.
template <class T>
struct Pair {
  T* p;
  T* q;
  T* m;

  explicit Pair(T* state) : p(state), q(state + kWidth<T>), m(state + 2 * kWidth<T>) {}

  void clear() const {
    std::fill_n(p, 2 * kWidth<T>, T(0));
    std::fill_n(m, kWidth<T>, kEmpty<T>);
  }

  /// (p, q, m) ← the sum of itself, shifted, and (p, q, m) of `other`.
  void add(T shift, Index l, T p_other, T q_other, T m_other) const {
    const auto weights = math::relative_weights(m[l] + shift, m_other);
    p[l] = weights.first * p[l] + weights.second * p_other;
    q[l] = weights.first * q[l] + weights.second * q_other;
    m[l] = weights.largest;
  }
};

template <class T>
struct State {
  alignas(64) T at[3 * kWidth<T>];
};

/// The model with its channels in lanes. The state of a block is (3, kLanes).
template <class Number>
class Blocked {
 public:
  using T = Number;
  using Tile = typename ChannelBlocks<T>::Tile;
  static constexpr Index kTile = ChannelBlocks<T>::kTile;

  explicit Blocked(const Wkv<T>& model)
      : model_(model),
        blocks_(model.rows, model.length, model.channels),
        w_(blocks_.count(), kWidth<T>),
        u_(blocks_.count(), kWidth<T>) {
    for (Index b = 0; b < blocks_.count(); ++b) {
      blocks_.load(model.w, b, w_.row(b).data());
      blocks_.load(model.u, b, u_.row(b).data());
    }
  }

  const Wkv<T>& model() const { return model_; }
  const ChannelBlocks<T>& blocks() const { return blocks_; }
  Index chains() const { return blocks_.chains(); }
  Index size() const { return 3 * kWidth<T>; }
  /// Two exponentials of some 30 operations.
  double work() const {
    return 80.0 * static_cast<double>(chains()) * static_cast<double>(model_.length);
  }
  const T* w(Index chain) const { return w_.row(blocks_.block(chain)).data(); }
  const T* u(Index chain) const { return u_.row(blocks_.block(chain)).data(); }

  void clear(T* state) const { Pair<T>(state).clear(); }

  void join(Index chain, Index first, Index end, const T* before, T* after) const {
    const T* w = this->w(chain);
    const auto steps = static_cast<T>(end - first);
    State<T> copy;
    std::copy_n(after, size(), copy.at);
    std::copy_n(before, size(), after);
    const Pair<T> own(copy.at), pair(after);
    for (Index l = 0; l < kWidth<T>; ++l) {
      pair.add(-steps * w[l], l, own.p[l], own.q[l], own.m[l]);
    }
  }

  /// A chain's state in (G, 3, c), in lanes; and back.
  void load_state(const T* from, Index chain, T* state) const {
    for (Index i = 0; i < 3; ++i) {
      blocks_.load(from + part(chain, i), blocks_.block(chain), state + i * kWidth<T>);
    }
  }
  void store_state(const T* state, Index chain, T* to) const {
    for (Index i = 0; i < 3; ++i) {
      blocks_.store(state + i * kWidth<T>, blocks_.block(chain), to + part(chain, i));
    }
  }

 private:
  Index part(Index chain, Index i) const { return (3 * blocks_.row(chain) + i) * model_.channels; }

  Wkv<T> model_;
  ChannelBlocks<T> blocks_;
  Matrix<T> w_, u_;
};

/// Numerator and denominator of the past.
template <class Number>
class States : public Blocked<Number> {
 public:
  using Base = Blocked<Number>;
  using T = Number;
  using Base::blocks, Base::model, Base::kTile;
  using Tile = typename Base::Tile;
  static constexpr bool kBackwards = false;

  States(const Wkv<T>& scan, const T* initial, T* final = nullptr, T* y = nullptr)
      : Base(scan), initial_(initial), final_(final), y_(y) {}

  void start(Index chain, T* state) const {
    this->load_state(initial_, chain, state);
    const Pair<T> pair(state);
    for (Index l = 0; l < kWidth<T>; ++l) {
      if (pair.q[l] == T(0)) pair.m[l] = kEmpty<T>;
    }
  }

  void finish(Index chain, const T* state) const {
    State<T> end;
    std::copy_n(state, this->size(), end.at);
    T* m = Pair<T>(end.at).m;
    std::replace(m, m + kWidth<T>, kEmpty<T>, T(0));
    this->store_state(end.at, chain, final_);
  }

  void advance(Index chain, Index first, Index end, T* state) const {
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      Tile k, v;
      blocks().load(model().k, chain, from, to, k);
      blocks().load(model().v, chain, from, to, v);
      for (Index t = 0; t < to - from; ++t) step(chain, k[t], v[t], state);
    });
  }

  void run(Index chain, Index first, Index end, T* state, Checkpoint& checkpoint) const {
    const T* u = this->u(chain);
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      checkpoint();
      Tile k, v, y;
      blocks().load(model().k, chain, from, to, k);
      blocks().load(model().v, chain, from, to, v);
      for (Index t = 0; t < to - from; ++t) {
        const Pair<T> past(state);
#pragma omp simd
        for (Index l = 0; l < kWidth<T>; ++l) {
          const auto e = math::relative_weights(past.m[l], u[l] + k[t][l]);
          y[t][l] = (e.first * past.p[l] + e.second * v[t][l]) / (e.first * past.q[l] + e.second);
        }
        step(chain, k[t], v[t], state);
      }
      blocks().store(y, chain, from, to, y_);
    });
  }

  /// The past takes in one key.
  void step(Index chain, const T* k, const T* v, T* state) const {
    const T* w = this->w(chain);
    const Pair<T> past(state);
#pragma omp simd
    for (Index l = 0; l < kWidth<T>; ++l) past.add(-w[l], l, v[l], T(1), k[l]);
  }

 private:
  const T* initial_;
  T* final_;
  T* y_;
};

/// One chunk, backwards: the past of every step is recomputed from that at its start.
template <class T>
class ChunkBack {
 public:
  using Tile = typename ChannelBlocks<T>::Tile;

  ChunkBack(const States<T>& states, const T* g, Index steps)
      : states_(states), model_(states.model()), g_(g), past_(steps + 1, states.size()) {}

  /// Where gradients of one chain go; w and u, in lanes, are sums over chunks.
  struct Sinks {
    T *w, *u;
    T *k, *v;
  };

  /// Takes the carry from the end of the chunk to its start.
  void carry_over(Index chain, Index first, Index end, const T* before, T* carry) {
    go_back(
        chain, first, end, before, carry, [](Index, Index, const Terms&) {}, [](Index, Index) {});
  }

  /// The same, and the gradients on the way.
  void differentiate(Index chain, Index first, Index end, const T* before, T* carry,
                     const Sinks& sinks) {
    Tile k_bar, v_bar;
    const auto visit = [&](Index t, Index l, const Terms& x) {
      k_bar[t][l] = x.newest * (x.v - x.y) + x.add * (x.v * x.p_carry + x.q_carry);
      v_bar[t][l] = x.newest + x.add * x.p_carry;
      sinks.u[l] += x.newest * (x.v - x.y);
      sinks.w[l] -= x.keep * (x.p * x.p_carry + x.q * x.q_carry);
    };
    const auto done = [&](Index from, Index to) {
      states_.blocks().store(k_bar, chain, from, to, sinks.k);
      states_.blocks().store(v_bar, chain, from, to, sinks.v);
    };
    go_back(chain, first, end, before, carry, visit, done);
  }

 private:
  static constexpr Index kTile = ChannelBlocks<T>::kTile;

  /// Of one step and lane: the past (p, q), the gradients by the past after the step
  /// (p_carry, q_carry), both scaled; y and v; and what the scales leave of
  /// newest = e^{u+k} g/d, add = e^k and keep = e^{−w}.
  struct Terms {
    T p, q, p_carry, q_carry, y, v, newest, add, keep;
  };

  void recompute(Index chain, Index first, Index end, const T* before) {
    past_.row(0) = ConstVectorView<T>(before, states_.size());
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      Tile k, v;
      states_.blocks().load(model_.k, chain, from, to, k);
      states_.blocks().load(model_.v, chain, from, to, v);
      for (Index t = from; t < to; ++t) {
        T* next = past_.row(t - first + 1).data();
        std::copy_n(past_.row(t - first).data(), states_.size(), next);
        states_.step(chain, k[t - from], v[t - from], next);
      }
    });
  }

  /// y_t = (p + e^{u+k}v)/d with d = q + e^{u+k} adds g/d to the gradient by p and −y g/d to that
  /// by q; p⁺ = e^{−w}p + e^k v and q⁺ = e^{−w}q + e^k take them a step back.
  template <class Visit, class Done>
  void go_back(Index chain, Index first, Index end, const T* before, T* state, const Visit& visit,
               const Done& done) {
    recompute(chain, first, end, before);
    const T* w = states_.w(chain);
    const T* u = states_.u(chain);
    const Pair<T> carry(state);
    for_tiles_backwards<kTile>(first, end, [&](Index from, Index to) {
      Tile k, v, g;
      states_.blocks().load(model_.k, chain, from, to, k);
      states_.blocks().load(model_.v, chain, from, to, v);
      states_.blocks().load(g_, chain, from, to, g);
      for (Index t = to - 1; t >= from; --t) {
        const Index i = t - from;
        const Pair<T> past(past_.row(t - first).data());
#pragma omp simd
        for (Index l = 0; l < kWidth<T>; ++l) {
          // Exponents that are at most 0 but for rounding, which goes other ways forwards.
          const auto e = math::relative_weights(past.m[l], u[l] + k[i][l]);
          const T d = e.first * past.q[l] + e.second;
          const T y = (e.first * past.p[l] + e.second * v[i][l]) / d;
          const T share = g[i][l] / d;
          visit(i, l,
                Terms{past.p[l], past.q[l], carry.p[l], carry.q[l], y, v[i][l], e.second * share,
                      math::exp_nonpositive(std::min(T(0), k[i][l] + carry.m[l])),
                      math::exp_nonpositive(std::min(T(0), (past.m[l] - w[l]) + carry.m[l]))});
          carry.add(-w[l], l, share, -(y * share), -e.largest);
        }
      }
      done(from, to);
    });
  }

  const States<T>& states_;
  const Wkv<T>& model_;
  const T* g_;
  Matrix<T> past_;
};

/// The gradients by the past's numerator and denominator, over their own e^m. They decay backwards
/// as the past does forwards.
template <class Number>
class Carries : public Blocked<Number> {
 public:
  using T = Number;
  static constexpr bool kBackwards = true;

  Carries(const States<T>& states, const Borders<States<T>>& before, Chunks chunks, const T* g)
      : Blocked<T>(states.model()), states_(states), before_(before), chunks_(chunks), g_(g) {}

  void start(Index, T* carry) const { this->clear(carry); }

  void advance(Index chain, Index first, Index end, T* carry) const {
    ChunkBack<T> back(states_, g_, end - first);
    back.carry_over(chain, first, end, before_.at(chain, first / chunks_.size), carry);
  }

 private:
  const States<T>& states_;
  const Borders<States<T>>& before_;
  Chunks chunks_;
  const T* g_;
};

/// The gradient by the state before the first step, (G, 3, c), from that by the past.
template <class T>
void initial_gradient(const States<T>& states, Index chain, const T* initial, const T* carry,
                      T* out) {
  State<T> start, result;
  states.load_state(initial, chain, start.at);
  const Pair<T> given(start.at), by(result.at);
  const T* p = carry;
  const T* q = carry + kWidth<T>;
  const T* m = carry + 2 * kWidth<T>;
  for (Index l = 0; l < kWidth<T>; ++l) {
    // e^{m + m'} x, where the exponential alone may leave the range.
    const auto scaled = [scale = given.m[l] + m[l]](T x) {
      return x == T(0) ? T(0) : std::copysign(std::exp(std::log(std::abs(x)) + scale), x);
    };
    by.p[l] = scaled(p[l]);
    by.q[l] = scaled(q[l]);
    by.m[l] = scaled(given.p[l] * p[l] + given.q[l] * q[l]);
  }
  states.store_state(result.at, chain, out);
}

}  // namespace

template <class T>
void wkv(const Wkv<T>& model, Schedule schedule, T* state, T* y) {
  run_in_chunks(States<T>(model, state, state, y), {model.length, schedule.chunk}, schedule.order);
}

template <class T>
void wkv_adjoint(const Wkv<T>& model, Schedule schedule, const T* initial, const T* g,
                 const WkvGradient<T>& gradient) {
  const Chunks chunks{model.length, schedule.chunk};
  const States<T> states(model, initial);
  const Borders<States<T>> before(states, chunks, schedule.order);
  const Carries<T> carries(states, before, chunks, g);
  const Borders<Carries<T>> after(carries, chunks, schedule.order);
  const Runs runs(chunks);
  const Index chains = states.chains(), blocks = states.blocks().count();
  // The gradients of w and u: a row for every row of the batch and run of chunks.
  Matrix<T> w(model.rows * runs.count(), blocks * kWidth<T>), u(w.rows(), w.cols());
  w.setZero();
  u.setZero();
  parallel_for(chains * runs.count(), 4.0 * states.work(), [&](Index task, Checkpoint& checkpoint) {
    const Index chain = task / runs.count(), run = task % runs.count();
    const Index row = states.blocks().row(chain) * runs.count() + run;
    const Index at = states.blocks().block(chain) * kWidth<T>;
    ChunkBack<T> back(states, g, std::min(chunks.size, chunks.length));
    State<T> carry;
    for (Index j = runs.first_chunk(run); j < runs.end_chunk(run); ++j) {
      checkpoint();
      std::copy_n(after.at(chain, j + 1), states.size(), carry.at);
      back.differentiate(chain, chunks.first(j), chunks.end(j), before.at(chain, j), carry.at,
                         {w.row(row).data() + at, u.row(row).data() + at, gradient.k, gradient.v});
    }
  });
  const Vector<T> w_sum = sum_of_rows(w), u_sum = sum_of_rows(u);
  for (Index b = 0; b < blocks; ++b) {
    states.blocks().store(w_sum.data() + b * kWidth<T>, b, gradient.w);
    states.blocks().store(u_sum.data() + b * kWidth<T>, b, gradient.u);
  }
  for (Index chain = 0; chain < chains; ++chain) {
    initial_gradient(states, chain, initial, after.at(chain, 0), gradient.initial);
  }
}

#define RESOLVENT_INSTANTIATE(T)                         \
  template void wkv<T>(const Wkv<T>&, Schedule, T*, T*); \
  template void wkv_adjoint<T>(const Wkv<T>&, Schedule, const T*, const T*, const WkvGradient<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
