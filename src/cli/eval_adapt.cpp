#include "cli/eval_adapt.h"

#include "base/error.h"
#include "cli/parse.h"

namespace ttt {

void AdaptArguments::add_to(CLI::App& app) {
  CLI::Option* adapt =
      app.add_option("--adapt", method,
                     "dynamic evaluation: each chunk is scored, then learnt from by a step of this; in fp32, in memory")
          ->check(CLI::IsMember({"sgd", "adamw"}))
          ->type_name("sgd|adamw");
  CLI::Option* rate = app.add_option("--adapt-lr", lr, "its learning rate, constant; 0: plain evaluation")
                          ->check(CLI::Range(0.0, 1e6))
                          ->needs(adapt);
  adapt->needs(rate);
  app.add_option("--adapt-chunk", chunk,
                 "targets of a chunk: part of a sequence, whose earlier tokens are read anew, or several sequences; by "
                 "default one sequence")
      ->check(positive_number())
      ->needs(adapt)
      ->type_name("TOKENS");
  app.add_option("--adapt-layers", layers, "layers that learn, such as 0,4-5; all: embedding, norm and head too")
      ->needs(adapt)
      ->type_name("all|N,N-N")
      ->capture_default_str();
  app.add_option("--adapt-reset", reset, "document: each document begins with the checkpoint's own parameters")
      ->check(CLI::IsMember({"none", "document"}))
      ->needs(adapt)
      ->type_name("none|document")
      ->capture_default_str();
}

AdaptOptions AdaptArguments::options(std::int64_t context, std::int64_t num_layers) const {
  AdaptOptions options;
  options.method = method == "sgd" ? AdaptMethod::kSgd : AdaptMethod::kAdamw;
  options.lr = lr;
  options.chunk = chunk > 0 ? chunk : context;
  if (options.chunk > context && options.chunk % context != 0)
    user_error("--adapt-chunk ", chunk, " is no multiple of the sequences of ", context, " tokens; give ",
               options.chunk / context * context, ", or a chunk within one sequence");
  options.layers = parse_layers(layers, num_layers);
  options.reset_at_documents = reset == "document";
  return options;
}

Json AdaptArguments::to_json(std::int64_t context) const {
  return {{"method", method}, {"lr", lr}, {"chunk", chunk > 0 ? chunk : context}, {"layers", layers}, {"reset", reset}};
}

}  // namespace ttt
