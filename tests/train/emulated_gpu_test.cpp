// Trainings on the CUDA kernels, run by emulated lanes: they follow the CPU's, and resume bit for bit.
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

class EmulatedGpuTraining : public TinyRunTest {
 protected:
  // Head size 64, mini-batches of 16: what the kernels of TTT take.
  RunConfig gpu_config(const MixerPattern& mixer, const std::string& output, DType dtype) const {
    RunConfig c = config(mixer, output);
    c.model.num_layers = static_cast<std::int64_t>(mixer.kinds().size());
    c.model.hidden_size = 128;
    c.model.mini_batch_size = 16;
    c.model.ttt_base_lr = c.model.ttt_base_lr_init = 0.1;
    c.train.batch_tokens = 24;
    c.train.steps = 2;
    c.train.dtype = dtype;
    return c;
  }
  // The losses of the steps and the norms of their gradients, in turn.
  std::vector<double> course(const RunConfig& c) const {
    std::vector<double> all;
    for (const Json& line : read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train"))
      all.insert(all.end(), {line.at("loss"), line.at("grad_norm")});
    return all;
  }
};

// Of fp32 the products keep 16 bits, of bf16 8; both err alike in each step, and steps follow from one another.
TEST_F(EmulatedGpuTraining, FollowsTheCpu) {
  const MixerPattern both({MixerKind::kTttLinear, MixerKind::kTttMlp});
  const RunConfig cpu = gpu_config(both, "cpu", DType::kFp32), fp32 = gpu_config(both, "fp32", DType::kFp32),
                  bf16 = gpu_config(both, "bf16", DType::kBf16);
  ASSERT_EQ(run(cpu), ExitCode::kOk);
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  ASSERT_EQ(run(fp32), ExitCode::kOk);
  ASSERT_EQ(run(bf16), ExitCode::kOk);
  const std::vector<double> expected = course(cpu), exact = course(fp32), rounded = course(bf16);
  ASSERT_EQ(exact.size(), 4u);
  ASSERT_EQ(rounded.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(exact[i], expected[i], 2e-4 * expected[i]) << "step " << i / 2 + 1;
    EXPECT_NEAR(rounded[i], expected[i], 2e-2 * expected[i]) << "step " << i / 2 + 1;
  }
  EXPECT_NE(exact, expected);  // other kernels ran
}

TEST_F(EmulatedGpuTraining, ResumesBitForBit) {
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  const RunConfig whole = gpu_config(MixerKind::kTttLinear, "whole", DType::kBf16);
  ASSERT_EQ(run(whole), ExitCode::kOk);
  RunConfig parts = gpu_config(MixerKind::kTttLinear, "parts", DType::kBf16);
  parts.train.steps = 1;
  ASSERT_EQ(run(parts), ExitCode::kOk);
  parts.train.steps = 2;
  ASSERT_EQ(run(parts), ExitCode::kOk);
  expect_same_end(whole, parts);
}

// Of whatever size: micro-steps by themselves and as launches of what was recorded, statistics between them.
TEST_F(EmulatedGpuTraining, MicroStepsAsAGraphChangeNothing) {
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  RunConfig plain = config(MixerKind::kTttLinear, "plain"), graph = config(MixerKind::kTttLinear, "graph");
  for (RunConfig* c : {&plain, &graph}) {
    c->train.micro_batch = 1;
    c->train.steps = 3;
    c->train.stats_every = 2;
    c->model.ttt_base_lr_init = 0.1;
    c->optim.warmup_steps = 3;  // of the inner learning rate's multiplier, too
  }
  graph.train.cuda_graph = true;
  ASSERT_EQ(run(plain), ExitCode::kOk);
  ASSERT_EQ(run(graph), ExitCode::kOk);
  EXPECT_EQ(course(graph), course(plain));
  expect_same_end(graph, plain);
  EXPECT_NE(read_file(fs::path(graph.output_dir) / "train.log").find("micro-steps are one CUDA graph from here on"),
            std::string::npos);
}

}  // namespace
}  // namespace ttt
