// ttt eval: loss, perplexity and bits per byte of checkpoints on a data set; by position; of tasks, how many answers
// are right; per-token losses on request.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <optional>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/timer.h"
#include "chart/chart.h"
#include "cli/command.h"
#include "cli/eval_adapt.h"
#include "cli/eval_inner_loop.h"
#include "cli/eval_recall.h"
#include "cli/model_options.h"
#include "cli/parse.h"
#include "data/npy.h"
#include "infer/evaluate.h"

namespace ttt {
namespace {

constexpr std::int64_t kTokensAtOnce = 8192;  // of a batch, and of a window that is not cut into pieces
constexpr std::int64_t kPiece = 2048;

struct EvalArguments {
  ModelOptions model;
  std::vector<std::string> checkpoints;
  std::string data, token_loss, plot;
  std::int64_t context = 0, batch = 0, max_samples = 0, stride = 0, piece = 0, seed = 0;
  bool by_position = false, carry_state = false, documents = false, reset_at_documents = false, json = false;
  AdaptArguments adapt;
  InnerLoopArguments inner_loop;
  RecallArguments recall;
};

bool parse(const std::vector<std::string>& args, EvalArguments& options) {
  CLI::App app(
      "Loss (nats per token), perplexity and bits per byte of checkpoints on a data set; also by position, and of sets "
      "that say which targets are scored (tasks, prompts with answers) how many answers are right.",
      "ttt eval");
  options.model.add_to(app, options.checkpoints);
  app.add_option("--data", options.data, "a folder that `ttt prepare` wrote")->required();
  auto* context = app.add_option("--context", options.context,
                                 "tokens in a sequence; default: as in training, of samples of a task: a sample each")
                      ->check(positive_number());
  auto* batch =
      app.add_option("--batch", options.batch, "sequences at once; default: 8192 tokens")->check(positive_number());
  app.add_option("--max-samples", options.max_samples,
                 "only the first so many sequences; default: all, the last one shorter")
      ->check(positive_number());
  app.add_option("--token-loss", options.token_loss,
                 "write every token's loss to this .npy, fp32 [samples, context], in data order; 0: not scored");
  auto* reset = app.add_flag("--reset-at-documents", options.reset_at_documents,
                             "a document sees nothing of the one before it, as with train.reset_at_documents");
  app.add_flag("--documents", options.documents,
               "only sequences that lie inside one document, cut from its start on; default: cut from the set's start, "
               "wherever documents begin");
  auto* carry = app.add_flag("--carry-state", options.carry_state,
                             "read each document from its start to its end, --context tokens at once, the state going "
                             "on; a set that marks no documents is one");
  auto* stride = app.add_option("--stride", options.stride,
                                "read each document likewise in sequences that begin so many tokens apart; of all but "
                                "the first, the last so many targets are scored")
                     ->check(positive_number())
                     ->type_name("TOKENS");
  app.add_option("--piece", options.piece,
                 "compute longer sequences in pieces of so many tokens with a carried state, which bounds the memory; "
                 "default: 2048 for sequences of more than 8192")
      ->check(positive_number())
      ->type_name("TOKENS")
      ->excludes(reset);
  auto* by_position =
      app.add_flag("--by-position", options.by_position,
                   "loss by position (tokens read before, from 1): log-spaced, with 95 % intervals by a bootstrap over "
                   "documents, over sequences where none are marked");
  app.add_option("--plot", options.plot, "draw them, a line with its intervals for each checkpoint, as this .svg")
      ->needs(by_position)
      ->type_name("FILE.svg");
  app.add_option("--seed", options.seed, "of the bootstrap and of the recall probe")
      ->check(non_negative_number())
      ->capture_default_str();
  options.adapt.add_to(app);
  options.inner_loop.add_to(app);
  options.recall.add_to(app);
  app.add_flag("--json", options.json, "print one JSON object");
  carry->excludes(stride)->excludes(reset)->excludes(batch);
  stride->excludes(reset);
  if (!parse_arguments(app, args)) return false;
  const auto refuse = [&](const char* what, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (app.get_option(name)->count() > 0) user_error(what, "; leave out ", name);
    }
  };
  if (options.inner_loop.wanted)
    refuse("--inner-loop looks at whole windows and gives no losses of tokens",
           {"--reset-at-documents", "--token-loss", "--documents", "--carry-state", "--stride", "--piece",
            "--by-position", "--adapt", "--recall-probe"});
  if (options.recall.wanted)
    refuse("--recall-probe makes sequences of its own and gives no losses of tokens",
           {"--reset-at-documents", "--token-loss", "--documents", "--carry-state", "--stride", "--by-position",
            "--adapt"});
  if (!options.by_position && !options.recall.wanted)
    refuse("without --by-position and --recall-probe nothing is drawn at random", {"--seed"});
  if (options.adapt.wanted())
    refuse("--adapt reads one sequence after the other, as its chunks say",
           {"--reset-at-documents", "--carry-state", "--stride", "--piece", "--batch"});
  if (options.adapt.wanted() && options.model.dtype != "fp32")
    user_error("--adapt takes steps on weights in fp32; leave out --dtype ", options.model.dtype);
  if (options.stride > 0 && context->count() > 0 && options.stride > options.context) {
    user_error("--stride ", options.stride, " is more than the --context of ", options.context,
               ", so that targets would be left out; give at most that");
  }
  if (!options.token_loss.empty() && options.checkpoints.size() > 1) {
    user_error("--token-loss writes the losses of one checkpoint, and ", options.checkpoints.size(),
               " are given; evaluate them one by one");
  }
  check_output_file("--plot", options.plot);
  check_output_file("--token-loss", options.token_loss);
  check_output_file("--inner-loop-plot", options.inner_loop.plot);
  check_output_file("--recall-plot", options.recall.plot);
  return true;
}

void check_tokenizers(const LoadedModel& loaded, const Dataset& data) {
  if (!loaded.tokenizer || data.tokenizer_hash().empty() || data.tokenizer_hash() == hex64(loaded.tokenizer->hash()))
    return;
  user_error("the data set '", data.directory().string(),
             "' was prepared with another tokenizer than the one of checkpoint '", loaded.directory.string(),
             "'; prepare it with ", (loaded.directory / "tokenizer.model").string());
}

std::int64_t context_of(const EvalArguments& options, const LoadedModel& loaded) {
  if (options.context > 0) return options.context;
  if (!loaded.trained_context)
    user_error("the checkpoint does not say with which context it was trained; give --context TOKENS");
  return *loaded.trained_context;
}

// One checkpoint, evaluated.
struct Evaluated {
  std::string checkpoint;
  std::string given;  // as it was named
  EvalResult result;
  std::optional<std::int64_t> trained_context;
  std::int64_t context = 0, last_window = 0;
  double seconds = 0;
  Json adapt;  // what was learnt with, or null
};

EvalOptions eval_options(const EvalArguments& options, const LoadedModel& loaded, const Dataset& data,
                         torch::Device device) {
  EvalOptions eval;
  eval.context = options.context;
  eval.samples =
      data.has_scores() && options.context == 0 && !options.documents && !options.carry_state && options.stride == 0;
  if (eval.context == 0 && !eval.samples) {
    eval.context = context_of(options, loaded);
    if (options.stride > eval.context) {
      user_error("--stride ", options.stride, " is more than the context of ", eval.context, " that checkpoint '",
                 loaded.directory.string(), "' was trained with; give at most that, or a --context");
    }
  }
  eval.max_samples = options.max_samples;
  eval.device = device;
  eval.padded_vocabulary = loaded.tokenizer && data.tokenizer_hash() == hex64(loaded.tokenizer->hash());
  eval.reset_at_documents = options.reset_at_documents;
  eval.documents = options.documents;
  eval.stride = options.stride;
  eval.carry_state = options.carry_state;
  if (eval.samples) eval.context = windows_of(data, eval).context();
  eval.batch = options.batch > 0 ? options.batch : std::max<std::int64_t>(1, kTokensAtOnce / eval.context);
  const bool long_windows = eval.context > kTokensAtOnce && !eval.reset_at_documents;
  eval.piece = options.piece > 0 ? options.piece : long_windows ? kPiece : 0;
  if (options.adapt.wanted()) {
    eval.adapt = options.adapt.options(eval.context, loaded.model->config().num_layers);
    eval.batch = std::max<std::int64_t>(1, eval.adapt->chunk / eval.context);
    eval.piece = 0;
  }
  eval.positions = options.by_position;
  eval.seed = static_cast<std::uint64_t>(options.seed);
  return eval;
}

Evaluated evaluate_checkpoint(const EvalArguments& options, const std::string& path, const Dataset& data,
                              torch::Device device) {
  const LoadedModel loaded = options.model.load(device, path);
  check_tokenizers(loaded, data);
  EvalOptions eval = eval_options(options, loaded, data, device);
  const EvalWindows windows = windows_of(data, eval);
  Evaluated evaluated;
  evaluated.checkpoint = loaded.directory.string();
  evaluated.given = path;
  evaluated.trained_context = loaded.trained_context;
  evaluated.context = windows.context();
  evaluated.last_window = windows[windows.size() - 1].length;
  if (eval.adapt) evaluated.adapt = options.adapt.to_json(eval.context);
  std::optional<NpyWriter> writer;
  std::int64_t done = 0;
  Timer timer;
  const auto on_batch = [&](const torch::Tensor& loss_BT) {
    if (!options.token_loss.empty()) {
      if (!writer) writer.emplace(options.token_loss, windows.size(), windows.context());
      const torch::Tensor contiguous = loss_BT.contiguous();
      writer->append(contiguous.const_data_ptr<float>(), contiguous.numel());
    }
    done += loss_BT.size(0);
  };
  eval.on_tokens = [&](std::int64_t tokens) {
    show_progress(cat("eval: ", done, " of ", windows.size(), " sequences, ", tokens, " tokens, ",
                      static_cast<std::int64_t>(static_cast<double>(tokens) / timer.seconds()), " tokens/s"));
  };
  evaluated.result = evaluate(*loaded.model, data, eval, on_batch);
  if (writer) writer->finish();
  show_progress("");
  evaluated.seconds = timer.seconds();
  return evaluated;
}

double share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

Json answers_json(const EvalSums& sums) {
  return {{"samples", sums.samples},
          {"tokens", sums.tokens},
          {"loss", sums.tokens > 0 ? Json(sums.nats / static_cast<double>(sums.tokens)) : Json()},
          {"accuracy", share(sums.correct, sums.tokens)},
          {"answers", sums.answers},
          {"answer_accuracy", share(sums.correct_answers, sums.answers)}};
}

Json groups_json(const char* key, const std::map<std::int64_t, EvalSums>& groups) {
  Json list = Json::array();
  for (const auto& [value, sums] : groups) {
    Json entry = {{key, value}};
    entry.update(answers_json(sums));
    list.push_back(entry);
  }
  return list;
}

Json to_json(const Evaluated& evaluated, const EvalArguments& options) {
  const EvalResult& result = evaluated.result;
  Json json = {{"checkpoint", evaluated.checkpoint},
               {"data", options.data},
               {"context", evaluated.context},
               {"loss", result.loss},
               {"perplexity", std::exp(result.loss)},
               {"bits_per_byte", std::isnan(result.bits_per_byte) ? Json(nullptr) : Json(result.bits_per_byte)},
               {"tokens", result.tokens},
               {"samples", result.samples},
               {"seconds", evaluated.seconds}};
  if (!evaluated.adapt.is_null()) json["adapt"] = evaluated.adapt;
  if (result.has_answers) {
    const Json totals = answers_json(result.totals);
    for (const char* key : {"accuracy", "answers", "answer_accuracy"}) json[key] = totals[key];
    json["by_length"] = groups_json("length", result.by_length);
    json["by_items"] = groups_json("items", result.by_items);
    if (result.regression && result.regression->samples > 0) json["regression"] = to_json(*result.regression);
  }
  if (result.positions) {
    json["positions"] = to_json(result.positions->positions);
    json["intervals"] = to_json(result.positions->intervals);
  }
  return json;
}

void print_groups(const char* key, const std::map<std::int64_t, EvalSums>& groups) {
  if (groups.empty()) return;
  std::cout << std::setw(10) << key << "     samples       loss   accuracy    answers      right\n";
  for (const auto& [value, sums] : groups) {
    std::cout << std::setw(10) << value << std::setw(12) << sums.samples << std::setw(11) << std::setprecision(5);
    if (sums.tokens > 0) {
      std::cout << sums.nats / static_cast<double>(sums.tokens);
    } else {
      std::cout << "-";
    }
    std::cout << std::setw(9) << std::setprecision(2) << 100 * share(sums.correct, sums.tokens) << " %" << std::setw(11)
              << sums.answers << std::setw(9) << 100 * share(sums.correct_answers, sums.answers) << " %\n";
  }
}

void print_regression(const EvalResult& result) {
  if (!result.regression || result.regression->samples == 0) return;
  std::cout << "    points     squared error of the expected y     of least squares\n" << std::setprecision(5);
  for (std::size_t i = 0; i < result.regression->model.size(); ++i) {
    std::cout << std::setw(10) << i << std::setw(36) << result.regression->model[i] << std::setw(21)
              << result.regression->least_squares[i] << "\n";
  }
}

void print(const Evaluated& evaluated, const EvalArguments& options) {
  const EvalResult& result = evaluated.result;
  if (options.checkpoints.size() > 1) std::cout << "checkpoint     " << evaluated.checkpoint << "\n";
  std::cout << std::fixed << std::setprecision(6) << "loss           " << result.loss << " nats per token\n"
            << "perplexity     " << std::exp(result.loss) << "\n";
  if (!std::isnan(result.bits_per_byte)) std::cout << "bits per byte  " << result.bits_per_byte << "\n";
  std::cout << "tokens         " << result.tokens << " in " << result.samples << " sequences of "
            << (result.has_answers && options.context == 0 ? "at most " : "") << evaluated.context
            << (evaluated.last_window < evaluated.context ? cat(", the last of ", evaluated.last_window) : "") << "\n";
  if (!evaluated.adapt.is_null()) {
    std::cout << "adapted        by " << options.adapt.method << ", lr " << std::defaultfloat << options.adapt.lr
              << std::fixed << ", after each " << evaluated.adapt["chunk"] << " targets, layers "
              << options.adapt.layers << (options.adapt.reset == "document" ? ", anew in each document" : "") << "\n";
  }
  if (result.has_answers) {
    const EvalSums& totals = result.totals;
    std::cout << "accuracy       " << share(totals.correct, totals.tokens) << " of scored tokens\n"
              << "whole answers  " << share(totals.correct_answers, totals.answers) << " of " << totals.answers << "\n";
    print_groups("length", result.by_length);
    print_groups("items", result.by_items);
    print_regression(result);
  }
  if (result.positions) std::cout << to_text(*result.positions);
}

Chart position_chart(const std::vector<Evaluated>& all, const EvalArguments& options) {
  Chart chart;
  chart.title = cat("Loss by position on ", options.data);
  chart.x = {.label = "position", .unit = "tokens read", .scale = AxisScale::kLog2};
  chart.y = {.label = "loss", .unit = "nats per token"};
  for (const Evaluated& evaluated : all) {
    ChartSeries series{.name = evaluated.given, .x = {}, .y = {}};
    for (const PositionLoss& of : evaluated.result.positions->positions) {
      if (of.tokens == 0) continue;
      series.x.push_back(std::sqrt(static_cast<double>(of.from) * static_cast<double>(of.to)));
      series.y.push_back(of.loss);
      series.low.push_back(of.low);
      series.high.push_back(of.high);
      const std::string interval = of.units > 1 ? cat(" (", of.low, " to ", of.high, ")") : " (no interval)";
      series.notes.push_back(
          cat("positions ", of.from, " to ", of.to, ": ", of.loss, interval, ", ", of.tokens, " tokens"));
    }
    chart.series.push_back(std::move(series));
    const auto& context = evaluated.trained_context;
    const bool marked = context && std::any_of(chart.marks.begin(), chart.marks.end(), [&](const ChartMark& mark) {
                          return mark.value == static_cast<double>(*context);
                        });
    if (context && !marked)
      chart.marks.push_back({ChartMark::Axis::kX, static_cast<double>(*context), "context of the training"});
  }
  const PositionIntervals& intervals = all.front().result.positions->intervals;
  chart.note = cat("Bands: 95 %, bootstrap over ", intervals.units,
                   intervals.over_documents ? " documents, " : " sequences, ", intervals.resamples, " resamples.");
  return chart;
}

ExitCode probe_recall(const EvalArguments& options, const Dataset& data, torch::Device device) {
  std::vector<std::pair<std::string, RecallTable>> tables;
  for (const std::string& path : options.checkpoints) {
    const LoadedModel loaded = options.model.load(device, path);
    check_tokenizers(loaded, data);
    RecallOptions recall;
    recall.context = context_of(options, loaded);
    recall.passage = options.recall.passage;
    recall.distances = options.recall.distances;
    if (options.max_samples > 0) recall.probes = options.max_samples;
    recall.batch = options.batch > 0 ? options.batch : std::max<std::int64_t>(1, kTokensAtOnce / recall.context);
    recall.piece = options.piece > 0 ? options.piece : recall.context > kTokensAtOnce ? kPiece : 0;
    recall.device = device;
    recall.seed = static_cast<std::uint64_t>(options.seed);
    const RecallTable table = recall_table(*loaded.model, data, recall, [](std::int64_t done, std::int64_t all) {
      show_progress(cat("eval: ", done, " of ", all, " sequences"));
    });
    show_progress("");
    tables.emplace_back(path, table);
  }
  return show_recall(options.recall, tables, options.data, options.json);
}

// Of one checkpoint, over whole windows.
ExitCode show_inner_loop(const EvalArguments& options, const Dataset& data, torch::Device device) {
  if (options.checkpoints.size() > 1)
    user_error("--inner-loop looks at one checkpoint, and ", options.checkpoints.size(),
               " are given; look at them one by one");
  const LoadedModel loaded = options.model.load(device, options.checkpoints.front());
  check_tokenizers(loaded, data);
  const std::int64_t context = context_of(options, loaded);
  const std::int64_t batch = options.batch > 0 ? options.batch : std::max<std::int64_t>(1, kTokensAtOnce / context);
  return run_inner_loop(options.inner_loop, loaded, data, context, batch, options.max_samples, device, options.json);
}

}  // namespace

ExitCode run_eval(const std::vector<std::string>& args) {
  EvalArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  const torch::Device device = options.model.select();
  const Dataset data(options.data);
  if (options.reset_at_documents && !data.bos_id())
    user_error("the data set '", options.data, "' declares no BOS id, by which --reset-at-documents finds documents");
  // Before the first is evaluated, which may take hours: is every one there?
  for (const std::string& path : options.checkpoints) options.model.check(path);
  if (options.inner_loop.wanted) return show_inner_loop(options, data, device);
  if (options.recall.wanted) return probe_recall(options, data, device);
  std::vector<Evaluated> all;
  for (const std::string& path : options.checkpoints) {
    all.push_back(evaluate_checkpoint(options, path, data, device));
    if (!options.json) print(all.back(), options);
    if (all.back().context != all.front().context)
      log_warn(cat("'", path, "' was evaluated on sequences of ", all.back().context, " tokens, '", all.front().given,
                   "' on ", all.front().context, ", as each was trained; --context TOKENS makes them comparable"));
  }
  if (options.json && all.size() == 1) {
    std::cout << to_line(to_json(all.front(), options));
  } else if (options.json) {
    Json list = Json::array();
    for (const Evaluated& evaluated : all) list.push_back(to_json(evaluated, options));
    std::cout << to_line(Json{{"data", options.data}, {"evaluations", list}});
  }
  if (!options.plot.empty()) write_file_atomically(options.plot, to_svg(position_chart(all, options)));
  return ExitCode::kOk;
}

}  // namespace ttt
