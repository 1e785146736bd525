// Rendezvous, collectives, and what a rank finds out about the others when one of them fails.
#include "dist/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iterator>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/timer.h"
#include "dist/deadline.h"
#include "dist/heartbeat.h"
#include "dist/meeting.h"
#include "dist/sockets.h"
#include "dist/store_exchange.h"

namespace ttt {
namespace {

// How long a rank whose collective failed waits for word from the others.
constexpr double kGraceSeconds = 3;
constexpr double kHangSeconds = 5;  // beyond a timeout that LibTorch should have kept
constexpr auto kBetweenLooks = std::chrono::milliseconds(10);
constexpr auto kBetweenPolls = std::chrono::microseconds(50);  // of a device
constexpr double kWordSeconds = 0.25;                          // between two looks whether a rank has failed meanwhile
constexpr const char* kSomeoneFailed = "someone failed";

std::string key_of(const char* what, int rank) {
  return cat(what, "/", rank);
}

std::shared_ptr<gloo::transport::Device> gloo_device(const World& world) {
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"); interface != nullptr && *interface != '\0')
    return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  const std::string address = own_address(world);
  return address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                         : c10d::ProcessGroupGloo::createDeviceForHostname(address);
}

// ProcessGroupGloo offers no way to break off; its contexts do.
struct GlooContexts : c10d::ProcessGroupGloo {
  static void close(c10d::ProcessGroupGloo& gloo) {
    for (const auto& context : gloo.*(&GlooContexts::contexts_)) context->closeConnections();
  }
};

// What leave() below describes.
struct Farewell {
  Farewell(Store s, int own_rank, int size, const std::string& word)
      : store(std::move(s)), rank(own_rank), words(static_cast<std::size_t>(size)) {
    words[static_cast<std::size_t>(rank)] = word;
  }

  void say() {
    store->setTimeout(std::chrono::milliseconds(static_cast<std::int64_t>(kGraceSeconds * 1e3)));
    store->set(key_of("word", rank), words[static_cast<std::size_t>(rank)]);
    store->set(kSomeoneFailed, "");
    const Timer timer;
    std::int64_t known = 1;
    while (known < static_cast<std::int64_t>(words.size()) && timer.seconds() < kGraceSeconds) {
      std::this_thread::sleep_for(kBetweenLooks);
      for (std::size_t other = 0; other < words.size(); ++other) {
        const std::string key = key_of("word", static_cast<int>(other));
        if (!words[other].empty() || !store->check({key})) continue;
        const std::vector<std::uint8_t> bytes = store->get(key);
        words[other].assign(bytes.begin(), bytes.end());
        ++known;
      }
    }
    std::int64_t gone = store->add("gone", 1);
    while (rank == 0 && gone < known && timer.seconds() < 2 * kGraceSeconds) {
      std::this_thread::sleep_for(kBetweenLooks);
      gone = store->add("gone", 0);
    }
  }

  Store store;
  int rank;
  std::vector<std::string> words;  // by rank
};

}  // namespace

struct Communicator::Connections {
  Store store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  c10::intrusive_ptr<c10d::ProcessGroup> group;  // Gloo for CPU tensors, NCCL for CUDA's

  std::unique_ptr<Heartbeat> heartbeat;

  c10d::Backend& backend(const at::Tensor& tensor) const { return *group->getBackend(tensor.device().type()); }
};

Communicator::Communicator(const World& world, at::Device device, std::chrono::seconds timeout,
                           const std::string& output, std::chrono::seconds silence)
    : world_(world), device_(device), timeout_(timeout), connections_(std::make_unique<Connections>()) {
  // c10d prints its own warnings, with stack traces, for what this class turns into a sentence.
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 3;  // FATAL
  // Gloo writes to sockets that a rank which ends has closed; that is an error to be explained, not this rank's death.
  std::signal(SIGPIPE, SIG_IGN);
  Connections& c = *connections_;
  c.store = meet(world, output, timeout);
  try {
    const double patience = static_cast<double>(timeout.count()) + kHangSeconds;
    const std::vector<int> before = connected_sockets();
    auto gloo = within(patience, [store = c.store, world, timeout] {
      auto options = c10d::ProcessGroupGloo::Options::create(timeout);
      options->devices.push_back(gloo_device(world));
      return c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store),
                                                         world.rank, world.size, options);
    });
    if (!gloo) fail("not through in ", patience, " s");
    c.gloo = std::move(*gloo);
    // Gloo's own. What waits in it for a rank that is silent is woken only by the end of its connections.
    std::vector<int> gloo_sockets, now = connected_sockets();
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(gloo_sockets));
    c.group = c10::make_intrusive<c10d::ProcessGroup>(c10::make_intrusive<c10d::PrefixStore>("group", c.store),
                                                      world.rank, world.size);
    c.group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    c.group->setBackend(at::kCPU, c10d::ProcessGroup::BackendType::GLOO, c.gloo);
    if (device.is_cuda()) {
#ifdef USE_C10D_NCCL
      auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
      nccl_options->timeout = timeout + std::chrono::minutes(1);  // wait_for_device() is to be first
      c.group->setDefaultBackend(c10d::ProcessGroup::BackendType::NCCL);
      c.group->setBackend(
          at::kCUDA, c10d::ProcessGroup::BackendType::NCCL,
          c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", c.store),
                                                      world.rank, world.size, nccl_options));
#else
      user_error("several processes on GPUs need NCCL, which this ttt was built without; build it where the CUDA ",
                 "toolkit with nccl.h is, or set train.device: cpu");
#endif
    }
    if (silence.count() > 0) {
      auto store = within(patience, [store = c.store] { return store->clone(); });
      if (!store) fail("no further connection in ", patience, " s");
      c.heartbeat = std::make_unique<Heartbeat>(c10::make_intrusive<c10d::PrefixStore>("heartbeat", *store), world,
                                                silence, [sockets = std::move(gloo_sockets)] {
                                                  for (const int socket : sockets) shutdown(socket, SHUT_RDWR);
                                                });
    }
    c.gloo->barrier()->wait();              // none leaves while another still connects
    if (c.heartbeat) c.heartbeat->watch();  // all have begun
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& error) {
    explain("connecting all ranks", error.what());
  }
}

Communicator::~Communicator() = default;

void Communicator::finish() {
  try {
    connections_->gloo->barrier()->wait();
  } catch (const std::exception& error) {
    log_warn(cat("the processes did not end together (", first_line(error.what()), "); what was trained is saved"));
    return;
  }
#ifdef USE_C10D_NCCL
  if (device_.is_cuda()) connections_->group->getBackend(at::kCUDA)->shutdown();
#endif
}

const c10::intrusive_ptr<c10d::ProcessGroup>& Communicator::group() const {
  return connections_->group;
}

std::unique_ptr<KeyValueExchange> Communicator::open_exchange() const {
  const double patience = static_cast<double>(timeout_.count()) + kHangSeconds;
  const auto clone = within(patience, [store = connections_->store] { return store->clone(); });
  if (!clone) fail("rank ", rank(), " waited ", patience, " s for another connection to the ranks' store");
  return std::make_unique<StoreExchange>(c10::make_intrusive<c10d::PrefixStore>("exchange", *clone));
}

void Communicator::run(const char* collective, const std::function<void()>& function) {
  try {
    function();
  } catch (const std::exception& error) {
    explain(collective, error.what());
  }
}

std::vector<double> Communicator::sum(std::vector<double> values) {
  at::Tensor tensor = at::tensor(values, at::kDouble);
  all_reduce(tensor);
  std::copy_n(tensor.const_data_ptr<double>(), values.size(), values.begin());
  return values;
}

std::vector<std::string> Communicator::all_gather(const std::string& own) {
  const auto count = static_cast<std::size_t>(size());
  at::Tensor sizes = at::empty({size()}, at::kLong);
  at::Tensor own_size = at::tensor(static_cast<std::int64_t>(own.size()), at::kLong).view({1});
  all_gather(sizes, own_size);
  const std::int64_t longest = std::max<std::int64_t>(sizes.max().item<std::int64_t>(), 1);
  at::Tensor bytes = at::zeros({longest}, at::kByte), all = at::empty({size() * longest}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), own.data(), own.size());
  all_gather(all, bytes);
  std::vector<std::string> texts(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* first = static_cast<const char*>(all.const_data_ptr()) + static_cast<std::int64_t>(i) * longest;
    texts[i].assign(first, static_cast<std::size_t>(sizes.const_data_ptr<std::int64_t>()[i]));
  }
  return texts;
}

std::string Communicator::broadcast(const std::string& of_first) {
  return all_gather(is_first() ? of_first : "").front();
}

void Communicator::barrier() {
  run("barrier", [&] { connections_->gloo->barrier()->wait(); });
}

void Communicator::wait_until(const char* collective, const std::function<bool()>& done) {
  const Timer timer;
  Timer since_look;
  std::optional<std::future<bool>> failed;  // asked in a thread of its own: the store may not answer
  while (!done()) {
    std::this_thread::sleep_for(kBetweenPolls);
    if (timer.seconds() > static_cast<double>(timeout_.count()))
      explain(collective, cat("not through in ", timeout_.count(), " s"));
    if (const auto& heartbeat = connections_->heartbeat; heartbeat && heartbeat->found_silence())
      explain(collective, heartbeat->silence_text());
    if (!failed && since_look.seconds() > kWordSeconds) {
      std::packaged_task<bool()> look([store = connections_->store] { return store->check({kSomeoneFailed}); });
      failed = look.get_future();
      std::thread(std::move(look)).detach();
    }
    if (!failed || failed->wait_for(std::chrono::seconds(0)) != std::future_status::ready) continue;
    run(collective, [&] { TORCH_CHECK(!failed->get(), "another rank has failed"); });
    failed.reset();
    since_look.restart();
  }
}

void Communicator::wait_for_device(const char* collective) {
  if (device_.is_cpu()) return;
  c10::Event event(device_.type());
  event.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  wait_until(collective, [&] { return event.query(); });
}

void Communicator::broadcast(at::Tensor& tensor, int root) {
  run("broadcast", [&] {
    std::vector<at::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    connections_->backend(tensor).broadcast(tensors, options)->wait();
  });
}

void Communicator::all_reduce(at::Tensor& tensor) {
  run("all-reduce", [&] {
    std::vector<at::Tensor> tensors = {tensor};
    connections_->backend(tensor).allreduce(tensors)->wait();
  });
}

void Communicator::reduce_scatter(at::Tensor& own, at::Tensor& all) {
  run("reduce-scatter", [&] { connections_->backend(all)._reduce_scatter_base(own, all)->wait(); });
}

void Communicator::all_gather(at::Tensor& all, at::Tensor& own) {
  run("all-gather", [&] { connections_->backend(all)._allgather_base(all, own)->wait(); });
}

// A rank that cannot go on breaks off its connections, so that the others notice at once, leaves a word in the store,
// and looks for theirs:
//
//     "user: SENTENCE", "error: SENTENCE"    it failed by itself        "victim: "    a collective of its failed
//
// Rank 0, whose process may hold the store, stays until the others have read. Words are "" where none came in time.
void Communicator::leave(const std::string& word, std::vector<std::string>& words) {
  failed_ = true;
  if (connections_->gloo) GlooContexts::close(*connections_->gloo);
  if (connections_->group) connections_->group->abort();  // NCCL
  const auto farewell = std::make_shared<Farewell>(connections_->store, rank(), size(), word);
  // In a thread of its own, which is left behind when rank 0 has its connections open but answers none of them.
  std::promise<void> promise;
  std::future<void> done = promise.get_future();
  std::thread([farewell, promise = std::move(promise)]() mutable {
    try {
      farewell->say();
      promise.set_value();
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }).detach();
  if (done.wait_for(std::chrono::duration<double>(3 * kGraceSeconds)) != std::future_status::ready)
    fail("the store does not answer");
  done.get();
  words = farewell->words;
}

void Communicator::tell_failure(const std::string& message, bool of_user) noexcept {
  if (failed_) return;
  try {
    std::vector<std::string> words;
    leave((of_user ? "user: " : "error: ") + first_line(message), words);
  } catch (const std::exception&) {
    // Nobody can be told; the connections that close with this process tell enough.
  }
}

void Communicator::explain(const std::string& collective, const std::string& error) {
  const auto& heartbeat = connections_->heartbeat;
  const std::string cause = heartbeat && heartbeat->found_silence() ? heartbeat->silence_text() : error;
  const std::string place = cat("rank ", rank(), ", ", step_ > 0 ? cat("step ", step_) : "before the first step", ": ",
                                collective, " failed");
  std::vector<std::string> words;
  try {
    leave("victim: ", words);
  } catch (const std::exception&) {
    const char* const whose = world_.agent_store ? "torchrun's agent" : "rank 0";
    throw CollectiveError(
        cat(place, ", and ", whose, " cannot be reached: its process has ended or hangs (", first_line(cause), ")"));
  }
  const auto sentence_after = [](const std::string& word) { return word.substr(word.find(": ") + 2); };
  std::vector<int> silent;
  for (int other = 0; other < size(); ++other) {
    const std::string& word = words[static_cast<std::size_t>(other)];
    if (word.starts_with("user: ")) user_error("rank ", other, " stopped: ", sentence_after(word));
    if (word.starts_with("error: "))
      throw CollectiveError(cat(place, ", since rank ", other, " stopped: ", sentence_after(word)));
    if (word.empty()) silent.push_back(other);
  }
  if (silent.empty()) {
    throw CollectiveError(cat(place, " though all ranks answer: one was later than dist.timeout_seconds ",
                              timeout_.count(), ", or the network broke (", first_line(cause), ")"));
  }
  throw CollectiveError(cat(place, ", and ", list_of(silent), silent.size() == 1 ? " does" : " do",
                            " not answer: killed, stuck or cut off (", first_line(cause), ")"));
}

}  // namespace ttt
