// Event files read back by a decoder of their own: framing, checksums, the fields of each kind of event; and what a
// training run leaves in them.
#include "train/tensorboard.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "train/scratch.h"
#include "train/tfrecord.h"

namespace ttt {
namespace {

template <class Word>
Word word_at(std::string_view bytes) {
  Word word;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

// A protobuf message taken apart: field number -> values, each varint and fixed as an integer, the rest as bytes.
struct Message {
  std::map<int, std::vector<std::uint64_t>> numbers;
  std::map<int, std::vector<std::string>> texts;

  explicit Message(std::string_view bytes) {
    const auto varint = [&bytes] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes.at(0));
        bytes.remove_prefix(1);
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
    };
    while (!bytes.empty()) {
      const std::uint64_t key = varint();
      const int field = static_cast<int>(key >> 3), wire_type = static_cast<int>(key & 7);
      if (wire_type == 0) {
        numbers[field].push_back(varint());
      } else if (wire_type == 1 || wire_type == 5) {
        numbers[field].push_back(wire_type == 1 ? word_at<std::uint64_t>(bytes) : word_at<std::uint32_t>(bytes));
        bytes.remove_prefix(wire_type == 1 ? 8 : 4);
      } else {
        const std::size_t size = varint();
        texts[field].emplace_back(bytes.substr(0, size));
        bytes.remove_prefix(size);
      }
    }
  }

  double real(int field) const { return std::bit_cast<double>(numbers.at(field).at(0)); }
  Message message(int field) const { return Message(texts.at(field).at(0)); }
};

std::vector<double> unpacked(const std::string& bytes) {
  std::vector<double> values(bytes.size() / 8);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<Message> events_in(const fs::path& path) {
  const std::string content = read_file(path);
  std::string_view rest = content;
  std::vector<Message> events;
  while (!rest.empty()) {
    const auto size = word_at<std::uint64_t>(rest);
    EXPECT_EQ(word_at<std::uint32_t>(rest.substr(8)), masked_crc32c(rest.substr(0, 8)));
    const std::string_view message = rest.substr(12, size);
    EXPECT_EQ(word_at<std::uint32_t>(rest.substr(12 + size)), masked_crc32c(message));
    events.emplace_back(message);
    rest.remove_prefix(16 + size);
  }
  return events;
}

TEST(Crc32c, KnownAnswers) {  // RFC 3720, appendix B.4; and the check value of the CRC catalogue
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(ProtoWriter, EncodesAsTheFormatSays) {
  EXPECT_EQ(ProtoWriter().integer(1, 150).text(), "\x08\x96\x01");  // protobuf.dev/programming-guides/encoding
  EXPECT_EQ(ProtoWriter().bytes(2, "testing").text(), "\x12\x07testing");
  EXPECT_EQ(ProtoWriter().float32(2, 1.0f).text(), std::string("\x15\0\0\x80\x3f", 5));
  EXPECT_EQ(ProtoWriter().float64(1, 1.0).text(), std::string("\x09\0\0\0\0\0\0\xf0\x3f", 9));
  EXPECT_EQ(ProtoWriter().integer(1, ~0ull).text().size(), 11u);
}

TEST(HistogramEvent, CountsEveryFiniteValueInItsBin) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 4, std::numeric_limits<float>::quiet_NaN(), INFINITY};
  const Message histogram = Message(histogram_event(0, 1, "h", values)).message(5).message(1).message(5);
  EXPECT_EQ(histogram.real(1), 0);
  EXPECT_EQ(histogram.real(2), 4);
  EXPECT_EQ(histogram.real(3), 6);
  EXPECT_EQ(histogram.real(4), 14);
  EXPECT_EQ(histogram.real(5), 46);
  const auto limits = unpacked(histogram.texts.at(6).at(0)), counts = unpacked(histogram.texts.at(7).at(0));
  ASSERT_EQ(limits.size(), counts.size());
  EXPECT_EQ(limits.back(), 4);
  EXPECT_EQ(counts.front(), 1);
  EXPECT_EQ(counts.back(), 2);
  double total = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    EXPECT_GT(limits[i], i > 0 ? limits[i - 1] : -1.0);
    total += counts[i];
  }
  EXPECT_EQ(total, 6);

  const Message constant = Message(histogram_event(0, 1, "h", std::vector<float>(5, 2.5f))).message(5).message(1);
  EXPECT_EQ(unpacked(constant.message(5).texts.at(7).at(0)), std::vector<double>{5});
  EXPECT_EQ(histogram_event(0, 1, "h", std::vector<float>{INFINITY}), "");
}

class TensorboardTest : public ScratchTest {};

TEST_F(TensorboardTest, WritesScalarsHistogramsAndTexts) {
  InnerLoopStats stats;
  stats.layer = 3;
  stats.sigma = torch::linspace(0.01, 0.02, 100);
  stats.weight_change = torch::tensor({1.0f, 2.0f});
  {
    TensorboardWriter writer(scratch_ / "tensorboard", 8, "train:\n  steps: 9\n");
    EXPECT_FALSE(fs::exists(scratch_ / "tensorboard"));  // nothing was written yet
    writer.scalars({{"kind", "train"}, {"step", 8}, {"loss", 2.5}, {"tokens", 4096}, {"list", {1, 2}}});
    writer.scalars({{"kind", "valid"}, {"step", 8}, {"domains", {{"web", {{"loss", 1.5}}}}}, {"absent", nullptr}});
    writer.histograms(stats, 8);
    writer.text("sample", 8, "a line\nanother");
  }
  const auto files = list_files(scratch_ / "tensorboard");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_TRUE(files[0].filename().string().starts_with("events.out.tfevents."));
  const std::vector<Message> events = events_in(files[0]);
  ASSERT_EQ(events.size(), 9u);
  EXPECT_EQ(events[0].texts.at(3).at(0), "brain.Event:2");
  EXPECT_EQ(events[1].message(7).numbers.at(1).at(0), 1u);  // SessionLog START ...
  EXPECT_EQ(events[1].numbers.at(2).at(0), 8u);             // ... at step 8
  const auto value = [&](std::size_t i) { return events[i].message(5).message(1); };
  const std::vector<std::string> tags = {"config",
                                         "train/loss",
                                         "train/tokens",
                                         "valid/domains/web/loss",
                                         "inner_loop/learning_rate/layer_03",
                                         "inner_loop/weight_change/layer_03",
                                         "sample"};
  for (std::size_t i = 2; i < events.size(); ++i) {
    EXPECT_EQ(value(i).texts.at(1).at(0), tags[i - 2]);
    EXPECT_EQ(events[i].numbers.at(2).at(0), 8u);
    EXPECT_GT(events[i].real(1), 1.6e9);
  }
  EXPECT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(value(3).numbers.at(2).at(0))), 2.5f);
  EXPECT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(value(5).numbers.at(2).at(0))), 1.5f);
  EXPECT_EQ(value(6).message(5).real(3), 100);
  EXPECT_EQ(value(8).message(9).message(1).texts.at(1).at(0), "text");          // the dashboard
  EXPECT_EQ(value(8).message(8).numbers.at(1).at(0), 7u);                       // DT_STRING
  EXPECT_EQ(value(8).message(8).texts.at(8).at(0), "    a line\n    another");  // Markdown, as it is
  EXPECT_EQ(value(2).message(8).texts.at(8).at(0).substr(0, 10), "    train:");
}

TEST_F(TensorboardTest, ALaterStartHasALaterName) {
  for (int start = 0; start < 3; ++start) {
    TensorboardWriter writer(scratch_, 1 + start, "");
    writer.scalars({{"kind", "train"}, {"step", 1 + start}, {"loss", 1.0}});
  }
  std::vector<std::uint64_t> steps;
  for (const fs::path& path : list_files(scratch_)) steps.push_back(events_in(path).at(1).numbers.at(2).at(0));
  EXPECT_EQ(steps, (std::vector<std::uint64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace ttt
