// Which of how many processes this one is, as the launcher says it in the environment. The variables of every launcher
// that is known are one table, kLaunchers in world.cpp:
//
//     torchrun, PyTorchJob, ttt launch   RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT
//     mpirun of Open MPI                 OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE}
//     mpirun of MPICH, Intel MPI, ...    PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS
//     Slurm (srun)                       SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_NODELIST, ...
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ttt {

struct World {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // among the processes of this machine
  // Where rank 0 listens for the others. "" and 0 for a process alone.
  std::string master_address;
  int master_port = 0;
  std::string remark;    // what the user should know about how this was read; mostly ""
  std::string launcher;  // who said so, in messages: "srun"; "" for a process alone
  // The launcher's own name for the job, "Slurm step 12.0": equal on all of its ranks. "" where it gives none.
  std::string job;
  // torchrun's agent has opened the store at MASTER_ADDR:MASTER_PORT and keeps it while it starts the ranks again and
  // again. Rank 0 is a client of it like the others.
  bool agent_store = false;
  std::int64_t restart = 0;  // the how manieth start of all ranks, from 0, under that agent

  bool alone() const { return size == 1; }
  bool on_one_machine() const { return local_size == size; }
};

// The value of an environment variable, or null.
using Environment = std::function<const char*(const char* name)>;

// The first row of the table that is there; MASTER_ADDR and MASTER_PORT go with any. Slurm counts where srun started
// the process: in a batch script the variables of the whole job are set too, and there one process runs. Throws
// UserError when the variables contradict one another, when some are missing, or when they are those of a launcher that
// does not say how many processes there are.
World world_from_environment();
World world_from_environment(const Environment& environment);

// All of their variables that number processes: what a launcher takes away from its ranks when another one started it.
std::vector<std::string> launcher_variables();

// `ttt launch` names the job to its ranks by it.
constexpr const char* kLaunchIdVariable = "TTT_LAUNCH_ID";

// "node[03-05,9],gpu1" -> "node03". Throws UserError for a list that cannot be read.
std::string first_host(const std::string& slurm_node_list);

}  // namespace ttt
