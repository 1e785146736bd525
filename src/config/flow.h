// Config values that are lists or maps: YAML in flow style, "[a, b]", "[{path: a, weight: 1}, ...]" or "{a: b}", to
// plain text and back.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ttt {

// One entry of a list of maps: column -> text.
using FlowRecord = std::map<std::string, std::string>;

// "[a, b]" -> {"a", "b"}; one plain word is a list of one. Throws UserError naming `key` for anything else.
std::vector<std::string> parse_flow_list(const std::string& key, const std::string& text);

// "[{a: 1, b: x}, {a: 2}]" -> records; "" and "[]" are empty lists. Throws UserError naming `key` and the entry for a
// column that is not in `columns` (with the nearest) and for anything that is no list of maps of single values.
std::vector<FlowRecord> parse_flow_records(const std::string& key, const std::string& text,
                                           const std::vector<std::string>& columns);

// The text that parse_flow_records takes; columns in the given order, those that a record lacks left out.
std::string to_flow(const std::vector<FlowRecord>& records, const std::vector<std::string>& columns);

// "{a: b, c: d}", or "a=b,c=d", in that order; "" and "{}" are empty. Throws UserError naming `key` for anything else
// and for a name that is given twice.
using FlowPairs = std::vector<std::pair<std::string, std::string>>;
FlowPairs parse_flow_pairs(const std::string& key, const std::string& text);
// The text that parse_flow_pairs takes, the first form.
std::string to_flow(const FlowPairs& pairs);

// A word as YAML takes it inside a flow list: quoted where needed.
std::string flow_scalar(const std::string& text);

}  // namespace ttt
