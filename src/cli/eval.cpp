// ttt eval: loss, perplexity and bits per byte of a checkpoint on a data set; per-token losses on request.
#include <cmath>
#include <iomanip>
#include <iostream>
#include <optional>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/eval_inner_loop.h"
#include "cli/model_options.h"
#include "cli/parse.h"
#include "data/npy.h"
#include "infer/evaluate.h"

namespace ttt {
namespace {

struct EvalArguments {
  ModelOptions model;
  std::string data, token_loss;
  std::int64_t context = 0, batch = 0, max_samples = 0;
  bool reset_at_documents = false, json = false;
  InnerLoopArguments inner_loop;
};

bool parse(const std::vector<std::string>& args, EvalArguments& options) {
  CLI::App app("Loss (nats per token), perplexity and bits per byte of a checkpoint on a data set.", "ttt eval");
  options.model.add_to(app);
  app.add_option("--data", options.data, "a folder that `ttt prepare` wrote")->required();
  app.add_option("--context", options.context, "tokens in a sequence; default: as in training")
      ->check(positive_number());
  app.add_option("--batch", options.batch, "sequences at once; default: 8192 tokens")->check(positive_number());
  app.add_option("--max-samples", options.max_samples,
                 "only the first so many sequences; default: all, the last one shorter")
      ->check(positive_number());
  app.add_option("--token-loss", options.token_loss,
                 "write every token's loss to this .npy, fp32 [samples, context], in data order; 0: not scored");
  app.add_flag("--reset-at-documents", options.reset_at_documents,
               "a document sees nothing of the one before it, as with train.reset_at_documents");
  options.inner_loop.add_to(app);
  app.add_flag("--json", options.json, "print one JSON object");
  return parse_arguments(app, args);
}

void check_tokenizers(const LoadedModel& loaded, const Dataset& data) {
  if (!loaded.tokenizer || data.tokenizer_hash().empty() || data.tokenizer_hash() == hex64(loaded.tokenizer->hash()))
    return;
  user_error("the data set '", data.directory().string(),
             "' was prepared with another tokenizer than the one of checkpoint '", loaded.directory.string(),
             "'; prepare it with ", (loaded.directory / "tokenizer.model").string());
}

void print(const EvalResult& result, const EvalArguments& options, const std::string& checkpoint,
           std::int64_t last_window, double seconds) {
  const double perplexity = std::exp(result.loss);
  if (options.json) {
    const Json json = {{"checkpoint", checkpoint},
                       {"data", options.data},
                       {"context", options.context},
                       {"loss", result.loss},
                       {"perplexity", perplexity},
                       {"bits_per_byte", std::isnan(result.bits_per_byte) ? Json(nullptr) : Json(result.bits_per_byte)},
                       {"tokens", result.tokens},
                       {"samples", result.samples},
                       {"seconds", seconds}};
    std::cout << to_line(json);
    return;
  }
  std::cout << std::fixed << std::setprecision(6) << "loss           " << result.loss << " nats per token\n"
            << "perplexity     " << perplexity << "\n";
  if (!std::isnan(result.bits_per_byte)) std::cout << "bits per byte  " << result.bits_per_byte << "\n";
  std::cout << "tokens         " << result.tokens << " in " << result.samples << " sequences of " << options.context
            << (last_window < options.context ? cat(", the last of ", last_window) : "") << "\n";
}

}  // namespace

ExitCode run_eval(const std::vector<std::string>& args) {
  EvalArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  const torch::Device device = options.model.select();
  const Dataset data(options.data);
  const LoadedModel loaded = options.model.load(device);
  check_tokenizers(loaded, data);
  if (options.context == 0) {
    if (!loaded.trained_context)
      user_error("the checkpoint does not say with which context it was trained; give --context TOKENS");
    options.context = *loaded.trained_context;
  }
  if (options.batch == 0) options.batch = std::max<std::int64_t>(1, 8192 / options.context);

  if (options.inner_loop.wanted) {
    if (options.reset_at_documents || !options.token_loss.empty())
      user_error("--inner-loop looks at whole windows and gives no losses of tokens; leave out ",
                 options.reset_at_documents ? "--reset-at-documents" : "--token-loss");
    return run_inner_loop(options.inner_loop, loaded, data, options.context, options.batch, options.max_samples, device,
                          options.json);
  }
  std::int64_t samples = num_windows(data, options.context);
  if (options.max_samples > 0) samples = std::min(samples, options.max_samples);
  std::optional<NpyWriter> writer;
  std::int64_t done = 0;
  Timer timer;
  const auto on_batch = [&](const torch::Tensor& loss_BT) {
    if (!options.token_loss.empty()) {
      if (!writer) writer.emplace(options.token_loss, samples, options.context);
      const torch::Tensor contiguous = loss_BT.contiguous();
      writer->append(contiguous.const_data_ptr<float>(), contiguous.numel());
    }
    done += loss_BT.size(0);
    const double speed = static_cast<double>(done * options.context) / timer.seconds();
    show_progress(cat("eval: ", done, " of ", samples, " sequences, ", static_cast<std::int64_t>(speed), " tokens/s"));
  };
  if (options.reset_at_documents && !data.bos_id())
    user_error("the data set '", options.data, "' declares no BOS id, by which --reset-at-documents finds documents");
  EvalOptions eval{options.context, options.batch, options.max_samples, device};
  eval.padded_vocabulary = loaded.tokenizer && data.tokenizer_hash() == hex64(loaded.tokenizer->hash());
  eval.reset_at_documents = options.reset_at_documents;
  const EvalResult result = evaluate(*loaded.model, data, eval, on_batch);
  if (writer) writer->finish();
  show_progress("");
  const std::int64_t last_window = std::min(options.context, data.num_tokens() - 1 - (samples - 1) * options.context);
  print(result, options, loaded.directory.string(), last_window, timer.seconds());
  return ExitCode::kOk;
}

}  // namespace ttt
