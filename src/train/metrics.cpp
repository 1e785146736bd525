#include "train/metrics.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

// The lines of steps up to last_step.
std::string keep_until(std::string_view content, std::int64_t last_step) {
  std::string kept;
  while (!content.empty()) {
    const std::size_t end = content.find('\n');
    if (end == std::string_view::npos) break;  // cut off in the middle of a line
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(end + 1);
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) continue;
    if (json["step"].get<std::int64_t>() > last_step) continue;
    kept += line;
    kept += '\n';
  }
  return kept;
}

// Statistics are written with six digits: they are for plots, and a line holds many.
Json rounded_list(const at::Tensor& values) {
  Json list = Json::array();
  if (!values.defined()) return list;
  const at::Tensor data = values.detach().to(at::kCPU, at::kDouble).contiguous();
  for (std::int64_t i = 0; i < data.numel(); ++i) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", data.const_data_ptr<double>()[i]);
    list.push_back(std::strtod(text, nullptr));
  }
  return list;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& path, std::int64_t last_step, TensorboardWriter* tensorboard)
    : path_(path), tensorboard_(tensorboard) {
  if (fs::exists(path)) {
    const std::string content = read_file(path);
    const std::string kept = keep_until(content, last_step);
    if (kept != content) write_file_atomically(path, kept);
  }
  file_ = std::fopen(path.c_str(), "ae");
  if (file_ == nullptr)
    user_error("cannot write '", path.string(), "': ", std::strerror(errno), "; choose another output_dir");
}

MetricsWriter::~MetricsWriter() {
  std::fclose(file_);
}

void MetricsWriter::write(const Json& line) {
  const std::string text = to_line(line);
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0) {
    fail("cannot write '", path_.string(), "': ", std::strerror(errno));
  }
  if (tensorboard_ != nullptr) tensorboard_->scalars(line);
}

void MetricsWriter::sync() {
  if (fsync(fileno(file_)) != 0) fail("cannot fsync '", path_.string(), "': ", std::strerror(errno));
}

Json to_json(const InnerLoopStats& stats, std::int64_t step) {
  return {{"kind", "inner_loop"},
          {"step", step},
          {"layer", stats.layer},
          {"target_variance", rounded_list(stats.target_variance)},
          {"loss_w0", rounded_list(stats.loss_w0)},
          {"loss_before", rounded_list(stats.loss_before)},
          {"loss_after", rounded_list(stats.loss_after)},
          {"weight_change", rounded_list(stats.weight_change)},
          {"sigma_quantiles", rounded_list(stats.sigma_quantiles)}};
}

}  // namespace ttt
