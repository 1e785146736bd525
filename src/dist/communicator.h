// What the processes of one training say to one another, over c10d: a TCPStore for the rendezvous, Gloo between CPUs,
// NCCL between GPUs.
//
// What listens: rank 0's store (dist/meeting.h; torchrun's agent has one of its own instead), on the address that
// MASTER_ADDR names (on every address only where that is not one of this machine's), and Gloo in each process, on the
// address from which it reaches rank 0. Where all processes are on one machine and MASTER_ADDR is a loopback address,
// nothing can be reached from outside.
//
// Every rank calls the same collectives in the same order; each waits for the slowest rank, at most for the timeout.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/key_value_exchange.h"
#include "dist/world.h"

namespace c10d {
class ProcessGroup;
}

namespace ttt {

// A collective that did not come about. The message names this rank, the step, the collective, and what is known of the
// rank that is to blame.
class CollectiveError : public Error {
 public:
  using Error::Error;
};

class Communicator {
 public:
  // Waits until all ranks are there, as meet() does and with its errors. `device`: where gradients will be (CUDA: NCCL
  // besides Gloo). `output`: the job's output_dir, which tells its ranks from another job's. `silence`: a rank that is
  // not heard of for so long is taken for gone (dist/heartbeat.h), and collectives that wait for it fail; 0: never. From
  // then on the process ignores SIGPIPE.
  Communicator(const World& world, at::Device device, std::chrono::seconds timeout, const std::string& output = "",
               std::chrono::seconds silence = std::chrono::seconds(15));
  ~Communicator();
  // After the last collective of a job in which nothing failed: all ranks come together once more, then NCCL's
  // communicators are shut down, on every rank, while the store is still there. Warns where another rank is gone.
  void finish();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return world_.rank; }
  int size() const { return world_.size; }
  bool is_first() const { return world_.rank == 0; }
  const World& world() const { return world_; }
  at::Device device() const { return device_; }
  void set_step(std::int64_t step) { step_ = step; }  // for messages

  // Small values, by way of the CPU. Sums are added in the same order on every rank, so that all have the same bits.
  std::vector<double> sum(std::vector<double> values);
  bool any(bool own) { return sum({own ? 1.0 : 0.0}).front() > 0; }
  std::vector<std::string> all_gather(const std::string& own);  // by rank
  std::string broadcast(const std::string& of_first);           // rank 0's
  void barrier();

  // Until done() is true. Throws CollectiveError when another rank has ended with an error before, or the timeout is
  // over. For what the collectives of another thread or of a GPU are part of, which do not fail by themselves.
  void wait_until(const char* collective, const std::function<bool()>& done);
  // Until the device has done what was started there: NCCL's collectives tell the host nothing, and one that waits for
  // a rank that is gone would hold up the next copy from the device until NCCL's own watchdog ends the process.
  void wait_for_device(const char* collective);

  // Tensors, on the device of the constructor or the CPU, contiguous.
  void broadcast(at::Tensor& tensor, int root);
  void all_reduce(at::Tensor& tensor);  // sums, in place
  // `all` holds size() pieces like `own`. own = the sum of every rank's piece number rank(); it may lie inside `all`.
  // With Gloo it costs what all_reduce does and has its bits: LibTorch 2.11 computes it so.
  void reduce_scatter(at::Tensor& own, at::Tensor& all);
  void all_gather(at::Tensor& all, at::Tensor& own);

  // For threads other than the one that calls collectives. Keys of different exchanges are the same keys.
  std::unique_ptr<KeyValueExchange> open_exchange() const;

  // The same processes as c10d's own classes take them.
  const c10::intrusive_ptr<c10d::ProcessGroup>& group() const;

  // Runs what may throw for reasons of this rank alone, and tells the other ranks before the exception goes on: they
  // are, or will be, waiting in a collective, and end with the same sentence.
  template <class Function>
  auto guarded(Function&& function) {
    try {
      return std::forward<Function>(function)();
    } catch (const UserError& error) {
      tell_failure(error.what(), /*of_user=*/true);
      throw;
    } catch (const std::exception& error) {
      tell_failure(error.what(), /*of_user=*/false);
      throw;
    }
  }

  // After a collective that another library ran has failed: throws the CollectiveError (or the UserError that another
  // rank ended with).
  [[noreturn]] void explain(const std::string& collective, const std::string& error);

 private:
  struct Connections;
  void run(const char* collective, const std::function<void()>& function);
  void tell_failure(const std::string& message, bool of_user) noexcept;
  void leave(const std::string& word, std::vector<std::string>& words);

  World world_;
  at::Device device_;
  std::chrono::seconds timeout_;
  std::int64_t step_ = 0;
  bool failed_ = false;  // and said so
  std::unique_ptr<Connections> connections_;
};

}  // namespace ttt
