#include "sweep/record.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/metrics_kind.h"
#include "sweep/grid.h"
#include "sweep/lr_search.h"

namespace ttt {
namespace {

constexpr RunStatus kAll[] = {RunStatus::kPending, RunStatus::kRunning, RunStatus::kInterrupted, RunStatus::kFinished,
                              RunStatus::kFailed};

fs::path record_path(const SweepRun& run) {
  return run.folder() / "sweep.json";
}

std::optional<double> number_in(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

// Tasks of a Slurm array may write at the same moment.
std::unique_ptr<FileLock> wait_for_lock(const fs::path& path) {
  for (int attempt = 0;; ++attempt) {
    try {
      return std::make_unique<FileLock>(path, cat("'", path.string(), "' is held by another sweep that does not end"));
    } catch (const UserError&) {
      if (attempt == 200) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

}  // namespace

const char* to_string(RunStatus status) {
  switch (status) {
    case RunStatus::kPending:
      return "pending";
    case RunStatus::kRunning:
      return "running";
    case RunStatus::kInterrupted:
      return "interrupted";
    case RunStatus::kFinished:
      return "finished";
    case RunStatus::kFailed:
      return "failed";
  }
  return "?";
}

RunRecord read_record(const SweepRun& run) {
  RunRecord record;
  const fs::path path = record_path(run);
  if (!fs::exists(path)) return record;
  const Json json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  const std::string status = json.is_object() ? json.value("status", "") : "";
  bool known = false;
  for (const RunStatus candidate : kAll) {
    if (status != to_string(candidate)) continue;
    record.status = candidate;
    known = true;
  }
  if (!known)
    user_error("'", path.string(), "' is no record of a sweep; remove it to start that run anew or resume it");
  record.config_hash = json.value("config_hash", "");
  record.lr = json.value("lr", 0.0);
  record.git_revision = json.value("git_revision", "");
  record.error = json.value("error", "");
  record.starts = json.value("starts", std::int64_t{0});
  record.peak_memory_bytes = json.value("peak_memory_bytes", std::int64_t{0});
  return record;
}

void write_record(const SweepRun& run, const RunRecord& record) {
  const Json json = {{"status", to_string(record.status)},
                     {"config_hash", record.config_hash},
                     {"lr", record.lr},
                     {"git_revision", record.git_revision},
                     {"error", record.error},
                     {"starts", record.starts},
                     {"peak_memory_bytes", record.peak_memory_bytes}};
  write_file_atomically(record_path(run), to_line(json));
}

RunResults read_results(const SweepRun& run) {
  RunResults results;
  const fs::path path = run.folder() / "metrics.jsonl";
  if (!fs::is_regular_file(path)) return results;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const std::string kind = kind_of(json);
    if (kind == "train") {
      results.step = json.value("step", std::int64_t{0});
      results.tokens = json.value("tokens", std::int64_t{0});
      results.train_loss = number_in(json, "loss");
    } else if (kind == "valid") {
      results.valid_loss = number_in(json, "loss");
      results.valid_tokens = json.value("tokens", std::int64_t{0});
      results.perplexity = number_in(json, "perplexity");
      results.bits_per_byte = number_in(json, "bits_per_byte");
      results.accuracy = number_in(json, "accuracy");
      results.answer_accuracy = number_in(json, "answer_accuracy");
      results.domains = json.value("domains", Json());
      results.inner_lr_scales = json.value("inner_lr_scales", Json());
    }
  }
  results.speed = measured_speed(path);
  return results;
}

bool has_ended(const SweepRun& run, const RunRecord& record) {
  return (record.status == RunStatus::kFinished || record.status == RunStatus::kFailed) &&
         record.config_hash == config_hash(run.config);
}

void advance(Sweep& sweep) {
  advance_searches(sweep);
  mark_edges(sweep);
}

void add_place(Json& line, const SweepRun& run) {
  for (const char* key :
       {"budget", "budget_convention", "tokens_per_parameter", "edge", "branch", "search", "search_best"})
    line[key] = Json();
  if (run.cell) {
    if (run.cell->budget > 0) {
      line["budget"] = run.cell->budget;
      line["budget_convention"] = run.cell->convention;
    }
    if (run.cell->tokens_per_parameter > 0) line["tokens_per_parameter"] = run.cell->tokens_per_parameter;
    if (const std::string edge = edge_text(*run.cell); !edge.empty()) line["edge"] = edge;
  }
  if (run.branch) line["branch"] = {{"trunk", run.branch->trunk_name}, {"step", run.branch->step}};
  if (!run.search) return;
  line["search"] = {{"name", run.search->name}, {"evaluation", run.search->evaluation}};
  if (run.search->best) line["search_best"] = *run.search->best;
}

RunRecord own_record(const SweepRun& run) {
  const RunRecord record = read_record(run);
  const bool same_rate =
      record.lr > 0 ? record.lr == run.config.optim.lr : record.config_hash == config_hash(run.config);
  return run.search && (!run.search->known || !same_rate) ? RunRecord() : record;
}

Json run_line(const SweepRun& run, const RunRecord& record) {
  const RunConfig& config = run.config;
  const ModelConfig& model = config.model;
  const Plan plan = make_plan(config);
  const bool other_rate = run.search && record.status == RunStatus::kPending;
  const RunResults results = other_rate ? RunResults() : read_results(run);
  const Flops total = plan.training.times(static_cast<double>(plan.tokens));
  Json line = {{"index", run.index},
               {"name", run.name},
               {"status", to_string(record.status)},
               {"error", record.error.empty() ? Json() : Json(record.error)},
               {"output_dir", run.folder().string()},
               {"config_hash", config_hash(config)},
               {"git_revision", record.git_revision.empty() ? Json() : Json(record.git_revision)},
               {"mixer", to_string(model.mixer)},
               {"backbone", model.has_ttt() ? Json(to_string(model.backbone)) : Json()},
               {"valid_data", config.data.valid.empty() ? Json() : Json(config.data.valid.text())},
               {"context", config.train.context},
               {"mini_batch_size", model.has_ttt() ? Json(model.mini_batch_size) : Json()},
               {"parameters", plan.parameters.total},
               {"parameters_non_embedding", plan.parameters.non_embedding()},
               {"inner_state", plan.parameters.inner_state},
               {"decoding_state_bytes", plan.memory.decoding_state},
               {"steps", plan.steps},
               {"tokens", plan.tokens},
               {"flops_six_nd", total.six_nd},
               {"flops_chinchilla", total.chinchilla},
               {"flops_exact", total.exact},
               {"lr", run.search && !run.search->known ? Json() : Json(config.optim.lr)},
               {"seed", config.train.seed},
               {"steps_done", results.step},
               {"tokens_done", results.tokens},
               {"train_loss", or_null(results.train_loss)},
               {"valid_loss", or_null(results.valid_loss)},
               {"perplexity", or_null(results.perplexity)},
               {"bits_per_byte", or_null(results.bits_per_byte)}};
  line["valid_tokens"] = results.valid_tokens > 0 ? Json(results.valid_tokens) : Json();
  line["accuracy"] = or_null(results.accuracy);
  line["answer_accuracy"] = or_null(results.answer_accuracy);
  line["domains"] = results.domains;
  line["inner_lr_scale"] = model.has_ttt() ? Json(config.train.inner_lr_scale) : Json();
  line["inner_lr_scales"] = results.inner_lr_scales;
  line["tokens_per_second"] = results.speed ? Json(results.speed->tokens_per_second) : Json();
  line["peak_memory_bytes"] = record.peak_memory_bytes > 0 ? Json(record.peak_memory_bytes) : Json();
  line["starts"] = record.starts;
  add_place(line, run);
  return line;
}

void write_runs_file(const Sweep& sweep) {
  make_writable_directory(sweep.output_dir);
  const auto lock = wait_for_lock(sweep.output_dir / ".runs.lock");
  Sweep now = sweep;
  advance(now);
  std::string lines;
  for (const SweepRun& run : now.runs) lines += to_line(run_line(run, own_record(run)));
  write_file_atomically(sweep.output_dir / "runs.jsonl", lines);
}

}  // namespace ttt
