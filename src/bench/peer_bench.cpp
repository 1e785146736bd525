#include "bench/peer_bench.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <system_error>
#include <utility>

#include "base/build_info.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "bench/peer_process.h"
#include "bench/peer_script.h"
#include "bench/setup.h"
#include "bench/training_steps.h"
#include "config/hugging_face.h"
#include "ops/products.h"

namespace ttt {
namespace {

constexpr double kSameParameters = 0.01;  // the part by which counts may differ

[[noreturn]] void fail_as_not_understood(const char* doing, const Json& answer) {
  fail("the peer was ", doing, " and answered ", answer.dump(-1, ' ', false, Json::error_handler_t::replace),
       ", which is not what its script says; check that --python names a Python");
}

std::string text_of_answer(const Json& answer, const char* key) {
  if (!answer.contains(key) || !answer[key].is_string()) fail_as_not_understood("starting", answer);
  return answer[key].get<std::string>();
}

// Waits until the peer is ready, and notes what it is.
void note_peer(PeerProcess& process, const std::string& python, PeerBench& bench) {
  const Json ready = process.answer("starting");
  if (ready.contains("missing"))
    user_error("the Python '", python, "' lacks torch or transformers (", text_of_answer(ready, "missing"),
               "); name one that has both with --python, as `tools/python_env.sh --transformers` makes it");
  bench.torch = text_of_answer(ready, "torch");
  bench.transformers = text_of_answer(ready, "transformers");
  bench.python = text_of_answer(ready, "python");
  bench.optimizer = text_of_answer(ready, "optimizer");
  if (!ready.contains("parameters") || !ready["parameters"].is_number_integer())
    fail_as_not_understood("starting", ready);
  bench.peer_parameters = ready["parameters"].get<std::int64_t>();
}

std::vector<double> peer_steps(PeerProcess& process, std::int64_t steps) {
  constexpr const char* kDoing = "training";
  process.ask(cat(steps));
  const Json answer = process.answer(kDoing);
  std::vector<double> rates;
  if (const auto list = answer.find("tokens_per_second"); list != answer.end() && list->is_array())
    for (const Json& rate : *list)
      if (rate.is_number() && rate.get<double>() > 0) rates.push_back(rate.get<double>());
  if (rates.size() != static_cast<std::size_t>(steps)) fail_as_not_understood(kDoing, answer);
  return rates;
}

std::vector<double> own_steps(TrainingSteps& training, std::int64_t steps, std::int64_t batch_tokens) {
  std::vector<double> rates;
  for (std::int64_t i = 0; i < steps; ++i) rates.push_back(static_cast<double>(batch_tokens) / training.step().whole);
  return rates;
}

}  // namespace

PeerRates compare_rounds(const std::vector<PeerRound>& rounds) {
  PeerRates rates;
  std::vector<double> ours, peer;
  for (const PeerRound& round : rounds) {
    ours.insert(ours.end(), round.ours.begin(), round.ours.end());
    peer.insert(peer.end(), round.peer.begin(), round.peer.end());
    rates.ratios.push_back(spread_of(round.ours).median / spread_of(round.peer).median);
  }
  rates.ours = spread_of(ours).median;
  rates.peer = spread_of(peer).median;
  rates.ratio = spread_of(rates.ratios);
  return rates;
}

Json peer_model(const ModelConfig& config, std::int64_t context, const std::string& official) {
  const std::string mixer = to_string(config.mixer);
  if (config.mixer.is_hybrid())
    user_error("a model of several mixers, ", mixer,
               ", has no peer; take one of attention, mamba, ttt_linear or ttt_mlp alone");
  if (config.mixer.contains(MixerKind::kGatedDeltaNet))
    user_error("mixer ", mixer, " has no peer that trains on a CPU; attention, mamba, ttt_linear and ttt_mlp have one");
  const bool inner_loop = config.has_ttt();
  if (inner_loop && official.empty())
    user_error("the peer of mixer ", mixer,
               " is the official PyTorch code; name its folder, which holds ttt.py, with --official DIR");
  if (!inner_loop && !official.empty())
    user_error("--official names the code of TTT layers, and the model's mixer is ", mixer, "; leave it out");
  if (std::error_code unknown; inner_loop && !fs::is_regular_file(fs::path(official) / "ttt.py", unknown))
    user_error("there is no '", (fs::path(official) / "ttt.py").string(),
               "'; --official takes the folder of the official PyTorch code");
  GenerationKeys keys;
  keys.max_position_embeddings = context;
  Json model = hugging_face_config(config, keys);
  if (model["model_type"] == "ttt_cpp")
    user_error("the peer of mixer ", mixer, " has no form of this model; leave out ",
               inner_loop ? ttt_switches(config) : "model.pre_conv and model.attention_window");
  return model;
}

Json peer_settings(const RunConfig& config, const PeerBenchOptions& options, bool bf16, int threads) {
  const Json model = peer_model(config.model, config.train.context, options.official);
  return {{"peer", model["architectures"][0]},
          {"config", model},
          {"official", options.official.empty() ? "" : fs::absolute(options.official).string()},
          {"context", config.train.context},
          {"sequences", config.sequences_per_step()},
          {"micro_batch", config.micro_batch()},
          {"seed", config.train.seed},
          {"threads", threads},
          {"bf16", bf16},
          {"lr", config.optim.lr},
          {"betas", Json::array({config.optim.beta1, config.optim.beta2})},
          {"eps", config.optim.eps},
          {"weight_decay", config.optim.weight_decay},
          {"clip", config.optim.clip_grad_norm}};
}

std::string parameter_warning(std::int64_t ours, std::int64_t peer) {
  if (std::abs(static_cast<double>(ours - peer)) <= kSameParameters * static_cast<double>(ours)) return "";
  return cat("the peer is another model: it has ", peer, " parameters, and ours ", ours);
}

PeerBench bench_peer(const RunConfig& config, const PeerBenchOptions& options) {
  TTT_CHECK(options.steps >= 1 && options.rounds >= 1, options.steps, " steps, ", options.rounds, " rounds");
  PeerBench bench;
  bench.peer = peer_model(config.model, config.train.context, options.official)["architectures"][0].get<std::string>();
  const fs::path python = find_program("--python", options.python);
  const BenchSetup setup = set_up(config.train);
  TTT_CHECK(setup.device.is_cpu(), "the peer computes on a CPU");
  bench.mixer = to_string(config.model.mixer);
  bench.dtype = setup.bf16 ? "bf16" : "fp32";
  if (setup.bf16) bench.bf16_products = to_string(bf16_products());
  bench.threads = at::get_num_threads();
  bench.context = config.train.context;
  bench.batch_tokens = config.train.batch_tokens;
  bench.micro_batch = config.micro_batch();
  bench.steps = options.steps;
  bench.rounds = options.rounds;

  const Json settings = peer_settings(config, options, setup.bf16, bench.threads);
  PeerProcess process(python, {"-c", kPeerScript, to_line(settings)}, options.peer_seconds);
  note_peer(process, options.python, bench);
  log_info(cat("the peer is ready: ", bench.peer, ", torch ", bench.torch, ", transformers ", bench.transformers));
  TrainingSteps training(config, setup.bf16, setup.device);
  bench.parameters = training.parameters();
  const std::string warning = parameter_warning(bench.parameters, bench.peer_parameters);
  if (!warning.empty()) log_warn(warning);
  training.step();  // warms up, as the peer has

  std::vector<PeerRound> rounds;
  for (std::int64_t i = 0; i < options.rounds; ++i) {
    PeerRound round;
    const bool ours_first = i % 2 == 0;
    if (ours_first) round.ours = own_steps(training, options.steps, bench.batch_tokens);
    round.peer = peer_steps(process, options.steps);
    if (!ours_first) round.ours = own_steps(training, options.steps, bench.batch_tokens);
    log_info(cat("round ", i + 1, "/", options.rounds, ": ours ", spread_of(round.ours).median,
                 " tokens/s, the peer's ", spread_of(round.peer).median));
    rounds.push_back(std::move(round));
  }
  bench.rates = compare_rounds(rounds);
  return bench;
}

Json to_json(const PeerBench& bench) {
  return {{"ours_tokens_per_second", bench.rates.ours},
          {"peer_tokens_per_second", bench.rates.peer},
          {"ratio", bench.rates.ratio.median},
          {"ratio_low", bench.rates.ratio.min},
          {"ratio_high", bench.rates.ratio.max},
          {"ratios", bench.rates.ratios},
          {"peer", bench.peer},
          {"versions",
           {{"ttt", build_info().version},
            {"torch", bench.torch},
            {"transformers", bench.transformers},
            {"python", bench.python}}},
          {"peer_optimizer", bench.optimizer},
          {"mixer", bench.mixer},
          {"parameters", bench.parameters},
          {"peer_parameters", bench.peer_parameters},
          {"context", bench.context},
          {"batch_tokens", bench.batch_tokens},
          {"micro_batch", bench.micro_batch},
          {"steps", bench.steps},
          {"rounds", bench.rounds},
          {"dtype", bench.dtype},
          {"bf16_products", bench.bf16_products},
          {"threads", bench.threads},
          {"machine", machine_json("")}};
}

}  // namespace ttt
