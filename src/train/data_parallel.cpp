#include "train/data_parallel.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sstream>
#include <vector>

#include "base/build_info.h"
#include "base/error.h"
#include "base/log.h"
#include "config/fields.h"
#include "model/device.h"
#include "model/self_check.h"

namespace ttt {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// One line for each thing in which ranks must not differ.
std::string identity_of(const RunConfig& config, const std::string& data_fingerprint) {
  std::string text = cat("the program's revision ", build_info().revision(), "\n");
  RunConfig copy = config;
  for (const Field& field : fields_of(copy)) text += cat(field.key, " ", field.get(), "\n");
  return text + cat("training data with the fingerprint ", data_fingerprint, "\n");
}

}  // namespace

std::unique_ptr<Communicator> connect_ranks(const RunConfig& config, const World& world) {
  if (!world.remark.empty()) log_warn(world.remark);
  if (world.alone()) return nullptr;
  check_shares(config, world.size);
  if (world.rank > 0) {
    set_log_prefix(cat("rank ", world.rank, ": "));
    set_log_verbose(false);
  }
  return std::make_unique<Communicator>(world, select_device(config.train.device, world.local_rank),
                                        std::chrono::seconds(config.dist.timeout_seconds), config.output_dir,
                                        std::chrono::seconds(config.dist.heartbeat_seconds));
}

void check_same_on_all_ranks(Communicator& ranks, const RunConfig& config, const std::string& data_fingerprint) {
  const std::vector<std::string> identities = ranks.all_gather(identity_of(config, data_fingerprint));
  for (std::size_t rank = 1; rank < identities.size(); ++rank) {
    if (identities[rank] == identities[0]) continue;
    const std::vector<std::string> first = lines_of(identities[0]), other = lines_of(identities[rank]);
    for (std::size_t i = 0; i < std::min(first.size(), other.size()); ++i) {
      if (first[i] == other[i]) continue;
      user_error("rank ", rank, " has ", other[i], " where rank 0 has ", first[i],
                 "; start all processes with the same program, config and data");
    }
    user_error("rank ", rank, " runs another program than rank 0; start the same one everywhere");
  }
}

void self_check_on_all_ranks(Communicator& ranks, at::Device device, bool wanted) {
  const bool needed = needs_self_check(device);
  if (!wanted) return self_check(device, wanted);
  if (!ranks.any(needed)) return;
  SelfCheckVerdict own;
  if (needed) own = obtain_verdict(device);
  const SelfCheckVerdict joined = joined_verdict(own, ranks.all_gather(needed ? to_line(to_json(own)) : ""));
  apply_verdict(joined);
  refuse_forced_rows(joined);
  if (ranks.is_first()) announce_verdict(joined, device);
}

LocalProcesses local_processes(Communicator& ranks) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  const std::string machine = host + std::string(1, '\n');
  const std::string own = machine + std::string(reinterpret_cast<const char*>(&allowed), sizeof(allowed));
  const std::vector<std::string> all = ranks.all_gather(own);
  return {.on_these_cores = std::count(all.begin(), all.end(), own),
          .on_this_host = std::count_if(all.begin(), all.end(),
                                        [&](const std::string& other) { return other.starts_with(machine); })};
}

EvalShare share_evaluation(Communicator* ranks, std::function<bool()> stop) {
  EvalShare share;
  if (ranks == nullptr) {
    share.exchange = [stop = std::move(stop)](const EvalSums& own) {
      if (stop()) throw StopRequested{};
      return std::vector<EvalSums>{own};
    };
    return share;
  }
  share.rank = ranks->rank();
  share.size = ranks->size();
  share.exchange = [ranks, stop = std::move(stop)](const EvalSums& own) {
    struct Message {
      EvalSums sums;
      std::int64_t stop = 0;
    } message{own, stop() ? 1 : 0};
    const std::vector<std::string> all =
        ranks->all_gather(std::string(reinterpret_cast<const char*>(&message), sizeof message));
    std::vector<EvalSums> sums;
    bool any_stops = false;
    for (const std::string& bytes : all) {
      std::memcpy(&message, bytes.data(), sizeof message);
      sums.push_back(message.sums);
      any_stops = any_stops || message.stop != 0;
    }
    if (any_stops) throw StopRequested{};
    return sums;
  };
  share.gather = [ranks](const std::string& own) { return ranks->all_gather(own); };
  return share;
}

}  // namespace ttt
