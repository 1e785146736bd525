// Ranks from the variables of each launcher, and the sentences for what does not fit.
#include "dist/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"

namespace ttt {
namespace {

using Variables = std::map<std::string, std::string>;

World world_of(const Variables& variables) {
  return world_from_environment([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const Variables& variables) {
  try {
    world_of(variables);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

void expect_world(const World& world, int rank, int size, int local_rank, int local_size, const std::string& address,
                  int port) {
  EXPECT_EQ(world.rank, rank);
  EXPECT_EQ(world.size, size);
  EXPECT_EQ(world.local_rank, local_rank);
  EXPECT_EQ(world.local_size, local_size);
  EXPECT_EQ(world.master_address, address);
  EXPECT_EQ(world.master_port, port);
}

TEST(World, OneProcessWithoutVariables) {
  const World world = world_of({});
  EXPECT_TRUE(world.alone());
  EXPECT_TRUE(world.on_one_machine());
  EXPECT_EQ(world.remark, "");
  EXPECT_TRUE(world_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).alone());  // no address is asked for
}

TEST(World, Torchrun) {
  expect_world(world_of({{"RANK", "5"},
                         {"WORLD_SIZE", "8"},
                         {"LOCAL_RANK", "1"},
                         {"LOCAL_WORLD_SIZE", "4"},
                         {"MASTER_ADDR", "node1"},
                         {"MASTER_PORT", "1234"}}),
               5, 8, 1, 4, "node1", 1234);
}

TEST(World, TorchrunsAgentKeepsTheStore) {
  Variables rank = {{"RANK", "0"},
                    {"WORLD_SIZE", "2"},
                    {"LOCAL_RANK", "0"},
                    {"LOCAL_WORLD_SIZE", "2"},
                    {"MASTER_ADDR", "localhost"},
                    {"MASTER_PORT", "1234"},
                    {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                    {"TORCHELASTIC_RESTART_COUNT", "3"},
                    {"TORCHELASTIC_RUN_ID", "none"}};
  World world = world_of(rank);
  expect_world(world, 0, 2, 0, 2, "localhost", 1234);
  EXPECT_TRUE(world.agent_store);
  EXPECT_EQ(world.restart, 3);
  EXPECT_EQ(world.job, "torchrun's none");
  rank["TORCHELASTIC_USE_AGENT_STORE"] = "False";  // TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  EXPECT_FALSE(world_of(rank).agent_store);
  EXPECT_EQ(world_of(rank).job, "") << "the default of every static job";
  rank["TORCHELASTIC_RUN_ID"] = "b7";
  EXPECT_EQ(world_of(rank).job, "torchrun's b7");
  rank["TORCHELASTIC_RESTART_COUNT"] = "many";
  EXPECT_NE(refusal(rank).find("TORCHELASTIC_RESTART_COUNT is 'many'"), std::string::npos) << refusal(rank);
}

TEST(World, WithoutLocalNumbersTheMasterAddressDecides) {
  const Variables here = {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "1234"}};
  expect_world(world_of(here), 1, 2, 1, 2, "127.0.0.1", 1234);
  Variables pods = here;
  pods["MASTER_ADDR"] = "job-master-0";
  expect_world(world_of(pods), 1, 2, 0, 1, "job-master-0", 1234);
  EXPECT_FALSE(world_of(pods).on_one_machine());
  // Rank 0 of a PyTorchJob, whose others are in other pods.
  const Variables master = {{"RANK", "0"},
                            {"WORLD_SIZE", "2"},
                            {"MASTER_ADDR", "localhost"},
                            {"MASTER_PORT", "1234"},
                            {"KUBERNETES_SERVICE_HOST", "10.0.0.1"}};
  expect_world(world_of(master), 0, 2, 0, 1, "localhost", 1234);
}

TEST(World, Slurm) {
  Variables task = {{"SLURM_PROCID", "5"},
                    {"SLURM_NTASKS", "7"},
                    {"SLURM_STEP_NUM_TASKS", "7"},
                    {"SLURM_LOCALID", "1"},
                    {"SLURM_NODEID", "1"},
                    {"SLURM_STEP_TASKS_PER_NODE", "4,3"},
                    {"SLURM_STEP_NODELIST", "gpu[007-008]"},
                    {"SLURM_JOB_NODELIST", "gpu[006-008]"},
                    {"SLURM_JOB_ID", "1000001"}};
  expect_world(world_of(task), 5, 7, 1, 3, "gpu007", 15000 + (31 * (1000001 % 15000)) % 15000);
  task["MASTER_ADDR"] = "10.0.0.7";
  task["MASTER_PORT"] = "4711";
  expect_world(world_of(task), 5, 7, 1, 3, "10.0.0.7", 4711);
  const Variables one_node = {{"SLURM_PROCID", "3"},           {"SLURM_STEP_NUM_TASKS", "4"},
                              {"SLURM_LOCALID", "3"},          {"SLURM_STEP_TASKS_PER_NODE", "4"},
                              {"SLURM_STEP_NODELIST", "gpu7"}, {"MASTER_PORT", "4711"}};
  expect_world(world_of(one_node), 3, 4, 3, 4, "127.0.0.1", 4711);
  const Variables even = {{"SLURM_PROCID", "9"},  {"SLURM_STEP_NUM_TASKS", "12"},
                          {"SLURM_LOCALID", "1"}, {"SLURM_STEP_TASKS_PER_NODE", "4(x3)"},
                          {"SLURM_NODEID", "2"},  {"SLURM_STEP_NODELIST", "a[1-3]"},
                          {"MASTER_PORT", "1"}};
  expect_world(world_of(even), 9, 12, 1, 4, "a1", 1);
}

TEST(World, SlurmsNumbersHave64Bits) {
  Variables task = {{"SLURM_PROCID", "0"},
                    {"SLURM_STEP_NUM_TASKS", "2"},
                    {"SLURM_LOCALID", "0"},
                    {"SLURM_STEP_TASKS_PER_NODE", "2"},
                    {"SLURM_STEP_NODELIST", "a"}};
  std::set<int> ports;
  // Clusters 16, 34 and 63 of a federation, the largest number that there is, and the special steps of a job.
  for (const char* job : {"1073741825", "2281701377", "4227858433", "9223372036854775807"}) {
    for (const char* step : {"0", "1", "4294967290", "4294967294"}) {
      task["SLURM_JOB_ID"] = job;
      task["SLURM_STEP_ID"] = step;
      const World world = world_of(task);
      EXPECT_GE(world.master_port, 15000) << job << "." << step;
      EXPECT_LT(world.master_port, 30000) << job << "." << step;
      EXPECT_EQ(world.job, std::string("Slurm step ") + job + "." + step);
      ports.insert(world.master_port);
    }
  }
  EXPECT_GT(ports.size(), 12u);
  task["SLURM_JOB_ID"] = "9223372036854775808";
  EXPECT_NE(refusal(task).find("from 0 to 9223372036854775807"), std::string::npos) << refusal(task);
}

TEST(World, SlurmsSingleTasksAndBatchScriptsAreOneProcess) {
  EXPECT_TRUE(world_of({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_STEP_NODELIST", "a"}}).alone());
  const World script = world_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_JOB_NODELIST", "a[1-2]"}});
  EXPECT_TRUE(script.alone());
  EXPECT_NE(script.remark.find("8 tasks"), std::string::npos);
  EXPECT_EQ(world_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}).remark, "");
}

TEST(World, OpenMpi) {
  Variables process = {{"OMPI_COMM_WORLD_RANK", "2"},
                       {"OMPI_COMM_WORLD_SIZE", "4"},
                       {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  expect_world(world_of(process), 2, 4, 2, 4, "127.0.0.1", 29500);
  process["OMPI_COMM_WORLD_LOCAL_RANK"] = "0";
  process["OMPI_COMM_WORLD_LOCAL_SIZE"] = "2";
  EXPECT_NE(refusal(process).find("mpirun -x MASTER_ADDR=HOST"), std::string::npos) << refusal(process);
  process["MASTER_ADDR"] = "node1";
  expect_world(world_of(process), 2, 4, 0, 2, "node1", 29500);
}

// What each launcher gives the third process of four on one machine, and the third of four on two.
struct MpiCase {
  const char* name;
  const char *rank, *size, *local_rank, *local_size;
};
constexpr MpiCase kMpiCases[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {"MPICH", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"},
    {"MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"},
    {"jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE"},
};

TEST(World, EveryMpirun) {
  for (const MpiCase& mpi : kMpiCases) {
    SCOPED_TRACE(mpi.local_rank);
    Variables process = {{mpi.rank, "2"}, {mpi.size, "4"}, {mpi.local_rank, "2"}, {mpi.local_size, "4"}};
    expect_world(world_of(process), 2, 4, 2, 4, "127.0.0.1", 29500);
    EXPECT_FALSE(world_of(process).agent_store);
    EXPECT_NE(world_of(process).launcher.find(mpi.name), std::string::npos) << world_of(process).launcher;
    process["MASTER_PORT"] = "4711";
    expect_world(world_of(process), 2, 4, 2, 4, "127.0.0.1", 4711);
    process[mpi.local_rank] = "0";
    process[mpi.local_size] = "2";
    EXPECT_NE(refusal(process).find("several machines"), std::string::npos) << refusal(process);
    EXPECT_NE(refusal(process).find(mpi.name), std::string::npos) << refusal(process);
    EXPECT_NE(refusal(process).find("MASTER_ADDR"), std::string::npos) << refusal(process);
    process["MASTER_ADDR"] = "node1";
    expect_world(world_of(process), 2, 4, 0, 2, "node1", 4711);
    EXPECT_TRUE(world_of({{mpi.rank, "0"}, {mpi.size, "1"}}).alone());
    EXPECT_NE(refusal({{mpi.rank, "2"}}).find(std::string("not ") + mpi.size), std::string::npos);
    EXPECT_NE(refusal({{mpi.size, "2"}}).find(std::string("not ") + mpi.rank), std::string::npos);
    const std::string no_local = refusal({{mpi.rank, "1"}, {mpi.size, "2"}});
    EXPECT_NE(no_local.find(mpi.rank), std::string::npos) << no_local;
    EXPECT_NE(no_local.find("tells the processes of one machine apart"), std::string::npos) << no_local;
    // They are none of the business of ranks that another launcher starts below.
    const std::vector<std::string> known = launcher_variables();
    for (const char* name : {mpi.rank, mpi.size, mpi.local_rank, mpi.local_size})
      EXPECT_NE(std::find(known.begin(), known.end(), name), known.end()) << name;
  }
}

TEST(World, MpiInsideOfSlurm) {
  // mpirun starts one daemon a node with srun: MPI's numbers are the processes'.
  const Variables daemon = {{"SLURM_STEP_NUM_TASKS", "2"},
                            {"SLURM_STEP_NODELIST", "a[1-2]"},
                            {"SLURM_PROCID", "1"},
                            {"SLURM_LOCALID", "0"},
                            {"PMI_RANK", "5"},
                            {"PMI_SIZE", "8"},
                            {"MPI_LOCALRANKID", "1"},
                            {"MPI_LOCALNRANKS", "4"},
                            {"MASTER_ADDR", "a1"}};
  expect_world(world_of(daemon), 5, 8, 1, 4, "a1", 29500);
  // srun --mpi=pmi2 gives its tasks PMI's numbers besides.
  const Variables task = {{"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_STEP_NODELIST", "a1"},
                          {"SLURM_STEP_TASKS_PER_NODE", "4"},
                          {"SLURM_PROCID", "3"},
                          {"SLURM_LOCALID", "3"},
                          {"PMI_RANK", "3"},
                          {"PMI_SIZE", "4"},
                          {"PMIX_RANK", "3"},
                          {"MASTER_PORT", "4711"}};
  expect_world(world_of(task), 3, 4, 3, 4, "127.0.0.1", 4711);
}

TEST(World, ALauncherThatDoesNotSayHowManyIsNamed) {
  for (const char* name : {"PMIX_RANK", "PALS_RANKID", "ALPS_APP_PE", "FLUX_TASK_RANK", "HOROVOD_RANK"}) {
    const std::string message = refusal({{name, "0"}});
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("does not know how many"), std::string::npos) << message;
    EXPECT_TRUE(world_of({{name, "0"}, {"RANK", "0"}, {"WORLD_SIZE", "1"}}).alone());
  }
}

TEST(World, TheFirstLauncherThatIsThereCounts) {
  // torchrun below srun: its own ranks, whatever the task's number.
  const World world = world_of({{"RANK", "1"},
                                {"WORLD_SIZE", "2"},
                                {"MASTER_ADDR", "127.0.0.1"},
                                {"MASTER_PORT", "1234"},
                                {"SLURM_PROCID", "0"},
                                {"SLURM_STEP_NUM_TASKS", "1"}});
  EXPECT_EQ(world.rank, 1);
}

TEST(World, WhatDoesNotFitIsOneSentence) {
  const auto expect = [](const Variables& variables, const char* text) {
    const std::string message = refusal(variables);
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' instead of " << text;
  };
  expect({{"RANK", "1"}}, "RANK but not WORLD_SIZE");
  expect({{"WORLD_SIZE", "4"}}, "WORLD_SIZE but not RANK");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2"}}, "MASTER_ADDR is not set");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "MASTER_PORT is not set");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "99999"}}, "from 1 to 65535");
  expect({{"RANK", "two"}, {"WORLD_SIZE", "4"}}, "RANK is 'two'");
  expect({{"RANK", "4"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "1"}}, "rank 4 of 4");
  expect({{"RANK", "1"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "3"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "1"}},
         "contradict");
  expect({{"RANK", "1"},
          {"WORLD_SIZE", "4"},
          {"LOCAL_RANK", "1"},
          {"LOCAL_WORLD_SIZE", "8"},
          {"MASTER_ADDR", "a"},
          {"MASTER_PORT", "1"}},
         "contradict");
  expect({{"OMPI_COMM_WORLD_RANK", "1"}}, "not OMPI_COMM_WORLD_SIZE");
  expect({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_STEP_NODELIST", "a"}}, "not SLURM_PROCID");
  expect({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}}, "not SLURM_STEP_NODELIST");
}

TEST(World, FirstHostOfASlurmList) {
  EXPECT_EQ(first_host("node7"), "node7");
  EXPECT_EQ(first_host("node7,node9"), "node7");
  EXPECT_EQ(first_host("node[03-05,9],gpu1"), "node03");
  EXPECT_EQ(first_host("rack[2,5]n[01-02]-ib,x"), "rack2n01-ib");
  EXPECT_THROW(first_host("node["), UserError);
  EXPECT_THROW(first_host("node[]"), UserError);
  EXPECT_THROW(first_host(""), UserError);
}

}  // namespace
}  // namespace ttt
