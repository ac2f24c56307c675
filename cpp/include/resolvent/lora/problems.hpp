#pragma once

#include <cstdint>
#include <span>

#include "resolvent/core/types.hpp"

namespace resolvent::lora {

/// A classifier's mean cross-entropy over a batch, and how many of its rows it gets right.
struct Score {
  double loss;
  Index hits;
};

/// logits = x W + b for x k × n, W n × m; labels in [0, m). Returns the mean of −log
/// softmax(logits) at the labels; writes its gradients xᵀ(p − y)/k and Σ(p − y)/k into dW and db.
/// Cost 4·k·n·m operations.
template <class T>
Score softmax_regression(ConstRows<T> x, std::span<const std::int64_t> labels, ConstRows<T> W,
                         ConstVectorView<T> b, Rows<T> dW, VectorView<T> db);

enum class Activation { relu, tanh };

/// One layer's weights, n × m, and biases.
template <class T>
struct Layer {
  ConstRows<T> W;
  ConstVectorView<T> b;
};

template <class T>
struct LayerGradient {
  Rows<T> W;
  VectorView<T> b;
};

/// logits = f(x W₁ + b₁) W₂ + b₂, the activation f entry by entry (relu has slope 0 at 0); the loss
/// and its gradients as for `softmax_regression`. Cost 4·k·h(n + 1.5m) operations for h hidden
/// units.
template <class T>
Score perceptron(ConstRows<T> x, std::span<const std::int64_t> labels, const Layer<T>& hidden,
                 const Layer<T>& output, Activation activation, LayerGradient<T> hidden_gradient,
                 LayerGradient<T> output_gradient);

#define RESOLVENT_DECLARE(T)                                                                     \
  extern template Score softmax_regression(ConstRows<T>, std::span<const std::int64_t>,          \
                                           ConstRows<T>, ConstVectorView<T>, Rows<T>,            \
                                           VectorView<T>);                                       \
  extern template Score perceptron(ConstRows<T>, std::span<const std::int64_t>, const Layer<T>&, \
                                   const Layer<T>&, Activation, LayerGradient<T>,                \
                                   LayerGradient<T>)
RESOLVENT_DECLARE(float);
RESOLVENT_DECLARE(double);
#undef RESOLVENT_DECLARE

}  // namespace resolvent::lora
