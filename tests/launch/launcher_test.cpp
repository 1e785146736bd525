// The launcher with shell scripts in the place of `ttt train`: what ranks are told, how their ends are judged, who is
// stopped and who is started again.
#include "launch/launcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <numeric>

#include "base/files.h"
#include "launch/binding.h"
#include "support/scratch_folder.h"

namespace ttt {
namespace {

class LauncherTest : public testing::Test {
 protected:
  // Options for ranks that run these lines of shell in the scratch folder.
  LaunchOptions shell(int ranks, const std::string& lines) const {
    LaunchOptions options;
    options.command = {"/bin/sh", "-c", "cd " + folder_.path().string() + "\n" + lines};
    options.ranks = ranks;
    options.grace_seconds = 20;
    return options;
  }

  // Launches in a process of its own, whose output goes to files; returns its id. own_group: as a shell does on a
  // terminal, which sends its signals to all processes of the group.
  pid_t start(const LaunchOptions& options, bool own_group = false) const {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    if (own_group) setpgid(0, 0);
    if (freopen((folder_ / "out").c_str(), "w", stdout) == nullptr) _exit(99);
    if (freopen((folder_ / "err").c_str(), "w", stderr) == nullptr) _exit(99);
    _exit(static_cast<int>(launch(options)));
  }
  static int wait_for(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int run(const LaunchOptions& options) const { return wait_for(start(options)); }

  std::string text(const std::string& name) const {
    return fs::exists(folder_ / name) ? read_file(folder_ / name) : "";
  }
  bool says(const std::string& name, const std::string& what) const {
    return text(name).find(what) != std::string::npos;
  }

  static void wait_until(const std::function<bool()>& condition) {
    for (int i = 0; i < 3000 && !condition(); ++i) usleep(10000);
    ASSERT_TRUE(condition());
  }
  // Whether the process whose id a file holds lives (and is not just waiting to be reaped).
  bool lives(const std::string& file) const {
    std::string stat;
    try {
      stat = read_file("/proc/" + std::to_string(std::atoi(text(file).c_str())) + "/stat");
    } catch (const UserError&) {
      return false;
    }
    return stat.find(") Z") == std::string::npos;
  }

  ScratchFolder folder_;
};

TEST_F(LauncherTest, RanksKnowTheirPlaceAndTheirLinesAreMarked) {
  setenv("SLURM_PROCID", "7", 1);
  LaunchOptions options = shell(2, R"(
    echo "$RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $MASTER_ADDR ${SLURM_PROCID-unset} $JOB"; test "$MASTER_PORT" -gt 0 && printf 'no end' >&2
    cat)");
  options.variables = {{"SLURM_PROCID", ""}, {"JOB", "mine"}};
  EXPECT_EQ(run(options), 0);
  EXPECT_TRUE(says("out", "0/2 0/2 127.0.0.1 unset mine\n")) << text("out");
  EXPECT_TRUE(says("out", "[1] 1/2 1/2 127.0.0.1 unset mine\n")) << text("out");
  EXPECT_FALSE(says("out", "[0]")) << text("out");
  EXPECT_TRUE(says("err", "[1] no end\n")) << text("err");

  options = shell(2, "echo $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT");
  options.nodes = 3;
  options.node = 2;
  options.master_addr = "node0";
  options.master_port = 29500;
  options.prefix_all = true;
  EXPECT_EQ(run(options), 0);
  EXPECT_TRUE(says("out", "[4] 4 of 6 at node0:29500\n")) << text("out");
  EXPECT_TRUE(says("out", "[5] 5 of 6 at node0:29500\n")) << text("out");
  unsetenv("SLURM_PROCID");
}

TEST_F(LauncherTest, RanksAreBoundToNodes) {
  const std::vector<int> allowed = allowed_processors();
  const std::string first = std::to_string(allowed.front()), last = std::to_string(allowed.back());  // may be the same
  LaunchOptions options = shell(2, "grep Cpus_allowed_list /proc/self/status | sed s/.*[[:space:]]// >node.$RANK");
  options.numa_nodes = {{0, last, 0}, {1, first, 0}};
  EXPECT_EQ(run(options), 0);
  EXPECT_EQ(text("node.0"), last + "\n");
  EXPECT_EQ(text("node.1"), first + "\n");
}

TEST(Binding, RanksAreDealtOutOverTheNodes) {
  const std::vector<NumaNode> nodes = {{0, "0-3,8", 0}, {1, "4-7", 0}, {2, "9", 0}};
  std::vector<int> all(16);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int> first = {0, 1, 2, 3, 8}, second = {4, 5, 6, 7}, third = {9};
  EXPECT_EQ(processors_of_rank(0, 1, nodes, all), std::vector<int>());
  EXPECT_EQ(processors_of_rank(0, 2, nodes, all), first);
  EXPECT_EQ(processors_of_rank(1, 2, nodes, all), (std::vector<int>{4, 5, 6, 7, 9}));
  EXPECT_EQ(processors_of_rank(1, 6, nodes, all), first);
  EXPECT_EQ(processors_of_rank(2, 6, nodes, all), second);
  EXPECT_EQ(processors_of_rank(5, 6, nodes, all), third);
  // A container that may use half of one node and nothing of another.
  EXPECT_EQ(processors_of_rank(1, 2, nodes, {1, 2, 9}), third);
  EXPECT_EQ(processors_of_rank(1, 2, nodes, {1, 2}), std::vector<int>());
}

TEST_F(LauncherTest, LinesOfRanksDoNotMix) {
  const std::string line(3000, 'x');
  EXPECT_EQ(run(shell(4, "for i in 1 2 3 4 5 6 7 8 9; do printf 'a%s' $RANK; printf '%s' " + line + "; echo b; done")),
            0);
  std::istringstream lines(text("out"));
  int count = 0;
  for (std::string one; std::getline(lines, one); ++count) {
    EXPECT_TRUE(one.ends_with(line + "b") && one.size() < line.size() + 8) << one.substr(0, 20);
  }
  EXPECT_EQ(count, 36);
}

TEST_F(LauncherTest, TheFirstFailureIsShownAndEndsTheOthers) {
  // Rank 2 fails; rank 0 fails because of it; rank 1 ends when it is told to.
  const int code = run(shell(3, R"(
    case $RANK in
      0) while [ ! -e failed ]; do sleep 0.02; done; sleep 0.3; echo 'error: the connection is gone' >&2; exit 1 ;;
      1) trap 'echo told >told; exit 75' TERM; touch listens; while :; do sleep 0.02; done ;;
      2) while [ ! -e listens ]; do sleep 0.02; done; echo before >&2; echo 'error: no such thing as a tensor' >&2; touch failed; exit 1 ;;
    esac)"));
  EXPECT_EQ(code, 1);
  EXPECT_TRUE(says("err", "rank 2 (exit code 1) failed first\n    [2] error: no such thing as a tensor\n"))
      << text("err");
  EXPECT_EQ(text("told"), "told\n");
  EXPECT_FALSE(says("err", "rank 1 (")) << text("err");
}

TEST_F(LauncherTest, ARankThatWasKilledIsNamed) {
  EXPECT_EQ(run(shell(2, "[ $RANK = 1 ] && kill -9 $$; trap 'exit 1' TERM; while :; do sleep 0.02; done")), 1);
  EXPECT_TRUE(says("err", "error: rank 1 (killed by SIGKILL) failed first; out of memory")) << text("err");
}

TEST_F(LauncherTest, ARankThatDoesNotListenIsKilledAfterTheGraceTime) {
  LaunchOptions options = shell(2, "if [ $RANK = 1 ]; then exit 2; fi; trap '' TERM; while :; do sleep 0.02; done");
  options.grace_seconds = 0.2;
  options.max_restarts = 3;
  EXPECT_EQ(run(options), 2);  // refused input: no restart
  EXPECT_TRUE(says("err", "rank 1 (exit code 2) failed first")) << text("err");
  EXPECT_FALSE(says("err", "restart")) << text("err");
}

TEST_F(LauncherTest, RestartsAreCounted) {
  // Rank 1 ends its first two starts with a failure, when rank 0 has counted its own: that one waits to be stopped.
  const std::string lines = R"(
    echo x >>starts.$RANK
    starts=$(wc -l <starts.$RANK)
    if [ $RANK = 1 ]; then
      until [ -e starts.0 ] && [ $(wc -l <starts.0) = $starts ]; do sleep 0.02; done
      [ $starts -gt 2 ]; exit
    fi
    [ $starts -gt 2 ] || while :; do sleep 0.02; done)";
  LaunchOptions options = shell(2, lines);
  options.max_restarts = 2;
  EXPECT_EQ(run(options), 0);
  EXPECT_EQ(text("starts.0"), "x\nx\nx\n");
  EXPECT_EQ(text("starts.1"), "x\nx\nx\n");
  EXPECT_TRUE(says("err", "restart 2 of 2: rank 1 (exit code 1) failed; all ranks start again")) << text("err");

  fs::remove(folder_ / "starts.0");
  fs::remove(folder_ / "starts.1");
  options.max_restarts = 1;
  EXPECT_EQ(run(options), 1);
  EXPECT_EQ(text("starts.1"), "x\nx\n");
}

TEST_F(LauncherTest, SignalsArePassedOn) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    fs::remove(folder_ / "ready.0");
    fs::remove(folder_ / "ready.1");
    LaunchOptions options = shell(2, "trap 'exit 75' TERM; touch ready.$RANK; while :; do sleep 0.02; done");
    options.max_restarts = 1;
    const pid_t launcher = start(options);
    wait_until([&] { return fs::exists(folder_ / "ready.0") && fs::exists(folder_ / "ready.1"); });
    kill(launcher, number);
    EXPECT_EQ(wait_for(launcher), 75) << text("err");
    EXPECT_FALSE(says("err", "failed")) << text("err");
  }
  // A terminal tells the ranks itself, which may have had nothing to save yet.
  for (const int number : {SIGINT, SIGHUP}) {
    fs::remove(folder_ / "ready.0");
    const pid_t launcher = start(shell(1, "touch ready.0; while :; do sleep 0.02; done"), /*own_group=*/true);
    wait_until([&] { return fs::exists(folder_ / "ready.0"); });
    kill(-launcher, number);
    EXPECT_EQ(wait_for(launcher), 75) << text("err");
    EXPECT_FALSE(says("err", "failed")) << text("err");
  }
  // A second SIGINT does not wait for ranks that go on.
  fs::remove(folder_ / "ready.0");
  const pid_t launcher = start(shell(1, "trap 'touch told' TERM; touch ready.0; while :; do sleep 0.02; done"));
  wait_until([&] { return fs::exists(folder_ / "ready.0"); });
  kill(launcher, SIGINT);
  wait_until([&] { return fs::exists(folder_ / "told"); });
  kill(launcher, SIGINT);
  EXPECT_EQ(wait_for(launcher), 75);
}

TEST_F(LauncherTest, RanksDieWithTheLauncherHoweverItDies) {
  // The second rank ignores whatever can be ignored.
  const pid_t launcher =
      start(shell(2, "[ $RANK = 1 ] && trap '' TERM INT HUP; echo $$ >pid.$RANK; while :; do sleep 0.02; done"));
  wait_until([&] { return text("pid.0").ends_with('\n') && text("pid.1").ends_with('\n'); });
  EXPECT_TRUE(lives("pid.0") && lives("pid.1"));
  kill(launcher, SIGKILL);
  EXPECT_EQ(wait_for(launcher), -1);
  wait_until([&] { return !lives("pid.0") && !lives("pid.1"); });
}

TEST_F(LauncherTest, AProgramThatIsNotThereIsAFailure) {
  LaunchOptions options = shell(1, "");
  options.command = {(folder_ / "absent").string()};
  EXPECT_EQ(run(options), 1);
  EXPECT_TRUE(says("err", "rank 0 (exit code 127)")) << text("err");
}

}  // namespace
}  // namespace ttt
