#include "dist/world.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace ttt {
namespace {

constexpr int kDefaultPort = 29500;  // torchrun's
constexpr int kLargestPort = 65535;
constexpr int kMostRanks = 1 << 20;
constexpr std::int64_t kLargestNumber = std::numeric_limits<std::int64_t>::max();

// A launcher's variables for one process. "" where it has none.
struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  std::array<const char*, 2> local_rank, local_size;  // the first that is set counts
  const char* job;                                    // its own name for the job
  const char* how_to_pass;                            // MASTER_ADDR to every process
};

// In the order in which they count. torchrun in an srun or mpirun: torchrun's ranks. MPI's mpirun in a Slurm job: MPI's
// ranks, since it is srun that starts MPI's daemons then.
constexpr Launcher kTorchrun = {
    "torchrun", "RANK", "WORLD_SIZE", {"LOCAL_RANK", ""}, {"LOCAL_WORLD_SIZE", ""}, "TORCHELASTIC_RUN_ID", ""};
constexpr Launcher kSrun = {
    "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", {"SLURM_LOCALID", ""}, {"", ""}, "SLURM_JOB_ID", ""};
constexpr Launcher kMpiLaunchers[] = {
    {"mpirun of Open MPI",
     "OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     {"OMPI_COMM_WORLD_LOCAL_RANK", ""},
     {"OMPI_COMM_WORLD_LOCAL_SIZE", ""},
     "PMIX_NAMESPACE",
     "mpirun -x MASTER_ADDR=HOST"},
    {"mpirun of MVAPICH",
     "MV2_COMM_WORLD_RANK",
     "MV2_COMM_WORLD_SIZE",
     {"MV2_COMM_WORLD_LOCAL_RANK", ""},
     {"MV2_COMM_WORLD_LOCAL_SIZE", ""},
     "",
     "mpirun -genv MASTER_ADDR HOST"},
    {"jsrun",
     "JSM_NAMESPACE_RANK",
     "JSM_NAMESPACE_SIZE",
     {"JSM_NAMESPACE_LOCAL_RANK", ""},
     {"JSM_NAMESPACE_LOCAL_SIZE", ""},
     "",
     "jsrun -E MASTER_ADDR=HOST"},
    {"mpirun of MPICH or Intel MPI",  // Cray's PALS has the second names
     "PMI_RANK",
     "PMI_SIZE",
     {"MPI_LOCALRANKID", "PMI_LOCAL_RANK"},
     {"MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"},
     "",
     "mpirun -genv MASTER_ADDR HOST"},
};

// Launchers that number their processes and do not say, in variables known here, how many there are.
struct UnreadLauncher {
  const char* name;
  const char* rank;
};
constexpr UnreadLauncher kUnreadLaunchers[] = {
    {"a PMIx launcher (prterun)", "PMIX_RANK"},
    {"PALS", "PALS_RANKID"},
    {"aprun", "ALPS_APP_PE"},
    {"flux run", "FLUX_TASK_RANK"},
    {"horovodrun", "HOROVOD_RANK"},
};

// What else they say of a process or of its step.
constexpr const char* kOtherVariables[] = {"TORCHELASTIC_RUN_ID",
                                           "TORCHELASTIC_USE_AGENT_STORE",
                                           "TORCHELASTIC_RESTART_COUNT",
                                           "SLURM_STEP_NODELIST",
                                           "SLURM_STEP_TASKS_PER_NODE",
                                           "SLURM_NODEID",
                                           "SLURM_NTASKS",
                                           kLaunchIdVariable};

// Variables read as what they stand for.
class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return !text(name).empty(); }

  std::string text(const char* name) const {
    const char* value = *name == '\0' ? nullptr : environment_(name);
    return value == nullptr ? "" : value;
  }

  std::optional<std::int64_t> number64(const char* name, std::int64_t least, std::int64_t most) const {
    const std::string value = text(name);
    if (value.empty()) return std::nullopt;
    std::int64_t result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size() || result < least || result > most) {
      user_error("the environment's ", name, " is '", value, "' and must be an integer from ", least, " to ", most,
                 "; correct or unset it");
    }
    return result;
  }

  std::optional<int> number(const char* name, int least, int most) const {
    const auto result = number64(name, least, most);
    return result ? std::optional<int>(static_cast<int>(*result)) : std::nullopt;
  }

  // Of the first of two that is set.
  std::optional<int> number(const std::array<const char*, 2>& names, int least, int most) const {
    const auto first = number(names[0], least, most);
    return first ? first : number(names[1], least, most);
  }

  // A variable that must be there because `because` is.
  int required(const char* name, int least, int most, const char* because) const {
    const auto value = number(name, least, most);
    if (!value) user_error("the environment has ", because, " but not ", name, "; set both or neither");
    return *value;
  }

 private:
  const Environment& environment_;
};

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

World from_torchrun(const Variables& variables) {
  World world;
  world.rank = variables.required(kTorchrun.rank, 0, kMostRanks, kTorchrun.size);
  world.size = variables.required(kTorchrun.size, 1, kMostRanks, kTorchrun.rank);
  if (world.alone()) return world;
  world.master_address = variables.text("MASTER_ADDR");
  if (world.master_address.empty() || !variables.has("MASTER_PORT")) {
    user_error("RANK and WORLD_SIZE make this one of ", world.size, " processes, but ",
               world.master_address.empty() ? "MASTER_ADDR" : "MASTER_PORT",
               " is not set; give the host and a free port of rank 0");
  }
  // Without local numbers: one process a machine (PyTorchJob), unless rank 0 is found on this very one. In a pod,
  // "localhost" is how PyTorchJob names rank 0 to itself.
  const bool shared = is_loopback(world.master_address) && !variables.has("KUBERNETES_SERVICE_HOST");
  world.local_rank = variables.number(kTorchrun.local_rank, 0, kMostRanks).value_or(shared ? world.rank : 0);
  const auto local_size = variables.number(kTorchrun.local_size, 1, kMostRanks);
  world.local_size = local_size.value_or(shared ? world.size : world.local_rank + 1);
  world.agent_store = variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  world.restart = variables.number64("TORCHELASTIC_RESTART_COUNT", 0, kLargestNumber).value_or(0);
  const std::string run = variables.text(kTorchrun.job), launch = variables.text(kLaunchIdVariable);
  if (!run.empty() && (run != "none" || world.agent_store)) world.job = cat("torchrun's ", run);
  if (!launch.empty()) world.job = cat("launch ", launch);
  world.launcher = !launch.empty() ? "ttt launch" : world.agent_store ? kTorchrun.name : "RANK and WORLD_SIZE";
  return world;
}

World from_mpi(const Variables& variables, const Launcher& launcher) {
  World world;
  world.rank = variables.required(launcher.rank, 0, kMostRanks, launcher.size);
  world.size = variables.required(launcher.size, 1, kMostRanks, launcher.rank);
  if (world.alone()) return world;
  const auto local_rank = variables.number(launcher.local_rank, 0, kMostRanks);
  const auto local_size = variables.number(launcher.local_size, 1, kMostRanks);
  if (!local_rank || !local_size) {
    user_error("the environment has ", launcher.rank, " (", launcher.name, ") but not ",
               local_rank ? launcher.local_size[0] : launcher.local_rank[0],
               ", which tells the processes of one machine apart; set it, or start the run with `ttt launch`");
  }
  world.local_rank = *local_rank;
  world.local_size = *local_size;
  world.master_address = variables.text("MASTER_ADDR");
  if (world.master_address.empty() && world.on_one_machine()) world.master_address = "127.0.0.1";
  if (world.master_address.empty()) {
    user_error(launcher.name, " started processes on several machines and does not say where rank 0 is; give its host ",
               "with '", launcher.how_to_pass, "'");
  }
  world.master_port = kDefaultPort;
  world.launcher = launcher.name;
  const std::string job = variables.text(launcher.job);
  if (!job.empty()) world.job = cat(launcher.name, ", job ", job);
  return world;
}

// The count for node `index` of a list such as "4(x2),3"; nothing when it cannot be read.
std::optional<int> tasks_of_node(std::string_view list, int index) {
  while (!list.empty()) {
    int tasks = 0, nodes = 1;
    const auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), tasks);
    if (error != std::errc() || tasks < 1) return std::nullopt;
    list.remove_prefix(static_cast<std::size_t>(end - list.data()));
    if (list.starts_with("(x")) {
      list.remove_prefix(2);
      const auto repeat = std::from_chars(list.data(), list.data() + list.size(), nodes);
      if (repeat.ec != std::errc() || nodes < 1) return std::nullopt;
      list.remove_prefix(static_cast<std::size_t>(repeat.ptr - list.data()));
      if (!list.starts_with(")")) return std::nullopt;
      list.remove_prefix(1);
    }
    if (index < nodes) return tasks;
    index -= nodes;
    if (!list.starts_with(",")) return std::nullopt;
    list.remove_prefix(1);
  }
  return std::nullopt;
}

World from_srun(const Variables& variables) {
  World world;
  constexpr const char* kSize = kSrun.size;
  world.size = variables.required(kSize, 1, kMostRanks, "SLURM_STEP_NODELIST");
  if (world.alone()) return world;
  world.rank = variables.required(kSrun.rank, 0, kMostRanks, kSize);
  world.local_rank = variables.required(kSrun.local_rank[0], 0, kMostRanks, kSize);
  const std::string tasks = variables.text("SLURM_STEP_TASKS_PER_NODE");
  const int node = variables.number("SLURM_NODEID", 0, kMostRanks).value_or(0);
  world.local_size = tasks_of_node(tasks, node).value_or(world.local_rank + 1);
  world.master_address = variables.text("MASTER_ADDR");
  if (world.master_address.empty()) {
    const std::string step_nodes = variables.text("SLURM_STEP_NODELIST");
    const std::string nodes = step_nodes.empty() ? variables.text("SLURM_JOB_NODELIST") : step_nodes;
    if (nodes.empty())
      user_error("the environment has ", kSize,
                 " but not SLURM_STEP_NODELIST; start the run with srun, or set MASTER_ADDR");
    world.master_address = world.on_one_machine() ? "127.0.0.1" : first_host(nodes);
  }
  // A port of its own for each step of each job, below those that the system hands out by itself. A federation's job
  // ids have the cluster's number in the bits from 26 on; the numbers of special steps end at 2^32.
  const std::int64_t job = variables.number64(kSrun.job, 0, kLargestNumber).value_or(0);
  const std::int64_t step = variables.number64("SLURM_STEP_ID", 0, kLargestNumber).value_or(0);
  world.master_port = 15000 + static_cast<int>((31 * (job % 15000) + step % 15000) % 15000);
  world.launcher = kSrun.name;
  if (variables.has(kSrun.job)) world.job = cat("Slurm step ", job, ".", step);
  return world;
}

void check(const World& world) {
  if (world.rank >= world.size || world.local_rank >= world.local_size || world.local_size > world.size ||
      world.local_rank > world.rank) {
    user_error("the environment makes this rank ", world.rank, " of ", world.size, " and, on this machine, ",
               world.local_rank, " of ", world.local_size, ", which contradict one another; unset the variables that ",
               "another launcher left behind (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, OMPI_*, MV2_*, JSM_*, "
               "PMI_*, SLURM_*)");
  }
}

World read(const Variables& variables) {
  if (variables.has(kTorchrun.rank) || variables.has(kTorchrun.size)) return from_torchrun(variables);
  const bool srun = variables.has(kSrun.size) || variables.has("SLURM_STEP_NODELIST");
  for (const Launcher& launcher : kMpiLaunchers) {
    if (!variables.has(launcher.rank) && !variables.has(launcher.size)) continue;
    // srun --mpi=pmi2 numbers its own tasks once more, and not those of one machine.
    if (srun && !variables.number(launcher.local_rank, 0, kMostRanks)) continue;
    return from_mpi(variables, launcher);
  }
  if (srun) return from_srun(variables);
  for (const UnreadLauncher& launcher : kUnreadLaunchers) {
    if (!variables.has(launcher.rank)) continue;
    user_error("the environment's ", launcher.rank, " says that ", launcher.name,
               " started this process, and ttt does ",
               "not know how many there are; set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and ",
               "MASTER_PORT for each (WORLD_SIZE=1 and RANK=0: alone), or start the run with `ttt launch`");
  }
  World world;
  if (const auto tasks = variables.number("SLURM_NTASKS", 1, kMostRanks); tasks && *tasks > 1) {
    world.remark = cat("the Slurm job has ", *tasks, " tasks, but srun did not start this process: it runs alone");
  }
  return world;
}

}  // namespace

std::string first_host(const std::string& slurm_node_list) {
  std::string host;
  for (std::size_t i = 0; i < slurm_node_list.size() && slurm_node_list[i] != ','; ++i) {
    if (slurm_node_list[i] != '[') {
      host += slurm_node_list[i];
      continue;
    }
    const std::size_t close = slurm_node_list.find(']', i), end = slurm_node_list.find_first_of("-,]", i);
    if (close == std::string::npos || end == i + 1)
      user_error("the node list '", slurm_node_list,
                 "' of Slurm cannot be read; set MASTER_ADDR to the host of rank 0");
    host += slurm_node_list.substr(i + 1, end - i - 1);
    i = close;
  }
  if (host.empty()) user_error("the node list of Slurm is empty; set MASTER_ADDR to the host of rank 0");
  return host;
}

std::vector<std::string> launcher_variables() {
  std::vector<std::string> names(std::begin(kOtherVariables), std::end(kOtherVariables));
  const auto add = [&](const Launcher& launcher) {
    for (const char* name : {launcher.rank, launcher.size, launcher.local_rank[0], launcher.local_rank[1],
                             launcher.local_size[0], launcher.local_size[1]}) {
      if (*name != '\0') names.emplace_back(name);
    }
  };
  add(kTorchrun);
  for (const Launcher& launcher : kMpiLaunchers) add(launcher);
  add(kSrun);
  for (const UnreadLauncher& launcher : kUnreadLaunchers) names.emplace_back(launcher.rank);
  return names;
}

World world_from_environment(const Environment& environment) {
  const Variables variables(environment);
  World world = read(variables);
  check(world);
  if (world.alone()) {
    World single;
    single.remark = world.remark;
    return single;
  }
  if (const auto port = variables.number("MASTER_PORT", 1, kLargestPort)) world.master_port = *port;
  return world;
}

World world_from_environment() {
  return world_from_environment([](const char* name) { return std::getenv(name); });
}

}  // namespace ttt
