#include "sweep/slurm.h"

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

// For the shell, in single quotes.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

std::string array_ranges(const std::vector<std::size_t>& indices) {
  std::string text;
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t end = i;
    while (end + 1 < indices.size() && indices[end + 1] == indices[end] + 1) ++end;
    text += cat(text.empty() ? "" : ",", indices[i]);
    if (end > i) text += cat(end == i + 1 ? "," : "-", indices[end]);
    i = end + 1;
  }
  return text;
}

std::string slurm_script(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const SlurmOptions& options) {
  std::vector<std::size_t> indices;
  for (const SweepRun* run : runs) indices.push_back(run->index);
  std::string array = array_ranges(indices);
  if (options.at_most > 0) array += cat("%", options.at_most);
  const fs::path output = fs::absolute(sweep.output_dir).lexically_normal();
  std::string command = cat(quoted(fs::absolute(options.program)), " sweep ",
                            quoted(fs::absolute(sweep.file).lexically_normal().string()));
  for (const std::string& text : options.overrides) command += " " + quoted(text);
  std::string script = cat("#!/bin/bash\n#SBATCH --job-name=", sweep.file.stem().string(), "\n#SBATCH --array=", array,
                           "\n#SBATCH --output=", (output / "slurm-%A_%a.log").string(),
                           "\n#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --signal=B:TERM@120\n");
  for (const auto& [option, value] : sweep.slurm) script += cat("#SBATCH --", option, "=", value, "\n");
  script +=
      cat("cd ", quoted(fs::current_path().string()), "\n", command, " --run \"$SLURM_ARRAY_TASK_ID\" &\n", R"(child=$!
trap 'kill -TERM "$child"' TERM
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done   # the trap ended the first wait
if [ "$code" = 75 ]; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; fi
exit "$code"
)");
  return script;
}

}  // namespace ttt
