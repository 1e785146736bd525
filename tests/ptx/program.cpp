#include "ptx/program.h"

#include <bit>
#include <cctype>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "ptx/forms.h"

namespace ttt::ptx {
namespace {

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}
bool take(std::string_view& s, std::string_view prefix) {
  if (!s.starts_with(prefix)) return false;
  s = trimmed(s.substr(prefix.size()));
  return true;
}
// The word before the next of `ends`, which stays.
std::string_view word(std::string_view& s, std::string_view ends) {
  const std::size_t n = std::min(s.find_first_of(ends), s.size());
  const std::string_view out = s.substr(0, n);
  s = trimmed(s.substr(n));
  return trimmed(out);
}

struct Register {
  std::uint32_t slot;
  int bits;  // 1: a predicate
};

class Parser {
 public:
  Parser(const std::string& name, std::string_view text) : text_(text) {
    kernel_.name = name, kernel_.slots = kFirstSlot;
  }

  Kernel parse() {
    while (!text_.empty()) {
      const std::size_t end = std::min(text_.find('\n'), text_.size());
      statement(trimmed(text_.substr(0, end)));
      text_.remove_prefix(std::min(end + 1, text_.size()));
    }
    for (const auto& [at, label] : jumps_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) throw Problem(cat("no label ", label, " in ", kernel_.name));
      kernel_.code[at].target = found->second;
    }
    const bool ends = !kernel_.code.empty() && !kernel_.code.back().guarded &&
                      (kernel_.code.back().op == Op::kReturn || kernel_.code.back().op == Op::kBranch);
    if (!ends) throw Problem(cat(kernel_.name, " runs past its end"));
    return std::move(kernel_);
  }

 private:
  [[noreturn]] void unknown(std::string_view what) const {
    throw Problem(cat("the PTX interpreter does not know ", what, ": ", line_, " (", kernel_.name, ")"));
  }

  void statement(std::string_view s) {
    s = s.substr(0, s.find("//"));
    if (s.empty() || s == "{" || s == "}" || s == ")" || s == "(") return;
    line_ = s;
    if (s == ".pragma \"nounroll\";") return;
    if (take(s, ".pragma \"used_bytes_mask")) {
      used_bytes_ = static_cast<std::uint32_t>(number(word(s, "\"")));
      return;
    }
    if (take(s, ".reg")) return registers(s);
    if (take(s, ".param")) return parameter(s);
    if (take(s, ".maxntid")) {
      kernel_.max_threads = std::stoi(std::string(word(s, ",")));
      return;
    }
    if (s.starts_with(".minnctapersm")) return;
    if (s.back() == ':') {
      labels_[std::string(s.substr(0, s.size() - 1))] = static_cast<std::uint32_t>(kernel_.code.size());
      return;
    }
    if (s.back() != ';') unknown("this line");
    s.remove_suffix(1);
    instruction(trimmed(s));
  }

  // .type %name<count>;
  void registers(std::string_view s) {
    const std::string_view type = word(s, " \t");
    const int bits = type == ".pred" ? 1 : std::stoi(std::string(type.substr(type.find_first_of("0123456789"))));
    const std::string prefix(word(s, "<"));
    if (s.empty()) unknown("this declaration");
    const int count = std::stoi(std::string(s.substr(1)));
    for (int i = 0; i < count; ++i) registers_[prefix + std::to_string(i)] = {new_slot(bits == 64), bits};
  }
  // .align 8 .b8 name[bytes]
  void parameter(std::string_view s) {
    if (kernel_.param_bytes != 0) unknown("a second parameter");
    const std::size_t open = s.find('[');
    if (open == std::string_view::npos) unknown("a parameter that is no struct");
    kernel_.param_bytes = static_cast<std::uint32_t>(std::stoi(std::string(s.substr(open + 1))));
    const std::size_t name = s.find_last_of(" \t", open) + 1;
    parameter_ = s.substr(name, open - name);
  }

  std::uint32_t new_slot(bool wide) {
    const std::uint32_t slot = kernel_.slots;
    kernel_.slots += wide ? 2 : 1;
    return slot;
  }
  std::uint32_t constant(std::uint64_t value, bool wide) {
    const auto [at, is_new] = constants_.try_emplace({value, wide}, 0);
    if (is_new) {
      at->second = new_slot(wide);
      kernel_.constants.push_back({at->second, value, wide});
    }
    return at->second;
  }

  void instruction(std::string_view s) {
    Instruction in;
    in.line = static_cast<std::uint32_t>(kernel_.text.size());
    kernel_.text.emplace_back(line_);
    if (take(s, "@")) {
      in.guarded = true;
      in.guard_negated = take(s, "!");
      in.guard = reg(word(s, " \t"), 1);
    }
    const std::string name(word(s, " \t"));
    const auto found = forms().find(name);
    if (found == forms().end()) unknown("the form " + name);
    Form form = found->second;
    if (form.op == Op::kExtendS32 && is_register_of(trimmed(s.substr(s.find(',') + 1)), 64))
      form = {Op::kExtendLowS32, "l=l"};
    in.op = form.op;
    in.bytes = static_cast<std::uint8_t>(form.bytes);
    in.used_bytes = std::exchange(used_bytes_, ~0u);
    in.collective = form.collective;
    bool results = true;
    for (const char* kind = form.operands; *kind != 0; ++kind) {
      if (*kind == '=') {
        results = false;
        continue;
      }
      take(s, ",");
      operand(in, *kind, s, results);
    }
    if (!s.empty()) unknown("these operands");
    in.sign_extend = name.ends_with(".s32");
    kernel_.code.push_back(in);
  }

  void add(Instruction& in, bool result, std::uint32_t slot) {
    in.slots[in.results + in.sources] = slot;
    (result ? in.results : in.sources)++;
  }
  void operand(Instruction& in, char kind, std::string_view& s, bool result) {
    switch (kind) {
      case 'h':
        return add(in, result, value(word(s, ","), 16, result));
      case 'w':
        return add(in, result, value(word(s, ","), 32, result));
      case 'l':
        return add(in, result, value(word(s, ","), 64, result));
      case 'p':
        return add(in, result, value(word(s, ","), 1, result));
      case '?': {
        add(in, result, value(word(s, ",|"), 32, result));
        if (take(s, "|")) add(in, result, value(word(s, ","), 1, result));
        return;
      }
      case 'V':
      case 'v':
        return vector(in, s, result, kind == 'V');
      case 'S':
      case 'G': {
        if (!take(s, "[")) unknown("this address");
        const std::string_view base = word(s, "+]");
        if (take(s, "+")) (in.sources == 0 ? in.number : in.number2) = number(word(s, "]"));
        if (!take(s, "]")) unknown("this address");
        return add(in, result, value(base, kind == 'S' ? 32 : 64, false));
      }
      case 'n': {
        const std::int64_t n = number(word(s, ","));
        if (in.op == Op::kCopyAsync) {  // cp.async: bytes
          if (n != 16) unknown("copies of other sizes than 16");
        } else {
          in.number = n;
        }
        return;
      }
      case 'L':
        jumps_.emplace_back(kernel_.code.size(), std::string(word(s, ",")));
        return;
    }
    unknown("this kind of operand");
  }
  // In memory: registers at least as wide as the value; of 64 bits for a 32-bit one where that is sign-extended.
  void vector(Instruction& in, std::string_view& s, bool result, bool in_memory) {
    const bool braces = take(s, "{");
    int n = 0;
    do {
      const std::string_view name = word(s, ",}");
      int bits = 32;
      if (in_memory) {
        for (bits = std::max(8 * in.bytes, 16); bits < 64 && !is_register_of(name, bits); bits *= 2) {
        }
        in.wide = bits == 64;
      }
      add(in, result, value(name, bits, result));
      ++n;
    } while (braces && take(s, ","));
    if (braces && !take(s, "}")) unknown("this vector");
    if (in_memory) in.values = static_cast<std::uint8_t>(n);
  }

  std::uint32_t reg(std::string_view name, int bits) {
    const auto found = registers_.find(std::string(name));
    if (found == registers_.end()) unknown(cat("the register ", name));
    if (found->second.bits != bits) unknown(cat("this width of ", name));
    return found->second.slot;
  }
  bool is_register_of(std::string_view name, int bits) const {
    const auto found = registers_.find(std::string(name));
    return found != registers_.end() && found->second.bits == bits;
  }
  std::uint32_t value(std::string_view s, int bits, bool only_register) {
    if (s == "%tid.x" && bits == 32) return kThreadSlot;
    if (s == "%ctaid.x" && bits == 32) return kBlockSlot;
    if (s == "%nctaid.x" && bits == 32) return kBlocksSlot;
    if (s.starts_with("%")) return reg(s, bits);
    if (only_register) unknown("a constant here");
    if (s == parameter_ && bits == 64) return constant(kParamBase, true);
    if (s.starts_with("_Z") && bits == 32) return constant(kSharedBase, false);  // the one array of dynamic size
    if (s.starts_with("0f") && bits == 32) return constant(std::stoull(std::string(s.substr(2)), nullptr, 16), false);
    if (s.starts_with("0d") && bits == 64) return constant(std::stoull(std::string(s.substr(2)), nullptr, 16), true);
    const std::uint64_t n = static_cast<std::uint64_t>(number(s));
    if (bits == 1) return constant(n != 0 ? kAllLanes : 0, false);
    return bits == 64 ? constant(n, true) : constant(n & (bits == 16 ? 0xffffu : 0xffffffffu), false);
  }
  std::int64_t number(std::string_view s) const {
    std::size_t used = 0;
    const std::string digits(s);
    const std::int64_t n =
        s.starts_with("-") ? std::stoll(digits, &used, 0) : static_cast<std::int64_t>(std::stoull(digits, &used, 0));
    if (used != digits.size()) unknown(cat("the number ", s));
    return n;
  }

  Kernel kernel_;
  std::string_view text_, line_;
  std::string parameter_;
  std::uint32_t used_bytes_ = ~0u;  // of the load that follows
  std::unordered_map<std::string, Register> registers_;
  std::unordered_map<std::string, std::uint32_t> labels_;
  std::vector<std::pair<std::size_t, std::string>> jumps_;
  std::map<std::pair<std::uint64_t, bool>, std::uint32_t> constants_;
};

}  // namespace

std::map<std::string, std::string_view> entries_of(std::string_view module) {
  std::map<std::string, std::string_view> all;
  constexpr std::string_view kEntry = ".entry ";
  for (std::size_t at = module.find(kEntry); at != std::string_view::npos; at = module.find(kEntry, at)) {
    const std::size_t name = at + kEntry.size(), open = module.find('(', name), end = module.find("\n}", name);
    if (open == std::string_view::npos || end == std::string_view::npos) throw Problem("a PTX entry without an end");
    all.emplace(trimmed(module.substr(name, open - name)), module.substr(open + 1, end - open - 1));
    at = end;
  }
  return all;
}

Kernel parse_kernel(const std::string& name, std::string_view text) {
  return Parser(name, text).parse();
}

}  // namespace ttt::ptx
