// What is made of a child's words and of its end, the file that keeps a verdict, and what ranks agree on. Children are
// shell scripts here; tests/e2e/self_check_test.sh has the real ones.
#include "model/self_check.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "model/self_check_child.h"
#include "ops/kernel_table.h"
#include "support/scratch_folder.h"
#include "support/user_error.h"

namespace ttt {
namespace {

const char* const kRows =
    R"({"self_check":"rows","rows":["rms_norm/fused","swiglu/fused","rope/fused"],"compiles":false})";

std::string begin_line(int row) {
  return cat(R"({"self_check":"begin","row":)", row, R"(,"check":"small"})", "\n");
}
std::string row_line(int row, const char* state) {
  return cat(R"({"self_check":"row","row":)", row, R"(,"state":")", state, R"(","text":""})", "\n");
}

std::vector<RowState> states(const std::vector<RowVerdict>& rows) {
  std::vector<RowState> all;
  for (const RowVerdict& row : rows) all.push_back(row.state);
  return all;
}

using enum RowState;

TEST(SelfCheckReader, KnowsWhatIsOpen) {
  SelfCheckReader reader;
  reader.begin_child();
  EXPECT_FALSE(reader.ready());
  reader.read(cat(kRows, "\n"));
  ASSERT_TRUE(reader.ready());
  reader.read(begin_line(0) + row_line(0, "agrees") + begin_line(1));
  ASSERT_TRUE(reader.open());
  EXPECT_EQ(reader.open()->row, 1u);
  EXPECT_EQ(reader.open()->check, "small");
  EXPECT_EQ(reader.next(), 1u);
  reader.read(row_line(1, "fails") + begin_line(2) + row_line(2, "takes_none"));
  EXPECT_FALSE(reader.done());
  reader.read("{\"self_check\":\"done\"}\n");
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(states(reader.rows()), (std::vector<RowState>{kAgrees, kFails, kTakesNone}));
}

// In pieces of any size the same comes out.
TEST(SelfCheckReader, TakesLinesInPieces) {
  const std::string all = cat(kRows, "\n", begin_line(0), row_line(0, "agrees"), begin_line(1), row_line(1, "fails"));
  for (const std::size_t size : {1u, 3u, 50u}) {
    SelfCheckReader reader;
    reader.begin_child();
    for (std::size_t at = 0; at < all.size(); at += size) reader.read(std::string_view(all).substr(at, size));
    EXPECT_EQ(reader.next(), 2u) << size;
    EXPECT_EQ(reader.words(), 5u) << size;
  }
}

TEST(SelfCheckReader, PassesOverWhatIsNoneOfItsLines) {
  SelfCheckReader reader;
  reader.begin_child();
  reader.read(begin_line(0) + row_line(0, "fails"));  // before it was ready
  EXPECT_EQ(reader.words(), 0u);
  reader.read(cat("warning: something\n\n{\n[1]\n{\"a\":1}\n{\"self_check\":7}\n", kRows, "\n"));
  EXPECT_EQ(reader.words(), 1u);
  for (const std::string& line :
       {row_line(2, "agrees"), row_line(-1, "agrees"), row_line(7, "agrees"), row_line(0, "fine"),
        std::string("{\"self_check\":\"row\",\"row\":0}\n"), std::string("{\"self_check\":\"row\",\"row\":0,\"sta\n"),
        std::string("{\"self_check\":\"done\"}\n"),
        std::string("{\"self_check\":\"begin\",\"row\":\"x\",\"check\":1}\n"),
        std::string("\xff\xfe{\"self_check\":\"row\"}\n"), std::string(3 << 20, 'x') + "\n"}) {
    reader.read(line);
    EXPECT_EQ(reader.next(), 0u) << line.substr(0, 80);
    EXPECT_FALSE(reader.open()) << line.substr(0, 80);
    EXPECT_FALSE(reader.done()) << line.substr(0, 80);
  }
  reader.read(begin_line(0).substr(0, 30));  // cut off, and another child begins
  reader.begin_child();
  EXPECT_FALSE(reader.ready());
  reader.read(cat(kRows, "\n", begin_line(0)));
  EXPECT_TRUE(reader.open());
}

// A program whose words and end a script says; $5 is the row to begin with.
class ScriptedChild : public ::testing::Test {
 protected:
  SelfCheckVerdict check(const std::string& script, SelfCheckLimits limits = {}) {
    const fs::path path = scratch_.write(
        "child.sh", cat("#!/bin/sh\necho started >>", (scratch_ / "starts").string(), "\n", script, "\n"));
    fs::permissions(path, fs::perms::owner_all);
    return check_in_children(path, "cpu", limits);
  }
  std::int64_t starts() const {
    const std::string text = read_file(scratch_ / "starts");
    return std::count(text.begin(), text.end(), '\n');
  }
  // Rows from $5 on, all right but for what `special` does in row 1.
  static std::string rows_with(const std::string& special) {
    return cat("echo '", kRows, "'\nrow=$5\nwhile [ $row -lt 3 ]; do\n",
               R"(  echo "{\"self_check\":\"begin\",\"row\":$row,\"check\":\"small\"}")", "\n  if [ $row = 1 ]; then ",
               special, "; fi\n",
               R"(  echo "{\"self_check\":\"row\",\"row\":$row,\"state\":\"agrees\",\"text\":\"\"}")",
               "\n  row=$((row + 1))\ndone\necho '{\"self_check\":\"done\"}'");
  }

  ScratchFolder scratch_;
};

TEST_F(ScriptedChild, ThatIsContent) {
  const SelfCheckVerdict verdict = check(rows_with(":"));
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kAgrees, kAgrees}));
  EXPECT_TRUE(verdict.is_final()) << verdict.incomplete;
  EXPECT_EQ(starts(), 1);
}

TEST_F(ScriptedChild, ThatCrashesIsFollowedByAnother) {
  const SelfCheckVerdict verdict = check(rows_with("kill -ABRT $$"));
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kFails, kAgrees}));
  EXPECT_EQ(verdict.rows[1].text, "crashed: signal 6, Aborted (small)");
  EXPECT_TRUE(verdict.is_final());
  EXPECT_EQ(starts(), 2);
}

TEST_F(ScriptedChild, ThatHangsIsFollowedByAnother) {
  const SelfCheckVerdict verdict = check(rows_with("exec sleep 1000"), {.silence = 3});
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kFails, kAgrees}));
  EXPECT_EQ(verdict.rows[1].text, "hung: no answer in 3 s (small)");
  EXPECT_EQ(starts(), 2);
}

// Both stop together, as with Ctrl-Z, in a suspended job or a frozen container: the child stops its parent, says nothing
// for longer than it may, and goes on with it. The parent is a process of its own, so that nothing else stops.
TEST_F(ScriptedChild, ThatIsStoppedWithItsParentIsNotBlamed) {
  const pid_t pid = fork();
  if (pid == 0) {
    const SelfCheckVerdict verdict =
        check(rows_with("sleep 0.2; kill -STOP $PPID; sleep 2.6; kill -CONT $PPID; sleep 0.3"), {.silence = 2.5});
    _exit(states(verdict.rows) == std::vector<RowState>(3, kAgrees) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(starts(), 1);
}

TEST_F(ScriptedChild, ThatExitsIsFollowedByAnother) {
  EXPECT_EQ(check(rows_with("exit 3")).rows[1].text, "ended its process: exit code 3 (small)");
}

// A row that threw may leave the process unfit: the child ends of itself, and is no failure for that.
TEST_F(ScriptedChild, ThatWantsToBeginAgain) {
  const SelfCheckVerdict verdict =
      check(rows_with(R"(echo '{"self_check":"row","row":1,"state":"fails","text":"failed: oh"}'; exit 0)"));
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kFails, kAgrees}));
  EXPECT_EQ(starts(), 2);
  EXPECT_TRUE(verdict.is_final());
}

TEST_F(ScriptedChild, AfterThreeThatAreLostNothingIsTried) {
  std::string rows = R"("rms_norm/fused","swiglu/fused","rope/fused","causal_conv/fused","conv_rope/fused")";
  const SelfCheckVerdict verdict =
      check(cat(R"(echo '{"self_check":"rows","compiles":false,"rows":[)", rows, "]}'\n",
                R"(echo "{\"self_check\":\"begin\",\"row\":$5,\"check\":\"small\"}")", "\nkill -SEGV $$"));
  EXPECT_EQ(states(verdict.rows), std::vector<RowState>(5, kFails));
  EXPECT_EQ(verdict.rows[4].text, "was not tried behind 3 rows that took their process down");
  EXPECT_EQ(starts(), 3);
}

// A signal from outside says nothing about the row.
TEST_F(ScriptedChild, ThatIsEndedByOthersLeavesRowsUnchecked) {
  const SelfCheckVerdict verdict = check(rows_with("kill -TERM $$"));
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kUnchecked, kUnchecked}));
  EXPECT_EQ(verdict.incomplete, "its process was ended by signal 15");
  EXPECT_FALSE(verdict.is_final());
}

TEST_F(ScriptedChild, ThatNeverIsReadySaysWhy) {
  const SelfCheckVerdict dead = check("echo 'error: no such GPU' >&2; exit 2");
  EXPECT_TRUE(dead.rows.empty());
  EXPECT_EQ(dead.incomplete, "its process ended early: no such GPU");
  EXPECT_EQ(check("echo garbage", {.start = 60}).incomplete, "its process ended early: garbage");
  EXPECT_EQ(check("exec sleep 1000", {.start = 0.5}).incomplete, "its process was not ready in 0.5 s");
  EXPECT_TRUE(check_in_children(scratch_ / "absent", "cpu", {}).incomplete.starts_with("its process ended early"));
}

TEST_F(ScriptedChild, ThatTakesTooLongLeavesRowsUnchecked) {
  const std::string slow = cat("sleep 2; echo '", row_line(1, "agrees"), begin_line(2), "'; exec sleep 1000");
  const SelfCheckVerdict verdict = check(rows_with(slow), {.silence = 600, .total = 1});
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kAgrees, kUnchecked}));
  EXPECT_EQ(verdict.incomplete, "its 1 s were over");
}

// Where kernels are compiled it may take longer, and the limit that held is the one that is told.
TEST_F(ScriptedChild, ThatCompilesHasALimitOfItsOwn) {
  std::string script = rows_with(cat("sleep 1.3; echo '", row_line(1, "agrees"), begin_line(2), "'; exec sleep 1000"));
  const std::string no = R"("compiles":false)";
  script.replace(script.find(no), no.size(), R"("compiles":true)");
  const SelfCheckVerdict verdict = check(script, {.silence = 600, .total = 0.5, .compile = 2});
  EXPECT_EQ(states(verdict.rows), (std::vector<RowState>{kAgrees, kAgrees, kUnchecked}));
  EXPECT_EQ(verdict.incomplete, "its 1 s were over");
}

// --- the file ---

SelfCheckVerdict some_verdict() {
  SelfCheckVerdict verdict;
  verdict.subject = {"NVIDIA H200", "570.133.20", "13.0", "abc 0123", ""};
  verdict.rows = {{"rms_norm/fused", kAgrees, ""}, {"swiglu/fused", kFails, "crashed"}, {"rope/fused", kTakesNone, ""}};
  verdict.seconds = 3.25;
  return verdict;
}

TEST(VerdictFile, IsReadAsItWasWritten) {
  const ScratchFolder scratch;
  const SelfCheckVerdict verdict = some_verdict();
  const fs::path file = scratch.write("verdict.json", to_line(to_json(verdict)));
  const auto read = read_verdict(file, verdict.subject);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->rows, verdict.rows);
  EXPECT_EQ(read->seconds, 3.25);
  EXPECT_TRUE(read->kept);
  EXPECT_EQ(read->file, file);
}

TEST(VerdictFile, OfAnythingElseIsNone) {
  const ScratchFolder scratch;
  const SelfCheckVerdict verdict = some_verdict();
  const fs::path file = scratch.write("verdict.json", to_line(to_json(verdict)));
  for (std::string SelfCheckSubject::*part :
       {&SelfCheckSubject::device, &SelfCheckSubject::driver, &SelfCheckSubject::cuda, &SelfCheckSubject::program,
        &SelfCheckSubject::planted}) {
    SelfCheckSubject other = verdict.subject;
    other.*part += "x";
    EXPECT_FALSE(read_verdict(file, other)) << other.text();
    EXPECT_EQ(verdict_file("/c", other) == verdict_file("/c", verdict.subject), part == &SelfCheckSubject::program);
  }
  EXPECT_FALSE(read_verdict(scratch / "absent", verdict.subject));
  EXPECT_FALSE(read_verdict(scratch.path(), verdict.subject));
  EXPECT_FALSE(read_verdict({}, verdict.subject));
}

TEST(VerdictFile, ThatIsDamagedIsNone) {
  const ScratchFolder scratch;
  const SelfCheckVerdict verdict = some_verdict();
  const std::string whole = to_line(to_json(verdict));
  for (std::size_t size = 0; size + 2 < whole.size(); size += 7)
    EXPECT_FALSE(read_verdict(scratch.write("cut.json", whole.substr(0, size)), verdict.subject)) << size;
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{{"format", 2},
                                                                            {"format", "1"},
                                                                            {"rows", 3},
                                                                            {"rows", Json::array()},
                                                                            {"rows", {{{"row", 1}}}},
                                                                            {"driver", 570},
                                                                            {"seconds", "x"},
                                                                            {"incomplete", "stopped"}}) {
    Json json = to_json(verdict);
    json[key] = value;
    EXPECT_FALSE(read_verdict(scratch.write("other.json", to_line(json)), verdict.subject)) << key << " " << value;
    json.erase(key);
    EXPECT_FALSE(read_verdict(scratch.write("other.json", to_line(json)), verdict.subject)) << "no " << key;
  }
  Json unknown = to_json(verdict);
  unknown["rows"][0]["state"] = "wonderful";  // of another version
  EXPECT_FALSE(read_verdict(scratch.write("other.json", to_line(unknown)), verdict.subject));
}

TEST(UserCache, IsWhereTheEnvironmentSays) {
  const char* home = std::getenv("HOME");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const std::string old_home = home != nullptr ? home : "", old_cache = cache != nullptr ? cache : "";
  ::setenv("HOME", "/h", 1);
  ::setenv("XDG_CACHE_HOME", "/c", 1);
  EXPECT_EQ(user_cache_folder(), "/c/ttt.cpp");
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  EXPECT_EQ(user_cache_folder(), "/h/.cache/ttt.cpp");
  ::unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(user_cache_folder(), "/h/.cache/ttt.cpp");
  ::unsetenv("HOME");
  EXPECT_EQ(user_cache_folder(), "");
  home != nullptr ? ::setenv("HOME", old_home.c_str(), 1) : 0;
  cache != nullptr ? ::setenv("XDG_CACHE_HOME", old_cache.c_str(), 1) : 0;
}

TEST(DriverVersion, IsReadFromTheKernelsFile) {
  EXPECT_EQ(
      driver_version("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Wed Mar  6\nGCC version: 12.2.0"),
      "535.161.08");
  EXPECT_EQ(driver_version("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build"),
            "570.133.20");
  EXPECT_EQ(driver_version(""), "");
  EXPECT_EQ(driver_version("nonsense\n570.1"), "");
}

// --- what is made of it ---

TEST(JoinedVerdict, FailsWhatFailsOnAnyRank) {
  SelfCheckVerdict own = some_verdict(), other = some_verdict();
  own.rows[0].state = kAgrees;
  other.rows[0] = {"rms_norm/fused", kFails, "hung"};
  other.rows[1].state = kAgrees;
  other.subject.device = "NVIDIA A100";
  other.incomplete = "stopped";
  const std::vector<std::string> all = {to_line(to_json(own)), to_line(to_json(other)), ""};
  const SelfCheckVerdict first = joined_verdict(own, all), second = joined_verdict(other, all),
                         none = joined_verdict({}, all);
  for (const SelfCheckVerdict* joined : {&first, &second, &none})
    EXPECT_EQ(states(joined->rows), (std::vector<RowState>{kFails, kFails, kTakesNone}));
  EXPECT_EQ(first.rows[0].text, "hung (on rank 1, NVIDIA A100, driver 570.133.20, CUDA 13.0)");
  EXPECT_EQ(first.rows[1].text, "crashed");
  EXPECT_EQ(first.incomplete, "stopped (on rank 1, NVIDIA A100, driver 570.133.20, CUDA 13.0)");
}

TEST(AppliedVerdict, DistrustsWhatFailedAndLiftsTheRest) {
  const KernelTable &swiglu = find_kernel_table("swiglu", ""), &rope = find_kernel_table("rope", "");
  const std::size_t row = swiglu.find("fused", ""), of_rope = rope.find("fused", "");
  rope.distrust(of_rope, "an earlier one");
  apply_verdict(some_verdict());
  EXPECT_EQ(swiglu.distrusted(row), "in the self-check it crashed");
  EXPECT_EQ(rope.distrusted(of_rope), "");
  refuse_forced_rows(some_verdict());
  apply_verdict({});
  EXPECT_EQ(swiglu.distrusted(row), "");
  force_kernels({{"swiglu", "fused", "train.kernels"}});
  apply_verdict(some_verdict());
  const std::string error = user_error_of("/nowhere", [] { refuse_forced_rows(some_verdict()); });
  EXPECT_TRUE(
      error.starts_with("kernel fused of swiglu, set by train.kernels, is not to be trusted: in the self-check "
                        "it crashed; choose another of cuda, fused, composed"))
      << error;
  EXPECT_NE(error.find("--no-self-check"), std::string::npos);
  apply_verdict({});
  force_kernels({});
}

// Without a program to start, as in this test, or on a CPU, there is no self-check.
TEST(SelfCheck, IsNotDoneWhereNothingCouldDoIt) {
  EXPECT_FALSE(needs_self_check(at::Device(at::kCUDA, 0)));
  set_self_check_program("/bin/true");
  EXPECT_FALSE(needs_self_check(at::kCPU));
  ::setenv("TTT_SELF_CHECK_DEVICE", "cpu", 1);
  EXPECT_TRUE(needs_self_check(at::kCPU));
  ::unsetenv("TTT_SELF_CHECK_DEVICE");
  set_self_check_program("");
}

}  // namespace
}  // namespace ttt
