// Text to tokens on several threads: batches of text go in at one end and come out at the other, tokenised, in the same
// order.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tokenizer/document_reader.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

// How far the input was read: the first `pieces` pieces of the document that begins at `place` of file number `file`.
struct InputPosition {
  std::size_t file = 0;
  DocumentPlace place;
  std::int64_t pieces = 0;
};

// A part of a document, or a small document whole.
struct TextPiece {
  std::size_t text_end = 0;          // in TextBatch::text; it begins where the piece before it ends
  std::size_t ids_end = 0;           // likewise in TextBatch::ids, BOS of a first and EOS of a last piece included
  std::size_t set = 0, file = 0;     // numbers of the data set that it goes to, and of the file that it comes from
  bool first = false, last = false;  // of its document
};

struct TextBatch {
  std::string text;
  std::vector<TextPiece> pieces;
  std::vector<std::int32_t> ids;
  InputPosition after;            // the last piece
  std::uint64_t input_bytes = 0;  // of all files, read until then
  DocumentCounts counts;          // of all files, before the document of that piece
};

class EncodeQueue {
 public:
  EncodeQueue(const Tokenizer& tokenizer, std::size_t threads);
  ~EncodeQueue();  // drops what is under way
  EncodeQueue(const EncodeQueue&) = delete;
  EncodeQueue& operator=(const EncodeQueue&) = delete;

  void push(TextBatch batch);
  TextBatch pop();  // waits for the oldest batch, and rethrows what its encoding threw
  bool empty() const { return under_way_.empty(); }
  std::size_t text_bytes() const { return text_bytes_; }  // pushed and not yet popped

 private:
  void run();

  const Tokenizer& tokenizer_;
  std::deque<std::future<TextBatch>> under_way_;
  std::deque<std::size_t> sizes_;  // of their texts
  std::size_t text_bytes_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<TextBatch()>> tasks_;  // not yet begun
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ttt
