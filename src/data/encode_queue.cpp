#include "data/encode_queue.h"

#include <memory>
#include <utility>

namespace ttt {
namespace {

void encode(const Tokenizer& tokenizer, TextBatch& batch) {
  std::size_t begin = 0;
  for (TextPiece& piece : batch.pieces) {
    const std::string_view text = std::string_view(batch.text).substr(begin, piece.text_end - begin);
    begin = piece.text_end;
    if (piece.first) batch.ids.push_back(tokenizer.bos_id());
    const std::vector<std::int32_t> ids = tokenizer.encode(text, /*continued=*/!piece.first);
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    if (piece.last) batch.ids.push_back(tokenizer.eos_id());
    piece.ids_end = batch.ids.size();
  }
}

}  // namespace

EncodeQueue::EncodeQueue(const Tokenizer& tokenizer, std::size_t threads) : tokenizer_(tokenizer) {
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

EncodeQueue::~EncodeQueue() {
  {
    std::lock_guard lock(mutex_);
    tasks_.clear();
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void EncodeQueue::run() {
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    std::packaged_task<TextBatch()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
  }
}

void EncodeQueue::push(TextBatch batch) {
  text_bytes_ += batch.text.size();
  sizes_.push_back(batch.text.size());
  std::packaged_task<TextBatch()> task([this, work = std::move(batch)]() mutable {
    encode(tokenizer_, work);
    return std::move(work);
  });
  under_way_.push_back(task.get_future());
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

TextBatch EncodeQueue::pop() {
  std::future<TextBatch> oldest = std::move(under_way_.front());
  under_way_.pop_front();
  text_bytes_ -= sizes_.front();
  sizes_.pop_front();
  return oldest.get();
}

}  // namespace ttt
