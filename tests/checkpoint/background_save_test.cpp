// A save beside the training: one at a time, and its failure is not lost.
#include "checkpoint/background_save.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "base/error.h"

namespace ttt {
namespace {

TEST(BackgroundSave, RunsBesideItsCallerUntilWaitedFor) {
  BackgroundSave save;
  std::promise<void> gate;
  std::atomic<bool> done = false;
  save.wait();  // nothing is under way
  save.start([&] {
    gate.get_future().wait();
    done = true;
  });
  save.check();
  EXPECT_FALSE(done);
  EXPECT_THROW(save.start([] {}), Error);  // one at a time
  gate.set_value();
  save.wait();
  EXPECT_TRUE(done);
}

TEST(BackgroundSave, AFailureReachesTheCallerOnce) {
  BackgroundSave save;
  save.start([] { fail("the disk is full"); });
  std::string message;
  try {
    save.wait();
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_EQ(message, "the disk is full");
  save.wait();
  save.check();
  {
    BackgroundSave forgotten;
    forgotten.start([] { user_error("no such folder"); });
  }  // a warning, no exception
}

TEST(BackgroundSave, CheckThrowsOnceTheJobHasFailed) {
  BackgroundSave save;
  save.start([] { fail("the disk is full"); });
  EXPECT_THROW(
      {
        while (true) save.check();
      },
      Error);
}

}  // namespace
}  // namespace ttt
