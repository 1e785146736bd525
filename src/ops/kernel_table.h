// The kernel table of an op: the ways to compute it, best first, each with what it takes, and the one place that
// chooses among them. What a row takes is data (KernelNeeds); the sentence that says why it cannot take a call is made
// from that data.
//
// An op holds an OpKernels of its functions and asks it once in a call. The backward pass takes the same row, since it
// belongs to the row's function. `kernel_tables()` lists the tables of all ops, which forcing, `ttt doctor`, `ttt bench
// op` and the tests go by.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ttt {

// What of a row a call runs: in training the forward and the backward pass.
enum class KernelPass { kTraining, kForward, kDecoding };

// The pass of a call that records a graph for its gradients, or not. While a ToBeComputedAgain lives, on its thread,
// every call is one in training: what is computed now without a graph is computed again with one for the backward
// pass (model/recompute.h), and both are to take the same row.
KernelPass pass_of(bool differentiate);

class ToBeComputedAgain {
 public:
  ToBeComputedAgain();
  ~ToBeComputedAgain();
  ToBeComputedAgain(const ToBeComputedAgain&) = delete;
  ToBeComputedAgain& operator=(const ToBeComputedAgain&) = delete;

 private:
  bool before_;
};

// What a row may ask of a call. Sizes that an op has not are 0.
struct KernelCall {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of the activations
  std::int64_t head_dim = 0, mini_batch = 0;
  std::int64_t value_dim = 0;      // where heads' values have another size than their keys
  bool bf16_products = false;      // of a model in bf16: operands of products may be rounded to bf16
  bool bf16_through_fp32 = false;  // products of bf16 tensors are to be done in fp32 (ops/products.h)
  KernelPass pass = KernelPass::kTraining;
  bool one_row = false;  // a single row without gradients: a token in decoding
  std::string variant =
      {};  // how it departs from what the op is made for, for the sentence: "an inner net of 3 layers"
};

enum class KernelPlace { kAnywhere, kCpu, kGpu };  // kGpu: where there are CUDA kernels, ops/cuda_target.h

// A kind of call that there are CUDA kernels for, and the shared memory that a block of each needs.
struct KernelBlock {
  at::ScalarType dtype;
  std::int64_t head_dim;  // 0: any
  int forward_bytes = 0, backward_bytes = 0, decoding_bytes = 0;

  int bytes(KernelPass pass) const;  // the largest of what the pass runs
};

// What a row needs of a call and of this machine. The defaults: nothing.
struct KernelNeeds {
  KernelPlace place = KernelPlace::kAnywhere;
  std::vector<at::ScalarType> dtypes = {};  // empty: any
  std::string instructions = {};            // what the processor must have, for the sentence
  bool (*processor_has)() = nullptr;        // null: nothing special
  std::int64_t head_dim_multiple = 1;       // of the head sizes
  std::int64_t largest_head_dim = 0;        // 0: any
  std::int64_t mini_batch = 0;              // 0: any
  bool bf16_products = false;               // its products round to bf16: for calls that allow it
  bool native_bf16 = false;                 // its products of bf16 tensors are LibTorch's
  bool one_row = false;                     // it is for a single row without gradients
  bool no_variants = false;                 // it takes what the op is made for alone
  // The kinds of call that it has kernels for; null: all that the rest allows. Asked only where there are CUDA kernels.
  const std::vector<KernelBlock>& (*blocks)() = nullptr;
};

bool takes(const KernelNeeds& needs, const KernelCall& call);
// The first need that the call does not meet, as a clause: "it takes fp32, not Double"; "" when it takes the call.
std::string why_not(const KernelNeeds& needs, const KernelCall& call);
// Why it can take no call on this machine, or "".
std::string why_never(const KernelNeeds& needs);

struct KernelRow {
  std::string name;
  KernelNeeds needs = {};
};

struct KernelTableTraits {
  bool fp32_in_bf16_models = false;  // the op's tensors are fp32 in a model in bf16 as well
  bool announced = false;            // the choice is logged on the terminal too, not in the run's log alone
  bool (*bf16_through_fp32)(at::Device) = nullptr;  // KernelCall's, of calls in bf16 there; null: never
};

// A table without the functions.
class KernelTable {
 public:
  KernelTable(const KernelTable&) = delete;
  KernelTable& operator=(const KernelTable&) = delete;

  const std::string& op() const { return op_; }
  const KernelTableTraits& traits() const { return traits_; }
  std::size_t size() const { return rows_.size(); }
  const KernelRow& row(std::size_t i) const { return *rows_[i]; }
  std::string row_names() const;  // "cuda, fused, composed"
  // Throws UserError with the rows' names where there is no such row; `source` is what named it.
  std::size_t find(const std::string& name, const std::string& source) const;

  // The row that is forced, and by what ("train.kernels").
  std::optional<std::size_t> forced() const;
  std::string forced_by() const;

  // Whether row i takes the call, and why it does not, as takes() and why_not() of its needs, a row that is distrusted
  // included, which takes none.
  bool takes(std::size_t i, const KernelCall& call) const;
  std::string why_not(std::size_t i, const KernelCall& call) const;

  // From now on the row takes no call, for that reason, a clause: "in the self-check it crashed". "": it is trusted
  // again.
  void distrust(std::size_t i, const std::string& reason) const;
  // The reason, or "".
  std::string distrusted(std::size_t i) const;

  // The forced row, or the first that takes the call. Logs each row once. Throws UserError where a forced row cannot
  // take it, with the reason, and where none can, with every row's.
  std::size_t choose_index(const KernelCall& call) const;
  // The same, without choosing: none where choose_index() would throw.
  std::optional<std::size_t> would_choose(const KernelCall& call) const;
  // A call of the op in a model, in bf16 or not.
  KernelCall call_in_model(at::Device device, bool bf16, std::int64_t head_dim, std::int64_t mini_batch) const;
  // How many calls have taken that row.
  std::int64_t taken(std::size_t i) const { return taken_[i].load(std::memory_order_relaxed); }

 protected:
  KernelTable(std::string op, KernelTableTraits traits) : op_(std::move(op)), traits_(traits) {}
  ~KernelTable() = default;
  void set_rows(std::vector<const KernelRow*> rows);

 private:
  friend class KernelForcing;
  // By what a row is forced; a later one comes before an earlier one.
  enum Layer { kEnvironment, kSettings, kScope, kLayers };
  struct Forced {
    std::optional<std::size_t> row;
    std::string source;
  };

  void force(Layer layer, Forced forced) const;
  [[noreturn]] void refuse(std::size_t i, const KernelCall& call) const;
  [[noreturn]] void no_row_takes(const KernelCall& call) const;
  std::size_t count(std::size_t i) const;

  std::string op_;
  KernelTableTraits traits_;
  std::vector<const KernelRow*> rows_;
  // Of the process, like the tables themselves, which are constants otherwise.
  mutable Forced layers_[kLayers];       // under a mutex
  mutable std::atomic<int> forced_{-1};  // what layers_ comes to
  mutable std::vector<std::atomic<std::int64_t>> taken_;
  mutable std::vector<std::atomic<bool>> distrusted_;
  mutable std::vector<std::string> distrust_;  // the reasons, under the mutex
};

// Function: what a row computes the op with, a function pointer or a struct of them.
template <class Function>
class OpKernels : public KernelTable {
 public:
  struct Row : KernelRow {
    Function run;
  };

  OpKernels(std::string op, std::vector<Row> rows, KernelTableTraits traits = {})
      : KernelTable(std::move(op), traits), rows_(std::move(rows)) {
    std::vector<const KernelRow*> bare;
    for (const Row& row : rows_) bare.push_back(&row);
    set_rows(std::move(bare));
  }

  const Row& choose(const KernelCall& call) const { return rows_[choose_index(call)]; }

  const Row& operator[](std::size_t i) const { return rows_[i]; }
  const Row& front() const { return rows_.front(); }
  const Row& back() const { return rows_.back(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }

 private:
  std::vector<Row> rows_;
};

// --- all tables, and forcing ---

// Of every op, in the order of `ttt bench op --help` (kernel_tables.cpp).
const std::vector<const KernelTable*>& kernel_tables();

// Throws UserError with the names of all ops where there is no such op.
const KernelTable& find_kernel_table(const std::string& op, const std::string& source);

// A row for an op. op: a table's, or "ttt" for both TTT ops; row: a row's name or "auto" for the best; source: what
// said so ("train.kernels").
struct KernelChoice {
  std::string op, row, source;
};

// Forces these rows for every later call and lifts what an earlier call of this function forced. A choice for one TTT
// op comes before one for "ttt". Throws UserError naming what there is for an op or a row that does not exist, and for
// a row that can take no call on this machine or is distrusted; then nothing changes.
void force_kernels(const std::vector<KernelChoice>& choices);

// "rms_norm=composed,ttt=fused_avx2". Throws UserError when it is not a list of such pairs.
std::vector<KernelChoice> parse_kernel_choices(const std::string& text, const std::string& source);

// The environment's TTT_KERNELS (as above), and TTT_KERNEL=ROW for the TTT ops, which force rows where
// force_kernels() does not. Read at the first choice of any op; a command that runs ops reads it at its start, so that
// a mistake is found there. Throws UserError as force_kernels() does.
void read_kernel_environment();

// While it lives, calls of the op take that row, whatever else is forced. For the tests and the benchmarks; one at a
// time for an op.
class ForcedRow {
 public:
  ForcedRow(const KernelTable& table, std::size_t row);
  ~ForcedRow();
  ForcedRow(const ForcedRow&) = delete;
  ForcedRow& operator=(const ForcedRow&) = delete;

 private:
  const KernelTable& table_;
};

}  // namespace ttt
