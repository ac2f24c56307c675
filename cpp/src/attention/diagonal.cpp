#include "resolvent/attention/diagonal.hpp"

#include "chunks.hpp"

namespace resolvent::attention {
namespace {

/// λ^exponent by squarings.
template <class T>
std::complex<T> power(std::complex<T> base, Index exponent) {
  std::complex<T> result(1);
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result *= base;
    base *= base;
  }
  return result;
}

/// The matrices in real parts and imaginary parts, padded to whole lanes: x is a row of 2·half
/// numbers, and so is every row of
///   B (inputs, 2 half), C (outputs, 2 half) with −Im C, such that y = C x.
template <class T>
class Matrices {
 public:
  explicit Matrices(const Diagonal<T>& model)
      : model_(model),
        half_(padded<T>(model.states)),
        eigenvalues_(2, 2 * half_),
        B_(model.inputs, 2 * half_),
        C_(model.outputs, 2 * half_),
        B_transposed_(2 * half_, padded<T>(model.inputs)),
        C_transposed_(2 * half_, padded<T>(model.outputs)) {
    eigenvalues_.setZero();
    B_.setZero();
    C_.setZero();
    for (Index n = 0; n < model.states; ++n) {
      put(model.eigenvalues[n], n, eigenvalues_.row(0).data());
      put(std::conj(model.eigenvalues[n]), n, eigenvalues_.row(1).data());
      for (Index j = 0; j < model.inputs; ++j) {
        put(model.B[n * model.inputs + j], n, B_.row(j).data());
      }
      for (Index i = 0; i < model.outputs; ++i) {
        put(std::conj(model.C[i * model.states + n]), n, C_.row(i).data());
      }
    }
    transpose(B_, B_transposed_);
    transpose(C_, C_transposed_);
  }

  const Diagonal<T>& model() const { return model_; }
  Index half() const { return half_; }
  Index width() const { return 2 * half_; }

  /// X ← U B, for `steps` rows of inputs.
  void drive(const T* u, Index steps, T* X) const {
    multiply<false, T>({u, model_.inputs}, {B_.data(), width()}, steps, model_.inputs, width(),
                       {X, width()});
  }
  /// X ← G C: what gradients by y are to the state.
  void drive_back(const T* g, Index steps, T* X) const {
    multiply<false, T>({g, model_.outputs}, {C_.data(), width()}, steps, model_.outputs, width(),
                       {X, width()});
  }
  /// y = Re(C x), in rows of `outputs`; `room` holds padded rows.
  void read_out(const T* X, Index steps, Matrix<T>& room, T* y) const {
    read(X, steps, C_transposed_, model_.outputs, room, y);
  }
  /// Re(B* w): gradients by u.
  void read_back(const T* W, Index steps, Matrix<T>& room, T* u) const {
    read(W, steps, B_transposed_, model_.inputs, room, u);
  }

  /// x_t ← λ x_{t−1} + x_t in the rows of X, from `state`, which becomes the last one.
  void scan(T* X, Index steps, T* state) const {
    for (Index t = 0; t < steps; ++t, X += width()) {
      turn(eigenvalues_.row(0).data(), state);
      for (Index i = 0; i < width(); ++i) state[i] = X[i] += state[i];
    }
  }

  /// w_t ← w_t + carry, carry ← conj(λ) w_t, from the last row to the first.
  void scan_back(T* W, Index steps, T* carry) const {
    for (Index t = steps - 1; t >= 0; --t) {
      T* w = W + t * width();
      for (Index i = 0; i < width(); ++i) carry[i] = w[i] += carry[i];
      turn(eigenvalues_.row(1).data(), carry);
    }
  }

  /// after += λ^steps before; conj(λ) for carries.
  void join(Index steps, bool conjugate, const T* before, T* after) const {
    const T sign = conjugate ? T(-1) : T(1);
    for (Index n = 0; n < model_.states; ++n) {
      const std::complex<T> lambda = power(model_.eigenvalues[n], steps);
      const T re = lambda.real(), im = sign * lambda.imag();
      after[n] += re * before[n] - im * before[half_ + n];
      after[half_ + n] += re * before[half_ + n] + im * before[n];
    }
  }

  void put(std::complex<T> value, Index n, T* row) const {
    row[n] = value.real();
    row[half_ + n] = value.imag();
  }
  std::complex<T> get(const T* row, Index n) const { return {row[n], row[half_ + n]}; }

  /// `eigenvalues` += Σ_t conj(x_{t−1}) w_t, the rows of X beginning a step earlier than W's.
  void add_eigenvalue_gradient(const T* X, const T* W, Index steps, T* eigenvalues) const {
    T* __restrict sum_re = eigenvalues;
    T* __restrict sum_im = eigenvalues + half_;
    for (Index t = 0; t < steps; ++t, X += width(), W += width()) {
      const T *x_re = X, *x_im = X + half_, *w_re = W, *w_im = W + half_;
#pragma omp simd
      for (Index n = 0; n < half_; ++n) {
        sum_re[n] += x_re[n] * w_re[n] + x_im[n] * w_im[n];
        sum_im[n] += x_re[n] * w_im[n] - x_im[n] * w_re[n];
      }
    }
  }

 private:
  /// x ← λ x.
  void turn(const T* lambda, T* x) const {
    const T *re = lambda, *im = lambda + half_;
    T* __restrict x_re = x;
    T* __restrict x_im = x + half_;
#pragma omp simd
    for (Index n = 0; n < half_; ++n) {
      const T real = re[n] * x_re[n] - im[n] * x_im[n];
      x_im[n] = re[n] * x_im[n] + im[n] * x_re[n];
      x_re[n] = real;
    }
  }

  static void transpose(const Matrix<T>& from, Matrix<T>& to) {
    to.setZero();
    to.leftCols(from.rows()) = from.transpose();
  }

  void read(const T* X, Index steps, const Matrix<T>& transposed, Index columns, Matrix<T>& room,
            T* out) const {
    multiply<false, T>({X, width()}, {transposed.data(), transposed.cols()}, steps, width(),
                       transposed.cols(), {room.data(), room.cols()});
    for (Index t = 0; t < steps; ++t) std::copy_n(room.row(t).data(), columns, out + t * columns);
  }

  Diagonal<T> model_;
  Index half_;
  Matrix<T> eigenvalues_;  // and their conjugates in the second row
  Matrix<T> B_, C_, B_transposed_, C_transposed_;
};

/// What forward and backward recurrences share: a chain is a row of the batch.
template <class Number>
class Chains {
 public:
  using T = Number;

  Chains(const Matrices<T>& matrices, Chunks chunks) : matrices_(matrices), chunks_(chunks) {}

  Index chains() const { return matrices_.model().rows; }
  Index size() const { return matrices_.width(); }
  double work() const {
    const auto& m = matrices_.model();
    return 4.0 / kLanes<T> * static_cast<double>(m.rows * m.length) *
           static_cast<double>(m.states * (m.inputs + m.outputs + 2));
  }
  void clear(T* state) const { std::fill_n(state, size(), T(0)); }
  const Matrices<T>& matrices() const { return matrices_; }

 protected:
  const Diagonal<T>& model() const { return matrices_.model(); }
  /// The tile of a chunk.
  Index tile() const { return std::min(chunks_.size, chunks_.length); }
  template <class Pointer>
  Pointer at(Pointer sequence, Index chain, Index t, Index width) const {
    return sequence + (chain * model().length + t) * width;
  }

  const Matrices<T>& matrices_;
  Chunks chunks_;
};

template <class Number>
class States : public Chains<Number> {
 public:
  using T = Number;
  static constexpr bool kBackwards = false;

  States(const Matrices<T>& matrices, Chunks chunks, const std::complex<T>* initial,
         std::complex<T>* final = nullptr, T* y = nullptr)
      : Chains<T>(matrices, chunks), initial_(initial), final_(final), y_(y) {}

  void start(Index chain, T* state) const {
    this->clear(state);
    const std::complex<T>* from = initial_ + chain * this->model().states;
    for (Index n = 0; n < this->model().states; ++n) this->matrices_.put(from[n], n, state);
  }
  void finish(Index chain, const T* state) const {
    std::complex<T>* to = final_ + chain * this->model().states;
    for (Index n = 0; n < this->model().states; ++n) to[n] = this->matrices_.get(state, n);
  }

  void advance(Index chain, Index first, Index end, T* state) const {
    Matrix<T> X(end - first, this->size());
    states(chain, first, end, state, X.data());
  }

  void join(Index, Index first, Index end, const T* before, T* after) const {
    this->matrices_.join(end - first, false, before, after);
  }

  void run(Index chain, Index first, Index end, T* state, Checkpoint& checkpoint) const {
    const Index tile = this->tile(), outputs = this->model().outputs;
    Matrix<T> X(tile, this->size()), room(tile, padded<T>(outputs));
    for (Index t = first; t < end; t += tile) {
      checkpoint();
      const Index steps = std::min(tile, end - t);
      states(chain, t, t + steps, state, X.data());
      this->matrices_.read_out(X.data(), steps, room, this->at(y_, chain, t, outputs));
    }
  }

  /// The states after each of the steps, from the one before them.
  void states(Index chain, Index first, Index end, T* state, T* X) const {
    const T* u = this->at(this->model().u, chain, first, this->model().inputs);
    this->matrices_.drive(u, end - first, X);
    this->matrices_.scan(X, end - first, state);
  }

 private:
  const std::complex<T>* initial_;
  std::complex<T>* final_;
  T* y_;
};

/// Gradients by the states: w_t = C*g_t + conj(λ) w_{t+1}; the carry is conj(λ) w_{t+1}.
template <class Number>
class Carries : public Chains<Number> {
 public:
  using T = Number;
  static constexpr bool kBackwards = true;

  Carries(const Matrices<T>& matrices, Chunks chunks, const T* g)
      : Chains<T>(matrices, chunks), g_(g) {}

  void start(Index, T* carry) const { this->clear(carry); }

  void advance(Index chain, Index first, Index end, T* carry) const {
    Matrix<T> W(end - first, this->size());
    gradients(chain, first, end, carry, W.data());
  }

  void join(Index, Index first, Index end, const T* before, T* after) const {
    this->matrices_.join(end - first, true, before, after);
  }

  void gradients(Index chain, Index first, Index end, T* carry, T* W) const {
    this->matrices_.drive_back(g(chain, first), end - first, W);
    this->matrices_.scan_back(W, end - first, carry);
  }

  const T* g(Index chain, Index t) const { return this->at(g_, chain, t, this->model().outputs); }

 private:
  const T* g_;
};

/// Sums over the steps of a run of chunks: rows eigenvalues (1), B (inputs), C (outputs), as in
/// Matrices.
template <class T>
class ChunkGradient {
 public:
  ChunkGradient(const States<T>& states, const Carries<T>& carries, Index steps)
      : states_(states),
        carries_(carries),
        matrices_(states.matrices()),
        X_(steps + 1, states.size()),
        W_(steps, states.size()),
        room_(steps, padded<T>(matrices_.model().inputs)),
        transposed_(std::max(matrices_.model().inputs, matrices_.model().outputs), steps) {}

  static Index rows(const Diagonal<T>& model) { return 1 + model.inputs + model.outputs; }

  /// One chunk from the state before it and the carry after it.
  void add(Index chain, Index first, Index end, const T* before, const T* after, T* sums,
           T* u_bar) {
    const Diagonal<T>& model = matrices_.model();
    const Index steps = end - first, width = matrices_.width(), t = chain * model.length + first;
    state_ = ConstVectorView<T>(before, width);
    carry_ = ConstVectorView<T>(after, width);
    X_.row(0) = state_;
    states_.states(chain, first, end, state_.data(), X_.row(1).data());
    carries_.gradients(chain, first, end, carry_.data(), W_.data());
    matrices_.add_eigenvalue_gradient(X_.data(), W_.data(), steps, sums);
    outer(model.u + t * model.inputs, model.inputs, W_.data(), steps, sums + width);
    outer(carries_.g(chain, first), model.outputs, X_.row(1).data(), steps,
          sums + (1 + model.inputs) * width);
    matrices_.read_back(W_.data(), steps, room_, u_bar + t * model.inputs);
  }

 private:
  /// sum += Aᵀ X, A steps × columns.
  void outer(const T* A, Index columns, const T* X, Index steps, T* sum) {
    const Index width = matrices_.width();
    transposed_.topLeftCorner(columns, steps) = ConstRows<T>(A, steps, columns).transpose();
    multiply<true, T>({transposed_.data(), transposed_.cols()}, {X, width}, columns, steps, width,
                      {sum, width});
  }

  const States<T>& states_;
  const Carries<T>& carries_;
  const Matrices<T>& matrices_;
  Matrix<T> X_, W_, room_, transposed_;
  Vector<T> state_, carry_;
};

/// Takes the sums apart into the model's arrays.
template <class T>
void write_gradient(const Matrices<T>& matrices, const T* sums,
                    const DiagonalGradient<T>& gradient) {
  const Diagonal<T>& model = matrices.model();
  const T* B = sums + matrices.width();
  const T* C = B + model.inputs * matrices.width();
  for (Index n = 0; n < model.states; ++n) {
    gradient.eigenvalues[n] = matrices.get(sums, n);
    for (Index j = 0; j < model.inputs; ++j) {
      gradient.B[n * model.inputs + j] = matrices.get(B + j * matrices.width(), n);
    }
    for (Index i = 0; i < model.outputs; ++i) {
      gradient.C[i * model.states + n] = std::conj(matrices.get(C + i * matrices.width(), n));
    }
  }
}

}  // namespace

template <class T>
void diagonal_scan(const Diagonal<T>& model, Schedule schedule, std::complex<T>* state, T* y) {
  const Chunks chunks{model.length, schedule.chunk};
  const Matrices<T> matrices(model);
  run_in_chunks(States<T>(matrices, chunks, state, state, y), chunks, schedule.order);
}

template <class T>
void diagonal_scan_adjoint(const Diagonal<T>& model, Schedule schedule,
                           const std::complex<T>* initial, const T* g,
                           const DiagonalGradient<T>& gradient) {
  const Chunks chunks{model.length, schedule.chunk};
  const Matrices<T> matrices(model);
  const States<T> states(matrices, chunks, initial);
  const Carries<T> carries(matrices, chunks, g);
  const Borders<States<T>> before(states, chunks, schedule.order);
  const Borders<Carries<T>> after(carries, chunks, schedule.order);
  const Runs runs(chunks);
  Matrix<T> sums(model.rows * runs.count(), ChunkGradient<T>::rows(model) * matrices.width());
  sums.setZero();
  parallel_for(sums.rows(), 3.0 * states.work(), [&](Index task, Checkpoint& checkpoint) {
    const Index chain = task / runs.count(), run = task % runs.count();
    ChunkGradient<T> chunk(states, carries, std::min(chunks.size, chunks.length));
    for (Index j = runs.first_chunk(run); j < runs.end_chunk(run); ++j) {
      checkpoint();
      chunk.add(chain, chunks.first(j), chunks.end(j), before.at(chain, j), after.at(chain, j + 1),
                sums.row(task).data(), gradient.u);
    }
  });
  const Vector<T> sum = sum_of_rows(sums);
  write_gradient(matrices, sum.data(), gradient);
  for (Index chain = 0; chain < model.rows; ++chain) {
    std::complex<T>* to = gradient.initial + chain * model.states;
    for (Index n = 0; n < model.states; ++n) to[n] = matrices.get(after.at(chain, 0), n);
  }
}

#define RESOLVENT_INSTANTIATE(T)                                                               \
  template void diagonal_scan<T>(const Diagonal<T>&, Schedule, std::complex<T>*, T*);          \
  template void diagonal_scan_adjoint<T>(const Diagonal<T>&, Schedule, const std::complex<T>*, \
                                         const T*, const DiagonalGradient<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
