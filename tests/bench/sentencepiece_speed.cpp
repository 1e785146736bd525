// SentencePiece alone, the yardstick of `ttt prepare`: encodes a text from memory on so many threads, once by lines and
// once by blocks of 2 KiB that end at a line end, and prints the faster one's MB/s of all threads together.
//
// usage: sentencepiece_speed MODEL TEXT THREADS
#include <sentencepiece_processor.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

// Parts of at least `size` bytes that end behind a newline.
std::vector<std::string_view> cut(std::string_view text, std::size_t size) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t newline = text.size() > size ? text.find('\n', size) : text.npos;
    const std::size_t end = newline == text.npos ? text.size() : newline + 1;
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

// MB/s of `threads` threads, each of which encodes every part.
double speed(const sentencepiece::SentencePieceProcessor& processor, const std::vector<std::string_view>& parts,
             std::size_t bytes, int threads) {
  const auto encode_all = [&] {
    std::vector<int> ids;
    for (const std::string_view part : parts) {
      if (!processor.Encode(absl::string_view(part.data(), part.size()), &ids).ok()) std::abort();
    }
  };
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(encode_all);
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(bytes) * threads / 1e6 / seconds.count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: sentencepiece_speed MODEL TEXT THREADS\n");
    return 2;
  }
  sentencepiece::SentencePieceProcessor processor;
  std::ifstream file(argv[2], std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (!processor.Load(argv[1]).ok() || text.empty()) {
    std::fprintf(stderr, "error: cannot read '%s' or '%s'\n", argv[1], argv[2]);
    return 2;
  }
  const int threads = std::max(1, std::atoi(argv[3]));
  double best = 0;
  for (const std::size_t size : {std::size_t{0}, std::size_t{2048}}) {
    best = std::max(best, speed(processor, cut(text, size), text.size(), threads));
  }
  std::printf("%.3f\n", best);
}
