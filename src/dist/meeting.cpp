#include "dist/meeting.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <random>
#include <sstream>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "dist/communicator.h"
#include "dist/deadline.h"
#include "dist/sockets.h"

namespace ttt {
namespace {

constexpr auto kFirstLook = std::chrono::milliseconds(5);  // between two looks into the store; then longer and longer
constexpr auto kLongestLook = std::chrono::milliseconds(200);
constexpr auto kBetweenTries = std::chrono::milliseconds(500);  // to be let in
constexpr auto kLastWords = std::chrono::milliseconds(500);     // for others to read why rank 0 ends
constexpr double kPatience = 5;       // beyond the timeout: rank 0 itself knows better what is missing
constexpr double kHangs = 2;          // beyond a timeout that LibTorch should have kept
constexpr double kQuietSeconds = 30;  // then a rank says for whom it waits

std::string in_seconds(double seconds) {
  return cat(std::lround(seconds), " s");
}

std::string place_of(const World& world) {
  return cat(world.master_address, ":", world.master_port);
}

// Sleeps between two looks.
class Looks {
 public:
  void wait() {
    std::this_thread::sleep_for(pause_);
    pause_ = std::min<std::chrono::milliseconds>(kLongestLook, pause_ * 3 / 2);
  }
  void restart() { pause_ = kFirstLook; }

 private:
  std::chrono::milliseconds pause_ = kFirstLook;
};

std::string numbered(const char* what, std::int64_t number) {
  return cat(what, "/", number);
}

std::string value_of(const Store& store, const std::string& key) {
  const std::vector<std::uint8_t> bytes = store->get(key);
  return {bytes.begin(), bytes.end()};
}

std::string new_nonce() {
  std::random_device random;
  std::ostringstream text;
  for (int i = 0; i < 4; ++i) text << std::hex << random();
  return text.str();
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

Introduction introduction_of(const World& world, const std::string& output) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return {world.rank, world.size, one_line(world.job), one_line(output),
          one_line(cat("process ", getpid(), " on ", host))};
}

Store open_store(const World& world, double timeout) {
  const auto milliseconds = std::chrono::milliseconds(static_cast<std::int64_t>(timeout * 1e3));
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(world.master_port);
  options.isServer = world.rank == 0 && !world.agent_store;
  options.waitWorkers = false;
  options.timeout = milliseconds;
  if (options.isServer) options.masterListenFd = bind_master_socket(world);
  const char* const whose = world.agent_store ? "the store of torchrun's agent" : "rank 0";
  const auto fails = [&](const std::string& cause) {
    const std::string who =
        cat("rank ", world.rank, " could not reach ", whose, " at ", place_of(world), " within ", in_seconds(timeout));
    if (is_listening(world)) {
      throw CollectiveError(cat(who, ": what listens there does not answer as ", whose,
                                " does; is it another program? Give the ranks a free MASTER_PORT (", cause, ")"));
    }
    const std::string said = world.launcher.empty() ? "" : cat(world.size, " processes by ", world.launcher, "; ");
    throw CollectiveError(cat(who, "; is it started there? (", said, cause, ")"));
  };
  try {
    const auto open = [options, address = world.master_address]() -> Store {
      return c10::make_intrusive<c10d::TCPStore>(address, options);
    };
    const auto store = within(timeout + kHangs, open, kQuietSeconds, [&] {
      log_warn(cat("still waiting for ", whose, " at ", place_of(world), ", at most ", in_seconds(timeout)));
    });
    if (!store) fails("no answer");
    if (!world.agent_store) return *store;
    return c10::make_intrusive<c10d::PrefixStore>(cat("ttt start ", world.restart), *store);
  } catch (const CollectiveError&) {
    throw;
  } catch (const std::exception& error) {
    fails(first_line(error.what()));
  }
  return nullptr;  // never
}

[[noreturn]] void refuse(const World& world, const Introduction& self, const Introduction& there) {
  user_error("at ", place_of(world), " the ranks of another job meet, ", there.job_text(), ", and this is rank ",
             self.rank, " of ", self.job_text(), "; give each job a MASTER_PORT of its own");
}

// A process that has introduced itself to rank 0 and was told to come.
struct Guest {
  std::int64_t number = 0;
  int rank = 0;
  bool seated = false;
};

// Rank 0's part. Returns the nonce.
class Host {
 public:
  Host(Store store, World world, Introduction self, double timeout)
      : store_(std::move(store)),
        world_(std::move(world)),
        self_(std::move(self)),
        timeout_(timeout),
        seats_(static_cast<std::size_t>(self_.size)) {}

  std::string run() {
    const Timer timer;
    double said = 0;
    Looks looks;
    while (true) {
      const std::size_t before = guests_.size();
      hear();
      seat();
      const std::vector<int> missing = missing_ranks();
      if (missing.empty()) break;
      if (timer.seconds() > timeout_) {
        give_up(cat("rank 0 waited ", in_seconds(timeout_), " for the others, and ", list_of(missing), " of ",
                    self_.size, " did not come", turned_away_.empty() ? "" : cat("; turned away: ", turned_away_)));
      }
      if (timer.seconds() - said > kQuietSeconds) {
        said = timer.seconds();
        log_info(cat("waiting at ", place_of(world_), " for ", list_of(missing), " of ", self_.size));
      }
      if (guests_.size() != before) looks.restart();
      looks.wait();
    }
    std::string all = "here";
    for (const std::int64_t number : seats_) all += cat(" ", number, " ");
    if (!world_.agent_store) store_->set("closed", self_.to_text());
    store_->set("all/" + nonce_, all);
    return nonce_;
  }

 private:
  // Answers those who introduced themselves since.
  void hear() {
    const std::int64_t count = store_->add("hellos", 0);
    while (heard_ < count) unheard_.push_back(++heard_);
    std::erase_if(unheard_, [&](std::int64_t number) {
      const std::string key = numbered("hello", number);
      if (!store_->check({key})) return false;  // it has its number and has not spoken yet
      const auto guest = Introduction::from_text(value_of(store_, key));
      store_->deleteKey(key);
      if (guest) answer(number, *guest);
      return true;
    });
  }

  void answer(std::int64_t number, const Introduction& guest) {
    const std::string key = numbered("answer", number);
    if (!guest.same_job(self_) || guest.rank < 1 || guest.rank >= self_.size) {
      store_->set(key, "no\n" + self_.to_text());
      turned_away_ = cat("rank ", guest.rank, " of ", guest.job_text(), ", ", guest.process);
      log_warn(cat("turned away at ", place_of(world_), ": ", turned_away_, ", which is another job than this one, ",
                   self_.job_text(), "; give each job a MASTER_PORT of its own"));
    } else if (seats_[static_cast<std::size_t>(guest.rank)] != 0) {
      store_->set(key, "later");
    } else {
      guests_.push_back({number, guest.rank});
      store_->set(key, "come\n" + nonce_);
    }
  }

  void seat() {
    for (Guest& guest : guests_) {
      const std::string key = numbered("seated", guest.number);
      if (guest.seated || !store_->check({key}) || value_of(store_, key) != nonce_) continue;
      guest.seated = true;
      std::int64_t& taken = seats_[static_cast<std::size_t>(guest.rank)];
      if (taken == 0) taken = guest.number;
    }
  }

  std::vector<int> missing_ranks() const {
    std::vector<int> missing;
    for (std::size_t rank = 1; rank < seats_.size(); ++rank)
      if (seats_[rank] == 0) missing.push_back(static_cast<int>(rank));
    return missing;
  }

  [[noreturn]] void give_up(const std::string& why) {
    store_->set("all/" + nonce_, "failed" + why);
    std::this_thread::sleep_for(kLastWords);
    throw CollectiveError(why);
  }

  Store store_;
  World world_;
  Introduction self_;
  double timeout_;
  const std::string nonce_ = new_nonce();
  std::int64_t heard_ = 0;
  std::vector<std::int64_t> unheard_;  // numbers that were given out
  std::vector<Guest> guests_;
  std::vector<std::int64_t> seats_;  // by rank, the number of who has it; 0: nobody yet
  std::string turned_away_;          // the last one
};

// What rank 0 said to one that introduced itself.
struct Welcome {
  bool later = false;
  std::string nonce;
  std::int64_t number = 0;
};

// The part of the others, as far as rank 0's answer.
Welcome introduce(const Store& store, const World& world, const Introduction& self, double timeout) {
  const Timer timer;
  Looks looks;
  const std::int64_t number = store->add("hellos", 1);
  store->set(numbered("hello", number), self.to_text());
  do {
    if (const std::string key = numbered("answer", number); store->check({key})) {
      const std::string text = value_of(store, key), rest = text.substr(std::min(text.size(), text.find('\n') + 1));
      if (text.starts_with("come")) {
        store->set(numbered("seated", number), rest);
        return {false, rest, number};
      }
      if (const auto there = Introduction::from_text(rest); there && text.starts_with("no"))
        refuse(world, self, *there);
      return {true, "", number};
    }
    if (!world.agent_store && store->check({"closed"})) {  // and rank 0 hears nobody any more
      store->deleteKey(numbered("hello", number));
      const auto there = Introduction::from_text(value_of(store, "closed"));
      if (there && !self.same_job(*there)) refuse(world, self, *there);
      return {true, "", number};
    }
    looks.wait();
  } while (timer.seconds() < timeout);
  store->deleteKey(numbered("hello", number));
  throw CollectiveError(cat("rank ", self.rank, " reached ", place_of(world),
                            ", but rank 0 did not answer there within ", in_seconds(timeout)));
}

// Waits until rank 0 says that all are there.
void listen_for_all(const Store& store, const World& world, const Introduction& self, const Welcome& welcome,
                    double timeout) {
  const Timer timer;
  Looks looks;
  const std::string key = "all/" + welcome.nonce;
  while (!store->check({key})) {
    if (timer.seconds() > timeout) {
      throw CollectiveError(cat("rank ", self.rank, " reached rank 0 at ", place_of(world),
                                ", but not all ranks came together within ", in_seconds(timeout)));
    }
    looks.wait();
  }
  const std::string text = value_of(store, key);
  constexpr std::string_view kFailed = "failed";
  if (text.starts_with(kFailed)) throw CollectiveError(text.substr(kFailed.size()));
  if (text.find(cat(" ", welcome.number, " ")) == std::string::npos) {
    throw CollectiveError(cat("another process came to ", place_of(world), " as rank ", self.rank, " of ",
                              self.job_text(), "; was the job started twice?"));
  }
}

// `function` of the store, which may hang, within its own time and a little more.
template <class Function>
auto answered(const World& world, double timeout, Function function) {
  auto result = within(timeout + kHangs, std::move(function));
  if (!result) {
    throw CollectiveError(cat("rank ", world.rank, " reached ", place_of(world), ", which then stopped answering; is ",
                              world.agent_store ? "torchrun's agent" : "rank 0", " stuck or stopped?"));
  }
  return std::move(*result);
}

// An earlier start of this job may be ending there just now, with its store. Until rank 0 has let this rank in it tries
// again, with another connection, as long as there is time.
std::string join(const World& world, const Introduction& self, double timeout, Store& store) {
  const Timer timer;
  std::string cause;
  do {
    const double left = std::max(1.0, timeout - timer.seconds());
    store = open_store(world, cause.empty() ? timeout : left);
    try {
      const Welcome welcome = answered(world, left, [=] { return introduce(store, world, self, left); });
      if (!welcome.later) {
        answered(world, timeout + kPatience, [=] {
          try {
            listen_for_all(store, world, self, welcome, timeout + kPatience);
          } catch (const Error&) {
            throw;
          } catch (const std::exception& error) {
            throw CollectiveError(cat("rank ", self.rank, " reached rank 0 at ", place_of(world),
                                      ", which ended before all ranks came together (", first_line(error.what()), ")"));
          }
          return true;
        });
        return welcome.nonce;
      }
      cause =
          cat("rank ", self.rank, " of this job, ", self.job_text(), ", has been there before; was it started twice?");
    } catch (const Error&) {  // said by this program
      throw;
    } catch (const std::exception& error) {
      cause = cat("the store there was closed (", first_line(error.what()), ")");
    }
    std::this_thread::sleep_for(kBetweenTries);
  } while (timer.seconds() < timeout);
  throw CollectiveError(
      cat("rank ", self.rank, " was not let in at ", place_of(world), " within ", in_seconds(timeout), ": ", cause));
}

}  // namespace

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string list_of(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) text += cat(i == 0 ? "" : ", ", ranks[i]);
  return text;
}

std::string Introduction::job_text() const {
  return cat("'", output, "' with ", size, size == 1 ? " process" : " processes",
             job.empty() ? "" : cat(" (", job, ")"));
}

bool Introduction::same_job(const Introduction& other) const {
  if (size != other.size) return false;
  // Where the launcher names the job, ranks with different configs are told which key differs, later.
  return job.empty() || other.job.empty() ? output == other.output : job == other.job;
}

std::string Introduction::to_text() const {
  return cat(rank, "\n", size, "\n", job, "\n", output, "\n", process);
}

std::optional<Introduction> Introduction::from_text(const std::string& text) {
  std::istringstream stream(text);
  Introduction result;
  std::string rank, size;
  const auto number = [](const std::string& digits, int& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!std::getline(stream, rank) || !std::getline(stream, size) || !number(rank, result.rank) ||
      !number(size, result.size) || !std::getline(stream, result.job) || !std::getline(stream, result.output) ||
      !std::getline(stream, result.process))
    return std::nullopt;
  return result;
}

Store meet(const World& world, const std::string& output, std::chrono::seconds timeout) {
  const Introduction self = introduction_of(world, output);
  const auto seconds = static_cast<double>(timeout.count());
  Store store;
  std::string nonce;
  if (world.rank == 0) {
    store = open_store(world, seconds);
    try {
      nonce = answered(world, seconds + kPatience, [=] { return Host(store, world, self, seconds).run(); });
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw CollectiveError(cat("rank 0 lost the store at ", place_of(world), " before all ranks came together (",
                                first_line(error.what()), ")"));
    }
  } else {
    nonce = join(world, self, seconds, store);
  }
  store->setTimeout(timeout);
  return c10::make_intrusive<c10d::PrefixStore>("job " + nonce, store);
}

}  // namespace ttt
