// Choosing and forcing rows of kernel tables, and the sentences about them.
#include "ops/kernel_table.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "ops/cuda_target.h"

namespace ttt {
namespace {
thread_local bool to_be_computed_again = false;
}

KernelPass pass_of(bool differentiate) {
  return differentiate || to_be_computed_again ? KernelPass::kTraining : KernelPass::kForward;
}

ToBeComputedAgain::ToBeComputedAgain() : before_(std::exchange(to_be_computed_again, true)) {}
ToBeComputedAgain::~ToBeComputedAgain() {
  to_be_computed_again = before_;
}

namespace {

enum class Lack {
  kNone,
  kInstructions,
  kPlace,
  kBf16Products,
  kNativeBf16,
  kOneRow,
  kVariant,
  kDtype,
  kMiniBatch,
  kHeadDim,
  kShared
};

bool is_of(const std::vector<at::ScalarType>& types, at::ScalarType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

bool is_at(KernelPlace place, at::Device device) {
  return place == KernelPlace::kAnywhere ||
         (place == KernelPlace::kCpu ? device.is_cpu() : cuda_kernels(device) != nullptr);
}

const KernelBlock* block_of(const KernelNeeds& needs, const KernelCall& call) {
  for (const KernelBlock& block : needs.blocks()) {
    if (block.dtype == call.dtype && (block.head_dim == 0 || block.head_dim == call.head_dim)) return &block;
  }
  return nullptr;
}

// Of keys or values, a size that the row does not take.
std::optional<std::int64_t> wrong_head_dim(const KernelNeeds& needs, const KernelCall& call) {
  for (const std::int64_t size : {call.head_dim, call.value_dim}) {
    if (size % needs.head_dim_multiple != 0 || (needs.largest_head_dim > 0 && size > needs.largest_head_dim))
      return size;
  }
  return std::nullopt;
}

// The first need that the call does not meet.
Lack lack_of(const KernelNeeds& needs, const KernelCall& call) {
  if (needs.processor_has != nullptr && !needs.processor_has()) return Lack::kInstructions;
  if (!is_at(needs.place, call.device)) return Lack::kPlace;
  if (needs.bf16_products && !call.bf16_products) return Lack::kBf16Products;
  if (needs.native_bf16 && call.bf16_through_fp32) return Lack::kNativeBf16;
  if (needs.one_row && !call.one_row) return Lack::kOneRow;
  if (needs.no_variants && !call.variant.empty()) return Lack::kVariant;
  if (!needs.dtypes.empty() && !is_of(needs.dtypes, call.dtype)) return Lack::kDtype;
  if (needs.mini_batch != 0 && call.mini_batch != needs.mini_batch) return Lack::kMiniBatch;
  if (wrong_head_dim(needs, call)) return Lack::kHeadDim;
  if (needs.blocks != nullptr) {
    const KernelBlock* block = block_of(needs, call);
    if (block == nullptr) return Lack::kHeadDim;
    if (block->bytes(call.pass) > cuda_shared_limit(call.device)) return Lack::kShared;
  }
  return Lack::kNone;
}

const char* name_of(at::ScalarType type) {
  return type == at::kFloat ? "fp32" : type == at::kDouble ? "fp64" : type == at::kBFloat16 ? "bf16" : toString(type);
}

// "fp32, fp64 and bf16"
std::string listed(const std::vector<std::string>& words) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i)
    list += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
  return list;
}

std::string listed(const std::vector<at::ScalarType>& types) {
  std::vector<std::string> words;
  for (const at::ScalarType type : types) words.emplace_back(name_of(type));
  return listed(words);
}

std::string place_sentence(const KernelNeeds& needs, const KernelCall& call) {
  if (needs.place == KernelPlace::kCpu) return "it runs on the CPU only";
  return call.device.is_cuda() ? "this ttt was built without nvcc" : "it runs on a GPU";
}

std::string head_dim_sentence(const KernelNeeds& needs, const KernelCall& call) {
  if (needs.blocks == nullptr)
    return cat("its head sizes are multiples of ", needs.head_dim_multiple,
               needs.largest_head_dim > 0 ? cat(" up to ", needs.largest_head_dim) : "", ", not ",
               wrong_head_dim(needs, call).value_or(0));
  std::vector<std::string> sizes;
  for (const KernelBlock& block : needs.blocks()) {
    if (block.dtype == call.dtype) sizes.push_back(cat(block.head_dim));
  }
  return cat("its head sizes are ", listed(sizes), ", not ", call.head_dim);
}

std::string sentence(Lack lack, const KernelNeeds& needs, const KernelCall& call) {
  switch (lack) {
    case Lack::kNone:
      return "";
    case Lack::kInstructions:
      return cat("this processor has no ", needs.instructions);
    case Lack::kPlace:
      return place_sentence(needs, call);
    case Lack::kBf16Products:
      return "its products are bf16, those of this call fp32";
    case Lack::kNativeBf16:
      return "products of bf16 are done in fp32 here";
    case Lack::kOneRow:
      return "it is for one row without gradients";
    case Lack::kVariant:
      return cat("it does not take ", call.variant);
    case Lack::kDtype:
      return cat("it takes ", listed(needs.dtypes), ", not ", call.dtype);
    case Lack::kMiniBatch:
      return cat("its mini-batches have ", needs.mini_batch, " tokens, not ", call.mini_batch);
    case Lack::kHeadDim:
      return head_dim_sentence(needs, call);
    case Lack::kShared:
      return cat("its block needs ", block_of(needs, call)->bytes(call.pass), " bytes of shared memory",
                 call.pass == KernelPass::kTraining ? " in training" : "", ", this GPU has ",
                 cuda_shared_limit(call.device));
  }
  fail("no such lack");
}

std::mutex& forcing_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::atomic<bool> environment_is_read{false};

void read_environment_once() {
  if (!environment_is_read.load(std::memory_order_acquire)) read_kernel_environment();
}

constexpr const char* kBothTtt = "ttt";

std::string op_names() {
  std::string names = kBothTtt;
  for (const KernelTable* table : kernel_tables()) names += ", " + table->op();
  return names;
}

std::vector<const KernelTable*> tables_of(const std::string& op, const std::string& source) {
  if (op != kBothTtt) return {&find_kernel_table(op, source)};
  std::vector<const KernelTable*> both;
  for (const KernelTable* table : kernel_tables()) {
    if (table->op().starts_with("ttt_")) both.push_back(table);
  }
  return both;
}

}  // namespace

int KernelBlock::bytes(KernelPass pass) const {
  return pass == KernelPass::kDecoding  ? decoding_bytes
         : pass == KernelPass::kForward ? forward_bytes
                                        : std::max(forward_bytes, backward_bytes);
}

bool takes(const KernelNeeds& needs, const KernelCall& call) {
  return lack_of(needs, call) == Lack::kNone;
}

std::string why_not(const KernelNeeds& needs, const KernelCall& call) {
  return sentence(lack_of(needs, call), needs, call);
}

std::string why_never(const KernelNeeds& needs) {
  if (needs.processor_has != nullptr && !needs.processor_has()) return sentence(Lack::kInstructions, needs, {});
  if (needs.place == KernelPlace::kGpu && !has_cuda_kernels()) return "there is no GPU that this ttt has kernels for";
  return "";
}

void KernelTable::set_rows(std::vector<const KernelRow*> rows) {
  rows_ = std::move(rows);
  taken_ = std::vector<std::atomic<std::int64_t>>(rows_.size());
  distrusted_ = std::vector<std::atomic<bool>>(rows_.size());
  distrust_.resize(rows_.size());
}

bool KernelTable::takes(std::size_t i, const KernelCall& call) const {
  return !distrusted_[i].load(std::memory_order_relaxed) && ttt::takes(rows_[i]->needs, call);
}

std::string KernelTable::why_not(std::size_t i, const KernelCall& call) const {
  const std::string reason = ttt::why_not(rows_[i]->needs, call);
  return reason.empty() ? distrusted(i) : reason;
}

void KernelTable::distrust(std::size_t i, const std::string& reason) const {
  const std::lock_guard<std::mutex> lock(forcing_mutex());
  distrust_.at(i) = reason;
  distrusted_[i].store(!reason.empty(), std::memory_order_relaxed);
}

std::string KernelTable::distrusted(std::size_t i) const {
  const std::lock_guard<std::mutex> lock(forcing_mutex());
  return distrust_.at(i);
}

std::string KernelTable::row_names() const {
  std::string names;
  for (const KernelRow* row : rows_) names += (names.empty() ? "" : ", ") + row->name;
  return names;
}

std::size_t KernelTable::find(const std::string& name, const std::string& source) const {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i]->name == name) return i;
  }
  const std::string kind = op_.starts_with("ttt_") ? "TTT kernel" : "kernel of " + op_;
  user_error(source, " names no ", kind, ": \"", name, "\"; the kernels of this build are ", row_names());
}

std::optional<std::size_t> KernelTable::forced() const {
  read_environment_once();
  const int row = forced_.load(std::memory_order_relaxed);
  return row < 0 ? std::nullopt : std::optional(static_cast<std::size_t>(row));
}

std::string KernelTable::forced_by() const {
  const std::lock_guard<std::mutex> lock(forcing_mutex());
  for (int layer = kLayers - 1; layer >= 0; --layer) {
    if (layers_[layer].row) return layers_[layer].source;
  }
  return "";
}

// Under forcing_mutex().
void KernelTable::force(Layer layer, Forced forced) const {
  layers_[layer] = std::move(forced);
  int row = -1;
  for (const Forced& one : layers_) {
    if (one.row) row = static_cast<int>(*one.row);
  }
  forced_.store(row, std::memory_order_relaxed);
}

std::size_t KernelTable::count(std::size_t i) const {
  if (taken_[i].fetch_add(1, std::memory_order_relaxed) == 0) {
    const std::string line = cat(op_, " runs on kernel ", rows_[i]->name);
    traits_.announced ? log_info(line) : log_file_only(line);
  }
  return i;
}

void KernelTable::refuse(std::size_t i, const KernelCall& call) const {
  user_error("kernel ", rows_[i]->name, ", set by ", forced_by(), ", cannot take this call of ", op_, ": ",
             why_not(i, call), "; choose another of ", row_names(), " or lift the choice");
}

void KernelTable::no_row_takes(const KernelCall& call) const {
  std::string reasons;
  for (std::size_t i = 0; i < rows_.size(); ++i)
    reasons += cat(reasons.empty() ? "" : "; ", rows_[i]->name, ": ", why_not(i, call));
  user_error("no kernel takes this call of ", op_, " (", reasons, ")");
}

std::size_t KernelTable::choose_index(const KernelCall& call) const {
  if (const std::optional<std::size_t> row = forced()) {
    if (!takes(*row, call)) refuse(*row, call);
    return count(*row);
  }
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (takes(i, call)) return count(i);
  }
  no_row_takes(call);
}

std::optional<std::size_t> KernelTable::would_choose(const KernelCall& call) const {
  const std::optional<std::size_t> only = forced();
  for (std::size_t i = only.value_or(0); i < (only ? *only + 1 : rows_.size()); ++i) {
    if (takes(i, call)) return i;
  }
  return std::nullopt;
}

KernelCall KernelTable::call_in_model(at::Device device, bool bf16, std::int64_t head_dim,
                                      std::int64_t mini_batch) const {
  KernelCall call{.device = device, .head_dim = head_dim, .mini_batch = mini_batch, .bf16_products = bf16};
  if (bf16 && !traits_.fp32_in_bf16_models) call.dtype = at::kBFloat16;
  if (call.dtype == at::kBFloat16 && traits_.bf16_through_fp32 != nullptr)
    call.bf16_through_fp32 = traits_.bf16_through_fp32(device);
  return call;
}

const KernelTable& find_kernel_table(const std::string& op, const std::string& source) {
  for (const KernelTable* table : kernel_tables()) {
    if (table->op() == op) return *table;
  }
  user_error(source, " names no op: \"", op, "\"; the ops with kernels are ", op_names());
}

// What is forced by settings and by the environment.
class KernelForcing {
 public:
  using Layer = KernelTable::Layer;
  static constexpr Layer kEnvironment = KernelTable::kEnvironment, kSettings = KernelTable::kSettings,
                         kScope = KernelTable::kScope;

  static void replace(Layer layer, std::vector<KernelChoice> choices) {
    std::stable_partition(choices.begin(), choices.end(), [](const KernelChoice& c) { return c.op == kBothTtt; });
    std::vector<std::pair<const KernelTable*, KernelTable::Forced>> all;
    for (const KernelChoice& choice : choices) {
      for (const KernelTable* table : tables_of(choice.op, choice.source)) {
        KernelTable::Forced forced;
        if (choice.row != "auto") forced = {usable_row(*table, choice), choice.source};
        all.emplace_back(table, std::move(forced));
      }
    }
    const std::lock_guard<std::mutex> lock(forcing_mutex());
    for (const KernelTable* table : kernel_tables()) table->force(layer, {});
    for (auto& [table, forced] : all) table->force(layer, std::move(forced));
  }

  static void set(Layer layer, const KernelTable& table, std::optional<std::size_t> row, const std::string& source) {
    const std::lock_guard<std::mutex> lock(forcing_mutex());
    table.force(layer, {row, source});
  }

 private:
  static std::size_t usable_row(const KernelTable& table, const KernelChoice& choice) {
    const std::size_t row = table.find(choice.row, choice.source);
    const auto why_unusable = [&](std::size_t i) {
      const std::string never = why_never(table.row(i).needs);
      return never.empty() ? table.distrusted(i) : never;
    };
    const std::string reason = why_unusable(row);
    if (reason.empty()) return row;
    std::vector<std::string> others;
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (why_unusable(i).empty()) others.push_back(table.row(i).name);
    }
    user_error(choice.source, " sets kernel ", choice.row, " for ", table.op(), ", which cannot run here: ", reason,
               "; what can is ", listed(others));
  }
};

void force_kernels(const std::vector<KernelChoice>& choices) {
  KernelForcing::replace(KernelForcing::kSettings, choices);
}

std::vector<KernelChoice> parse_kernel_choices(const std::string& text, const std::string& source) {
  std::vector<KernelChoice> choices;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == item.size())
      user_error(source, " must be pairs op=kernel with commas between them, such as rms_norm=composed, not \"", text,
                 "\"");
    choices.push_back({item.substr(0, equals), item.substr(equals + 1), source});
    begin = end + 1;
  }
  return choices;
}

void read_kernel_environment() {
  std::vector<KernelChoice> choices;
  if (const char* row = std::getenv("TTT_KERNEL"); row != nullptr && *row != '\0')
    choices.push_back({kBothTtt, row, "the environment variable TTT_KERNEL"});
  if (const char* text = std::getenv("TTT_KERNELS"); text != nullptr) {
    for (KernelChoice& choice : parse_kernel_choices(text, "the environment variable TTT_KERNELS"))
      choices.push_back(std::move(choice));
  }
  environment_is_read.store(false, std::memory_order_release);
  KernelForcing::replace(KernelForcing::kEnvironment, std::move(choices));
  environment_is_read.store(true, std::memory_order_release);
}

ForcedRow::ForcedRow(const KernelTable& table, std::size_t row) : table_(table) {
  KernelForcing::set(KernelForcing::kScope, table, row, "this program");
}
ForcedRow::~ForcedRow() {
  KernelForcing::set(KernelForcing::kScope, table_, std::nullopt, "");
}

}  // namespace ttt
