// Keeps the last second of a tone in 48 Legendre coefficients, and reads it back.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/version.hpp"
#include "resolvent/hippo/memory.hpp"
#include "resolvent/hippo/projection.hpp"
#include "resolvent/hippo/system.hpp"

namespace hippo = resolvent::hippo;
using resolvent::Index;

int main() {
  std::printf("resolvent %s\n", resolvent::kVersion);

  // A window of one second, in the normalisation of the HiPPO paper.
  hippo::Config config;
  config.measure = hippo::Measure::legt;
  config.order = 48;
  config.window = 1.0;
  const hippo::System system(config);

  // Two channels of 3000 samples, one millisecond each: one row per channel.
  constexpr Index channels = 2, samples = 3000;
  constexpr double step = 1e-3;
  std::vector<double> signal(channels * samples);
  const auto tone = [](Index channel, double time) {
    const double frequency = channel == 0 ? 2.0 : 3.5;
    return std::sin(2.0 * std::numbers::pi * frequency * time);
  };
  for (Index c = 0; c < channels; ++c)
    for (Index k = 0; k < samples; ++k)
      signal[static_cast<std::size_t>(c * samples + k)] =
          tone(c, (static_cast<double>(k) + 0.5) * step);
  const resolvent::ConstRows<double> u(signal.data(), channels, samples);

  // The memory takes the samples in blocks of any size; here, all at once.
  hippo::Memory<double> memory(system, hippo::Rule::bilinear, 0.5, step, channels);
  memory.update(u);
  std::vector<double> kept(channels * static_cast<std::size_t>(system.order()));
  resolvent::Rows<double> coefficients(kept.data(), channels, system.order());
  memory.coefficients(coefficients);

  // What it remembers of the window, at a few instants.
  const std::vector<double> times{2.1, 2.3, 2.5, 2.7, 2.9};
  std::vector<double> positions;
  for (const double time : times) positions.push_back(hippo::position(system, time, memory.time()));
  std::vector<double> values(channels * times.size());
  resolvent::Rows<double> remembered(values.data(), channels, static_cast<Index>(times.size()));
  hippo::reconstruct(system, resolvent::ConstRows<double>(kept.data(), channels, system.order()),
                     positions, remembered);

  double worst = 0.0;
  for (Index c = 0; c < channels; ++c) {
    for (Index j = 0; j < remembered.cols(); ++j) {
      const double expected = tone(c, times[static_cast<std::size_t>(j)]);
      std::printf("channel %d  t = %.1f s  signal %+.4f  remembered %+.4f\n", static_cast<int>(c),
                  times[static_cast<std::size_t>(j)], expected, remembered(c, j));
      worst = std::max(worst, std::abs(remembered(c, j) - expected));
    }
  }

  // Errors are exceptions whose text names the argument, its value and what was expected.
  try {
    config.window = -1.0;
    const hippo::System impossible(config);
  } catch (const resolvent::InvalidArgument& error) {
    std::printf("refused: %s\n", error.what());
    return worst < 0.02 ? 0 : 1;
  }
  return 1;
}
