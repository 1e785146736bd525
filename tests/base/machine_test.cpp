// What control groups allow: found in the group itself and in those around it, in both versions.
#include "base/machine.h"

#include <gtest/gtest.h>

#include "support/scratch_folder.h"

namespace ttt {
namespace {

constexpr const char* kVersion2 = "30 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(ControlGroups, TheTightestOfTheGroupsAroundCounts) {
  const ScratchFolder root;
  root.write("proc/self/mountinfo", kVersion2);
  root.write("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  root.write("sys/fs/cgroup/slurm/cpu.max", "1600000 100000\n");
  root.write("sys/fs/cgroup/slurm/job_7/cpu.max", "250000 100000\n");
  root.write("sys/fs/cgroup/slurm/job_7/memory.max", "4000000000\n");
  root.write("sys/fs/cgroup/slurm/job_7/memory.current", "3500000000\n");
  root.write("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 500000000\ninactive_file 3000000000\n");
  root.write("sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
  const ControlGroupLimits limits = control_group_limits(root.path());
  EXPECT_DOUBLE_EQ(limits.cores, 2.5);
  EXPECT_EQ(limits.memory_bytes, 4'000'000'000);
  EXPECT_EQ(limits.free_bytes, 3'500'000'000);
}

TEST(ControlGroups, AContainerSeesItsOwnGroupAsTheTop) {
  const ScratchFolder root;
  root.write("proc/self/mountinfo", kVersion2);
  root.write("proc/self/cgroup", "0::/\n");
  root.write("sys/fs/cgroup/cpu.max", "150000 50000\n");
  root.write("sys/fs/cgroup/memory.max", "1073741824\n");
  EXPECT_DOUBLE_EQ(control_group_limits(root.path()).cores, 3);
  EXPECT_EQ(control_group_cores(1, root.path()), 3);
  EXPECT_EQ(control_group_cores(2, root.path()), 1);
  EXPECT_EQ(control_group_cores(8, root.path()), 1);  // threads take turns
  EXPECT_EQ(control_group_limits(root.path()).memory_bytes, 1 << 30);
}

// Docker without a namespace of control groups: the mount shows the container's group, which /proc names from the top.
TEST(ControlGroups, Version1HasAHierarchyForEachController) {
  const ScratchFolder root;
  root.write("proc/self/mountinfo",
             "31 23 0:29 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
             "32 23 0:30 /docker/ab /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
             "33 23 0:31 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  root.write("proc/self/cgroup", "4:memory:/docker/ab\n3:cpuset:/docker/ab\n2:cpu,cpuacct:/docker/ab/inner\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
  const ControlGroupLimits limits = control_group_limits(root.path());
  EXPECT_DOUBLE_EQ(limits.cores, 4);
  EXPECT_EQ(limits.memory_bytes, std::int64_t{2} << 30);
  EXPECT_EQ(limits.free_bytes, (std::int64_t{2} << 30) - 1000);
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // none
  EXPECT_EQ(control_group_limits(root.path()).memory_bytes, 0);
}

TEST(ControlGroups, NoLimitIsZero) {
  const ScratchFolder root;
  EXPECT_EQ(control_group_limits(root.path()).cores, 0);
  EXPECT_EQ(control_group_cores(2, root.path()), 0);
  root.write("proc/self/mountinfo", kVersion2);
  root.write("proc/self/cgroup", "0::/user\n");
  root.write("sys/fs/cgroup/user/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/user/memory.max", "max\n");
  EXPECT_EQ(control_group_limits(root.path()).cores, 0);
  EXPECT_EQ(control_group_limits(root.path()).memory_bytes, 0);
}

TEST(ControlGroups, TheCoresOfThisMachineAreUsable) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(allowed_processors().size()));
  EXPECT_GT(usable_memory_bytes(), std::int64_t{1} << 28);
}

}  // namespace
}  // namespace ttt
