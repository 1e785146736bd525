// A step reads the device once: its loss and gradient norm, when all of it is queued.
//
// With a stand-in for the GPU every tensor lies on the CPU, where a read costs nothing. What would be one on a GPU is
// found among LibTorch's calls: values for the host, and copies to the CPU.
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>

#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "train/rank_trainer.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

// While it lives: the calls of this thread that read the device, from the first forward pass on. What comes before it
// brings the step's data to the device.
class DeviceReads {
 public:
  DeviceReads() {
    names().clear();
    counting() = false;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(see).scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
  }
  ~DeviceReads() { at::removeCallback(handle_); }
  DeviceReads(const DeviceReads&) = delete;
  DeviceReads& operator=(const DeviceReads&) = delete;

  static std::vector<std::string>& names() {
    static std::vector<std::string> names;
    return names;
  }

 private:
  static bool& counting() {
    static bool counting = false;
    return counting;
  }
  static std::unique_ptr<at::ObserverContext> see(const at::RecordFunction& call) {
    // The calls that make the host wait for values, and the forms of to() that may change the device, as cpu() does;
    // others (item, is_nonzero, allclose) are made of these.
    constexpr const char* kReads[] = {"aten::_local_scalar_dense", "aten::equal",           "aten::nonzero",
                                      "aten::masked_select",       "aten::to.dtype_layout", "aten::to.device"};
    if (call.scope() == at::RecordScope::USER_SCOPE && std::string(call.name()) == "forward") counting() = true;
    const std::optional<c10::OperatorName> op = call.operator_name();
    if (!counting() || !op) return nullptr;
    const std::string name = op->overload_name.empty() ? op->name : op->name + "." + op->overload_name;
    if (std::find(std::begin(kReads), std::end(kReads), name) != std::end(kReads)) names().push_back(name);
    return nullptr;
  }
  at::CallbackHandle handle_;
};

struct Processes {
  int size, zero;
};

class DeviceReadsOfAStep : public TinyRunTest, public ::testing::WithParamInterface<Processes> {
 protected:
  RunConfig reading_config() const {
    RunConfig c = config(MixerKind::kTttLinear);
    c.train.micro_batch = 1;
    c.dist.zero = GetParam().zero;
    c.dist.timeout_seconds = 60;
    c.optim.clip_grad_norm = 0.01;
    c.optim.warmup_steps = 0;
    return c;
  }
  // A trainer on the stand-in in each process.
  void with_trainers(const RunConfig& c, const std::function<void(Trainer&)>& body) const {
    expect_all_ok(run_ranks(GetParam().size, [&](const World& world) {
      const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
      with_trainer(c, world, [&](Trainer& trainer, Communicator*) { body(trainer); });
    }));
  }
};
INSTANTIATE_TEST_SUITE_P(Ranks, DeviceReadsOfAStep,
                         ::testing::Values(Processes{1, 0}, Processes{2, 0}, Processes{2, 1}),
                         [](const auto& p) { return cat(p.param.size, p.param.zero > 0 ? "WithZero1" : ""); });

const std::vector<std::string> kOne = {"aten::to.dtype_layout"};

TEST_P(DeviceReadsOfAStep, AreOne) {
  with_trainers(reading_config(), [](Trainer& trainer) {
    trainer.step();  // the first one makes tables that stay
    setenv("TTT_FAULT", "nan_gradient@3", /*overwrite=*/1);
    bool clipped = false, skipped = false;
    for (int i = 0; i < 5; ++i) {
      const DeviceReads reads;
      try {
        clipped = trainer.step().grad_norm > 0.01 || clipped;
      } catch (const Trainer::BadStep&) {
        skipped = true;
      }
      EXPECT_EQ(DeviceReads::names(), kOne) << "step " << trainer.state().step;
    }
    EXPECT_TRUE(clipped);
    EXPECT_TRUE(skipped);
    EXPECT_EQ(trainer.state().step, 5);
  });
}

TEST_P(DeviceReadsOfAStep, OneThatIsPlantedIsNamed) {
  with_trainers(reading_config(), [](Trainer& trainer) {
    trainer.step();
    bool copied = false;
    trainer.model().parameters().front().register_hook([&](const torch::Tensor& gradient) {
      copied ? static_cast<void>(gradient.cpu()) : static_cast<void>(gradient.sum().item<float>());
      return gradient;
    });
    {
      const DeviceReads reads;
      trainer.step();
      // A hook runs in each of the micro-batches of this process.
      EXPECT_GT(DeviceReads::names().size(), 1u);
      EXPECT_EQ(DeviceReads::names().front(), "aten::_local_scalar_dense");
      EXPECT_EQ(DeviceReads::names().back(), kOne.front());
    }
    copied = true;
    const DeviceReads reads;
    trainer.step();
    EXPECT_GT(DeviceReads::names().size(), 1u);
    EXPECT_EQ(DeviceReads::names().front(), kOne.front());
  });
}

}  // namespace
}  // namespace ttt
