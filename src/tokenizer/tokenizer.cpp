// Encoding and decoding. SentencePiece writes a space as U+2581 and so cannot tell a space from that character; bytes
// of text that it would change (U+2581, NUL, whatever is not UTF-8) go round it as byte pieces, and decoding is done
// here, from the pieces.
#include "tokenizer/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdio>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/utf8.h"

namespace ttt {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581
constexpr std::size_t kEncodeChunk = 256;  // SentencePiece's time a byte grows with the length of its input
// And its memory: 160 bytes for each byte of text. So a longer run of text without a space is cut all the same.
constexpr std::size_t kMaxRun = 1 << 14;
// Behind the model, these bytes are a NormalizerSpec (field 3) whose add_dummy_prefix (field 3) is false: protobuf
// takes the last of two values.
constexpr std::string_view kNoDummyPrefix("\x1a\x02\x18\x00", 4);

std::string spaces_from_marks(const std::string& piece) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    if (piece.compare(at, kSpaceMark.size(), kSpaceMark) == 0) {
      text += ' ';
      at += kSpaceMark.size();
    } else {
      text += piece[at++];
    }
  }
  return text;
}

// A non-space followed by a space within one piece.
bool has_inner_space(const std::string& text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') return true;
  }
  return false;
}

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// The text may be cut at `at`: before a space that follows another character.
bool is_space_cut(std::string_view text, std::size_t at) {
  return text[at] == ' ' && text[at - 1] != ' ';
}

// The size of a character at most: of what begins with its first byte.
std::size_t character_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && end < at + 4 && continues_character(text[end])) ++end;
  return end - at;
}

// Finds, front to back, what SentencePiece would not represent exactly: each kind is searched for once along the text.
class SpecialBytes {
 public:
  explicit SpecialBytes(std::string_view text) : text_(text) {}

  // The first place at or after `begin` (a character boundary), or the text's size.
  std::size_t next(std::size_t begin) {
    if (started_ && begin <= std::min({invalid_, nul_, mark_})) return std::min({invalid_, nul_, mark_});
    const std::string_view rest = text_.substr(begin);
    const auto place = [&](std::size_t found) { return found == rest.npos ? text_.size() : begin + found; };
    if (!started_ || invalid_ < begin) invalid_ = place(find_invalid_utf8(rest).value_or(rest.npos));
    if (!started_ || nul_ < begin) nul_ = place(rest.find('\0'));
    if (!started_ || mark_ < begin) mark_ = place(rest.find(kSpaceMark));
    started_ = true;
    return std::min({invalid_, nul_, mark_});
  }

 private:
  std::string_view text_;
  bool started_ = false;
  std::size_t invalid_ = 0, nul_ = 0, mark_ = 0;
};

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string serialized;
  std::uint64_t hash = 0;
  std::vector<std::string> text_of;    // by id: the bytes that a piece stands for
  std::vector<std::int32_t> bytes_of;  // by id: their number
  std::array<std::int32_t, 256> byte_id{};
  bool has_bytes = true;                   // every byte has a piece
  bool lossless = false;                   // encoding and joining the pieces gives the text back
  bool adds_space = false;                 // not lossless only in that a space is put in front, as Llama's model does
  bool splittable = true;                  // no piece holds a space behind another character
  std::unordered_set<std::string> joined;  // two characters that stand next to each other in some piece
  std::bitset<128 * 128> ascii_joined;     // likewise two of one byte, first * 128 + second
  sentencepiece::SentencePieceProcessor continuation;  // adds no space; loaded where adds_space

  std::vector<std::int32_t> encode_plain(std::string_view text) const { return encode_plain(text, processor); }
  static std::vector<std::int32_t> encode_plain(std::string_view text,
                                                const sentencepiece::SentencePieceProcessor& encoder) {
    std::vector<int> ids;
    const auto status = encoder.Encode(absl::string_view(text.data(), text.size()), &ids);
    if (!status.ok()) fail("SentencePiece cannot encode the text: ", status.ToString());
    return ids;
  }

  // Where a run of text that is longer than kMaxRun is cut: between two characters that no piece holds next to each
  // other, which changes no token, if its second half has such a place; else at its end.
  std::size_t run_cut(std::string_view run) const {
    std::size_t end = kMaxRun;
    while (end > kMaxRun - 3 && continues_character(run[end])) --end;
    for (std::size_t at = end; at > kMaxRun / 2;) {
      std::size_t before = at - 1;
      while (before + 3 > at && before > 0 && continues_character(run[before])) --before;
      if (!is_joined(run.substr(before), at - before)) return at;
      at = before;
    }
    return end;
  }
  // The two characters at the beginning of `pair`, the first of `first_size` bytes.
  bool is_joined(std::string_view pair, std::size_t first_size) const {
    const auto first = static_cast<unsigned char>(pair[0]), second = static_cast<unsigned char>(pair[first_size]);
    if (first < 128 && second < 128) return ascii_joined[first * 128u + second];
    return joined.contains(std::string(pair.substr(0, first_size + character_at(pair, first_size))));
  }

  // The end of the first part of at least `size` bytes. Where the parts end is a matter of the text alone: before the
  // spaces, and within runs without any as run_cut says, counted from the run's beginning. So a text that is cut at the
  // end of a part has its other ends where they were.
  std::size_t part_end(std::string_view text, std::size_t size) const {
    size = std::max<std::size_t>(size, 1);
    if (text.size() <= size) return text.size();
    std::size_t begin = size;
    while (begin > 0 && !is_space_cut(text, begin)) --begin;
    while (begin < size) {
      const std::size_t limit = std::min(text.size(), begin + kMaxRun + 4);  // room for run_cut's last character
      std::size_t end = begin + 1;
      while (end < limit && !is_space_cut(text, end)) ++end;
      if (end == text.size()) return end;
      if (end == limit) end = begin + run_cut(text.substr(begin, kMaxRun + 4));
      begin = end;
    }
    return begin;
  }

  // With a model that adds a space: only the first part may get one.
  std::vector<std::int32_t> encode_parts(std::string_view text, bool continued) const {
    std::vector<std::int32_t> ids;
    while (!text.empty()) {
      const std::string_view part = text.substr(0, part_end(text, kEncodeChunk));
      text.remove_prefix(part.size());
      const std::vector<std::int32_t> part_ids = encode_plain(part, continued ? continuation : processor);
      ids.insert(ids.end(), part_ids.begin(), part_ids.end());
      continued = true;
    }
    return ids;
  }

  std::string join(const std::vector<std::int32_t>& ids) const {
    std::string text;
    for (const std::int32_t id : ids) text += text_of[static_cast<std::size_t>(id)];
    return text;
  }

  void note_joined(std::string_view piece) {
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t size = character_at(piece, at), next = at + size;
      at = next;
      if (next >= piece.size()) return;
      const auto first = static_cast<unsigned char>(piece[next - size]),
                 second = static_cast<unsigned char>(piece[next]);
      if (first < 128 && second < 128) {
        ascii_joined.set(first * 128u + second);
      } else {
        joined.emplace(piece.substr(next - size, size + character_at(piece, next)));
      }
    }
  }

  void load(const std::string& name) {
    const auto status = processor.LoadFromSerializedProto(absl::string_view(serialized.data(), serialized.size()));
    if (!status.ok() || processor.GetPieceSize() == 0) {
      user_error("'", name, "' is not a SentencePiece model; make one with `ttt tokenizer train`");
    }
    hash = xxh3(serialized);
    byte_id.fill(-1);
    const int size = processor.GetPieceSize();
    for (int id = 0; id < size; ++id) {
      const std::string& piece = processor.IdToPiece(id);
      std::string text;
      if (processor.IsByte(id)) {
        unsigned value = 0;
        if (std::sscanf(piece.c_str(), "<0x%02X>", &value) != 1 || value > 255) {
          user_error("'", name, "' has the byte piece '", piece, "', which is not of the form <0x0A>");
        }
        text = static_cast<char>(value);
        byte_id[value] = id;
      } else if (!processor.IsControl(id) && !processor.IsUnknown(id)) {
        text = spaces_from_marks(piece);
        splittable = splittable && !has_inner_space(text);
        note_joined(text);
      }
      bytes_of.push_back(static_cast<std::int32_t>(text.size()));
      text_of.push_back(std::move(text));
    }
    has_bytes = std::all_of(byte_id.begin(), byte_id.end(), [](std::int32_t id) { return id >= 0; });
    // Models from elsewhere may add a space in front, fold characters or merge runs of spaces.
    const std::string probe = "  A  \xc2\xb2 \xef\xac\x81\n\n\t \r\n e\xcc\x81 \xe2\x98\x83  ";
    lossless = has_bytes && join(encode_plain(probe)) == probe;
    adds_space = has_bytes && join(encode_plain(probe)) == " " + probe;
    splittable = splittable && (lossless || adds_space);
    if (splittable && adds_space) {
      const std::string without = serialized + std::string(kNoDummyPrefix);
      const bool loaded = continuation.LoadFromSerializedProto(absl::string_view(without.data(), without.size())).ok();
      splittable = loaded && join(encode_plain(probe, continuation)) == probe;
    }
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer::Tokenizer(const std::filesystem::path& model_file) : impl_(std::make_unique<Impl>()) {
  impl_->serialized = read_file(model_file);
  impl_->load(model_file.string());
}

Tokenizer Tokenizer::from_bytes(const std::string& serialized, const std::string& name) {
  auto impl = std::make_unique<Impl>();
  impl->serialized = serialized;
  impl->load(name);
  return Tokenizer(std::move(impl));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool continued) const {
  if (impl_->adds_space && impl_->splittable) return impl_->encode_parts(text, continued);
  if (!impl_->lossless) return impl_->encode_plain(text);
  std::vector<std::int32_t> ids;
  SpecialBytes specials(text);
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const std::size_t part = at + (impl_->splittable ? impl_->part_end(rest, kEncodeChunk) : rest.size());
    while (at < part) {
      const std::size_t special = std::min(specials.next(at), part);
      if (at < special) {
        const std::vector<std::int32_t> plain = impl_->encode_plain(text.substr(at, special - at));
        ids.insert(ids.end(), plain.begin(), plain.end());
        at = special;
        continue;
      }
      const std::string_view odd = text.substr(at, part - at);
      const std::size_t size = odd.starts_with(kSpaceMark) ? kSpaceMark.size() : 1;
      for (const char byte : odd.substr(0, size)) ids.push_back(impl_->byte_id[static_cast<unsigned char>(byte)]);
      at += size;
    }
  }
  return ids;
}

std::size_t Tokenizer::first_cut(std::string_view text, std::size_t size) const {
  if (!impl_->splittable || text.size() <= size) return std::string_view::npos;
  const std::size_t end = impl_->part_end(text, size);
  return end < text.size() ? end : std::string_view::npos;
}

bool Tokenizer::cuts_text() const {
  return impl_->splittable;
}

std::vector<std::string_view> Tokenizer::segments(std::string_view text, std::size_t size) const {
  std::vector<std::string_view> parts;
  for (std::size_t cut = first_cut(text, size); cut != text.npos; cut = first_cut(text, size)) {
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
  }
  if (!text.empty() || parts.empty()) parts.push_back(text);
  return parts;
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) {
      user_error("token ", id, " is not in the tokenizer's vocabulary of ", vocab_size(), " pieces");
    }
  }
  if (impl_->lossless) return impl_->join(ids);
  std::string text;
  const auto status = impl_->processor.Decode(ids, &text);
  if (!status.ok()) fail("SentencePiece cannot decode the tokens: ", status.ToString());
  return text;
}

std::string Tokenizer::piece(std::int32_t id) const {
  TTT_CHECK(id >= 0 && id < vocab_size(), "id ", id, " of ", vocab_size());
  return impl_->processor.IdToPiece(id);
}

std::int64_t Tokenizer::vocab_size() const {
  return impl_->processor.GetPieceSize();
}
std::int32_t Tokenizer::bos_id() const {
  return impl_->processor.bos_id();
}
std::int32_t Tokenizer::eos_id() const {
  return impl_->processor.eos_id();
}
std::int32_t Tokenizer::pad_id() const {
  return impl_->processor.pad_id();
}
const std::vector<std::int32_t>& Tokenizer::token_bytes() const {
  return impl_->bytes_of;
}
const std::string& Tokenizer::bytes() const {
  return impl_->serialized;
}
std::uint64_t Tokenizer::hash() const {
  return impl_->hash;
}

}  // namespace ttt
