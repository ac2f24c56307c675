#include "chunks.hpp"
#include "resolvent/attention/diagonal.hpp"
#include "resolvent/math/decay.hpp"

namespace resolvent::attention {
namespace {

template <class T>
constexpr Index kWidth = kLanes<T>;

/// What a step multiplies the state by, and what it takes of B u.
template <class T>
struct Step {
  T decay;
  T weight;
};

template <InputRule rule, class T>
inline Step<T> step_of(T dt, T A) {
  const T t = -(dt * A);
  const T decay = math::exp_nonpositive(-t);
  if constexpr (rule == InputRule::mamba) return {decay, dt};
  return {decay, dt * math::phi1_decay(t)};
}

/// The model with its channels in lanes. The state of a block is (N, kLanes).
template <class Number, InputRule rule>
class Blocked {
 public:
  using T = Number;
  static constexpr Index kTile = ChannelBlocks<T>::kTile;

  explicit Blocked(const Selective<T>& model)
      : model_(model),
        blocks_(model.rows, model.length, model.channels),
        A_(blocks_.count(), model.states * kWidth<T>),
        D_(blocks_.count(), kWidth<T>) {
    for (Index b = 0; b < blocks_.count(); ++b) {
      pack(model.A, b, A_.row(b).data());
      blocks_.load(model.D, b, D_.row(b).data());
    }
  }

  const Selective<T>& model() const { return model_; }
  const ChannelBlocks<T>& blocks() const { return blocks_; }
  Index chains() const { return blocks_.chains(); }
  Index size() const { return model_.states * kWidth<T>; }
  /// An exponential of some 30 operations, and the state.
  double work() const {
    return 40.0 * static_cast<double>(chains()) *
           static_cast<double>(model_.length * model_.states);
  }
  const T* A(Index block) const { return A_.row(block).data(); }
  const T* D(Index block) const { return D_.row(block).data(); }

  /// B_t or C_t of a chain.
  const T* shared(const T* sequence, Index chain, Index t) const {
    return sequence + (blocks_.row(chain) * model_.length + t) * model_.states;
  }

  /// A chain's part of (G, c, N), or a block's of (c, N), in lanes (N, kLanes); and back.
  void pack(const T* from, Index chain, T* lanes) const {
    std::fill_n(lanes, size(), T(0));
    for (Index l = 0; l < blocks_.used(blocks_.block(chain)); ++l) {
      const T* channel = from + channel_of(chain, l);
      for (Index n = 0; n < model_.states; ++n) lanes[n * kWidth<T> + l] = channel[n];
    }
  }
  void unpack(const T* lanes, Index chain, T* to) const {
    for (Index l = 0; l < blocks_.used(blocks_.block(chain)); ++l) {
      T* channel = to + channel_of(chain, l);
      for (Index n = 0; n < model_.states; ++n) channel[n] = lanes[n * kWidth<T> + l];
    }
  }

  void clear(T* state) const { std::fill_n(state, size(), T(0)); }

  /// after += e^{A Σdt} before, over the steps of a chunk.
  void join(Index chain, Index first, Index end, const T* before, T* after) const {
    LaneRow<T> sum{};
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      typename ChannelBlocks<T>::Tile dt;
      blocks_.load(model_.dt, chain, from, to, dt);
      for (Index t = 0; t < to - from; ++t) {
        for (Index l = 0; l < kWidth<T>; ++l) sum[l] += dt[t][l];
      }
    });
    const T* A = this->A(blocks_.block(chain));
    for (Index n = 0; n < model_.states; ++n) {
#pragma omp simd
      for (Index l = 0; l < kWidth<T>; ++l) {
        const Index i = n * kWidth<T> + l;
        after[i] += math::exp_nonpositive(sum[l] * A[i]) * before[i];
      }
    }
  }

 private:
  Index channel_of(Index chain, Index lane) const {
    const Index channel = blocks_.first(blocks_.block(chain)) + lane;
    return (blocks_.row(chain) * model_.channels + channel) * model_.states;
  }

  Selective<T> model_;
  ChannelBlocks<T> blocks_;
  Matrix<T> A_, D_;
};

/// h ← decay h + weight B u.
template <class Number, InputRule rule>
class States : public Blocked<Number, rule> {
 public:
  using Base = Blocked<Number, rule>;
  using T = Number;
  using Base::blocks, Base::model, Base::kTile;
  using Tile = typename ChannelBlocks<T>::Tile;
  static constexpr bool kBackwards = false;

  States(const Selective<T>& scan, const T* initial, T* final = nullptr, T* y = nullptr)
      : Base(scan), initial_(initial), final_(final), y_(y) {}

  void start(Index chain, T* state) const { this->pack(initial_, chain, state); }
  void finish(Index chain, const T* state) const { this->unpack(state, chain, final_); }

  void advance(Index chain, Index first, Index end, T* state) const {
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      Tile u, dt;
      blocks().load(model().u, chain, from, to, u);
      blocks().load(model().dt, chain, from, to, dt);
      for (Index t = from; t < to; ++t) {
        step(chain, t, u[t - from], dt[t - from], state, [](Index, Index, T, T) {});
      }
    });
  }

  void run(Index chain, Index first, Index end, T* state, Checkpoint& checkpoint) const {
    const T* D = this->D(blocks().block(chain));
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      checkpoint();
      Tile u, dt, y;
      blocks().load(model().u, chain, from, to, u);
      blocks().load(model().dt, chain, from, to, dt);
      for (Index t = from; t < to; ++t) {
        T* __restrict out = y[t - from];
        for (Index l = 0; l < kWidth<T>; ++l) out[l] = D[l] * u[t - from][l];
        const T* C = this->shared(model().C, chain, t);
        step(chain, t, u[t - from], dt[t - from], state,
             [&](Index n, Index l, T, T h) { out[l] += C[n] * h; });
      }
      blocks().store(y, chain, from, to, y_);
    });
  }

  /// One step; visit(n, lane, decay, h) for every state after it.
  template <class Visit>
  [[gnu::always_inline]] void step(Index chain, Index t, const T* u, const T* dt,
                                   T* __restrict state, const Visit& visit) const {
    const T* A = this->A(blocks().block(chain));
    const T* B = this->shared(model().B, chain, t);
    for (Index n = 0; n < model().states; ++n) {
#pragma omp simd
      for (Index l = 0; l < kWidth<T>; ++l) {
        const Index i = n * kWidth<T> + l;
        const Step<T> s = step_of<rule>(dt[l], A[i]);
        state[i] = s.decay * state[i] + (s.weight * u[l]) * B[n];
        visit(n, l, s.decay, state[i]);
      }
    }
  }

 private:
  const T* initial_;
  T* final_;
  T* y_;
};

/// What flows back: w = C g + carry, carry ← decay w.
template <class Number, InputRule rule>
class Carries : public Blocked<Number, rule> {
 public:
  using Base = Blocked<Number, rule>;
  using T = Number;
  using Base::blocks, Base::model, Base::kTile;
  static constexpr bool kBackwards = true;

  Carries(const Selective<T>& scan, const T* g) : Base(scan), g_(g) {}

  void start(Index, T* carry) const { this->clear(carry); }

  void advance(Index chain, Index first, Index end, T* __restrict carry) const {
    const T* A = this->A(blocks().block(chain));
    for_tiles_backwards<kTile>(first, end, [&](Index from, Index to) {
      typename ChannelBlocks<T>::Tile dt, g;
      blocks().load(model().dt, chain, from, to, dt);
      blocks().load(g_, chain, from, to, g);
      for (Index t = to - 1; t >= from; --t) {
        const T* C = this->shared(model().C, chain, t);
        for (Index n = 0; n < model().states; ++n) {
#pragma omp simd
          for (Index l = 0; l < kWidth<T>; ++l) {
            const Index i = n * kWidth<T> + l;
            const T decay = math::exp_nonpositive(dt[t - from][l] * A[i]);
            carry[i] = decay * (C[n] * g[t - from][l] + carry[i]);
          }
        }
      }
    });
  }

 private:
  const T* g_;
};

/// Sums over channels, kept in lanes until all blocks are in: (steps, N, kLanes).
template <class T>
class LaneSums {
 public:
  LaneSums(Index steps, Index states) : states_(states), sums_(steps, states * kWidth<T>) {}

  void clear() { sums_.setZero(); }
  T* at(Index step) { return sums_.row(step).data(); }

  /// The sums of the first steps, (steps, N).
  void write(Index steps, T* out) const {
    for (Index i = 0; i < steps * states_; ++i) {
      out[i] = sum_of<T>(*lanes_at(sums_.data() + i * kWidth<T>));
    }
  }

 private:
  Index states_;
  Matrix<T> sums_;
};

/// The gradients of a chunk from the states at its start and the carry at its end.
template <class Number, InputRule rule>
class ChunkGradient {
 public:
  using T = Number;

  ChunkGradient(const States<T, rule>& states, const T* g, const SelectiveGradient<T>& gradient,
                Index steps)
      : states_(states),
        model_(states.model()),
        g_(g),
        gradient_(gradient),
        decay_(steps, states.size()),
        state_(steps + 1, states.size()),
        B_(steps, model_.states),
        C_(steps, model_.states) {}

  void clear() {
    B_.clear();
    C_.clear();
  }

  /// Adds a chain's part; A (N, kLanes) and D (kLanes) are sums over chunks.
  void add(Index chain, Index first, Index end, const T* before, const T* after, T* A, T* D) {
    recompute(chain, first, end, before);
    carry_ = ConstVectorView<T>(after, states_.size());
    for_tiles_backwards<kTile>(first, end, [&](Index from, Index to) {
      Tile u, dt, g, u_bar, dt_bar;
      const auto& blocks = states_.blocks();
      blocks.load(model_.u, chain, from, to, u);
      blocks.load(model_.dt, chain, from, to, dt);
      blocks.load(g_, chain, from, to, g);
      for (Index t = to - 1; t >= from; --t) {
        const Index i = t - from;
        step_back(chain, t, t - first, {u[i], dt[i], g[i], u_bar[i], dt_bar[i]}, A, D);
      }
      blocks.store(u_bar, chain, from, to, gradient_.u);
      blocks.store(dt_bar, chain, from, to, gradient_.dt);
    });
  }

  /// The gradients of B and C of a chunk, once all its chains are in.
  void write(Index row, Index first, Index end) const {
    const Index at = (row * model_.length + first) * model_.states;
    B_.write(end - first, gradient_.B + at);
    C_.write(end - first, gradient_.C + at);
  }

 private:
  static constexpr Index kTile = ChannelBlocks<T>::kTile;
  using Tile = typename ChannelBlocks<T>::Tile;

  struct Rows {
    const T *u, *dt, *g;
    T *u_bar, *dt_bar;
  };

  void recompute(Index chain, Index first, Index end, const T* before) {
    state_.row(0) = ConstVectorView<T>(before, states_.size());
    for_tiles<kTile>(first, end, [&](Index from, Index to) {
      Tile u, dt;
      states_.blocks().load(model_.u, chain, from, to, u);
      states_.blocks().load(model_.dt, chain, from, to, dt);
      for (Index t = from; t < to; ++t) {
        T* decay = decay_.row(t - first).data();
        T* state = state_.row(t - first + 1).data();
        std::copy_n(state_.row(t - first).data(), states_.size(), state);
        states_.step(chain, t, u[t - from], dt[t - from], state,
                     [&](Index n, Index l, T a, T) { decay[n * kWidth<T> + l] = a; });
      }
    });
  }

  /// With w = ∂/∂h, f the weight of B u and z = dt A: ∂/∂f = w B u, ∂/∂z = w h⁻ e^z. f has
  /// ∂f/∂dt = 1 and ∂f/∂A = 0 (mamba), e^z and dt² φ_1'(z) (zoh).
  void step_back(Index chain, Index t, Index place, const Rows& rows, T* __restrict A_bar,
                 T* __restrict D_bar) {
    const T* A = states_.A(states_.blocks().block(chain));
    const T* D = states_.D(states_.blocks().block(chain));
    const T* B = states_.shared(model_.B, chain, t);
    const T* C = states_.shared(model_.C, chain, t);
    const T* decay = decay_.row(place).data();
    const T* h_before = state_.row(place).data();
    const T* h = state_.row(place + 1).data();
    T* __restrict carry = carry_.data();
    T* __restrict B_bar = B_.at(place);
    T* __restrict C_bar = C_.at(place);
    LaneRow<T> u_bar, dt_bar{};
    for (Index l = 0; l < kWidth<T>; ++l) {
      u_bar[l] = D[l] * rows.g[l];
      D_bar[l] += rows.u[l] * rows.g[l];
    }
    for (Index n = 0; n < model_.states; ++n) {
#pragma omp simd
      for (Index l = 0; l < kWidth<T>; ++l) {
        const Index i = n * kWidth<T> + l;
        const T u = rows.u[l], dt = rows.dt[l], g = rows.g[l], a = decay[i];
        const T w = C[n] * g + carry[i];
        carry[i] = a * w;
        C_bar[i] += h[i] * g;
        const T z_bar = carry[i] * h_before[i];
        const T f_bar = w * (B[n] * u);
        if constexpr (rule == InputRule::mamba) {
          B_bar[i] += w * (dt * u);
          u_bar[l] += w * (dt * B[n]);
          dt_bar[l] += z_bar * A[i] + f_bar;
          A_bar[i] += z_bar * dt;
        } else {
          const T t_positive = -(dt * A[i]);
          const T mean = math::phi1_decay(t_positive);
          const T slope = math::phi1_slope_decay(t_positive, a, mean);
          B_bar[i] += w * (dt * mean * u);
          u_bar[l] += w * (dt * mean * B[n]);
          dt_bar[l] += z_bar * A[i] + f_bar * a;
          A_bar[i] += z_bar * dt + f_bar * (dt * (dt * slope));
        }
      }
    }
    std::copy_n(u_bar.at, kWidth<T>, rows.u_bar);
    std::copy_n(dt_bar.at, kWidth<T>, rows.dt_bar);
  }

  const States<T, rule>& states_;
  const Selective<T>& model_;
  const T* g_;
  SelectiveGradient<T> gradient_;
  Matrix<T> decay_, state_;
  LaneSums<T> B_, C_;
  Vector<T> carry_;
};

template <InputRule rule, class T>
void adjoint(const Selective<T>& model, Schedule schedule, const T* initial, const T* g,
             const SelectiveGradient<T>& gradient) {
  const Chunks chunks{model.length, schedule.chunk};
  const States<T, rule> states(model, initial);
  const Carries<T, rule> carries(model, g);
  const Borders<States<T, rule>> before(states, chunks, schedule.order);
  const Borders<Carries<T, rule>> after(carries, chunks, schedule.order);
  const Index blocks = states.blocks().count(), size = states.size();
  const Runs runs(chunks);
  // The gradients of A and D, one row for every run of chunks.
  Matrix<T> A(model.rows * runs.count(), blocks * size);
  Matrix<T> D(model.rows * runs.count(), blocks * kWidth<T>);
  A.setZero();
  D.setZero();
  parallel_for(A.rows(), states.work(), [&](Index task, Checkpoint& checkpoint) {
    const Index row = task / runs.count(), run = task % runs.count();
    ChunkGradient<T, rule> chunk(states, g, gradient, std::min(chunks.size, chunks.length));
    for (Index j = runs.first_chunk(run); j < runs.end_chunk(run); ++j) {
      chunk.clear();
      for (Index b = 0; b < blocks; ++b) {
        checkpoint();
        const Index chain = row * blocks + b;
        chunk.add(chain, chunks.first(j), chunks.end(j), before.at(chain, j),
                  after.at(chain, j + 1), A.row(task).data() + b * size,
                  D.row(task).data() + b * kWidth<T>);
      }
      chunk.write(row, chunks.first(j), chunks.end(j));
    }
  });
  const Vector<T> A_sum = sum_of_rows(A), D_sum = sum_of_rows(D);
  for (Index b = 0; b < blocks; ++b) {
    states.unpack(A_sum.data() + b * size, b, gradient.A);
    states.blocks().store(D_sum.data() + b * kWidth<T>, b, gradient.D);
  }
  for (Index chain = 0; chain < states.chains(); ++chain) {
    states.unpack(after.at(chain, 0), chain, gradient.initial);
  }
}

}  // namespace

template <class T>
void selective_scan(const Selective<T>& model, Schedule schedule, T* state, T* y) {
  const Chunks chunks{model.length, schedule.chunk};
  if (model.rule == InputRule::mamba) {
    run_in_chunks(States<T, InputRule::mamba>(model, state, state, y), chunks, schedule.order);
  } else {
    run_in_chunks(States<T, InputRule::zoh>(model, state, state, y), chunks, schedule.order);
  }
}

template <class T>
void selective_scan_adjoint(const Selective<T>& model, Schedule schedule, const T* state,
                            const T* g, const SelectiveGradient<T>& gradient) {
  if (model.rule == InputRule::mamba) {
    adjoint<InputRule::mamba>(model, schedule, state, g, gradient);
  } else {
    adjoint<InputRule::zoh>(model, schedule, state, g, gradient);
  }
}

#define RESOLVENT_INSTANTIATE(T)                                                             \
  template void selective_scan<T>(const Selective<T>&, Schedule, T*, T*);                    \
  template void selective_scan_adjoint<T>(const Selective<T>&, Schedule, const T*, const T*, \
                                          const SelectiveGradient<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
