#include "dist/heartbeat.h"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/timer.h"

namespace ttt {
namespace {

constexpr auto kBetweenBeats = std::chrono::seconds(1);
constexpr auto kBetweenWatches = std::chrono::milliseconds(200);
constexpr const char* kOver = "over";

void say(c10d::Store& store, int rank, const std::string& text) {
  store.set(std::to_string(rank), std::vector<std::uint8_t>(text.begin(), text.end()));
}

}  // namespace

struct Heartbeat::Shared {
  Store store;
  World world;
  double silence = 0;

  std::mutex mutex;
  std::condition_variable woken;
  bool ends = false;
  std::vector<std::string> heard;  // by rank: its last count
  std::vector<std::int64_t> news;  // by rank: how often that was another one
  std::int64_t rounds = 0;         // that the store has answered
  std::string silent;              // silence_text()
  std::promise<void> beaten;       // beat() is through

  // In a thread of its own: counts on, and hears the others, until the end or until the store is gone.
  void beat() {
    std::vector<std::string> keys;
    for (int rank = 0; rank < world.size; ++rank) keys.push_back(std::to_string(rank));
    try {
      for (std::int64_t count = 2;; ++count) {
        {
          std::unique_lock lock(mutex);
          if (woken.wait_for(lock, kBetweenBeats, [&] { return ends; })) break;
        }
        say(*store, world.rank, std::to_string(count));
        const std::vector<std::vector<std::uint8_t>> counts = store->multiGet(keys);
        const std::lock_guard lock(mutex);
        ++rounds;
        for (std::size_t rank = 0; rank < counts.size(); ++rank) {
          std::string text(counts[rank].begin(), counts[rank].end());
          if (text == heard[rank]) continue;
          heard[rank] = std::move(text);
          ++news[rank];
        }
      }
      say(*store, world.rank, kOver);
    } catch (const std::exception&) {
      // Whoever held the store is gone. Its count stands still from now on, and so do all.
    }
    beaten.set_value();
  }

  // Who has been silent for too long, by what was heard until now; "": nobody.
  std::string look(double now, std::vector<std::int64_t>& last_news, std::vector<double>& news_at,
                   std::int64_t& last_rounds, double& round_at) {
    const std::lock_guard lock(mutex);
    if (rounds != last_rounds) last_rounds = rounds, round_at = now;
    const bool store_answers = now - round_at <= silence;
    std::vector<int> ranks;
    for (std::size_t rank = 0; rank < news.size(); ++rank) {
      if (news[rank] != last_news[rank]) last_news[rank] = news[rank], news_at[rank] = now;
      const bool other = static_cast<int>(rank) != world.rank;
      if (other && heard[rank] != kOver && now - news_at[rank] > silence) ranks.push_back(static_cast<int>(rank));
    }
    if (!store_answers) {  // then nothing is known of the others
      if (world.agent_store) return cat("torchrun's agent has not answered for ", silence, " s");
      if (world.rank == 0 || heard[0] == kOver) return "";
      return cat("rank 0 has not answered for ", silence, " s");
    }
    if (ranks.empty()) return "";
    return cat(list_of(ranks), ranks.size() == 1 ? " has" : " have", " not been heard of for ", silence, " s");
  }

  // Until a rank is silent (true), or the end.
  bool watch() {
    std::vector<std::int64_t> last_news(heard.size(), -1);
    std::vector<double> news_at(heard.size(), 0);
    std::int64_t last_rounds = -1;
    double round_at = 0;
    for (WatchedTime watched;;) {
      {
        std::unique_lock lock(mutex);
        if (woken.wait_for(lock, kBetweenWatches, [&] { return ends; })) return false;
      }
      const std::string found = look(watched.look(), last_news, news_at, last_rounds, round_at);
      if (found.empty()) continue;
      const std::lock_guard lock(mutex);
      silent = found;
      return true;
    }
  }
};

Heartbeat::Heartbeat(Store store, const World& world, std::chrono::seconds silence, std::function<void()> on_silence)
    : shared_(std::make_shared<Shared>()), on_silence_(std::move(on_silence)) {
  shared_->store = std::move(store);
  shared_->world = world;
  shared_->silence = static_cast<double>(silence.count());
  shared_->heard.resize(static_cast<std::size_t>(world.size));
  shared_->news.resize(static_cast<std::size_t>(world.size));
  say(*shared_->store, world.rank, "1");
}

void Heartbeat::watch() {
  std::thread([shared = shared_] { shared->beat(); }).detach();
  watcher_ = std::thread([this] {
    if (shared_->watch()) on_silence_();
  });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->ends = true;
  }
  shared_->woken.notify_all();
  if (!watcher_.joinable()) return;
  watcher_.join();
  shared_->beaten.get_future().wait_for(std::chrono::seconds(1));
}

bool Heartbeat::found_silence() const {
  const std::lock_guard lock(shared_->mutex);
  return !shared_->silent.empty();
}

std::string Heartbeat::silence_text() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->silent;
}

}  // namespace ttt
