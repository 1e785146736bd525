// Which of how many processes this one is, as the launcher says it in the environment.
//
//     torchrun, PyTorchJob, ttt launch   RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT
//     Open MPI                           OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE}
//     Slurm (srun)                       SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_NODELIST, ...
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace ttt {

struct World {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // among the processes of this machine
  // Where rank 0 listens for the others. "" and 0 for a process alone.
  std::string master_address;
  int master_port = 0;
  std::string remark;  // what the user should know about how this was read; mostly ""

  bool alone() const { return size == 1; }
  bool on_one_machine() const { return local_size == size; }
};

// The value of an environment variable, or null.
using Environment = std::function<const char*(const char* name)>;

// The first of the three kinds of variables that is there; MASTER_ADDR and MASTER_PORT go with any. Slurm counts where
// srun started the process: in a batch script the variables of the whole job are set too, and there one process runs.
// Throws UserError when the variables contradict one another or some are missing.
World world_from_environment();
World world_from_environment(const Environment& environment);

// "node[03-05,9],gpu1" -> "node03". Throws UserError for a list that cannot be read.
std::string first_host(const std::string& slurm_node_list);

}  // namespace ttt
