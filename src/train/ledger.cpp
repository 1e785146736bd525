#include "train/ledger.h"

#include <bit>

#include "base/hash.h"

namespace ttt {
namespace {

std::string bits_of(double value) {
  return hex64(std::bit_cast<std::uint64_t>(value));
}

}  // namespace

std::uint64_t sample_hash(const MixtureOrder& order, const std::vector<std::int64_t>& positions) {
  Xxh3Stream stream;
  for (const std::int64_t position : positions) {
    const MixtureOrder::Sample sample = order(position);
    const std::int64_t id[2] = {static_cast<std::int64_t>(sample.source), sample.index};
    stream.update(id, sizeof id);
  }
  return stream.digest();
}

std::uint64_t parameter_hash(const LanguageModel& model) {
  Xxh3Stream stream;
  for (const auto& item : model.named_parameters()) {
    stream.update(item.key().data(), item.key().size());
    const torch::Tensor data = item.value().detach().cpu().contiguous();
    stream.update(data.data_ptr(), data.nbytes());
  }
  return stream.digest();
}

Json ledger_line(std::int64_t step, std::uint64_t samples, double loss, double grad_norm,
                 std::optional<std::uint64_t> parameters) {
  Json line = {{"step", step}, {"samples", hex64(samples)}, {"loss", bits_of(loss)}, {"grad_norm", bits_of(grad_norm)}};
  if (parameters) line["parameters"] = hex64(*parameters);
  return line;
}

}  // namespace ttt
