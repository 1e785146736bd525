// Text to data sets: one thread reads, checks and writes; workers tokenise. Results are written in the order of the
// documents, and only so many bytes of text are under way at once.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/timer.h"
#include "data/prepare.h"
#include "data/writer.h"
#include "tokenizer/text_files.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::size_t kSegmentBytes = 1 << 20;  // of text that a worker takes at once
constexpr std::size_t kMaxSegments = 4096;      // under way at once (small documents)
constexpr double kDocumentsToHash = 4;          // expected validation documents from which whole documents are drawn

// Threads that run tasks in the order in which they come.
class WorkerPool {
 public:
  explicit WorkerPool(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ~WorkerPool() {
    {
      std::lock_guard lock(mutex_);
      tasks_.clear();
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::future<std::vector<std::int32_t>> submit(std::function<std::vector<std::int32_t>()> work) {
    std::packaged_task<std::vector<std::int32_t>()> task(std::move(work));
    auto result = task.get_future();
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
    return result;
  }

 private:
  void run() {
    while (true) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<std::vector<std::int32_t>()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// One line on stderr: how far, how fast, how long still.
class Progress {
 public:
  explicit Progress(std::uint64_t total) : total_(total) {}
  ~Progress() {
    if (shown_) show_progress("");
  }

  void add(std::uint64_t bytes) {
    done_ += bytes;
    if (since_shown_.seconds() < (stderr_is_terminal() ? 0.2 : 10.0)) return;
    since_shown_.restart();
    shown_ = true;
    const double rate = static_cast<double>(done_) / timer_.seconds();
    char line[160];
    std::snprintf(line, sizeof line, "tokenizing %.1f of %.1f MB, %.1f MB/s, %.0f s left",
                  static_cast<double>(done_) / 1e6, static_cast<double>(total_) / 1e6, rate / 1e6,
                  static_cast<double>(total_ - std::min(done_, total_)) / rate);
    show_progress(line);
  }

 private:
  std::uint64_t total_, done_ = 0;
  Timer timer_, since_shown_;
  bool shown_ = false;
};

// The place at which the last `fraction` of a text begins: behind a line end, else before a character.
std::size_t tail_begin(std::string_view text, double fraction) {
  auto at = static_cast<std::size_t>(static_cast<double>(text.size()) * (1.0 - fraction));
  const std::size_t newline = text.find('\n', at == 0 ? 0 : at - 1);
  if (newline != std::string_view::npos && newline + 1 < text.size()) return newline + 1;
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

// A part of a document on its way through the pool.
struct Segment {
  std::shared_ptr<const MappedFile> file;  // keeps `text` alive
  std::string_view text;
  DatasetWriter* writer;
  bool first, last;  // of its document
  std::future<std::vector<std::int32_t>> ids;
};

class TextPreparation {
 public:
  TextPreparation(const PrepareText& options, const std::vector<fs::path>& files, std::uint64_t total_bytes)
      : options_(options),
        files_(files),
        tokenizer_(options.tokenizer),
        progress_(total_bytes),
        pool_(num_threads(options)) {
    window_bytes_ = (num_threads(options) + 1) * 4 * kSegmentBytes;
    if (tokenizer_.bos_id() < 0 || tokenizer_.eos_id() < 0) {
      user_error("the tokenizer '", options.tokenizer.string(),
                 "' has no <s> and </s> pieces to part documents with; train one with "
                 "`ttt tokenizer train`");
    }
    const bool split = options.valid_fraction > 0;
    train_ = make_writer(split ? options.output / "train" : options.output);
    if (split) valid_ = make_writer(options.output / "valid");
    cut_documents_ = split && static_cast<double>(files.size()) * options.valid_fraction < kDocumentsToHash;
  }

  void run() {
    for (const fs::path& path : files_) add_file(path);
    while (!segments_.empty()) write_oldest();
    if (train_->num_tokens() == 0 || (valid_ && valid_->num_tokens() == 0)) {
      user_error("a valid fraction of ", options_.valid_fraction, " left ",
                 train_->num_tokens() == 0 ? "training" : "validation",
                 " without a document; give another --valid-fraction or more text");
    }
    train_->commit();
    if (valid_) valid_->commit();
  }

 private:
  static std::size_t num_threads(const PrepareText& options) {
    if (options.threads > 0) return static_cast<std::size_t>(options.threads);
    return std::max(1u, std::thread::hardware_concurrency());
  }

  std::unique_ptr<DatasetWriter> make_writer(const fs::path& directory) {
    return std::make_unique<DatasetWriter>(DatasetWriterOptions{.directory = directory,
                                                                .vocab_size = tokenizer_.vocab_size(),
                                                                .bos_id = tokenizer_.bos_id(),
                                                                .eos_id = tokenizer_.eos_id(),
                                                                .tokenizer = &tokenizer_,
                                                                .shard_tokens = options_.shard_tokens,
                                                                .force = options_.force});
  }

  void add_file(const fs::path& path) {
    const auto file = std::make_shared<const MappedFile>(path);
    const std::string_view text = file->text();
    if (text.empty()) return;
    require_utf8(text, path);
    const auto add_source = [&](DatasetWriter& writer, std::string_view part) {
      writer.add_source(path.string(), static_cast<std::int64_t>(part.size()));
    };
    if (cut_documents_) {
      const std::size_t cut = tail_begin(text, options_.valid_fraction);
      for (const auto& [writer, part] :
           {std::pair(train_.get(), text.substr(0, cut)), std::pair(valid_.get(), text.substr(cut))}) {
        if (part.empty()) continue;
        add_source(*writer, part);
        add_document(file, part, *writer);
      }
      return;
    }
    // 53 bits of the content's hash as a number in [0, 1).
    const bool to_valid = valid_ && static_cast<double>(xxh3(text) >> 11) * 0x1.0p-53 < options_.valid_fraction;
    DatasetWriter& writer = to_valid ? *valid_ : *train_;
    add_source(writer, text);
    add_document(file, text, writer);
  }

  void add_document(const std::shared_ptr<const MappedFile>& file, std::string_view text, DatasetWriter& writer) {
    const std::vector<std::string_view> parts = tokenizer_.segments(text, kSegmentBytes);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      while (segments_.size() >= kMaxSegments ||
             (!segments_.empty() && bytes_under_way_ + parts[i].size() > window_bytes_)) {
        write_oldest();
      }
      bytes_under_way_ += parts[i].size();
      const std::string_view part = parts[i];
      segments_.push_back({file, part, &writer, i == 0, i + 1 == parts.size(),
                           pool_.submit([this, part] { return tokenizer_.encode(part); })});
    }
  }

  void write_oldest() {
    Segment& segment = segments_.front();
    const std::vector<std::int32_t> ids = segment.ids.get();
    if (segment.first) {
      segment.writer->begin_document();
      segment.writer->append({{tokenizer_.bos_id()}});
    }
    segment.writer->append(ids);
    if (segment.last) segment.writer->append({{tokenizer_.eos_id()}});
    segment.writer->add_text_bytes(static_cast<std::int64_t>(segment.text.size()));
    bytes_under_way_ -= segment.text.size();
    progress_.add(segment.text.size());
    segments_.pop_front();
  }

  const PrepareText& options_;
  const std::vector<fs::path>& files_;
  Tokenizer tokenizer_;
  std::unique_ptr<DatasetWriter> train_, valid_;
  bool cut_documents_ = false;
  Progress progress_;
  std::size_t window_bytes_ = 0, bytes_under_way_ = 0;
  std::deque<Segment> segments_;
  WorkerPool pool_;  // last, so that its threads end before what they read goes
};

}  // namespace

void prepare_text(const PrepareText& options) {
  if (!(options.valid_fraction >= 0 && options.valid_fraction < 1)) {
    user_error("--valid-fraction must lie in [0, 1), not ", options.valid_fraction);
  }
  if (options.valid_fraction > 0) {
    check_output_directory(options.output / "train", options.force);
    check_output_directory(options.output / "valid", options.force);
  } else {
    check_output_directory(options.output, options.force);
  }
  const std::vector<fs::path> files = list_text_files(options.inputs, options.extensions);
  std::uint64_t total_bytes = 0;
  for (const fs::path& file : files) total_bytes += fs::file_size(file);
  if (total_bytes == 0) {
    user_error("the text is empty: '", files[0].string(), "'",
               files.size() > 1 ? " and the other input files hold" : " holds", " no byte; give files with text");
  }
  TextPreparation(options, files, total_bytes).run();
}

}  // namespace ttt
