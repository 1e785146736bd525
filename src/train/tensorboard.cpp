#include "train/tensorboard.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/files.h"
#include "train/tfrecord.h"

namespace ttt {
namespace {

constexpr const char* kFilePrefix = "events.out.tfevents.";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The ten digits of seconds behind the prefix; 0 for any other name.
long long seconds_of(const std::string& name) {
  const std::string digits = name.starts_with(kFilePrefix) ? name.substr(std::strlen(kFilePrefix), 10) : "";
  return digits.size() == 10 && digits.find_first_not_of("0123456789") == std::string::npos ? std::stoll(digits) : 0;
}

// Readers take the files of a folder in the order of their names, so a later start has a later name, whatever the clock
// of its machine says.
fs::path next_file(const fs::path& directory) {
  auto seconds = static_cast<long long>(now());
  for (const auto& entry : fs::directory_iterator(directory)) {
    seconds = std::max(seconds, seconds_of(entry.path().filename().string()) + 1);
  }
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return directory / cat(kFilePrefix, std::string(10 - std::min<std::size_t>(std::to_string(seconds).size(), 10), '0'),
                         seconds, ".", host, ".", getpid());
}

// Markdown that shows a text as it is.
std::string verbatim(const std::string& text) {
  std::string indented = "    ";
  for (const char c : text) {
    indented += c;
    if (c == '\n') indented += "    ";
  }
  return indented;
}

}  // namespace

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory, std::int64_t first_step,
                                     const std::string& config)
    : directory_(directory), first_step_(first_step), config_(config) {}

TensorboardWriter::~TensorboardWriter() {
  if (file_ != nullptr) std::fclose(file_);
}

void TensorboardWriter::open() {
  make_writable_directory(directory_);
  path_ = next_file(directory_);
  file_ = std::fopen(path_.c_str(), "we");
  if (file_ == nullptr) fail("cannot write '", path_.string(), "': ", std::strerror(errno));
  write(file_version_event(now()));
  write(session_start_event(now(), first_step_));
  text("config", first_step_, config_);
}

void TensorboardWriter::write(const std::string& event) {
  if (file_ == nullptr) open();
  const std::string record = tfrecord(event);
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size() || std::fflush(file_) != 0) {
    fail("cannot write '", path_.string(), "': ", std::strerror(errno));
  }
}

void TensorboardWriter::scalars(const Json& line) {
  scalars_below(line, line.at("kind").get<std::string>(), line.at("step").get<std::int64_t>());
}

void TensorboardWriter::scalars_below(const Json& object, const std::string& prefix, std::int64_t step) {
  for (const auto& [key, value] : object.items()) {
    const std::string tag = prefix + "/" + key;
    if (key == "positions" && value.is_array()) {
      for (const Json& bucket : value) {
        char last[24];
        std::snprintf(last, sizeof last, "%08lld", static_cast<long long>(bucket.at("to").get<std::int64_t>()));
        if (bucket.at("loss").is_number())
          write(scalar_event(now(), step, prefix + "/to_" + last, bucket["loss"].get<float>()));
      }
    } else if (value.is_object() && !(key == "intervals" && object.contains("positions"))) {
      scalars_below(value, tag, step);
    } else if (value.is_number() && key != "step" && key != "layer") {
      write(scalar_event(now(), step, tag, value.get<float>()));
    }
  }
}

void TensorboardWriter::histograms(const InnerLoopStats& stats, std::int64_t step) {
  char layer[24];
  std::snprintf(layer, sizeof layer, "layer_%02lld", static_cast<long long>(stats.layer));
  const auto histogram = [&](const char* name, const at::Tensor& values) {
    if (!values.defined()) return;
    const at::Tensor data = values.detach().to(at::kCPU, at::kFloat).contiguous();
    const std::span<const float> numbers(data.const_data_ptr<float>(), static_cast<std::size_t>(data.numel()));
    const std::string event = histogram_event(now(), step, cat("inner_loop/", name, "/", layer), numbers);
    if (!event.empty()) write(event);
  };
  histogram("learning_rate", stats.sigma);
  histogram("weight_change", stats.weight_change);
}

void TensorboardWriter::text(const std::string& tag, std::int64_t step, const std::string& text) {
  write(text_event(now(), step, tag, verbatim(text)));
}

}  // namespace ttt
