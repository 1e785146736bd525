// Files: whole reads and writes, replacement, listing, maps, locks.
#include "base/files.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/scratch.h"

namespace ttt {
namespace {

TEST(Files, WriteThenReadGivesTheSameBytes) {
  const ScratchFolder folder;
  const std::string content("a\0b\n\xff", 5);
  write_file_atomically(folder / "x", content);
  EXPECT_EQ(read_file(folder / "x"), content);
  write_file_atomically(folder / "x", "");
  EXPECT_EQ(read_file(folder / "x"), "");
  EXPECT_FALSE(fs::exists(folder / "x.tmp"));
}

TEST(Files, AWriteThatFailsLeavesNothingBehind) {
  const ScratchFolder folder;
  fs::create_directory(folder / "x");
  EXPECT_THROW(write_file_atomically(folder / "x", "content"), Error);
  EXPECT_FALSE(fs::exists(folder / "x.tmp"));
}

TEST(Files, MissingAndUnreadablePathsAreNamed) {
  const ScratchFolder folder;
  EXPECT_TRUE(mentions(user_error_of([&] { read_file(folder / "absent"); }), {"absent", "No such file"}));
  EXPECT_TRUE(mentions(user_error_of([&] { read_file(folder.path()); }), {"is a folder"}));
  EXPECT_TRUE(mentions(user_error_of([&] { MappedFile map(folder / "absent"); }), {"absent"}));
  EXPECT_TRUE(mentions(user_error_of([&] { list_files(folder / "absent"); }), {"absent"}));
  EXPECT_TRUE(mentions(user_error_of([&] { FileWriter writer(folder / "no/such/folder"); }), {"no/such/folder"}));
}

TEST(Files, FolderThatCannotBeMadeIsRefused) {
  const ScratchFolder folder;
  folder.write("file", "x");
  EXPECT_TRUE(mentions(user_error_of([&] { make_writable_directory(folder / "file"); }),
                       {"file", "choose another output folder"}));
  EXPECT_TRUE(mentions(user_error_of([&] { make_writable_directory(folder / "file/below"); }), {"file/below"}));
  make_writable_directory(folder / "a/b/c");
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
}

TEST(Files, ListingIsRecursiveAndSorted) {
  const ScratchFolder folder;
  for (const char* name : {"b/z", "a", "b/c/d", "B"}) folder.write(name, "x");
  const std::vector<fs::path> expected = {folder / "B", folder / "a", folder / "b/c/d", folder / "b/z"};
  EXPECT_EQ(list_files(folder.path()), expected);
  EXPECT_EQ(list_files(folder / "a"), std::vector<fs::path>{folder / "a"});
}

TEST(Files, WriterKeepsOrderAcrossItsBuffer) {
  const ScratchFolder folder;
  std::string expected;
  FileWriter writer(folder / "x");
  for (int i = 0; i < 3000; ++i) {
    const std::string part(static_cast<std::size_t>(i % 1500), static_cast<char>('a' + i % 26));
    writer.write(part.data(), part.size());
    expected += part;
  }
  EXPECT_EQ(writer.size(), expected.size());
  writer.finish();
  EXPECT_EQ(read_file(folder / "x"), expected);
}

TEST(Files, MapShowsTheContentAndMoves) {
  const ScratchFolder folder;
  folder.write("x", "content");
  folder.write("empty", "");
  MappedFile map(folder / "x");
  EXPECT_EQ(map.text(), "content");
  MappedFile other = std::move(map);
  EXPECT_EQ(other.text(), "content");
  map = MappedFile(folder / "empty");
  EXPECT_EQ(map.text(), "");
}

TEST(Files, LockKeepsASecondOneOutUntilItGoes) {
  const ScratchFolder folder;
  {
    const FileLock lock(folder / "lock", "busy");
    EXPECT_EQ(user_error_of([&] { FileLock second(folder / "lock", "in use"); }), "in use");
  }
  const FileLock again(folder / "lock", "busy");
}

TEST(Files, LockGoesWithItsProcess) {
  const ScratchFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const FileLock lock(folder / "lock", "busy");
    if (write(ready[1], "1", 1) != 1) _exit(1);
    while (true) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(user_error_of([&] { FileLock second(folder / "lock", "in use"); }), "in use");
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const FileLock lock(folder / "lock", "busy");
  close(ready[0]);
  close(ready[1]);
}

TEST(Files, FreeSpaceIsThatOfTheNearestParent) {
  const ScratchFolder folder;
  EXPECT_GT(free_disk_bytes(folder / "not/there/yet"), 0u);
}

}  // namespace
}  // namespace ttt
