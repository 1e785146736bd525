#include "train/out_of_memory.h"

#include <cctype>

#include "base/error.h"

namespace ttt {
namespace {

// The first sentences of a message of LibTorch, without its account of the allocator.
std::string first_sentences(std::string text) {
  text = text.substr(0, text.find('\n'));
  text = text.substr(0, text.find(" Including non-PyTorch"));
  while (!text.empty() && (text.back() == '.' || std::isspace(static_cast<unsigned char>(text.back()))))
    text.pop_back();
  return text;
}

std::string remedy(const RunConfig& config) {
  if (config.train.cuda_graph) return "set train.cuda_graph to false, which changes no result";
  if (config.micro_batch() > 1)
    return cat("set train.micro_batch to ", config.micro_batch() / 2, ", which changes results by rounding alone",
               config.train.recompute ? "" : ", or train.recompute to true");
  if (!config.train.recompute) return "set train.recompute to true";
  return "take a shorter train.context or a smaller model, or more processes with dist.zero: 1";
}

}  // namespace

bool is_out_of_memory(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         text.find("can't allocate memory") != std::string::npos;
}

std::string out_of_memory_text(const c10::Error& error, std::int64_t step, const RunConfig& config) {
  return cat("out of memory in step ", step, ", in micro-batches of ", config.micro_batch(), " x ",
             config.train.context, " tokens (", first_sentences(error.what_without_backtrace()), "); ", remedy(config),
             ", and start the same command again");
}

}  // namespace ttt
