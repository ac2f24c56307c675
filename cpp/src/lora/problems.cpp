#include "resolvent/lora/problems.hpp"

#include <algorithm>
#include <cmath>

#include "panel.hpp"
#include "resolvent/core/error.hpp"

namespace resolvent::lora {
namespace {

/// Calls times(panel, image) for Y's columns, a panel at a time, and puts the images into `out`.
template <class T, class Factor, class Out, class Times>
void by_panels(const Factor& Y, Out& out, const Times& times) {
  Panel<T> panel(Y.rows(), kPanel), image;
  for (Index first = 0; first < Y.cols(); first += kPanel) {
    const Index count = std::min(kPanel, Y.cols() - first);
    panel.setZero();
    panel.leftCols(count) = Y.middleCols(first, count);
    times(panel, image);
    out.middleCols(first, count) = image.leftCols(count);
  }
}

/// X Y.
template <class T, class Factor>
Matrix<T> product(ConstRows<T> X, const Factor& Y) {
  Matrix<T> out(X.rows(), Y.cols());
  by_panels<T>(Y, out, [&](const Panel<T>& panel, Panel<T>& image) { multiply(X, panel, image); });
  return out;
}

/// out = XᵀY.
template <class T>
void transposed_product(ConstRows<T> X, const Matrix<T>& Y, Rows<T> out) {
  by_panels<T>(Y, out, [&](const Panel<T>& panel, Panel<T>& image) {
    multiply_transposed(X, panel, image);
  });
}

template <class T>
ConstRows<T> view(const Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

/// Turns logits into the gradient (p − y)/k of the mean cross-entropy.
template <class T>
Score cross_entropy(Matrix<T>& logits, std::span<const std::int64_t> labels) {
  const Index count = logits.rows(), classes = logits.cols();
  const T weight = T(1) / static_cast<T>(count);
  Score score{0.0, 0};
  for (Index i = 0; i < count; ++i) {
    auto row = logits.row(i);
    const auto label = static_cast<Index>(labels[static_cast<std::size_t>(i)]);
    Index best = 0;
    const T largest = row.maxCoeff(&best);
    score.hits += best == label;
    const double gap = static_cast<double>(largest) - static_cast<double>(row[label]);
    T sum = T(0);
    for (Index j = 0; j < classes; ++j) {
      row[j] = std::exp(row[j] - largest);
      sum += row[j];
    }
    score.loss += gap + std::log(static_cast<double>(sum));
    row *= weight / sum;
    row[label] -= weight;
  }
  score.loss /= static_cast<double>(count);
  return score;
}

template <class T>
void check(ConstRows<T> x, std::span<const std::int64_t> labels, Index inputs, Index classes) {
  require<ShapeMismatch>(x.cols() == inputs, "x must have ", inputs, " columns, got ", x.cols());
  require<ShapeMismatch>(static_cast<Index>(labels.size()) == x.rows(), "labels must have ",
                         x.rows(), " entries, one for each row of x, got ", labels.size());
  require(x.rows() >= 1, "x must have at least one row");
  for (std::size_t i = 0; i < labels.size(); ++i) {
    require(labels[i] >= 0 && labels[i] < classes, "labels must lie in [0, ", classes,
            "), got labels[", i, "] = ", labels[i]);
  }
}

template <class T>
Matrix<T> affine(ConstRows<T> x, const Layer<T>& layer) {
  Matrix<T> out = product(x, layer.W);
  out.rowwise() += layer.b.transpose();
  return out;
}

template <class T>
void write_gradient(ConstRows<T> x, const Matrix<T>& slope, LayerGradient<T>& out) {
  transposed_product(x, slope, out.W);
  // Row by row: Eigen's own sum takes another order with the alignment of what it writes to.
  out.b.setZero();
  for (Index i = 0; i < slope.rows(); ++i) {
    for (Index j = 0; j < slope.cols(); ++j) out.b[j] += slope(i, j);
  }
}

}  // namespace

template <class T>
Score softmax_regression(ConstRows<T> x, std::span<const std::int64_t> labels, ConstRows<T> W,
                         ConstVectorView<T> b, Rows<T> dW, VectorView<T> db) {
  check(x, labels, W.rows(), W.cols());
  Matrix<T> logits = affine(x, Layer<T>{W, b});
  const Score score = cross_entropy(logits, labels);
  LayerGradient<T> gradient{dW, db};
  write_gradient(x, logits, gradient);
  return score;
}

template <class T>
Score perceptron(ConstRows<T> x, std::span<const std::int64_t> labels, const Layer<T>& hidden,
                 const Layer<T>& output, Activation activation, LayerGradient<T> hidden_gradient,
                 LayerGradient<T> output_gradient) {
  check(x, labels, hidden.W.rows(), output.W.cols());
  Matrix<T> features = affine(x, hidden);
  for (T& value : features.reshaped()) {
    value = activation == Activation::relu ? std::max(value, T(0)) : std::tanh(value);
  }
  Matrix<T> logits = affine(view(features), output);
  const Score score = cross_entropy(logits, labels);
  write_gradient(view(features), logits, output_gradient);
  Matrix<T> slope = product(view(logits), output.W.transpose());
  for (Index i = 0; i < slope.size(); ++i) {
    const T f = features.data()[i];
    slope.data()[i] *= activation == Activation::relu ? (f > T(0) ? T(1) : T(0)) : T(1) - f * f;
  }
  write_gradient(x, slope, hidden_gradient);
  return score;
}

#define RESOLVENT_INSTANTIATE(T)                                                               \
  template Score softmax_regression(ConstRows<T>, std::span<const std::int64_t>, ConstRows<T>, \
                                    ConstVectorView<T>, Rows<T>, VectorView<T>);               \
  template Score perceptron(ConstRows<T>, std::span<const std::int64_t>, const Layer<T>&,      \
                            const Layer<T>&, Activation, LayerGradient<T>, LayerGradient<T>)
RESOLVENT_INSTANTIATE(float);
RESOLVENT_INSTANTIATE(double);
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::lora
