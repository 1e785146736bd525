#include "dist/world.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace ttt {
namespace {

constexpr int kDefaultPort = 29500;  // torchrun's
constexpr int kLargestPort = 65535;
constexpr int kMostRanks = 1 << 20;

// Variables read as what they stand for.
class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return !text(name).empty(); }

  std::string text(const char* name) const {
    const char* value = environment_(name);
    return value == nullptr ? "" : value;
  }

  std::optional<int> number(const char* name, int least, int most) const {
    const std::string value = text(name);
    if (value.empty()) return std::nullopt;
    int result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size() || result < least || result > most) {
      user_error("the environment's ", name, " is '", value, "' and must be an integer from ", least, " to ", most,
                 "; correct or unset it");
    }
    return result;
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
  world.rank = variables.required("RANK", 0, kMostRanks, "WORLD_SIZE");
  world.size = variables.required("WORLD_SIZE", 1, kMostRanks, "RANK");
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
  world.local_rank = variables.number("LOCAL_RANK", 0, kMostRanks).value_or(shared ? world.rank : 0);
  const auto local_size = variables.number("LOCAL_WORLD_SIZE", 1, kMostRanks);
  world.local_size = local_size.value_or(shared ? world.size : world.local_rank + 1);
  return world;
}

World from_open_mpi(const Variables& variables) {
  World world;
  constexpr const char* kRank = "OMPI_COMM_WORLD_RANK";
  world.rank = variables.required(kRank, 0, kMostRanks, "OMPI_COMM_WORLD_SIZE");
  world.size = variables.required("OMPI_COMM_WORLD_SIZE", 1, kMostRanks, kRank);
  world.local_rank = variables.required("OMPI_COMM_WORLD_LOCAL_RANK", 0, kMostRanks, kRank);
  world.local_size = variables.required("OMPI_COMM_WORLD_LOCAL_SIZE", 1, kMostRanks, kRank);
  world.master_address = variables.text("MASTER_ADDR");
  if (world.master_address.empty() && world.on_one_machine()) world.master_address = "127.0.0.1";
  if (world.master_address.empty()) {
    user_error("Open MPI started processes on several machines and does not say where rank 0 is; give its host with ",
               "'mpirun -x MASTER_ADDR=HOST'");
  }
  world.master_port = kDefaultPort;
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
  constexpr const char* kSize = "SLURM_STEP_NUM_TASKS";
  world.size = variables.required(kSize, 1, kMostRanks, "SLURM_STEP_NODELIST");
  if (world.alone()) return world;
  world.rank = variables.required("SLURM_PROCID", 0, kMostRanks, kSize);
  world.local_rank = variables.required("SLURM_LOCALID", 0, kMostRanks, kSize);
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
  // Of its own for each step of each job, below the ports that the system hands out by itself.
  const int job = variables.number("SLURM_JOB_ID", 0, 1 << 30).value_or(0) % 15000;
  const int step = variables.number("SLURM_STEP_ID", 0, 1 << 30).value_or(0) % 15000;
  world.master_port = 15000 + (31 * job + step) % 15000;
  return world;
}

void check(const World& world) {
  if (world.rank >= world.size || world.local_rank >= world.local_size || world.local_size > world.size ||
      world.local_rank > world.rank) {
    user_error("the environment makes this rank ", world.rank, " of ", world.size, " and, on this machine, ",
               world.local_rank, " of ", world.local_size, ", which contradict one another; unset the variables that ",
               "another launcher left behind (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, OMPI_*, SLURM_*)");
  }
}

World read(const Variables& variables) {
  if (variables.has("RANK") || variables.has("WORLD_SIZE")) return from_torchrun(variables);
  if (variables.has("OMPI_COMM_WORLD_RANK") || variables.has("OMPI_COMM_WORLD_SIZE")) return from_open_mpi(variables);
  if (variables.has("SLURM_STEP_NUM_TASKS") || variables.has("SLURM_STEP_NODELIST")) return from_srun(variables);
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
