// The Python program that the peer of `ttt bench peer` runs. It is part of the binary, so that an installed one has it.
#pragma once

namespace ttt {

// For `PYTHON -c SCRIPT SETTINGS`, SETTINGS an object of JSON (peer_settings(), bench/peer_bench.h). Lines of JSON on
// stdout, what libraries print on stderr:
//
//     at the start, after a step that warms up    {"parameters", "torch", "transformers", "python", "optimizer"}
//     without torch or transformers, and it ends  {"missing": WORDS}
//     for a line N on stdin, after N steps        {"tokens_per_second": [of each step]}
//
// It ends when its stdin is closed.
extern const char* const kPeerScript;

}  // namespace ttt
